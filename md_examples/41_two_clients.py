"""Two clients share the beads of one i-PI run, and the run survives the loss of one of them.

i-PI listens on a UNIX socket and hands half of the beads to each client in one request. In the middle of the run one
client is killed; the other takes over its beads, and the trajectory is the same as with a single client that lives.
On a machine with two GPUs, start one client on each: nyff ipi --unix -a NAME --model M --device cuda:0 (and cuda:1).
Needs i-PI: pip install nyff[ipi]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ase
import numpy as np
from matplotlib.figure import Figure

import nyff
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.ipi.writer import write_input

CI = os.environ.get("CI") == "true"
N_TRAIN, BEADS, STEPS = (60, 8, 200) if CI else (200, 32, 2000)


def i_pi() -> str:
    """i-PI's program, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("i-pi")
    program = str(beside) if beside.exists() else shutil.which("i-pi")
    if program is None:
        sys.exit("this example needs i-PI: pip install nyff[ipi]")
    return program


def run(name: str, clients: int, kill: bool) -> tuple[np.ndarray, list[str]]:
    """Potential energies along the run, and the last line that each client said."""
    folder = Path(name)
    shutil.rmtree(folder, ignore_errors=True)
    address = f"nyff-example-{os.getpid()}-{name}"
    options = InputOptions(nbeads=BEADS, steps=STEPS, seed=7, mode="unix", address=address)
    write_input("start.xyz", Parameters(model="ethanol.nyff"), folder, options)
    text = (folder / "input.xml").read_text()
    share = BEADS // clients
    text = text.replace(f"<batch_size> {BEADS} </batch_size>", f"<batch_size> {share} </batch_size>")
    (folder / "input.xml").write_text(text)

    with (folder / "i-pi.log").open("w") as log:
        server = subprocess.Popen([i_pi(), "input.xml"], cwd=folder, stdout=log, stderr=log)
    command = [sys.executable, "-m", "nyff", "ipi", "--unix", "-a", address, "--model", "ethanol.nyff"]
    workers = []
    for number in range(clients):
        with (folder / f"client-{number}.log").open("w") as log:
            workers.append(subprocess.Popen(command, stdout=log, stderr=log))
    if kill:
        printed = folder / "simulation.out"
        while server.poll() is None and (not printed.exists() or len(printed.read_text().splitlines()) < STEPS // 2):
            time.sleep(0.02)
        workers[0].kill()
        print(f"{name}: killed the first client in the middle of the run")
    server.wait()
    for worker in workers:
        worker.wait()
    said = [(folder / f"client-{number}.log").read_text().splitlines()[-1] for number in range(clients)]
    return np.loadtxt(folder / "simulation.out")[:, 5], said


data = nyff.datasets.ethanol()
nyff.fit(data, n_train=N_TRAIN, lengthscale=10.0, seed=0).model.save("ethanol.nyff")
ase.Atoms(data.numbers, data.positions[np.argmin(data.energies)]).write("start.xyz")

curves = {}
for name, clients, kill in (("one-client", 1, False), ("two-clients", 2, False), ("one-of-two-dies", 2, True)):
    curves[name], said = run(name, clients, kill)
    for number, line in enumerate(said):
        print(f"{name}, client {number}: {line}")
for name in ("two-clients", "one-of-two-dies"):
    difference = np.abs(curves[name] - curves["one-client"]).max()
    print(f"{name}: largest difference from the run with one client {difference:.1e} eV")

figure = Figure(figsize=(6.4, 4.0), layout="constrained")
axes = figure.subplots()
for (name, values), style in zip(curves.items(), ("-", "--", ":"), strict=True):
    axes.plot(0.25 * np.arange(len(values)), values, style, label=name)
axes.set(xlabel="time (fs)", ylabel="potential energy per bead (eV)", title="The same trajectory, whoever computes it")
axes.legend()
figure.savefig("two_clients.png", dpi=150)
print("picture: two_clients.png")

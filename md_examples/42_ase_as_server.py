"""ASE as the server: any program that speaks i-PI's protocol can ask nyff for forces.

ASE's SocketIOCalculator opens a UNIX socket, the command ``nyff ipi`` connects to it as it would to i-PI, and ASE's
optimiser and vibrational analysis use the force field without importing it. Prints both answers, through the socket
and in the same process, side by side. i-PI is not needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import ase
import numpy as np
from ase.calculators.socketio import SocketIOCalculator
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from matplotlib.figure import Figure

import nyff

CI = os.environ.get("CI") == "true"
N_TRAIN = 100 if CI else 400


def relax_and_vibrate(atoms: ase.Atoms, name: str) -> tuple[list[float], np.ndarray]:
    """Energies (eV) of the steps of an optimisation, and the frequencies (cm^-1) at its end."""
    energies: list[float] = []
    optimiser = BFGS(atoms, logfile=None)
    optimiser.attach(lambda: energies.append(atoms.get_potential_energy()))
    optimiser.run(fmax=1e-3)
    vibrations = Vibrations(atoms, name=name)
    vibrations.clean()
    vibrations.run()
    return energies, np.sort(vibrations.get_frequencies().real)[6:]


data = nyff.datasets.ethanol()
result = nyff.fit(data, n_train=N_TRAIN, lengthscale=10.0, seed=0)
result.model.save("ethanol.nyff")
start = ase.Atoms(data.numbers, data.positions[0])

address = f"nyff-example-{os.getpid()}"
command = [sys.executable, "-m", "nyff", "ipi", "--unix", "-a", address, "--model", "ethanol.nyff"]
atoms = start.copy()
began = time.perf_counter()
with SocketIOCalculator(unixsocket=address) as calculator:
    client = subprocess.Popen(command)
    atoms.calc = calculator
    through_socket, frequencies = relax_and_vibrate(atoms, "vibrations-socket")
seconds = time.perf_counter() - began
print(f"client ended with code {client.wait()} when ASE closed the socket")

direct = start.copy()
direct.calc = nyff.NyffCalculator(result.model)
in_process, wanted = relax_and_vibrate(direct, "vibrations-direct")

print(f"optimisation: {len(through_socket)} steps through the socket, {len(in_process)} in the same process")
print(f"energies differ by at most {np.abs(np.subtract(through_socket, in_process)).max():.1e} eV")
print(f"frequencies differ by at most {np.abs(frequencies - wanted).max():.1e} cm^-1; all of it took {seconds:.1f} s")
print("highest frequencies (cm^-1):", ", ".join(f"{value:.0f}" for value in frequencies[-6:]))

figure = Figure(figsize=(6.4, 4.0), layout="constrained")
axes = figure.subplots()
axes.semilogy(np.array(through_socket) - min(in_process) + 1e-6, "o", label="through the socket")
axes.semilogy(np.array(in_process) - min(in_process) + 1e-6, "-", label="in the same process")
axes.set(xlabel="step of the optimisation", ylabel="energy above the minimum (eV)", title="Ethanol, optimised by ASE")
axes.legend()
figure.savefig("ase_as_server.png", dpi=150)
print("picture: ase_as_server.png")

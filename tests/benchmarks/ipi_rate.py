"""i-PI steps per second with 32 beads of ethanol: every way to attach the model, and sGDML through ASE's socket client.

Run as a script; not a test. All runs share one machine, one number of threads and one input, so compare ratios.

    python tests/benchmarks/ipi_rate.py [-n 500] [--beads 32] [--steps 401] [--threads 1] [--peer PYTHON] [--json FILE]

``--peer`` names the interpreter of an environment with sgdml and ase; sGDML is trained there on the same structures.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase
import numpy as np

import nyff
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.ipi.writer import write_input

WAYS = {
    "ffdirect, batched": ("direct", True),
    "ffdirect, unbatched": ("direct", False),
    "UNIX socket, batched": ("unix", True),
    "UNIX socket, unbatched": ("unix", False),
    "shared memory, batched": ("shm", True),
}

PEER_TRAIN = """
import sys, logging
import numpy as np
from sgdml.train import GDMLTrain
from sgdml.utils import io
logging.disable(logging.CRITICAL)
source, model, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
d = np.load(source)
data = {"type": np.array("d"), "name": np.array("ethanol"), "theory": np.array("unknown"), "z": d["z"], "R": d["R"],
        "E": d["E"], "F": d["F"], "e_unit": np.array("eV"), "r_unit": np.array("Ang")}
data["md5"] = io.dataset_md5(data)
trainer = GDMLTrain(max_memory=16, max_processes=threads, use_torch=False)
trainer.draw_strat_sample = lambda T, n, excl_idxs=None: np.arange(n)
task = trainer.create_task(data, len(d["R"]), data, 1, 10, lam=1e-10)
np.savez_compressed(model, **trainer.train(task))
"""

PEER_CLIENT = """
import sys
from ase.calculators.socketio import SocketClient
from ase.io import read
from sgdml.intf.ase_calc import SGDMLCalculator
model, start, address = sys.argv[1:]
atoms = read(start)
atoms.calc = SGDMLCalculator(model, E_to_eV=1.0, F_to_eV_Ang=1.0)
SocketClient(unixsocket=address).run(atoms, use_stress=False)
"""


def seconds_per_step(folder: Path, client: list[str], environment: dict[str, str]) -> float:
    """Run i-PI and a client; i-PI's own average over a hundred steps, of the least disturbed hundred."""
    program = Path(sys.executable).with_name("i-pi")
    with (folder / "i-pi.log").open("w") as log:
        server = subprocess.Popen(
            [str(program), "-V", "medium", "input.xml"], cwd=folder, stdout=log, stderr=log, env=environment
        )
    workers = []
    if client:
        with (folder / "client.log").open("w") as log:
            workers.append(subprocess.Popen(client, stdout=log, stderr=log, env=environment))
    if server.wait(1800):
        sys.exit((folder / "i-pi.log").read_text()[-2000:])
    for worker in workers:
        worker.wait(60)
    text = (folder / "i-pi.log").read_text()
    averages = re.findall(r"at MD step\s+(\d+)\. t/step:\s+(\S+)", text)
    return min(float(seconds) for step, seconds in averages if int(step) > 0)


def main() -> None:
    """Train, run every way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--beads", type=int, default=32)
    parser.add_argument("--steps", type=int, default=401)
    parser.add_argument("--peer-steps", type=int, default=201)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", help="interpreter of an environment with sgdml and ase")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {**os.environ, **threads}

    import torch

    torch.set_num_threads(args.threads)
    work = Path(tempfile.mkdtemp(prefix="nyff-ipi-rate-"))
    data = nyff.datasets.ethanol()
    result = nyff.fit(data, args.n, lengthscale=10.0, seed=0)
    result.model.save(work / "model.nyff")
    ase.Atoms(data.numbers, data.positions[np.argmin(data.energies)]).write(work / "start.xyz")
    print(f"model: n = {args.n}, {len(result.model.permutations)} permutations, force MAE "
          f"{1000 * result.metrics['force_mae_ev_per_ang']:.1f} meV/Å; {args.threads} thread(s)")  # fmt: skip

    def prepare(name: str, mode: str, batched: bool, steps: int) -> tuple[Path, str]:
        folder = work / re.sub(r"\W+", "-", name)
        address = f"nyff-rate-{os.getpid()}-{folder.name}"
        options = InputOptions(nbeads=args.beads, steps=steps, seed=1, mode=mode, address=address)
        write_input(work / "start.xyz", Parameters(model=str(work / "model.nyff")), folder, options)
        text = (folder / "input.xml").read_text()
        # what is written how often is that of a run of 5 ps, however short this one is
        text = re.sub(r"(<properties stride=)'\d+'", r"\1'4'", text)
        text = re.sub(r"(<(?:trajectory|checkpoint) filename='\w+' stride=)'\d+'", r"\1'20'", text)
        text = text.replace("filename='checkpoint' stride='20'", "filename='checkpoint' stride='2000'")
        if not batched:
            text = text.replace(f"<batch_size> {args.beads} </batch_size>", "<batch_size> 1 </batch_size>")
        (folder / "input.xml").write_text(text)
        return folder, address

    rows = {}
    for name, (mode, batched) in WAYS.items():
        folder, address = prepare(name, mode, batched, args.steps)
        client = [sys.executable, "-m", "nyff", "ipi", "--shm" if mode == "shm" else "--unix", "-a", address]
        rows[name] = seconds_per_step(folder, [] if mode == "direct" else client, environment)
        print(f"{name:32s} {1000 * rows[name]:8.2f} ms/step {1 / rows[name]:8.1f} steps/s", flush=True)

    positions = np.array(data.positions[: args.beads])
    result.model.predict(positions)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        result.model.predict(positions)
        times.append(time.perf_counter() - start)
    rows["model call for all beads"] = float(np.median(times))
    print(f"{'model call for all beads':32s} {1000 * rows['model call for all beads']:8.2f} ms")

    if args.peer:
        train = data[result.split.train]
        np.savez(work / "train.npz", z=train.numbers, R=train.positions, E=train.energies, F=train.forces)
        peer_model = work / "peer.npz"
        subprocess.run(
            [args.peer, "-c", PEER_TRAIN, str(work / "train.npz"), str(peer_model), str(args.threads)],
            check=True,
            env=environment,
        )
        name = "sGDML, ASE's socket client"
        folder, address = prepare(name, "unix", False, args.peer_steps)
        text = re.sub(r"<parameters>.*</parameters>", "", (folder / "input.xml").read_text())
        (folder / "input.xml").write_text(text)
        client = [args.peer, "-c", PEER_CLIENT, str(peer_model), str(work / "start.xyz"), address]
        rows[name] = seconds_per_step(folder, client, environment)
        print(f"{name:32s} {1000 * rows[name]:8.2f} ms/step {1 / rows[name]:8.1f} steps/s")
        for ours in ("ffdirect, batched", "UNIX socket, batched"):
            print(f"{ours} is {rows[name] / rows[ours]:.1f} times as fast")
    if args.json:
        args.json.write_text(json.dumps({"seconds": rows, **{k: v for k, v in vars(args).items() if k != "json"}}))


if __name__ == "__main__":
    main()

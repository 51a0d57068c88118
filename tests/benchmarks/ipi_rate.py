"""i-PI steps per second with 32 beads of ethanol: every way to attach the model, and sGDML through ASE's socket client.

Run as a script; not a test. All runs share one machine, one number of threads and one input, so compare ratios.

    python tests/benchmarks/ipi_rate.py [-n 500] [--beads 32] [--steps 301] [--threads 1] [--peer PYTHON] [--json FILE]

``--peer`` names the interpreter of an environment with sgdml and ase; sGDML is trained there on the same structures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

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


@dataclass
class Rate:
    """Seconds per step: on the clock, over the least disturbed hundred steps, and of all processors together."""

    clock: float
    processors: float

    def __str__(self) -> str:
        return (
            f"{1000 * self.clock:8.2f} ms/step {1 / self.clock:8.1f} steps/s {1000 * self.processors:8.2f} ms CPU/step"
        )


@dataclass
class Bench:
    """A folder with the model and the start structure, and the settings all runs share."""

    work: Path
    beads: int
    environment: dict[str, str]

    def measure(self, name: str, mode: str, batched: bool, steps: int, client: list[str]) -> Rate:
        """Run i-PI twice, for one step and for ``steps``: the difference is free of starting and ending."""
        _, idle = self._run(f"{name} 1", mode, batched, 1, client)
        clock, used = self._run(name, mode, batched, steps, client)
        return Rate(clock, (used - idle) / (steps - 1))

    def _run(self, name: str, mode: str, batched: bool, steps: int, client: list[str]) -> tuple[float, float]:
        folder, address = self._prepare(name, mode, batched, steps)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        program = str(Path(sys.executable).with_name("i-pi"))
        with (folder / "i-pi.log").open("w") as log, (folder / "client.log").open("w") as client_log:
            command = [program, "-V", "medium", "input.xml"]
            server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=self.environment)
            if client:
                worker = subprocess.Popen(
                    [*client, address], stdout=client_log, stderr=client_log, env=self.environment
                )
        if server.wait(3600):
            sys.exit((folder / "i-pi.log").read_text()[-2000:])
        if client:
            worker.wait(60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        averages = re.findall(r"at MD step\s+(\d+)\. t/step:\s+(\S+)", (folder / "i-pi.log").read_text())
        clock = min((float(seconds) for step, seconds in averages if int(step) > 0), default=math.nan)
        return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _prepare(self, name: str, mode: str, batched: bool, steps: int) -> tuple[Path, str]:
        folder = self.work / re.sub(r"\W+", "-", name)
        address = f"nyff-rate-{os.getpid()}-{folder.name}"
        options = InputOptions(nbeads=self.beads, steps=steps, seed=1, mode=mode, address=address)
        write_input(self.work / "start.xyz", Parameters(model=str(self.work / "model.nyff")), folder, options)
        text = (folder / "input.xml").read_text()
        # what is written how often is that of a run of 5 ps, however short this one is
        text = re.sub(r"(<properties stride=)'\d+' flush='\d+'", r"\1'4' flush='10'", text)
        text = re.sub(r"(<trajectory filename='\w+' stride=)'\d+'", r"\1'20'", text)
        text = re.sub(r"(<checkpoint filename='\w+' stride=)'\d+'", r"\1'2000'", text)
        if not batched:
            text = text.replace(f"<batch_size> {self.beads} </batch_size>", "<batch_size> 1 </batch_size>")
        (folder / "input.xml").write_text(text)
        return folder, address


def call_seconds(predict: Callable[[np.ndarray], object], positions: np.ndarray) -> float:
    """Time of one call for all beads, the quickest of fifty."""
    predict(positions)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        predict(positions)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Train, run every way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--beads", type=int, default=32)
    parser.add_argument("--steps", type=int, default=301)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", help="interpreter of an environment with sgdml and ase")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **{name: str(args.threads) for name in names}}
    torch.set_num_threads(args.threads)

    work = tempfile.TemporaryDirectory(prefix="nyff-ipi-rate-")  # removed when the script ends
    bench = Bench(Path(work.name), args.beads, environment)
    data = nyff.datasets.ethanol()
    result = nyff.fit(data, args.n, lengthscale=10.0, seed=0)
    result.model.save(bench.work / "model.nyff")
    ase.Atoms(data.numbers, data.positions[np.argmin(data.energies)]).write(bench.work / "start.xyz")
    mae = 1000 * result.metrics["force_mae_ev_per_ang"]
    symmetries = len(result.model.permutations)
    print(f"n = {args.n}, {symmetries} permutations, force MAE {mae:.1f} meV/Å", end=", ")
    print(f"{args.beads} beads, {args.threads} thread(s)", flush=True)

    rates: dict[str, Rate] = {}

    def show(name: str, *run: Any) -> None:
        rates[name] = bench.measure(name, *run)
        print(f"{name:28s} {rates[name]}", flush=True)

    for name, (mode, batched) in WAYS.items():
        client = [sys.executable, "-m", "nyff", "ipi", "--shm" if mode == "shm" else "--unix", "-a"]
        show(name, mode, batched, args.steps, [] if mode == "direct" else client)
    call = call_seconds(result.model.predict, np.array(data.positions[: args.beads]))
    print(f"{'model call for all beads':28s} {1000 * call:8.2f} ms", flush=True)
    if args.peer:
        train = data[result.split.train]
        source, peer_model = bench.work / "train.npz", bench.work / "peer.npz"
        np.savez(source, z=train.numbers, R=train.positions, E=train.energies, F=train.forces)
        command = [args.peer, "-c", PEER_TRAIN, str(source), str(peer_model), str(args.threads)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        name = "sGDML, ASE's socket client"
        start = str(bench.work / "start.xyz")
        show(name, "unix", False, 101, [args.peer, "-c", PEER_CLIENT, str(peer_model), start])
        for ours in ("ffdirect, batched", "UNIX socket, batched"):
            print(f"{ours} is {rates[name].clock / rates[ours].clock:.1f} times as fast")
    if args.json:
        options = {key: value for key, value in vars(args).items() if key != "json"}
        table = {name: asdict(rate) for name, rate in rates.items()}
        args.json.write_text(json.dumps({"options": options, "seconds_per_step": table, "model_call_seconds": call}))


if __name__ == "__main__":
    main()

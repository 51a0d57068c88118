"""Energy drift of NVE dynamics of ethanol with a model trained on the bundled data."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms

import nyff
from nyff.md.observe import drift, read_log
from nyff.md.relax import relax
from nyff.md.run import run_md


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("--time", default="100ps")
    parser.add_argument("--timestep", default="0.25fs")
    parser.add_argument("--temperature", type=float, default=300.0)
    arguments = parser.parse_args()
    data = nyff.datasets.ethanol()
    result = nyff.fit(data, arguments.n, lengthscale=20.0)
    start = relax(result.model, Atoms(numbers=data.numbers, positions=data.positions[0])).atoms
    with tempfile.TemporaryDirectory() as folder:
        run = run_md(
            result.model,
            start,
            output=Path(folder) / "md",
            ensemble="nve",
            time=arguments.time,
            timestep=arguments.timestep,
            temperature=2 * arguments.temperature,
            log_interval=40,
            frame_interval=100_000,
        )
        log = read_log(run.folder)
    slope = drift(log["time_fs"], log["total_ev"], len(start))
    print(
        f"{arguments.time} of ethanol at {arguments.timestep}, n={arguments.n}: drift {slope:.2e} eV/atom/ps, "
        f"standard deviation of the total energy {log['total_ev'].std() * 1e3:.3f} meV, "
        f"mean temperature {np.mean(log['temperature_K']):.0f} K, {run.steps_per_second:.0f} steps/s"
    )


if __name__ == "__main__":
    main()

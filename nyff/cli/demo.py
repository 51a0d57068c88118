"""``nyff demo``: the first two minutes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from nyff.cli.console import errors_in_words, free_folder, say, training_display

_STRUCTURES = 400
_TEMPERATURE = 300.0


def demo(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder to create.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
) -> None:
    """Train on the bundled ethanol data, test, relax, run 2 ps of MD at 300 K, and write a report."""
    from ase import Atoms

    from nyff.cli.simulate import md_display, write_structure
    from nyff.cli.train import write_report
    from nyff.data.bundled import ethanol
    from nyff.md.relax import relax
    from nyff.md.run import run_md
    from nyff.training.run import BUNDLED, train_run
    from nyff.training.settings import Settings
    from nyff.training.solve import Interrupted

    started = time.perf_counter()
    folder = output or free_folder("nyff-demo")
    say(f"Training on {_STRUCTURES} of the bundled structures of ethanol (GFN2-xTB, 500 K).")
    try:
        with training_display() as progress:
            result = train_run(
                BUNDLED,
                output=folder,
                settings=Settings(seed=seed),
                n_train=_STRUCTURES,
                progress=progress,
                planned=lambda plan: say(str(plan)),
            )
    except Interrupted as interrupted:
        say(f"interrupted while {interrupted}; finish the training with: nyff train --resume {folder}")
        sys.exit(130)
    for line in errors_in_words(result.metrics):
        say(line)

    dataset = ethanol()
    start = Atoms(numbers=dataset.numbers, positions=dataset.positions[result.split.test[0]])
    relaxed = relax(result.model, start)
    write_structure(folder / "relaxed.xyz", relaxed.atoms)
    say(f"relaxation {relaxed.message}")
    with md_display() as show:
        simulation = run_md(
            result.model,
            relaxed.atoms,
            output=folder / "md",
            ensemble="langevin",
            temperature=_TEMPERATURE,
            timestep="0.5fs",
            time="2ps",
            seed=seed,
            progress=show,
        )
    say(
        f"molecular dynamics: {simulation.time_fs / 1000:g} ps at {_TEMPERATURE:g} K, "
        f"{simulation.steps_per_second:.0f} steps per second"
    )
    write_report(folder)
    say(f"\nAll done in {time.perf_counter() - started:.0f} s. Open {folder / 'report.html'} in a browser. Next:\n")
    model = folder / "model.nyff"
    for command in (
        f"nyff info {model}",
        f"nyff md {model} {folder / 'relaxed.xyz'} --ensemble nve --time 10ps",
        "nyff train YOUR_DATA.xyz -n 500 -o my-run",
        f"python -c \"import nyff; print(nyff.load('{model}'))\"",
    ):
        say(f"  {command}")

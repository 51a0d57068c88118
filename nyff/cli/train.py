"""``nyff train``: fit a force field to labelled structures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nyff.cli.console import errors_in_words, free_folder, say, training_display


def train(
    data: Annotated[
        list[str] | None,
        typer.Argument(help="Labelled structures: extended XYZ, .traj, .db or .npz; several files or a folder."),
    ] = None,
    n_train: Annotated[
        int | None, typer.Option("-n", "--n-train", help="Training structures; default: four fifths, at most 1000.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Run folder to create; default: nyff-train, -2, ...")
    ] = None,
    lengthscale: Annotated[
        float | None, typer.Option(help="Of the kernel, as sGDML's sigma; default: a short scan.")
    ] = None,
    regularization: Annotated[
        float, typer.Option(help="λ (lam in sGDML), relative to forces of unit variance.")
    ] = 1e-10,
    kernel: Annotated[str, typer.Option(help="matern52, matern72 or gaussian.")] = "matern52",
    descriptor_power: Annotated[float, typer.Option(help="p in 1/r^p; 1 is sGDML's.")] = 1.0,
    permutations: Annotated[str, typer.Option(help="auto, none or a file with one permutation a line.")] = "auto",
    solver: Annotated[str, typer.Option(help="auto, cholesky or cg.")] = "auto",
    preconditioner: Annotated[str, typer.Option(help="auto or a name; see `nyff precond --help`.")] = "auto",
    columns: Annotated[
        str, typer.Option(help="Size of the preconditioner: auto, paper, or a number of columns.")
    ] = "auto",
    tolerance: Annotated[float, typer.Option(help="Relative residual at which CG stops.")] = 1e-4,
    max_memory: Annotated[str | None, typer.Option(help="Such as 4GB; default: a share of what is free.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the split and of everything random.")] = 0,
    split: Annotated[str, typer.Option(help="stratified (by energy) or first.")] = "stratified",
    units: Annotated[
        str | None, typer.Option(help="Of data whose file does not say: kcal/mol, or hartree,bohr.")
    ] = None,
    energy_key: Annotated[str | None, typer.Option(help="Name of the energies in the file.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Name of the forces in the file.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="Settings and training structures of this sGDML model.", metavar="MODEL")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the interrupted run in this folder.", metavar="RUN")
    ] = None,
) -> None:
    """Train a force field and write a run folder with the model, its errors and a report."""
    from nyff.errors import InputError
    from nyff.training.run import BUNDLED, resume_run, train_run
    from nyff.training.settings import Settings
    from nyff.training.solve import Interrupted

    folder = resume or output or free_folder("nyff-train")
    try:
        with training_display() as progress:
            if resume is not None:
                if data or n_train is not None or output is not None:
                    raise InputError("--resume takes data, size and folder from the run; leave DATA, -n and -o out")
                result = resume_run(resume, progress=progress, planned=lambda plan: say(str(plan)))
            else:
                if not data:
                    raise InputError(
                        f"no data given; name a file with labelled structures, or {BUNDLED} for a first try"
                    )
                settings = Settings(
                    lengthscale=lengthscale,
                    regularization=regularization,
                    kernel=kernel,
                    descriptor_power=descriptor_power,
                    permutations=_permutations(permutations),
                    solver=solver,
                    preconditioner=preconditioner,
                    columns=_columns(columns),
                    tolerance=tolerance,
                    max_memory=max_memory,
                    device=device,
                    seed=seed,
                )
                result = train_run(
                    data,
                    output=folder,
                    settings=settings,
                    n_train=n_train,
                    split_method=split,
                    units=units,
                    energy_key=energy_key,
                    forces_key=forces_key,
                    like_model=like,
                    progress=progress,
                    planned=lambda plan: say(str(plan)),
                )
    except Interrupted as interrupted:
        say(f"interrupted while {interrupted}; continue with: nyff train --resume {folder}")
        sys.exit(130)
    write_report(folder)
    solution = result.solution
    say(f"{solution.status.value} after {solution.iterations} products with K, {solution.seconds:.1f} s")
    for line in errors_in_words(result.metrics):
        say(line)
    for hint in result.hints:
        say(f"note: {hint}")
    say(f"model: {folder / 'model.nyff'}   report: {folder / 'report.html'}")


def write_report(folder: Path) -> None:
    """``report.html`` of a training run."""
    from nyff.report import write_training_report

    write_training_report(folder)


def _permutations(text: str) -> str | list[list[int]]:
    if text in ("auto", "none"):
        return text
    from nyff.kernel.group import read_permutations

    rows: list[list[int]] = read_permutations(text).tolist()
    return rows


def _columns(text: str) -> int | str:
    return int(text) if text.isdecimal() else text

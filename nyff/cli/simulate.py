"""``nyff md`` and ``nyff relax``: simulations with a trained model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nyff.cli.console import free_folder, say

if TYPE_CHECKING:
    from ase import Atoms

    from nyff.md.observe import Progress


def md(
    model: Annotated[Path | None, typer.Argument(help="Model file.")] = None,
    structure: Annotated[Path | None, typer.Argument(help="Start structure, any format ASE reads.")] = None,
    ensemble: Annotated[str, typer.Option(help="nve, langevin or nose-hoover.")] = "langevin",
    temperature: Annotated[float, typer.Option(help="K.")] = 300.0,
    timestep: Annotated[str, typer.Option(help="fs, or with a unit.")] = "0.5fs",
    time: Annotated[
        str | None, typer.Option(help="How long to simulate; default: 10ps. With --resume, the new total.")
    ] = None,
    friction: Annotated[float, typer.Option(help="Of Langevin, 1/fs.")] = 0.01,
    thermostat_time: Annotated[str, typer.Option(help="Period of the Nosé–Hoover chain.")] = "50fs",
    seed: Annotated[int, typer.Option(help="Same seed, same trajectory.")] = 0,
    keep_momenta: Annotated[bool, typer.Option("--keep-momenta", help="Start with the structure's momenta.")] = False,
    trajectory: Annotated[str, typer.Option(help="extxyz or traj.")] = "extxyz",
    frame_interval: Annotated[int, typer.Option(help="Steps between frames.")] = 20,
    log_interval: Annotated[int, typer.Option(help="Steps between rows of md.csv.")] = 10,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Run folder to create; default: nyff-md, -2, ...")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the simulation in this folder.", metavar="RUN")] = None,
) -> None:
    """Run molecular dynamics; stops with the last good frame where the model no longer knows the structure."""
    from nyff.errors import InputError
    from nyff.md.run import resume_md, run_md

    folder = resume or output or free_folder("nyff-md")
    try:
        with md_display() as progress:
            if resume is not None:
                result = resume_md(resume, time=time, progress=progress)
            else:
                if model is None or structure is None:
                    raise InputError("give a model and a start structure: nyff md MODEL STRUCTURE")
                result = run_md(
                    model,
                    read_structure(structure),
                    output=folder,
                    ensemble=ensemble,
                    temperature=temperature,
                    timestep=timestep,
                    time=time or "10ps",
                    friction=friction,
                    thermostat_time=thermostat_time,
                    seed=seed,
                    keep_momenta=keep_momenta,
                    trajectory=trajectory,
                    frame_interval=frame_interval,
                    log_interval=log_interval,
                    device=device,
                    progress=progress,
                )
    except KeyboardInterrupt:
        say(f"interrupted; continue with: nyff md --resume {folder}")
        sys.exit(130)
    say(
        f"{result.steps} steps, {result.time_fs / 1000:g} ps, {result.steps_per_second:.0f} steps/s; "
        f"log: {folder / 'md.csv'}   trajectory: {result.trajectory}"
    )


def relax(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    structure: Annotated[Path, typer.Argument(help="Start structure, any format ASE reads.")],
    fmax: Annotated[float, typer.Option(help="Largest force on an atom at the end, eV/Å.")] = 0.001,
    optimizer: Annotated[str, typer.Option(help="bfgs, lbfgs or fire.")] = "bfgs",
    max_steps: Annotated[int, typer.Option(help="Give up after so many.")] = 500,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    trajectory: Annotated[Path | None, typer.Option(help="Keep all steps in this .xyz or .traj.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the relaxed structure goes.")] = Path(
        "relaxed.xyz"
    ),
) -> None:
    """Relax a structure to the nearest minimum."""
    from nyff.errors import InputError
    from nyff.md.relax import relax as run_relax

    if output.exists():
        raise InputError(f"{output} exists already and is not overwritten; choose another -o or remove it")
    _check_format(output)
    result = run_relax(
        model,
        read_structure(structure),
        fmax=fmax,
        optimizer=optimizer,
        max_steps=max_steps,
        device=device,
        trajectory=trajectory,
    )
    write_structure(output, result.atoms)
    say(f"{result.message}\nstructure: {output}")
    if not result.converged:
        sys.exit(1)


def read_structure(path: Path) -> Atoms:
    """The last structure in a file that ASE can read."""
    from typing import cast

    import ase.io

    from nyff.errors import InputError

    try:
        return cast("Atoms", ase.io.read(path, index=-1))
    except FileNotFoundError:
        raise InputError(f"there is no structure file {path}") from None
    except Exception as error:  # ASE's readers raise whatever their parsers do
        raise InputError(f"ASE cannot read a structure from {path}: {error}") from error


def _check_format(path: Path) -> None:
    """Refuse a name that tells ASE no format before anything is computed for it."""
    from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat

    from nyff.errors import InputError

    try:
        known = path.suffix in (".xyz", ".extxyz") or get_ioformat(filetype(str(path), read=False)).can_write
    except UnknownFileTypeError:
        known = False
    if not known:
        raise InputError(f"cannot write a structure to {path}; end its name with .xyz, or another suffix ASE writes")


def write_structure(path: Path, atoms: Atoms) -> None:
    """Extended XYZ (or what the name says) with energy and forces, whole or not at all."""
    import ase.io

    from nyff.files import atomic_write

    with atomic_write(path) as temporary:
        ase.io.write(temporary, atoms, format="extxyz" if path.suffix in (".xyz", ".extxyz") else None)


@contextmanager
def md_display() -> Iterator[Callable[[Progress], None] | None]:
    """A live line on a terminal, a plain line every ten seconds elsewhere."""
    import time

    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("starting") as status:
            yield lambda progress: status.update(_words(progress))
        return
    last = 0.0

    def plain(progress: Any) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            typer.echo(_words(progress), err=True)

    yield plain


def _words(progress: Progress) -> str:
    return (
        f"step {progress.step} of {progress.steps}, {progress.time_fs / 1000:.3f} ps, "
        f"{progress.temperature_kelvin:.0f} K, {progress.steps_per_second:.0f} steps/s, "
        f"{progress.seconds_left:.0f} s left"
    )

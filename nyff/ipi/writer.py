"""Writes an i-PI input and a start structure that run as they are.

The model is loaded and evaluated once, so that what cannot run is refused here and not in a queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nyff.errors import InputError
from nyff.files import atomic_write
from nyff.ipi.evaluator import HasHessian, ModelEvaluator, Predicts
from nyff.ipi.instanton import crossover_temperature
from nyff.ipi.load import load_evaluator
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.ipi.species import check_species
from nyff.ipi.template import Document
from nyff.units import BOHR, HARTREE

if TYPE_CHECKING:
    from ase import Atoms

ELECTRON_MASSES = 1822.888486
"""One dalton in electron masses."""
SMALLEST_CELL = 100.0
"""Edge of the cell in Å; i-PI wants one even for molecules, which have none."""


@dataclass(frozen=True)
class Written:
    """The files written, and the commands that run them, in order."""

    input: Path
    start: Path
    commands: tuple[str, ...]


def write_input(
    structure: str | Path, parameters: Parameters, folder: str | Path, options: InputOptions | None = None
) -> Written:
    """Write ``input.xml`` and ``start.xyz`` into ``folder`` for the model of ``parameters``.

    The model is loaded, checked against the atoms of ``structure`` (any file ASE reads, the first structure in it)
    and evaluated once: its energy becomes the zero of the printed energies. Raises :class:`InputError` for a file
    that is there already, for other atoms than the model's, and for paths i-PI cannot be told.
    """
    options = options or InputOptions()
    from ase.io import iread

    if not Path(structure).is_file():
        raise InputError(f"structure {str(structure)!r} does not exist")
    atoms = next(iread(structure))
    evaluator = load_evaluator(parameters)
    check_species(atoms.numbers, evaluator.numbers, f"structure {str(structure)!r}")
    energies = [_energy(evaluator, atoms.positions)]
    if options.reference:
        reference = load_evaluator(Parameters(model=options.reference))
        check_species(reference.numbers, evaluator.numbers, f"reference model {options.reference!r}")
        energies.append(_energy(reference, atoms.positions))
    folder = Path(folder)
    for name in ("input.xml", "start.xyz"):
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already and is never overwritten; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    start = folder / "start.xyz"
    with atomic_write(start) as temporary:
        temporary.write_text(_start(atoms.get_chemical_symbols(), atoms.positions), encoding="utf-8")
    if options.motion == "instanton":
        _write_hessian(evaluator.model, atoms, options, folder / "hessian.txt")
    document = Document(options, parameters, energies, len(atoms), start)
    with atomic_write(folder / "input.xml") as temporary:
        temporary.write_text(document.text(), encoding="utf-8")
    return Written(folder / "input.xml", start, document.commands())


def _write_hessian(model: Predicts, atoms: Atoms, options: InputOptions, path: Path) -> None:
    """Second derivatives at the start, in atomic units: i-PI spreads the beads along the unstable mode."""
    if not isinstance(model, HasHessian):
        raise InputError("this model has no second derivatives, which an instanton starts from; use a trained model")
    matrix = np.asarray(model.hessian(atoms.positions[None]))[0] * (BOHR**2 / HARTREE)
    if options.nbeads > 1:
        crossover = crossover_temperature(matrix, atoms.get_masses() * ELECTRON_MASSES)
        if options.temperature >= crossover:
            raise InputError(
                f"above the crossover temperature of {crossover:.0f} K there is no instanton, got "
                f"{options.temperature:g} K; pass a lower --temperature"
            )
    with atomic_write(path) as temporary:
        np.savetxt(temporary, matrix, fmt="%.16e")


def _energy(evaluator: ModelEvaluator, positions: np.ndarray) -> float:
    """Energy of one structure in eV."""
    answer = evaluator(positions[None] / BOHR, np.zeros((1, 3, 3)))
    return float(answer.energies[0]) * HARTREE


def _start(symbols: list[str], positions: np.ndarray) -> str:
    extent = float(np.ptp(positions, axis=0).max())
    cell = max(SMALLEST_CELL, math.ceil(extent) + SMALLEST_CELL / 2)
    lines = [str(len(symbols)), f"# CELL(abcABC): {cell} {cell} {cell} 90 90 90 cell{{angstrom}} positions{{angstrom}}"]
    lines += [f"{s:<2} {x:.10f} {y:.10f} {z:.10f}" for s, (x, y, z) in zip(symbols, positions, strict=True)]
    return "\n".join(lines) + "\n"

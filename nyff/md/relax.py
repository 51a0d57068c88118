"""Geometry optimisation with a model, on ASE's optimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.optimize import BFGS, FIRE, LBFGS

from nyff.calculator import NyffCalculator
from nyff.errors import InputError, SimulationError
from nyff.md.limits import START_REMEDY, Limits, Watch
from nyff.md.output import frozen_results, open_trajectory
from nyff.md.rigid import rigid_motions

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField

OPTIMIZERS = {"bfgs": BFGS, "lbfgs": LBFGS, "fire": FIRE}

# The least curvature a search starts with, in eV/Å²: that of a methyl group's rotation.
_SOFTEST = 0.5


@dataclass(frozen=True)
class RelaxProgress:
    """One step of a relaxation: energy in eV, largest force on an atom in eV/Å."""

    step: int
    energy_ev: float
    fmax_ev_per_ang: float


@dataclass(frozen=True)
class RelaxResult:
    """A relaxed structure, or the last one reached.

    ``atoms`` carries energy and forces, ``energy`` is in eV, ``fmax`` (the largest force on an atom) in eV/Å.
    ``message`` says in a sentence how it went and, if it did not converge, what to do.
    """

    atoms: Atoms
    converged: bool
    steps: int
    energy: float
    fmax: float
    message: str


def relax(
    model: ForceField | str | Path,
    atoms: Atoms,
    *,
    fmax: float = 0.001,
    optimizer: str = "bfgs",
    max_steps: int = 500,
    trajectory: str | Path | None = None,
    limits: Limits | None = None,
    device: str | None = None,
    progress: Callable[[RelaxProgress], None] | None = None,
) -> RelaxResult:
    """Move ``atoms`` (a copy of them) downhill until no atom feels more than ``fmax``.

    Args:
        model: a force field or the path of one.
        atoms: the start; constraints on it are respected.
        fmax: in eV/Å.
        optimizer: ``"bfgs"``, which starts from the analytic Hessian, ``"lbfgs"`` or ``"fire"``.
        max_steps: give up after so many.
        trajectory: file for all steps, ``.xyz``, ``.extxyz`` or ``.traj``; it must not exist yet.
        limits: how far past the training data to go before stopping, see :class:`~nyff.md.limits.Limits`.
        device: as for :class:`~nyff.calculator.NyffCalculator`.
        progress: called after every step.

    Not converging is no error: look at ``converged`` and ``message``. Raises :class:`~nyff.errors.InputError` for
    arguments and structures that cannot work, and :class:`~nyff.errors.SimulationError` when the structure leaves
    what the model knows.
    """
    if optimizer.lower() not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {optimizer!r}; known are {', '.join(OPTIMIZERS)}")
    if not fmax > 0:
        raise InputError(f"fmax must be positive, got {fmax}; 0.001 eV/Å is tight")
    if max_steps < 0:
        raise InputError(f"max_steps must be zero or more, got {max_steps}")
    calculator = NyffCalculator(model, device)
    calculator.check_atoms(atoms)
    watch = Watch(calculator.model, limits)
    moving = atoms.copy()
    moving.calc = calculator
    writer = None if trajectory is None else open_trajectory(Path(trajectory), moving)
    try:
        with OPTIMIZERS[optimizer.lower()](moving, logfile=None) as search:
            if isinstance(search, BFGS) and not moving.constraints and hasattr(calculator.model, "hessian"):
                search.H0 = start_hessian(calculator.get_hessian(moving), moving)
            for reached in search.irun(fmax=fmax, steps=max_steps):
                converged = bool(reached)
                forces = moving.get_forces()
                results, step = calculator.results, search.nsteps
                _stop_if_lost(watch, moving, results, step)
                largest = float(np.sqrt((forces**2).sum(1).max()))
                if writer is not None:
                    writer.write(moving, results, step=step)
                if progress is not None:
                    progress(RelaxProgress(step, results["energy"], largest))
    finally:
        if writer is not None:
            writer.close()
    message = f"converged in {step} steps: energy {results['energy']:.6f} eV, largest force {largest:.2g} eV/Å"
    if not converged:
        message = (
            f"not converged after {step} steps: largest force {largest:.2g} eV/Å, wanted {fmax:g}; raise max_steps, or "
            f"try another optimizer ({', '.join(OPTIMIZERS)})"
        )
    moving.calc = frozen_results(moving, results)
    return RelaxResult(moving, converged, step, results["energy"], largest, message)


def start_hessian(hessian: np.ndarray, atoms: Atoms) -> np.ndarray:
    """``hessian`` [3·atoms, 3·atoms] (eV/Å²) of ``atoms``, away from a minimum, made fit to start a search with.

    Curvatures are made positive and not too small, so that every step leads downhill and none is far; rigid motions,
    which have none, get ASE's default. From it BFGS needs about a third of the steps that it needs from nothing.
    """
    rigid = rigid_motions(atoms)
    outside = rigid @ rigid.T
    inside = np.eye(len(hessian)) - outside
    curvatures, directions = np.linalg.eigh(inside @ hessian @ inside)
    curvatures = np.maximum(np.abs(curvatures), _SOFTEST)
    found: np.ndarray = inside @ (directions * curvatures @ directions.T) @ inside + BFGS.defaults["alpha"] * outside
    return found


def _stop_if_lost(watch: Watch, atoms: Atoms, results: dict, step: int) -> None:
    problem = watch.distances(atoms.positions) or watch.forces(results["energy"], results["forces"])
    if problem is None:
        return
    if step == 0:
        raise InputError(f"the start structure is far from the training data: {problem}. {START_REMEDY}")
    raise SimulationError(
        f"the relaxation left what the model knows at step {step}: {problem}. Start from a structure closer to the "
        "training data, or train with structures like this one"
    )

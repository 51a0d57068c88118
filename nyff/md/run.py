"""Molecular dynamics with a model, in a folder that explains itself and resumes bit for bit.

The folder holds ``config.yaml`` (what was asked), ``model.nyff`` (a copy), ``md.csv`` (one row every so many steps,
units in the names), ``trajectory.extxyz`` or ``.traj`` (with energies, forces and momenta), ``checkpoint.npz`` and,
at the end, ``final.xyz``; after a stop ``last_good.xyz``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ase
import numpy as np
from ase import Atoms

from nyff._version import __version__
from nyff.calculator import NyffCalculator
from nyff.errors import InputError
from nyff.files import new_folder
from nyff.md.checkpoint import Checkpoint
from nyff.md.integrators import make_integrator
from nyff.md.limits import START_REMEDY, Limits, Watch
from nyff.md.momenta import at_rest, boltzmann_momenta
from nyff.md.observe import Progress
from nyff.md.options import MDOptions, parse_time, read_config, write_config
from nyff.md.simulation import MDResult, Simulation

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField


def run_md(
    model: ForceField | str | Path,
    atoms: Atoms,
    *,
    output: str | Path,
    ensemble: str = "nve",
    temperature: float = 300.0,
    timestep: float | str = 0.5,
    time: float | str = "1ps",
    seed: int = 0,
    friction: float = 0.01,
    thermostat_time: float | str = 50.0,
    keep_momenta: bool = False,
    trajectory: str = "extxyz",
    frame_interval: int = 20,
    log_interval: int = 10,
    checkpoint_seconds: float = 30.0,
    limits: Limits | None = None,
    device: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> MDResult:
    """Simulate ``atoms`` under ``model`` and write everything into the new folder ``output``.

    Args:
        model: a force field or the path of one.
        atoms: the start; it is not changed.
        output: a folder that does not exist yet.
        ensemble: ``"nve"``, ``"langevin"`` or ``"nose-hoover"``.
        temperature: in K. Momenta are drawn at it, without net momentum and rotation.
        timestep: in fs, or text such as ``"0.5fs"``.
        time: how long to simulate, in fs, or text such as ``"10ps"``.
        seed: decides momenta and noise; the same seed gives the same simulation.
        friction: of Langevin, in 1/fs.
        thermostat_time: period of the Nosé-Hoover chain, in fs.
        keep_momenta: start with the momenta of ``atoms``, of which net momentum and rotation are removed.
        trajectory: ``"extxyz"`` or ``"traj"``.
        frame_interval: steps between frames of the trajectory.
        log_interval: steps between rows of ``md.csv``.
        checkpoint_seconds: time between checkpoints; one is also written at the end and on Ctrl-C or SIGTERM.
        limits: how far past the training data to go before stopping, see :class:`~nyff.md.limits.Limits`.
        device: as for :class:`~nyff.calculator.NyffCalculator`.
        progress: called a few times a second and at the end.

    Raises :class:`~nyff.errors.InputError` before the first step for anything that cannot work, and
    :class:`~nyff.errors.SimulationError` when the simulation leaves what the model knows; ``last_good.xyz`` then has
    the last frame that was in order. Ctrl-C and SIGTERM take effect after the step, once a checkpoint is written;
    :func:`resume_md` continues.
    """
    options = MDOptions(
        ensemble=ensemble,
        temperature=float(temperature),
        timestep=parse_time(timestep, "timestep"),
        time=parse_time(time),
        seed=int(seed),
        friction=float(friction),
        thermostat_time=parse_time(thermostat_time, "thermostat_time"),
        keep_momenta=bool(keep_momenta),
        trajectory=trajectory,
        frame_interval=int(frame_interval),
        log_interval=int(log_interval),
        checkpoint_seconds=float(checkpoint_seconds),
    )
    limits = limits or Limits()
    calculator = NyffCalculator(model, device)
    _check_start(atoms, calculator, Watch(calculator.model, limits), options)
    folder = new_folder(output)
    calculator.model.save(folder / "model.nyff")
    write_config(
        folder / "config.yaml",
        options,
        nyff=__version__,
        ase=ase.__version__,
        molecule=atoms.get_chemical_formula("hill"),
        model_checksum=calculator.model.checksum,
        device=str(calculator.model.device),
        limits=asdict(limits),
    )
    rng = np.random.default_rng(options.seed)
    moving = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    periodic = bool(atoms.pbc.any())
    if atoms.has("masses"):
        moving.set_masses(atoms.get_masses())
    moving.set_momenta(atoms.get_momenta())
    integrator = make_integrator(options, moving, rng)
    masses, positions = moving.get_masses(), moving.get_positions()
    if options.keep_momenta:
        moving.set_momenta(at_rest(positions, masses, moving.get_momenta(), periodic=periodic))
    else:
        n_dof, temperature = integrator.n_dof, options.temperature
        moving.set_momenta(boltzmann_momenta(positions, masses, temperature, rng, n_dof, periodic=periodic))
    return Simulation(folder, options, limits, calculator, integrator).run(progress)


def resume_md(
    run: str | Path,
    *,
    time: float | str | None = None,
    model: ForceField | str | Path | None = None,
    limits: Limits | None = None,
    device: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> MDResult:
    """Continue the simulation in folder ``run`` from its checkpoint, to its end or to a new total ``time``.

    What was written after the checkpoint is cut off first, so that log and trajectory become what they would have
    been without the interruption: on the CPU to the last bit. ``model`` replaces the copy in the folder, but must have
    the same checksum; ``limits`` and ``device`` replace those of the run.

    Raises :class:`~nyff.errors.FileFormatError` when the folder is not a complete run.
    """
    folder = Path(run)
    options, described = read_config(folder / "config.yaml")
    checkpoint = Checkpoint.load(folder / "checkpoint.npz")
    calculator = NyffCalculator(folder / "model.nyff" if model is None else model, device or described.get("device"))
    if calculator.model.checksum != described.get("model_checksum"):
        raise InputError(
            f"the model is not the one this simulation was started with (checksum {calculator.model.checksum[:12]}, "
            f"config.yaml says {str(described.get('model_checksum'))[:12]}); start a new simulation for another model"
        )
    if time is not None:
        options = replace(options, time=parse_time(time))
        if options.steps < checkpoint.step:
            raise InputError(
                f"time must not be before the checkpoint at {checkpoint.step * options.timestep:g} fs, "
                f"got {options.time:g} fs; it is the total time"
            )
    limits = limits or Limits(**described.get("limits", {}))
    write_config(folder / "config.yaml", options, **{**described, "limits": asdict(limits)})
    arrays = checkpoint.arrays
    pbc = getattr(calculator.model, "pbc", False)
    moving = Atoms(numbers=calculator.model.numbers, positions=arrays["positions"], cell=arrays["cell"], pbc=pbc)
    if "masses" in arrays:
        moving.set_masses(arrays["masses"])
    moving.set_momenta(arrays["momenta"])
    integrator = make_integrator(options, moving, np.random.default_rng(options.seed))
    integrator.restore(checkpoint.values, arrays)
    return Simulation(folder, options, limits, calculator, integrator, checkpoint).run(progress)


def _check_start(atoms: Atoms, calculator: NyffCalculator, watch: Watch, options: MDOptions) -> None:
    """Everything that can be known to be wrong before a folder is made."""
    calculator.check_atoms(atoms)
    if atoms.constraints:
        raise InputError(
            "simulations with constraints are not supported, the structure has "
            f"{', '.join(type(c).__name__ for c in atoms.constraints)}; remove them with atoms.set_constraint(), or "
            "use ASE's dynamics with NyffCalculator"
        )
    if options.keep_momenta and not atoms.has("momenta"):
        raise InputError("keep_momenta needs a structure with momenta, got one without; leave keep_momenta out")
    problem = watch.distances(atoms.positions)
    if problem is None:
        trial = calculator.copy()
        trial.calculate(atoms)
        problem = watch.forces(trial.results["energy"], trial.results["forces"])
    if problem is not None:
        raise InputError(f"the start structure is far from the training data: {problem}. {START_REMEDY}")

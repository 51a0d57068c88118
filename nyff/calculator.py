"""A trained model as an ASE calculator.

Everything ASE knows how to do with energies and forces works with it: dynamics, optimisers, nudged elastic bands,
vibrations, trajectories and databases. The model itself keeps no state, so any number of calculators may share one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    CalculatorSetupError,
    Parameters,
    all_changes,
)
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from nyff.errors import InputError, SimulationError

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField


log = logging.getLogger(__name__)

STRESS_CAVEAT = (
    "the stress is the strain derivative of a model that was trained on forces in one lattice; forces do not determine "
    "it, so check it against the reference before you rely on it"
)


class WrongAtomsError(InputError, CalculatorSetupError):
    """The structure is not one the model was made for: other elements, another order, or periodic."""


class NotFiniteError(SimulationError, CalculationFailed):
    """The model was given, or answered with, numbers that are not finite."""


class NyffCalculator(Calculator):
    """ASE calculator for a nyff model: energy, free energy (the same number) and forces, in eV and eV/Å.

    A model of a crystal also gives the stress, in eV/Å³, which forces at one lattice do not determine: see
    :mod:`nyff.model.stress`.

    Args:
        model: a :class:`~nyff.model.force_field.ForceField`, or the path of a ``.nyff`` file.
        device: where to compute, such as ``"cpu"`` or ``"cuda:0"``. By default a model stays where it is and a file
            is read to the CPU.

    The model is for one molecule: structures must have its elements in its order, without periodic boundaries, or for
    one periodic system: then they must have its boundaries and, but for a rotation or a small strain, its cell. Others
    raise :class:`WrongAtomsError`; numbers that are not finite raise :class:`NotFiniteError`. One calculator serves
    one structure at a time; for several structures or threads take :meth:`copy`, which shares the model and costs
    microseconds, or :meth:`evaluate_many`.
    """

    name = "nyff"
    # A fresh list: ASE's base classes share theirs, so adding to it in place would change every calculator.
    implemented_properties: list[str] = ["energy", "free_energy", "forces"]  # noqa: RUF012
    # A molecule's energy depends on none of these. Periodic boundaries are refused, see check_state.
    ignored_changes: set[str] = {"initial_charges", "initial_magmoms", "cell", "pbc"}  # noqa: RUF012

    def __init__(self, model: ForceField | str | Path, device: str | None = None) -> None:
        super().__init__()
        # ASE writes the parameters into trajectories and databases as JSON: text and numbers only.
        described: dict[str, str] = {}
        if isinstance(model, str | Path):
            from nyff.model.file import load

            described["model"] = str(model)
            model = load(model, device=device or "cpu")
        elif device is not None:
            from nyff.model.file import checked_device

            model = model.to(checked_device(device))
        self._model = model
        self._numbers = np.array(model.numbers, dtype=np.int64)
        # Models that only predict, as in tests and from elsewhere, are for molecules.
        self._cell: np.ndarray | None = getattr(model, "cell", None)
        self._periodic = np.zeros(3, dtype=bool)
        self._warned = False
        if self._cell is not None:
            self._periodic = np.array(model.pbc)
            self.ignored_changes = {"initial_charges", "initial_magmoms"}
            if self._periodic.all():
                self.implemented_properties = [*type(self).implemented_properties, "stress"]
        self.parameters = Parameters(described, checksum=model.checksum, device=str(model.device))

    @property
    def model(self) -> ForceField:
        """The model, shared with every copy of this calculator."""
        return self._model

    def copy(self) -> NyffCalculator:
        """Another calculator with the same model and no results, for another structure or thread."""
        twin = NyffCalculator(self._model)
        twin.parameters = Parameters(self.parameters)
        return twin

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Refuse: the parameters say which model this is, and changing what they say would not change the model."""
        if kwargs:
            raise InputError(
                f"the parameters of a NyffCalculator cannot be changed, got {', '.join(kwargs)}; "
                "make a new one: NyffCalculator(model, device=...)"
            )
        return {}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; raises :class:`WrongAtomsError` for boundaries not the model's.

        Positions count as changed when any bit of them did, whatever ``tol`` says.
        """
        self._check_boundaries(atoms)
        if self.atoms is None:
            return list(all_changes)
        known, asked = self.atoms.arrays, atoms.arrays
        changes = [name for name in ("positions", "numbers") if not _same(known[name], asked[name])]
        if self._cell is not None and not _same(self.atoms.cell.array, atoms.cell.array):
            changes.append("cell")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy and forces of ``atoms`` (default: those of the last call) into ``results``."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("NyffCalculator.calculate needs atoms: pass them, or set atoms.calc and ask the atoms")
        self.check_atoms(atoms)
        arrays = atoms.arrays
        self.atoms = Atoms(arrays["numbers"], positions=arrays["positions"], cell=atoms.cell, pbc=atoms.pbc)
        self.results = {}
        energies, forces, stress = self._predict(arrays["positions"][None], atoms.cell.array)
        energy = float(energies[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": forces[0]}
        if stress is not None and "stress" in properties:
            # Only when asked for, because of what is said here.
            if not self._warned:
                self._warned = True
                log.warning("%s", STRESS_CAVEAT)
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress[0])

    def evaluate_many(self, structures: Sequence[Atoms]) -> list[Atoms]:
        """Evaluate structures in one batched prediction; neither they nor this calculator change.

        Returns copies that carry their own energy, free energy and forces, so that they can be written, compared and
        kept. Raises as single calculations do, naming the structure by its place in the list.
        """
        for place, atoms in enumerate(structures):
            try:
                self.check_atoms(atoms)
            except WrongAtomsError as error:
                raise WrongAtomsError(f"structure {place}: {error}") from None
        if not structures:
            return []
        if self._cell is not None and not all(_same(structures[0].cell.array, a.cell.array) for a in structures):
            return [self.evaluate_many([atoms])[0] for atoms in structures]
        cell = structures[0].cell.array
        energies, forces, _ = self._predict(np.stack([atoms.positions for atoms in structures]), cell)
        evaluated = []
        for atoms, energy, force in zip(structures, energies.tolist(), forces, strict=True):
            frozen = atoms.copy()
            frozen.calc = SinglePointCalculator(frozen, energy=energy, free_energy=energy, forces=force)
            frozen.calc.name = self.name
            evaluated.append(frozen)
        return evaluated

    def get_hessian(self, atoms: Atoms | None = None) -> np.ndarray:
        """Analytic second derivatives of the energy [3·atoms, 3·atoms] in eV/Å²; by default at the last calculation."""
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("NyffCalculator.get_hessian needs atoms: pass them, or calculate something first")
        self.check_atoms(atoms)
        if self._cell is not None and not self._in_own_cell(atoms):
            raise WrongAtomsError(
                f"a Hessian is given in the model's own cell only, {self._cell.tolist()}, got "
                f"{atoms.cell.array.tolist()}"
            )
        found: np.ndarray = self._model.hessian(atoms.arrays["positions"][None])[0]
        if not np.isfinite(found).all():
            raise NotFiniteError("the model's Hessian is not finite, most likely because two atoms coincide")
        return found

    def check_atoms(self, atoms: Atoms) -> None:
        """Raise :class:`WrongAtomsError` unless ``atoms`` has the model's elements in its order, and its boundaries."""
        self._check_boundaries(atoms)
        if _same(atoms.arrays["numbers"], self._numbers):
            return
        wanted, got = _symbols(self._numbers), _symbols(atoms.numbers)
        remedy = "take the structure or the model of the right molecule"
        if sorted(self._numbers) == sorted(atoms.numbers):
            problem = "the atoms are in another order than the model's"
            remedy = "reorder the structure like the training data: atoms = atoms[[...]]"
        elif len(atoms) != len(self._numbers):
            problem = f"the structure has {len(atoms)} atoms, the model is for {len(self._numbers)}"
        else:
            problem = "the structure has other elements than the model"
        raise WrongAtomsError(f"{problem}: the model is for {wanted}, got {got}; {remedy}")

    def _check_boundaries(self, atoms: Atoms) -> None:
        if self._cell is None:
            if atoms.pbc.any():
                raise WrongAtomsError(
                    "the model is for one molecule without periodic boundaries, got atoms with "
                    f"pbc={atoms.pbc.tolist()}; if they are one whole molecule, set atoms.pbc = False, or "
                    'pbc="F F F" in an extended XYZ file; a cell may stay'
                )
            return
        if not _same(atoms.pbc, self._periodic):
            raise WrongAtomsError(
                f"the model is for a system with pbc={self._periodic.tolist()}, got atoms with "
                f"pbc={atoms.pbc.tolist()}; set atoms.pbc and atoms.cell to the model's"
            )
        if not self._periodic.all() and not self._in_own_cell(atoms):
            raise WrongAtomsError(
                f"the model is for the cell {self._cell.tolist()}, got {atoms.cell.array.tolist()}; where it is not "
                "periodic in all directions it must be exactly that one"
            )

    def _in_own_cell(self, atoms: Atoms) -> bool:
        assert self._cell is not None
        rows = self._periodic
        return bool(np.allclose(atoms.cell.array[rows], self._cell[rows], rtol=0, atol=1e-8))

    def _predict(self, positions: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Energies [B], forces [B,N,3] and, of crystals, stresses [B,3,3] of positions [B,N,3], all finite."""
        stress = None
        if not self._periodic.all():
            energies, forces = self._model.predict(positions)
        else:
            try:
                energies, forces, stress = self._model.predict_with_stress(positions, cell)
            except InputError as error:
                raise WrongAtomsError(str(error)) from None
        # One sum is not finite when any of its terms is not; only then look for the culprit.
        if not np.isfinite(energies.sum() + forces.sum()):
            good = np.isfinite(energies) & np.isfinite(forces).all(axis=(1, 2))
            if not good.all():
                bad = int(np.flatnonzero(~good)[0])
                place = f" of structure {bad}" if len(positions) > 1 else ""
                cause = "two atoms coincide" if np.isfinite(positions[bad]).all() else "a position is not finite"
                raise NotFiniteError(
                    f"the model's energy or forces{place} are not finite, most likely because {cause}; look at the "
                    "structure, and at the time step if this is a simulation"
                )
        return energies, forces, stress


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """np.array_equal, in a third of its time: this runs several times in every step of a simulation."""
    return a.shape == b.shape and bool((a == b).all())


def _symbols(numbers: Sequence[int] | np.ndarray) -> str:
    return " ".join(chemical_symbols[number] for number in numbers)

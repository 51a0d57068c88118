"""Labelled structures of one molecule: frozen arrays in eV, Å and eV/Å.

=============  ===============================  ==========
name           shape                            unit
=============  ===============================  ==========
``numbers``    [atoms]                          –
``positions``  [frames, atoms, 3]               Å
``forces``     [frames, atoms, 3]               eV/Å
``energies``   [frames], or None                eV
``cell``       [3, 3], rows are the vectors     Å
=============  ===============================  ==========

The constructor checks shapes and kinds only, so that it costs nothing; :func:`nyff.data.check.check` is the gate that
looks at the numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nyff.errors import InputError

Index = slice | int | Sequence[int] | Sequence[bool] | NDArray[Any]

_FROM_ZERO = cast("NDArray[np.int64]", None)  # `frames` is always an array once constructed


@dataclass(frozen=True, eq=False)
class Dataset:
    """Structures of one molecule with forces and, if there are any, energies; arrays are read-only.

    ``energies`` may be left out (None): forces alone determine the force field up to a constant. ``cell`` belongs to
    periodic systems and is the same for all structures. ``frames`` numbers each structure as it stood in its source,
    from 0, and follows it through slices. ``source`` is JSON-able provenance: files, units, theory. ``hints`` are
    what :func:`nyff.data.check.check` found odd about the data, one readable sentence each.

    Raises :class:`InputError` when shapes disagree or arrays are not numbers.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    forces: NDArray[np.float64]
    energies: NDArray[np.float64] | None = None
    cell: NDArray[np.float64] | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)
    name: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    frames: NDArray[np.int64] = _FROM_ZERO
    hints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = _frozen("numbers", self.numbers, np.int64)
        positions = _frozen("positions", self.positions, np.float64)
        _expect("numbers", numbers, (None,), "[atoms]")
        if positions.shape == (len(numbers), 3):
            raise InputError(
                f"`positions` must have shape [frames, atoms, 3], got {list(positions.shape)}; "
                "add a leading axis for one structure"
            )
        atoms = len(numbers)
        _expect("positions", positions, (None, atoms, 3), f"[frames, {atoms} atoms, 3]")
        count = len(positions)
        if atoms < 2 or numbers.min() < 1:
            raise InputError(f"`numbers` must hold the atomic numbers of at least two atoms, got {numbers.tolist()}")
        forces = _frozen("forces", self.forces, np.float64)
        _expect("forces", forces, (count, atoms, 3), f"[{count} frames, {atoms} atoms, 3] like `positions`")
        energies = None
        if self.energies is not None:
            energies = _frozen("energies", self.energies, np.float64)
            _expect("energies", energies, (count,), f"[{count} frames] like `positions`")
        cell = None
        if self.cell is not None:
            cell = _frozen("cell", self.cell, np.float64)
            _expect("cell", cell, (3, 3), "[3, 3], rows are the lattice vectors")
        pbc = tuple(bool(flag) for flag in self.pbc)
        if len(pbc) != 3:
            raise InputError(f"`pbc` must be three booleans, one per lattice vector, got {self.pbc!r}")
        if any(pbc) and cell is None:
            raise InputError(f"`pbc` is {pbc} but there is no `cell`; give the lattice vectors, or pbc=False for all")
        frames = _frozen("frames", np.arange(count) if self.frames is _FROM_ZERO else self.frames, np.int64)
        _expect("frames", frames, (count,), f"[{count} frames] like `positions`")
        values = {
            "numbers": numbers,
            "positions": positions,
            "forces": forces,
            "energies": energies,
            "cell": cell,
            "pbc": pbc,
            "source": _json_copy(self.source),
            "frames": frames,
            "hints": tuple(self.hints),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in each structure."""
        return len(self.numbers)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of each atom."""
        return symbols(self.numbers)

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order, such as ``C2H6O``."""
        return formula(self.numbers)

    def __getitem__(self, index: Index) -> Dataset:
        """The chosen structures as a Dataset; ``index`` is a slice, an integer, integers or a boolean mask."""
        chosen: Any = index
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"structure {index} of a data set of {len(self)}")
            chosen = np.array([index])
        elif not isinstance(index, slice):
            chosen = np.asarray(index)
            if chosen.size == 0:
                chosen = chosen.astype(np.int64)
        return Dataset(
            numbers=self.numbers,
            positions=self.positions[chosen],
            forces=self.forces[chosen],
            energies=None if self.energies is None else self.energies[chosen],
            cell=self.cell,
            pbc=self.pbc,
            name=self.name,
            source=self.source,
            frames=self.frames[chosen],
        )

    def __iter__(self) -> Iterator[Dataset]:
        """One structure at a time."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        labels = "forces" if self.energies is None else "energies and forces"
        title = f"{self.name}: " if self.name else ""
        return f"<Dataset {title}{len(self)} structures of {self.formula} ({self.n_atoms} atoms) with {labels}>"

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of atoms, positions, energies, forces and cell; the same on every machine."""
        digest = hashlib.sha256()
        for name in ("numbers", "positions", "energies", "forces", "cell"):
            value = getattr(self, name)
            digest.update(name.encode())
            if value is not None:
                little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
                digest.update(repr(value.shape).encode())
                digest.update(little.tobytes())
        digest.update(repr(self.pbc).encode())
        return digest.hexdigest()


def concatenate(datasets: Sequence[Dataset], names: Sequence[str] | None = None) -> Dataset:
    """Join data sets of the same molecule, in the order given; frames are numbered afresh.

    ``names`` say in messages which is which, such as the files they came from.

    Raises :class:`InputError` when the atoms, their order or the cells differ, or when only some have energies.
    """
    if not datasets:
        raise InputError("`datasets` is empty; give at least one data set")
    first = datasets[0]
    names = [f"data set {k}" for k in range(len(datasets))] if names is None else names
    for name, other in zip(names, datasets, strict=True):
        require_same_atoms(first.numbers, other.numbers, name)
        if (other.energies is None) != (first.energies is None):
            having, lacking = (names[0], name) if other.energies is None else (name, names[0])
            raise InputError(f"{having} has energies and {lacking} has none; give energies for all of them or for none")
        if first.pbc != other.pbc or not same_cell(first.cell, other.cell):
            raise InputError(f"{name} has another cell than {names[0]}; nyff needs one fixed cell, keep them apart")
    return Dataset(
        numbers=first.numbers,
        positions=np.concatenate([d.positions for d in datasets]),
        forces=np.concatenate([d.forces for d in datasets]),
        energies=None if first.energies is None else np.concatenate([cast(Any, d.energies) for d in datasets]),
        cell=first.cell,
        pbc=first.pbc,
        name=first.name,
        source=first.source if len(datasets) == 1 else {"parts": [d.source for d in datasets]},
    )


def require_same_atoms(expected: NDArray[np.int64], got: NDArray[np.int64], where: str) -> None:
    """Raise :class:`InputError` naming ``where`` and the first differing atom unless atoms and order agree."""
    if np.array_equal(expected, got):
        return
    if sorted(expected.tolist()) == sorted(got.tolist()):
        atom = int(np.flatnonzero(expected != got)[0])
        raise InputError(
            f"{where} has its atoms in another order: atom {atom} is {symbols(got)[atom]}, the first structure has "
            f"{symbols(expected)[atom]} there; sort the atoms the same way in all structures"
        )
    wanted, came = formula(expected), formula(got)
    raise InputError(
        f"{where} is another molecule: {came} with {len(got)} atoms, the first structure is {wanted} with "
        f"{len(expected)}; a force field is for one molecule, so put each molecule into files of its own"
    )


def same_cell(a: NDArray[np.float64] | None, b: NDArray[np.float64] | None) -> bool:
    """Whether both are None or the same lattice to 1e-8 Å."""
    if a is None or b is None:
        return a is b
    return bool(np.allclose(a, b, rtol=0, atol=1e-8))


def symbols(numbers: NDArray[np.int64]) -> list[str]:
    """Chemical symbols; ``Z200`` and the like for elements that have none."""
    from ase.data import chemical_symbols

    return [chemical_symbols[n] if n < len(chemical_symbols) else f"Z{n}" for n in numbers.tolist()]


def formula(numbers: NDArray[np.int64]) -> str:
    """Chemical formula in Hill order."""
    from ase.formula import Formula

    return str(Formula.from_list(symbols(numbers)).format("hill"))


def _frozen(name: str, value: ArrayLike, dtype: type) -> NDArray[Any]:
    """A contiguous read-only array that nobody else can write to."""
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "iufb" or (dtype is np.int64 and raw.dtype.kind == "f" and np.any(raw % 1)):
            raise TypeError
    except (TypeError, ValueError):
        kind = "integers" if dtype is np.int64 else "real numbers"
        raise InputError(f"`{name}` must be an array of {kind}, got {_describe(value)}") from None
    array: NDArray[Any] = np.asarray(raw, dtype=dtype, order="C")
    if np.may_share_memory(array, raw) and _anyone_can_write(array):
        array = array.copy()
    array.setflags(write=False)
    return array


def _anyone_can_write(array: NDArray[Any]) -> bool:
    owner: object = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return True
        owner = owner.base
    return owner is not None


def _describe(value: object) -> str:
    array = value if isinstance(value, np.ndarray) else None
    return f"{type(value).__name__}" if array is None else f"dtype {array.dtype} with shape {list(array.shape)}"


def _expect(name: str, array: NDArray[Any], shape: tuple[int | None, ...], wanted: str) -> None:
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise InputError(f"`{name}` must have shape {wanted}, got {list(array.shape)}")


def _json_copy(source: Mapping[str, Any]) -> dict[str, Any]:
    try:
        copy = json.loads(json.dumps(dict(source)))
    except (TypeError, ValueError) as error:
        raise InputError(f"`source` must be JSON-able provenance (text, numbers, lists, dicts): {error}") from None
    return cast("dict[str, Any]", copy)

"""Labelled structures in the files ASE reads: extended XYZ, ``.traj`` and ``.db``.

Their numbers are eV and Å by ASE's convention. Labels are looked for under the names the user gives, else as
``REF_energy`` and ``REF_forces``, else among the results of the structure's calculator; wherever the first structure
has them, all others must have them too.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nyff.data.dataset import Dataset, require_same_atoms, same_cell
from nyff.errors import FileFormatError, InputError
from nyff.units import EV_ANGSTROM, Units

if TYPE_CHECKING:
    from ase import Atoms

FORMATS = {".xyz": "extxyz", ".extxyz": "extxyz", ".traj": "traj", ".db": "db"}
_TITLES = {"extxyz": "extended XYZ", "traj": "an ASE trajectory", "db": "an ASE database"}
_ENERGIES = ("REF_energy", "energy", "free_energy")
_FORCES = ("REF_forces", "forces")


def read_atoms(
    path: Path, units: Units | None = None, energy_key: str | None = None, forces_key: str | None = None
) -> Dataset:
    """Read all structures of one file; ``units`` are for files that break ASE's convention.

    Raises :class:`FileFormatError` for a file that cannot be read, :class:`InputError` when the atoms change from one
    structure to the next or labels are missing.
    """
    units = units or EV_ANGSTROM
    energy_names = (energy_key,) if energy_key else _ENERGIES
    forces_names = (forces_key,) if forces_key else _FORCES
    positions: list[NDArray[np.float64]] = []
    forces: list[NDArray[np.float64]] = []
    energies: list[float] = []
    with closing(_structures(path)) as structures:
        first = next(structures, None)
        if first is None:
            raise FileFormatError(f"{path} holds no structures; it is empty or another kind of file, write it again")
        values = _values(first)
        forces_in = _find(values, forces_names)
        energies_in = _find(values, energy_names)
        if not forces_in:
            raise _without_labels("forces", "forces_key", forces_names, values, f"frame 0 of {path}")
        if energy_key and not energies_in:
            raise _without_labels("energy", "energy_key", energy_names, values, f"frame 0 of {path}")
        for frame, atoms in enumerate(chain([first], structures)):
            where, values = f"frame {frame} of {path}", _values(atoms)
            _require_same_system(first, atoms, where)
            _require_same_key("forces", "forces_key", forces_in, _find(values, forces_names), where)
            _require_same_key("energy", "energy_key", energies_in, _find(values, energy_names), where)
            positions.append(atoms.positions)
            forces.append(_numbers(values[forces_in], (len(atoms), 3), forces_in, where))
            if energies_in:
                energies.append(float(_numbers(values[energies_in], (), energies_in, where)))
    periodic = bool(first.pbc.any())
    return Dataset(
        numbers=first.numbers,
        positions=np.array(positions) * units.length,
        forces=np.array(forces) * units.force,
        energies=np.array(energies) * units.energy if energies_in else None,
        cell=np.array(first.cell) * units.length if periodic else None,
        pbc=tuple(first.pbc.tolist()),
        name=path.name.split(".")[0],
        source={"units": str(units)},
    )


def write_extxyz(dataset: Dataset, path: Path) -> None:
    """Write extended XYZ with ``REF_energy`` in eV and ``REF_forces`` in eV/Å, every digit of every number.

    ASE's own writer rounds to 1e-8, so these lines are written here.
    """
    lattice = ""
    if any(dataset.pbc) and dataset.cell is not None:
        lattice = 'Lattice="' + " ".join(repr(x) for x in dataset.cell.ravel().tolist()) + '" '
    pbc = " ".join("T" if flag else "F" for flag in dataset.pbc)
    symbols = dataset.symbols
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for k in range(len(dataset)):
            energy = "" if dataset.energies is None else f"REF_energy={float(dataset.energies[k])!r} "
            stream.write(f"{dataset.n_atoms}\n")
            stream.write(f'{lattice}Properties=species:S:1:pos:R:3:REF_forces:R:3 {energy}pbc="{pbc}"\n')
            rows = np.hstack([dataset.positions[k], dataset.forces[k]]).tolist()
            for symbol, row in zip(symbols, rows, strict=True):
                stream.write(f"{symbol} {' '.join(map(repr, row))}\n")


def _structures(path: Path) -> Generator[Atoms, None, None]:
    """One structure after the other; whatever ASE stumbles over becomes a :class:`FileFormatError`."""
    kind = next(FORMATS[suffix] for suffix in reversed(path.suffixes) if suffix.lower() in FORMATS)
    count = 0
    try:
        for atoms in _rows(path) if kind == "db" else _frames(path, kind):
            count += 1
            yield atoms
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise FileFormatError(
            f"{path} cannot be read as {_TITLES[kind]} after {count} structures ({type(error).__name__}: {error}); "
            "it is truncated, damaged, or another kind of file: write it again"
        ) from error


def _frames(path: Path, kind: str) -> Iterator[Atoms]:
    from ase.io import iread

    yield from iread(str(path), index=":", format=kind)


def _rows(path: Path) -> Iterator[Atoms]:
    from ase.db import connect

    with connect(str(path), type="db", use_lock_file=False) as database:
        for row in database.select():
            yield row.toatoms(add_additional_information=True)


def _values(atoms: Atoms) -> dict[str, Any]:
    """Everything a structure carries under a name: calculator results, per-atom arrays, info, database fields."""
    values: dict[str, Any] = {}
    if atoms.calc is not None:
        values.update({key: value for key, value in atoms.calc.results.items() if value is not None})
    values.update({key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")})
    for key, value in atoms.info.items():
        values.update(value if key in ("key_value_pairs", "data") and isinstance(value, Mapping) else {key: value})
    return values


def _find(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in values), "")


def _numbers(value: Any, shape: tuple[int, ...], key: str, where: str) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.shape != shape:
        wanted = "one number" if not shape else f"numbers of shape {list(shape)}"
        raise InputError(
            f"`{key}` in {where} must be {wanted}, got {array.dtype} with shape {list(array.shape)}; name the right key"
        )
    return array.astype(np.float64)


def _require_same_system(first: Atoms, atoms: Atoms, where: str) -> None:
    require_same_atoms(first.numbers, atoms.numbers, where)
    if not np.array_equal(first.pbc, atoms.pbc) or (
        first.pbc.any() and not same_cell(np.array(first.cell), np.array(atoms.cell))
    ):
        raise InputError(
            f"{where} has another cell or other periodic directions than frame 0; nyff needs one fixed cell, keep "
            "structures of different cells in different files"
        )


def _require_same_key(what: str, option: str, expected: str, got: str, where: str) -> None:
    if got == expected:
        return
    flag = f"{option}= (--{option.replace('_', '-')})"
    if not got:
        raise InputError(f"{where} has no {what} and frame 0 has (`{expected}`); label it or remove it")
    if not expected:
        raise InputError(f"{where} has {what} (`{got}`) and frame 0 has none; label all structures or none")
    raise InputError(f"{where} has its {what} in `{got}` and frame 0 in `{expected}`; name one of them with {flag}")


def _without_labels(
    what: str, option: str, names: tuple[str, ...], values: Mapping[str, Any], where: str
) -> InputError:
    flag = f"{option}= (--{option.replace('_', '-')})"
    present = ", ".join(values) or "none"
    return InputError(
        f"{where} has no {what} under {' or '.join(f'`{name}`' for name in names)}; name the right key with {flag}, "
        f"the structure's keys are: {present}"
    )

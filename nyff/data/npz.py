"""Labelled structures in ``.npz`` archives: the keys of MD17/rMD17 and those of sGDML.

===========  ====================  =======  ===================
content      MD17, rMD17           sGDML    shape
===========  ====================  =======  ===================
atoms        ``nuclear_charges``   ``z``    [atoms]
positions    ``coords``            ``R``    [frames, atoms, 3]
forces       ``forces``            ``F``    [frames, atoms, 3]
energies     ``energies``          ``E``    [frames] or [frames, 1]
===========  ====================  =======  ===================

sGDML's keys are due to Chmiela et al., Comput. Phys. Commun. 240, 38 (2019), DOI 10.1016/j.cpc.2019.02.007: units in
``e_unit`` and ``r_unit``, a fixed cell in the columns of ``lattice``, a digest in ``md5``. Archives are opened without
pickle, so that a hostile file cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nyff.data.dataset import Dataset, require_same_atoms
from nyff.errors import FileFormatError, InputError
from nyff.units import EV_ANGSTROM, Units, parse_units

_KEYS = (
    {"numbers": "nuclear_charges", "positions": "coords", "energies": "energies", "forces": "forces"},
    {"numbers": "z", "positions": "R", "energies": "E", "forces": "F"},
)
SGDML_NAMES = {"ev": "eV", "angstrom": "Ang", "ang": "Ang", "kcal/mol": "kcal/mol", "kj/mol": "kJ/mol", "mev": "meV"}
"""Units as sGDML and i-PI spell them; others are written as they were asked for."""
_OTHER_SGDML_FILES = {"m": "model", "t": "training task"}


class Archive:
    """The arrays of an ``.npz`` file, each read when asked for; what is wrong becomes a :class:`FileFormatError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")
        try:
            archive = np.load(self._stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FileFormatError(f"{path} holds a single array, not an .npz archive; save it with numpy.savez")
        except FileFormatError:
            self._stream.close()
            raise
        except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
            self._stream.close()
            raise FileFormatError(
                f"{path} is not a readable .npz archive ({error}): it is truncated, damaged, or another kind of file; "
                "fetch or write it again"
            ) from None
        self._archive = archive
        self.keys: list[str] = list(archive.files)

    def close(self) -> None:
        """Close the file."""
        self._archive.close()
        self._stream.close()

    def __getitem__(self, key: str) -> NDArray[Any]:
        try:
            return cast("NDArray[Any]", self._archive[key])
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise self._broken(key, error) from None
            raise FileFormatError(
                f"`{key}` in {self.path} holds Python objects, which can run code when they are opened, and is "
                "refused; save it as an array of numbers of one shape"
            ) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise self._broken(key, error) from None

    def text(self, key: str) -> str:
        """A string entry, stripped; empty when the key is missing or is not text."""
        if key not in self.keys:
            return ""
        array = self[key]
        if array.ndim or array.dtype.kind not in "US":
            return ""
        value = array[()]
        return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()

    def _broken(self, key: str, error: Exception) -> FileFormatError:
        return FileFormatError(f"`{key}` in {self.path} cannot be read ({error}): the file is damaged; fetch it again")


def read_npz(
    path: Path, units: Units | None = None, energy_key: str | None = None, forces_key: str | None = None
) -> Dataset:
    """Read one archive; ``energy_key`` and ``forces_key`` replace the usual names.

    Raises :class:`FileFormatError` for damaged, foreign and altered archives and for pickled objects,
    :class:`InputError` when units or labels are missing or contradict what was asked for.
    """
    archive = Archive(path)
    try:
        return _read(archive, units, energy_key, forces_key)
    finally:
        archive.close()


def _read(archive: Archive, units: Units | None, energy_key: str | None, forces_key: str | None) -> Dataset:
    path, keys = archive.path, _find_keys(archive)
    for kind, key in (("energies", energy_key), ("forces", forces_key)):
        if key is not None and key not in archive.keys:
            raise InputError(f"{path} has no `{key}` to take the {kind} from; its keys are {_listed(archive)}")
    forces = forces_key or keys["forces"]
    if forces not in archive.keys:
        raise InputError(
            f"{path} has no forces under `{forces}`; name the right key with forces_key= (--forces-key), the keys are "
            f"{_listed(archive)}"
        )
    energies = energy_key or keys["energies"]
    _verify_md5(archive)
    units = stated_units(archive, units)
    positions, labels = archive[keys["positions"]], archive[forces]
    energy = _one_each(archive[energies]) if energies in archive.keys else None
    for name, array in (("positions", positions), ("forces", labels), ("energies", energy)):
        if array is not None and array.dtype.kind not in "iuf":
            raise FileFormatError(f"{name} in {path} must be real numbers, got dtype {array.dtype}; save them again")
    lattice = archive["lattice"] if "lattice" in archive.keys else None
    source: dict[str, Any] = {"theory": theory} if (theory := archive.text("theory")) else {}
    if provenance := _provenance(archive):
        source["provenance"] = provenance
    try:
        return Dataset(
            numbers=_numbers(archive[keys["numbers"]], path),
            positions=positions.astype(np.float64) * units.length,
            forces=labels.astype(np.float64) * units.force,
            energies=None if energy is None else energy.astype(np.float64) * units.energy,
            cell=None if lattice is None else np.asarray(lattice, dtype=np.float64).T * units.length,
            pbc=(lattice is not None,) * 3,
            name=archive.text("name") or path.stem,
            source={**source, "units": str(units)},
        )
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from None


def write_npz(dataset: Dataset, path: Path, units: Units = EV_ANGSTROM) -> None:
    """Write sGDML's keys with its digest; float64 throughout, so that reading gives the same numbers back.

    Raises :class:`InputError` for a system that is periodic in some directions only, which the format cannot say.
    """
    if any(dataset.pbc) and not all(dataset.pbc):
        raise InputError(
            f"an .npz data set is periodic in all directions or in none, this one has pbc={dataset.pbc}; "
            "write extended XYZ (.xyz) instead"
        )
    arrays: dict[str, NDArray[Any]] = {
        "z": dataset.numbers,
        "R": dataset.positions / units.length,
        "F": dataset.forces / units.force,
    }
    ranges = {"F": arrays["F"]}
    if dataset.energies is not None:
        arrays["E"] = ranges["E"] = dataset.energies / units.energy
    for key, values in ranges.items():
        for statistic in ("min", "max", "mean", "var"):
            arrays[f"{key}_{statistic}"] = np.asarray(getattr(np, statistic)(values))
    if any(dataset.pbc) and dataset.cell is not None:
        arrays["lattice"] = np.ascontiguousarray(dataset.cell.T) / units.length
    text = {
        "type": "d",
        "name": dataset.name,
        "theory": str(dataset.source.get("theory", "unknown")),
        "e_unit": SGDML_NAMES.get(units.energy_name.lower(), units.energy_name),
        "r_unit": SGDML_NAMES.get(units.length_name.lower(), units.length_name),
        "provenance": json.dumps(dict(dataset.source)),
    }
    entries: dict[str, Any] = {**{key: np.array(value) for key, value in text.items()}, **arrays}
    entries["md5"] = np.array(sgdml_md5(arrays).encode())
    np.savez(path, **entries)


def sgdml_md5(arrays: dict[str, NDArray[Any]]) -> str:
    """sGDML's digest of a data set: MD5 of the MD5s of the raw buffers of z, R, E (if there) and F."""
    digest = hashlib.md5(usedforsecurity=False)
    for key in ("z", "R", "E", "F"):
        if key in arrays:
            buffer = np.ascontiguousarray(arrays[key]).tobytes()
            digest.update(hashlib.md5(buffer, usedforsecurity=False).digest())
    return digest.hexdigest()


def _find_keys(archive: Archive) -> dict[str, str]:
    for keys in _KEYS:
        if keys["numbers"] in archive.keys and keys["positions"] in archive.keys:
            return keys
    kind = _OTHER_SGDML_FILES.get(archive.text("type"))
    if kind:
        raise FileFormatError(f"{archive.path} is an sGDML {kind}, not a data set; give the data set it was made from")
    raise FileFormatError(
        f"{archive.path} is not a known data set: it needs the keys nuclear_charges, coords, forces, energies (MD17, "
        f"rMD17) or z, R, F, E (sGDML), its keys are {_listed(archive)}; rename them"
    )


def stated_units(archive: Archive, asked: Units | None) -> Units:
    """The units of the file's numbers: what it says and what the user says must agree, and one of them must speak."""
    path, energy, length = archive.path, archive.text("e_unit"), archive.text("r_unit")
    if not (energy and length):
        if asked is None:
            missing = "" if not energy else f" for lengths (its energies are in {energy})"
            raise InputError(
                f"{path} does not say its units{missing}; pass them, such as units='kcal/mol' for rMD17, 'eV' or "
                "'hartree,bohr' (--units; lengths are Å unless given)"
            )
        if not energy:
            return asked
        length = asked.length_name
    try:
        stated = parse_units(f"{energy},{length}")
    except InputError as error:
        if asked is not None:
            return asked
        raise InputError(
            f"{path} is in e_unit {energy!r} and r_unit {length!r}: {error}; pass what they mean as units= (--units)"
        ) from None
    if asked is not None and (asked.energy, asked.length) != (stated.energy, stated.length):
        raise InputError(
            f"units={str(asked)!r} contradicts {path}, which says it is in {str(stated)!r} (e_unit, r_unit); leave "
            "units out, or correct the file if it is wrong"
        )
    return stated


def _verify_md5(archive: Archive) -> None:
    stored = archive.text("md5")
    if not stored or not {"z", "R", "F"} <= set(archive.keys):
        return
    actual = sgdml_md5({key: archive[key] for key in ("z", "R", "E", "F") if key in archive.keys})
    if stored != actual:
        raise FileFormatError(
            f"{archive.path} was altered after it was written: its md5 is {stored}, its content has {actual}; fetch it "
            "again, or remove the md5 key if the change was intended"
        )


def _numbers(charges: NDArray[Any], path: Path) -> NDArray[Any]:
    """Atomic numbers [atoms], also from one row per structure when the rows agree."""
    if charges.ndim != 2 or not len(charges) or charges.dtype.kind not in "iu":
        return charges
    for frame in np.flatnonzero((charges != charges[0]).any(axis=1))[:1]:
        require_same_atoms(charges[0], charges[frame], f"frame {frame} of {path}")
    return cast("NDArray[Any]", charges[0])


def _one_each(energies: NDArray[Any]) -> NDArray[Any]:
    """Energies [frames] from [frames, 1], as some writers store them."""
    return energies[:, 0] if energies.ndim == 2 and energies.shape[1] == 1 else energies


def _provenance(archive: Archive) -> Any:
    """How the file was made, as nyff's own files tell it in JSON."""
    try:
        return json.loads(archive.text("provenance") or "null")
    except ValueError:
        return archive.text("provenance")


def _listed(archive: Archive) -> str:
    return ", ".join(archive.keys) or "none"

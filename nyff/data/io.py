"""Reading and writing labelled structures: one call for every format, several files and folders of files."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nyff.data.atoms import FORMATS, read_atoms, write_extxyz
from nyff.data.check import check
from nyff.data.dataset import Dataset, concatenate
from nyff.data.npz import read_npz, write_npz
from nyff.errors import FileFormatError, InputError
from nyff.files import atomic_write
from nyff.units import EV_ANGSTROM, Units, parse_units

_LOG = logging.getLogger("nyff.data")
_READERS = {".npz": "npz", **FORMATS}
_COMPRESSED = (".gz", ".bz2", ".xz")


def read_dataset(
    paths: str | Path | Sequence[str | Path],
    units: str | None = None,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    minimum: int = 2,
) -> Dataset:
    """Read labelled structures of one molecule from a file, a folder of files, or several of them in the order given.

    Formats, by suffix: extended XYZ (``.xyz``, ``.extxyz``, also compressed), ASE ``.traj`` and ``.db`` (see
    :mod:`nyff.data.atoms`), ``.npz`` with the keys of MD17/rMD17 or of sGDML (see :mod:`nyff.data.npz`).

    ``units`` is ENERGY or ENERGY,LENGTH, such as ``"kcal/mol"`` or ``"hartree,bohr"``; it is needed for ``.npz`` files
    that do not say theirs, and ASE's formats are eV and Å without it. ``energy_key`` and ``forces_key`` name labels
    that are stored under other names than usual. ``minimum`` is the smallest number of structures to accept.

    The result has passed :func:`nyff.data.check.check`; what it found odd is in ``.hints`` and is logged as warnings of
    the logger ``nyff.data``. ``.source`` tells files, digests and units.

    Raises :class:`FileFormatError` for files that cannot be read, :class:`InputError` for everything else.
    """
    asked = None if units is None else parse_units(units)
    files = _files(paths)
    parts = [_read(file, asked, energy_key, forces_key) for file in files]
    joined = concatenate(parts, names=[str(file) for file in files])
    dataset = check(replace(joined, source=_source(files, parts)), minimum=minimum)
    for hint in dataset.hints:
        _LOG.warning("%s: %s", dataset.name, hint)
    return dataset


def write_dataset(dataset: Dataset, path: str | Path, *, units: str | None = None, overwrite: bool = False) -> None:
    """Write extended XYZ (``.xyz``, ``.extxyz``) or an ``.npz`` with sGDML's keys, in eV and Å, without losing a digit.

    ``units``, such as ``"kcal/mol"``, are others for an ``.npz``: sGDML compares numbers without looking at units, so
    its data sets and models have to agree. Extended XYZ is always in eV and Å.

    The file appears in one step or not at all. Raises :class:`InputError` when it exists already, unless ``overwrite``,
    when the suffix is another one, or when the place cannot be written to.
    """
    path = Path(path)
    chosen = EV_ANGSTROM if units is None else parse_units(units)
    writers: dict[str, Callable[[Dataset, Path], None]] = {
        ".npz": partial(write_npz, units=chosen),
        ".xyz": write_extxyz,
        ".extxyz": write_extxyz,
    }
    if path.suffix.lower() not in writers:
        raise InputError(f"cannot write {path}: its format is unknown; use one of the suffixes {', '.join(writers)}")
    if units is not None and path.suffix.lower() != ".npz":
        raise InputError(f"{path.suffix} files are in eV and Å, got units={units!r}; leave units out, or write .npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name, or pass overwrite=True to replace it")
    with atomic_write(path) as temporary:
        writers[path.suffix.lower()](dataset, temporary)


def _read(file: Path, units: Units | None, energy_key: str | None, forces_key: str | None) -> Dataset:
    try:
        if file.stat().st_size == 0:
            raise FileFormatError(f"{file} is empty; write it again or leave it out")
        with file.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; check the path and its permissions") from None
    reader = read_npz if _format(file) == "npz" else read_atoms
    return reader(file, units, energy_key, forces_key)


def _files(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Files in the order given, folders replaced by the data files in them, numbers in names sorted as numbers."""
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise InputError("`paths` is empty; give at least one file or folder")
    files: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted((file for file in path.iterdir() if file.is_file() and _format(file)), key=_natural)
            if not inside:
                raise InputError(f"folder {path} holds no data files; nyff reads {_known()}")
            files += inside
        elif not _format(path):
            raise InputError(
                f"cannot read {path}: its format is unknown; nyff reads {_known()}, convert it to one of them"
            )
        else:
            files.append(path)
    return files


def _format(file: Path) -> str:
    """``npz``, ``extxyz``, ``traj``, ``db``, or an empty string; hidden files have none."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        known = _READERS.get(suffixes[-2], "") if len(suffixes) > 1 else ""
        return known if known == "extxyz" else ""
    return _READERS.get(suffixes[-1], "") if suffixes and not file.name.startswith(".") else ""


def _natural(file: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _known() -> str:
    return ", ".join(_READERS)


def _source(files: list[Path], parts: list[Dataset]) -> dict[str, Any]:
    records: list[dict[str, Any]] = []
    for file, part in zip(files, parts, strict=True):
        with file.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
        records.append(
            {
                "path": str(file),
                "format": _format(file),
                "structures": len(part),
                "sha256": digest.hexdigest(),
                **part.source,
            }
        )
    source: dict[str, Any] = {"files": records}
    for key in ("units", "theory"):
        values = {record.get(key) for record in records}
        if len(values) == 1 and None not in values:
            source[key] = values.pop()
    return source

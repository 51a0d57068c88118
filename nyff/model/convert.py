"""From one file format to another: data sets among themselves, models among themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nyff.data.io import read_dataset, write_dataset
from nyff.errors import InputError
from nyff.model.file import load, save
from nyff.model.sgdml import is_sgdml_model, write_sgdml_model

MODEL_SUFFIXES = (".nyff", ".npz")
DATA_SUFFIXES = (".xyz", ".extxyz", ".npz")


@dataclass(frozen=True)
class Converted:
    """What was written: ``kind`` is ``"data set"`` or ``"model"``, ``count`` its structures."""

    kind: str
    count: int
    source: Path
    target: Path

    def __str__(self) -> str:
        what = "structures" if self.kind == "data set" else "training structures"
        return f"{self.kind} of {self.count} {what}: {self.source} -> {self.target}"


def convert(
    source: str | Path,
    target: str | Path,
    *,
    units: str | None = None,
    to_units: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write ``source`` anew as ``target``, whose suffix decides the format.

    Data sets (everything that :func:`nyff.data.io.read_dataset` reads) go to ``.extxyz`` or to an ``.npz`` with sGDML's
    keys; models (``.nyff``, or sGDML's ``.npz``) to ``.nyff`` or to sGDML's ``.npz``. ``units`` are those of a source
    that does not state its own. ``to_units`` are those of the ``.npz`` to write: eV and Å for data and kcal/mol for
    models (or what the sGDML model had), unless given.

    Raises :class:`~nyff.errors.InputError` when one cannot become the other, with the reason.
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        raise InputError(f"there is no file {source}; give a data set or a model")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists already; choose another name, or pass overwrite=True to replace it")
    suffix = target.suffix.lower()
    if not is_model(source):
        if suffix == ".nyff":
            raise InputError(f"{source} is a data set and {target} would be a model; train one with `nyff train`")
        dataset = read_dataset(source, units, minimum=1)
        write_dataset(dataset, target, units=to_units, overwrite=overwrite)
        return Converted("data set", len(dataset), source, target)
    if suffix not in MODEL_SUFFIXES:
        raise InputError(f"{source} is a model; write it as {' or '.join(MODEL_SUFFIXES)} (sGDML's), not {target.name}")
    model = load(source, units=units)
    if suffix == ".npz":
        write_sgdml_model(model, target, to_units, overwrite=overwrite)
    else:
        if to_units is not None:
            raise InputError(f"nyff's own models are in eV and Å, got to_units={to_units!r}; leave it out")
        save(model, target)
    return Converted("model", model.n_train, source, target)


def is_model(path: str | Path) -> bool:
    """Whether the file holds a model, nyff's own or one of sGDML."""
    path = Path(path)
    if not path.is_file():
        return False
    if is_sgdml_model(path):
        return True
    with path.open("rb") as stream:
        head = stream.read(9)
    return len(head) == 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32

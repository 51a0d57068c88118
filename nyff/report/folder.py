"""What lies in a run folder, read once; every part may be missing, because runs are interrupted and files are moved."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nyff.data.split import Split
from nyff.errors import FileFormatError, InputError
from nyff.md.observe import read_log
from nyff.md.options import MDOptions, read_config
from nyff.model.file import load
from nyff.report.whole import make_whole
from nyff.training.evaluate import Evaluation

if TYPE_CHECKING:
    from ase import Atoms

    from nyff.model.force_field import ForceField

Floats = NDArray[np.float64]

_LOGGED = ("step", "time_fs", "temperature_K", "potential_ev", "total_ev")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Structures that did not train, made whole, with predictions; ``frames`` number them as in the data."""

    numbers: NDArray[np.int64]
    frames: NDArray[np.int64]
    positions: Floats
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class MDRun:
    """A simulation: its options, the rest of its configuration, the columns of its log by name."""

    folder: Path
    options: MDOptions
    config: Mapping[str, Any]
    log: Mapping[str, Floats]
    summary: Mapping[str, Any]

    @property
    def stopped(self) -> bool:
        """Whether it ended because it left what the model knows."""
        return (self.folder / "last_good.xyz").exists()

    @property
    def finished(self) -> bool:
        """Whether it reached its end."""
        return (self.folder / "final.xyz").exists()

    @classmethod
    def read(cls, folder: Path) -> MDRun | None:
        """The simulation in ``folder``; None when there is none, or no row of its log yet."""
        if not (folder / "md.csv").exists():
            return None
        options, config = read_config(folder / "config.yaml")
        try:
            log = read_log(folder)
        except FileFormatError:
            if len((folder / "md.csv").read_text(encoding="utf-8").split()) < 2:
                return None
            raise
        lacking = [name for name in _LOGGED if name not in log]
        if lacking:
            raise _damaged(folder / "md.csv", f"it has no column {lacking[0]}")
        return cls(folder, options, config, log, _json(folder / "summary.json") or {})


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A training run folder; parts are read when they are asked for, and None (or empty) when they are not there."""

    folder: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """``config.yaml``: what was asked for."""
        path = self.folder / "config.yaml"
        if not path.exists():
            return {}
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise _damaged(path, error) from None
        return _mapping(path, content)

    @cached_property
    def metrics(self) -> Mapping[str, Any]:
        """``metrics.json``; empty for a run that is not complete."""
        return _json(self.folder / "metrics.json") or {}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Settings as they were resolved, or as they were asked for if the run is not complete."""
        return self.metrics.get("settings") or self.config.get("settings") or {}

    @cached_property
    def hints(self) -> list[str]:
        """Sentences worth reading first."""
        return [str(hint) for hint in self.metrics.get("hints", [])]

    @cached_property
    def split(self) -> Split | None:
        """``split.json``."""
        content = _json(self.folder / "split.json")
        return None if content is None else Split.from_dict(content)

    @cached_property
    def convergence(self) -> Mapping[str, Floats] | None:
        """``convergence.csv`` by column."""
        return _columns(self.folder / "convergence.csv", ("iteration", "relative_residual", "seconds"))

    @cached_property
    def scan(self) -> Mapping[str, Floats] | None:
        """``lengthscale_scan.csv`` by column, in ascending order of the length scale."""
        table = _columns(self.folder / "lengthscale_scan.csv", ("lengthscale", "force_mae_ev_per_ang"))
        if table is None:
            return None
        order = np.argsort(table["lengthscale"])
        return {name: column[order] for name, column in table.items()}

    @cached_property
    def model(self) -> ForceField | None:
        """``model.nyff``."""
        path = self.folder / "model.nyff"
        return load(path) if path.exists() else None

    @cached_property
    def predictions(self) -> Predictions | None:
        """``test_predictions.npz``."""
        path = self.folder / "test_predictions.npz"
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as archive:
                energies = archive.get("reference_energies")
                evaluation = Evaluation(archive["energies"], archive["forces"], energies, archive["reference_forces"])
                found = Predictions(archive["numbers"], archive["frames"], archive["positions"], evaluation)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from None
        shape = (len(found.frames), len(found.numbers), 3)
        if not (found.positions.shape == evaluation.forces.shape == evaluation.reference_forces.shape == shape):
            raise _damaged(path, "its arrays do not fit together")
        if not len(found.frames):
            return None
        return replace(found, positions=make_whole(self.model, found.positions))

    @cached_property
    def relaxed(self) -> Atoms | None:
        """``relaxed.xyz``."""
        path = self.folder / "relaxed.xyz"
        if not path.exists():
            return None
        atoms = read_structure(path)
        if self.model is not None and not np.array_equal(atoms.numbers, self.model.numbers):
            raise _damaged(path, "it is another molecule than the model's, or its atoms are in another order")
        atoms.positions = make_whole(self.model, atoms.positions)
        return atoms

    @cached_property
    def md(self) -> MDRun | None:
        """The simulation in ``md/``."""
        return MDRun.read(self.folder / "md")


def is_training_run(folder: Path) -> bool:
    """Whether ``folder`` was made by a training, finished or not."""
    return (folder / "split.json").exists() or (folder / "metrics.json").exists()


def read_structure(path: Path) -> Atoms:
    """The last structure of a file; raises :class:`~nyff.errors.FileFormatError` when ASE cannot read it."""
    from ase import Atoms
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError

    try:
        atoms = read(path)
    except (OSError, ValueError, KeyError, IndexError, UnknownFileTypeError) as error:
        raise _damaged(path, error) from None
    assert isinstance(atoms, Atoms)
    return atoms


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return _mapping(path, content)


def _mapping(path: Path, content: object) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise _damaged(path, "it does not hold names and values")
    return content


def _columns(path: Path, names: tuple[str, ...]) -> Mapping[str, Floats] | None:
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {name: np.array([float(row[name]) for row in rows]) for name in names} if rows else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> InputError:
    return FileFormatError(f"cannot read {path} ({why}); restore the file, or remove it to report without it")

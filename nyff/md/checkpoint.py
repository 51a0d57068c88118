"""One file from which a simulation continues bit for bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nyff.errors import FileFormatError
from nyff.files import atomic_write

VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``step`` steps, and where the files ended then (``marks``, by name)."""

    step: int
    marks: dict[str, list[int]]
    values: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write atomically: arrays, and a JSON text with the rest, in one ``.npz`` without pickle."""
        text = json.dumps({"version": VERSION, "step": self.step, "marks": self.marks, "values": self.values})
        contents: dict[str, Any] = {"json": np.array(text), **self.arrays}
        with atomic_write(path) as temporary:
            np.savez(temporary, **contents)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; raises :class:`~nyff.errors.FileFormatError` when that is not possible."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            content = json.loads(str(arrays.pop("json")))
            if content["version"] != VERSION:
                raise FileFormatError(
                    f"{path} has checkpoint version {content['version']}, this nyff reads {VERSION}; use the nyff that "
                    "wrote it"
                )
            return cls(content["step"], content["marks"], content["values"], arrays)
        except FileNotFoundError:
            raise FileFormatError(
                f"there is no checkpoint {path}: either this is not the folder of a simulation, or it stopped before "
                "its first step; start it again in a new folder"
            ) from None
        except (OSError, BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(f"{path} is damaged ({error}); start the simulation again in a new folder") from None

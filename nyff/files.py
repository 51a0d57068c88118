"""Writing files so that a crash leaves the old one or the new one, never half of one; folders that are never reused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from nyff.errors import InputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends well, it takes the place of ``path`` in one step.

    The content is on the disk before the name changes. When the block raises, ``path`` keeps its old content.
    Raises :class:`~nyff.errors.InputError` when the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp{path.suffix}")
    try:
        temporary.open("xb").close()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place for it") from error
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def new_folder(path: str | Path, what: str = "run folder") -> Path:
    """Create ``path`` for a run; an empty folder is taken as it is.

    Raises :class:`~nyff.errors.InputError` when something is there already (a run is never overwritten) or when it
    cannot be created.
    """
    path = Path(path)
    try:
        if path.is_dir() and not any(path.iterdir()):
            with tempfile.TemporaryFile(dir=path):
                pass
            return path
        path.mkdir(parents=True)
    except FileExistsError:
        raise InputError(
            f"{what} {path} exists already and is never overwritten; choose another output folder, remove this one, "
            "or resume the run in it"
        ) from None
    except OSError as error:
        raise InputError(f"cannot create {what} {path}: {error.strerror}; choose a place you can write to") from error
    return path

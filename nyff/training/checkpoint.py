"""Checkpoints of a CG solve: written atomically, read without executing anything."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import torch

from nyff.errors import FileFormatError
from nyff.files import atomic_write
from nyff.linalg.cg import CGState
from nyff.linalg.solution import Record


def save_state(path: str | Path, state: CGState) -> None:
    """Write ``state``, whole or not at all."""
    header = {
        "rho": state.rho,
        "iteration": state.iteration,
        "seconds": state.seconds,
        "since_truth": state.since_truth,
        "last_truth": state.last_truth,
    }
    history = np.array([[h.iteration, h.relative_residual, h.seconds] for h in state.history])
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            header=np.array(json.dumps(header)),
            history=history,
            x=state.x.cpu().numpy(),
            r=state.r.cpu().numpy(),
            p=state.p.cpu().numpy(),
        )


def load_state(path: str | Path, device: str) -> CGState:
    """The state that :func:`save_state` wrote; raises :class:`FileFormatError` for a damaged file."""
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            x, r, p = (torch.tensor(archive[name], device=device) for name in "xrp")
            history = [Record(int(i), float(residual), float(s)) for i, residual, s in archive["history"]]
            return CGState(x, r, p, **header, history=history)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise FileFormatError(
            f"cannot read the checkpoint {path} ({error}); delete it to start the run again"
        ) from error

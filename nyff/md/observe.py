"""Reading a simulation back: its log, its temperature with an error bar, its drift in energy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nyff.errors import FileFormatError, InputError


@dataclass(frozen=True)
class Progress:
    """Where a simulation is. Steps per second count the present session, the time left assumes they stay."""

    step: int
    steps: int
    time_fs: float
    temperature_kelvin: float
    potential_ev: float
    total_ev: float
    steps_per_second: float
    seconds_left: float


def read_log(run: str | Path) -> dict[str, np.ndarray]:
    """The columns of ``md.csv`` in run folder ``run`` (or of that file itself) by name, each [rows]."""
    path = Path(run)
    path = path / "md.csv" if path.is_dir() else path
    try:
        names, *rows = path.read_text(encoding="utf-8").split()
        table = np.array([[float(value) for value in row.split(",")] for row in rows])
        return dict(zip(names.split(","), table.reshape(len(rows), -1).T, strict=True))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give the folder of a simulation") from None
    except ValueError as error:
        raise FileFormatError(f"{path} is not the log of a simulation ({error})") from None


def drift(time_fs: np.ndarray, conserved_ev: np.ndarray, n_atoms: int) -> float:
    """Slope of the least-squares line through the conserved energy, in eV per atom and ps."""
    if len(time_fs) < 2:
        raise InputError(f"a drift needs at least 2 rows of the log, got {len(time_fs)}; simulate longer")
    return float(np.polyfit(time_fs * 1e-3, conserved_ev - conserved_ev[0], 1)[0] / n_atoms)


def block_average(values: np.ndarray, blocks: int = 10) -> tuple[float, float]:
    """Mean of a correlated series and its standard error from the spread of block means.

    H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480. The error is honest when a
    block is much longer than the correlation time.
    """
    if len(values) < blocks or blocks < 2:
        raise InputError(f"block averages need at least 2 blocks of 1 value, got {len(values)} values, {blocks} blocks")
    size = len(values) // blocks
    means = values[-size * blocks :].reshape(blocks, size).mean(1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))

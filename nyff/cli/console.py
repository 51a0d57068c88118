"""What the verbs share: where output goes by default, live progress, and plain lines where nobody watches."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from nyff.training.solve import Progress


def free_folder(name: str) -> Path:
    """``name``, or the first of ``name-2``, ``name-3``, ... that does not exist."""
    path, number = Path(name), 1
    while path.exists():
        number += 1
        path = Path(f"{name}-{number}")
    return path


def say(text: str = "") -> None:
    """One line to the user; long output goes to the run folder instead."""
    typer.echo(text)


def errors_in_words(metrics: dict[str, Any]) -> list[str]:
    """Errors with units, in both of the field's."""
    from nyff.units import KCAL_PER_MOL

    lines = []
    structures = f"{metrics.get('n_test')} structure{'' if metrics.get('n_test') == 1 else 's'}"
    if "force_mae_ev_per_ang" in metrics:
        mae, rmse = metrics["force_mae_ev_per_ang"], metrics["force_rmse_ev_per_ang"]
        lines.append(
            f"forces: MAE {1000 * mae:.3g} meV/Å ({mae / KCAL_PER_MOL:.3g} kcal/mol/Å), RMSE {1000 * rmse:.3g} meV/Å "
            f"on {structures}"
        )
    if "energy_mae_ev" in metrics:
        mae, rmse = metrics["energy_mae_ev"], metrics["energy_rmse_ev"]
        lines.append(
            f"energy: MAE {1000 * mae:.3g} meV ({mae / KCAL_PER_MOL:.3g} kcal/mol), RMSE {1000 * rmse:.3g} meV"
        )
    return lines


def print_json(content: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(content))


@contextmanager
def training_display(enabled: bool = True) -> Iterator[Callable[[Progress], None] | None]:
    """A callback for :class:`nyff.training.solve.Watcher`: a live line on a terminal, a plain line a stage elsewhere."""
    if not enabled:
        yield None
        return
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:

        def show(progress: Progress) -> None:
            status.update(_words(progress))

        yield show


class _PlainLines:
    """One line when the stage changes, and one every ten seconds of a long one."""

    def __init__(self) -> None:
        self.stage = ""
        self.last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self.stage or now - self.last > 10:
            self.stage, self.last = progress.stage, now
            typer.echo(_words(progress), err=True)


def _words(progress: Progress) -> str:
    text = progress.stage
    if progress.share is not None:
        text += f" {100 * progress.share:.0f} %"
    if progress.record is not None:
        record = progress.record
        text += f": step {record.iteration}, relative residual {record.relative_residual:.2e}, {record.seconds:.0f} s"
    return text

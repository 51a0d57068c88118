"""``nyff report``: make the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nyff.cli.console import say


def report(run: Annotated[Path, typer.Argument(help="Folder of a training run.")]) -> None:
    """Write report.html of a training run anew, for example after adding a simulation to its folder."""
    from nyff.cli.train import write_report

    write_report(run)
    say(f"report: {run / 'report.html'}")

"""``nyff convert``: from one file format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nyff.cli.console import say


def convert(
    source: Annotated[Path, typer.Argument(help="A data set or a model, nyff's or sGDML's.")],
    target: Annotated[Path, typer.Argument(help="New file: .xyz, .extxyz, .npz (sGDML's keys) or .nyff.")],
    units: Annotated[str | None, typer.Option(help="Of a source that does not say: kcal/mol, hartree,bohr.")] = None,
    to_units: Annotated[str | None, typer.Option(help="Of the .npz to write.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the target if it exists.")] = False,
) -> None:
    """Convert data sets among themselves, and models between nyff and sGDML."""
    from nyff.model.convert import convert as run

    say(str(run(source, target, units=units, to_units=to_units, overwrite=overwrite)))

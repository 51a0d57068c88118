"""The command ``nyff``: registers the verbs, turns errors into two lines and exit code 2."""

from __future__ import annotations

import logging
import sys

import typer

from nyff.cli.demo import demo
from nyff.cli.info import info
from nyff.cli.ipi import ipi
from nyff.cli.precond import precond
from nyff.cli.report import report
from nyff.cli.simulate import md, relax
from nyff.cli.test import test
from nyff.cli.train import train
from nyff.errors import NyffError

app = typer.Typer(
    name="nyff",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Nyström force fields: from labelled structures to molecular dynamics. Units are eV, Å and fs. "
    "Start with `nyff demo`.",
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    if version:
        from nyff._version import __version__

        typer.echo(f"nyff {__version__}")
        raise typer.Exit


for _verb in (demo, train, test, info, md, relax, ipi, report, precond):
    app.command()(_verb)


def main() -> None:
    """Entry point of the command line."""
    # Hints about data are printed by the verbs; without a handler Python would print them a second time.
    logging.getLogger("nyff").addHandler(logging.NullHandler())
    debug = "--debug" in sys.argv[1:]
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(arguments)
    except NyffError as error:
        if debug:
            raise
        typer.echo(f"nyff: error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("nyff: interrupted", err=True)
        sys.exit(130)

"""The command ``nyff``: registers the verbs, turns errors into two lines and exit code 2."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import typer

from nyff.cli.convert import convert
from nyff.cli.demo import demo
from nyff.cli.info import info
from nyff.cli.ipi import ipi
from nyff.cli.precond import precond
from nyff.cli.report import report
from nyff.cli.simulate import md, relax
from nyff.cli.test import test
from nyff.cli.train import train
from nyff.cli.vib import vib
from nyff.errors import NyffError

# The base of all complaints about options and arguments; Typer exports it under no name of its own.
_UsageError: Any = typer.BadParameter.__bases__[0]

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


for _verb in (demo, train, test, info, md, relax, vib, ipi, convert, report, precond):
    app.command()(_verb)


def main() -> None:
    """Entry point of the command line."""
    # Threads that wait by spinning fight for the cores with whatever else runs: measured ten times slower with one
    # other busy process. Must be said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Hints about data are printed by the verbs; without a handler Python would print them a second time.
    logging.getLogger("nyff").addHandler(logging.NullHandler())
    debug = "--debug" in sys.argv[1:]
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        code = app(arguments or ["--help"], prog_name="nyff", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except (NyffError, _UsageError, OSError) as error:
        if debug:
            raise
        typer.echo(f"nyff: error: {_in_words(error)}", err=True)
        sys.exit(2)
    if code == 130:
        typer.echo("nyff: interrupted", err=True)
    if code:
        sys.exit(code)


def _in_words(error: Exception) -> str:
    """One line for any error that is the user's or the machine's to mend."""
    if isinstance(error, _UsageError):
        command = context.command_path if (context := getattr(error, "ctx", None)) else "nyff"
        # Typer's messages span lines and end with a full stop or not, depending on its version.
        return " ".join(error.format_message().split()).rstrip(".") + f"; see {command} --help"
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return (
            f"the system refused to read or write{where}: {error.strerror or error}; make room or choose another "
            "place. A run that had begun can be resumed"
        )
    return " ".join(line.strip() for line in str(error).splitlines())

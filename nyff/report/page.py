"""One self-contained HTML page from a run folder: no network, no time stamps, the same folder gives the same bytes."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nyff._version import __version__
from nyff.errors import InputError
from nyff.files import atomic_write
from nyff.report import text
from nyff.report.context import md_context, training_context
from nyff.report.folder import MDRun, TrainingRun, is_training_run

REPORT = "report.html"


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a training run or a simulation to ``output`` (default: ``report.html`` in the folder).

    Whatever part of the run is missing is left out and named. Raises :class:`~nyff.errors.InputError` when ``folder``
    is no run folder, :class:`~nyff.errors.FileFormatError` when a file in it is damaged.
    """
    folder = Path(folder)
    page = render_report(folder)
    path = folder / REPORT if output is None else Path(output)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def write_training_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """:func:`write_report` for training runs only."""
    if not is_training_run(Path(folder)):
        raise InputError(f"{folder} is not a training run (it has no split.json); give the folder of `nyff train -o`")
    return write_report(folder, output)


def render_report(folder: str | Path) -> str:
    """The HTML of :func:`write_report`."""
    folder = Path(folder)
    if is_training_run(folder):
        return _page(training_context(TrainingRun(folder)))
    md = MDRun.read(folder)
    if md is not None:
        return _page(md_context(md))
    raise InputError(
        f"{folder} is not a run folder: it has neither split.json or metrics.json of a training, nor md.csv of a "
        "simulation; give the folder that `nyff train -o` or `nyff md -o` made"
    )


_OPTIONAL = ("data", "provenance", "model", "scan", "accuracy", "convergence", "direct", "cost", "relaxed", "usage")


def _page(context: dict[str, Any]) -> str:
    script = _asset("copy.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = _environment().get_template("page.html.jinja")
    return template.render(
        **{**dict.fromkeys(_OPTIONAL), **context},
        version=__version__,
        css=Markup(_asset("style.css")),
        script=Markup(script),
        script_digest=digest,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nyff.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=text.number, count=text.count)
    return environment


def _asset(name: str) -> str:
    return (files("nyff.report") / "templates" / name).read_text(encoding="utf-8")

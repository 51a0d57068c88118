"""What the figures of the preconditioner comparison share: one look for each method, medians over seeds, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nyff.errors import InputError
from nyff.files import atomic_write
from nyff.training.study import write_table

Row = Mapping[str, Any]
Rows = Sequence[Row]

FORMATS = (".pdf", ".png", ".svg")

# M. Okabe, K. Ito: colours that people with colour-vision deficiency can tell apart. Markers differ as well, for print.
LOOKS = {
    "default": ("#000000", "o", "-"),
    "rpcholesky": ("#0072B2", "s", "-"),
    "spectral": ("#009E73", "D", "-"),
    "leverage": ("#D55E00", "^", "-"),
    "cholesky": ("#CC79A7", "v", "-"),
    "uniform": ("#56B4E9", "x", "-"),
    "leverage-top": ("#E69F00", "<", "--"),
    "leverage-bottom": ("#8C564B", ">", "--"),
    "cholesky-then-uniform": ("#7F3C8D", "P", "--"),
    "rank-leverage": ("#66A61E", "h", "--"),
    "jacobi-structure": ("#777777", "1", ":"),
    "jacobi-atom": ("#777777", "2", "-."),
    "none": ("#AAAAAA", "+", ":"),
    "automatic": ("#0072B2", "*", "-"),
}
SEQUENCE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")
GREY = "#777777"

_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "figure.dpi": 150,
    "font.size": 8.5,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "savefig.dpi": 200,
    "svg.hashsalt": "nyff",
    "pdf.fonttype": 42,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure and the numbers in it."""

    figure: Figure
    data: list[dict[str, Any]]

    def save(self, path: Path) -> list[Path]:
        """Write the picture, and its data as CSV beside it; returns both paths."""
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"cannot draw {path.name}: the suffix must be one of {', '.join(FORMATS)}")
        table = path.with_suffix(".data.csv")
        kind = path.suffix[1:].lower()
        # No dates: the same numbers make the same file.
        metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
        with context(_STYLE), atomic_write(path) as temporary:
            self.figure.savefig(temporary, format=kind, metadata=metadata)
        write_table(table, self.data)
        return [path, table]


def styled(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """Draw in this module's style without leaving a trace in matplotlib's settings."""

    def wrapped(*args: Any, **kwargs: Any) -> Drawn:
        with context(_STYLE):
            return draw(*args, **kwargs)

    return wrapped


def panels(
    count: int, width: float = 3.1, height: float = 2.6, across: int = 3, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels side by side, at most ``across`` in a row."""
    across = min(count, across)
    down = -(-count // across)
    figure = Figure((width * across + 0.4, height * down + 0.2), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, **kwargs).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def log_axes(ax: Axes, names: str) -> None:
    """Logarithmic axes ``names`` ("x", "y" or "xy") with ticks that can be read: decades, or 1-2-5 on short ones."""
    for name in names:
        ax.set(**{f"{name}scale": "log"})
        low, high = ax.get_xlim() if name == "x" else ax.get_ylim()
        axis = ax.xaxis if name == "x" else ax.yaxis
        if high / low < 300:
            axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=20))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
            axis.set_minor_formatter(NullFormatter())


def look(method: str) -> dict[str, Any]:
    """Colour, marker and line of a method."""
    color, marker, line = LOOKS.get(method, (GREY, ".", "-"))
    return {"color": color, "marker": marker, "linestyle": line}


def grouped(rows: Iterable[Row], *names: str) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """``rows`` by the values of ``names``, in order of first appearance."""
    rows = list(rows)
    order: dict[tuple[Any, ...], int] = {}
    for row in rows:
        order.setdefault(tuple(row[name] for name in names), len(order))

    def key(row: Row) -> int:
        return order[tuple(row[name] for name in names)]

    keys = list(order)
    return [(keys[k], list(members)) for k, members in groupby(sorted(rows, key=key), key)]


def medians(rows: Iterable[Row], value: Callable[[Row], float]) -> list[dict[str, Any]]:
    """Median, lowest and highest of ``value`` over seeds, for each number of columns, ascending."""
    out = []
    for (columns,), members in sorted(grouped(rows, "columns")):
        values = [value(row) for row in members]
        out.append(
            {
                "columns": columns,
                "median": float(np.median(values)),
                "lowest": min(values),
                "highest": max(values),
                "seeds": len(values),
                "converged": all(row["converged"] for row in members),
            }
        )
    return out


def total_seconds(row: Row) -> float:
    """Build and solve."""
    return float(row["build_s"] + row["solve_s"])


def require(rows: Rows, what: str) -> None:
    """Raise :class:`~nyff.errors.InputError` when there is nothing to draw."""
    if not rows:
        raise InputError(f"there are no results to draw {what} from; see the refusals above, or other --methods")

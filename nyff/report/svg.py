"""Matplotlib figures as inline SVG that follows the page's colours, light or dark; large ones as PNG.

Figures are drawn with the colours below. In the page each becomes a CSS variable; saved by other means they are what
they are. Nothing here depends on the time or leaves a trace in matplotlib's settings.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.style import context

INK = "#1c2128"
MUTED = "#646d79"
GRID = "#d9dee5"
PAPER = "#fdfdfe"
ACCENT = "#1f6fb2"
SECOND = "#c8561b"
THIRD = "#3c8a4e"

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    ACCENT: "accent",
    SECOND: "second",
    THIRD: "third",
}
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.4,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "nyff",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9,
}
# Beyond this many characters a picture is smaller as PNG.
_LARGEST_SVG = 240_000


@contextmanager
def style() -> Iterator[None]:
    """The look of a report's figures, for the block: figures are made and saved inside."""
    with context(["default", _STYLE]):
        yield


def embed(figure: Figure, name: str, description: str) -> Markup:
    """``figure`` as HTML: inline SVG, or PNG when that would be large.

    ``name`` keeps the ids of one figure apart from those of others in the page; ``description`` is read to those who
    do not see it.
    """
    svg = _svg(figure, name)
    if len(svg) <= _LARGEST_SVG:
        return Markup('<svg role="img" aria-label="{}"{}').format(description, Markup(svg.removeprefix("<svg")))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=160, facecolor=PAPER, metadata={"Software": None})
    data = base64.b64encode(stream.getvalue()).decode()
    width = round(96 * figure.get_figwidth())
    tag = Markup('<img class="raster" alt="{}" width="{}" src="data:image/png;base64,{}">')
    return tag.format(description, width, data)


def _svg(figure: Figure, name: str) -> str:
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", dpi=160, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| version="1.1"', "", text).replace("xlink:href=", "href=")
    text = re.sub(r' id="([^"]+)"', rf' id="{name}-\1"', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
    # Written as one property or as two, depending on the version of matplotlib.
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text.strip()

"""Which figure belongs to which comparison of preconditioners."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nyff.report.precond_figures import residual_figure, scores_figure, spectrum_figure, steps_figure, table_figure
from nyff.report.precond_scaling import best_columns_figure, choices_figure, power_law_figure, time_figure
from nyff.report.precond_style import Drawn
from nyff.report.precond_table import paper_table
from nyff.training.study import Store

_DRAW: Mapping[str, Callable[[Store], Drawn]] = {
    "figure-a": lambda store: steps_figure(store.results),
    "figure-b": lambda store: spectrum_figure(store.tables.get("spectrum", [])),
    "figure-c": lambda store: steps_figure(store.results),
    "figure-d": lambda store: scores_figure(store.tables.get("scores", [])),
    "figure-e": lambda store: power_law_figure(store.results, by="n"),
    "figure-f": lambda store: power_law_figure(store.results, by="molecule"),
    "figure-g": lambda store: choices_figure(store.results),
    "figure-h": lambda store: best_columns_figure(store.results),
    "figure-i": lambda store: time_figure(store.results),
    "paper-table": lambda store: table_figure(paper_table(store.results)),
}


def draw(store: Store, preset: str | None = None) -> Drawn:
    """The figure of ``preset``; without one, steps against k if there are several k, else residuals."""
    chosen = _DRAW.get(preset or "")
    if chosen is not None:
        return chosen(store)
    sizes = {row["columns"] for row in store.results if row["rank"]}
    if preset is None and len(sizes) > 1:
        return steps_figure(store.results)
    return residual_figure(store.history, store.results, float(store.settings["tolerance"]))

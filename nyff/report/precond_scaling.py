"""Figures of how steps and times depend on n and k: power laws, choices of k, and the best k; each with its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from nyff.errors import InputError
from nyff.report.precond_style import (
    GREY,
    SEQUENCE,
    Drawn,
    Row,
    Rows,
    grouped,
    log_axes,
    look,
    medians,
    panels,
    require,
    styled,
    total_seconds,
)
from nyff.training.compare import AUTOMATIC
from nyff.training.rule import PAPER, PowerLaw, fit_power_law, paper_columns
from nyff.training.study import one_per_cent

_LARGEST_N = 1e7
_REGIME = 0.25


@styled
def power_law_figure(results: Rows, by: str) -> Drawn:
    """steps/n against k on logarithmic axes with the fitted m and k̂, coloured by ``"n"`` or by ``"molecule"``."""
    done = [row for row in results if row["converged"] and row["columns"]]
    require(done, "a power law")
    places = (
        grouped(done, "method") if by == "n" else [((method,), rows) for (method,), rows in grouped(done, "method")]
    )
    figure, axes = panels(len(places), width=3.6, height=3.0)
    data: list[dict[str, Any]] = []
    for ax, ((method,), rows) in zip(axes, places, strict=True):
        for i, ((molecule, n), members) in enumerate(grouped(rows, "molecule", "n")):
            points = medians(members, lambda row: row["iterations"] / row["n"])
            data += [{"molecule": molecule, "n": n, "method": method, **p} for p in points]
            ax.plot(
                [p["columns"] for p in points],
                [p["median"] for p in points],
                color=SEQUENCE[i % len(SEQUENCE)],
                marker="o",
                linestyle="none",
                label=f"{molecule}, n = {n:,}" if by == "molecule" else f"n = {n:,}" + _if_several(rows, molecule),
            )
        for i, ((molecule,), members) in enumerate(grouped(rows, "molecule")):
            law = _fit(members)
            if law is None:
                continue
            k = np.geomspace(min(r["columns"] for r in members), max(r["columns"] for r in members), 50)
            color = SEQUENCE[i % len(SEQUENCE)] if by == "molecule" else "black"
            ax.plot(
                k,
                law.relative_steps(k),
                color=color,
                linestyle=(0, (5, 2)),
                linewidth=0.9,
                label=f"{molecule}: m = {law.slope:.2f}, k̂ = {law.scale:.0f}",
            )
            data.append(
                {
                    "molecule": molecule,
                    "n": "fit",
                    "method": method,
                    "columns": f"m = {law.slope:.4g}",
                    "median": f"khat = {law.scale:.5g}",
                    "lowest": "",
                    "highest": "",
                    "seeds": "",
                    "converged": "",
                }
            )
        ax.set(xlabel="columns k", ylabel="CG steps / n", title=method)
        log_axes(ax, "xy")
        ax.legend(fontsize=6.5)
    return Drawn(figure, data)


def _if_several(rows: Rows, molecule: str) -> str:
    return f", {molecule}" if len({row["molecule"] for row in rows}) > 1 else ""


def _fit(rows: Rows) -> PowerLaw | None:
    """The power law of ``rows``, by medians over seeds; None where there is none.

    Only up to :data:`_REGIME` of n: beyond, the factor approaches the whole matrix and steps fall faster.
    """
    x, y = [], []
    rows = [row for row in rows if row["columns"] <= _REGIME * row["n"]]
    for (n,), members in grouped(rows, "n"):
        for point in medians(members, lambda row: row["iterations"]):
            x.append(point["columns"])
            y.append(point["median"] / n)
    try:
        return fit_power_law(x, y)
    except InputError:
        return None


@styled
def choices_figure(results: Rows) -> Drawn:
    """Run time of 1 % of n, of the rule of thumb and of the automatic choice, over the best of the sweep."""
    require(results, "run times")
    data: list[dict[str, Any]] = []
    labels = []
    for (molecule, n), rows in grouped(results, "molecule", "n"):
        sweep = [row for row in rows if row["method"] != AUTOMATIC and row["converged"]]
        if not sweep:
            continue
        best = min(sweep, key=total_seconds)
        labels.append(f"{molecule}\nn = {n:,}")
        choices = {
            "1 % of n": _choice(sweep, one_per_cent(n)),
            "rule of thumb": _choice(sweep, paper_columns(n)),
            AUTOMATIC: min((row for row in rows if row["method"] == AUTOMATIC), key=total_seconds, default=None),
        }
        for choice, row in choices.items():
            if row is not None:
                data.append(
                    {
                        "molecule": molecule,
                        "n": n,
                        "choice": choice,
                        "method": row["method"],
                        "columns": row["columns"],
                        "seconds": total_seconds(row),
                        "best_columns": best["columns"],
                        "best_seconds": total_seconds(best),
                        "relative": total_seconds(row) / total_seconds(best),
                    }
                )
    require(data, "run times")
    figure, (ax,) = panels(1, width=1.5 + 1.1 * max(2, len(labels)), height=2.8)
    places = [place for place, _ in grouped(data, "molecule", "n")]
    for i, choice in enumerate(("1 % of n", "rule of thumb", AUTOMATIC)):
        rows = [row for row in data if row["choice"] == choice]
        x = [places.index((row["molecule"], row["n"])) + 0.26 * (i - 1) for row in rows]
        bars = ax.bar(x, [row["relative"] for row in rows], 0.24, color=SEQUENCE[i], label=choice)
        ax.bar_label(bars, [f"{row['relative']:.2f}" for row in rows], fontsize=6.5)
        known = [places.index((row["molecule"], row["n"])) for row in rows]
        for place in set(range(len(places))) - set(known):
            note: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "bottom", "fontsize": 6.5, "color": GREY}
            ax.text(place + 0.26 * (i - 1), 0.03, "not converged", **note)
    ax.axhline(1.0, color="black", linewidth=0.8)
    ax.axhline(1.3, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set_xticks(range(len(labels)), labels)
    ax.set(ylabel="run time / best of the sweep", xlim=(-0.5, len(labels) - 0.5))
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return Drawn(figure, data)


def _choice(sweep: Rows, columns: int) -> Row | None:
    return min((row for row in sweep if row["columns"] == columns), key=total_seconds, default=None)


@styled
def best_columns_figure(results: Rows) -> Drawn:
    """k*/n against n up to 10⁷: the paper's rule, the rule with fitted m and k̂, and the fastest k measured."""
    done = [row for row in results if row["converged"] and row["columns"]]
    require(done, "the best k")
    figure, (ax,) = panels(1, width=4.6, height=3.2)
    n = np.geomspace(1e3, _LARGEST_N, 60)
    laws: list[tuple[str, PowerLaw, Any, Any]] = [("paper: m = 1, k̂ = 100", PAPER, "black", "-")]
    data: list[dict[str, Any]] = []
    for i, ((molecule, method), rows) in enumerate(grouped(done, "molecule", "method")):
        color = SEQUENCE[i % len(SEQUENCE)]
        law = _fit(rows)
        if law is not None:
            laws.append((f"{molecule}, {method}: m = {law.slope:.2f}, k̂ = {law.scale:.0f}", law, color, (0, (5, 2))))
        best = [min(members, key=total_seconds) for _, members in grouped(rows, "n")]
        ax.plot(
            [row["n"] for row in best],
            [100 * row["columns"] / row["n"] for row in best],
            color=color,
            marker=look(method)["marker"],
            linestyle="none",
            label=f"{molecule}, {method}: fastest measured",
        )
        data += [
            {
                "curve": f"{molecule}, {method}: fastest measured",
                "n": row["n"],
                "k": row["columns"],
                "k_over_n": row["columns"] / row["n"],
            }
            for row in best
        ]
    for label, law, color, line in laws:
        share = np.array([min(law.best_columns(value), value) for value in n]) / n
        ax.plot(n, 100 * share, color=color, linestyle=line, linewidth=1.0, label=label)
        data += [
            {"curve": label, "n": value, "k": s * value, "k_over_n": s}
            for value, s in zip(n.tolist(), share.tolist(), strict=True)
        ]
    ax.set(xscale="log", xlabel="unknowns n", ylabel="best columns k*/n (%)")
    log_axes(ax, "y")
    ax.legend(fontsize=6.5)
    return Drawn(figure, data)


@styled
def time_figure(results: Rows) -> Drawn:
    """Seconds of build, CG and both against k, with the k of each way to choose; a panel per molecule and n."""
    require(results, "run times")
    places = grouped(results, "molecule", "n")
    figure, axes = panels(len(places), width=3.4)
    data: list[dict[str, Any]] = []
    for ax, ((molecule, n), rows) in zip(axes, places, strict=True):
        for (method,), members in grouped([row for row in rows if row["method"] != AUTOMATIC], "method"):
            members = [row for row in members if row["converged"] and row["columns"]]
            for part, line, value in (
                ("build", ":", lambda row: row["build_s"]),
                ("CG", "--", lambda row: row["solve_s"]),
                ("total", "-", total_seconds),
            ):
                points = medians(members, value)
                style = look(method)
                ax.plot(
                    [p["columns"] for p in points],
                    [p["median"] for p in points],
                    color=style["color"],
                    linestyle=line,
                    marker=style["marker"] if part == "total" else None,
                    label=f"{method}: {part}",
                )
                data += [{"molecule": molecule, "n": n, "method": method, "part": part, **p} for p in points]
        for label, columns, color in (("1 % of n", one_per_cent(n), GREY), ("rule", paper_columns(n), SEQUENCE[1])):
            ax.axvline(columns, color=color, linewidth=0.9, linestyle=(0, (4, 3)), label=f"{label}: k = {columns:,}")
        for row in rows:
            if row["method"] == AUTOMATIC:
                _automatic(ax, row)
                data.append(
                    {
                        "molecule": molecule,
                        "n": n,
                        "method": AUTOMATIC,
                        "part": "total",
                        "columns": row["columns"],
                        "median": total_seconds(row),
                        "lowest": total_seconds(row),
                        "highest": total_seconds(row),
                        "seeds": 1,
                        "converged": row["converged"],
                    }
                )
        ax.set(xlabel="columns k", title=f"{molecule}, n = {n:,}")
        log_axes(ax, "xy")
        ax.legend(fontsize=6)
    axes[0].set_ylabel("wall time (s)")
    return Drawn(figure, data)


def _automatic(ax: Any, row: Row) -> None:
    seconds = total_seconds(row)
    if row["columns"]:
        ax.plot(
            row["columns"],
            seconds,
            label=f"automatic: k = {row['columns']:,}",
            linestyle="none",
            markersize=10,
            marker="*",
            color=SEQUENCE[0],
        )
    else:
        ax.axhline(seconds, color=SEQUENCE[0], linewidth=0.9, label=f"automatic: {row['form']}")

"""Figures of a comparison of preconditioners, each with its numbers: steps, spectra, leverage scores, residuals, table.

Sizes and times are in :mod:`nyff.report.precond_scaling`. Every function takes rows as
:class:`nyff.training.study.Store` keeps them and returns a :class:`~nyff.report.precond_style.Drawn`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from nyff.report.precond_style import (
    GREY,
    SEQUENCE,
    Drawn,
    Rows,
    grouped,
    log_axes,
    look,
    medians,
    panels,
    require,
    styled,
)

_INDICES = 400


@styled
def steps_figure(results: Rows) -> Drawn:
    """Steps against k/n, a panel per molecule and n, with the lines n and 0.1 n."""
    require(results, "steps")
    places = grouped(results, "molecule", "n")
    figure, axes = panels(len(places), sharey=True)
    data: list[dict[str, Any]] = []
    for ax, ((molecule, n), rows) in zip(axes, places, strict=True):
        for (method,), members in grouped(rows, "method"):
            points = medians(members, lambda row: row["iterations"])
            data += [
                {"molecule": molecule, "n": n, "method": method, "k_over_n": p["columns"] / n, **p} for p in points
            ]
            _steps(ax, points, n, method)
        ax.axhline(n, color=GREY, linewidth=0.8)
        ax.axhline(0.1 * n, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        for height, text in ((n, "n"), (0.1 * n, "0.1 n")):
            ax.text(0.99, height, text, transform=ax.get_yaxis_transform(), ha="right", va="bottom", color=GREY)
        ax.set(xlabel="columns k/n (%)", title=f"{molecule}, n = {n:,}")
        log_axes(ax, "y")
    axes[0].set_ylabel("CG steps")
    axes[-1].legend(loc="best")
    return Drawn(figure, data)


def _steps(ax: Axes, points: list[dict[str, Any]], n: int, method: str) -> None:
    style = look(method)
    if len(points) == 1 and method in ("none", "jacobi-structure", "jacobi-atom"):
        ax.axhline(points[0]["median"], color=style["color"], linestyle=style["linestyle"], label=method)
        return
    done = [p for p in points if p["converged"]]
    x = np.array([100 * p["columns"] / n for p in done])
    ax.plot(x, [p["median"] for p in done], label=method, **style)
    if any(p["seeds"] > 1 for p in done):
        ax.fill_between(
            x, [p["lowest"] for p in done], [p["highest"] for p in done], color=style["color"], alpha=0.15, linewidth=0
        )
    failed = [p for p in points if not p["converged"]]
    if failed:
        # Stopped at the limit of steps: hollow, not joined.
        ax.plot(
            [100 * p["columns"] / n for p in failed],
            [p["median"] for p in failed],
            color=style["color"],
            marker="o",
            markerfacecolor="none",
            linestyle="none",
            label=None if done else f"{method} (not converged)",
        )


@styled
def spectrum_figure(spectrum: Rows) -> Drawn:
    """The largest eigenvalues of P⁻¹(K + λI) over the smallest, a panel per k, the bare matrix in grey."""
    require(spectrum, "spectra")
    (molecule, n), rows = grouped(spectrum, "molecule", "n")[0]
    bare = [row for row in rows if row["method"] == "none"]
    places = sorted(grouped([row for row in rows if row["method"] != "none"], "columns"), key=lambda place: place[0])
    figure, axes = panels(len(places), width=2.3, across=4, sharey=True)
    data: list[dict[str, Any]] = []
    for ax, ((columns,), members) in zip(axes, places, strict=True):
        for method, curve in [("none", bare), *((m, c) for (m,), c in grouped(members, "method"))]:
            values = np.array([row["eigenvalue"] for row in curve])
            values = values / values[-1]
            shown = values[:_INDICES]
            condition = f"{values[0]:.1e}"
            style = look(method)
            ax.plot(
                np.arange(1, len(shown) + 1),
                shown,
                color=style["color"],
                linestyle=style["linestyle"],
                label=f"{'K + λI' if method == 'none' else method}: κ = {condition}",
            )
            data += [
                {
                    "molecule": molecule,
                    "n": n,
                    "method": method,
                    "columns": columns,
                    "index": i + 1,
                    "relative_eigenvalue": v,
                }
                for i, v in enumerate(values.tolist())
            ]
        ax.set(yscale="log", xlabel="index of the eigenvalue", title=f"k = {columns:,}")
        ax.legend(loc="upper right", fontsize=6.5)
    axes[0].set_ylabel("eigenvalue of P⁻¹(K + λI) / smallest")
    figure.suptitle(f"{molecule}, n = {n:,}", fontsize=9)
    return Drawn(figure, data)


@styled
def scores_figure(scores: Rows) -> Drawn:
    """Ridge leverage scores, sorted, for each λ; and by structure and atom for the λ that tells atoms apart best."""
    require(scores, "leverage scores")
    (molecule, n), rows = grouped(scores, "molecule", "n")[0]
    figure, (left, right) = panels(2, width=3.6)
    by_ridge = grouped(rows, "regularization")
    colors = _gradient(len(by_ridge))
    data: list[dict[str, Any]] = []
    spreads = []
    for ((ridge,), members), color in zip(by_ridge, colors, strict=True):
        values = np.sort([max(row["score"], 1e-16) for row in members])[::-1]
        left.plot(100 * np.arange(1, len(values) + 1) / len(values), values, color=color, label=f"λ = {ridge:.0e}")
        data += [
            {"molecule": molecule, "n": n, "regularization": ridge, "rank": i + 1, "score": v}
            for i, v in enumerate(values.tolist())
        ]
        spreads.append(float(np.ptp(_by_atom(members))))
    left.set(yscale="log", xlabel="share of the columns (%)", ylabel="ridge leverage score τ", xlim=(0, 100))
    left.set_title(f"{molecule}, n = {n:,}")
    left.legend(fontsize=6.5)
    chosen = int(np.argmax(spreads))
    (ridge,), members = by_ridge[chosen]
    table = _by_atom(members)
    image = right.imshow(table.T, aspect="auto", interpolation="nearest", cmap="viridis")
    symbols = [row["symbol"] for row in members[: 3 * table.shape[1] : 3]]
    if len(symbols) <= 40:
        right.set_yticks(range(len(symbols)), [f"{s}{i + 1}" for i, s in enumerate(symbols)], fontsize=6)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.grid(False)
    right.set(xlabel="structure", ylabel="atom", title=f"τ summed over x, y, z, λ = {ridge:.0e}")
    figure.colorbar(image, ax=right, label="Σ τ")
    return Drawn(figure, data)


def _by_atom(rows: Rows) -> np.ndarray:
    """Scores summed over x, y, z: [structures, atoms]; rows come structure by structure, atom by atom."""
    structures = 1 + max(row["structure"] for row in rows)
    return np.array([row["score"] for row in rows]).reshape(structures, -1, 3).sum(-1)


def _gradient(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](0.9 * i / max(count - 1, 1)) for i in range(count)]


@styled
def residual_figure(history: Rows, results: Rows, tolerance: float) -> Drawn:
    """Relative residual against iteration, and against seconds with the build in front."""
    require(history, "residuals")
    first = {name: history[0][name] for name in ("molecule", "n")}
    rows = [row for row in history if all(row[name] == value for name, value in first.items())]
    build = {
        (row["method"], row["columns"], row["seed"]): row["build_s"]
        for row in results
        if all(row[name] == value for name, value in first.items())
    }
    figure, (left, right) = panels(2, width=3.4, sharey=True)
    data: list[dict[str, Any]] = []
    places = grouped(rows, "method", "columns", "seed")
    sizes = Counter(method for method, _ in {(method, columns) for (method, columns, _), _ in places})
    labelled: set[str] = set()
    ends = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for (method, columns, seed), curve in places:
        style = look(method)
        text = method + (f", k = {columns}" if sizes[method] > 1 else "")
        label = None if text in labelled else text
        labelled.add(text)
        x = np.array([row["iteration"] for row in curve])
        y = np.array([row["relative_residual"] for row in curve])
        t = np.array([row["seconds"] for row in curve]) + build.get((method, columns, seed), 0.0)
        plain = {"color": style["color"], "linestyle": style["linestyle"], "label": label, "linewidth": 0.9}
        end = ends[bool(y[-1] <= tolerance)]
        end[:] = max(end[0], x[-1]), max(end[1], t[-1])
        left.plot(x, y, **plain)
        right.plot(t, y, **plain)
        data += [
            {
                **first,
                "method": method,
                "columns": columns,
                "seed": seed,
                "iteration": i,
                "seconds_with_build": s,
                "relative_residual": r,
            }
            for i, s, r in zip(x.tolist(), t.tolist(), y.tolist(), strict=True)
        ]
    for ax in (left, right):
        ax.axhline(tolerance, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.set_yscale("log")
    # To scale for those that arrive; the others leave on the right.
    for ax, last in zip((left, right), ends[True] if ends[True][0] else ends[False], strict=True):
        ax.set_xlim(0, 1.05 * last)
    left.set(
        xlabel="CG step", ylabel="relative residual ‖b − Ax‖/‖b‖", title=f"{first['molecule']}, n = {first['n']:,}"
    )
    right.set(xlabel="wall time, build included (s)")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Drawn(figure, data)


@styled
def table_figure(table: Rows) -> Drawn:
    """Steps of each molecule: measured, the paper's, and the goal."""
    require(table, "the table")
    methods = [m for (m,), _ in grouped(table, "method")]
    molecules = [m for (m,), _ in grouped(table, "molecule")]
    figure, (ax,) = panels(1, width=1.2 + 0.9 * max(3, len(molecules)), height=2.8)
    place = {molecule: i for i, molecule in enumerate(molecules)}
    for column, label, marker, color in (
        ("paper_leverage", "paper: leverage", "^", GREY),
        ("paper_spectral", "paper: spectral", "D", GREY),
        ("goal", "goal", "_", SEQUENCE[1]),
    ):
        known = {row["molecule"]: row[column] for row in table if row[column] != ""}
        if not known:
            continue
        ax.plot(
            [place[m] for m in known],
            list(known.values()),
            linestyle="none",
            marker=marker,
            color=color,
            markerfacecolor="none",
            markersize=9 if marker == "_" else 6,
            label=label,
        )
    for number, method in enumerate(methods):
        rows = [row for row in table if row["method"] == method]
        x = np.array([place[row["molecule"]] for row in rows]) + 0.12 * (number + 1)
        y = np.array([row["steps"] for row in rows], dtype=float)
        low, high = (np.array([row[name] for row in rows], dtype=float) for name in ("fewest", "most"))
        style = look(method)
        ax.errorbar(
            x, y, [y - low, high - y], linestyle="none", marker=style["marker"], color=style["color"], label=method
        )
    ax.set(ylabel="CG steps", xlim=(-0.5, len(molecules) - 0.2))
    log_axes(ax, "y")
    ax.set_xticks(range(len(molecules)), molecules)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Drawn(figure, [dict(row) for row in table])

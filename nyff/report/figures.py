"""The figures of a report, each a function that draws into axes it is given; use them in figures of your own.

Units are the field's: meV and meV/Å for errors, eV and eV/Å for the quantities themselves, ps for time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from nyff.report.svg import ACCENT, INK, MUTED, SECOND, THIRD
from nyff.report.text import number, power_of_ten

Floats = NDArray[np.float64]

WIDE = 10.4
"""Width (inches) of a figure as wide as the page."""

_DENSE = 1500
_MOST_POINTS = 1200
_COLOURS = (ACCENT, SECOND, THIRD, MUTED)


def figure(width: float = 5.2, height: float = 3.4) -> Figure:
    """An empty figure (inches) that arranges its own margins."""
    return Figure((width, height), layout="constrained")


def parity(
    ax: Axes,
    reference: ArrayLike,
    predicted: ArrayLike,
    *,
    quantity: str,
    unit: str,
    errors_in: tuple[str, float] | None = None,
) -> None:
    """Predicted against reference values; a density where points would hide each other.

    ``errors_in`` names the unit errors are stated in and how many make one ``unit``, such as ``("meV", 1e3)``.
    """
    x, y = _flat(reference), _flat(predicted)
    low, high = _limits(np.concatenate([x, y]))
    ax.plot([low, high], [low, high], color=MUTED, linewidth=0.9, zorder=1)
    _points(ax, x, y, (low, high, low, high), (64, 37))
    ax.set(xlim=(low, high), ylim=(low, high))
    ax.set_xlabel(f"reference {quantity} ({unit})")
    ax.set_ylabel(f"predicted ({unit})")
    name, factor = errors_in or (unit, 1.0)
    mae, rmse = np.abs(y - x).mean(), np.sqrt(((y - x) ** 2).mean())
    note = f"MAE {number(factor * mae)} {name}\nRMSE {number(factor * rmse)} {name}"
    if np.ptp(x) > 0:
        # Coefficient of determination about the mean of the reference.
        note += f"\n1 − R² = {number(((y - x) ** 2).sum() / ((x - x.mean()) ** 2).sum(), 2)}"
    ax.text(0.04, 0.96, note, transform=ax.transAxes, va="top", fontsize=9, color=INK)


def residuals(ax: Axes, reference: ArrayLike, errors: ArrayLike, *, quantity: str, unit: str, error_unit: str) -> None:
    """Errors against reference values: trends and outliers that a parity plot is too coarse to show."""
    x, y = _flat(reference), _flat(errors)
    largest = 1.05 * max(float(np.abs(y).max()), 1e-12)
    low, high = _limits(x)
    ax.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
    _points(ax, x, y, (low, high, -largest, largest), (64, 13))
    ax.set(xlim=(low, high), ylim=(-largest, largest))
    ax.set_xlabel(f"reference {quantity} ({unit})")
    ax.set_ylabel(f"error ({error_unit})")


def error_distribution(ax: Axes, errors: ArrayLike, *, unit: str, what: str) -> None:
    """Share of absolute errors above each size, on two logarithmic axes; the tail is what simulations meet."""
    size = np.sort(np.abs(_flat(errors)))
    share = 1 - np.arange(len(size)) / len(size)
    keep = size > 0
    if not keep.any():
        ax.text(0.5, 0.5, "all errors are zero", transform=ax.transAxes, ha="center")
        return
    # Evenly spaced on the logarithmic axis, so that the tail keeps each of its points.
    chosen = np.unique(len(size) - np.geomspace(1, len(size), 400).round().astype(int))
    chosen = chosen[keep[chosen]]
    ax.step(size[chosen], share[chosen], where="post", color=ACCENT)
    ax.set(xscale="log", yscale="log", ylim=(0.7 / len(size), 1.4))
    for value, label, dash in ((np.median(size), "median", (5, 3)), (np.quantile(size, 0.95), "95 % below", (1.5, 2))):
        ax.axvline(value, color=SECOND, linewidth=1.1, linestyle=(0, dash), label=f"{label} {number(value)} {unit}")
    ax.legend(loc="lower left")
    ax.set_xlim(max(float(np.quantile(size[keep], 0.02)), size[-1] * 1e-4), size[-1] * 1.6)
    ax.set_xlabel(f"absolute error ({unit})")
    ax.set_ylabel(f"share of {what} above")
    _decades(ax.xaxis)
    _decades(ax.yaxis)


def convergence(ax: Axes, x: ArrayLike, residual: ArrayLike, *, xlabel: str, tolerance: float | None = None) -> None:
    """Relative residual ‖b − Ax‖/‖b‖ against iterations or seconds, with the tolerance that ends the solve."""
    ax.plot(*_thinned(_flat(x), _flat(residual)), color=ACCENT)
    if tolerance is not None:
        ax.axhline(tolerance, color=SECOND, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.text(0.01, tolerance * 1.15, "tolerance", transform=ax.get_yaxis_transform(), fontsize=9, color=INK)
    ax.set(yscale="log")
    ax.set_xlim(left=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("relative residual")
    _decades(ax.yaxis)


def lengthscale_scan(ax: Axes, lengthscales: ArrayLike, errors: ArrayLike, *, chosen: float | None = None) -> None:
    """Validation error (eV/Å in, meV/Å shown) at each length scale that was tried."""
    x, y = _flat(lengthscales), 1e3 * _flat(errors)
    ax.plot(x, y, color=ACCENT, marker="o", markersize=4)
    ax.set(xscale="log", yscale="log" if y.max() > 4 * y.min() else "linear")
    if chosen is not None and chosen in x:
        best = float(y[np.flatnonzero(x == chosen)[0]])
        label = f"chosen: {chosen:g}"
        ax.scatter([chosen], [best], 90, facecolors="none", edgecolors=SECOND, linewidths=1.6, zorder=3, label=label)
        ax.legend(loc="upper center")
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.xaxis.set_minor_locator(NullLocator())
    if ax.get_yscale() == "log":
        ticks = [step * 10.0**power for power in range(-3, 6) for step in (1, 2, 5)]
        ax.set_yticks(ticks, [number(tick, 1) for tick in ticks])
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylim(y.min() / 1.3, y.max() * 1.3)
    ax.set_xlabel("length scale σ")
    ax.set_ylabel("validation force MAE (meV/Å)")


def temperature_trace(ax: Axes, time_fs: ArrayLike, kelvin: ArrayLike, *, target: float | None = None) -> None:
    """Instantaneous temperature against time, with its mean and the thermostat's target."""
    t, values = _flat(time_fs) * 1e-3, _flat(kelvin)
    ax.plot(*_thinned(t, values), color=ACCENT, linewidth=0.9)
    ax.axhline(values.mean(), color=SECOND, linewidth=1.2, label=f"mean {number(values.mean())} K")
    if target is not None:
        ax.axhline(target, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label=f"thermostat {target:g} K")
    ax.set_ylim(0, 1.22 * values.max() if values.max() > 0 else 1)
    _time_axis(ax, t)
    ax.set_ylabel("temperature (K)")
    ax.legend(loc="upper right", ncols=2)


def energy_traces(ax: Axes, time_fs: ArrayLike, energies: Mapping[str, ArrayLike], *, zero: float = 0.0) -> None:
    """Energies (eV) by name against time, measured from ``zero``."""
    t = _flat(time_fs) * 1e-3
    for colour, (name, values) in zip(_COLOURS, energies.items(), strict=False):
        ax.plot(*_thinned(t, _flat(values) - zero), color=colour, linewidth=1.0, label=name)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.18 * (high - low))
    _time_axis(ax, t)
    ax.set_ylabel("energy (eV)")
    ax.legend(loc="upper right", ncols=len(energies))


def _points(ax: Axes, x: Floats, y: Floats, extent: tuple[float, float, float, float], grid: tuple[int, int]) -> None:
    """Points, or their density; as pixels when there are many, inside vector axes."""
    if len(x) <= _DENSE:
        many = len(x) > 200
        ax.plot(x, y, "o", color=ACCENT, markersize=3, markeredgewidth=0, alpha=0.55, zorder=2, rasterized=many)
        return
    ax.hexbin(
        x,
        y,
        gridsize=grid,
        extent=extent,
        mincnt=1,
        norm=LogNorm(vmin=0.5),
        cmap=_density(),
        linewidths=0.2,
        zorder=2,
        rasterized=True,
    )


def _density() -> ListedColormap:
    """The accent, from pale to full: reads as density on light and on dark paper."""
    level = np.linspace(0.3, 1, 12)
    rgb = [int(ACCENT[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return ListedColormap([(*rgb, alpha) for alpha in level])


def _limits(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _time_axis(ax: Axes, picoseconds: Floats) -> None:
    ax.set_xlim(picoseconds[0], max(picoseconds[-1], picoseconds[0] + 1e-6))
    ax.set_xlabel("time (ps)")


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most about :data:`_MOST_POINTS` points: lowest and highest of each stretch, so that no peak is lost."""
    if len(x) <= _MOST_POINTS:
        return x, y
    stretches = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
    picked = np.unique([part[index] for part in stretches for index in (y[part].argmin(), y[part].argmax())])
    picked = np.union1d(picked, [0, len(x) - 1])
    return x[picked], y[picked]


def _decades(axis: object) -> None:
    """Powers of ten as plain characters, which follow the fonts of the page."""
    axis.set_major_locator(LogLocator(10, numticks=8))  # type: ignore[attr-defined]
    axis.set_major_formatter(FuncFormatter(_decade))  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]


def _decade(value: float, position: int | None) -> str:
    power = round(float(np.log10(value))) if value > 0 else 0
    return number(value, 1) if 0 <= power < 4 else power_of_ten(power)


def _flat(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64).ravel()

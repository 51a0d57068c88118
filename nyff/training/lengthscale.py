"""A length scale when none was given: a short scan on a subset, judged on structures that do not train."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nyff.data.dataset import Dataset
from nyff.data.split import Split
from nyff.linalg.solution import Status
from nyff.training.evaluate import evaluate
from nyff.training.problem import build_model, build_problem
from nyff.training.settings import Settings
from nyff.training.solve import Watcher, solve_directly

GRID = (2.5, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0, 80.0)
"""Length scales tried, in the unit of the descriptor; the edges are there to be told when the optimum lies outside."""

# Unknowns of the subset: large enough to rank length scales, small enough to take seconds.
_UNKNOWNS = 3000
_VALIDATION = 100


@dataclass(frozen=True)
class Choice:
    """The best of the grid, the force MAE (eV/Å) at each point tried, and what to say about it."""

    lengthscale: float
    errors: dict[float, float]
    hints: list[str] = field(default_factory=list)


def choose_lengthscale(
    dataset: Dataset,
    splitting: Split,
    permutations: NDArray[np.int64],
    settings: Settings,
    limit: int,
    watcher: Watcher,
) -> Choice:
    """Fit a subset of the training structures at each length scale of :data:`GRID`; the lowest validation error wins.

    Validates on the validation part, or on training structures outside the subset when that is empty; the test part
    is never touched. The subset is small enough for ``limit`` bytes.
    """
    random = np.random.default_rng(settings.seed)
    order = random.permutation(splitting.train)
    size = max(2, min(len(order), int(min(_UNKNOWNS, (limit / 32) ** 0.5)) // (3 * dataset.n_atoms)))
    if len(splitting.valid):
        held_out = splitting.valid[:_VALIDATION]
    else:
        size = min(size, max(2, (3 * len(order)) // 4))
        held_out = order[size:][:_VALIDATION]
    if not len(held_out):
        return Choice(
            10.0, {}, ["too few structures to choose a length scale: 10 was taken; give one with --lengthscale"]
        )
    subset, judge = dataset[np.sort(order[:size])], dataset[np.sort(held_out)]
    errors: dict[float, float] = {}
    for i, lengthscale in enumerate(GRID):
        watcher.tell("choosing the length scale", i / len(GRID))
        trial = replace(settings, lengthscale=lengthscale)
        problem = build_problem(subset, permutations, trial, lengthscale, max_bytes=float("inf"))
        solution = solve_directly(problem, trial.regularization, trial.tolerance, Watcher(stop=watcher.stop))
        if solution.status is Status.NOT_POSITIVE:
            continue
        model = build_model(problem, solution.value, {})
        errors[lengthscale] = float(evaluate(model, judge).metrics["force_mae_ev_per_ang"])
    if not errors:
        return Choice(10.0, {}, ["no length scale of the grid could be fitted; 10 was taken; raise --regularization"])
    best = min(errors, key=errors.__getitem__)
    hints = []
    if best in (GRID[0], GRID[-1]):
        hints.append(
            f"the best length scale, {best:g}, is at the edge of the grid {GRID[0]:g} to {GRID[-1]:g}; one beyond it may "
            "be better: try --lengthscale with other values"
        )
    return Choice(best, errors, hints)

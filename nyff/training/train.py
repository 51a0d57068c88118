"""``fit``: from labelled structures to a force field."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nyff._version import __version__
from nyff.data.check import check
from nyff.data.dataset import Dataset
from nyff.data.split import Split, split
from nyff.errors import InputError, NyffError
from nyff.linalg.cg import CGState
from nyff.linalg.preconditioner.base import Preconditioner
from nyff.linalg.solution import Solution, Status
from nyff.model.file import checked_device
from nyff.model.force_field import ForceField
from nyff.training.evaluate import Evaluation, evaluate
from nyff.training.lengthscale import choose_lengthscale
from nyff.training.memory import memory_limit
from nyff.training.plan import Plan, make_plan, require_memory
from nyff.training.problem import Problem, build_model, build_problem, resolve_permutations
from nyff.training.settings import Settings
from nyff.training.solve import Watcher, solve

log = logging.getLogger(__name__)

# Net force and torque above this share of the forces are not rounding of the reference calculation.
_RIGID_SHARE = 1e-2


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained model and everything about how it came to be.

    ``metrics`` are the errors on the test structures, with units in the keys, and the cost; ``evaluation`` holds the
    predictions they come from (None when no structure was left to test). ``hints`` are sentences worth reading;
    ``lengthscale_errors`` the force MAE (eV/Å) of each length scale tried, when none was given.
    """

    model: ForceField
    solution: Solution
    metrics: dict[str, Any]
    settings: Settings
    split: Split
    plan: Plan
    evaluation: Evaluation | None
    problem: Problem
    preconditioner: Preconditioner | None
    hints: list[str] = field(default_factory=list)
    lengthscale_errors: dict[float, float] = field(default_factory=dict)

    @property
    def coefficients(self) -> Tensor:
        """α [train, 3·atoms], without rigid motions."""
        return self.problem.coefficients(self.solution.value)


def fit(
    dataset: Dataset,
    n_train: int | None = None,
    *,
    lengthscale: float | None = None,
    regularization: float = 1e-10,
    kernel: str = "matern52",
    descriptor_power: float = 1.0,
    permutations: str | NDArray[np.int64] | list[list[int]] = "auto",
    solver: str = "auto",
    preconditioner: str = "auto",
    columns: int | str = "auto",
    tolerance: float = 1e-4,
    max_memory: str | int | None = None,
    max_iterations: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    splitting: Split | None = None,
    watcher: Watcher | None = None,
    state: CGState | None = None,
) -> FitResult:
    """Train a force field on ``n_train`` structures of ``dataset`` (default: all but a fifth, 1000 at most).

    ``lengthscale`` σ in the unit of the descriptor (Å^−p), chosen on a subset when not given; ``regularization`` λ, relative
    to forces of unit variance; ``kernel`` a name of :func:`nyff.kernel.radial.radial_names`; ``descriptor_power`` p;
    ``permutations`` ``"auto"`` (found in the data), ``"none"`` or an array [symmetries, atoms]; ``solver`` ``"auto"``,
    ``"cholesky"`` or ``"cg"``; ``preconditioner`` a name, with ``columns`` its memory in columns of K; ``tolerance`` the
    relative residual at which CG stops; ``max_memory`` such as ``"4GB"`` (default: a share of what is free).

    ``splitting`` fixes the structures instead of drawing them with ``seed``; ``watcher`` is told of progress and can
    stop; ``state`` continues an interrupted CG. A solve that did not converge is reported in ``solution.status``.

    Raises :class:`~nyff.errors.InputError` for bad data or arguments, :class:`~nyff.errors.MemoryLimitError` when
    nothing fits into ``max_memory``.
    """
    try:
        stored = permutations if isinstance(permutations, str) else np.asarray(permutations).tolist()
    except ValueError:
        raise InputError("`permutations` has rows of different lengths; give an array [symmetries, atoms]") from None
    settings = Settings(
        lengthscale=lengthscale,
        regularization=regularization,
        kernel=kernel,
        descriptor_power=descriptor_power,
        permutations=stored,
        solver=solver,
        preconditioner=preconditioner,
        columns=columns,
        tolerance=tolerance,
        max_memory=max_memory,
        max_iterations=max_iterations,
        device=str(checked_device(device)),
        seed=seed,
    )
    return fit_with(dataset, n_train, settings, splitting, watcher or Watcher(), state)


def fit_with(
    dataset: Dataset,
    n_train: int | None,
    settings: Settings,
    splitting: Split | None,
    watcher: Watcher,
    state: CGState | None = None,
) -> FitResult:
    """:func:`fit` with its settings in one object."""
    checked = check(dataset)
    if splitting is not None and len(checked) != len(dataset):
        raise InputError(
            f"the data have {len(dataset) - len(checked)} duplicates, which are dropped, so that the indices of "
            "`splitting` would mean other structures; split the result of nyff.data.check.check"
        )
    dataset = checked
    hints = list(dataset.hints)
    if splitting is None:
        splitting = split(dataset, default_n_train(dataset) if n_train is None else n_train, seed=settings.seed)
    last = max((int(part.max()) for part in (splitting.train, splitting.valid, splitting.test) if len(part)), default=0)
    if last >= len(dataset):
        raise InputError(
            f"`splitting` holds structure {last}, the data set has {len(dataset)} (from 0); split this data set itself"
        )
    train = dataset[splitting.train]
    if len(train) < 2:
        raise InputError(f"training needs at least 2 structures, got n_train = {len(train)}; label more structures")
    limit = memory_limit(settings.max_memory, settings.device)

    watcher.tell("finding symmetries")
    permutations = resolve_permutations(train, settings.permutations, settings.seed)
    require_memory(len(train), train.n_atoms, len(permutations), limit)
    scan: dict[float, float] = {}
    if settings.lengthscale is None:
        watcher.tell("choosing the length scale")
        choice = choose_lengthscale(dataset, splitting, permutations, settings, limit, watcher)
        settings = replace(settings, lengthscale=choice.lengthscale)
        hints += choice.hints
        scan = choice.errors
    assert settings.lengthscale is not None

    watcher.tell("preparing")
    # A third of the memory may go into the kernel's scalars; they make each product several times faster.
    problem = build_problem(train, permutations, settings, settings.lengthscale, max_bytes=limit / 3)
    if problem.rigid_share > _RIGID_SHARE:
        hints.append(
            f"{100 * problem.rigid_share:.1f} % of the forces were net force and torque, which no potential energy has; "
            "they were projected out. Check the reference calculation if this is more than its numerical noise"
        )
    plan = make_plan(
        problem.operator,
        solver=settings.solver,
        columns=settings.columns,
        preconditioner=settings.preconditioner,
        limit=limit,
    )
    log.info("plan: %s", plan)
    watcher.planned(plan, settings)
    solution, built = solve(problem, plan, settings, watcher, state)
    useless = solution.status is Status.NOT_FINITE or not bool(solution.value.isfinite().all())
    if useless or (solution.status is Status.NOT_POSITIVE and solution.method == "cholesky"):
        raise NyffError(f"the linear system could not be solved: {solution.status.value}. {solution.status.advice}")
    if not solution.converged:
        hints.append(
            f"{solution.status.value} at a relative residual of {solution.relative_residual:.1e}: {solution.status.advice}"
        )

    watcher.tell("testing")
    model = build_model(problem, solution.value, _provenance(dataset, splitting, settings, solution))
    held_out = splitting.test if len(splitting.test) else splitting.valid
    evaluation = evaluate(model, dataset[held_out]) if len(held_out) else None
    metrics = _metrics(problem, plan, solution, built, evaluation)
    if evaluation is None:
        hints.append("no structure was left to test: the errors of this model are unknown; train on fewer, or add data")
    else:
        hints += evaluation.hints()
    return FitResult(model, solution, metrics, settings, splitting, plan, evaluation, problem, built, hints, scan)


def default_n_train(dataset: Dataset) -> int:
    """Four fifths of the structures, at most 1000."""
    return max(2, min(1000, (4 * len(dataset)) // 5))


def _metrics(
    problem: Problem, plan: Plan, solution: Solution, built: Preconditioner | None, evaluation: Evaluation | None
) -> dict[str, Any]:
    return {
        **(evaluation.metrics if evaluation else {"n_test": 0}),
        "n_train": len(problem.dataset),
        "n_unknowns": problem.n,
        "n_permutations": len(problem.permutations),
        "solver": plan.solver,
        "columns": plan.columns,
        "preconditioner_bytes": built.bytes if built else 0,
        "preconditioner_seconds": built.cost.seconds if built else 0.0,
        "solve_seconds": solution.seconds,
        "iterations": solution.iterations,
        "status": solution.status.value,
        "relative_residual": solution.relative_residual,
        "rigid_share_of_forces": problem.rigid_share,
    }


def _provenance(dataset: Dataset, splitting: Split, settings: Settings, solution: Solution) -> dict[str, Any]:
    return {
        "nyff_version": __version__,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint(),
        "dataset_source": dict(dataset.source),
        "train_indices": splitting.train.tolist(),
        "regularization": settings.regularization,
        "tolerance": settings.tolerance,
        "seed": settings.seed,
        "solver": solution.method,
        "status": solution.status.value,
        "relative_residual": solution.relative_residual,
        "torch_version": torch.__version__.split("+")[0],
    }

"""Preconditioners compared on one training set: steps, memory and seconds, a result as soon as it is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nyff.errors import InputError, MemoryLimitError
from nyff.linalg.cg import CGState, conjugate_gradient
from nyff.linalg.preconditioner.low_rank import FORMS, LowRank
from nyff.linalg.preconditioner.make import METHODS, make_preconditioner
from nyff.linalg.preconditioner.spectral import Eigenpairs, full_matrix_bytes, leading_eigenpairs
from nyff.linalg.solution import Record
from nyff.training.plan import make_plan
from nyff.training.problem import Problem
from nyff.training.settings import Settings
from nyff.training.solve import Watcher, solve

DEFAULT = "default"
"""What the comparison calls the preconditioner ``auto``."""

AUTOMATIC = "automatic"
"""Not a preconditioner: what training would do by itself, solver and columns chosen."""


def method_names() -> list[str]:
    """Names that :func:`compare` knows, the default first."""
    return [DEFAULT, *(name for name in METHODS if name != "auto")]


@dataclass(frozen=True)
class Case:
    """One solve to be done; ``columns`` is 0 for methods whose size does not follow from it."""

    method: str
    columns: int
    seed: int = 0
    form: str = "shifted"


@dataclass(frozen=True)
class Result:
    """One solve: what was asked for, what it took, and how it ended.

    ``iterations`` counts products with K after the build, those of residual checks included;
    ``true_relative_residual`` is computed from the solution. ``preconditioner_bytes`` is all that is held during the
    solve, ``peak_build_bytes`` the most at once before. ``columns`` k is what was asked for, or for methods without
    it what they hold in columns.
    """

    method: str
    form: str
    n_train: int
    n: int
    permutations: int
    columns: int
    seed: int
    rank: int
    iterations: int
    converged: bool
    status: str
    true_relative_residual: float
    preconditioner_bytes: int
    peak_build_bytes: int
    build_products: int
    build_s: float
    solve_s: float
    history: list[Record] = field(default_factory=list, repr=False)

    @property
    def total_s(self) -> float:
        """Build and solve."""
        return self.build_s + self.solve_s

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without the history."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "history"}


@dataclass(frozen=True)
class Refusal:
    """A case that does not fit into memory, and why."""

    case: Case
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self.case), "reason": self.reason}


class Listener:
    """What a caller can hang on a comparison; all of it optional."""

    def __init__(
        self,
        started: Callable[[Case, str], None] | None = None,
        step: Callable[[Case, Record], None] | None = None,
    ):
        self.started = started or (lambda case, stage: None)
        self.step = step or (lambda case, record: None)


def cases(methods: Iterable[str], columns: Iterable[int], seeds: Iterable[int], *, form: str = "shifted") -> list[Case]:
    """All combinations that differ: methods without columns or without randomness come once.

    Raises :class:`~nyff.errors.InputError` for names that do not exist and numbers that make no sense.
    """
    columns, seeds = list(columns), list(seeds)
    if form not in FORMS:
        raise InputError(f"unknown form {form!r} of a preconditioner; known are {', '.join(FORMS)}")
    for k in columns:
        if k < 1:
            raise InputError(f"the number of columns must be at least 1, got {k}")
    made: dict[Case, None] = {}
    for name in methods:
        method = METHODS.get("auto" if name == DEFAULT else name)
        if method is None:
            raise InputError(f"unknown method {name!r}; known are {', '.join(method_names())} and all")
        for k in columns if method.sized else [0]:
            for seed in seeds if method.seeded else seeds[:1]:
                made[Case(name, k, seed, form)] = None
    return list(made)


def compare(
    problem: Problem,
    todo: Collection[Case],
    *,
    regularization: float = 1e-10,
    tolerance: float = 1e-4,
    max_iterations: int | None = None,
    max_bytes: float = float("inf"),
    listener: Listener | None = None,
) -> Iterator[Result | Refusal]:
    """Solve ``problem`` in every way of ``todo``, in that order.

    ``max_bytes`` bounds what a build may take; a case beyond it is refused with the reason and the next one comes.
    The full matrix is decomposed once for all cases that need it, and its time counted in each.
    """
    listener = listener or Listener()
    if not todo:
        return
    # The kernel computes and keeps its scalars in its first product; no method shall pay for them.
    problem.operator.matvec(problem.labels)
    eigen: tuple[Eigenpairs, float] | None = None
    for case in todo:
        listener.started(case, "building")
        method = METHODS["auto" if case.method == DEFAULT else case.method]
        try:
            if method.full_matrix and eigen is None:
                count = max(c.columns for c in todo if _needs_matrix(c))
                eigen = _decompose(problem, case.method, min(count, problem.operator.n), max_bytes)
            yield _solve(problem, case, eigen, regularization, tolerance, max_iterations, max_bytes, listener)
        except MemoryLimitError as error:
            yield Refusal(case, str(error))


def _needs_matrix(case: Case) -> bool:
    return METHODS["auto" if case.method == DEFAULT else case.method].full_matrix


def _decompose(problem: Problem, name: str, count: int, max_bytes: float) -> tuple[Eigenpairs, float] | None:
    if full_matrix_bytes(problem.operator.n, count) > max_bytes:
        return None
    started = time.perf_counter()
    return leading_eigenpairs(problem.operator, count), time.perf_counter() - started


def _solve(
    problem: Problem,
    case: Case,
    eigen: tuple[Eigenpairs, float] | None,
    regularization: float,
    tolerance: float,
    max_iterations: int | None,
    max_bytes: float,
    listener: Listener,
) -> Result:
    operator, full = problem.operator, _needs_matrix(case)
    built = make_preconditioner(
        "auto" if case.method == DEFAULT else case.method,
        operator,
        regularization,
        case.columns,
        n=problem.n,
        seed=case.seed,
        form=case.form,
        max_bytes=max_bytes,
        eigen=eigen[0] if full and eigen else None,
    )
    listener.started(case, "solving")

    def monitor(state: CGState) -> None:
        listener.step(case, state.history[-1])

    solution = conjugate_gradient(
        operator,
        problem.labels,
        shift=regularization,
        precondition=built.apply,
        tolerance=tolerance,
        max_iterations=5 * problem.n if max_iterations is None else max_iterations,
        monitor=monitor,
    )
    # A shared decomposition is part of each build that used it.
    shared_s = eigen[1] if full and eigen else 0.0
    shared_bytes = full_matrix_bytes(operator.n, eigen[0].values.numel()) if full and eigen else 0
    return Result(
        method=case.method,
        form=case.form if isinstance(built, LowRank) else "",
        n_train=len(problem.dataset),
        n=problem.n,
        permutations=len(problem.permutations),
        columns=case.columns or -(-built.bytes // (8 * problem.n)),
        seed=case.seed,
        rank=built.rank,
        iterations=solution.iterations,
        converged=solution.converged,
        status=solution.status.value,
        true_relative_residual=solution.relative_residual,
        preconditioner_bytes=built.bytes,
        peak_build_bytes=max(built.cost.peak_bytes, shared_bytes),
        build_products=built.cost.products,
        build_s=built.cost.seconds + shared_s,
        solve_s=solution.seconds,
        history=solution.history,
    )


def solve_automatically(problem: Problem, settings: Settings, limit: int) -> Result:
    """What training does by itself with ``settings``, solver and columns left to it; planning is timed as building."""
    started = time.perf_counter()
    plan = make_plan(
        problem.operator,
        solver=settings.solver,
        columns=settings.columns,
        preconditioner=settings.preconditioner,
        limit=limit,
    )
    solution, built = solve(problem, plan, settings, Watcher())
    total = time.perf_counter() - started
    return Result(
        method=AUTOMATIC,
        form=plan.solver,
        n_train=len(problem.dataset),
        n=problem.n,
        permutations=len(problem.permutations),
        columns=plan.columns,
        seed=settings.seed,
        rank=built.rank if built else 0,
        iterations=solution.iterations,
        converged=solution.converged,
        status=solution.status.value,
        true_relative_residual=solution.relative_residual,
        preconditioner_bytes=built.bytes if built else 0,
        peak_build_bytes=built.cost.peak_bytes if built else plan.memory_bytes,
        build_products=built.cost.products if built else 0,
        build_s=total - solution.seconds,
        solve_s=solution.seconds,
        history=solution.history,
    )

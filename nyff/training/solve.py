"""Carrying out a plan: factor and solve, or precondition and iterate; both can be watched and stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nyff.linalg.cg import CGState, conjugate_gradient
from nyff.linalg.cholesky import NotPositiveDefinite, cholesky_in_place, cholesky_solve
from nyff.linalg.preconditioner.base import Preconditioner
from nyff.linalg.preconditioner.make import make_preconditioner
from nyff.linalg.solution import Record, Solution, Status
from nyff.training.plan import Plan
from nyff.training.problem import Problem
from nyff.training.settings import Settings


@dataclass(frozen=True)
class Progress:
    """Where a fit is: its stage, the share done (None when unknown), and for CG the step, residual and seconds."""

    stage: str
    share: float | None = None
    record: Record | None = None


class Watcher:
    """What a caller can hang on a fit: ``progress`` to be told, ``stop`` to be asked, ``checkpoint`` to keep states.

    ``planned`` is called once with the plan and the settings as they were resolved. ``checkpoint`` is called at every
    step with the live CG state and whether this is the last step; it decides itself whether to write.
    """

    def __init__(
        self,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        planned: Callable[[Plan, Settings], None] | None = None,
        checkpoint: Callable[[CGState, bool], None] | None = None,
    ):
        self._progress = progress
        self.stop = stop or (lambda: False)
        self.planned = planned or (lambda plan, settings: None)
        self._checkpoint = checkpoint

    def tell(self, stage: str, share: float | None = None, record: Record | None = None) -> None:
        """Report, and stop between two pieces of work if asked to."""
        if self._progress is not None:
            self._progress(Progress(stage, share, record))
        # After the solve nothing is worth throwing the solution away for.
        if record is None and stage != "testing" and self.stop():
            raise Interrupted(stage)

    def step(self, state: CGState) -> Status | None:
        """The monitor of CG: report, keep, stop."""
        self.tell("solving", record=state.history[-1])
        stopping = self.stop()
        if self._checkpoint is not None:
            self._checkpoint(state, stopping)
        return Status.INTERRUPTED if stopping else None


class Interrupted(Exception):
    """The caller asked to stop; the message is the stage. Only a solve by CG has a state to continue from."""


def solve(
    problem: Problem, plan: Plan, settings: Settings, watcher: Watcher, state: CGState | None = None
) -> tuple[Solution, Preconditioner | None]:
    """Solve (K̃ + λI) α̃ = ỹ as planned; ``state`` continues an interrupted CG."""
    if plan.solver == "cholesky":
        return solve_directly(problem, settings.regularization, settings.tolerance, watcher), None
    watcher.tell("building the preconditioner")
    preconditioner = make_preconditioner(
        settings.preconditioner,
        problem.operator,
        settings.regularization,
        plan.columns,
        n=problem.n,
        seed=settings.seed,
        max_bytes=plan.limit_bytes,
    )
    watcher.tell("solving")
    solution = conjugate_gradient(
        problem.operator,
        problem.labels,
        shift=settings.regularization,
        precondition=preconditioner.apply,
        tolerance=settings.tolerance,
        max_iterations=settings.max_iterations,
        monitor=watcher.step,
        state=state,
    )
    if solution.status is Status.INTERRUPTED:
        raise Interrupted("solving")
    return solution, preconditioner


def solve_directly(problem: Problem, shift: float, tolerance: float, watcher: Watcher) -> Solution:
    """Factor K̃ + λI and solve; exact up to rounding, which the residual states."""
    started = time.perf_counter()
    operator, labels = problem.operator, problem.labels
    matrix = operator.to_dense(lambda share: watcher.tell("assembling", share))
    matrix.diagonal().add_(shift)
    try:
        cholesky_in_place(matrix, lambda share: watcher.tell("factoring", share))
    except NotPositiveDefinite:
        nothing = torch.zeros_like(labels)
        return Solution(nothing, Status.NOT_POSITIVE, 0, 1.0, time.perf_counter() - started, "cholesky")
    value = cholesky_solve(matrix, labels)
    residual = labels - operator.matvec(value).add_(value, alpha=shift)
    relative = float(residual.norm() / labels.norm())
    seconds = time.perf_counter() - started
    status = Status.CONVERGED if relative <= tolerance else Status.STAGNATED
    return Solution(value, status, 1, relative, seconds, "cholesky", [Record(1, relative, seconds)])

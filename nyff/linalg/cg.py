"""Flexible preconditioned conjugate gradients for (A + λI) x = b.

Y. Notay, SIAM J. Sci. Comput. 22, 1444 (2000), doi 10.1137/S1064827599362314: the Polak–Ribière form of β tolerates a
preconditioner that is not exactly the same at every step (rounding, reduced precision) at the price of one inner
product.

What distinguishes it from a textbook loop: convergence is only declared on the true residual, the recursion is replaced
by the truth where the two drift apart, and loss of positivity, stagnation at the end of float64 and interruption are
statuses with advice, not exceptions.

| symbol | here |
|---|---|
| A, λ, P⁻¹ | ``operator``, ``shift``, ``precondition`` |
| x, r, p | fields of :class:`CGState` |
| ρ = rᵀ P⁻¹ r | ``CGState.rho`` |
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nyff.linalg.operator import LinearOperator
from nyff.linalg.solution import Record, Solution, Status

Precondition = Callable[[Tensor], Tensor]


@dataclass
class CGState:
    """All that is needed to go on exactly where a solve stopped: vectors [n], counters and the history."""

    x: Tensor
    r: Tensor
    p: Tensor
    rho: float
    iteration: int
    seconds: float
    since_truth: int = 0
    last_truth: float = math.inf
    history: list[Record] = field(default_factory=list)


Monitor = Callable[[CGState], Status | None]
"""Called after every step; returns a status to stop with, or None. The state is live: copy what you keep."""

# The recursion is compared with the truth this often, and replaced when they differ by more than a tenth.
_CHECK_EVERY = 200
# Declared stagnant when the true residual is replaced twice without having fallen by a tenth in between.
_STALLED = 0.9


def conjugate_gradient(
    operator: LinearOperator,
    b: Tensor,
    *,
    shift: float,
    precondition: Precondition | None = None,
    x0: Tensor | None = None,
    tolerance: float = 1e-4,
    max_iterations: int | None = None,
    monitor: Monitor | None = None,
    state: CGState | None = None,
) -> Solution:
    """Solve (A + λI) x = b until ‖b − (A + λI)x‖ ≤ ``tolerance`` ‖b‖.

    ``b`` [n]; ``x0`` [n] is a warm start; ``state`` continues an earlier solve exactly and makes ``x0`` moot.
    ``max_iterations`` defaults to 5 n, the paper's limit.
    """
    apply = precondition or (lambda v: v)
    norm_b = float(b.norm())
    limit = 5 * len(b) if max_iterations is None else max_iterations
    started = time.perf_counter()
    if norm_b == 0.0:
        return Solution(torch.zeros_like(b), Status.CONVERGED, 0, 0.0, 0.0, "cg")

    def residual(x: Tensor) -> Tensor:
        return b - operator.matvec(x).add_(x, alpha=shift)

    if state is None:
        x = torch.zeros_like(b) if x0 is None else x0.clone()
        r = b.clone() if x0 is None else residual(x)
        z = apply(r)
        state = CGState(x, r, z.clone(), float(r @ z), 0 if x0 is None else 1, 0.0)
        state.history.append(Record(state.iteration, float(r.norm()) / norm_b, 0.0))
    earlier = state.seconds
    status = Status.ITERATION_LIMIT
    relative = state.history[-1].relative_residual
    true_relative: float | None = 1.0 if not state.iteration else None

    while state.iteration < limit:
        if relative <= tolerance or state.since_truth >= _CHECK_EVERY:
            truth = residual(state.x)
            state.iteration += 1
            state.since_truth = 0
            true_relative = float(truth.norm()) / norm_b
            if true_relative <= tolerance:
                status = Status.CONVERGED
                break
            if abs(true_relative - relative) > 0.1 * true_relative:
                if true_relative > _STALLED * state.last_truth:
                    status = Status.STAGNATED
                    break
                state.last_truth = true_relative
                state.r = truth
                z = apply(truth)
                state.p, state.rho = z.clone(), float(truth @ z)
            relative = true_relative
        if not state.rho > 0.0:
            status = Status.NOT_POSITIVE if math.isfinite(state.rho) else Status.NOT_FINITE
            break
        q = operator.matvec(state.p).add_(state.p, alpha=shift)
        curvature = float(state.p @ q)
        if not curvature > 0.0:
            status = Status.NOT_POSITIVE if math.isfinite(curvature) else Status.NOT_FINITE
            break
        step = state.rho / curvature
        state.x.add_(state.p, alpha=step)
        state.r.add_(q, alpha=-step)
        z = apply(state.r)
        true_relative = None
        # Flexible β: zᵀ(r_new − r_old)/ρ_old, and r_new − r_old = −step q.
        beta = -step * float(z @ q) / state.rho
        state.rho = float(state.r @ z)
        state.p.mul_(beta).add_(z)
        state.iteration += 1
        state.since_truth += 1
        relative = float(state.r.norm()) / norm_b
        state.seconds = earlier + time.perf_counter() - started
        state.history.append(Record(state.iteration, relative, state.seconds))
        if monitor is not None and (stop := monitor(state)) is not None:
            status = stop
            break
    if true_relative is None:
        true_relative = float(residual(state.x).norm()) / norm_b
        state.iteration += 1
    seconds = earlier + time.perf_counter() - started
    return Solution(state.x, status, state.iteration, true_relative, seconds, "cg", list(state.history))

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from nyff.linalg.cg import CGState, conjugate_gradient
from nyff.linalg.operator import Dense
from nyff.linalg.solution import Status

N = 80


def spd(condition: float, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    q, _ = np.linalg.qr(random.normal(size=(N, N)))
    return torch.tensor((q * np.geomspace(1, 1 / condition, N)) @ q.T)


@pytest.fixture
def b() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(1).normal(size=N))


def test_solves_to_the_true_residual(b):
    a = spd(1e4)
    solution = conjugate_gradient(Dense(a), b, shift=1e-3, tolerance=1e-8)
    truth = float((b - a @ solution.value - 1e-3 * solution.value).norm() / b.norm())
    assert solution.converged
    assert truth <= 1e-8
    assert solution.relative_residual == pytest.approx(truth, rel=1e-6)


def test_residuals_are_those_of_scipy(b):
    a = spd(1e3)
    iterates = []
    scipy.sparse.linalg.cg(a.numpy(), b.numpy(), rtol=1e-6, callback=lambda x: iterates.append(x.copy()))
    theirs = [np.linalg.norm(b.numpy() - a.numpy() @ x) / np.linalg.norm(b.numpy()) for x in iterates]
    solution = conjugate_gradient(Dense(a), b, shift=0.0, tolerance=1e-6)
    ours = [record.relative_residual for record in solution.history[1:]]
    np.testing.assert_allclose(ours[:20], theirs[:20], rtol=1e-6)


def test_an_exact_preconditioner_needs_one_step_and_a_check(b):
    a = spd(1e8)
    inverse = torch.linalg.inv(a + 1e-4 * torch.eye(N))
    solution = conjugate_gradient(Dense(a), b, shift=1e-4, precondition=lambda v: inverse @ v, tolerance=1e-6)
    assert solution.converged
    assert solution.iterations == 2


def test_warm_start_at_the_solution_costs_the_check_only(b):
    a = spd(1e2)
    x = torch.linalg.solve(a, b)
    solution = conjugate_gradient(Dense(a), b, shift=0.0, x0=x, tolerance=1e-6)
    assert solution.converged
    assert solution.iterations <= 2
    torch.testing.assert_close(solution.value, x)


def test_a_zero_right_hand_side_has_the_zero_solution():
    solution = conjugate_gradient(Dense(spd(10)), torch.zeros(N, dtype=torch.float64), shift=0.0)
    assert solution.converged
    assert not bool(solution.value.any())


def test_iteration_limit_is_a_status_with_advice(b):
    solution = conjugate_gradient(Dense(spd(1e8)), b, shift=0.0, max_iterations=5)
    assert solution.status is Status.ITERATION_LIMIT
    assert "allow more columns" in solution.status.advice
    assert solution.relative_residual > 1e-4


def test_an_indefinite_matrix_is_noticed(b):
    a = spd(10)
    solution = conjugate_gradient(Dense(a - 0.5 * torch.eye(N)), b, shift=0.0, tolerance=1e-10)
    assert solution.status is Status.NOT_POSITIVE
    assert "raise the regularisation" in solution.status.advice


def test_numbers_that_are_not_finite_are_noticed(b):
    a = spd(10)
    a[3, 3] = float("nan")
    assert conjugate_gradient(Dense(a), b, shift=0.0).status is Status.NOT_FINITE


def test_a_tolerance_beyond_float64_ends_as_stagnated_with_the_residual_it_reached(b):
    solution = conjugate_gradient(Dense(spd(1e6)), b, shift=0.0, tolerance=1e-15, max_iterations=5000)
    assert solution.status is Status.STAGNATED
    assert 1e-15 < solution.relative_residual < 1e-6


def test_a_stopped_solve_continues_bit_for_bit(b):
    operator, kept = Dense(spd(1e5)), []

    def keep_and_stop(state: CGState) -> Status | None:
        if state.iteration == 30:
            kept.append(copy.deepcopy(state))
            return Status.INTERRUPTED
        return None

    whole = conjugate_gradient(operator, b, shift=1e-6, tolerance=1e-6, max_iterations=2000)
    stopped = conjugate_gradient(operator, b, shift=1e-6, tolerance=1e-6, max_iterations=2000, monitor=keep_and_stop)
    assert stopped.status is Status.INTERRUPTED
    resumed = conjugate_gradient(operator, b, shift=1e-6, tolerance=1e-6, max_iterations=2000, state=kept[0])
    assert torch.equal(resumed.value, whole.value)
    assert resumed.iterations == whole.iterations
    ours, theirs = ([r.relative_residual for r in s.history] for s in (resumed, whole))
    assert ours == theirs

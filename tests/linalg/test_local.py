from __future__ import annotations

import pytest
import torch

import nyff.linalg.preconditioner.local as module
from nyff.linalg.cg import conjugate_gradient
from nyff.linalg.operator import Dense
from nyff.linalg.preconditioner.local import columns_beside_blocks, low_rank_plus_blocks
from nyff.linalg.preconditioner.pivoted import Pivoted
from nyff.training.problem import build_problem
from nyff.training.settings import Settings

FRAMES = 12
SHIFT = 1e-8


@pytest.fixture(scope="module")
def problem(ethanol, ethanol_permutations):
    settings = Settings(lengthscale=10.0)
    return build_problem(ethanol[:FRAMES], ethanol_permutations, settings, 10.0, float("inf"))


@pytest.fixture(scope="module")
def matrix(problem) -> torch.Tensor:
    return problem.operator.to_dense()


def built(problem, columns: float, oversampled: int):
    factor = Pivoted(problem.operator, oversampled).grow(oversampled)
    return factor, low_rank_plus_blocks(factor, problem.operator.diagonal_blocks(), SHIFT, columns)


def dense_inverse(preconditioner, n: int) -> torch.Tensor:
    return preconditioner.apply(torch.eye(n, dtype=torch.float64))


def test_it_is_the_inverse_of_low_rank_plus_the_blocks_of_the_residual(problem, matrix, monkeypatch):
    """In float64 throughout, and keeping all of F: P = F Fᵀ + blockdiag(A − F Fᵀ) + λI, built densely."""
    monkeypatch.setattr(module, "_DOUBLE_ABOVE", 0.0)
    factor, preconditioner = built(problem, 60, 60)
    n, b = len(matrix), problem.operator.block_size
    residual = matrix - factor @ factor.T
    mask = torch.block_diag(*[torch.ones(b, b, dtype=torch.float64)] * FRAMES)
    expected = factor @ factor.T + residual * mask + SHIFT * torch.eye(n)
    product = dense_inverse(preconditioner, n) @ expected
    torch.testing.assert_close(product, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-5)


def test_columns_in_float32_change_the_preconditioner_by_little(problem, matrix, monkeypatch):
    mixed = built(problem, 40, 90)[1]
    assert mixed.low.dtype == torch.float32
    assert mixed.low.shape[1] > 0
    operator, labels = problem.operator, problem.labels
    steps = conjugate_gradient(operator, labels, shift=SHIFT, precondition=mixed.apply, tolerance=1e-6).iterations
    exact = mixed.__class__(mixed.high, mixed.low.double(), mixed.triangles, mixed.block_size)
    same = conjugate_gradient(operator, labels, shift=SHIFT, precondition=exact.apply, tolerance=1e-6).iterations
    assert abs(steps - same) <= 0.1 * same


def test_the_preconditioned_spectrum_is_far_better_conditioned(problem, matrix):
    _, preconditioner = built(problem, 80, 200)
    shifted = matrix + SHIFT * torch.eye(len(matrix))
    values = torch.linalg.eigvals(dense_inverse(preconditioner, len(matrix)) @ shifted).real
    plain = torch.linalg.eigvalsh(shifted)
    assert float(values.min()) > 0
    assert float(values.max() / values.min()) < 1e-3 * float(plain[-1] / plain[0])


def test_it_is_symmetric_positive_definite_and_takes_several_vectors(problem):
    _, preconditioner = built(problem, 50, 120)
    n = problem.operator.n
    inverse = dense_inverse(preconditioner, n)
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-5, atol=1e-5 * float(inverse.abs().max()))
    assert float(torch.linalg.eigvalsh((inverse + inverse.T) / 2)[0]) > 0
    v = torch.randn(n, 3, dtype=torch.float64)
    torch.testing.assert_close(
        preconditioner.apply(v)[:, 1],
        preconditioner.apply(v[:, 1].contiguous()),
        rtol=1e-3,
        atol=1e-6 * float(inverse.abs().max()),
    )


@pytest.mark.parametrize("columns", [12, 20, 40, 100])
def test_the_memory_promise_is_kept(problem, columns):
    n = problem.n
    room = columns_beside_blocks(8.0 * n * columns, problem.operator.n, problem.operator.block_size)
    _, preconditioner = built(problem, room, min(int(3 * room), problem.operator.n))
    assert preconditioner.bytes <= 8 * n * columns


@pytest.mark.parametrize("shift", [1e-6, 1e-10, 1e-14])
def test_no_shift_is_too_small_to_build_with(problem, shift):
    factor = Pivoted(problem.operator, 150).grow(150)
    preconditioner = low_rank_plus_blocks(factor, problem.operator.diagonal_blocks(), shift, 50)
    v = torch.randn(problem.operator.n, dtype=torch.float64)
    applied = preconditioner.apply(v)
    assert bool(applied.isfinite().all())
    assert float(v @ applied) > 0


def test_the_order_of_structures_does_not_matter(problem, matrix):
    """Swapping structures permutes P with A when the factor is permuted: nothing depends on the position."""
    b = problem.operator.block_size
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))
    index = (order[:, None] * b + torch.arange(b)).reshape(-1)
    factor, preconditioner = built(problem, 50, 120)
    swapped = Dense(matrix[index][:, index], b)
    other = low_rank_plus_blocks(factor[index], swapped.diagonal_blocks(), SHIFT, 50)
    v = torch.randn(len(matrix), dtype=torch.float64)
    expected = preconditioner.apply(v)[index]
    difference = (other.apply(v[index]) - expected).norm() / expected.norm()
    assert float(difference) < 1e-3

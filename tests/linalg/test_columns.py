from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from nyff.linalg.preconditioner.columns import bottom, rank_leverage_scores, ridge_leverage_scores, sample, top, uniform
from nyff.linalg.preconditioner.spectral import leading_eigenpairs


def exact_scores(matrix: torch.Tensor, shift: float) -> torch.Tensor:
    """diag A (A + λI)⁻¹ by a dense solve."""
    return torch.linalg.solve(matrix + shift * torch.eye(len(matrix), dtype=torch.float64), matrix).diagonal()


def test_uniform_columns_differ_and_repeat_with_their_seed():
    index = uniform(100, 40, 3)
    assert len(set(index.tolist())) == 40
    assert torch.equal(index, uniform(100, 40, 3))
    assert not torch.equal(index, uniform(100, 40, 4))


def test_samples_come_in_proportion_to_their_weights():
    """Ordered pairs without replacement: p_i p_j / (1 − p_i)."""
    weights = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    p = (weights / weights.sum()).numpy()
    draws = np.zeros((4, 4))
    for seed in range(5000):
        i, j = sample(weights, 2, seed).tolist()
        draws[i, j] += 1
    expected = 5000 * p[:, None] * p[None] / (1 - p[:, None])
    off = ~np.eye(4, dtype=bool)
    assert draws.trace() == 0
    assert scipy.stats.chisquare(draws[off], expected[off]).pvalue > 1e-3


def test_columns_of_weight_zero_come_last():
    weights = torch.tensor([0.0, 1.0, 0.0, 1e-300, 5.0], dtype=torch.float64)
    for seed in range(20):
        assert set(sample(weights, 3, seed).tolist()) == {1, 3, 4}


def test_top_and_bottom_are_the_ends_of_the_order():
    weights = torch.tensor([0.3, 0.9, 0.1, 0.5], dtype=torch.float64)
    assert top(weights, 2).tolist() == [1, 3]
    assert bottom(weights, 2).tolist() == [2, 0]


@pytest.mark.parametrize("shift", [1e-3, 1e-6, 1e-9])
def test_leverage_scores_of_a_full_sketch_are_exact(problem, shift):
    n = len(problem.matrix)
    scores = ridge_leverage_scores(problem.dense, shift, 4 * n, seed=0)
    torch.testing.assert_close(scores, exact_scores(problem.matrix, shift), rtol=0, atol=1e-6)


def test_leverage_scores_of_a_small_sketch_rank_like_the_exact_ones(problem):
    scores = ridge_leverage_scores(problem.kernel, 1e-5, 160, seed=0)
    correlation = scipy.stats.spearmanr(scores.numpy(), exact_scores(problem.matrix, 1e-5).numpy()).statistic
    assert correlation > 0.8
    assert float(scores.max()) <= 1.0 + 1e-12
    assert float(scores.sum()) <= 40.0 + 1e-9


def test_rank_leverage_scores_are_the_diagonal_of_the_projector(problem):
    eigen = leading_eigenpairs(problem.dense, 30)
    scores = rank_leverage_scores(eigen.vectors)
    vectors = torch.linalg.eigh(problem.matrix)[1][:, -30:]
    torch.testing.assert_close(scores, (vectors @ vectors.T).diagonal(), rtol=0, atol=1e-8)
    assert float(scores.sum()) == pytest.approx(30)

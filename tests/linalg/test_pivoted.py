from __future__ import annotations

from collections import Counter
from itertools import permutations as orderings

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from nyff.linalg.operator import Dense
from nyff.linalg.preconditioner.pivoted import Pivoted


def nystrom(matrix: torch.Tensor, index: list[int]) -> torch.Tensor:
    """C A_SS⁻¹ Cᵀ by scipy."""
    c = matrix[:, index].numpy()
    return torch.tensor(c @ scipy.linalg.solve(c[index], c.T, assume_a="pos"))


def naive_greedy(matrix: torch.Tensor, count: int) -> list[int]:
    residual = matrix.numpy().copy()
    pivots = []
    for _ in range(count):
        i = int(np.argmax(residual.diagonal()))
        pivots.append(i)
        residual -= np.outer(residual[:, i], residual[i]) / residual[i, i]
    return pivots


def probability(matrix: np.ndarray, order: tuple[int, ...]) -> float:
    """That randomly pivoted Cholesky takes the pivots ``order``, one after the other."""
    residual, p = matrix.copy(), 1.0
    for i in order:
        p *= residual[i, i] / residual.trace()
        residual = residual - np.outer(residual[:, i], residual[i]) / residual[i, i]
    return float(p)


def test_chosen_columns_give_the_nystrom_approximation(problem):
    index = torch.randperm(len(problem.matrix), generator=torch.Generator().manual_seed(3))[:60]
    factor = Pivoted(problem.kernel, 60).include(index)
    torch.testing.assert_close(factor @ factor.T, nystrom(problem.matrix, index.tolist()), atol=1e-12, rtol=1e-9)


def test_columns_chosen_twice_or_already_covered_add_nothing(problem):
    index = torch.tensor([5, 9, 5, 40, 9])
    pivoted = Pivoted(problem.dense, 5)
    once = pivoted.include(index).clone()
    assert pivoted.pivots == [5, 9, 40]
    assert pivoted.include(index).shape == once.shape


def test_greedy_pivots_are_those_of_the_textbook(problem):
    pivoted = Pivoted(problem.kernel, 40, greedy=True)
    factor = pivoted.grow(40)
    assert pivoted.pivots == naive_greedy(problem.matrix, 40)
    torch.testing.assert_close(factor @ factor.T, nystrom(problem.matrix, pivoted.pivots), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("greedy", [False, True])
def test_residual_diagonal_is_kept_up_to_date(problem, greedy):
    pivoted = Pivoted(problem.dense, 100, seed=1, greedy=greedy)
    factor = pivoted.grow(100)
    truth = (problem.matrix - factor @ factor.T).diagonal()
    torch.testing.assert_close(pivoted.residual_diagonal, truth, atol=1e-15, rtol=1e-6)
    assert len(set(pivoted.pivots)) == 100


@pytest.mark.parametrize("greedy", [False, True])
def test_at_full_rank_the_factor_is_the_matrix(problem, greedy):
    n = len(problem.matrix)
    pivoted = Pivoted(problem.kernel, n, greedy=greedy)
    factor = pivoted.grow(n)
    assert float((factor @ factor.T - problem.matrix).abs().max()) < 1e-14
    assert pivoted.exhausted or len(pivoted.pivots) == n


@pytest.mark.parametrize("greedy", [False, True])
def test_ends_gracefully_when_nothing_is_left(greedy):
    random = torch.Generator().manual_seed(0)
    half = torch.randn(50, 5, generator=random, dtype=torch.float64)
    matrix = half @ half.T
    pivoted = Pivoted(Dense(matrix), 20, greedy=greedy)
    factor = pivoted.grow(20)
    assert factor.shape == (50, 5)
    assert pivoted.exhausted
    torch.testing.assert_close(factor @ factor.T, matrix, atol=1e-13, rtol=1e-10)


def test_growing_keeps_what_is_there(problem):
    pivoted = Pivoted(problem.dense, 10, seed=2)
    first, pivots = pivoted.grow(30).clone(), list(pivoted.pivots)
    grown = pivoted.grow(80)
    assert grown.shape[1] == 80
    assert pivoted.pivots[:30] == pivots
    assert torch.equal(grown[:, :30], first)


def test_the_same_seed_takes_the_same_pivots(problem):
    first, again, other = (Pivoted(problem.dense, 50, seed) for seed in (4, 4, 5))
    for pivoted in (first, again, other):
        pivoted.grow(50)
    assert first.pivots == again.pivots
    assert first.pivots != other.pivots


def test_few_columns_are_evaluated_in_vain(counting):
    Pivoted(counting, 120, seed=0).grow(120)
    assert counting.columns_evaluated < 1.6 * 120
    assert counting.products == counting.matrices == 0


def test_blocks_draw_pivots_with_the_probabilities_of_one_by_one():
    """Exact probabilities of all ordered pairs against 1500 draws with rejection in blocks."""
    random = np.random.default_rng(0)
    half = random.normal(size=(5, 5)) * np.array([2.0, 1.0, 0.5, 0.3, 0.2])
    matrix = half @ half.T
    operator, draws = Dense(torch.tensor(matrix)), 1500
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(draws):
        pivoted = Pivoted(operator, 2, seed)
        pivoted.grow(2)
        seen[tuple(pivoted.pivots)] += 1
    pairs = list(orderings(range(5), 2))
    expected = draws * np.array([probability(matrix, pair) for pair in pairs])
    observed = np.array([seen[pair] for pair in pairs])
    assert expected.sum() == pytest.approx(draws)
    # Rare pairs together, as the test wants at least five expected in each.
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum())
    observed = np.append(observed[~rare], observed[rare].sum())
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3

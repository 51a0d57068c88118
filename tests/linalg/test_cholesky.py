from __future__ import annotations

import numpy as np
import pytest
import torch

import nyff.linalg.cholesky as module
from nyff.linalg.cholesky import NotPositiveDefinite, cholesky_in_place, cholesky_solve


@pytest.fixture
def matrix() -> torch.Tensor:
    a = np.random.default_rng(0).normal(size=(70, 70))
    return torch.tensor(a @ a.T + np.eye(70))


@pytest.mark.parametrize("block", [7, 16, 70, 512])
def test_factor_equals_lapack_for_every_block_size(matrix, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    shares = []
    factor = cholesky_in_place(matrix.clone(), shares.append)
    torch.testing.assert_close(factor, torch.linalg.cholesky(matrix))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_solves_one_and_several_right_hand_sides(matrix):
    b = torch.randn(70, 3, dtype=torch.float64)
    factor = cholesky_in_place(matrix.clone())
    torch.testing.assert_close(cholesky_solve(factor, b), torch.linalg.solve(matrix, b))
    torch.testing.assert_close(cholesky_solve(factor, b[:, 0]), torch.linalg.solve(matrix, b[:, 0]))


def test_a_matrix_that_is_not_positive_definite_is_refused(matrix, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 16)
    matrix[40, 40] = -1.0
    with pytest.raises(NotPositiveDefinite, match="pivot 41 of 70 is not positive"):
        cholesky_in_place(matrix)

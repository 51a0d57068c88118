from __future__ import annotations

import pytest
import torch

from nyff.linalg.preconditioner.low_rank import FORMS, LowRank, eigenpairs
from nyff.linalg.preconditioner.pivoted import Pivoted

SHIFTS = [1e-6, 1e-8, 1e-10, 1e-12, 1e-14]


def graded(n: int, values: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A factor whose F Fᵀ has the eigenvalues ``values``, in no special basis, and its eigenvectors."""
    random = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(n, len(values), generator=random, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(len(values), len(values), generator=random, dtype=torch.float64))[0]
    return (u * values.sqrt()) @ v, u


@pytest.mark.parametrize("n", [300, 9000])  # one panel, several
def test_eigenpairs_over_fourteen_decades(n):
    values = torch.logspace(1, -13, 40, dtype=torch.float64)
    factor, u = graded(n, values)
    vectors, found = eigenpairs(factor.clone())
    torch.testing.assert_close(found, values, rtol=1e-6, atol=0)
    assert float((vectors.T @ vectors - torch.eye(40)).abs().max()) < 1e-13
    # Each vector is the right one up to its sign.
    torch.testing.assert_close((vectors * u).sum(0).abs(), torch.ones(40, dtype=torch.float64), rtol=0, atol=1e-6)


def test_eigenpairs_are_those_of_the_dense_product(problem):
    factor = Pivoted(problem.dense, 80, seed=0).grow(80)
    values, _ = torch.linalg.eigh(factor @ factor.T)
    vectors, found = eigenpairs(factor.clone())
    torch.testing.assert_close(found, values.flip(0)[:80], rtol=1e-8, atol=1e-15)
    torch.testing.assert_close((vectors * found) @ vectors.T, factor @ factor.T, rtol=0, atol=1e-14)


def test_directions_that_are_rounding_error_are_dropped():
    factor, _ = graded(200, torch.logspace(0, -3, 10, dtype=torch.float64))
    vectors, values = eigenpairs(torch.cat([factor, factor[:, :4], torch.zeros(200, 2, dtype=torch.float64)], dim=1))
    assert values.shape == (10,)
    assert vectors.shape == (200, 10)


def test_an_empty_factor_has_no_eigenpairs():
    vectors, values = eigenpairs(torch.zeros((30, 0), dtype=torch.float64))
    assert vectors.shape == (30, 0)
    assert values.shape == (0,)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_apply_inverts_the_matrix_it_claims(problem, form, shift):
    """P⁻¹ P = I, P dense from its definition, to rounding of its condition."""
    vectors, values = eigenpairs(Pivoted(problem.dense, 60, seed=0).grow(60))
    preconditioner = LowRank(vectors, values, shift, form)
    level = shift if form == "woodbury" else shift + float(values[-1])
    eye = torch.eye(len(vectors), dtype=torch.float64)
    dense = (vectors * (values + shift)) @ vectors.T + level * (eye - vectors @ vectors.T)
    assert preconditioner.level == pytest.approx(level)
    condition = float(values[0] + shift) / level
    error = preconditioner.apply(dense) - eye
    assert float(error.abs().max()) < 1e-14 * condition


def test_the_woodbury_form_is_the_inverse_of_the_shifted_product(problem):
    factor = Pivoted(problem.dense, 60, seed=0).grow(60)
    expected = torch.linalg.inv(factor @ factor.T + 1e-4 * torch.eye(len(factor), dtype=torch.float64))
    vectors, values = eigenpairs(factor.clone())
    found = LowRank(vectors, values, 1e-4, "woodbury").apply(torch.eye(len(factor), dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7)

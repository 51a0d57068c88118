from __future__ import annotations

import numpy as np
import pytest
import torch

from nyff.errors import MemoryLimitError
from nyff.linalg.preconditioner.make import make_preconditioner
from nyff.linalg.preconditioner.spectral import full_matrix_bytes, leading_eigenpairs


def condition(problem, shift: float, preconditioner) -> float:
    """Condition number of P⁻¹(A + λI), from its nonsymmetric matrix: no square roots shared with the package."""
    product = preconditioner.apply(problem.shifted(shift))
    values = np.linalg.eigvals(product.numpy())
    assert np.abs(values.imag).max() < 1e-4 * np.abs(values.real).max()
    return float(values.real.max() / values.real.min())


def test_leading_eigenpairs_are_those_of_the_matrix(problem):
    eigen = leading_eigenpairs(problem.kernel, 50)
    values = torch.linalg.eigvalsh(problem.matrix).flip(0)[:50]
    torch.testing.assert_close(eigen.values, values, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(
        problem.matrix @ eigen.vectors, eigen.vectors * eigen.values, rtol=0, atol=1e-13 * float(values[0])
    )


def test_fewer_pairs_are_the_first_of_more(problem):
    eigen = leading_eigenpairs(problem.dense, 50)
    fewer = eigen.leading(20)
    assert torch.equal(fewer.values, eigen.values[:20])
    assert fewer.vectors.shape == (len(problem.matrix), 20)


@pytest.mark.parametrize("shift", [1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("k", [20, 80, 160])
def test_condition_number_of_the_woodbury_form(problem, shift, k):
    """(w_{k+1} + λ)/λ over the smallest, which is not zero here: min(1, ...) of the spectrum's end."""
    w = torch.linalg.eigvalsh(problem.matrix).flip(0)
    built = make_preconditioner("spectral", problem.dense, shift, k, n=problem.full, form="woodbury")
    # Eigenvalues are 1 on the captured directions and (w_i + λ)/λ ≥ 1 on the others.
    expected = float((w[k] + shift) / shift)
    assert condition(problem, shift, built) == pytest.approx(expected, rel=1e-3)


def test_condition_number_of_the_shifted_form(problem):
    shift, k = 1e-8, 60
    w = torch.linalg.eigvalsh(problem.matrix).flip(0)
    built = make_preconditioner("spectral", problem.dense, shift, k, n=problem.full)
    expected = float((w[k - 1] + shift) / (w[-1] + shift))
    assert condition(problem, shift, built) == pytest.approx(expected, rel=1e-3)


def test_no_other_low_rank_preconditioner_has_a_smaller_condition_number(problem):
    shift, k = 1e-8, 60
    conditions = {
        name: condition(
            problem, shift, make_preconditioner(name, problem.dense, shift, k, n=problem.full, form="woodbury")
        )
        for name in ("spectral", "rank-leverage", "leverage", "cholesky", "rpcholesky", "uniform", "leverage-bottom")
    }
    assert min(conditions, key=conditions.__getitem__) == "spectral"


@pytest.mark.parametrize("name", ["spectral", "rank-leverage"])
def test_the_full_matrix_is_refused_beyond_the_limit(counting, name):
    needed = full_matrix_bytes(counting.n, 10)
    with pytest.raises(
        MemoryLimitError, match=rf"{name} needs the full matrix of 252 unknowns, .* kB while it is built"
    ):
        make_preconditioner(name, counting, 1e-8, 10, n=324, max_bytes=needed - 1)
    assert counting.matrices == counting.columns_evaluated == 0
    make_preconditioner(name, counting, 1e-8, 10, n=324, max_bytes=needed)
    assert counting.matrices == 1

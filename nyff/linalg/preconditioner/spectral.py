"""The leading eigenpairs of A: the best low-rank approximation there is, for comparison (C. Eckart, G. Young,
Psychometrika 1, 211 (1936), doi 10.1007/BF02288367). Needs the full matrix and more time than solving the system
directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.linalg import eigh
from torch import Tensor

from nyff.linalg.operator import LinearOperator


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """``vectors`` [n, k] and ``values`` [k] of the k largest eigenvalues, descending."""

    vectors: Tensor
    values: Tensor

    def leading(self, count: int) -> Eigenpairs:
        """The first ``count``, copied, without eigenvalues that are rounding error."""
        noise = len(self.vectors) * torch.finfo(torch.float64).eps * self.values[:1]
        count = min(count, int((self.values > noise).sum()))
        return Eigenpairs(self.vectors[:, :count].clone(), self.values[:count].clone())


def full_matrix_bytes(n: int, count: int) -> int:
    """What :func:`leading_eigenpairs` takes: the matrix, overwritten, and the eigenvectors twice (LAPACK's order)."""
    return 8 * (n * n + 2 * n * count + 40 * n)


def leading_eigenpairs(operator: LinearOperator, count: int) -> Eigenpairs:
    """The ``count`` leading eigenpairs of the dense A: 4n³/3 flops and :func:`full_matrix_bytes`."""
    n = operator.n
    count = min(count, n)
    matrix = operator.to_dense()
    if matrix.device.type != "cpu":
        values, vectors = torch.linalg.eigh(matrix)
        return Eigenpairs(vectors[:, n - count :].flip(1), values[n - count :].flip(0))
    # The transpose of a row-major matrix is what LAPACK can overwrite; A is symmetric.
    values, vectors = eigh(
        matrix.numpy().T, overwrite_a=True, check_finite=False, subset_by_index=[n - count, n - 1], driver="evr"
    )
    return Eigenpairs(torch.from_numpy(vectors[:, ::-1].copy()), torch.from_numpy(values[::-1].copy()))

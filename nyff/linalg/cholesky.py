"""Direct solution by a Cholesky factorisation in place.

The factor is computed by block columns (left-looking: each block column is updated by one matrix product, factored and
solved), so that it needs no second matrix, can report how far it is, and can be stopped between two blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Progress = Callable[[float], None]
"""Called with the share of the work done; may raise to stop it."""

_BLOCK = 512


class NotPositiveDefinite(ArithmeticError):
    """The matrix has a pivot that is not positive: float64 can't tell it from a singular one."""


def cholesky_in_place(matrix: Tensor, progress: Progress | None = None) -> Tensor:
    """Overwrite the lower triangle of ``matrix`` [n, n] with its Cholesky factor L and zero the rest; returns it.

    Raises :class:`NotPositiveDefinite`.
    """
    n = len(matrix)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        panel = matrix[start:, start:stop]
        if start:
            panel.addmm_(matrix[start:, :start], matrix[start:stop, :start].T, alpha=-1.0)
        corner, info = torch.linalg.cholesky_ex(panel[: stop - start])
        if int(info) != 0:
            raise NotPositiveDefinite(f"pivot {start + int(info)} of {n} is not positive")
        panel[: stop - start] = corner
        if stop < n:
            panel[stop - start :] = torch.linalg.solve_triangular(
                corner.T, panel[stop - start :], upper=True, left=False
            )
            matrix[start:stop, stop:] = 0.0
        if progress is not None:
            progress(1.0 - (1.0 - stop / n) ** 2 * (1.0 + 2.0 * stop / n))
    return matrix


def cholesky_solve(factor: Tensor, b: Tensor) -> Tensor:
    """Solve L Lᵀ x = b for ``b`` [n] or [n, k]."""
    rhs = b.unsqueeze(1) if b.ndim == 1 else b
    x = torch.linalg.solve_triangular(factor, rhs, upper=False)
    x = torch.linalg.solve_triangular(factor.T, x, upper=True)
    return x[:, 0] if b.ndim == 1 else x

"""What explains a comparison: spectra of preconditioned matrices, exact ridge leverage scores. Dense, so small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nyff.errors import MemoryLimitError
from nyff.linalg.preconditioner.base import Preconditioner
from nyff.training.memory import format_bytes
from nyff.training.problem import Problem


def dense_matrix(problem: Problem, limit: float) -> Tensor:
    """K̃ [n, n] of ``problem``, exactly symmetric.

    Raises :class:`~nyff.errors.MemoryLimitError` when a decomposition of it would not fit into ``limit`` bytes.
    """
    n = problem.operator.n
    needed = 4 * 8 * n * n
    if needed > limit:
        raise MemoryLimitError(
            f"the spectrum of {n} unknowns needs {format_bytes(needed)}, the limit is {format_bytes(limit)}; take "
            "fewer structures (-n) or a larger --max-memory"
        )
    matrix = problem.operator.to_dense()
    return matrix.add_(matrix.T.clone()).mul_(0.5)


def preconditioned_spectrum(matrix: Tensor, shift: float, preconditioner: Preconditioner | None = None) -> Tensor:
    """Eigenvalues [n] of P⁻¹(A + λI), descending; ``matrix`` is A [n, n], no preconditioner means P = I.

    Found from the symmetric LᵀP⁻¹L with A + λI = L Lᵀ, which has the same ones.
    """
    shifted = matrix.clone()
    shifted.diagonal().add_(shift)
    if preconditioner is None:
        return torch.linalg.eigvalsh(shifted).flip(0)
    root = torch.linalg.cholesky(shifted)
    product = root.T @ preconditioner.apply(root)
    return torch.linalg.eigvalsh((product + product.T).mul_(0.5)).flip(0)


def ridge_leverage_scores(problem: Problem, matrix: Tensor, shifts: Sequence[float]) -> Tensor:
    """Exact τ = diag K(K + λI)⁻¹ for each λ of ``shifts``: [λ, structures, atoms, 3], by Cartesian force component."""
    values, vectors = torch.linalg.eigh(matrix)
    squared = problem.operator.to_cartesian(vectors).square_()  # [3·atoms·structures, eigenvalue]
    values = values.clamp_min(0.0)
    weights = torch.stack([values / (values + shift) for shift in shifts], dim=1)
    scores = squared @ weights
    return scores.T.reshape(len(shifts), len(problem.dataset), -1, 3)

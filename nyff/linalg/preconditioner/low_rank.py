"""Low-rank preconditioners of A + λI from a factor F with F Fᵀ ≈ A.

With the eigenpairs (U, w) of F Fᵀ, P is w + λ in the range of F and one number μ outside of it,

    P = U (w + λ) Uᵀ + μ (I − U Uᵀ),    P⁻¹ v = v/μ + U [1/(w + λ) − 1/μ] Uᵀ v,

and the forms differ in μ:

* ``"woodbury"``: μ = λ, so that P = F Fᵀ + λI and P⁻¹ is its Woodbury inverse: the form of S. Blücher, K.-R. Müller,
  S. Chmiela, J. Chem. Theory Comput. 19, 4619 (2023), doi 10.1021/acs.jctc.2c01304. What F has missed counts as zero;
* ``"shifted"``: μ = w_min + λ: what F has missed counts as large as the smallest eigenvalue that it has found
  (Z. Frangella, J. Tropp, M. Udell, SIAM J. Matrix Anal. Appl. 44, 718 (2023), doi 10.1137/21M1466244, there without
  the factor 1/μ, which CG does not see). Fewer steps from the same factor, and no division by a small λ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nyff.linalg.preconditioner.base import NO_COST, BuildCost, Preconditioner

FORMS = ("shifted", "woodbury")

_PANEL = 1024
# Singular values of F below this share of the largest are rounding error: in A they are its square.
_NOISE = 1e-9


def eigenpairs(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors U [n, rank] and eigenvalues w [rank], descending, of F Fᵀ; ``factor`` F is overwritten by U.

    FᵀF would lose the eigenvalues below ε w_max: its triangle comes from a QR factorisation by row panels instead
    (J. Demmel, L. Grigori, M. Hoemmen, J. Langou, SIAM J. Sci. Comput. 34, A206 (2012), doi 10.1137/080731992), and a
    second pass by a Gram matrix restores the orthogonality of U to rounding.
    """
    triangle = factor.new_empty((0, factor.shape[1]))
    for panel in _panels(factor):
        triangle = torch.linalg.qr(torch.cat([triangle, panel]), mode="r")[1]
    _, s, right = torch.linalg.svd(triangle, full_matrices=False)
    keep = s > _NOISE * s.max() if len(s) else s > 0
    u = _multiply(factor, right[keep].T / s[keep])
    gram = u.new_zeros((u.shape[1], u.shape[1]))
    for panel in _panels(u):
        gram.addmm_(panel.T, panel)
    lower = torch.linalg.cholesky(gram)
    left, values, _ = torch.linalg.svd(lower.T * s[keep])
    return _multiply(u, torch.linalg.solve_triangular(lower.T, left, upper=True)), values * values


def _panels(matrix: Tensor) -> Iterator[Tensor]:
    rows = max(_PANEL, 2 * matrix.shape[1])
    return (matrix[start : start + rows] for start in range(0, len(matrix), rows))


def _multiply(matrix: Tensor, right: Tensor) -> Tensor:
    """``matrix`` [n, k] times ``right`` [k, r ≤ k], written over ``matrix``."""
    for panel in _panels(matrix):
        panel[:, : right.shape[1]] = panel @ right
    return matrix[:, : right.shape[1]]


@dataclass(frozen=True, eq=False)
class LowRank(Preconditioner):
    """P of the module's docstring; ``vectors`` U [n, rank], ``values`` w [rank] descending, ``shift`` λ."""

    vectors: Tensor
    values: Tensor
    shift: float
    form: str = "shifted"
    name: str = "low rank"
    cost: BuildCost = NO_COST

    @property
    def level(self) -> float:
        """μ."""
        return self.shift + (float(self.values[-1]) if self.form == "shifted" and self.rank else 0.0)

    def apply(self, v: Tensor) -> Tensor:
        weights = 1.0 / (self.values + self.shift) - 1.0 / self.level
        t = self.vectors.T @ v
        t = t * (weights if v.ndim == 1 else weights.unsqueeze(1))
        return torch.add(self.vectors @ t, v, alpha=1.0 / self.level)

    @property
    def rank(self) -> int:
        return len(self.values)

    @property
    def bytes(self) -> int:
        return 8 * self.values.numel() + self.vectors.untyped_storage().nbytes()

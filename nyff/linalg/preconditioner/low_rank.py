"""Low-rank preconditioners P = F Fᵀ + λI from chosen columns of A.

The Nyström approximation from columns C = A[:, S] is C A_SS⁺ Cᵀ = F Fᵀ (C. Williams, M. Seeger, NIPS 13, 682 (2000)).
A_SS is often singular in float64, so its square root is taken rank-revealing, by eigenvalues, and what lies
below the rounding error is dropped; no jitter is added.

With the eigenpairs (U, w) of F Fᵀ there are two ways to apply P⁻¹ (Z. Frangella, J. Tropp, M. Udell, SIAM J. Matrix Anal.
Appl. 44, 718 (2023), arXiv 2110.02820):

* ``"woodbury"``: λ⁻¹ [v − U w/(w + λ) Uᵀ v], the paper's; it treats everything outside the range of F as if it were λ;
* ``"shifted"``:  v + U [(w_min + λ)/(w + λ) − 1] Uᵀ v, which treats it as if it were w_min: fewer steps from the same
  factor, and no division by λ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nyff.linalg.preconditioner.base import BuildCost, Preconditioner

FORMS = ("shifted", "woodbury")


def nystrom_factor(columns: Tensor, index: Tensor) -> Tensor:
    """F [n, rank] with F Fᵀ = C A_SS⁺ Cᵀ from ``columns`` C [n, k] and their ``index`` S [k]; rank ≤ k."""
    values, vectors = torch.linalg.eigh(columns[index])
    keep = values > len(index) * torch.finfo(values.dtype).eps * values[-1]
    return columns @ (vectors[:, keep] / values[keep].sqrt())


def eigenpairs(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors U [n, rank] and eigenvalues w [rank], descending, of F Fᵀ; directions lost in rounding are dropped.

    Two passes of Gram–Schmidt by Gram matrices: one alone leaves U orthogonal only to ε times the condition of F.
    """
    w, v = torch.linalg.eigh(factor.T @ factor)
    keep = w > len(w) * torch.finfo(w.dtype).eps * w[-1]
    u = factor @ (v[:, keep] / w[keep].sqrt())
    scale = w[keep].sqrt()
    lower = torch.linalg.cholesky(u.T @ u)
    u = torch.linalg.solve_triangular(lower.T, u, upper=True, left=False)
    left, s, _ = torch.linalg.svd(lower.T * scale)
    return u @ left, s * s


@dataclass(frozen=True, eq=False)
class LowRank(Preconditioner):
    """P = U diag(w) Uᵀ + λI in one of two forms; ``vectors`` U [n, rank], ``values`` w [rank] descending."""

    vectors: Tensor
    values: Tensor
    shift: float
    form: str = "shifted"
    name: str = "low rank"
    cost: BuildCost = BuildCost()

    def apply(self, v: Tensor) -> Tensor:
        w = self.values if v.ndim == 1 else self.values.unsqueeze(1)
        t = self.vectors.T @ v
        if self.form == "woodbury":
            return (v - self.vectors @ (t * (w / (w + self.shift)))) / self.shift
        return v + self.vectors @ (t * ((self.values[-1] + self.shift) / (w + self.shift) - 1.0))

    @property
    def rank(self) -> int:
        return len(self.values)

    @property
    def bytes(self) -> int:
        return 8 * (self.vectors.numel() + self.values.numel())

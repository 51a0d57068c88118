"""nyff's default: low rank plus the residual of each structure, oversampled, truncated and diagonalised.

What a low-rank part leaves, R = A − F Fᵀ, is large on the diagonal block of each structure: stiff local motions that no
small set of columns captures. Keep those blocks, D = blockdiag(R) + λI, and

    P = F Fᵀ + D = C (I + G Gᵀ) Cᵀ,    D = C Cᵀ,    G = C⁻¹ F,

which in Gaussian-process terms is the FIC/PITC approximation (E. Snelson, Z. Ghahramani, AISTATS 2007), used as a
preconditioner. With the eigenpairs (U, s²) of G Gᵀ,

    P⁻¹ = C⁻ᵀ [I − V Vᵀ] C⁻¹,    V = U diag(s²/(1 + s²))^{1/2},

so that V and the triangles C⁻¹ are all there is to keep.

*Oversampling.* F is built from more columns than will be kept. Which directions are kept is decided in the metric of
blockdiag(R) + δI. With δ = 0 the blocks count fully and what they cover already is dropped, even where that is large: on
rigid molecules it is right, on rotors it is ruinous, since every collective direction dropped inflates the blocks of all
structures at once. With δ → ∞ it is the plain truncated eigendecomposition of F Fᵀ. With δ the mean of the residual's
diagonal it is never worse than the better of the two by more than a few per cent (see the results page).

*Storage.* A column of V rounded to float32 (ε = 6e-8) perturbs 1 − s²/(1 + s²) = 1/(1 + s²) by about ε, nothing as long
as s² ≪ 1/ε. In the metric of D most columns are of that kind, whereas the eigenvalues of F Fᵀ over λ span ten decades: so
these columns are kept in half the memory, and twice as many of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nyff.linalg.preconditioner.base import BuildCost, Preconditioner

OVERSAMPLING = 3.0
"""Pivots for each column of memory that is kept: more costs more to build than the steps it saves."""
# Directions kept for each column of memory, most of them in half of one.
_KEPT = 1.6
_PANEL = 4096
# Columns with s² above this keep float64: float32 would change 1/(1 + s²) by more than about a thousandth.
_DOUBLE_ABOVE = 1e4


@dataclass(frozen=True, eq=False)
class LowRankPlusBlocks(Preconditioner):
    """P⁻¹ = C⁻ᵀ [I − V Vᵀ] C⁻¹ with V in two precisions.

    ``high`` [n, rank₁] float64 and ``low`` [n, rank₂] float32 are the columns of V; ``triangles`` is C⁻¹, packed
    [blocks, b(b+1)/2].
    """

    high: Tensor
    low: Tensor
    triangles: Tensor
    block_size: int
    name: str = "auto"
    cost: BuildCost = BuildCost()

    def apply(self, v: Tensor) -> Tensor:
        z = self._blocks(v, transposed=False)
        z.sub_(self.high @ (self.high.T @ z))
        # Only now to single precision: the large components, along `high`, are gone, and `low` is orthogonal to them.
        z.sub_(self.low @ (self.low.T @ z.to(self.low.dtype)))
        return self._blocks(z, transposed=True)

    def _blocks(self, v: Tensor, transposed: bool) -> Tensor:
        b = self.block_size
        rows, columns = torch.tril_indices(b, b, device=v.device)
        out = torch.empty((len(self.triangles), b, v.numel() // len(v)), dtype=v.dtype, device=v.device)
        vectors = v.view(out.shape)
        step = max(1, _PANEL * 64 // (b * b))
        for start in range(0, len(out), step):
            part = slice(start, start + step)
            triangle = v.new_zeros((len(out[part]), b, b))
            triangle[:, rows, columns] = self.triangles[part]
            torch.matmul(triangle.transpose(1, 2) if transposed else triangle, vectors[part], out=out[part])
        return out.view(v.shape)

    @property
    def rank(self) -> int:
        return self.high.shape[1] + self.low.shape[1]

    @property
    def bytes(self) -> int:
        return 8 * (self.high.numel() + self.triangles.numel()) + 4 * self.low.numel()


def columns_beside_blocks(budget: float, n: int, block_size: int) -> float:
    """Columns of float64 that fit into ``budget`` bytes beside the packed blocks of n unknowns; zero if not even they fit."""
    return max(0.0, (budget / 8 - n * (block_size + 1) / 2) / n)


def low_rank_plus_blocks(
    factor: Tensor, blocks: Tensor, shift: float, columns: float, cost: BuildCost | None = None
) -> LowRankPlusBlocks:
    """Build P from ``factor`` F [n, oversampled], the diagonal ``blocks`` of A [m, b, b] and λ.

    V takes at most the memory of ``columns`` columns of float64. Needs ``factor`` and three times the result at once.
    """
    m, b, _ = blocks.shape
    rank = min(factor.shape[1], int(_KEPT * columns))
    # The metric comes from as many plain pivots as directions will be kept; better ones change little.
    residual = _residual(factor[:, :rank], blocks)
    delta = float(residual.diagonal(dim1=1, dim2=2).mean())
    _, vectors = torch.linalg.eigh(_scaled_gram(factor, _inverse_triangles(residual, blocks, max(delta, shift))))
    kept = factor @ vectors[:, vectors.shape[1] - rank :]
    inverse = _inverse_triangles(_residual(kept, blocks), blocks, shift)
    scaled = (inverse @ kept.view(m, b, -1)).view(kept.shape)
    del kept
    values, vectors = torch.linalg.eigh(scaled.T @ scaled)
    vectors = vectors / (1.0 + values.clamp_min(0.0)).sqrt()
    n_high = min(int((values > _DOUBLE_ABOVE).sum()), int(columns))
    n_low = min(len(values) - n_high, max(0, int(2 * (columns - n_high))))
    first = len(values) - n_high
    rows, cols = torch.tril_indices(b, b, device=factor.device)
    return LowRankPlusBlocks(
        scaled @ vectors[:, first:],
        (scaled @ vectors[:, first - n_low : first]).to(torch.float32),
        inverse[:, rows, cols].contiguous(),
        b,
        cost=cost or BuildCost(),
    )


def _residual(factor: Tensor, blocks: Tensor) -> Tensor:
    """blockdiag(A − F Fᵀ) [m, b, b]."""
    parts = factor.view(len(blocks), blocks.shape[1], -1)
    return torch.baddbmm(blocks, parts, parts.transpose(1, 2), alpha=-1.0)


def _inverse_triangles(residual: Tensor, blocks: Tensor, shift: float) -> Tensor:
    """C⁻¹ [m, b, b] of C Cᵀ = residual + shift I.

    The residual is positive semidefinite only up to rounding: eigenvalues below that are lifted to the rounding error
    before factoring.
    """
    m, b, _ = blocks.shape
    values, vectors = torch.linalg.eigh(residual)
    noise = 8 * b * torch.finfo(values.dtype).eps * blocks.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
    root = torch.maximum(values, noise).add_(shift).sqrt_()
    # V diag(root²) Vᵀ = C Cᵀ with the triangular C from a QR factorisation of diag(root) Vᵀ.
    upper = torch.linalg.qr(root.unsqueeze(2) * vectors.transpose(1, 2))[1]
    eye = torch.eye(b, dtype=blocks.dtype, device=blocks.device).expand(m, b, b)
    return torch.linalg.solve_triangular(upper.transpose(1, 2), eye, upper=False)


def _scaled_gram(factor: Tensor, inverse: Tensor) -> Tensor:
    """Fᵀ D⁻¹ F, a few structures at a time so that the scaled factor is never held."""
    m, b, _ = inverse.shape
    gram = factor.new_zeros((factor.shape[1], factor.shape[1]))
    step = max(1, math.ceil(_PANEL / b))
    for start in range(0, m, step):
        scaled = (inverse[start : start + step] @ factor.view(m, b, -1)[start : start + step]).flatten(0, 1)
        gram.addmm_(scaled.T, scaled)
    return gram

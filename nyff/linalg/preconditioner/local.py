"""nyff's default: low rank plus the residual of each structure, oversampled, truncated and diagonalised.

What a low-rank part leaves, R = A − F Fᵀ, is large on the diagonal block of each structure: stiff local motions that no
small set of columns captures. Keep those blocks, D = blockdiag(R) + λI, and

    P = F Fᵀ + D = C (I + G Gᵀ) Cᵀ,    D = C Cᵀ,    G = C⁻¹ F,

which in Gaussian-process terms is the FIC/PITC approximation (E. Snelson, Z. Ghahramani, AISTATS 2007), used as a
preconditioner. With the eigenpairs (U, s²) of G Gᵀ,

    P⁻¹ = C⁻ᵀ [I − V Vᵀ] C⁻¹,    V = U diag(s²/(1 + s²))^{1/2},

so that V and the triangles C⁻¹ are all there is to keep, and the symmetric form never subtracts large numbers.

F is built from twice the columns that will be kept. The directions kept are the leading ones *in the metric of D*:
those the blocks don't cover already. Since dropping directions changes the blocks, which change the metric, this is
repeated a few times; it converges quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nyff.linalg.preconditioner.base import BuildCost, Preconditioner

_ROUNDS = 3
_PANEL = 4096


@dataclass(frozen=True, eq=False)
class LowRankPlusBlocks(Preconditioner):
    """P⁻¹ = C⁻ᵀ [I − V Vᵀ] C⁻¹; ``vectors`` V [n, rank], ``triangles`` C⁻¹ packed [blocks, b(b+1)/2]."""

    vectors: Tensor
    triangles: Tensor
    block_size: int
    name: str = "auto"
    cost: BuildCost = BuildCost()

    def apply(self, v: Tensor) -> Tensor:
        z = self._blocks(v, transposed=False)
        z = z - self.vectors @ (self.vectors.T @ z)
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
        return self.vectors.shape[1]

    @property
    def bytes(self) -> int:
        return 8 * (self.vectors.numel() + self.triangles.numel())


def kept_rank(budget: float, n: int, block_size: int) -> int:
    """Columns that fit into ``budget`` bytes beside the packed blocks of n unknowns; zero when not even they fit."""
    return max(0, int((budget / 8 - n * (block_size + 1) / 2) // n))


def low_rank_plus_blocks(
    factor: Tensor, blocks: Tensor, shift: float, rank: int, cost: BuildCost | None = None
) -> LowRankPlusBlocks:
    """Build P from ``factor`` F [n, oversampled], the diagonal ``blocks`` of A [m, b, b] and λ, keeping ``rank`` directions.

    Needs ``factor`` and twice the result at once.
    """
    gram: Tensor | None = None
    kept = factor
    for _ in range(_ROUNDS):
        inverse = _inverse_triangles(kept, blocks, shift)
        gram = _scaled_gram(factor, inverse)
        values, vectors = torch.linalg.eigh(gram)
        kept = factor @ vectors[:, max(0, len(values) - rank) :]
    inverse = _inverse_triangles(kept, blocks, shift)
    b = blocks.shape[1]
    scaled = (inverse @ kept.view(len(blocks), b, -1)).view(kept.shape)
    values, vectors = torch.linalg.eigh(scaled.T @ scaled)
    vectors = vectors / (1.0 + values.clamp_min(0.0)).sqrt()
    rows, columns = torch.tril_indices(b, b, device=factor.device)
    return LowRankPlusBlocks(scaled @ vectors, inverse[:, rows, columns].contiguous(), b, cost=cost or BuildCost())


def _inverse_triangles(factor: Tensor, blocks: Tensor, shift: float) -> Tensor:
    """C⁻¹ [m, b, b] of D = blockdiag(A − F Fᵀ) + λI.

    The residual is positive semidefinite only up to rounding: eigenvalues below that are lifted to λ plus the rounding
    error before factoring.
    """
    m, b, _ = blocks.shape
    parts = factor.view(m, b, -1)
    residual = torch.baddbmm(blocks, parts, parts.transpose(1, 2), alpha=-1.0)
    values, vectors = torch.linalg.eigh(residual)
    noise = 8 * b * torch.finfo(values.dtype).eps * blocks.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
    root = torch.maximum(values, noise).add_(shift).sqrt_()
    # D = V diag(root²) Vᵀ = C Cᵀ with the triangular C from a QR factorisation of diag(root) Vᵀ.
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

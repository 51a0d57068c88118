"""Block Jacobi preconditioners: the diagonal blocks of A + λI, inverted.

Per structure, P = blockdiag(A_jj) + λI. Per atom, the blocks are the 3×3 ones of each atom's Cartesian coordinates. A
itself may live in other coordinates, A = Qᵀ Â Q with orthonormal Q and  vanishing outside the range of Q (rigid
motions). Then

    P⁻¹ = Qᵀ blockdiag(Â_aa + λI)⁻¹ Q,

which is what the Cartesian preconditioner D = blockdiag(Â_aa + λI) does: the eigenvalues of Qᵀ D⁻¹ Q A are those of
D⁻¹ Â without its zeros, for D⁻¹ Q A Qᵀ and Qᵀ D⁻¹ Q A share their nonzero eigenvalues.

Blocks are singular where A is (linear molecules, planar ones out of the plane); λ and a floor at the rounding error
make them invertible.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nyff.errors import InputError
from nyff.linalg.operator import LinearOperator, Restricted
from nyff.linalg.preconditioner.base import NO_COST, BuildCost, Preconditioner

_PANEL = 4096


@dataclass(frozen=True, eq=False)
class BlockJacobi(Preconditioner):
    """P⁻¹ = (Qᵀ) blockdiag(Lᵀ L) (Q); ``triangles`` are the packed lower L = (A_jj + λI)^{−1/2} [blocks, b(b+1)/2].

    ``embedding`` is the operator that knows Q, or None where the blocks are those of A itself.
    """

    triangles: Tensor
    block_size: int
    embedding: Restricted | None = None
    name: str = "jacobi"
    cost: BuildCost = NO_COST

    def apply(self, v: Tensor) -> Tensor:
        z = v if self.embedding is None else self.embedding.to_cartesian(v)
        z = self._blocks(z)
        return z if self.embedding is None else self.embedding.to_internal(z)

    def _blocks(self, v: Tensor) -> Tensor:
        b = self.block_size
        rows, columns = torch.tril_indices(b, b, device=v.device)
        vectors = v.reshape(len(self.triangles), b, -1)
        out = torch.empty_like(vectors)
        step = max(1, _PANEL * 64 // (b * b))
        for start in range(0, len(out), step):
            part = slice(start, start + step)
            triangle = v.new_zeros((len(out[part]), b, b))
            triangle[:, rows, columns] = self.triangles[part]
            torch.matmul(triangle.transpose(1, 2), triangle @ vectors[part], out=out[part])
        return out.view(v.shape)

    @property
    def rank(self) -> int:
        return 0

    @property
    def bytes(self) -> int:
        return 8 * self.triangles.numel()


def jacobi_structure(operator: LinearOperator, shift: float) -> BlockJacobi:
    """One block per structure, ``operator.block_size`` wide."""
    return BlockJacobi(_inverse_roots(operator.diagonal_blocks(), shift), operator.block_size)


def jacobi_atom(operator: LinearOperator, shift: float) -> BlockJacobi:
    """One 3×3 block per atom. Raises :class:`~nyff.errors.InputError` for an operator that has no atoms."""
    embedding = operator if isinstance(operator, Restricted) else None
    cartesian = operator if embedding is None else embedding.kernel
    size = cartesian.block_size
    if size % 3:
        raise InputError(
            f"jacobi-atom needs blocks of three coordinates per atom, got blocks of {size}; use jacobi-structure"
        )
    blocks = cartesian.diagonal_blocks().view(-1, size // 3, 3, size // 3, 3)
    per_atom = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).reshape(-1, 3, 3)  # [structure·atom, xyz, xyz]
    return BlockJacobi(_inverse_roots(per_atom, shift), 3, embedding)


def _inverse_roots(blocks: Tensor, shift: float) -> Tensor:
    """Packed lower triangles L [m, b(b+1)/2] with Lᵀ L = (B + λI)⁻¹ of symmetric semidefinite B [m, b, b]."""
    b = blocks.shape[1]
    values, vectors = torch.linalg.eigh(blocks)
    noise = 8 * b * torch.finfo(values.dtype).eps * values[:, -1:].clamp_min(0.0)
    root = torch.maximum(values, noise).add_(shift).sqrt_()
    # B + λI = V root² Vᵀ = C Cᵀ with the triangular C from a QR factorisation of root Vᵀ; L = C⁻¹.
    upper = torch.linalg.qr(root.unsqueeze(2) * vectors.transpose(1, 2))[1]
    eye = torch.eye(b, dtype=blocks.dtype, device=blocks.device).expand_as(blocks)
    inverse = torch.linalg.solve_triangular(upper.transpose(1, 2), eye, upper=False)
    rows, columns = torch.tril_indices(b, b, device=blocks.device)
    return inverse[:, rows, columns].contiguous()

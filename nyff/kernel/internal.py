"""The kernel in internal coordinates: the space in which structures can be told apart.

J annihilates rigid motions, so K has six exact zero eigenvalues for each structure (five if it is linear, three in a
periodic cell), and the part of a label along them, net force and torque, is noise that a solve would divide by λ. With
an orthonormal basis Q_j [3N, r] of their complement at each structure, r = 3N − 6,

    K̃ = Qᵀ K Q,   ỹ = Qᵀ y,   α = Q α̃

is the same problem without the null space: the labels are projected, predictions are unchanged, and every vector,
column and factor is shorter by 6/3N (a fifth for ethanol, so half the work in a Cholesky factorisation).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nyff.kernel.cell import free_rotations
from nyff.kernel.force_kernel import ForceKernel
from nyff.linalg.operator import LinearOperator


def internal_basis(positions: Tensor, cell: NDArray[np.float64] | None = None) -> Tensor:
    """Orthonormal complement of translations and rotations: ``positions`` [frames, atoms, 3] -> [frames, 3·atoms, r].

    r = 3·atoms − 6, or − 5 where some structure is exactly linear; the other structures then carry a zero column, which
    a regularised solve leaves at zero. In a ``cell`` [3, 3] only translations are free, r = 3·atoms − 3 (a chain, with
    one lattice vector, may turn about itself).
    """
    frames, atoms = positions.shape[:2]
    centred = positions - positions.mean(1, keepdim=True)
    motions = [axis.expand_as(centred) for axis in torch.eye(3, dtype=positions.dtype, device=positions.device)]
    for axis in torch.tensor(free_rotations(cell), dtype=positions.dtype, device=positions.device):
        motions.append(torch.linalg.cross(axis.expand_as(centred), centred))
    rigid = torch.stack(motions, dim=-1)
    u, s, _ = torch.linalg.svd(rigid.view(frames, 3 * atoms, len(motions)), full_matrices=True)
    rank = (s > 1e-6 * s[:, :1]).sum(-1)
    q = u[:, :, int(rank.min()) :].clone()
    spurious = torch.arange(q.shape[2], device=q.device) < (rank - rank.min()).unsqueeze(1)
    return q.masked_fill_(spurious.unsqueeze(1), 0.0).contiguous()


class InternalKernel(LinearOperator):
    """K̃ = Qᵀ K Q of a :class:`~nyff.kernel.force_kernel.ForceKernel`; one block of ``block_size`` r per structure."""

    def __init__(self, kernel: ForceKernel, basis: Tensor):
        self.kernel = kernel
        self.basis = basis
        self.block_size = basis.shape[2]
        self.n = len(basis) * self.block_size

    @property
    def device(self) -> torch.device:
        return self.basis.device

    def to_internal(self, v: Tensor) -> Tensor:
        """Qᵀ v: ``v`` [3NM] or [3NM, k] -> [n] or [n, k]."""
        return self._transform(self.basis.transpose(1, 2), v)

    def to_cartesian(self, v: Tensor) -> Tensor:
        """Q v: ``v`` [n] or [n, k] -> [3NM] or [3NM, k]."""
        return self._transform(self.basis, v)

    @staticmethod
    def _transform(matrix: Tensor, v: Tensor) -> Tensor:
        out = matrix @ v.reshape(len(matrix), matrix.shape[2], -1)
        return out.reshape(-1) if v.ndim == 1 else out.reshape(-1, v.shape[1])

    def matvec(self, v: Tensor) -> Tensor:
        return self.to_internal(self.kernel.matvec(self.to_cartesian(v)))

    def columns(self, index: Tensor) -> Tensor:
        structures, coordinates = index // self.block_size, index % self.block_size
        directions = self.basis[structures, :, coordinates].unsqueeze(1)
        return self.to_internal(self.kernel.columns_along(structures, directions))

    def diagonal_blocks(self) -> Tensor:
        return self.basis.transpose(1, 2) @ self.kernel.diagonal_blocks() @ self.basis

    def to_dense(self, progress: Callable[[float], None] | None = None) -> Tensor:
        """K̃ [n, n]; ``progress`` is called with the share done."""
        m, r = len(self.basis), self.block_size
        out = torch.empty((self.n, self.n), dtype=torch.float64, device=self.device)
        for j in range(m):
            structure = torch.tensor([j], device=self.device)
            directions = self.basis[j].T.unsqueeze(0)
            out[:, j * r : (j + 1) * r] = self.to_internal(self.kernel.columns_along(structure, directions))
            if progress is not None:
                progress((j + 1) / m)
        return out

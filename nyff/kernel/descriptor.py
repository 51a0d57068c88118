"""The descriptor x(r) of a molecule: powers of inverse pair distances, with a sparse Jacobian.

x_d = r_d^(−p) for every pair d = (i, j), i > j, in the order of ``numpy.tril_indices(N, -1)``; p = 1 is the descriptor
of sGDML (S. Chmiela et al., Sci. Adv. 3, e1603015 (2017)). Row d of the Jacobian J = ∂x/∂r has two atoms only,

    ∂x_d/∂r_i = g_d = −p r_d^(−p−2) (r_i − r_j),    ∂x_d/∂r_j = −g_d,

so J is kept as g and applied by gathers: O(D) numbers per structure where a dense J has O(D N).

| symbol | here |
|---|---|
| N, D = N(N−1)/2 | ``n_atoms``, ``n_pairs`` |
| x, g | ``Geometry.x`` [..., pairs], ``Geometry.g`` [..., pairs, 3] |
| J v, Jᵀ w | :meth:`PairDescriptor.push`, :meth:`PairDescriptor.pull` |
| ∂²x/∂r² | :meth:`PairDescriptor.second_derivatives` |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nyff.errors import InputError
from nyff.kernel.cell import MinimumImage


@dataclass(frozen=True)
class Geometry:
    """Descriptors and Jacobians of some structures: ``x`` [frames, pairs] in Å^−p, ``g`` [frames, pairs, 3]."""

    x: Tensor
    g: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: slice | Tensor) -> Geometry:
        return Geometry(self.x[index], self.g[index])


class PairDescriptor:
    """Inverse pair distances to the power ``p`` of ``n_atoms`` atoms, on one device.

    With ``cell`` [3, 3] (see :mod:`nyff.kernel.cell`) distances are those of nearest images.
    """

    def __init__(
        self,
        n_atoms: int,
        power: float = 1.0,
        device: torch.device | str = "cpu",
        cell: NDArray[np.float64] | None = None,
        image: str = "nearest",
    ):
        if n_atoms < 2:
            raise InputError(f"a descriptor of pair distances needs at least 2 atoms, got {n_atoms}")
        if not (0 < power < float("inf")):
            raise InputError(f"`descriptor_power` must be positive, got {power}; 1 is sGDML's descriptor")
        self.n_atoms = n_atoms
        self.n_pairs = n_atoms * (n_atoms - 1) // 2
        self.power = float(power)
        self.device = torch.device(device)
        self.cell = cell
        self._fold = None if cell is None else MinimumImage(cell, image, self.device)
        pairs = torch.tril_indices(n_atoms, n_atoms, -1, device=self.device)
        self.first, self.second = pairs[0], pairs[1]
        # For each atom the N−1 pairs it is in, and the sign of g there: a scatter written as a gather, which is
        # deterministic on every device.
        index = torch.zeros((n_atoms, n_atoms), dtype=torch.long, device=self.device)
        index[self.first, self.second] = torch.arange(self.n_pairs, device=self.device)
        index = index + index.T
        others = ~torch.eye(n_atoms, dtype=torch.bool, device=self.device)
        self._pairs_of_atom = index[others].view(n_atoms, n_atoms - 1)
        sign = torch.where(
            torch.arange(n_atoms, device=self.device)[:, None] > torch.arange(n_atoms, device=self.device), 1.0, -1.0
        ).to(torch.float64)
        self._sign_of_atom = sign[others].view(n_atoms, n_atoms - 1)

    def arrows(self, positions: Tensor) -> Tensor:
        """r_i − r_j of all pairs [..., pairs, 3], through the cell where that is shorter."""
        delta = positions[..., self.first, :] - positions[..., self.second, :]
        return delta if self._fold is None else self._fold(delta)

    def __call__(self, positions: Tensor) -> Geometry:
        """Descriptor and Jacobian at ``positions`` [..., atoms, 3] Å."""
        delta = self.arrows(positions)
        square = (delta * delta).sum(-1)
        x = square.pow(-0.5 * self.power)
        return Geometry(x, delta * (x / square * -self.power).unsqueeze(-1))

    def push(self, g: Tensor, v: Tensor) -> Tensor:
        """J v: ``g`` [..., pairs, 3], ``v`` [..., atoms, 3] -> [..., pairs]."""
        return (g * (v[..., self.first, :] - v[..., self.second, :])).sum(-1)

    def pull(self, g: Tensor, w: Tensor) -> Tensor:
        """Jᵀ w: ``g`` [..., pairs, 3], ``w`` [..., pairs] -> [..., atoms, 3]."""
        return self.gather(g * w.unsqueeze(-1))

    def gather(self, t: Tensor) -> Tensor:
        """Sum what pairs do to their atoms: ``t`` [..., pairs, 3] acts as +t on the first atom and −t on the second."""
        return (t[..., self._pairs_of_atom, :] * self._sign_of_atom.unsqueeze(-1)).sum(-2)

    def second_derivatives(self, geometry: Geometry) -> Tensor:
        """h_d = ∂²x_d/∂r_i∂r_i = [(p + 2) g gᵀ − |g|² I] / (p x) [..., pairs, 3, 3].

        The block of both second atoms is the same, the mixed ones have the opposite sign.
        """
        g, p = geometry.g, self.power
        outer = g.unsqueeze(-1) * g.unsqueeze(-2)
        square = (g * g).sum(-1)[..., None, None]
        identity = torch.eye(3, dtype=g.dtype, device=g.device)
        return ((p + 2) * outer - square * identity) / (p * geometry.x[..., None, None])

    def pull_rows(self, g: Tensor, w: Tensor) -> Tensor:
        """Jᵀ w for many w per structure: ``g`` [frames, pairs, 3], ``w`` [frames, k, pairs] -> [frames, k, 3·atoms].

        A dense J of a few structures at a time is faster than the sparse product up to about a hundred atoms, because
        it is one matrix product; beyond that its size and its zeros cost more than they save.
        """
        if self.n_atoms <= 100:
            return w @ self.dense(g)
        signed = g[:, self._pairs_of_atom] * self._sign_of_atom.unsqueeze(-1)  # [frame, atom, other, 3]
        out = w[:, :, self._pairs_of_atom].transpose(1, 2) @ signed  # [frame, atom, k, 3]
        return out.transpose(1, 2).reshape(len(g), -1, 3 * self.n_atoms)

    def dense(self, g: Tensor) -> Tensor:
        """J itself [frames, pairs, 3·atoms], for the few places that want a matrix (blocks of one structure)."""
        jacobian = g.new_zeros((len(g), self.n_pairs, self.n_atoms, 3))
        pair = torch.arange(self.n_pairs, device=self.device)
        jacobian[:, pair, self.first] = g
        jacobian[:, pair, self.second] = -g
        return jacobian.view(len(g), self.n_pairs, 3 * self.n_atoms)

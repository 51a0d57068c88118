"""The force–force kernel matrix K of a training set, as a matrix-free operator.

K couples the force components of M structures. With Δ = x_i − πx_j, d = |Δ| and the scalars c1, c2 of
:mod:`nyff.kernel.radial`, its blocks are (S. Blücher, K.-R. Müller, S. Chmiela, J. Chem. Theory Comput. 19, 4619 (2023),
doi 10.1021/acs.jctc.2c01304; S. Chmiela et al., Comput. Phys. Commun. 240, 38 (2019))

    K_ij = J_iᵀ Σ_π [c1 I − c2 ΔΔᵀ] π J_j

and a product with a vector needs three matrix products and no block of K: with u_j = J_j v_j and the rows (π, j) of
X' = πx_j and U = πu_j,

    W = c2 ∘ (X Uᵀ − 1·rowsum(X' ∘ U)ᵀ),    g = c1 U + W X' − rowsum(W) ∘ X,    (K v)_i = J_iᵀ g_i.

| symbol | here |
|---|---|
| M, N, D, S | ``n_structures``, ``descriptor.n_atoms``, ``descriptor.n_pairs``, ``len(permutations)`` |
| n = 3NM | ``n`` |
| X, X' | ``_x`` [frames, pairs], ``_xp`` [permutations, frames, pairs] |

c1 and c2 [frames, permutations·frames] are computed once and kept while they fit ``max_bytes``, else computed anew in
tiles at every product. Descriptors are centred on their (permutation-invariant) mean, which changes no Δ and keeps
the digits that squared distances would lose.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nyff.errors import InputError
from nyff.kernel.descriptor import Geometry, PairDescriptor
from nyff.kernel.radial import Radial
from nyff.linalg.operator import LinearOperator

# A tile of W is written, scaled and read again: it should stay in the cache of a core.
_TILE_NUMBERS = 400_000


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i − b_j|² [rows, columns] of centred rows ``a`` [rows, pairs] and ``b`` [columns, pairs]."""
    out = torch.addmm((b * b).sum(-1).unsqueeze(0), a, b.T, alpha=-2.0)
    return out.add_((a * a).sum(-1, keepdim=True)).clamp_min_(0.0)


class ForceKernel(LinearOperator):
    """K of the structures at ``positions`` [frames, atoms, 3] Å, for force components in the order (frame, atom, xyz).

    ``pair_permutations`` [permutations, pairs] are the symmetries as they act on the descriptor (see
    :func:`nyff.kernel.symmetry.pair_permutations`); ``cell`` [3, 3] is that of a periodic system, see
    :mod:`nyff.kernel.cell`. ``max_bytes`` is what the kept scalars may take.
    """

    def __init__(
        self,
        positions: Tensor,
        radial: Radial,
        pair_permutations: Tensor,
        *,
        descriptor_power: float = 1.0,
        cell: NDArray[np.float64] | None = None,
        max_bytes: float = float("inf"),
    ):
        if positions.ndim != 3 or positions.shape[-1] != 3:
            raise InputError(
                f"`positions` must have shape [frames, atoms, 3], got {list(positions.shape)}; "
                "add a leading axis for one structure"
            )
        device = positions.device
        self.descriptor = PairDescriptor(positions.shape[1], descriptor_power, device, cell)
        self.radial = radial
        self.permutations = pair_permutations.to(device)
        self.n_structures = len(positions)
        self.block_size = 3 * self.descriptor.n_atoms
        self.n = self.n_structures * self.block_size
        self.geometry: Geometry = self.descriptor(positions.to(torch.float64))
        self.center = self.geometry.x.mean(0)[self.permutations].mean(0)
        self._x = self.geometry.x - self.center
        self._xp = self._x[:, self.permutations].transpose(0, 1).contiguous()  # [permutation, frame, pair]
        self.max_bytes = max_bytes
        self._cached: tuple[Tensor, Tensor] | None = None

    @property
    def device(self) -> torch.device:
        return self._x.device

    @property
    def n_columns(self) -> int:
        """Rows of X': structures times permutations."""
        return self._xp.shape[0] * self._xp.shape[1]

    def _scalars(self, rows: slice) -> tuple[Tensor, Tensor]:
        """c1 and c2 between the structures ``rows`` and all permuted structures, each [rows, columns]."""
        if self._cached is None:
            if 16.0 * self.n_structures * self.n_columns > self.max_bytes:
                return self._compute_scalars(rows)
            kept = torch.empty((2, self.n_structures, self.n_columns), dtype=torch.float64, device=self.device)
            for tile in self._tiles(self.n_columns):
                kept[0, tile], kept[1, tile] = self._compute_scalars(tile)
            self._cached = kept[0], kept[1]
        c1, c2 = self._cached
        return c1[rows], c2[rows]

    def _compute_scalars(self, rows: slice) -> tuple[Tensor, Tensor]:
        d = squared_distances(self._x[rows], self._xp.view(-1, self.descriptor.n_pairs)).sqrt_()
        return self.radial.first_two(d)

    def _tiles(self, width: int) -> list[slice]:
        rows = max(1, min(self.n_structures, _TILE_NUMBERS // max(width, 1)))
        return [slice(s, min(s + rows, self.n_structures)) for s in range(0, self.n_structures, rows)]

    def matvec(self, v: Tensor) -> Tensor:
        """K v for ``v`` [n] or [n, k]."""
        single = v.ndim == 1
        vectors = v.reshape(self.n_structures, self.descriptor.n_atoms, 3, -1).movedim(-1, 0)
        xp = self._xp.view(-1, self.descriptor.n_pairs)
        u = self.descriptor.push(self.geometry.g, vectors)  # [vector, frame, pair]
        up = u[:, :, self.permutations].transpose(1, 2).reshape(len(u), *xp.shape)  # [vector, (π, j), pair]
        offset = (xp * up).sum(-1)  # [vector, (π, j)]
        field = torch.empty_like(u)
        for rows in self._tiles(len(xp)):
            c1, c2 = self._scalars(rows)
            x = self._x[rows]
            for k in range(len(u)):
                w = torch.addmm(offset[k].unsqueeze(0), x, up[k].T, beta=-1.0).mul_(c2)
                out = torch.mm(c1, up[k], out=field[k, rows])
                out.addmm_(w, xp).addcmul_(w.sum(-1, keepdim=True), x, value=-1.0)
        out = self.descriptor.pull(self.geometry.g, field)  # [vector, frame, atom, 3]
        out = out.movedim(0, -1).reshape(self.n, -1)
        return out[:, 0] if single else out

    def columns_along(self, structures: Tensor, directions: Tensor) -> Tensor:
        """K E, where column (c, k) of E is ``directions``[c, k] [3·atoms] at structure ``structures``[c], zero elsewhere.

        ``structures`` [c] int64, ``directions`` [c, k, 3·atoms] -> [n, c·k]. Evaluates these columns only.
        """
        count, per = directions.shape[:2]
        d, pairs = self.descriptor, self.descriptor.n_pairs
        out = torch.empty((self.n_structures, self.block_size, count * per), dtype=torch.float64, device=self.device)
        geometry = self.geometry.g[structures]
        # As many columns at a time as keep the largest intermediate, [rows, columns, pairs], near the cache.
        step = max(1, (8 * _TILE_NUMBERS) // (per * pairs * min(self.n_structures, 64)))
        for c in range(0, count, step):
            batch = slice(c, min(c + step, count))
            v = directions[batch].view(-1, per, d.n_atoms, 3)
            u = d.push(geometry[batch].unsqueeze(1), v)  # [c, k, pair]
            up = u[:, :, self.permutations].transpose(1, 2).contiguous()  # [c, π, k, pair]
            xp = self._xp[:, structures[batch]].transpose(0, 1).contiguous()  # [c, π, pair]
            for rows in self._tiles(len(v) * per * pairs // 8):
                field = self._column_field(self._x[rows], xp, up)  # [row, c·k, pair]
                forces = d.pull_rows(self.geometry.g[rows], field)
                out[rows, :, c * per : batch.stop * per] = forces.transpose(1, 2)
        return out.view(self.n, count * per)

    def _column_field(self, x: Tensor, xp: Tensor, up: Tensor) -> Tensor:
        """g of the module's docstring for single columns: ``x`` [row, pair], ``xp`` [c, π, pair], ``up`` [c, π, k, pair]."""
        count, s, per, pairs = up.shape
        d = squared_distances(x, xp.view(-1, pairs)).sqrt_()
        c1, c2 = (c.view(len(x), count, s).transpose(0, 1) for c in self.radial.first_two(d))  # [c, row, π]
        q = torch.addmm((xp.unsqueeze(2) * up).sum(-1).view(1, -1), x, up.view(-1, pairs).T, beta=-1.0)
        w = q.view(len(x), count, s, per).permute(1, 0, 3, 2) * c2.unsqueeze(2)  # [c, row, k, π]
        field = (c1 @ up.view(count, s, per * pairs)).view(count, len(x) * per, pairs)
        field.baddbmm_(w.reshape(count, len(x) * per, s), xp)
        field = field.view(count, len(x), per, pairs)
        field.addcmul_(w.sum(-1, keepdim=True), x.view(1, -1, 1, pairs), value=-1.0)
        return field.transpose(0, 1).reshape(len(x), count * per, pairs)

    def columns(self, index: Tensor) -> Tensor:
        """Columns ``index`` [k] of K [n, k]."""
        directions = torch.zeros((len(index), 1, self.block_size), dtype=torch.float64, device=self.device)
        directions[torch.arange(len(index)), 0, index % self.block_size] = 1.0
        return self.columns_along(index // self.block_size, directions)

    def block(self, i: int, j: int) -> Tensor:
        """K_ij [3·atoms, 3·atoms] between the structures i and j."""
        part = self._rows(slice(i, i + 1), slice(j, j + 1))
        return part.view(self.block_size, self.block_size)

    def diagonal_blocks(self) -> Tensor:
        """K_jj of all structures [frames, 3·atoms, 3·atoms]."""
        return torch.cat([self.block(j, j).unsqueeze(0) for j in range(self.n_structures)])

    def _rows(self, rows: slice, structures: slice) -> Tensor:
        """K between ``rows`` and ``structures`` [rows, 3·atoms, structures·3·atoms]."""
        d = self.descriptor
        jacobian = d.dense(self.geometry.g[structures]).transpose(1, 2)  # [j, 3·atoms, pair]
        up = jacobian[:, :, self.permutations].transpose(1, 2).contiguous()
        xp = self._xp[:, structures].transpose(0, 1).contiguous()
        field = self._column_field(self._x[rows], xp, up)
        return d.pull_rows(self.geometry.g[rows], field).transpose(1, 2)

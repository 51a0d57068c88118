"""Randomly pivoted Cholesky: columns chosen one after the other, where the approximation is still worst.

Y. Chen, E. N. Epperly, J. A. Tropp, R. J. Webber, Comm. Pure Appl. Math. (2024), arXiv 2207.06503: draw each pivot with
a probability proportional to the diagonal of the residual. Accelerated by blocks (E. N. Epperly, J. A. Tropp,
R. J. Webber, arXiv 2410.03969): propose a block of pivots from one diagonal, then accept each with the ratio of what is
left of its residual by then, which draws from the same distribution but evaluates and updates in matrix products.

The factor grows: :meth:`Pivoted.grow` adds columns to those already there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nyff.linalg.operator import LinearOperator

_BLOCK = 160
# A pivot whose residual is below this share of the largest diagonal entry is rounding error.
_EXHAUSTED = 1e-13


class Pivoted:
    """A growing factor F [n, rank] with F Fᵀ ≈ A from randomly pivoted columns; ``pivots`` are their indices."""

    def __init__(self, operator: LinearOperator, capacity: int, seed: int = 0):
        self.operator = operator
        self.diagonal = operator.diagonal().clone()
        self._largest = float(self.diagonal.max())
        self._residual = self.diagonal.clone()
        self._storage = torch.empty((operator.n, capacity), dtype=torch.float64, device=operator.device)
        self.pivots: list[int] = []
        self.exhausted = False
        self._random = torch.Generator().manual_seed(seed)

    @property
    def factor(self) -> Tensor:
        """F [n, rank]."""
        return self._storage[:, : len(self.pivots)]

    def grow(self, rank: int) -> Tensor:
        """Add columns until there are ``rank`` (or nothing is left to add) and return F."""
        rank = min(rank, self.operator.n)
        if rank > self._storage.shape[1]:
            larger = self._storage.new_empty((self.operator.n, rank))
            larger[:, : len(self.pivots)] = self.factor
            self._storage = larger
        while len(self.pivots) < rank and not self.exhausted:
            self._add_block(min(_BLOCK, rank - len(self.pivots)))
        return self.factor

    def _add_block(self, size: int) -> None:
        residual = self._residual.cpu()
        total = float(residual.sum())
        if not total > _EXHAUSTED * self._largest * self.operator.n:
            self.exhausted = True
            return
        proposed = torch.multinomial(residual / total, size, replacement=True, generator=self._random).unique()
        uniform = torch.rand(len(proposed), generator=self._random, dtype=torch.float64)
        index = proposed.to(self._residual.device)
        columns = self.operator.columns(index)
        columns.addmm_(self.factor, self.factor[index].T, alpha=-1.0)
        chosen, lower = self._accept(columns[index].cpu(), uniform)
        if not chosen:
            self._residual[index] = 0.0
            return
        accepted = index[chosen]
        new = torch.linalg.solve_triangular(lower.T.to(columns.device), columns[:, chosen], upper=True, left=False)
        start = len(self.pivots)
        self._storage[:, start : start + len(chosen)] = new
        self.pivots += accepted.tolist()
        self._residual.sub_((new * new).sum(1)).clamp_min_(0.0)
        self._residual[accepted] = 0.0

    def _accept(self, block: Tensor, uniform: Tensor) -> tuple[list[int], Tensor]:
        """Rejection within one block of residuals [b, b]: positions accepted, and their Cholesky factor."""
        before = block.diagonal().clone()
        residual = before.clone()
        rows = torch.zeros_like(block)  # columns of the factor, in the order of acceptance
        chosen: list[int] = []
        for i in range(len(block)):
            if uniform[i] * before[i] < residual[i] and residual[i] > _EXHAUSTED * self._largest:
                done = len(chosen)
                column = (block[:, i] - rows[:, :done] @ rows[i, :done]) / residual[i].sqrt()
                rows[:, done] = column
                residual = residual - column * column
                chosen.append(i)
        return chosen, rows[chosen, : len(chosen)].tril()

"""Partial Cholesky factorisation with chosen, randomly chosen or greedily chosen pivots.

After pivots S, F Fᵀ = A[:, S] A_SS⁻¹ A[S, :] is the Nyström approximation (C. Williams, M. Seeger, NIPS 13, 682
(2000)) and R = A − F Fᵀ the residual, which vanishes in the rows S. One more pivot i adds the column R[:, i]/√R_ii,
so a factor grows, and costs the columns S of A, its diagonal and n k² flops. Built this way rather than from the
eigenvalues of A_SS it is ten times more accurate, needs no jitter, and tells where A ends: a pivot whose R_ii is
rounding error is skipped.

* Chosen: :meth:`Pivoted.include`.
* Greedy: the largest R_ii next (H. Harbrecht, M. Peters, R. Schneider, Appl. Numer. Math. 62, 428 (2012),
  doi 10.1016/j.apnum.2011.10.001).
* Random: i with probability R_ii / tr R (Y. Chen, E. N. Epperly, J. A. Tropp, R. J. Webber, Comm. Pure Appl. Math. 78,
  995 (2025), doi 10.1002/cpa.22234). In blocks (E. N. Epperly, J. A. Tropp, R. J. Webber, arXiv 2410.03969): propose
  many pivots from one diagonal, walk through them in the order drawn, and accept each with the ratio of what is left
  of its residual by then. The accepted ones have the same distribution as if drawn one by one, but are evaluated
  and updated in matrix products.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nyff.linalg.operator import LinearOperator

BLOCK = 160
"""Columns evaluated and updated at a time."""

# A residual below this share of the largest diagonal entry is rounding error.
_EXHAUSTED = 1e-14


class Pivoted:
    """A growing factor F [n, rank] with F Fᵀ ≈ A; ``pivots`` are the indices of the columns it stands on.

    ``exhausted`` says that nothing but rounding error is left; F then has fewer columns than were asked for.
    """

    def __init__(self, operator: LinearOperator, capacity: int, seed: int = 0, *, greedy: bool = False):
        self.operator = operator
        self.diagonal = operator.diagonal().clone()
        self.greedy = greedy
        self._floor = _EXHAUSTED * float(self.diagonal.max())
        self._residual = self.diagonal.clone()
        self._storage = torch.empty(
            (operator.n, min(capacity, operator.n)), dtype=torch.float64, device=operator.device
        )
        self.pivots: list[int] = []
        self.exhausted = False
        self._random = torch.Generator().manual_seed(seed)

    @property
    def factor(self) -> Tensor:
        """F [n, rank]."""
        return self._storage[:, : len(self.pivots)]

    @property
    def residual_diagonal(self) -> Tensor:
        """The diagonal [n] of A − F Fᵀ."""
        return self._residual

    def grow(self, rank: int) -> Tensor:
        """Add columns until there are ``rank`` (or nothing is left to add) and return F."""
        rank = min(rank, self.operator.n)
        self._reserve(rank)
        while len(self.pivots) < rank and not self.exhausted:
            if self.greedy:
                self._add_largest()
            else:
                # The first pivots take most of the residual away, so few proposals of one diagonal survive there.
                size = min(BLOCK, max(8, len(self.pivots) // 2))
                self._add_random(min(size, rank - len(self.pivots)))
        return self.factor

    def include(self, index: Tensor) -> Tensor:
        """Add the columns ``index`` [k] in this order, except those whose residual is rounding error, and return F."""
        self._reserve(len(self.pivots) + len(index))
        for part in index.split(BLOCK):
            self._add(part, torch.zeros(len(part), dtype=torch.float64))
        return self.factor

    def _reserve(self, rank: int) -> None:
        if rank > self._storage.shape[1]:
            larger = self._storage.new_empty((self.operator.n, rank))
            larger[:, : len(self.pivots)] = self.factor
            self._storage = larger

    def _add_largest(self) -> None:
        index = self._residual.argmax()
        if not self._residual[index] > self._floor:
            self.exhausted = True
            return
        self._add(index.view(1), torch.zeros(1, dtype=torch.float64))

    def _add_random(self, size: int) -> None:
        residual = self._residual.cpu()
        if not float(residual.sum()) > self._floor * self.operator.n:
            self.exhausted = True
            return
        # With replacement, in the order drawn: only so is the result distributed as if drawn one by one.
        drawn = torch.multinomial(residual, size, replacement=True, generator=self._random)
        uniform = torch.rand(size, generator=self._random, dtype=torch.float64)
        self._add(drawn.to(self._residual.device), uniform)

    def _add(self, drawn: Tensor, uniform: Tensor) -> None:
        """Add pivots out of ``drawn`` [b], each accepted while ``uniform`` [b] < residual by then / residual now."""
        index, position = torch.unique(drawn, return_inverse=True)
        columns = self.operator.columns(index)
        columns.addmm_(self.factor, self.factor[index].T, alpha=-1.0)
        chosen, lower = self._accept(columns[index].cpu(), position.cpu(), uniform)
        # What was found to be rounding error must not be drawn again.
        spent = columns[index, torch.arange(len(index), device=index.device)] <= self._floor
        if chosen:
            start = len(self.pivots)
            new = self._storage[:, start : start + len(chosen)]
            new.copy_(
                torch.linalg.solve_triangular(lower.T.to(columns.device), columns[:, chosen], upper=True, left=False)
            )
            self.pivots += index[chosen].tolist()
            self._residual.sub_((new * new).sum(1)).clamp_min_(0.0)
            self._residual[index[chosen]] = 0.0
        self._residual[index[spent]] = 0.0

    def _accept(self, block: Tensor, position: Tensor, uniform: Tensor) -> tuple[list[int], Tensor]:
        """Rejection within residuals [b, b]: rows accepted of those drawn in order ``position``, and their factor."""
        matrix = block.numpy()
        before = matrix.diagonal()
        residual = before.copy()
        rows = np.zeros_like(matrix)  # columns of the factor, in the order of acceptance
        chosen: list[int] = []
        for i, u in zip(position.tolist(), uniform.tolist(), strict=True):
            left = residual[i]
            if left > self._floor and u * before[i] < left:
                done = len(chosen)
                column = (matrix[:, i] - rows[:, :done] @ rows[i, :done]) / left**0.5
                rows[:, done] = column
                residual -= column * column
                residual[i] = 0.0
                chosen.append(i)
        return chosen, torch.from_numpy(np.tril(rows[chosen, : len(chosen)]))

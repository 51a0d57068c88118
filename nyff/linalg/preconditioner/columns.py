"""Which columns of A a Nyström approximation stands on.

| symbol | here |
|---|---|
| A, λ, k | ``operator``, ``shift``, ``count`` |
| τ_i = [A (A + λI)⁻¹]_ii, ridge leverage scores | :func:`ridge_leverage_scores` |
| ‖(U_k)_i‖², rank-k leverage scores | :func:`rank_leverage_scores` |

τ_i measures how much of row i the other rows can't say (A. Alaoui, M. Mahoney, NIPS 28, 775 (2015)); its sum is the
number of directions in which A exceeds λ. Exact scores cost as much as solving the system. From a sketch of k/4
uniform columns, with B ᵀB its Nyström approximation, τ_i ≈ b_iᵀ (B Bᵀ + λI)⁻¹ b_i, as S. Blücher, K.-R. Müller, S.
Chmiela, J. Chem. Theory Comput. 19, 4619 (2023), doi 10.1021/acs.jctc.2c01304 have it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nyff.linalg.operator import LinearOperator
from nyff.linalg.preconditioner.low_rank import eigenpairs
from nyff.linalg.preconditioner.pivoted import Pivoted

_SKETCH = 4


def uniform(n: int, count: int, seed: int) -> Tensor:
    """``count`` different indices below ``n`` [count], all equally likely."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count]


def sample(weights: Tensor, count: int, seed: int) -> Tensor:
    """``count`` different indices, drawn one after the other with probability ∝ ``weights`` [n] among those left.

    By exponential races (P. Efraimidis, P. Spirakis, Inf. Process. Lett. 97, 181 (2006), doi
    10.1016/j.ipl.2005.11.003): the ``count`` smallest of E_i / weight_i. Indices of weight zero come last.
    """
    random = torch.Generator().manual_seed(seed)
    exponential = torch.empty(len(weights), dtype=torch.float64).exponential_(generator=random)
    arrivals = exponential / weights.cpu().clamp_min(torch.finfo(torch.float64).tiny)
    return arrivals.argsort(stable=True)[:count]


def top(weights: Tensor, count: int) -> Tensor:
    """The ``count`` indices of largest weight, descending."""
    return weights.cpu().argsort(descending=True, stable=True)[:count]


def bottom(weights: Tensor, count: int) -> Tensor:
    """The ``count`` indices of smallest weight, ascending."""
    return weights.cpu().argsort(stable=True)[:count]


def ridge_leverage_scores(operator: LinearOperator, shift: float, count: int, seed: int) -> Tensor:
    """τ [n], approximated from ``count``/4 uniform columns."""
    sketch = max(1, count // _SKETCH)
    index = uniform(operator.n, sketch, seed).to(operator.device)
    vectors, values = eigenpairs(Pivoted(operator, sketch).include(index))
    return vectors.square_() @ (values / (values + shift))


def rank_leverage_scores(vectors: Tensor) -> Tensor:
    """Squared row norms [n] of the leading eigenvectors [n, k]."""
    return (vectors * vectors).sum(1)

"""Preconditioners by name."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from nyff.errors import InputError
from nyff.linalg.operator import LinearOperator
from nyff.linalg.preconditioner.base import BuildCost, Identity, Preconditioner
from nyff.linalg.preconditioner.local import kept_rank, low_rank_plus_blocks
from nyff.linalg.preconditioner.low_rank import LowRank, eigenpairs, nystrom_factor
from nyff.linalg.preconditioner.pivoted import Pivoted

PRECONDITIONERS = ("auto", "none", "uniform", "rpcholesky")


def make_preconditioner(
    name: str, operator: LinearOperator, shift: float, columns: int, *, n: int | None = None, seed: int = 0,
    form: str = "shifted",
) -> Preconditioner:
    """Build the preconditioner ``name`` for A + λI.

    ``columns`` k is a promise about memory: the result holds at most 8 n k bytes, with ``n`` the unknowns (default:
    ``operator.n``; larger where the operator works in internal coordinates).
    """
    started = time.perf_counter()
    n = operator.n if n is None else n
    if name == "none":
        return Identity()
    if name == "auto":
        rank = kept_rank(8.0 * n * columns, operator.n, operator.block_size)
        factor = Pivoted(operator, 2 * rank, seed).grow(2 * rank)
        result: Preconditioner = low_rank_plus_blocks(factor, operator.diagonal_blocks(), shift, rank)
        peak = 8 * operator.n * (factor.shape[1] + 2 * rank)
    elif name == "rpcholesky":
        vectors, values = eigenpairs(Pivoted(operator, columns, seed).grow(columns))
        result, peak = LowRank(vectors, values, shift, form, name), 24 * operator.n * columns
    elif name == "uniform":
        random = torch.Generator().manual_seed(seed)
        index = torch.randperm(operator.n, generator=random)[:columns].to(operator.device)
        vectors, values = eigenpairs(nystrom_factor(operator.columns(index), index))
        result, peak = LowRank(vectors, values, shift, form, name), 24 * operator.n * columns
    else:
        raise InputError(f"unknown preconditioner {name!r}; known are {', '.join(PRECONDITIONERS)}")
    return replace(result, name=name, cost=BuildCost(time.perf_counter() - started, 0, peak))  # type: ignore[type-var]

"""Preconditioners by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from nyff.errors import InputError, MemoryLimitError
from nyff.linalg.operator import LinearOperator
from nyff.linalg.preconditioner import columns as choose
from nyff.linalg.preconditioner.base import BuildCost, Identity, Preconditioner
from nyff.linalg.preconditioner.jacobi import jacobi_atom, jacobi_structure
from nyff.linalg.preconditioner.local import OVERSAMPLING, columns_beside_blocks, low_rank_plus_blocks
from nyff.linalg.preconditioner.low_rank import FORMS, LowRank, eigenpairs
from nyff.linalg.preconditioner.meter import MemoryMeter
from nyff.linalg.preconditioner.pivoted import BLOCK, Pivoted
from nyff.linalg.preconditioner.spectral import Eigenpairs, full_matrix_bytes, leading_eigenpairs


@dataclass(frozen=True)
class Request:
    """What a builder is asked for: P of A + λI within 8 n k bytes, n = ``n`` ≥ ``operator.n`` and k = ``columns``."""

    operator: LinearOperator
    shift: float
    columns: int
    n: int
    seed: int
    form: str
    eigen: Eigenpairs | None

    @property
    def rank(self) -> int:
        """Eigenpairs that fit."""
        return min(self.columns, self.operator.n, self.n * self.columns // (self.operator.n + 1))


@dataclass(frozen=True)
class Method:
    """One preconditioner: what it is in words, how it is built, and what it needs.

    ``full_matrix``: the build forms all of A. ``sized``: its size follows from ``columns``. ``seeded``: draws at
    random.
    """

    summary: str
    build: Callable[[Request], Preconditioner]
    full_matrix: bool = False
    sized: bool = True
    seeded: bool = False


def _low_rank(request: Request, factor: Tensor) -> LowRank:
    vectors, values = eigenpairs(factor)
    return LowRank(vectors, values, request.shift, request.form)


def _from_columns(request: Request, index: Tensor) -> LowRank:
    index = index.to(request.operator.device)
    return _low_rank(request, Pivoted(request.operator, len(index)).include(index))


def _uniform(request: Request) -> LowRank:
    return _from_columns(request, choose.uniform(request.operator.n, request.rank, request.seed))


def _by_scores(pick: Callable[[Tensor, Request], Tensor]) -> Callable[[Request], LowRank]:
    def build(request: Request) -> LowRank:
        scores = choose.ridge_leverage_scores(request.operator, request.shift, request.rank, request.seed)
        return _from_columns(request, pick(scores, request))

    return build


def _cholesky(request: Request) -> LowRank:
    return _low_rank(request, Pivoted(request.operator, request.rank, greedy=True).grow(request.rank))


def _cholesky_then_uniform(request: Request) -> LowRank:
    pivoted = Pivoted(request.operator, request.rank, greedy=True)
    pivoted.grow(request.rank // 2)
    left = choose.uniform(request.operator.n, request.operator.n, request.seed)
    taken = set(pivoted.pivots)
    others = [i for i in left.tolist() if i not in taken][: request.rank - len(taken)]
    return _low_rank(request, pivoted.include(left.new_tensor(others).to(request.operator.device)))


def _rpcholesky(request: Request) -> LowRank:
    return _low_rank(request, Pivoted(request.operator, request.rank, request.seed).grow(request.rank))


def _eigen(request: Request) -> Eigenpairs:
    found = request.eigen or leading_eigenpairs(request.operator, request.rank)
    return found.leading(request.rank)


def _spectral(request: Request) -> LowRank:
    eigen = _eigen(request)
    return LowRank(eigen.vectors, eigen.values, request.shift, request.form)


def _rank_leverage(request: Request) -> LowRank:
    scores = choose.rank_leverage_scores(_eigen(request).vectors)
    return _from_columns(request, choose.sample(scores, request.rank, request.seed))


def _auto(request: Request) -> Preconditioner:
    operator = request.operator
    room = columns_beside_blocks(8.0 * request.n * request.columns, operator.n, operator.block_size)
    oversampled = int(OVERSAMPLING * room)
    factor = Pivoted(operator, oversampled, request.seed).grow(oversampled)
    return low_rank_plus_blocks(factor, operator.diagonal_blocks(), request.shift, room)


METHODS = {
    "auto": Method("low rank plus the residual block of each structure: the default", _auto, seeded=True),
    "none": Method("no preconditioner", lambda request: Identity(), sized=False),
    "uniform": Method("columns drawn uniformly", _uniform, seeded=True),
    "leverage": Method(
        "columns drawn by approximate ridge leverage scores",
        _by_scores(lambda scores, request: choose.sample(scores, request.rank, request.seed)),
        seeded=True,
    ),
    "leverage-top": Method(
        "the columns of largest ridge leverage score",
        _by_scores(lambda scores, request: choose.top(scores, request.rank)),
        seeded=True,
    ),
    "leverage-bottom": Method(
        "the columns of smallest ridge leverage score, a control",
        _by_scores(lambda scores, request: choose.bottom(scores, request.rank)),
        seeded=True,
    ),
    "cholesky": Method("greedy pivoted Cholesky factorisation", _cholesky),
    "cholesky-then-uniform": Method("half the pivots greedy, half uniform", _cholesky_then_uniform, seeded=True),
    "rank-leverage": Method("columns drawn by exact rank-k leverage scores", _rank_leverage, True, seeded=True),
    "spectral": Method("truncated eigendecomposition, the best of the low-rank ones", _spectral, True),
    "jacobi-structure": Method(
        "diagonal blocks of the structures", lambda r: jacobi_structure(r.operator, r.shift), sized=False
    ),
    "jacobi-atom": Method("3×3 blocks of the atoms", lambda r: jacobi_atom(r.operator, r.shift), sized=False),
    "rpcholesky": Method("randomly pivoted Cholesky factorisation", _rpcholesky, seeded=True),
}
"""Every preconditioner by its name."""

PRECONDITIONERS = tuple(METHODS)


def make_preconditioner(
    name: str,
    operator: LinearOperator,
    shift: float,
    columns: int,
    *,
    n: int | None = None,
    seed: int = 0,
    form: str = "shifted",
    max_bytes: float = float("inf"),
    eigen: Eigenpairs | None = None,
) -> Preconditioner:
    """Build the preconditioner ``name`` of :data:`METHODS` for A + λI.

    ``columns`` k is a promise about memory: the result holds at most 8 n k bytes, with ``n`` the unknowns (default:
    ``operator.n``; larger where the operator works in internal coordinates). ``form`` is one of
    :data:`~nyff.linalg.preconditioner.low_rank.FORMS`, for the low-rank ones. ``eigen`` saves the methods that need the
    full matrix from decomposing it again; at least ``columns`` pairs. Names that draw at random do so with ``seed``.

    Raises :class:`~nyff.errors.MemoryLimitError` when the build would take more than ``max_bytes``.
    """
    method = METHODS.get(name)
    if method is None:
        raise InputError(f"unknown preconditioner {name!r}; known are {', '.join(METHODS)}")
    if form not in FORMS:
        raise InputError(f"unknown form {form!r} of a preconditioner; known are {', '.join(FORMS)}")
    if method.sized and columns < 1:
        raise InputError(f"`columns` must be at least 1, got {columns}")
    request = Request(operator, shift, columns, operator.n if n is None else n, seed, form, eigen)
    _check_memory(name, method, request, max_bytes)
    started = time.perf_counter()
    with MemoryMeter() as meter:
        if method.full_matrix and eigen is None:
            meter.note(full_matrix_bytes(operator.n, request.rank))
        built: Any = method.build(request)
    cost = BuildCost(time.perf_counter() - started, 0, meter.peak)
    return built if isinstance(built, Identity) else replace(built, name=name, cost=cost)


def _check_memory(name: str, method: Method, request: Request, max_bytes: float) -> None:
    """Before any of it is allocated."""
    n, k = request.operator.n, request.rank
    if not method.sized:
        return
    if method.full_matrix:
        needed = full_matrix_bytes(n, k)
        if needed > max_bytes:
            raise MemoryLimitError(
                f"{name} needs the full matrix of {n} unknowns, {_size(needed)} while it is built, and the limit is "
                f"{_size(max_bytes)}; take a method that evaluates its columns only (leverage, rpcholesky, auto), fewer "
                "structures or a larger --max-memory"
            )
        return
    needed = build_bytes(name, n, k)
    if needed > max_bytes:
        raise MemoryLimitError(
            f"{name} with {k} columns of {n} unknowns needs {_size(needed)} while it is built, the limit is "
            f"{_size(max_bytes)}; ask for fewer columns or a larger --max-memory"
        )


def build_bytes(name: str, n: int, columns: int) -> int:
    """The most that building ``name`` without the full matrix takes at once, for ``n`` rows: an estimate from above."""
    if name == "auto":
        # The oversampled factor, a copy in another metric and what is kept; eigenvectors of matrices of its width.
        return 8 * (8 * n * columns + 40 * columns**2)
    # The factor, two blocks of columns, copies of a panel in the QR factorisation and matrices of its width.
    panel = columns + min(n, max(1024, 2 * columns))
    return 8 * (n * (columns + 2 * min(columns, BLOCK)) + 3 * columns * panel + 3 * columns**2)


def _size(size: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"

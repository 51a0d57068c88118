"""What a fit will cost, said before it is paid: solver, columns, memory and time, from rates measured on this machine."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nyff.errors import MemoryLimitError
from nyff.kernel.internal import InternalKernel
from nyff.training.memory import format_bytes
from nyff.training.rule import paper_columns

BUILD_COLUMNS = 8
"""Columns' worth of memory that building the default preconditioner takes for each that it keeps."""


@dataclass(frozen=True)
class Plan:
    """The choice and its reason. ``unknowns`` 3NM, ``reduced`` without rigid motions; bytes and seconds are estimates."""

    solver: str
    reason: str
    unknowns: int
    reduced: int
    columns: int
    memory_bytes: int
    limit_bytes: int
    seconds: float

    def __str__(self) -> str:
        how = "Cholesky factorisation" if self.solver == "cholesky" else f"preconditioned CG, {self.columns} columns"
        return (
            f"{self.unknowns} unknowns ({self.reduced} without rigid motions): {how}, about {_duration(self.seconds)} "
            f"and {format_bytes(self.memory_bytes)} of {format_bytes(self.limit_bytes)} ({self.reason})"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Rates:
    """Measured on this machine: flops per second of a large matrix product, bytes per second read, seconds a matvec."""

    flops: float
    bandwidth: float
    matvec: float


def measure(operator: InternalKernel) -> Rates:
    """Time a matrix product, a pass over memory and one product with K (the second: the first fills its cache)."""
    a = torch.ones((768, 768), dtype=torch.float64, device=operator.device)
    flops = 2 * 768**3 / _seconds(lambda: a @ a, a.device)
    b = torch.ones(4_000_000, dtype=torch.float64, device=operator.device)
    bandwidth = 8 * b.numel() / _seconds(b.sum, a.device)
    v = torch.ones(operator.n, dtype=torch.float64, device=operator.device)
    return Rates(flops, bandwidth, _seconds(lambda: operator.matvec(v), a.device))


def scalar_bytes(n_structures: int, n_permutations: int) -> int:
    """What the kernel keeps to make its products fast."""
    return 16 * n_structures**2 * n_permutations


def make_plan(
    operator: InternalKernel,
    *,
    solver: str,
    columns: int | str,
    preconditioner: str,
    limit: int,
) -> Plan:
    """Choose the solver and the number of columns.

    A Cholesky factorisation costs n³/3 flops and 8 n² bytes and is exact. CG costs what
    :func:`cg_seconds` says. The rates are measured, so two runs may choose differently where the costs are close; give
    ``solver`` and ``columns`` to fix the choice, and with it every bit of the result.
    Raises :class:`~nyff.errors.MemoryLimitError` when nothing fits.
    """
    kernel = operator.kernel
    n, full = operator.n, kernel.n
    base = _base_bytes(operator)
    direct_bytes = base + 8 * n * n + 8 * 3 * n * 512
    if solver == "cholesky" and direct_bytes > limit:
        raise MemoryLimitError(
            f"a Cholesky factorisation of {n} unknowns needs {format_bytes(direct_bytes)}, the limit is "
            f"{format_bytes(limit)}; use solver cg, fewer structures or a larger --max-memory"
        )
    rates = measure(operator)
    # Factorisations reach about half the rate of a product; assembly writes n² numbers a few times.
    direct = n**3 / 3 / (0.5 * rates.flops) + 10 * 8 * n * n / rates.bandwidth
    if columns == "auto":
        k = _best_columns(operator, rates, limit - base - 80 * n)
    elif columns == "paper":
        k = paper_columns(full)
    else:
        k = int(columns)
    iterative = cg_seconds(operator, rates, k)
    cg_bytes = base + 8 * n * (BUILD_COLUMNS * k + 10)
    if solver == "auto":
        fits = direct_bytes <= limit
        chosen = "cholesky" if fits and (direct <= iterative or cg_bytes > limit) else "cg"
        other = (
            f"CG would take about {_duration(iterative)}"
            if chosen == "cholesky"
            else (
                f"a Cholesky factorisation would take {_duration(direct)}"
                if fits
                else f"a Cholesky factorisation would need {format_bytes(direct_bytes)}"
            )
        )
        reason = other
    else:
        chosen, reason = solver, "as asked"
    if chosen == "cholesky":
        return Plan("cholesky", reason, full, n, 0, direct_bytes, limit, direct)
    if cg_bytes > limit:
        raise MemoryLimitError(
            f"{k} columns for {full} unknowns need {format_bytes(cg_bytes)} while the preconditioner is built, the limit "
            f"is {format_bytes(limit)}; ask for fewer columns or raise --max-memory"
        )
    return Plan("cg", reason, full, n, k, cg_bytes, limit, iterative)


def require_memory(n_structures: int, n_atoms: int, n_permutations: int, limit: int) -> None:
    """Refuse, before any work, a training set for which no solver fits into ``limit`` bytes.

    Raises :class:`~nyff.errors.MemoryLimitError`.
    """
    n = 3 * n_structures * n_atoms
    base = _kernel_bytes(n_structures, n_atoms, n_permutations)
    least = base + 8 * n * min(BUILD_COLUMNS * 3 * n_atoms + 10, n)
    if least > limit:
        raise MemoryLimitError(
            f"{n} unknowns need at least {format_bytes(least)}, the limit is {format_bytes(limit)}; raise --max-memory "
            "or train on fewer structures"
        )


def cg_seconds(operator: InternalKernel, rates: Rates, columns: int) -> float:
    """Expected time of a solve by CG with ``columns`` columns: build, then steps.

    The build evaluates 3 k columns, orthogonalises them (9 n k²), forms a Gram matrix of them (9 n k²) and one of those
    kept, and diagonalises both (about 9 k³ flops each, at a fifth of the rate of a product); a step is one product with
    K and two passes over the factor.
    """
    n, m = operator.n, len(operator.basis)
    evaluate = 3.0 * columns * rates.matvec * 5 / m
    multiply = 55.0 * n * columns**2 / (0.6 * rates.flops)
    diagonalise = 280.0 * columns**3 / (0.2 * rates.flops)
    step = rates.matvec + 16 * n * columns / rates.bandwidth
    return evaluate + multiply + diagonalise + expected_steps(operator.kernel.n, columns) * step


def expected_steps(n: int, columns: int) -> float:
    """A guess of the CG steps to 1e-4 before anything is known of the molecule.

    The paper's law, steps = n k̂/k with k̂ = 100 (its default), over thirteen: what the default preconditioner gains over the
    paper's on the molecules of the results page, give or take a factor of two.
    """
    return max(15.0, n * 100 / columns / 13)


def _best_columns(operator: InternalKernel, rates: Rates, memory: float) -> int:
    """The number of columns with the least expected time among those whose build fits into ``memory``."""
    n = operator.n
    most = min(n // 3, int(memory / (8 * n * BUILD_COLUMNS)))
    least = operator.block_size + 8
    grid = [k for k in (round(least * 1.1**i) for i in range(120)) if k <= most]
    return min(grid, key=lambda k: cg_seconds(operator, rates, k), default=max(8, most))


def _base_bytes(operator: InternalKernel) -> int:
    """What the operator and its products take: descriptors, Jacobians, permuted copies and the kept scalars."""
    kernel = operator.kernel
    m, s = len(operator.basis), len(kernel.permutations)
    kept = scalar_bytes(m, s) if scalar_bytes(m, s) <= kernel.max_bytes else 0
    return _kernel_bytes(m, kernel.descriptor.n_atoms, s) + kept


def _kernel_bytes(n_structures: int, n_atoms: int, n_permutations: int) -> int:
    """Descriptors and Jacobians with their gathers, X' and the permuted vectors, and the internal basis."""
    pairs = n_atoms * (n_atoms - 1) // 2
    return 8 * n_structures * (pairs * (14 + 2 * n_permutations) + (3 * n_atoms) ** 2)


def _seconds(function: Any, device: torch.device) -> float:
    best = math.inf
    function()
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""What a fit will cost, said before it is paid: solver, columns, memory and time, from rates measured on this machine."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from nyff.errors import MemoryLimitError
from nyff.training.memory import format_bytes
from nyff.kernel.internal import InternalKernel


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

    A Cholesky factorisation costs n³/3 flops and 8 n² bytes and is exact. CG costs, for k columns, about n (2k)² · 4 flops
    and 8 n · 4k bytes to build the preconditioner, then one product with K and one pass over the factor a step.
    Raises :class:`~nyff.errors.MemoryLimitError` when nothing fits.
    """
    kernel = operator.kernel
    n, full, block = operator.n, kernel.n, operator.block_size
    base = _base_bytes(operator)
    direct_bytes = base + 8 * n * n + 8 * 3 * n * 512
    least = base + 8 * n * (4 * max(16, block) + 10)
    if solver == "cholesky" and direct_bytes > limit:
        raise MemoryLimitError(
            f"a Cholesky factorisation of {n} unknowns needs {format_bytes(direct_bytes)}, the limit is "
            f"{format_bytes(limit)}; use solver cg, fewer structures or a larger --max-memory"
        )
    if least > limit and direct_bytes > limit:
        raise MemoryLimitError(
            f"{full} unknowns need at least {format_bytes(least)}, the limit is {format_bytes(limit)}; raise "
            "--max-memory or train on fewer structures"
        )
    rates = measure(operator)
    # Factorisations reach about half the rate of a product; assembly writes n² numbers a few times.
    direct = n**3 / 3 / (0.5 * rates.flops) + 10 * 8 * n * n / rates.bandwidth
    k = _default_columns(full, limit - base) if columns == "auto" else int(columns)
    steps = expected_steps(full, k)
    build = 8 * n * (2 * k) ** 2 / rates.flops + 2 * k * block * rates.matvec / operator.n * 4
    iterative = build + steps * (rates.matvec + 16 * n * k / rates.bandwidth)
    cg_bytes = base + 8 * n * (4 * k + 10)
    if solver == "auto":
        fits = direct_bytes <= limit
        chosen = "cholesky" if fits and direct <= iterative else "cg"
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
    if cg_bytes > limit and columns != "auto":
        raise MemoryLimitError(
            f"{k} columns for {full} unknowns need {format_bytes(cg_bytes)} while the preconditioner is built, the limit "
            f"is {format_bytes(limit)}; ask for fewer columns or raise --max-memory"
        )
    return Plan("cg", reason, full, n, k, cg_bytes, limit, iterative)


def expected_steps(n: int, columns: int) -> float:
    """A guess of the CG steps to 1e-4: the paper's n k̂/k with k̂ = 100 (eq. 15), over the four that the default gains."""
    return max(20.0, n * 100 / columns / 4)


def _default_columns(n: int, memory: float) -> int:
    """The paper's rule k = (k̂ n²/2)^{1/3}, k̂ = 100, within the memory the build takes."""
    best = (100 * n * n / 2) ** (1 / 3)
    return max(8, int(min(best, n / 4, memory / (8 * n) / 4 - 3)))


def _base_bytes(operator: InternalKernel) -> int:
    """Descriptors, Jacobians, permuted copies and the kept scalars."""
    kernel = operator.kernel
    m, s, pairs = len(operator.basis), len(kernel.permutations), kernel.descriptor.n_pairs
    kept = min(scalar_bytes(m, s), kernel.max_bytes)
    return int(8 * m * pairs * (5 + s) + 8 * operator.basis.numel() + kept)


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

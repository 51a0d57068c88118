"""What a solve returns: the value, how it ended and what to do about it.

Not having converged is a value, not an exception: the members of :class:`Status` are the advice to the user.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from torch import Tensor


class Status(str, Enum):
    """How a solve ended; ``advice`` says what to do, causes in order of likelihood."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "iteration limit"
    STAGNATED = "stagnated"
    NOT_POSITIVE = "not positive definite"
    NOT_FINITE = "not finite"
    INTERRUPTED = "interrupted"
    STOPPED_EARLY = "stopped early"

    @property
    def advice(self) -> str:
        """One sentence: what happened and what to try."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "The true residual is below the tolerance.",
    Status.ITERATION_LIMIT: (
        "The residual is still above the tolerance: allow more columns or memory for the preconditioner, more "
        "iterations, or loosen the tolerance."
    ),
    Status.STAGNATED: (
        "The residual no longer falls, float64 ends here: raise the regularisation tenfold, or accept the residual "
        "that was reached; check for near-duplicate structures."
    ),
    Status.NOT_POSITIVE: (
        "The matrix is not positive definite in float64: raise the regularisation tenfold; check that the "
        "permutations form a group and that no two structures are the same."
    ),
    Status.NOT_FINITE: "Numbers overflowed: check the data for atoms on top of each other, and the length scale.",
    Status.INTERRUPTED: "Resume the run to continue where it stopped.",
    Status.STOPPED_EARLY: "The validation error no longer fell; a tighter fit would not have predicted better.",
}


@dataclass(frozen=True)
class Record:
    """One line of the convergence history."""

    iteration: int
    relative_residual: float
    seconds: float


@dataclass(frozen=True)
class Solution:
    """Result of a solve of (A + λI) x = b.

    ``value`` is x [n]; ``relative_residual`` = ‖b − (A + λI)x‖/‖b‖ computed anew from x, not from a recursion;
    ``iterations`` counts products with A, those of residual checks included.
    """

    value: Tensor
    status: Status
    iterations: int
    relative_residual: float
    seconds: float
    method: str
    history: list[Record] = field(default_factory=list)

    @property
    def converged(self) -> bool:
        """Whether the tolerance was reached."""
        return self.status is Status.CONVERGED

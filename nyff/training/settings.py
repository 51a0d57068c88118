"""Everything a fit can be told, checked once, and stored with the run so that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from operator import index
from typing import Any

from nyff.errors import InputError
from nyff.kernel.radial import make_radial
from nyff.linalg.preconditioner.make import PRECONDITIONERS

SOLVERS = ("auto", "cholesky", "cg")


@dataclass(frozen=True)
class Settings:
    """Resolved settings of one fit; see :func:`nyff.training.train.fit` for what each means. JSON-able."""

    lengthscale: float | None = None
    regularization: float = 1e-10
    kernel: str = "matern52"
    descriptor_power: float = 1.0
    permutations: str | list[list[int]] = "auto"
    solver: str = "auto"
    preconditioner: str = "auto"
    columns: int | str = "auto"
    tolerance: float = 1e-4
    max_memory: str | int | None = None
    max_iterations: int | None = None
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lengthscale", "regularization", "descriptor_power", "tolerance"):
            self._plain(name, float, "a number")
        for name in ("columns", "max_iterations", "seed"):
            self._plain(name, index, "an integer")
        make_radial(self.kernel, 1.0 if self.lengthscale is None else self.lengthscale)
        _positive("descriptor_power", self.descriptor_power, "1 is sGDML's descriptor")
        _positive("regularization", self.regularization, "1e-10 is sGDML's")
        _positive("tolerance", self.tolerance, "1e-4 is enough for force fields")
        if self.tolerance >= 1:
            raise InputError(f"`tolerance` must be below 1, got {self.tolerance}; 1e-4 is enough for force fields")
        _one_of("solver", self.solver, SOLVERS)
        _one_of("preconditioner", self.preconditioner, PRECONDITIONERS)
        if self.columns not in ("auto", "paper") and not (isinstance(self.columns, int) and self.columns > 0):
            raise InputError(f"`columns` must be a positive integer, 'auto' or 'paper', got {self.columns!r}")
        if self.max_iterations is not None and self.max_iterations < 1:
            raise InputError(f"`max_iterations` must be at least 1, got {self.max_iterations}")
        if self.seed < 0:
            raise InputError(f"`seed` must be an integer of at least 0, got {self.seed}")

    def _plain(self, name: str, kind: Callable[[Any], int | float], wanted: str) -> None:
        """Python's own numbers, because these settings are stored as JSON and YAML; words and None stay."""
        value = getattr(self, name)
        if (value is None and name in ("lengthscale", "max_iterations")) or (
            name == "columns" and isinstance(value, str)
        ):
            return
        try:
            object.__setattr__(self, name, kind(value))
        except (TypeError, ValueError):
            raise InputError(f"`{name}` must be {wanted}, got {value!r}") from None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def _positive(name: str, value: float, example: str) -> None:
    if not (0 < value < float("inf")):
        raise InputError(f"`{name}` must be positive and finite, got {value}; {example}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"unknown {name} {value!r}; known are {', '.join(known)}")

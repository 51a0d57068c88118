"""The seam of preconditioners: built once for (A + λI), then applied at every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class BuildCost:
    """What building took: seconds, products with all of A, and the most bytes held at once."""

    seconds: float = 0.0
    products: int = 0
    peak_bytes: int = 0


NO_COST = BuildCost()


class Preconditioner(ABC):
    """An approximation P of A + λI whose inverse is cheap."""

    name: str
    cost: BuildCost = NO_COST

    @abstractmethod
    def apply(self, v: Tensor) -> Tensor:
        """P⁻¹ v for ``v`` [n] or [n, k]."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Number of columns of the low-rank part."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """All that it holds after the build: factor, blocks, core."""


class Identity(Preconditioner):
    """No preconditioning."""

    name = "none"

    def apply(self, v: Tensor) -> Tensor:
        return v

    @property
    def rank(self) -> int:
        return 0

    @property
    def bytes(self) -> int:
        return 0

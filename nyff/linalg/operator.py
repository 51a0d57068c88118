"""The seam between chemistry and linear algebra: symmetric linear operators.

A force kernel, a dense matrix, a shifted operator and a preconditioner are all operators on vectors of length n. The
solvers see nothing else. An operator made of equal blocks (one per structure) says so with ``block_size``, and
preconditioners may then ask for its diagonal blocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class LinearOperator(ABC):
    """A symmetric operator on vectors of length ``n``, float64, on ``device``."""

    n: int
    block_size: int = 1

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""
        return torch.device("cpu")

    @abstractmethod
    def matvec(self, v: Tensor) -> Tensor:
        """A v for ``v`` [n] or [n, k], of the same shape."""

    @abstractmethod
    def columns(self, index: Tensor) -> Tensor:
        """The columns ``index`` [k] of A, as [n, k]."""

    @abstractmethod
    def diagonal_blocks(self) -> Tensor:
        """The blocks on the diagonal [n / block_size, block_size, block_size]."""

    def diagonal(self) -> Tensor:
        """The diagonal [n]."""
        return self.diagonal_blocks().diagonal(dim1=-2, dim2=-1).reshape(-1)

    def to_dense(self, progress: Callable[[float], None] | None = None) -> Tensor:
        """A itself [n, n]: 8 n² bytes."""
        return self.columns(torch.arange(self.n, device=self.device))


@runtime_checkable
class Restricted(Protocol):
    """An operator A = Qᵀ Â Q that is a larger one, Â = ``kernel``, in the coordinates of an orthonormal basis Q.

    Preconditioners made of blocks of Â rather than of A need Q; :class:`nyff.kernel.internal.InternalKernel` is one.
    """

    @property
    def kernel(self) -> LinearOperator: ...

    def to_internal(self, v: Tensor) -> Tensor:
        """Qᵀ v."""
        ...

    def to_cartesian(self, v: Tensor) -> Tensor:
        """Q v."""
        ...


class Dense(LinearOperator):
    """A symmetric matrix [n, n] as an operator."""

    def __init__(self, matrix: Tensor, block_size: int = 1):
        self.matrix = matrix
        self.n = len(matrix)
        self.block_size = block_size

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    def matvec(self, v: Tensor) -> Tensor:
        return self.matrix @ v

    def columns(self, index: Tensor) -> Tensor:
        return self.matrix[:, index]

    def diagonal_blocks(self) -> Tensor:
        b = self.block_size
        blocks = self.matrix.view(self.n // b, b, self.n // b, b)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()

    def to_dense(self, progress: Callable[[float], None] | None = None) -> Tensor:
        return self.matrix.clone()

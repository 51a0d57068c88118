"""Real kernel matrices, small enough for dense linear algebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import nyff
from nyff.kernel.force_kernel import ForceKernel
from nyff.kernel.group import pair_permutations
from nyff.kernel.internal import InternalKernel, internal_basis
from nyff.kernel.radial import make_radial
from nyff.linalg.operator import Dense, LinearOperator


@dataclass(frozen=True)
class Problem:
    """Ethanol's kernel: matrix-free, and dense [n, n] exactly symmetric; ``full`` = 3NM > n unknowns; ``labels`` [n]."""

    kernel: InternalKernel
    matrix: torch.Tensor
    labels: torch.Tensor
    full: int

    @property
    def dense(self) -> Dense:
        return Dense(self.matrix, self.kernel.block_size)

    def shifted(self, shift: float) -> torch.Tensor:
        return self.matrix + shift * torch.eye(len(self.matrix), dtype=torch.float64)


def build(ethanol: nyff.Dataset, permutations: np.ndarray, structures: int, lengthscale: float = 10.0) -> Problem:
    data = ethanol[:structures]
    positions = torch.tensor(data.positions)
    kernel = ForceKernel(
        positions, make_radial("matern52", lengthscale), torch.as_tensor(pair_permutations(permutations))
    )
    internal = InternalKernel(kernel, internal_basis(positions))
    matrix = internal.to_dense()
    forces = torch.tensor(data.forces).reshape(-1)
    return Problem(internal, (matrix + matrix.T) / 2, internal.to_internal(forces / forces.std()), kernel.n)


@pytest.fixture(scope="session")
def problem(ethanol: nyff.Dataset, ethanol_permutations: np.ndarray) -> Problem:
    """12 structures: n = 252 of 324."""
    return build(ethanol, ethanol_permutations, 12)


@pytest.fixture(scope="session")
def larger(ethanol: nyff.Dataset, ethanol_permutations: np.ndarray) -> Problem:
    """30 structures: n = 630 of 810."""
    return build(ethanol, ethanol_permutations, 30)


class Counting(LinearOperator):
    """An operator that counts what is asked of it."""

    def __init__(self, inner: LinearOperator):
        self.inner, self.n, self.block_size = inner, inner.n, inner.block_size
        self.products = self.columns_evaluated = self.matrices = 0

    def matvec(self, v: torch.Tensor) -> torch.Tensor:
        self.products += v.numel() // len(v)
        return self.inner.matvec(v)

    def columns(self, index: torch.Tensor) -> torch.Tensor:
        self.columns_evaluated += len(index)
        return self.inner.columns(index)

    def diagonal_blocks(self) -> torch.Tensor:
        return self.inner.diagonal_blocks()

    def to_dense(self, progress: object = None) -> torch.Tensor:
        self.matrices += 1
        return self.inner.to_dense(progress)


@pytest.fixture
def counting(problem: Problem) -> Counting:
    return Counting(problem.dense)

from __future__ import annotations

import numpy as np
import pytest
import torch

import nyff
from nyff.errors import InputError
from nyff.kernel.force_kernel import ForceKernel
from nyff.kernel.internal import InternalKernel, internal_basis
from nyff.kernel.radial import make_radial
from nyff.linalg.operator import Dense
from nyff.linalg.preconditioner.jacobi import jacobi_atom, jacobi_structure

SHIFTS = [1e-6, 1e-10, 1e-14]


def block_diagonal(matrix: torch.Tensor, size: int) -> torch.Tensor:
    """``matrix`` with everything outside its diagonal blocks set to zero."""
    where = torch.arange(len(matrix)) // size
    return matrix * (where[:, None] == where[None])


def cartesian(problem) -> torch.Tensor:
    """K [3NM, 3NM] of the same problem."""
    return problem.kernel.kernel.to_dense()


@pytest.mark.parametrize("shift", SHIFTS)
def test_per_structure_it_inverts_the_blocks(problem, shift):
    eye = torch.eye(len(problem.matrix), dtype=torch.float64)
    blocks = block_diagonal(problem.matrix, problem.kernel.block_size) + shift * eye
    error = jacobi_structure(problem.kernel, shift).apply(blocks) - eye
    assert float(error.abs().max()) < 1e-14 * float(torch.linalg.cond(blocks))


@pytest.mark.parametrize("shift", SHIFTS)
def test_per_atom_it_is_the_cartesian_one_in_internal_coordinates(problem, shift):
    full = cartesian(problem)
    blocks = block_diagonal(full, 3) + shift * torch.eye(len(full), dtype=torch.float64)
    basis = torch.block_diag(*problem.kernel.basis)
    expected = basis.T @ torch.linalg.inv(blocks) @ basis
    found = jacobi_atom(problem.kernel, shift).apply(torch.eye(len(problem.matrix), dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_per_atom_the_spectrum_is_that_of_the_cartesian_problem(problem):
    """Nonzero eigenvalues of D⁻¹K, with K in Cartesian coordinates, are those of P⁻¹ times K in internal ones."""
    full, shift = cartesian(problem), 1e-8
    blocks = block_diagonal(full, 3) + shift * torch.eye(len(full), dtype=torch.float64)
    theirs = np.sort(np.linalg.eigvals(torch.linalg.solve(blocks, full).numpy()).real)[::-1]
    ours = np.sort(np.linalg.eigvals(jacobi_atom(problem.kernel, shift).apply(problem.matrix).numpy()).real)[::-1]
    n, rigid = len(problem.matrix), len(full) - len(problem.matrix)
    assert rigid == 6 * 12
    np.testing.assert_allclose(ours, theirs[:n], rtol=1e-6, atol=1e-9)
    assert np.abs(theirs[n:]).max() < 1e-9


def test_per_atom_works_on_a_cartesian_kernel_too(problem):
    kernel = problem.kernel.kernel
    built = jacobi_atom(kernel, 1e-6)
    eye = torch.eye(kernel.n, dtype=torch.float64)
    blocks = block_diagonal(cartesian(problem), 3) + 1e-6 * eye
    torch.testing.assert_close(built.apply(blocks), eye, rtol=0, atol=1e-9)


@pytest.mark.parametrize("make", [jacobi_structure, jacobi_atom])
@pytest.mark.parametrize(
    "positions",
    [
        np.array([[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]),  # linear: blocks have a zero column or plane
        np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]),  # planar: no response out of the plane
    ],
    ids=["linear", "planar"],
)
def test_singular_blocks_are_lifted_by_the_shift(make, positions):
    random = np.random.default_rng(0)
    scale = 1 + 0.05 * random.normal(size=(4, 1, 1))
    frames = torch.tensor(positions[None] * scale)
    kernel = ForceKernel(frames, make_radial("matern52", 10.0), torch.arange(3)[None])
    operator = InternalKernel(kernel, internal_basis(frames))
    dense = make(operator, 1e-10).apply(torch.eye(operator.n, dtype=torch.float64))
    assert bool(torch.isfinite(dense).all())
    torch.testing.assert_close(dense, dense.T, rtol=0, atol=1e-6 * float(dense.abs().max()))
    assert float(torch.linalg.eigvalsh((dense + dense.T) / 2).min()) > 0


def test_atoms_are_needed():
    with pytest.raises(InputError, match="three coordinates per atom, got blocks of 4; use jacobi-structure"):
        jacobi_atom(Dense(torch.eye(8, dtype=torch.float64), 4), 1e-6)


def test_sizes(problem: nyff.Dataset):
    structures, r = 12, 21
    assert jacobi_structure(problem.kernel, 1e-6).bytes == 8 * structures * r * (r + 1) // 2
    assert jacobi_atom(problem.kernel, 1e-6).bytes == 8 * structures * 9 * 6

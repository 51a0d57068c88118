from __future__ import annotations

import numpy as np
import pytest
import torch

import nyff.kernel.force_kernel as module
from nyff.errors import InputError
from nyff.kernel.force_kernel import ForceKernel
from nyff.kernel.group import pair_permutations
from nyff.kernel.internal import InternalKernel, internal_basis
from nyff.kernel.radial import make_radial, radial_names

FRAMES = 5


@pytest.fixture(scope="module")
def positions(ethanol) -> torch.Tensor:
    return torch.tensor(ethanol.positions[:FRAMES])


@pytest.fixture(params=[(name, power) for name in radial_names() for power in (1.0, 0.5)], ids=str)
def kernel(request, positions, ethanol_permutations) -> ForceKernel:
    name, power = request.param
    pairs = torch.as_tensor(pair_permutations(ethanol_permutations))
    return ForceKernel(positions, make_radial(name, 4.0), pairs, descriptor_power=power)


def scalar_kernel(kernel: ForceKernel, a: torch.Tensor, b: torch.Tensor, permutations: np.ndarray) -> torch.Tensor:
    """Σ_π κ(|x(a) − x(πb)|), with the atoms permuted, not the pairs."""
    i, j = np.tril_indices(a.shape[0], -1)

    def x(r: torch.Tensor) -> torch.Tensor:
        return (r[i] - r[j]).norm(dim=-1) ** -kernel.descriptor.power

    distances = torch.stack([(x(a) - x(b[p])).norm() for p in permutations])
    return kernel.radial.value(distances).sum()


def test_blocks_are_the_mixed_second_derivatives_of_the_kernel(kernel, positions, ethanol_permutations):
    hessian = torch.autograd.functional.hessian(
        lambda a, b: scalar_kernel(kernel, a, b, ethanol_permutations), (positions[1], positions[3])
    )
    torch.testing.assert_close(kernel.block(1, 3), hessian[0][1].reshape(27, 27), rtol=1e-9, atol=1e-12)


def test_all_ways_to_the_matrix_agree(kernel):
    dense = kernel.to_dense()
    torch.testing.assert_close(dense, dense.T, rtol=0, atol=1e-14)
    index = torch.tensor([0, 134, 31, 32])
    torch.testing.assert_close(kernel.columns(index), dense[:, index])
    torch.testing.assert_close(kernel.diagonal(), dense.diagonal())
    blocks = dense.view(FRAMES, 27, FRAMES, 27)
    for j in range(FRAMES):
        torch.testing.assert_close(kernel.diagonal_blocks()[j], blocks[j, :, j])
    vectors = torch.randn(kernel.n, 3, dtype=torch.float64)
    torch.testing.assert_close(kernel.matvec(vectors), dense @ vectors, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(kernel.matvec(vectors[:, 0]), dense @ vectors[:, 0], rtol=1e-10, atol=1e-12)


def test_the_matrix_is_positive_semidefinite_with_rigid_motions_as_null_space(kernel, positions):
    values = torch.linalg.eigvalsh(kernel.to_dense())
    assert float(values[0]) > -1e-12 * float(values[-1])
    motion = torch.zeros(FRAMES, 9, 3, dtype=torch.float64)
    motion[0] = torch.tensor([1.0, 2.0, 3.0])
    axis = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    motion[2] = torch.linalg.cross(axis.expand(9, 3), positions[2])
    assert float(kernel.matvec(motion.view(-1)).abs().max()) < 1e-12


def test_tiles_that_recompute_the_scalars_give_the_same_products(positions, ethanol_permutations, monkeypatch):
    pairs = torch.as_tensor(pair_permutations(ethanol_permutations))
    radial = make_radial("matern52", 10.0)
    v = torch.randn(FRAMES * 27, dtype=torch.float64)
    expected = ForceKernel(positions, radial, pairs).matvec(v)
    monkeypatch.setattr(module, "_TILE_NUMBERS", 70)
    tight = ForceKernel(positions, radial, pairs, max_bytes=0)
    torch.testing.assert_close(tight.matvec(v), expected)
    assert tight._cached is None
    torch.testing.assert_close(tight.to_dense() @ v, expected)


def test_permuted_structures_are_the_same_structure(positions, ethanol_permutations):
    """Swapping equivalent atoms of the training structures permutes rows and columns of K, nothing else."""
    pairs = torch.as_tensor(pair_permutations(ethanol_permutations))
    radial = make_radial("matern52", 10.0)
    swapped = positions.clone()
    permutation = ethanol_permutations[-1]
    swapped[2] = positions[2][permutation]
    original = ForceKernel(positions, radial, pairs).block(2, 4).view(9, 3, 27)
    torch.testing.assert_close(ForceKernel(swapped, radial, pairs).block(2, 4).view(9, 3, 27), original[permutation])


def test_positions_of_the_wrong_shape_are_refused():
    with pytest.raises(InputError, match=r"must have shape \[frames, atoms, 3\], got \[9, 3\]; add a leading axis"):
        ForceKernel(torch.zeros(9, 3), make_radial("matern52", 1.0), torch.arange(36)[None])


class TestInternal:
    def test_basis_is_orthonormal_and_free_of_rigid_motion(self, positions):
        q = internal_basis(positions)
        assert q.shape == (FRAMES, 27, 21)
        eye = torch.eye(21, dtype=torch.float64).expand(FRAMES, 21, 21)
        torch.testing.assert_close(q.transpose(1, 2) @ q, eye, rtol=0, atol=1e-13)
        shift = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).repeat(9)
        assert float((shift @ q).abs().max()) < 1e-13

    def test_operator_is_the_projected_kernel(self, kernel, positions):
        internal = InternalKernel(kernel, internal_basis(positions))
        q = torch.block_diag(*internal.basis)
        expected = q.T @ kernel.to_dense() @ q
        dense = internal.to_dense()
        torch.testing.assert_close(dense, expected, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(
            internal.columns(torch.tensor([3, 50])), expected[:, [3, 50]], rtol=1e-10, atol=1e-13
        )
        v = torch.randn(internal.n, dtype=torch.float64)
        torch.testing.assert_close(internal.matvec(v), expected @ v, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(internal.diagonal(), expected.diagonal(), rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(internal.to_internal(internal.to_cartesian(v)), v)

    def test_linear_molecules_have_five_rigid_motions_and_may_be_mixed_with_bent_ones(self):
        linear = torch.tensor([[0.0, 0.0, -1.16], [0.0, 0.0, 0.0], [0.0, 0.0, 1.16]], dtype=torch.float64)
        bent = linear + torch.tensor([[0.2, 0, 0], [0, 0, 0], [0.2, 0, 0]], dtype=torch.float64)
        assert internal_basis(linear[None]).shape == (1, 9, 4)
        mixed = internal_basis(torch.stack([linear, bent]))
        assert mixed.shape == (2, 9, 4)
        assert float(mixed[0].norm(dim=0).min()) == pytest.approx(1.0)
        assert sorted(mixed[1].norm(dim=0).round().tolist()) == [0.0, 1.0, 1.0, 1.0]

from __future__ import annotations

import numpy as np
import pytest
import torch

from nyff.errors import InputError
from nyff.kernel.descriptor import PairDescriptor


@pytest.fixture(params=[1.0, 0.5, 2.0])
def descriptor(request: pytest.FixtureRequest) -> PairDescriptor:
    return PairDescriptor(5, request.param)


@pytest.fixture
def positions() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(0).normal(size=(3, 5, 3)) * 2)


def test_descriptor_is_the_power_of_the_distances_in_the_order_of_tril_indices(descriptor, positions):
    x = descriptor(positions).x
    i, j = np.tril_indices(5, -1)
    distances = np.linalg.norm(positions[:, i].numpy() - positions[:, j].numpy(), axis=-1)
    np.testing.assert_allclose(x.numpy(), distances**-descriptor.power, rtol=1e-13)


def test_jacobian_equals_that_of_autograd(descriptor, positions):
    dense = descriptor.dense(descriptor(positions).g)
    for frame in range(len(positions)):
        expected = torch.autograd.functional.jacobian(lambda r: descriptor(r).x, positions[frame])
        torch.testing.assert_close(dense[frame], expected.reshape(10, 15), rtol=1e-12, atol=1e-14)


def test_push_and_pull_are_the_products_with_the_jacobian(descriptor, positions):
    g = descriptor(positions).g
    dense = descriptor.dense(g)
    v, w = torch.randn(3, 5, 3, dtype=torch.float64), torch.randn(3, 10, dtype=torch.float64)
    expected_push = torch.einsum("fdc,fc->fd", dense, v.reshape(3, 15))
    expected_pull = torch.einsum("fdc,fd->fc", dense, w)
    torch.testing.assert_close(descriptor.push(g, v), expected_push)
    torch.testing.assert_close(descriptor.pull(g, w).reshape(3, 15), expected_pull)


@pytest.mark.parametrize("atoms", [4, 101])
def test_pull_rows_agrees_with_pull_below_and_above_the_size_where_it_changes_its_way(atoms):
    descriptor = PairDescriptor(atoms)
    g = descriptor(torch.randn(2, atoms, 3, dtype=torch.float64) * 3).g
    w = torch.randn(2, 3, descriptor.n_pairs, dtype=torch.float64)
    expected = torch.stack([descriptor.pull(g, w[:, k]) for k in range(3)], 1)
    torch.testing.assert_close(descriptor.pull_rows(g, w).view(expected.shape), expected)


def test_rigid_motions_leave_the_descriptor_alone(descriptor, positions):
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    moved = positions @ rotation.T + torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(descriptor(moved).x, descriptor(positions).x)


def test_one_atom_and_a_negative_power_are_refused():
    with pytest.raises(InputError, match="at least 2 atoms, got 1"):
        PairDescriptor(1)
    with pytest.raises(InputError, match="`descriptor_power` must be positive, got -1"):
        PairDescriptor(3, -1)

"""Nearest images against a search through many, and which lattices are refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nyff.errors import InputError
from nyff.kernel.cell import MinimumImage, checked_cell, free_rotations, rounding_reach
from nyff.kernel.descriptor import PairDescriptor
from nyff.kernel.internal import internal_basis

CUBIC = np.diag([6.0, 7.0, 8.0])
HEXAGONAL = np.array([[4.0, 0, 0], [-2.0, 2 * 3**0.5, 0], [0, 0, 9.0]])
SHEARED = np.array([[5.0, 0, 0], [7.3, 4.0, 0], [-6.1, 9.2, 6.0]])
LATTICES = {
    "cubic": CUBIC,
    "hexagonal": HEXAGONAL,
    "sheared": SHEARED,
    "slab": SHEARED * [[1], [1], [0]],
    "chain": SHEARED * [[0], [0], [1]],
}


def shortest_by_search(delta: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Lengths of the shortest image [vectors], among all that lie within the longest vector of zero, and more."""
    reciprocal = np.linalg.norm(np.linalg.pinv(cell), axis=0)
    reach = np.ceil(2 * np.linalg.norm(delta, axis=1).max() * reciprocal).astype(int)
    steps = np.array(list(product(*(range(-n, n + 1) for n in reach))))
    images = delta[:, None] + (steps @ cell)[None]
    return np.linalg.norm(images, axis=-1).min(1)


@pytest.mark.parametrize("name", LATTICES)
def test_nearest_images_are_the_nearest(name):
    cell = LATTICES[name]
    delta = np.random.default_rng(0).normal(size=(60, 3)) * 4
    folded = MinimumImage(cell)(torch.tensor(delta)).numpy()
    assert np.linalg.norm(folded, axis=1) == pytest.approx(shortest_by_search(delta, cell), rel=1e-12)
    # What was added is a lattice vector, of the periodic directions only.
    periodic = cell[cell.any(1)]
    count = (folded - delta) @ np.linalg.pinv(periodic)
    assert np.abs(count - np.round(count)).max() < 1e-10
    assert np.abs(np.round(count) @ periodic - (folded - delta)).max() < 1e-10


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nearest_images_in_random_lattices(seed):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 9, 3)) + np.tril(rng.uniform(-6, 6, (3, 3)), -1)
    delta = rng.normal(size=(20, 3)) * 3
    folded = MinimumImage(checked_cell(cell))(torch.tensor(delta)).numpy()
    assert np.linalg.norm(folded, axis=1) == pytest.approx(shortest_by_search(delta, cell), rel=1e-10)


def test_rounding_is_not_enough_in_a_skewed_cell():
    delta = torch.tensor(np.random.default_rng(0).normal(size=(300, 3)) * 8)
    for cell, always in ((CUBIC, True), (SHEARED, False), (HEXAGONAL, False)):
        rounded = MinimumImage(cell, "rounded")(delta).norm(dim=1)
        nearest = MinimumImage(cell)(delta).norm(dim=1)
        assert bool((rounded >= nearest - 1e-12).all())
        assert bool(torch.allclose(rounded, nearest)) is always
        # Where the nearest image is shorter than the reach, rounding finds it.
        near = nearest < rounding_reach(cell)
        assert torch.allclose(rounded[near], nearest[near])
    assert rounding_reach(CUBIC) == np.inf
    assert 0 < rounding_reach(SHEARED) < rounding_reach(HEXAGONAL) < 4


def test_descriptor_does_not_see_wrapping():
    rng = np.random.default_rng(1)
    positions = rng.normal(size=(4, 6, 3)) * 2
    moved = positions + rng.integers(-3, 4, size=(4, 6, 3)) @ SHEARED
    descriptor = PairDescriptor(6, cell=SHEARED)
    here, there = descriptor(torch.tensor(positions)), descriptor(torch.tensor(moved))
    torch.testing.assert_close(here.x, there.x, rtol=1e-11, atol=0)
    torch.testing.assert_close(here.g, there.g, rtol=1e-9, atol=1e-12)


def test_jacobian_annihilates_translations_only():
    positions = torch.tensor(np.random.default_rng(2).normal(size=(1, 6, 3)) * 3)
    descriptor = PairDescriptor(6, cell=SHEARED)
    jacobian = descriptor.dense(descriptor(positions).g)[0]
    assert int((torch.linalg.svdvals(jacobian) > 1e-10).sum()) == 15
    basis = internal_basis(positions, SHEARED)
    assert basis.shape == (1, 18, 15)
    assert internal_basis(positions, LATTICES["slab"]).shape == (1, 18, 15)
    # A chain may turn about its axis: one rotation more. (Were it short, no pair would cross and all would be free.)
    positions = positions / 10 + torch.arange(6)[:, None] / 6 * torch.tensor(SHEARED[2])
    chain = PairDescriptor(6, cell=LATTICES["chain"])
    jacobian = chain.dense(chain(positions).g)[0]
    assert int((torch.linalg.svdvals(jacobian) > 1e-10).sum()) == 14
    basis = internal_basis(positions, LATTICES["chain"])[0]
    assert basis.shape == (18, 14)
    assert int((torch.linalg.svdvals(jacobian @ basis) > 1e-10).sum()) == 14


def test_free_rotations():
    assert free_rotations(None).shape == (3, 3)
    assert free_rotations(CUBIC).shape == (0, 3)
    assert free_rotations(LATTICES["chain"]) == pytest.approx(SHEARED[2:] / np.linalg.norm(SHEARED[2]))


def test_cells_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="the cell is singular"):
        checked_cell([[5, 0, 0], [0, 5, 0], [5, 5, 0]])
    with pytest.raises(InputError, match=r"the lattice repeats every 0.6 Å, nearer than two atoms can be"):
        checked_cell(CUBIC / 10)
    # Each vector is long, but their difference is a lattice vector too.
    with pytest.raises(InputError, match=r"repeats every 0.5 Å"):
        checked_cell([[8, 0, 0], [8, 0.5, 0], [0, 0, 8]])
    with pytest.raises(InputError, match="no lattice vectors"):
        checked_cell(np.zeros((3, 3)))
    with pytest.raises(InputError, match="no lattice vector in a periodic direction"):
        checked_cell(LATTICES["slab"], (True, True, True))
    with pytest.raises(InputError, match=r"three finite lattice vectors as rows \[3, 3\]"):
        checked_cell(np.full((3, 3), np.nan))
    with pytest.raises(InputError, match="unknown image 'best'; known are nearest, rounded"):
        MinimumImage(CUBIC, "best")


def test_open_directions_are_zeroed():
    cell = checked_cell(SHEARED, (True, False, True))
    assert not cell[1].any()
    assert np.array_equal(cell[[0, 2]], SHEARED[[0, 2]])

"""A molecule whose energies and forces are known in closed form: methanol with harmonic bonds."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from nyff.data.dataset import Dataset

STIFFNESS = 31.0  # eV/Å²
BONDS = ((0, 1), (0, 2), (1, 3), (0, 4), (0, 5))  # methanol in ASE's order: C O H H(O) H H


def harmonic_methanol(frames: int = 12, seed: int = 0) -> Dataset:
    """Random structures around ASE's methanol, E = Σ k/2 (r − r0)² over its five bonds."""
    atoms = molecule("CH3OH")
    rng = np.random.default_rng(seed)
    positions = atoms.positions + 0.04 * rng.standard_normal((frames, len(atoms), 3))
    forces = np.zeros_like(positions)
    energies = np.full(frames, -300.0)
    for i, j in BONDS:
        vectors = positions[:, i] - positions[:, j]
        lengths = np.linalg.norm(vectors, axis=-1)
        stretch = lengths - atoms.get_distance(i, j)
        energies += STIFFNESS / 2 * stretch**2
        pull = -STIFFNESS * (stretch / lengths)[:, None] * vectors
        forces[:, i] += pull
        forces[:, j] -= pull
    return Dataset(atoms.numbers, positions, forces, energies, name="methanol")


@pytest.fixture
def methanol() -> Dataset:
    return harmonic_methanol()


@pytest.fixture(scope="session")
def many_methanol() -> Dataset:
    return harmonic_methanol(frames=200, seed=1)

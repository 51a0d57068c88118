from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.units import kB

from nyff.errors import InputError
from nyff.md.momenta import at_rest, boltzmann_momenta, degrees_of_freedom, kinetic_temperature


@pytest.mark.parametrize("name", ["CH3CH2OH", "H2O", "CO2", "N2"])
def test_momenta_have_the_temperature_and_neither_translate_nor_rotate(name):
    atoms = molecule(name)
    n_dof = degrees_of_freedom(len(atoms), rotation=False)
    momenta = boltzmann_momenta(atoms.positions, atoms.get_masses(), 317.0, np.random.default_rng(3), n_dof)
    atoms.set_momenta(momenta)
    assert 2 * atoms.get_kinetic_energy() / (n_dof * kB) == pytest.approx(317.0, rel=1e-12)
    np.testing.assert_allclose(momenta.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(atoms.get_angular_momentum(), 0, atol=1e-12)


def test_only_the_rigid_motion_is_taken_away():
    """What is left is the momentum minus its projection on the six rigid motions, found here by least squares."""
    atoms = molecule("CH3CH2OH")
    masses = atoms.get_masses()
    momenta = np.random.default_rng(0).normal(size=(9, 3))
    rigid = [np.tile(axis, (9, 1)) for axis in np.eye(3)] + [np.cross(axis, atoms.positions) for axis in np.eye(3)]
    weight = np.sqrt(masses)[:, None]
    basis = np.stack([(weight * motion).ravel() for motion in rigid], axis=1)
    target = (momenta / weight).ravel()
    expected = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    found = at_rest(atoms.positions, masses, momenta)
    np.testing.assert_allclose((found / weight).ravel(), expected, atol=1e-12)


def test_the_same_seed_gives_the_same_momenta_and_another_seed_others():
    atoms = molecule("H2O")
    first, again, other = (
        boltzmann_momenta(atoms.positions, atoms.get_masses(), 300, np.random.default_rng(seed), 3)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_zero_temperature_means_rest():
    atoms = molecule("H2O")
    momenta = boltzmann_momenta(atoms.positions, atoms.get_masses(), 0.0, np.random.default_rng(0), 3)
    np.testing.assert_array_equal(momenta, 0)


@pytest.mark.parametrize(("n_atoms", "rotation", "n_dof"), [(9, False, 21), (9, True, 24), (2, False, 1), (2, True, 3)])
def test_degrees_of_freedom(n_atoms, rotation, n_dof):
    assert degrees_of_freedom(n_atoms, rotation=rotation) == n_dof


def test_one_atom_is_too_few():
    with pytest.raises(InputError, match="a simulation needs at least 2 atoms, got 1"):
        degrees_of_freedom(1, rotation=True)


def test_temperature_of_known_momenta():
    """One degree of freedom with p²/m = kB T."""
    momenta = np.array([[np.sqrt(2.0 * kB * 250.0), 0.0, 0.0]])
    assert kinetic_temperature(momenta, np.array([2.0]), 1) == pytest.approx(250.0, rel=1e-12)

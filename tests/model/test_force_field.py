from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import nyff.model.force_field as module
from nyff.errors import InputError


@pytest.fixture(scope="module")
def model(small_fit):
    return small_fit.model


@pytest.fixture(scope="module")
def positions(ethanol):
    return ethanol.positions[500:512]


def reference(model, positions):
    """Energy and forces by a plain loop over structures and permutations, from the formula in the docstring."""
    i, j = np.tril_indices(model.n_atoms, -1)
    index = np.zeros((model.n_atoms, model.n_atoms), dtype=int)
    index[i, j] = index[j, i] = np.arange(len(i))
    a = 5**0.5 / model.lengthscale
    x_train, beta = model.descriptors.numpy(), model.coefficients.numpy()
    energies, forces = [], []
    for r in positions:
        delta = r[i] - r[j]
        distance = np.linalg.norm(delta, axis=1)
        x = distance**-model.descriptor_power
        field, energy = np.zeros_like(x), 0.0
        for permutation in model.permutations:
            pi = index[permutation[i], permutation[j]]
            for xj, bj in zip(x_train[:, pi], beta[:, pi], strict=True):
                d = np.linalg.norm(x - xj)
                c1 = a**2 / 3 * (1 + a * d) * np.exp(-a * d)
                c2 = a**4 / 3 * np.exp(-a * d)
                q = (x - xj) @ bj
                energy += c1 * q
                field += c2 * q * (x - xj) - c1 * bj
        g = -model.descriptor_power * (x / distance**2 * field)[:, None] * delta
        force = np.zeros_like(r)
        np.add.at(force, i, g)
        np.add.at(force, j, -g)
        energies.append(model.energy_offset + model.scale * energy)
        forces.append(model.scale * force)
    return np.array(energies), np.array(forces)


def test_predictions_equal_the_plain_formula(model, positions):
    energies, forces = model.predict(positions[:3])
    expected_energies, expected_forces = reference(model, positions[:3])
    np.testing.assert_allclose(energies, expected_energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=1e-8)


def test_forces_are_minus_the_gradient_of_the_energy(model, positions):
    h, r = 1e-4, positions[0]
    steps = np.eye(27).reshape(27, 9, 3) * h
    plus, minus = model.predict(r + steps)[0], model.predict(r - steps)[0]
    np.testing.assert_allclose(model.predict(r[None])[1][0].reshape(27), (minus - plus) / (2 * h), atol=2e-6)


def test_symmetries_of_physics_hold(model, positions):
    energies, forces = model.predict(positions)
    np.testing.assert_allclose(forces.sum(1), 0, atol=1e-9)
    np.testing.assert_allclose(np.cross(positions, forces).sum(1), 0, atol=1e-8)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned_energies, turned_forces = model.predict(positions @ rotation.T + 5.0)
    np.testing.assert_allclose(turned_energies, energies, atol=1e-8)
    np.testing.assert_allclose(turned_forces, forces @ rotation.T, atol=1e-7)
    for permutation in model.permutations:
        swapped_energies, swapped_forces = model.predict(positions[:, permutation])
        np.testing.assert_allclose(swapped_energies, energies, atol=1e-8)
        np.testing.assert_allclose(swapped_forces, forces[:, permutation], atol=1e-7)


def test_batches_tiles_and_threads_change_nothing(model, positions, monkeypatch):
    energies, forces = model.predict(positions)
    one_by_one = [model.predict(p[None]) for p in positions]
    np.testing.assert_allclose([e[0] for e, _ in one_by_one], energies, atol=1e-9)
    np.testing.assert_allclose([f[0] for _, f in one_by_one], forces, atol=1e-9)
    with ThreadPoolExecutor(4) as pool:
        for e, f in pool.map(lambda _: model.predict(positions), range(8)):
            np.testing.assert_array_equal(e, energies)
            np.testing.assert_array_equal(f, forces)
    monkeypatch.setattr(module, "_TILE_NUMBERS", 1)
    monkeypatch.setattr(module, "_CHUNK_NUMBERS", 1000)
    np.testing.assert_allclose(model.predict(positions)[1], forces, atol=1e-9)


def test_numpy_in_numpy_out_torch_in_torch_out_on_every_device(model, positions, device):
    there = model.to(device)
    energies, forces = there.predict(torch.tensor(positions, device=device))
    assert energies.device == forces.device == torch.device(device)
    assert energies.dtype == forces.dtype == torch.float64
    expected = there.predict(positions)
    assert isinstance(expected[0], np.ndarray)
    np.testing.assert_array_equal(forces.cpu().numpy(), expected[1])
    single = there.predict(positions.astype(np.float32))
    assert single[1].dtype == np.float64


def test_no_structures_give_no_predictions(model):
    energies, forces = model.predict(np.zeros((0, 9, 3)))
    assert energies.shape == (0,)
    assert forces.shape == (0, 9, 3)


def test_other_shapes_are_refused(model, positions):
    with pytest.raises(InputError, match=r"must have shape \[frames, atoms, 3\], got \[9, 3\]; add a leading axis"):
        model.predict(positions[0])
    with pytest.raises(InputError, match="the model is for 9 atoms, got positions of 8"):
        model.predict(positions[:, :8])

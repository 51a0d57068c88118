"""Positions in every form people have them, and those that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nyff.errors import InputError


def test_any_memory_order_gives_the_same_answer(small_fit, ethanol):
    positions = ethanol.positions[:4]
    energies, forces = small_fit.model.predict(positions)
    for view, order in [
        (np.asfortranarray(positions), slice(None)),
        (positions[::-1], slice(None, None, -1)),
        (np.repeat(positions, 2, axis=2)[:, :, ::2], slice(None)),
        (positions.tolist(), slice(None)),
    ]:
        got_energies, got_forces = small_fit.model.predict(view)
        np.testing.assert_allclose(got_energies[order], energies, rtol=0, atol=1e-9)
        np.testing.assert_allclose(got_forces[order], forces, rtol=0, atol=1e-9)


def test_tensors_that_want_gradients_are_predicted(small_fit, ethanol):
    asked = torch.tensor(ethanol.positions[:2], requires_grad=True)
    energies, forces = small_fit.model.predict(asked)
    assert not energies.requires_grad
    np.testing.assert_allclose(forces.numpy(), small_fit.model.predict(ethanol.positions[:2])[1], rtol=0, atol=1e-9)


def test_no_structures_are_predicted_to_no_numbers(small_fit):
    energies, forces = small_fit.model.predict(np.zeros((0, 9, 3)))
    assert energies.shape == (0,)
    assert forces.shape == (0, 9, 3)


@pytest.mark.parametrize(
    "positions", ["abc", None, [[1], [1, 2]], np.zeros((1, 9, 3), complex), torch.zeros(1, 9, 3) * 1j]
)
def test_what_is_no_positions_is_refused(small_fit, positions):
    with pytest.raises(InputError, match="positions must be an array of real numbers"):
        small_fit.model.predict(positions)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", None])
def test_a_model_moves_only_to_devices_that_are_there(small_fit, device):
    with pytest.raises(InputError, match=r"device .*this machine has cpu"):
        small_fit.model.to(device)

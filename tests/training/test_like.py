"""Training as an sGDML model was trained gives the model that sGDML gave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nyff
from nyff.errors import InputError
from nyff.training.like import like
from nyff.units import BOHR

DATA = Path(__file__).resolve().parents[1] / "model" / "data"


def test_repeats_the_peers_training(ethanol):
    wanted = like(DATA / "sgdml_plain.npz", ethanol)
    assert wanted.arguments["lengthscale"] == 10
    assert wanted.arguments["regularization"] == 1e-10
    assert wanted.hints == []
    assert len(wanted.splitting.train) == 12
    assert len(wanted.splitting.valid) == 5
    assert len(wanted.splitting.test) == len(ethanol) - 17
    result = nyff.fit(ethanol, splitting=wanted.splitting, solver="cholesky", **wanted.arguments)
    positions = ethanol.positions[wanted.splitting.test[:40]]
    energies, forces = result.model.predict(positions)
    peer_energies, peer_forces = wanted.model.predict(positions)
    assert np.abs(forces - peer_forces).max() < 1e-7 * np.abs(peer_forces).max()
    assert np.abs(energies - peer_energies).max() < 1e-7 * np.ptp(peer_energies)


def test_repeats_the_peers_training_in_a_cell(ethanol):
    cell = np.diag([5.5, 7.0, 8.0])
    fractional = ethanol.positions @ np.linalg.inv(cell)
    wrapped = replace(ethanol, positions=(fractional - np.floor(fractional)) @ cell, cell=cell, pbc=(True, True, True))
    wanted = like(DATA / "sgdml_cell.npz", wrapped)
    result = nyff.fit(wrapped, splitting=wanted.splitting, solver="cholesky", **wanted.arguments)
    positions = wrapped.positions[wanted.splitting.test[:40]]
    forces, peer_forces = result.model.predict(positions)[1], wanted.model.predict(positions)[1]
    assert np.abs(forces - peer_forces).max() < 1e-7 * np.abs(peer_forces).max()


def test_regularization_is_converted(ethanol):
    """λ is added to K, whose numbers change with the square of the unit of length."""
    cell = np.array([[6.0, 0.0, 0.0], [4.5, 4.5, 0.0], [2.0, -3.0, 6.5]])
    fractional = ethanol.positions @ np.linalg.inv(cell)
    wrapped = replace(ethanol, positions=(fractional - np.floor(fractional)) @ cell, cell=cell, pbc=(True, True, True))
    wanted = like(DATA / "sgdml_skewed.npz", wrapped)
    assert wanted.arguments["lengthscale"] == pytest.approx(10 / BOHR)
    assert wanted.arguments["regularization"] == pytest.approx(1e-10 / BOHR**2)
    assert wanted.hints == ["the model rounds to images in its skewed cell; nyff trains with the true nearest ones"]


def test_training_indices_follow_the_frames_of_the_data(ethanol):
    """Structures dropped or reordered in between: the model's indices count those of the file."""
    with np.load(DATA / "sgdml_plain.npz") as stored:
        frames = stored["idxs_train"]
    kept = np.setdiff1d(np.arange(len(ethanol)), [0, 1, 2])[::-1]
    if np.isin([0, 1, 2], frames).any():
        kept = np.arange(len(ethanol))[::-1]
    part = ethanol[kept]
    wanted = like(DATA / "sgdml_plain.npz", part)
    assert sorted(part.frames[wanted.splitting.train]) == sorted(frames)


def test_other_data_are_refused(ethanol):
    path = DATA / "sgdml_plain.npz"
    with pytest.raises(InputError, match=r"training structure \d+ of the model is not in the data, which has 10"):
        like(path, ethanol[:10])
    shuffled = replace(ethanol, positions=ethanol.positions[::-1], forces=ethanol.forces[::-1])
    with pytest.raises(InputError, match=r"not the data the model was trained on: 12 of its 12 .* md5 [0-9a-f]{32}"):
        like(path, shuffled)
    with pytest.raises(InputError, match=r"trained in the cell \[\[5.5, .* the data have none"):
        like(DATA / "sgdml_cell.npz", ethanol)
    other = replace(ethanol, numbers=ethanol.numbers[::-1].copy())
    with pytest.raises(InputError, match="another order than the model's"):
        like(path, other)


def test_what_cannot_be_repeated_is_said(ethanol):
    wanted = like(DATA / "sgdml_constraint.npz", ethanol)
    assert wanted.hints == [
        "the model was trained on energies too (alphas_E); nyff fits forces and one integration constant"
    ]


def test_models_that_do_not_tell_are_refused(small_fit, ethanol):
    with pytest.raises(InputError, match="does not tell how it was trained"):
        like(small_fit.model, ethanol)

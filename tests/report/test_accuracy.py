"""Errors by element, atom and structure against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import sem

from nyff.report.accuracy import errors_by_atom, errors_by_element, standard_error, worst_structures
from nyff.report.folder import Predictions
from nyff.training.evaluate import Evaluation


@pytest.fixture
def case() -> Predictions:
    rng = np.random.default_rng(0)
    frames, numbers = 7, np.array([8, 1, 1])
    forces, energies = rng.normal(size=(frames, 3, 3)), rng.normal(size=frames)
    evaluation = Evaluation(energies + 0.1, forces + 0.1 * rng.normal(size=forces.shape), energies, forces)
    return Predictions(numbers, np.arange(40, 47), rng.normal(size=(frames, 3, 3)), evaluation)


def test_by_atom_and_by_element(case):
    e = case.evaluation
    by_atom = errors_by_atom(case)
    assert [entry.name for entry in by_atom] == ["O0", "H1", "H2"]
    for atom, entry in enumerate(by_atom):
        components = [e.forces[k, atom, c] - e.reference_forces[k, atom, c] for k in range(7) for c in range(3)]
        assert entry.mae == pytest.approx(sum(abs(x) for x in components) / 21)
        assert entry.rmse == pytest.approx((sum(x * x for x in components) / 21) ** 0.5)
        vectors = [sum(x * x for x in components[3 * k : 3 * k + 3]) ** 0.5 for k in range(7)]
        assert entry.largest == pytest.approx(max(vectors))
    hydrogen, oxygen = errors_by_element(case)
    assert (hydrogen.name, hydrogen.atoms, oxygen.name, oxygen.atoms) == ("H", 2, "O", 1)
    assert hydrogen.mae == pytest.approx((by_atom[1].mae + by_atom[2].mae) / 2)
    assert oxygen.relative == pytest.approx(by_atom[0].mae / np.sqrt((e.reference_forces[:, 0] ** 2).mean()))


def test_standard_error(case):
    by_structure = np.abs(case.evaluation.forces - case.evaluation.reference_forces).mean((1, 2))
    assert standard_error(case) == pytest.approx(sem(by_structure))


def test_worst_structures_come_in_order_with_their_frame_and_atom(case):
    forces = case.evaluation.reference_forces.copy()
    forces[4, 2] += [3.0, 4.0, 0.0]
    forces[1, 0] += [0.0, 0.0, 2.0]
    planted = replace(case, evaluation=replace(case.evaluation, forces=forces))
    first, second, third = worst_structures(planted, None, most=3)
    assert (first.frame, first.atom, first.error) == (44, 2, pytest.approx(5.0))
    assert (second.frame, second.atom, second.error) == (41, 0, pytest.approx(2.0))
    assert third.error == pytest.approx(0, abs=1e-12)
    assert first.energy_error == pytest.approx(0.1)
    references = case.evaluation.reference_energies
    assert first.energy == pytest.approx(references[4] - references.mean())


def test_distances_outside_of_the_training_data_are_named(ethanol, small_fit):
    positions = ethanol.positions[:3].copy()
    train = ethanol.positions[small_fit.split.train]
    lengths = np.linalg.norm(train[:, 2] - train[:, 3], axis=1)
    axis = positions[1, 3] - positions[1, 2]
    positions[1, 3] = positions[1, 2] + axis / np.linalg.norm(axis) * lengths.max() * 1.6
    evaluation = Evaluation(np.zeros(3), ethanol.forces[:3] + np.arange(3)[:, None, None], None, ethanol.forces[:3])
    found = worst_structures(Predictions(ethanol.numbers, np.arange(3), positions, evaluation), small_fit.model)
    by_frame = {entry.frame: entry for entry in found}
    assert by_frame[1].unusual == (
        f"O2–H3 is {1.6 * lengths.max():.2f} Å, longer than in any training structure ({lengths.max():.2f} Å)"
    )
    assert by_frame[1].energy is None


def test_distances_in_a_cell_are_those_of_nearest_images(ethanol, small_fit):
    cell = 12.0 * np.eye(3)
    positions = ethanol.positions[small_fit.split.train[:4]] % 12.0
    assert np.ptp(positions, axis=(0, 1)).max() > 11
    zeros = np.zeros_like(positions)
    case = Predictions(ethanol.numbers, np.arange(4), positions, Evaluation(np.zeros(4), zeros, None, zeros))
    assert all(entry.unusual is None for entry in worst_structures(case, replace(small_fit.model, cell=cell)))
    assert all(entry.unusual is not None for entry in worst_structures(case, small_fit.model))


def test_training_structures_and_their_permuted_copies_are_inside(ethanol, small_fit, ethanol_permutations):
    positions = ethanol.positions[small_fit.split.train[:1]]
    permuted = np.concatenate([positions[:, p] for p in ethanol_permutations])
    zeros = np.zeros_like(permuted)
    evaluation = Evaluation(np.zeros(len(permuted)), zeros, None, zeros)
    found = worst_structures(
        Predictions(ethanol.numbers, np.arange(len(permuted)), permuted, evaluation), small_fit.model, most=6
    )
    assert len(found) == 6
    assert all(entry.unusual is None for entry in found)

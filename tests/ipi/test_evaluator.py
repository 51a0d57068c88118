"""Units, refusals, uncertainty and committees, with models simple enough to know the answers."""

from __future__ import annotations

import json
import logging

import ase.units
import numpy as np
import pytest

from nyff.errors import InputError
from nyff.ipi.committee import Committee
from nyff.ipi.evaluator import ModelEvaluator, Refused
from nyff.ipi.parameters import Parameters

CELLS = np.zeros((4, 3, 3))


class Spring:
    """½ k Σ r² for water, in eV and Å; counts the structures it is asked for."""

    def __init__(self, k=1.0, metadata=None):
        self.numbers = np.array([8, 1, 1])
        self.metadata = metadata or {}
        self.k = k
        self.asked = 0

    def predict(self, positions):
        self.asked += len(positions)
        return 0.5 * self.k * (positions**2).sum((1, 2)), -self.k * positions


class Calibrated(Spring):
    """Says that its forces are uncertain by a tenth of the coordinates."""

    def uncertainty(self, positions):
        return 0.1 * np.abs(positions)


@pytest.fixture
def positions():
    return np.random.default_rng(3).normal(size=(4, 3, 3))


def test_units_agree_with_ase(positions):
    answer = ModelEvaluator(Spring(2.0))(positions, CELLS)
    angstrom = positions * ase.units.Bohr
    np.testing.assert_allclose(answer.energies * ase.units.Hartree, (angstrom**2).sum((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(answer.forces * ase.units.Hartree / ase.units.Bohr, -2 * angstrom, rtol=1e-12)
    np.testing.assert_array_equal(answer.virials, np.zeros((4, 3, 3)))
    assert answer.extras == [""] * 4


def test_the_energy_zero_is_subtracted(positions):
    plain = ModelEvaluator(Spring())(positions, CELLS)
    shifted = ModelEvaluator(Spring(), Parameters(energy_zero=27.211386024367243))(positions, CELLS)
    np.testing.assert_allclose(plain.energies - shifted.energies, 1.0, rtol=1e-9)


def test_padding_is_evaluated_once(positions):
    model = Spring()
    padded = positions[[0, 1, 1, 1]]
    answer = ModelEvaluator(model)(padded, CELLS)
    assert model.asked == 2
    np.testing.assert_array_equal(answer.forces, ModelEvaluator(Spring())(positions, CELLS).forces[[0, 1, 1, 1]])
    assert len(answer.extras) == 4
    model.asked = 0
    ModelEvaluator(model)(positions[[2, 2, 2, 2]], CELLS)
    assert model.asked == 1
    model.asked = 0
    ModelEvaluator(model)(positions[[1, 1, 0, 2]], CELLS)
    assert model.asked == 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["energy", "force"])
def test_numbers_that_are_not_finite_are_refused(positions, value, where):
    class Broken(Spring):
        def predict(self, positions):
            energies, forces = super().predict(positions)
            if where == "energy":
                energies[2] = value
            else:
                forces[2, 1, 0] = value
            return energies, forces

    with pytest.raises(Refused, match=r"not finite for structure 3 of 4; .* shorter time step") as caught:
        ModelEvaluator(Broken())(positions, CELLS)
    assert caught.value.reason == "NOTFINITE"
    assert caught.value.ends_run


def test_positions_that_are_not_finite_are_refused(positions):
    positions[1, 0, 0] = np.nan
    with pytest.raises(Refused, match="positions that are not finite"):
        ModelEvaluator(Spring())(positions, CELLS)


def test_another_number_of_atoms_is_refused_but_does_not_end_the_run():
    with pytest.raises(Refused, match=r"sends 2 atoms, the model has 3 \(O H2\)") as caught:
        ModelEvaluator(Spring())(np.zeros((1, 2, 3)), CELLS[:1])
    assert not caught.value.ends_run


def test_a_first_structure_far_from_training_is_refused_and_later_ones_are_not():
    """Without a template, distances are all that can tell a wrong order of the atoms."""
    water = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]) / 0.5291772105638411
    domain = {"min_distance": [0.9, 0.9, 1.4], "max_distance": [1.1, 1.1, 1.7]}
    model = Spring(metadata={"domain": domain})
    with pytest.raises(Refused, match=r"atoms 1 \(O\) and 2 \(H\) are 2\.880 Å apart, in training 0\.900 to 1\.100"):
        ModelEvaluator(model)(3 * water[None], CELLS[:1])
    evaluator = ModelEvaluator(model)
    evaluator(water[None], CELLS[:1])
    evaluator(3 * water[None], CELLS[:1])


def test_a_model_with_a_cell_sends_no_invented_virial(positions):
    model = Spring()
    model.cell = np.eye(3)
    assert np.isnan(ModelEvaluator(model)(positions, CELLS).virials).all()


def test_a_committee_sends_its_members_nested_as_ffcommittee_wants(positions):
    springs = [Spring(1.0), Spring(2.0), Spring(6.0)]
    parameters = Parameters(committee=True, uncertainty=True)
    answer = ModelEvaluator(Committee(springs), parameters)(positions, CELLS)
    alone = [ModelEvaluator(spring)(positions, CELLS) for spring in springs]
    for row in range(4):
        extras = json.loads(answer.extras[row])
        assert sorted(extras) == ["committee_force", "committee_pot", "committee_virial", "force_uncertainty"]
        np.testing.assert_allclose(extras["committee_pot"], [a.energies[row] for a in alone], rtol=1e-12)
        np.testing.assert_allclose(extras["committee_force"], [a.forces[row].ravel() for a in alone], rtol=1e-12)
        np.testing.assert_array_equal(extras["committee_virial"], np.zeros((3, 9)))
        spread = np.std([a.forces[row].ravel() for a in alone], axis=0, ddof=1)
        np.testing.assert_allclose(extras["force_uncertainty"], spread, rtol=1e-12)
    np.testing.assert_allclose(answer.energies, np.mean([a.energies for a in alone], axis=0), rtol=1e-12)
    np.testing.assert_allclose(answer.forces, np.mean([a.forces for a in alone], axis=0), rtol=1e-12)


def test_only_what_was_asked_for_is_sent(positions):
    answer = ModelEvaluator(Committee([Spring(1.0), Spring(2.0)]), Parameters(energy_ensemble=True))(positions, CELLS)
    assert list(json.loads(answer.extras[0])) == ["committee_pot"]


def test_a_calibrated_model_is_believed_before_its_members(positions):
    answer = ModelEvaluator(Calibrated(), Parameters(uncertainty=True))(positions, CELLS)
    angstrom = positions * ase.units.Bohr
    wanted = 0.1 * np.abs(angstrom[1]).ravel() / (ase.units.Hartree / ase.units.Bohr)
    np.testing.assert_allclose(json.loads(answer.extras[1])["force_uncertainty"], wanted, rtol=1e-9)


def test_beyond_the_threshold_it_stops(positions):
    evaluator = ModelEvaluator(Calibrated(), Parameters(uncertainty_threshold=0.1, uncertainty_action="stop"))
    evaluator(0.1 * positions, CELLS)
    with pytest.raises(Refused, match=r"uncertain by 1\.\d+ eV/Å, more than the threshold of 0\.1 eV/Å") as caught:
        evaluator(10 * positions, CELLS)
    assert caught.value.reason == "UNCERTAIN"


def test_beyond_the_threshold_it_warns_of_new_records_only(positions, caplog):
    evaluator = ModelEvaluator(Calibrated(), Parameters(uncertainty_threshold=0.1))
    with caplog.at_level(logging.WARNING, "nyff.ipi"):
        for factor in (0.1, 10, 9, 11):
            evaluator(factor * positions, CELLS)
    assert len(caplog.records) == 2
    assert "more than the threshold of 0.1 eV/Å" in caplog.text


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (Parameters(committee=True), "this model is no committee"),
        (Parameters(energy_ensemble=True), "this model is no committee"),
        (Parameters(uncertainty=True), "offers no uncertainty"),
        (Parameters(uncertainty_threshold=0.1), "offers no uncertainty"),
    ],
)
def test_what_the_model_does_not_offer_is_refused_at_once(parameters, text):
    with pytest.raises(InputError, match=text):
        ModelEvaluator(Spring(), parameters)


def test_a_committee_holds_one_molecule():
    other = Spring()
    other.numbers = np.array([1, 8, 1])
    with pytest.raises(InputError, match="member 2 is a model of H O H, the first one of O H2"):
        Committee([Spring(), other])
    with pytest.raises(InputError, match="at least two models, got 1"):
        Committee([Spring()])


def test_parameters_come_as_text_or_values():
    given = {"model": "a;b", "committee": "True", "uncertainty_threshold": "0.5", "num_threads": 2, "device": "cuda:0"}
    parameters = Parameters().updated(given)
    assert parameters == Parameters("a;b", device="cuda:0", committee=True, uncertainty_threshold=0.5, num_threads=2)
    assert parameters.updated({"committee": "no"}).committee is False


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"modle": "a"}, "unknown parameters modle; known are model, template"),
        ({"committee": "perhaps"}, "committee must be true or false, got 'perhaps'"),
        ({"num_threads": "many"}, "num_threads must be of type int, got 'many'"),
        ({"uncertainty_action": "shout"}, "uncertainty_action must be warn or stop, got 'shout'"),
    ],
)
def test_wrong_parameters_are_named(values, text):
    with pytest.raises(InputError, match=text):
        Parameters().updated(values)

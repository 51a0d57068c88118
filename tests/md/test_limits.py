from __future__ import annotations

import copy
import re

import numpy as np
import pytest

from nyff.errors import InputError
from nyff.md.limits import Limits, Watch


def test_the_start_is_inside(force_field, ethanol):
    watch = Watch(force_field)
    assert watch.distances(ethanol.positions) is None
    assert watch.forces(-1.0, np.full((9, 3), 7.9)) is None


def test_a_turned_methyl_group_is_inside(force_field, ethanol):
    """Training ranges are those of labelled atoms; hydrogens that trade places must not count as broken."""
    turned = ethanol.positions[[0, 1, 2, 3, 5, 6, 4, 7, 8]]
    narrow = copy.deepcopy(force_field)
    distances = np.linalg.norm(ethanol.positions[:, None] - ethanol.positions, axis=2)[np.tril_indices(9, -1)]
    narrow.metadata["domain"] |= {"min_distance": distances.tolist(), "max_distance": distances.tolist()}
    assert Watch(narrow, Limits(shortest=0.999, longest=1.001)).distances(turned) is None


def test_colliding_atoms_are_named_with_distance_and_limit(force_field, ethanol, analytic):
    # Turn one methyl hydrogen towards another about the C-C bond, so that its own bond keeps its length.
    turned = ethanol.copy()
    turned.rotate(75, turned.positions[1] - turned.positions[0], center=turned.positions[0])
    positions = ethanol.positions.copy()
    positions[5] = turned.positions[5]
    gap, partner = min((np.linalg.norm(positions[5] - positions[other]), other) for other in (4, 6))
    assert gap < 1.0
    text = Watch(force_field).distances(positions)
    # The closest two hydrogens of the training data, over all pairs of hydrogens.
    both = (analytic.NUMBERS[analytic.LOWER[0]] == 1) & (analytic.NUMBERS[analytic.LOWER[1]] == 1)
    seen = np.array(force_field.metadata["domain"]["min_distance"])[both].min()
    assert text == (
        f"atoms H{min(partner, 5)} and H{max(partner, 5)} are {gap:.2f} Å apart; such pairs had {seen:.2f} Å "
        f"or more in training and the limit is {0.75 * seen:.2f} Å"
    )


def test_a_broken_bond_is_named(force_field, ethanol, analytic):
    positions = ethanol.positions.copy()
    arrow = positions[3] - positions[2]
    positions[3] = positions[2] + 2.2 * arrow
    length = np.linalg.norm(arrow)
    text = Watch(force_field).distances(positions)
    assert text == (
        f"atoms O2 and H3 are {2.2 * length:.2f} Å apart; such pairs had {1.15 * length:.2f} Å or less in training and "
        f"the limit is {1.5 * 1.15 * length:.2f} Å"
    )


def test_margins_are_the_users(force_field, ethanol):
    positions = ethanol.positions.copy()
    positions[3] = positions[2] + 2.2 * (positions[3] - positions[2])
    assert Watch(force_field, Limits(longest=3.0)).distances(positions) is None
    assert Watch(force_field, Limits(longest=1.0, shortest=1.0)).distances(ethanol.positions) is None


def test_random_structures_against_a_plain_loop(force_field, ethanol, analytic):
    """The same answer, yes or no, as a double loop over pairs written from the definition."""
    domain = force_field.metadata["domain"]
    low, high = np.array(domain["min_distance"]), np.array(domain["max_distance"])
    numbers = analytic.NUMBERS
    bonded = {frozenset(bond) for bond in analytic.BONDS}
    pairs = list(zip(*analytic.LOWER, strict=True))

    def kind(pair):
        return tuple(sorted(numbers[list(pair)])), frozenset(pair) in bonded

    equals = [[k for k, other in enumerate(pairs) if kind(other) == kind(pair)] for pair in pairs]

    def outside(positions):
        for pair, equal in zip(pairs, equals, strict=True):
            distance = np.linalg.norm(positions[pair[0]] - positions[pair[1]])
            if distance < 0.75 * low[equal].min():
                return True
            if distance > 1.5 * (high[equal].max() if kind(pair)[1] else high.max()):
                return True
        return False

    rng = np.random.default_rng(5)
    watch = Watch(force_field)
    answers = []
    for _ in range(80):
        positions = ethanol.positions + rng.normal(scale=rng.choice([0.1, 0.2, 0.3]), size=(9, 3))
        answers.append(outside(positions))
        assert (watch.distances(positions) is not None) == answers[-1]
    assert 10 < sum(answers) < 70


def test_large_forces_and_numbers_that_are_not_finite(force_field, ethanol):
    watch = Watch(force_field)
    forces = np.zeros((9, 3))
    forces[4, 1] = -24.5
    assert watch.forces(0.0, forces) == (
        "the largest force component is 24.5 eV/Å; it was 8.0 eV/Å or less in training and the limit is 24.0 eV/Å"
    )
    forces[4, 1] = np.nan
    assert watch.forces(0.0, forces) == "the energy or the forces are not finite"
    assert watch.forces(np.inf, np.zeros((9, 3))) == "the energy or the forces are not finite"
    positions = ethanol.positions.copy()
    positions[0, 0] = np.nan
    assert watch.distances(positions) == "a position is not finite"


def test_without_training_ranges_collisions_are_still_found(analytic, ethanol):
    watch = Watch(analytic.AnalyticForceField(domain=None))
    assert watch.distances(ethanol.positions) is None
    assert watch.distances(10 * ethanol.positions) is None
    text = watch.distances(0.3 * ethanol.positions)
    assert re.search(r"atoms \w+ and \w+ are 0\.\d\d Å apart; their covalent radii add up to", text)
    assert watch.forces(0.0, np.full((9, 3), 1e9)) is None
    assert watch.forces(0.0, np.full((9, 3), np.inf)) is not None
    assert watch.distances(np.zeros((9, 3))) is not None


@pytest.mark.parametrize("wrong", [{"shortest": 0.0}, {"shortest": 1.2}, {"longest": 0.9}, {"force": 0.5}])
def test_limits_inside_the_training_data_are_refused(wrong):
    with pytest.raises(InputError, match=r"limits must have 0 < shortest <= 1, .* the defaults are shortest=0.75"):
        Limits(**wrong)

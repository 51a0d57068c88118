from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from nyff.data.dataset import Dataset
from nyff.data.split import Split, split
from nyff.errors import InputError


def labelled(energies: np.ndarray | None, frames: int) -> Dataset:
    shape = (frames, 2, 3)
    return Dataset([1, 1], np.zeros(shape), np.zeros(shape), energies)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    frames = draw(st.integers(1, 60))
    if draw(st.booleans()):
        return labelled(None, frames)
    few_values = st.sampled_from([-1.0, 0.0, 2.0, 1e6])
    return labelled(np.array(draw(st.lists(few_values, min_size=frames, max_size=frames))), frames)


@given(datasets(), st.data(), st.sampled_from(["stratified", "first"]), st.integers(0, 2**32))
def test_parts_are_disjoint_of_the_size_asked_for_and_reproducible(
    dataset: Dataset, data: st.DataObject, method: str, seed: int
) -> None:
    n_train = data.draw(st.integers(1, len(dataset)))
    n_valid = data.draw(st.integers(0, len(dataset) - n_train))
    n_test = data.draw(st.integers(0, len(dataset) - n_train - n_valid))
    parts = split(dataset, n_train, n_valid, n_test, seed=seed, method=method)
    assert [len(parts.train), len(parts.valid), len(parts.test)] == [n_train, n_valid, n_test]
    everything = np.concatenate([parts.train, parts.valid, parts.test])
    assert len(set(everything.tolist())) == len(everything)
    assert set(everything.tolist()) <= set(range(len(dataset)))
    again = split(dataset, n_train, n_valid, n_test, seed=seed, method=method)
    assert again.to_dict() == parts.to_dict()
    assert Split.from_dict(json.loads(json.dumps(parts.to_dict()))).to_dict() == parts.to_dict()


@given(datasets(), st.data())
def test_default_sizes_fit_every_data_set(dataset: Dataset, data: st.DataObject) -> None:
    n_train = data.draw(st.integers(1, len(dataset)))
    parts = split(dataset, n_train)
    left = len(dataset) - n_train
    assert len(parts.train) == n_train
    assert len(parts.valid) + len(parts.test) == min(left, 1200)
    assert len(parts.valid) == min(200, left // 2)


@pytest.mark.parametrize(
    ("n_train", "valid", "test"), [(1000, 200, 800), (500, 200, 1000), (1999, 0, 1), (2000, 0, 0), (1990, 5, 5)]
)
def test_default_sizes(n_train: int, valid: int, test: int) -> None:
    parts = split(labelled(None, 2000), n_train)
    assert (len(parts.valid), len(parts.test)) == (valid, test)


def test_strata_preserve_the_distribution_better_than_chance() -> None:
    energies = np.random.default_rng(0).gamma(2.0, size=2000)
    dataset = labelled(energies, 2000)
    for part in ("train", "valid", "test"):
        distances = []
        for drawn in (dataset, replace(dataset, energies=None)):  # without energies the draw is uniform
            chosen = [getattr(split(drawn, 100, 100, 100, seed=s), part) for s in range(20)]
            distances.append(np.mean([kstest(energies[one], energies).statistic for one in chosen]))
        assert distances[0] < 0.015 < 0.05 < distances[1]


def test_each_energy_group_gives_one_structure() -> None:
    energies = np.random.default_rng(1).permutation(1000).astype(float)
    chosen = split(labelled(energies, 1000), 10, 0, 0).train
    assert sorted((energies[chosen] // 100).astype(int)) == list(range(10))


def test_every_structure_has_the_same_chance() -> None:
    dataset = labelled(np.random.default_rng(0).standard_normal(24), 24)
    drawn = np.concatenate([split(dataset, 6, 0, 0, seed=seed).train for seed in range(2000)])
    counts = np.bincount(drawn, minlength=24)
    assert abs(counts / 2000 - 1 / 4).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_seeds_differ_and_the_test_part_does_not_depend_on_the_size_of_training() -> None:
    dataset = labelled(np.random.default_rng(0).standard_normal(400), 400)
    assert split(dataset, 50, seed=0).to_dict() != split(dataset, 50, seed=1).to_dict()
    few, many = split(dataset, 20, 50, 100, seed=3), split(dataset, 200, 50, 100, seed=3)
    np.testing.assert_array_equal(few.test, many.test)
    np.testing.assert_array_equal(few.valid, many.valid)


def test_first_takes_the_order_of_the_data() -> None:
    parts = split(labelled(None, 10), 3, 2, 4, method="first")
    assert parts.train.tolist() == [0, 1, 2]
    assert parts.valid.tolist() == [3, 4]
    assert parts.test.tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((11,), "`n_train` is 11 but the data set has 10 structures; train on at most 10, or add data"),
        ((8, 2, 1), r"8 \+ 2 \+ 1 structures are wanted .* the data set has 10; lower"),
        ((5, 6), r"5 \+ 6 \+ 0 structures are wanted"),
        ((0,), "`n_train` must be an integer of at least 1, got 0"),
        ((2.5,), r"`n_train` must be an integer of at least 1, got 2\.5"),
        ((2, -1), "`n_valid` must be an integer of at least 0, got -1"),
    ],
)
def test_more_than_there_is(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(labelled(None, 10), *sizes)


def test_unknown_method() -> None:
    with pytest.raises(InputError, match="`method` is 'random'; known ways to split are stratified, first"):
        split(labelled(None, 10), 2, method="random")


def test_damaged_splits_are_refused() -> None:
    with pytest.raises(InputError, match="structure 3 is more than once in the split"):
        Split(np.array([1, 3]), np.array([3]), np.array([]))
    with pytest.raises(InputError, match="the split holds index -1"):
        Split(np.array([-1]), np.array([3]), np.array([]))
    with pytest.raises(InputError, match="the stored split lacks seed, test"):
        Split.from_dict({"train": [], "valid": [], "method": "first"})


def test_indices_are_read_only() -> None:
    parts = split(labelled(None, 10), 5)
    with pytest.raises(ValueError, match="read-only"):
        parts.train[0] = 3

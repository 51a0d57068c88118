"""Settings and data that cannot work are refused in words; odd but possible ones are fitted, with a hint."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nyff
from nyff.errors import InputError
from nyff.training.evaluate import Evaluation
from nyff.training.run import train_run
from nyff.training.settings import Settings


def with_(dataset: nyff.Dataset, **changes: object) -> nyff.Dataset:
    parts = {name: getattr(dataset, name) for name in ("numbers", "positions", "forces", "energies")}
    return nyff.Dataset(**{**parts, **changes})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "`seed` must be an integer of at least 0, got -1"),
        ({"seed": 0.5}, "`seed` must be an integer, got 0.5"),
        ({"lengthscale": "long"}, "`lengthscale` must be a number, got 'long'"),
        ({"regularization": None}, "`regularization` must be a number, got None"),
        ({"columns": 2.5}, "`columns` must be an integer, got 2.5"),
        ({"max_iterations": "many"}, "`max_iterations` must be an integer, got 'many'"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Settings(**settings)


def test_numpy_numbers_are_stored_as_plain_ones():
    settings = Settings(lengthscale=np.float32(10), seed=np.int64(3), columns=np.int32(50), tolerance=np.float64(1e-4))
    stored = json.loads(json.dumps(settings.to_dict()))
    assert (stored["lengthscale"], stored["seed"], stored["columns"], stored["tolerance"]) == (10.0, 3, 50, 1e-4)


@pytest.mark.parametrize("limit", [["4GB"], "much", "-1GB", 0, float("nan")])
def test_memory_limits_nobody_understands(ethanol, limit):
    with pytest.raises(InputError, match="memory limit"):
        nyff.fit(ethanol[:30], 10, lengthscale=10.0, permutations="none", max_memory=limit)


def test_impossible_magnitudes_are_refused(ethanol):
    with pytest.raises(InputError, match="no molecule has forces beyond 100000 eV/Å; check the units"):
        nyff.fit(with_(ethanol[:30], forces=ethanol[:30].forces * 1e200), 10)
    with pytest.raises(InputError, match=r"no molecule has positions beyond 1e\+06 Å"):
        nyff.fit(with_(ethanol[:30], positions=ethanol[:30].positions + 1e12), 10)


def test_splits_and_permutations_of_other_data_are_refused(ethanol):
    other = nyff.split(ethanol, 20)
    with pytest.raises(InputError, match="the data set has 30"):
        nyff.fit(ethanol[:30], splitting=other, lengthscale=10.0, permutations="none")
    with pytest.raises(InputError, match="rows of different lengths"):
        nyff.fit(ethanol[:30], 10, lengthscale=10.0, permutations=[[0, 1], [0]])


def test_a_huge_energy_offset_changes_nothing_but_the_offset(ethanol):
    data = ethanol[:60]
    options = {"lengthscale": 10.0, "permutations": "none", "seed": 1}
    near = nyff.fit(data, 30, **options)
    far = nyff.fit(with_(data, energies=data.energies - 1e6), 30, **options)
    assert far.metrics["energy_mae_ev"] == pytest.approx(near.metrics["energy_mae_ev"], abs=1e-8)
    assert far.metrics["force_mae_ev_per_ang"] == near.metrics["force_mae_ev_per_ang"]


def test_nothing_to_test_is_said(ethanol):
    result = nyff.fit(ethanol[:10], 10, lengthscale=10.0, permutations="none")
    assert result.evaluation is None
    assert any("no structure was left to test" in hint for hint in result.hints)


def test_a_model_that_learned_nothing_says_so(ethanol):
    result = nyff.fit(ethanol[:40], 20, lengthscale=1e8, regularization=1.0, permutations="none")
    assert any("no better than zeros" in hint for hint in result.hints)


def test_energies_that_are_the_same_have_no_slope():
    rng = np.random.default_rng(0)
    forces = rng.standard_normal((5, 3, 3))
    flat = -5.0 + 1e-14 * rng.random(5)
    evaluation = Evaluation(rng.random(5), forces, flat, forces)
    assert "energy_slope" not in evaluation.metrics
    assert evaluation.hints() == []


def test_a_run_that_cannot_be_solved_leaves_no_folder(ethanol, tmp_path):
    nyff_data = tmp_path / "data.npz"
    from nyff.data.io import write_dataset

    write_dataset(ethanol[:20], nyff_data)
    settings = Settings(lengthscale=1e-300, permutations="none", solver="cholesky")
    with pytest.raises(nyff.NyffError, match="not positive definite"):
        train_run(nyff_data, output=tmp_path / "run", settings=settings, n_train=10)
    assert not (tmp_path / "run").exists()

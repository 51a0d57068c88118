from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import nyff
import nyff.training.solve
from nyff.errors import InputError, MemoryLimitError
from nyff.training.evaluate import evaluate
from nyff.training.lengthscale import GRID


def test_a_small_fit_predicts_structures_it_has_not_seen(small_fit):
    metrics = small_fit.metrics
    assert small_fit.solution.converged
    assert metrics["n_train"] == 60
    assert metrics["n_test"] == 50
    assert metrics["force_mae_ev_per_ang"] < 0.1
    assert metrics["energy_mae_ev"] < 0.03
    assert 0.9 < metrics["energy_slope"] < 1.1
    assert not set(small_fit.split.train) & set(small_fit.split.test)


def test_training_structures_are_reproduced(small_fit, ethanol):
    train = ethanol[:160][small_fit.split.train]
    error = small_fit.model.predict(train.positions)[1] - train.forces
    assert float(np.abs(error).mean()) < 0.01 * small_fit.metrics["force_mae_ev_per_ang"]


def test_coefficients_solve_the_full_cartesian_system(small_fit):
    """(K + λI) α = y with the rigid motions taken out of y, in the 3NM coordinates that were never used to solve it."""
    kernel = small_fit.problem.operator.kernel
    alpha = small_fit.coefficients.reshape(-1)
    forces = torch.tensor(small_fit.problem.dataset.forces).reshape(-1) / small_fit.problem.scale
    projected = small_fit.problem.operator.to_cartesian(small_fit.problem.operator.to_internal(forces))
    residual = kernel.matvec(alpha) + 1e-10 * alpha - projected
    assert float(residual.norm() / projected.norm()) < 1e-7


def test_cg_and_cholesky_give_the_same_model(small_fit, ethanol, ethanol_permutations):
    arguments = {"lengthscale": 10.0, "permutations": ethanol_permutations}
    other = nyff.fit(ethanol[:160], 60, **arguments, solver="cg", columns=150, tolerance=1e-8)
    assert other.solution.converged
    assert other.solution.method == "cg"
    difference = (
        other.model.predict(ethanol.positions[300:320])[1] - small_fit.model.predict(ethanol.positions[300:320])[1]
    )
    assert float(np.abs(difference).max()) < 1e-3 * small_fit.metrics["force_rmse_ev_per_ang"]


@pytest.mark.parametrize("preconditioner", ["none", "uniform", "rpcholesky", "auto"])
def test_every_preconditioner_converges_to_the_same_residual(preconditioner, ethanol, ethanol_permutations):
    result = nyff.fit(
        ethanol[:60],
        12,
        lengthscale=10.0,
        regularization=1e-6,
        permutations=ethanol_permutations,
        solver="cg",
        preconditioner=preconditioner,
        columns=60,
        max_iterations=20_000,
    )
    assert result.solution.converged
    assert result.solution.relative_residual <= 1e-4


def test_the_same_seed_gives_the_same_model(ethanol, ethanol_permutations):
    arguments = {"lengthscale": 10.0, "permutations": ethanol_permutations, "seed": 3}
    first, second = (nyff.fit(ethanol[:100], 20, **arguments) for _ in range(2))
    assert first.model.checksum == second.model.checksum
    assert nyff.fit(ethanol[:100], 20, **{**arguments, "seed": 4}).model.checksum != first.model.checksum


def test_a_length_scale_is_chosen_when_none_is_given(ethanol, ethanol_permutations):
    result = nyff.fit(ethanol[:200], 40, permutations=ethanol_permutations)
    assert result.model.lengthscale in GRID
    errors = result.lengthscale_errors
    assert errors[result.model.lengthscale] == min(errors.values())
    assert len(errors) == len(GRID)


def test_all_structures_may_train(ethanol, ethanol_permutations):
    result = nyff.fit(ethanol[:20], 20, lengthscale=10.0, permutations=ethanol_permutations)
    assert result.evaluation is None
    assert result.metrics["n_test"] == 0


def test_forces_without_energies_are_enough(ethanol, ethanol_permutations):
    mute = replace(ethanol[:60], energies=None)
    result = nyff.fit(mute, 20, lengthscale=10.0, permutations=ethanol_permutations)
    assert "energy_mae_ev" not in result.metrics
    assert result.model.energy_offset == 0.0


def test_symmetry_lowers_the_error(ethanol, ethanol_permutations):
    with_symmetry = nyff.fit(ethanol[:300], 50, lengthscale=10.0, permutations=ethanol_permutations)
    without = nyff.fit(ethanol[:300], 50, lengthscale=10.0, permutations="none")
    assert with_symmetry.metrics["force_mae_ev_per_ang"] < without.metrics["force_mae_ev_per_ang"]


def test_gradients_in_place_of_forces_are_noticed(ethanol, ethanol_permutations):
    wrong = replace(ethanol[:100], energies=-ethanol.energies[:100])
    result = nyff.fit(wrong, 40, lengthscale=10.0, permutations=ethanol_permutations)
    assert any("the forces look like gradients" in hint for hint in result.hints)


def test_net_forces_are_projected_out_and_reported(ethanol, ethanol_permutations):
    pushed = replace(ethanol[:60], forces=ethanol.forces[:60] + 0.3)
    result = nyff.fit(pushed, 20, lengthscale=10.0, permutations=ethanol_permutations)
    assert any("net force and torque" in hint for hint in result.hints)
    clean = nyff.fit(ethanol[:60], 20, lengthscale=10.0, permutations=ethanol_permutations)
    # Only the normalisation differs: the projected labels are the same.
    a, b = (r.model.predict(ethanol.positions[100:110])[1] for r in (result, clean))
    np.testing.assert_allclose(a, b, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 61}, "`n_train` is 61 but the data set has 60 structures"),
        ({"n_train": 1}, "training needs at least 2 structures, got n_train = 1"),
        ({"lengthscale": -1.0}, "`lengthscale` must be positive and finite, got -1"),
        ({"regularization": 0.0}, "`regularization` must be positive and finite, got 0"),
        ({"tolerance": 2.0}, "`tolerance` must be below 1, got 2"),
        ({"kernel": "rbf"}, "unknown kernel 'rbf'; known are"),
        ({"solver": "lu"}, "unknown solver 'lu'; known are auto, cholesky, cg"),
        ({"preconditioner": "ilu"}, "unknown preconditioner 'ilu'"),
        ({"columns": "many"}, "`columns` must be a positive integer, 'auto' or 'paper'"),
        ({"device": "cuda:99"}, "there is no device 'cuda:99' here"),
        ({"permutations": "yes"}, "`permutations` must be 'auto', 'none' or an array"),
        ({"permutations": [[1, 0, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5, 6, 8, 7]]}, "permutation"),
        ({"max_memory": "lots"}, "cannot read the memory limit 'lots'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_by_name(ethanol, arguments, message):
    with pytest.raises(InputError, match=message):
        nyff.fit(ethanol[:60], **{"n_train": 20, "lengthscale": 10.0, "permutations": "none", **arguments})


def test_a_memory_limit_too_small_for_anything_is_refused_before_the_work(ethanol):
    with pytest.raises(MemoryLimitError, match="need at least .* the limit is 100 kB; raise --max-memory"):
        nyff.fit(ethanol[:60], 20, lengthscale=10.0, permutations="none", max_memory="100kB")
    with pytest.raises(MemoryLimitError, match="Cholesky factorisation of 4200 unknowns needs .*use solver cg"):
        nyff.fit(ethanol[:300], 200, lengthscale=10.0, permutations="none", max_memory="60MB", solver="cholesky")
    with pytest.raises(MemoryLimitError, match="ask for fewer columns"):
        nyff.fit(
            ethanol[:300], 200, lengthscale=10.0, permutations="none", max_memory="60MB", solver="cg", columns=2000
        )


def test_a_hopeless_memory_limit_is_refused_before_the_length_scale_is_scanned(ethanol):
    stages = []
    watcher = nyff.training.solve.Watcher(progress=lambda progress: stages.append(progress.stage))
    with pytest.raises(MemoryLimitError, match="raise --max-memory"):
        nyff.fit(ethanol[:60], 20, permutations="none", max_memory="100kB", watcher=watcher)
    assert "choosing the length scale" not in stages


def test_a_split_made_before_duplicates_were_dropped_is_refused(ethanol):
    twice = ethanol[[*range(30), 3]]
    with pytest.raises(InputError, match="the data have 1 duplicates, which are dropped"):
        nyff.fit(twice, lengthscale=10.0, permutations="none", splitting=nyff.split(twice, 20))


def test_constant_forces_teach_nothing(ethanol):
    same = replace(ethanol[:20], forces=np.ones_like(ethanol.forces[:20]))
    with pytest.raises(InputError, match="all forces are the same, there is nothing to learn"):
        nyff.fit(same, 10, lengthscale=10.0, permutations="none")


def test_a_model_refuses_another_molecule(small_fit, ethanol):
    order = [1, 0, 2, 4, 3, 5, 6, 7, 8]
    with pytest.raises(InputError, match="another molecule: got"):
        evaluate(small_fit.model, replace(ethanol[:3], numbers=np.array([6, 6, 16, 1, 1, 1, 1, 1, 1])))
    swapped = [2, 1, 0, 3, 4, 5, 6, 7, 8]
    with pytest.raises(InputError, match="in another order than the model's"):
        evaluate(small_fit.model, replace(ethanol[:3], numbers=ethanol.numbers[swapped]))
    assert list(ethanol.numbers[order]) == list(ethanol.numbers)


def test_ethanol_of_revised_md17_reaches_the_error_of_sgdml(rmd17):
    """sGDML 1.0.3 with the same kernel, structures and permutations: 0.8282 kcal/mol/Å."""
    train = nyff.read_dataset(rmd17 / "rmd17_ethanol_train_01.npz", units="kcal/mol")[:200]
    test = nyff.read_dataset(rmd17 / "rmd17_ethanol_test_01.npz", units="kcal/mol")[:200]
    result = nyff.fit(train, 200, lengthscale=10.0)
    mae = evaluate(result.model, test).metrics["force_mae_ev_per_ang"] * 23.0605
    assert len(result.model.permutations) == 6
    assert mae == pytest.approx(0.8282, abs=2e-3)

from __future__ import annotations

import re

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.io import read
from scipy.optimize import minimize

from nyff.errors import InputError, SimulationError
from nyff.md.limits import Limits
from nyff.md.relax import relax


@pytest.fixture
def rattled(ethanol):
    ethanol.rattle(0.08, seed=2)
    return ethanol


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs", "fire", "BFGS"])
def test_the_minimum_is_scipys(force_field, rattled, optimizer):
    before = rattled.copy()
    result = relax(force_field, rattled, fmax=1e-4, optimizer=optimizer, max_steps=3000)
    assert rattled == before
    assert result.converged
    forces = force_field.predict(result.atoms.positions[None])[1][0]
    assert np.linalg.norm(forces, axis=1).max() == pytest.approx(result.fmax)
    assert result.fmax < 1e-4

    def target(flat):
        energy, forces = force_field.predict(flat.reshape(1, 9, 3))
        return energy[0], -forces[0].ravel()

    oracle = minimize(target, rattled.positions.ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-15})
    assert result.energy == pytest.approx(oracle.fun, abs=1e-5)
    assert result.atoms.get_potential_energy() == result.energy
    assert re.fullmatch(
        rf"converged in {result.steps} steps: energy {result.energy:.6f} eV, largest force \S+ eV/Å", result.message
    )


def test_not_converging_is_a_value_with_advice(force_field, rattled):
    result = relax(force_field, rattled, fmax=1e-4, max_steps=3)
    assert not result.converged
    assert result.steps == 3
    assert re.fullmatch(
        r"not converged after 3 steps: largest force \S+ eV/Å, wanted 0.0001; raise max_steps, or try another "
        r"optimizer \(bfgs, lbfgs, fire\)",
        result.message,
    )
    assert relax(force_field, rattled, max_steps=0).steps == 0


@pytest.mark.parametrize("name", ["path.xyz", "path.extxyz", "path.traj"])
def test_the_path_is_written(force_field, rattled, tmp_path, name):
    seen = []
    result = relax(force_field, rattled, fmax=0.01, trajectory=tmp_path / name, progress=seen.append)
    frames = read(tmp_path / name, ":", format=None if name.endswith("traj") else "extxyz")
    assert len(frames) == len(seen) == result.steps + 1
    np.testing.assert_allclose(frames[-1].positions, result.atoms.positions, atol=1e-8)
    energies = [frame.get_potential_energy() for frame in frames]
    np.testing.assert_allclose(energies, [report.energy_ev for report in seen], atol=1e-8)
    assert seen[-1].fmax_ev_per_ang == result.fmax
    with pytest.raises(InputError, match="exists already and is never overwritten"):
        relax(force_field, rattled, trajectory=tmp_path / name)


def test_constraints_are_respected(force_field, rattled):
    rattled.set_constraint(FixAtoms([0, 3]))
    result = relax(force_field, rattled, fmax=0.001)
    assert result.converged
    np.testing.assert_array_equal(result.atoms.positions[[0, 3]], rattled.positions[[0, 3]])
    assert np.linalg.norm(result.atoms.get_forces(apply_constraint=False)[[0, 3]], axis=1).max() > 0.001


def test_leaving_the_training_data_stops(analytic, rattled):
    """Downhill leads out of what this model claims to know: its training bonds were all longer than the minimum's."""
    start = analytic.ethanol()
    start.positions *= 1.1
    distances = np.linalg.norm(start.positions[:, None] - start.positions, axis=2)[analytic.LOWER]
    domain = {**analytic.DOMAIN, "min_distance": distances.tolist(), "max_distance": (1.2 * distances).tolist()}
    model = analytic.AnalyticForceField(domain=domain)
    limits = Limits(shortest=0.97, force=10.0)
    with pytest.raises(
        SimulationError, match=r"left what the model knows at step [1-9]\d*: atoms .* or more in training"
    ):
        relax(model, start, limits=limits)
    assert relax(model, start, limits=Limits(shortest=0.5, force=10.0)).converged


def test_a_start_far_from_the_training_data_is_refused(force_field, ethanol):
    ethanol.positions *= 0.5
    with pytest.raises(
        InputError, match=r"start structure is far from the training data: .* in the order of the train"
    ):
        relax(force_field, ethanol)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"optimizer": "newton"}, "unknown optimizer 'newton'; known are bfgs, lbfgs, fire"),
        ({"fmax": 0.0}, "fmax must be positive, got 0.0"),
        ({"fmax": float("nan")}, "fmax must be positive, got nan"),
        ({"max_steps": -1}, "max_steps must be zero or more, got -1"),
        (
            {"trajectory": "path.pdb"},
            "cannot tell the format of trajectory path.pdb; its name must end in .extxyz, .xyz",
        ),
        ({"trajectory": "nowhere/path.xyz"}, "cannot write nowhere/path.xyz: No such file or directory"),
    ],
)
def test_bad_arguments(force_field, ethanol, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=text):
        relax(force_field, ethanol, **arguments)


def test_another_molecule_is_refused(force_field, ethanol):
    with pytest.raises(InputError, match="the structure has 8 atoms, the model is for 9"):
        relax(force_field, ethanol[:8])

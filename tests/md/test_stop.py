"""Simulations that leave what the model knows stop with a reason and the last good frame."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase.io import read

from nyff.errors import SimulationError
from nyff.md.limits import Limits, Watch
from nyff.md.observe import read_log
from nyff.md.run import run_md


def last_good(text):
    step, path = re.search(r"The last good frame, of step (\d+), is in (\S+\.xyz)\.", text).groups()
    return int(step), read(path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_overheated_molecule_stops(force_field, ethanol, tmp_path, seed):
    with pytest.raises(SimulationError) as caught:
        run_md(force_field, ethanol, output=tmp_path / "run", temperature=15_000, time="1ps", seed=seed)
    text = str(caught.value)
    assert re.match(r"stopped at step \d+ \([\d.]+ fs\): (atoms .* Å apart; such pairs had|the largest force)", text)
    assert "Try a shorter timestep (now 0.5 fs) or a lower temperature, or train with structures like that" in text
    step, frame = last_good(text)
    stopped = int(re.search(r"step (\d+)", text)[1])
    assert stopped - 10 <= step < stopped
    assert frame.info["step"] == step
    watch = Watch(force_field)
    assert watch.distances(frame.positions) is None
    assert watch.forces(frame.get_potential_energy(), frame.get_forces()) is None
    # Everything up to there is on the disk and readable.
    assert read_log(tmp_path / "run")["step"][-1] == step // 10 * 10
    assert len(read(tmp_path / "run" / "trajectory.extxyz", ":")) == step // 20 + 1


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover"])
def test_too_long_a_timestep_stops(force_field, ethanol, tmp_path, ensemble):
    with pytest.raises(SimulationError, match=r"stopped at step \d+ .*now 4 fs"):
        run_md(force_field, ethanol, output=tmp_path / "run", ensemble=ensemble, timestep=4.0, time="4ps", seed=1)


def test_numbers_that_are_not_finite_stop(analytic, ethanol, tmp_path):
    class Breaks(analytic.AnalyticForceField):
        def predict(self, positions):
            energies, forces = super().predict(positions)
            return energies, forces * (np.nan if len(self.calls) == 28 else 1.0)

    with pytest.raises(SimulationError, match=r"stopped at step 26 \(13 fs\): .* not finite") as caught:
        run_md(Breaks(), ethanol, output=tmp_path / "run", time="50fs")
    step, frame = last_good(str(caught.value))
    assert step == 20
    assert np.isfinite(frame.get_forces()).all()


def test_forces_far_beyond_the_training_data_stop(analytic, ethanol, tmp_path):
    weak = analytic.AnalyticForceField(domain={**analytic.DOMAIN, "max_force": 0.5})
    text = r"the largest force component is [\d.]+ eV/Å; it was 0.5 eV/Å or less in training and the limit is 1.5 eV/Å"
    with pytest.raises(SimulationError, match=text):
        run_md(weak, ethanol, output=tmp_path / "run", time="50fs")
    run_md(weak, ethanol, output=tmp_path / "free", time="50fs", limits=Limits(force=100.0))


def test_without_training_ranges_an_explosion_still_stops(analytic, ethanol, tmp_path):
    """Far too long a step: no range to leave, but atoms collide or numbers overflow."""
    with pytest.raises(SimulationError, match=r"stopped at step \d+"), np.errstate(all="ignore"):
        run_md(
            analytic.AnalyticForceField(domain=None),
            ethanol,
            output=tmp_path / "run",
            ensemble="nose-hoover",
            timestep=5.0,
            time="5ps",
        )


@pytest.mark.parametrize("temperature", [300, 500])
def test_healthy_runs_are_left_alone(force_field, ethanol, tmp_path, temperature):
    result = run_md(
        force_field,
        ethanol,
        output=tmp_path / "run",
        ensemble="langevin",
        friction=0.05,
        temperature=temperature,
        timestep=1.0,
        time="3ps",
    )
    assert result.finished
    assert not (result.folder / "last_good.xyz").exists()

"""What a simulation writes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from ase.constraints import FixAtoms
from ase.io import read

from nyff.errors import InputError
from nyff.md.limits import Limits
from nyff.md.observe import block_average, drift, read_log
from nyff.md.run import resume_md, run_md

ENSEMBLES = ["nve", "langevin", "nose-hoover"]


@pytest.mark.parametrize("kind", ["extxyz", "traj"])
def test_the_folder_explains_itself(force_field, ethanol, tmp_path, kind):
    before = ethanol.copy()
    result = run_md(
        force_field,
        ethanol,
        output=tmp_path / "run",
        ensemble="nose-hoover",
        time="50fs",
        timestep="0.5fs",
        trajectory=kind,
        frame_interval=4,
        log_interval=10,
        seed=3,
    )
    assert ethanol == before
    assert ethanol.calc is None
    assert {path.name for path in result.folder.iterdir()} == {
        "config.yaml",
        "model.nyff",
        "md.csv",
        f"trajectory.{kind}",
        "checkpoint.npz",
        "final.xyz",
    }
    config = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert config["model_checksum"] == force_field.checksum
    assert config["md"]["timestep"] == 0.5
    assert config["md"]["seed"] == 3
    assert (result.steps, result.time_fs, result.finished) == (100, 50.0, True)
    assert result.steps_per_second > 0
    assert result.trajectory == result.folder / f"trajectory.{kind}"

    frames = read(result.folder / f"trajectory.{kind}", ":")
    assert [frame.info["step"] for frame in frames] == list(range(0, 101, 4))
    assert [frame.info["time_fs"] for frame in frames] == [0.5 * step for step in range(0, 101, 4)]
    for frame in frames:
        energy, forces = force_field.predict(frame.positions[None])
        assert frame.get_potential_energy() == pytest.approx(energy[0], abs=2e-7)
        np.testing.assert_allclose(frame.get_forces(), forces[0], atol=2e-6)
        assert not frame.pbc.any()
    final = read(result.folder / "final.xyz")
    np.testing.assert_allclose(final.positions, result.atoms.positions, atol=1e-8)
    np.testing.assert_allclose(final.get_momenta(), result.atoms.get_momenta(), atol=1e-8)

    log = read_log(result.folder)
    assert list(log) == [
        "step",
        "time_fs",
        "temperature_K",
        "kinetic_ev",
        "potential_ev",
        "total_ev",
        "conserved_ev",
        "max_force_ev_per_ang",
    ]
    np.testing.assert_array_equal(log["step"], np.arange(0, 101, 10))
    np.testing.assert_allclose(log["time_fs"], 0.5 * log["step"])
    np.testing.assert_allclose(log["total_ev"], log["kinetic_ev"] + log["potential_ev"], atol=2e-9)
    at_20 = frames[5]
    assert log["potential_ev"][2] == pytest.approx(at_20.get_potential_energy(), abs=1e-8)
    assert log["kinetic_ev"][2] == pytest.approx(at_20.get_kinetic_energy(), abs=1e-6)
    assert log["max_force_ev_per_ang"][2] == pytest.approx(np.abs(at_20.get_forces()).max(), abs=1e-6)
    # ASE counts 3N degrees of freedom, a molecule at rest has 3N - 6.
    assert log["temperature_K"][2] == pytest.approx(at_20.get_temperature() * 27 / 21, abs=0.05)
    assert log["temperature_K"][0] == 300.0


def test_langevin_has_no_conserved_energy_and_nve_has_the_total(force_field, ethanol, tmp_path):
    nve = run_md(force_field, ethanol, output=tmp_path / "nve", ensemble="nve", time="20fs")
    langevin = run_md(force_field, ethanol, output=tmp_path / "langevin", ensemble="langevin", time="20fs")
    log = read_log(nve.folder)
    np.testing.assert_array_equal(log["conserved_ev"], log["total_ev"])
    assert "conserved_ev" not in read_log(langevin.folder)
    assert read_log(langevin.folder)["temperature_K"][0] == 300.0


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_the_same_seed_gives_the_same_files_and_another_seed_others(force_field, ethanol, tmp_path, ensemble):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_md(force_field, ethanol, output=tmp_path / name, ensemble=ensemble, time="20fs", seed=seed)
    for file in ("md.csv", "trajectory.extxyz", "final.xyz", "checkpoint.npz", "config.yaml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_kept_momenta_lose_only_net_motion(force_field, ethanol, tmp_path):
    ethanol.set_momenta(np.random.default_rng(0).normal(size=(9, 3)))
    result = run_md(force_field, ethanol, output=tmp_path / "run", time="5fs", keep_momenta=True, frame_interval=1)
    start = read(result.folder / "trajectory.extxyz", 0)
    left = ethanol.get_velocities() - start.get_velocities()
    # What was removed is a rigid motion: no distance changes at first order.
    arrows = ethanol.positions[:, None] - ethanol.positions
    np.testing.assert_allclose(np.einsum("ijx,ijx->ij", arrows, left[:, None] - left), 0, atol=1e-6)
    np.testing.assert_allclose(start.get_angular_momentum(), 0, atol=1e-6)
    assert np.abs(left).max() > 0.01


def test_heavy_hydrogen_stays_heavy(force_field, ethanol, tmp_path):
    masses = ethanol.get_masses()
    masses[3] = 2.014
    ethanol.set_masses(masses)
    run_md(force_field, ethanol, output=tmp_path / "run", time="10fs", ensemble="langevin")
    result = resume_md(tmp_path / "run", model=force_field, time="20fs")
    assert result.atoms.get_masses()[3] == 2.014
    assert read(result.folder / "trajectory.extxyz", -1).get_masses()[3] == pytest.approx(2.014)
    whole = run_md(force_field, ethanol, output=tmp_path / "again", time="20fs", ensemble="langevin")
    np.testing.assert_array_equal(whole.atoms.positions, result.atoms.positions)
    ethanol.set_masses()
    light = run_md(force_field, ethanol, output=tmp_path / "light", time="20fs", ensemble="langevin")
    assert not np.allclose(light.atoms.positions[3], result.atoms.positions[3], atol=1e-3)


def test_a_cell_without_periodicity_is_kept(force_field, ethanol, tmp_path):
    ethanol.center(vacuum=4.0)
    result = run_md(force_field, ethanol, output=tmp_path / "run", time="10fs")
    frame = read(result.folder / "trajectory.extxyz", -1)
    np.testing.assert_allclose(frame.cell, ethanol.cell, atol=1e-12)
    assert not frame.pbc.any()


def test_progress_reports_speed_and_time_left(force_field, ethanol, tmp_path, monkeypatch):
    monkeypatch.setattr("nyff.md.simulation._PROGRESS_SECONDS", 0.0)
    seen = []
    result = run_md(force_field, ethanol, output=tmp_path / "run", time="25fs", progress=seen.append)
    assert [report.step for report in seen] == [*range(1, 51), 50]
    assert all(report.steps == 50 and report.steps_per_second > 0 for report in seen)
    for report in seen:
        assert report.seconds_left == pytest.approx((50 - report.step) / report.steps_per_second)
    assert seen[-1].time_fs == 25.0
    assert seen[-1].total_ev == pytest.approx(result.atoms.get_total_energy())


def test_log_and_final_flush_while_running(force_field, ethanol, tmp_path):
    """Rows are in the file as soon as they happen, for people who follow a run."""
    lengths = []

    class Nosy(type(force_field)):
        def predict(self, positions):
            path = tmp_path / "run" / "md.csv"
            lengths.append(len(path.read_text().splitlines()) if path.exists() else 0)
            return super().predict(positions)

    run_md(Nosy(), ethanol, output=tmp_path / "run", time="10fs", log_interval=1)
    # Header and row 0 before the first step, then one row more before every further one.
    assert lengths[-20:] == list(range(2, 22))


@pytest.mark.parametrize("what", ["ensemble", "time", "order", "elements", "count", "pbc", "constraint", "momenta"])
def test_bad_input_leaves_no_folder(force_field, ethanol, tmp_path, what):
    arguments = {}
    text = {
        "ensemble": "unknown ensemble 'npt'; known are nve, langevin, nose-hoover",
        "time": "cannot read time '10 parsec'; write a number and fs, ps, ns or us, for example 10ps",
        "order": "another order than the model's: the model is for C C O H H H H H H, got H C O C H H H H H; reorder",
        "elements": "other elements than the model: the model is for C C O H H H H H H, got C C S H H H H H H; take",
        "count": "the structure has 8 atoms, the model is for 9",
        "pbc": r"got atoms with pbc=\[True, True, True\]; if they are one whole molecule, set atoms.pbc = False",
        "constraint": r"the structure has FixAtoms; remove them with atoms.set_constraint\(\)",
        "momenta": "keep_momenta needs a structure with momenta, got one without",
    }[what]
    if what == "ensemble":
        arguments["ensemble"] = "npt"
    elif what == "time":
        arguments["time"] = "10 parsec"
    elif what == "order":
        ethanol.numbers[[0, 3]] = ethanol.numbers[[3, 0]]
    elif what == "elements":
        ethanol.numbers[2] = 16
    elif what == "count":
        ethanol = ethanol[:8]
    elif what == "pbc":
        ethanol.pbc = True
    elif what == "constraint":
        ethanol.set_constraint(FixAtoms([0]))
    else:
        arguments["keep_momenta"] = True
    with pytest.raises(InputError, match=text):
        run_md(force_field, ethanol, output=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_a_start_far_from_the_training_data_is_refused(force_field, ethanol, tmp_path):
    swapped = ethanol.positions[[2, 1, 0, 3, 4, 5, 6, 7, 8]]
    ethanol.positions = swapped
    with pytest.raises(
        InputError, match=r"start structure is far from the training data: atoms .* in the order of the"
    ):
        run_md(force_field, ethanol, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    wide = Limits(shortest=1e-3, longest=1e3, force=1e6)
    run_md(force_field, ethanol, output=tmp_path / "run", time="0.5fs", limits=wide)


def test_an_existing_run_is_never_overwritten(force_field, ethanol, tmp_path):
    (tmp_path / "run").mkdir()
    run_md(force_field, ethanol, output=tmp_path / "run", time="5fs")
    content = (tmp_path / "run" / "md.csv").read_bytes()
    with pytest.raises(InputError, match=r"run folder .*run exists already and is never overwritten; choose another"):
        run_md(force_field, ethanol, output=tmp_path / "run", time="10fs")
    assert (tmp_path / "run" / "md.csv").read_bytes() == content


def test_an_output_that_cannot_be_made_is_an_input_error(force_field, ethanol, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot create run folder .*file/run: Not a directory; choose a place"):
        run_md(force_field, ethanol, output=tmp_path / "file" / "run")


def test_drift_and_block_average():
    time = np.arange(0.0, 1000.0, 10.0)
    assert drift(time, 5.0 + 0.002 * time * 1e-3, n_atoms=4) == pytest.approx(0.0005)
    mean, error = block_average(np.random.default_rng(0).normal(3.0, 2.0, size=100_000), 100)
    assert mean == pytest.approx(3.0, abs=0.03)
    assert error == pytest.approx(2.0 / np.sqrt(100_000), rel=0.3)
    with pytest.raises(InputError, match="at least 2 rows of the log, got 1"):
        drift(time[:1], time[:1], 4)
    with pytest.raises(InputError, match="block averages need at least 2 blocks"):
        block_average(time[:3], 10)


def test_read_log_of_something_else(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*md.csv: No such file"):
        read_log(tmp_path)
    (tmp_path / "md.csv").write_text("a,b\n1\n")
    with pytest.raises(InputError, match="is not the log of a simulation"):
        read_log(tmp_path)

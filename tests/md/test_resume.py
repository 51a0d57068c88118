"""A simulation that was interrupted, in whatever way, ends with the same files as one that was not."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from nyff.errors import FileFormatError, InputError
from nyff.md.checkpoint import Checkpoint
from nyff.md.observe import read_log
from nyff.md.run import resume_md, run_md

HERE = Path(__file__).parent
ENSEMBLES = ["nve", "langevin", "nose-hoover"]


def assert_same(one: Path, other: Path) -> None:
    """Log, trajectory, final structure equal byte for byte, and the saved state to the last bit."""
    for path in sorted(one.iterdir()):
        if path.name not in ("config.yaml", "checkpoint.npz"):
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    a, b = Checkpoint.load(one / "checkpoint.npz"), Checkpoint.load(other / "checkpoint.npz")
    assert (a.step, a.marks, a.values) == (b.step, b.marks, b.values)
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name], strict=True)


@pytest.mark.parametrize("trajectory", ["extxyz", "traj"])
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_half_and_half_is_the_whole(force_field, ethanol, tmp_path, ensemble, trajectory):
    """The half is at step 75, between a row of the log and a frame."""
    common = {"ensemble": ensemble, "trajectory": trajectory, "seed": 4}
    whole = run_md(force_field, ethanol, output=tmp_path / "whole", time="75fs", **common)
    half = run_md(force_field, ethanol, output=tmp_path / "half", time="37.5fs", **common)
    assert half.steps == 75
    resumed = resume_md(tmp_path / "half", time="75fs", model=force_field)
    np.testing.assert_array_equal(resumed.atoms.positions, whole.atoms.positions)
    np.testing.assert_array_equal(resumed.atoms.get_momenta(), whole.atoms.get_momenta())
    assert_same(tmp_path / "whole", tmp_path / "half")
    assert (tmp_path / "whole" / "config.yaml").read_text() == (tmp_path / "half" / "config.yaml").read_text()


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_ctrl_c_saves_and_resumes(force_field, ethanol, tmp_path, ensemble, monkeypatch, caplog):
    monkeypatch.setattr("nyff.md.simulation._PROGRESS_SECONDS", 0.0)

    pressed = []

    def press(report):
        if report.step == 33 and not pressed:
            pressed.append(report)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING, logger="nyff"):
        run_md(force_field, ethanol, output=tmp_path / "cut", time="50fs", ensemble=ensemble, progress=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted after step 33; resume the run in" in caplog.text
    assert Checkpoint.load(tmp_path / "cut" / "checkpoint.npz").step == 33
    assert not (tmp_path / "cut" / "final.xyz").exists()
    resume_md(tmp_path / "cut", model=force_field)
    run_md(force_field, ethanol, output=tmp_path / "whole", time="50fs", ensemble=ensemble)
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_second_ctrl_c_does_not_wait(analytic, ethanol, tmp_path):
    class Pressed(analytic.AnalyticForceField):
        def predict(self, positions):
            if len(self.calls) == 20:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().predict(positions)

    with pytest.raises(KeyboardInterrupt):
        run_md(Pressed(), ethanol, output=tmp_path / "run", time="50fs")
    assert Checkpoint.load(tmp_path / "run" / "checkpoint.npz").step == 0


def test_an_error_in_the_callback_is_not_swallowed(force_field, ethanol, tmp_path, monkeypatch):
    monkeypatch.setattr("nyff.md.simulation._PROGRESS_SECONDS", 0.0)

    def fail(report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_md(force_field, ethanol, output=tmp_path / "run", time="50fs", progress=fail)
    resume_md(tmp_path / "run", model=force_field)
    run_md(force_field, ethanol, output=tmp_path / "whole", time="50fs")
    assert_same(tmp_path / "whole", tmp_path / "run")


SCRIPT = """
    import sys, time
    sys.path.insert(0, {here!r})
    from analytic import AnalyticForceField, ethanol
    from nyff.md.run import run_md

    class Slow(AnalyticForceField):
        def predict(self, positions):
            time.sleep(2e-3)
            return super().predict(positions)

    run_md(Slow(), ethanol(), output={output!r}, time="800fs", ensemble={ensemble!r}, trajectory={trajectory!r},
           checkpoint_seconds=0.01, frame_interval=3, log_interval=2)
"""


def stopped_process(folder: Path, ensemble: str, trajectory: str, number: int, rows: int, pause: float) -> int:
    """Start a simulation of 1600 steps in its own process, send a signal some time after ``rows`` rows of the log."""
    script = textwrap.dedent(SCRIPT).format(
        here=str(HERE), output=str(folder), ensemble=ensemble, trajectory=trajectory
    )
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        log = folder / "md.csv"
        deadline = time.monotonic() + 60
        while not log.exists() or log.read_bytes().count(b"\n") < rows:
            assert process.poll() is None, "the simulation ended before it could be stopped"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(pause)
        process.send_signal(number)
        return process.wait(timeout=60)


@pytest.mark.parametrize(
    ("ensemble", "trajectory", "number", "rows"),
    [
        ("nve", "extxyz", signal.SIGKILL, 30),
        ("langevin", "extxyz", signal.SIGKILL, 70),
        ("nose-hoover", "traj", signal.SIGKILL, 50),
        ("langevin", "extxyz", signal.SIGTERM, 40),
    ],
)
def test_a_killed_process_resumes_as_if_nothing_had_happened(
    force_field, ethanol, tmp_path, ensemble, trajectory, number, rows
):
    pause = float(np.random.default_rng().uniform(0, 0.05))
    code = stopped_process(tmp_path / "killed", ensemble, trajectory, number, rows, pause)
    assert code == -number
    killed_at = Checkpoint.load(tmp_path / "killed" / "checkpoint.npz").step
    assert 0 < killed_at < 1600
    resume_md(tmp_path / "killed", model=force_field, time="300fs")
    run_md(
        force_field,
        ethanol,
        output=tmp_path / "whole",
        time="300fs",
        ensemble=ensemble,
        trajectory=trajectory,
        frame_interval=3,
        log_interval=2,
    )
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_resuming_a_finished_run_changes_nothing(force_field, ethanol, tmp_path):
    run_md(force_field, ethanol, output=tmp_path / "run", time="20fs", ensemble="nose-hoover")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = resume_md(tmp_path / "run", model=force_field)
    assert result.finished
    assert result.steps == 40
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_checkpoints_follow_the_clock(force_field, ethanol, tmp_path, monkeypatch):
    saved = []
    original = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: (saved.append(self.step), original(self, path)))
    run_md(force_field, ethanol, output=tmp_path / "often", time="10fs", checkpoint_seconds=0.0)
    assert saved == [*range(21), 20]
    saved.clear()
    run_md(force_field, ethanol, output=tmp_path / "seldom", time="10fs", checkpoint_seconds=1000.0)
    assert saved == [0, 20]


class TestRefusals:
    @pytest.fixture
    def run(self, force_field, ethanol, tmp_path):
        return run_md(force_field, ethanol, output=tmp_path / "run", time="20fs").folder

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(FileFormatError, match=r"cannot read .*config.yaml: No such file"):
            resume_md(tmp_path / "nothing")

    def test_no_checkpoint(self, run, force_field):
        (run / "checkpoint.npz").unlink()
        with pytest.raises(
            FileFormatError, match=r"there is no checkpoint .*checkpoint.npz: .* start it again in a new"
        ):
            resume_md(run, model=force_field)

    @pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
    def test_damaged_checkpoint(self, run, force_field, damage):
        path = run / "checkpoint.npz"
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "foreign": b"hello", "empty": b""}[damage])
        with pytest.raises(FileFormatError, match=r"checkpoint.npz is damaged"):
            resume_md(run, model=force_field)

    def test_a_newer_checkpoint(self, run, force_field, monkeypatch):
        monkeypatch.setattr("nyff.md.checkpoint.VERSION", 0)
        with pytest.raises(FileFormatError, match="has checkpoint version 1, this nyff reads 0; use the nyff that"):
            resume_md(run, model=force_field)

    def test_another_model(self, run, analytic):
        other = analytic.AnalyticForceField(domain=None)
        with pytest.raises(InputError, match="the model is not the one this simulation was started with"):
            resume_md(run, model=other)

    def test_a_time_already_past(self, run, force_field):
        with pytest.raises(
            InputError, match="time must not be before the checkpoint at 20 fs, got 10 fs; it is the tot"
        ):
            resume_md(run, model=force_field, time="10fs")

    @pytest.mark.parametrize("name", ["md.csv", "trajectory.extxyz"])
    def test_a_file_that_became_shorter(self, run, force_field, name):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[:-5])
        with pytest.raises(FileFormatError, match=rf"{name} has {len(content) - 5} bytes, {len(content)} when"):
            resume_md(run, model=force_field, time="30fs")

    @pytest.mark.parametrize("trajectory", ["extxyz", "traj"])
    def test_a_file_that_is_gone(self, force_field, ethanol, tmp_path, trajectory):
        run_md(force_field, ethanol, output=tmp_path / "run", time="20fs", trajectory=trajectory)
        (tmp_path / "run" / f"trajectory.{trajectory}").unlink()
        with pytest.raises(FileFormatError, match=rf"cannot continue .*trajectory.{trajectory}.*(run folder|restore)"):
            resume_md(tmp_path / "run", model=force_field, time="30fs")


def test_rows_after_the_checkpoint_are_cut_off(force_field, ethanol, tmp_path):
    """As after a kill: the files went on past the checkpoint, with half a row at the end."""
    run = run_md(force_field, ethanol, output=tmp_path / "run", time="20fs").folder
    with (run / "md.csv").open("a") as file:
        file.write("50,25,1,2,3,4,5,6\n60,30,")
    with (run / "trajectory.extxyz").open("a") as file:
        file.write("9\nProperties=spec")
    resume_md(run, model=force_field, time="40fs")
    run_md(force_field, ethanol, output=tmp_path / "whole", time="40fs")
    assert_same(tmp_path / "whole", run)
    np.testing.assert_array_equal(read_log(run)["step"], range(0, 81, 10))

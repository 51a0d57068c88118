from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import nyff
import nyff.training.run as module
from nyff.errors import FileFormatError, InputError
from nyff.training.checkpoint import load_state
from nyff.training.run import BUNDLED, resume_run, train_run
from nyff.training.settings import Settings
from nyff.training.solve import Interrupted

SETTINGS = Settings(
    lengthscale=10.0,
    permutations="none",
    solver="cg",
    preconditioner="uniform",
    columns=40,
    regularization=1e-8,
    max_memory="1GB",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, train_run(BUNDLED, output=folder, settings=SETTINGS, n_train=30)


def test_the_folder_explains_itself(whole):
    folder, result = whole
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.yaml",
        "train.log",
        "split.json",
        "convergence.csv",
        "metrics.json",
        "model.nyff",
        "solution.npz",
        "plan.json",
        "test_predictions.npz",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["force_mae_ev_per_ang"] == result.metrics["force_mae_ev_per_ang"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["settings"]["regularization"] == 1e-8
    assert nyff.load(folder / "model.nyff").checksum == result.model.checksum
    header, *rows = (folder / "convergence.csv").read_text().split()
    assert header == "iteration,relative_residual,seconds"
    assert float(rows[-1].split(",")[1]) <= 1e-4
    assert "preconditioned CG, 40 columns" in (folder / "train.log").read_text()
    with np.load(folder / "test_predictions.npz") as predictions:
        error = np.abs(predictions["forces"] - predictions["reference_forces"]).mean()
    assert error == pytest.approx(metrics["force_mae_ev_per_ang"])


def test_a_run_is_never_overwritten(whole):
    folder, _ = whole
    before = (folder / "model.nyff").read_bytes()
    with pytest.raises(InputError, match="exists already and is never overwritten"):
        train_run(BUNDLED, output=folder, settings=SETTINGS, n_train=30)
    assert (folder / "model.nyff").read_bytes() == before


def test_bad_requests_leave_no_folder_behind(tmp_path):
    with pytest.raises(InputError, match="`n_train` is 5000 but the data set has 2000"):
        train_run(BUNDLED, output=tmp_path / "run", settings=SETTINGS, n_train=5000)
    with pytest.raises(InputError):
        train_run(tmp_path / "missing.xyz", output=tmp_path / "run", settings=SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(whole, tmp_path):
    _, expected = whole
    steps = 0

    def interrupt(progress):
        nonlocal steps
        if progress.record is not None:
            steps += 1
            if steps in (20, 50):
                signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted, match="solving"):
        train_run(BUNDLED, output=folder, settings=SETTINGS, n_train=30, progress=interrupt)
    assert not (folder / "metrics.json").exists()
    with pytest.raises(Interrupted):
        resume_run(folder, progress=interrupt)
    result = resume_run(folder)
    assert result.model.checksum == expected.model.checksum
    assert result.solution.iterations == expected.solution.iterations
    ours, theirs = ([r.relative_residual for r in s.solution.history] for s in (result, expected))
    assert ours == theirs
    assert not (folder / "checkpoint.npz").exists()
    with pytest.raises(InputError, match="is complete; there is nothing to resume"):
        resume_run(folder)


def test_interrupted_before_the_solve_starts_again(tmp_path):
    def interrupt(progress):
        if progress.stage == "preparing":
            signal.raise_signal(signal.SIGTERM)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        train_run(BUNDLED, output=folder, settings=SETTINGS, n_train=10, progress=interrupt)
    assert resume_run(folder).solution.converged


def test_killed_runs_lose_no_more_than_an_interval(tmp_path):
    """SIGKILL in the middle of CG: the checkpoint of a moment before is there, whole, and the run goes on from it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from nyff.training.run import train_run, BUNDLED\n"
        "from nyff.training.settings import Settings\n"
        "settings = Settings(lengthscale=10.0, permutations='none', solver='cg', preconditioner='none', max_memory='1GB')\n"
        f"train_run(BUNDLED, output={str(tmp_path / 'run')!r}, settings=settings, n_train=60, checkpoint_seconds=0.05)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    limit = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.5)
    process.kill()
    process.wait()
    state = load_state(checkpoint, "cpu")
    assert state.iteration > 0
    first: list[int] = []

    def watch(progress):
        if progress.record is not None:
            first.append(progress.record.iteration)
            if len(first) > 3:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        resume_run(tmp_path / "run", progress=watch)
    assert first[0] == state.iteration + 1


def test_damaged_and_changed_runs_are_refused(tmp_path, ethanol, monkeypatch):
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="is no training run"):
        resume_run(tmp_path)

    def interrupt(progress):
        if progress.record is not None and progress.record.iteration == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train_run(BUNDLED, output=folder, settings=SETTINGS, n_train=10, progress=interrupt)
    checkpoint = folder / "checkpoint.npz"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match="cannot read the checkpoint .* delete it to start the run again"):
        resume_run(folder)
    checkpoint.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(module.bundled, "ethanol", lambda: ethanol[:500])
        with pytest.raises(InputError, match="the data of the run in .* have changed"):
            resume_run(folder)
    (folder / "config.yaml").write_text("settings: [")
    with pytest.raises(FileFormatError, match=r"config.yaml or split.json is damaged"):
        resume_run(folder)


def test_data_files_are_found_again_from_another_folder(tmp_path, ethanol, monkeypatch):
    from nyff.data.io import write_dataset

    write_dataset(ethanol[:30], tmp_path / "data.xyz")
    monkeypatch.chdir(tmp_path)

    def interrupt(progress):
        if progress.record is not None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train_run("data.xyz", output="run", settings=SETTINGS, n_train=10, progress=interrupt)
    monkeypatch.chdir(Path("/"))
    assert resume_run(tmp_path / "run").solution.converged


def test_a_disk_that_fills_up_costs_nothing_that_was_written(tmp_path, monkeypatch):
    """The checkpoint of a moment before stays, and the run goes on from it when there is room again."""
    calls = 0
    original = module.save_state

    def full_disk(path, state):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise InputError(f"cannot write {path}: No space left on device; choose another place for it")
        original(path, state)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_state", full_disk)
        with pytest.raises(InputError, match="No space left"):
            train_run(BUNDLED, output=folder, settings=SETTINGS, n_train=30, checkpoint_seconds=0.0)
    assert load_state(folder / "checkpoint.npz", "cpu").iteration == 2
    assert resume_run(folder).solution.converged


def test_a_run_on_files_resumed_from_elsewhere_gives_the_same_model(tmp_path, ethanol, monkeypatch):
    from nyff.data.io import write_dataset

    write_dataset(ethanol[:60], tmp_path / "data.xyz")
    monkeypatch.chdir(tmp_path)
    expected = train_run("data.xyz", output="whole", settings=SETTINGS, n_train=20)

    def interrupt(progress):
        if progress.record is not None and progress.record.iteration == 7:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_run("data.xyz", output="run", settings=SETTINGS, n_train=20, progress=interrupt)
    monkeypatch.chdir(Path("/"))
    assert resume_run(tmp_path / "run").model.checksum == expected.model.checksum

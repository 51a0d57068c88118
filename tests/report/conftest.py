"""One small real training run with a simulation, and its report; tests copy the folder before they change it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nyff.data.io import write_dataset
from nyff.md.relax import relax
from nyff.md.run import run_md
from nyff.report import render_report
from nyff.training.run import train_run
from nyff.training.settings import Settings


@pytest.fixture(scope="session")
def run(tmp_path_factory, ethanol) -> Path:
    """A CG fit of 50 structures tested on 60, a relaxed structure and 60 fs of dynamics."""
    root = tmp_path_factory.mktemp("report")
    write_dataset(ethanol[:150], root / "data.xyz")
    folder = root / "my run"
    settings = Settings(lengthscale=10.0, solver="cg", columns=60, permutations="none")
    train_run(root / "data.xyz", output=folder, n_train=50, settings=settings)
    found = relax(folder / "model.nyff", Atoms(ethanol.numbers, ethanol.positions[0]), fmax=0.05)
    frozen = Atoms(ethanol.numbers, found.atoms.positions)
    frozen.calc = SinglePointCalculator(frozen, energy=found.energy, forces=found.atoms.get_forces())
    write(folder / "relaxed.xyz", frozen, format="extxyz")
    run_md(
        folder / "model.nyff",
        found.atoms,
        output=folder / "md",
        ensemble="nose-hoover",
        temperature=100,
        time="60fs",
        log_interval=2,
    )
    return folder


@pytest.fixture(scope="session")
def predictions(run) -> dict[str, np.ndarray]:
    with np.load(run / "test_predictions.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def page(run) -> str:
    return render_report(run)


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))

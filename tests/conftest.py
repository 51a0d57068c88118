"""Fixtures for all tests: the bundled data, small trained models, the devices present, data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is loaded, as the command line does: threads that spin make tests many times slower on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import torch

import nyff

DEVICES = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


@pytest.fixture(scope="session")
def ethanol() -> nyff.Dataset:
    return nyff.datasets.ethanol()


@pytest.fixture(scope="session")
def ethanol_permutations(ethanol: nyff.Dataset) -> np.ndarray:
    return nyff.find_permutations(ethanol[:200])


@pytest.fixture(scope="session")
def small_fit(ethanol: nyff.Dataset, ethanol_permutations: np.ndarray) -> nyff.FitResult:
    """A force field of ethanol from 60 structures, tested on others."""
    return nyff.fit(ethanol[:160], 60, lengthscale=10.0, permutations=ethanol_permutations, solver="cholesky")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def rmd17() -> Path:
    """Folder with revised MD17 data beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "rmd17"
    if not folder.is_dir():
        pytest.skip("the rMD17 files are not beside the checkout (../shared/data/rmd17)")
    return folder

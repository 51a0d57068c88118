"""The analytic force field as fixtures, and runs that most tests share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def analytic() -> ModuleType:
    """tests/md/analytic.py as a module."""
    spec = importlib.util.spec_from_file_location("nyff_tests_analytic", HERE / "analytic.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def force_field(analytic):
    return analytic.AnalyticForceField()


@pytest.fixture
def ethanol(analytic):
    return analytic.ethanol()

"""nyff: Nyström force fields.

Learns a molecule's potential-energy surface from a few hundred quantum-chemistry calculations and hands it to ASE,
i-PI, molecular dynamics and geometry optimisation. Energies are in eV, lengths in Å, times in fs.

The names below load their modules when first used, so that ``import nyff`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nyff._version import __version__
from nyff.errors import FileFormatError, InputError, MemoryLimitError, NyffError, SimulationError

if TYPE_CHECKING:
    from nyff.calculator import NyffCalculator
    from nyff.data import bundled as datasets
    from nyff.data.dataset import Dataset
    from nyff.data.io import read_dataset
    from nyff.data.split import split
    from nyff.kernel.symmetry import find_permutations
    from nyff.model.file import load
    from nyff.model.force_field import ForceField
    from nyff.training.train import FitResult, fit

_HOME = {
    "Dataset": "nyff.data.dataset",
    "FitResult": "nyff.training.train",
    "ForceField": "nyff.model.force_field",
    "NyffCalculator": "nyff.calculator",
    "find_permutations": "nyff.kernel.symmetry",
    "fit": "nyff.training.train",
    "load": "nyff.model.file",
    "read_dataset": "nyff.data.io",
    "split": "nyff.data.split",
}

__all__ = [
    "Dataset",
    "FileFormatError",
    "FitResult",
    "ForceField",
    "InputError",
    "MemoryLimitError",
    "NyffCalculator",
    "NyffError",
    "SimulationError",
    "__version__",
    "datasets",
    "find_permutations",
    "fit",
    "load",
    "read_dataset",
    "split",
]


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return import_module("nyff.data.bundled")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'nyff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""Which atoms a template file holds, read without ASE wherever the format allows it.

i-PI never sends species over its sockets, so the template is the only place where the order of the atoms can be
checked against the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nyff.errors import InputError

_TABLE = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt "
    "Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db "
    "Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)
SYMBOLS = tuple(_TABLE.split())
ISOTOPES = {"D": 1, "T": 1, "C13": 6, "O17": 8, "O18": 8, "Cl37": 17, "Br81": 35}
"""Labels that i-PI knows by mass; to a force field they are their element."""

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)} | ISOTOPES


def read_species(path: str | Path) -> np.ndarray:
    """Atomic numbers [N] of the first structure in a file: .xyz directly, any other format through ASE."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"template {str(path)!r} does not exist; give the structure file the simulation starts from")
    if path.suffix.lower() in (".xyz", ".extxyz"):
        return _read_xyz(path)
    from ase.io import iread

    return np.asarray(next(iread(path)).numbers, dtype=np.int64)


def formula(numbers: Sequence[int] | np.ndarray) -> str:
    """The elements in the order of the atoms, runs counted: ``C2 O H6``."""
    names = [SYMBOLS[int(number)] for number in numbers]
    runs: list[list[str]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1].append(name)
        else:
            runs.append([name])
    return " ".join(run[0] + (str(len(run)) if len(run) > 1 else "") for run in runs)


def check_species(numbers: np.ndarray, wanted: Sequence[int] | np.ndarray, source: str) -> None:
    """Raise :class:`InputError` unless the atoms of ``source`` are those of the model, in the model's order."""
    numbers, wanted = np.asarray(numbers), np.asarray(wanted)
    if np.array_equal(numbers, wanted):
        return
    same_atoms = np.array_equal(np.sort(numbers), np.sort(wanted))
    remedy = "reorder its atoms as in the training data" if same_atoms else "use the structure the model was trained on"
    raise InputError(f"{source} has the atoms {formula(numbers)}, the model wants {formula(wanted)}; {remedy}")


def _read_xyz(path: Path) -> np.ndarray:
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        count = int(lines[0])
        labels = [line.split()[0] for line in lines[2 : 2 + count]]
        if len(labels) != count:
            raise IndexError
    except (IndexError, ValueError):
        raise InputError(
            f"template {str(path)!r} is not an xyz file: wanted a number of atoms, a comment line and one line per atom"
        ) from None
    unknown = sorted({label for label in labels if label not in _NUMBERS})
    if unknown:
        raise InputError(f"template {str(path)!r} has the unknown elements {', '.join(unknown)}; use their symbols")
    return np.array([_NUMBERS[label] for label in labels], dtype=np.int64)

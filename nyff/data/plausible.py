"""Hints: what is odd about labelled structures, judged by chemistry that holds for every molecule.

Wrong units are the field's most frequent mistake. Magnitudes of forces tell them apart badly, because they grow with
temperature; the stiffness of bonds does not. The slope of the force along a bond over its length is 17 (Si-H) to 60
eV/Å² (F-H) for bonds to hydrogen and 11 (I-I) to 143 (N-N, C-O) for others between non-metals, whatever the sampling,
while eV and kcal/mol differ by 23 and kcal/mol and kJ/mol by 4.2.
"""

from __future__ import annotations

import math

import numpy as np

from nyff.data.dataset import Dataset
from nyff.data.geometry import NON_METALS, Bonds, find_bonds, nearest_neighbours, slope
from nyff.errors import InputError
from nyff.units import EV_ANGSTROM, Units, energy_in_ev, length_in_angstrom, parse_units

HYDROGEN_STIFFNESS = (11.0, 33.0, 80.0)  # eV/Å²: least, usual and most that the median bond to hydrogen may have
OTHER_STIFFNESS = (4.0, 40.0, 160.0)  # eV/Å²: the same where there is no hydrogen
STRONG_FORCE = 10.0  # eV/Å, median force on an atom; 1.5 at 500 K
CLOSEST, FARTHEST = 0.7, 1.5  # sums of covalent radii, median distance to the nearest neighbour; close to 1
MANY = 50  # structures that the comparison of energies with forces needs
UNBALANCED = 0.02  # net force or torque over its largest possible value


def hints(dataset: Dataset) -> list[str]:
    """Everything odd about a data set that has passed the gate's errors, a sentence each with a remedy."""
    if not len(dataset):
        return []
    length = _length_hint(dataset)
    if length:
        return [length]  # all else would follow from it
    bonds = find_bonds(dataset)
    found = [_force_hint(dataset, bonds), _energy_hint(dataset, bonds), _zero_hint(dataset), *_balance_hints(dataset)]
    return [hint for hint in found if hint]


def _length_hint(dataset: Dataset) -> str | None:
    """Each atom's nearest neighbour is about a covalent distance away, in a molecule of non-metals."""
    if not np.isin(dataset.numbers, NON_METALS).all():
        return None
    nearest = nearest_neighbours(dataset)
    if CLOSEST <= nearest <= FARTHEST:
        return None
    units = _units(dataset)
    names = ("angstrom", "bohr", "nm")
    likely = min(names, key=lambda name: abs(math.log(nearest * length_in_angstrom(name) / units.length)))
    return (
        f"atoms are {nearest:.2g} covalent distances from their nearest neighbours: positions look like {likely} read "
        f"as {units.length_name}; read the file with units='{units.energy_name},{likely}' or what it is in (--units)"
    )


def _force_hint(dataset: Dataset, bonds: Bonds | None) -> str | None:
    if bonds is None:
        typical = float(np.median(np.linalg.norm(dataset.forces, axis=-1)))
        if typical > STRONG_FORCE:
            return (
                f"forces are implausibly large, {typical:.1f} eV/Å for the median atom (1 to 3 is usual); "
                "check their unit (--units)"
            )
        return None
    chosen = bonds.to_hydrogen if bonds.to_hydrogen.any() else np.ones(len(bonds.stiffness), dtype=bool)
    least, usual, most = HYDROGEN_STIFFNESS if bonds.to_hydrogen.any() else OTHER_STIFFNESS
    k = float(np.median(bonds.stiffness[chosen]))
    kind = "bonds to hydrogen" if bonds.to_hydrogen.any() else "bonds"
    what = f"the median of {chosen.sum()} {kind} has a stiffness of {k:.3g} eV/Å² where about {usual:.0f} is usual"
    if k < 0:
        return f"{what}: forces push stretched bonds further apart; they look like gradients, whose sign is opposite"
    if least <= k <= most:
        return None
    units = _units(dataset)
    names = ("eV", "kcal/mol", "kJ/mol", "hartree")
    likely = min(names, key=lambda name: abs(math.log(k * energy_in_ev(name) / units.energy / usual)))
    if energy_in_ev(likely) == units.energy:
        return f"{what}; check the unit of the forces (--units)"
    length = "" if units.length == 1.0 else f",{units.length_name}"
    return (
        f"{what}: forces look like {likely}/{units.length_name} read as {units.energy_name}/{units.length_name}; "
        f"read the file with units='{likely}{length}' (--units {likely}{length})"
    )


def _energy_hint(dataset: Dataset, bonds: Bonds | None) -> str | None:
    """The energy stored in stretched bonds, f²/2k, must show in the energies with a slope near 1."""
    if dataset.energies is None:
        return None
    spread = float(np.ptp(dataset.energies))
    if spread == 0.0:
        return (
            f"all energies are the same ({dataset.energies[0]:.6g} eV); they look like missing labels: name the right "
            "ones with energy_key= (--energy-key), or leave them out"
        )
    if bonds is None or len(dataset) < MANY or not (bonds.stiffness > 0).all():
        return None
    stored = np.sum((bonds.forces - bonds.forces.mean(axis=0)) ** 2 / (2 * bonds.stiffness), axis=1)
    value, error = slope(stored, dataset.energies)
    if value - 3 * error < 8 and value + 3 * error > 1 / 8:
        return None
    return (
        f"energies vary {value:.2g} times as much as the forces say (about 1 is right): energies and forces are in "
        "different units or belong to different structures; convert one of them"
    )


def _zero_hint(dataset: Dataset) -> str | None:
    zero = np.flatnonzero(~dataset.forces.any(axis=(1, 2)))
    if not len(zero):
        return None
    return (
        f"{len(zero)} of {len(dataset)} structures have forces of exactly zero, frame {dataset.frames[zero[0]]} first; "
        "unless they are minima, they look like missing labels"
    )


def _balance_hints(dataset: Dataset) -> list[str | None]:
    """Forces between atoms sum to zero and exert no torque; nyff removes what does."""
    size = float(np.sum(np.linalg.norm(dataset.forces, axis=-1), axis=1).mean())
    if size == 0.0:
        return []
    net = float(np.linalg.norm(dataset.forces.sum(axis=1), axis=-1).mean())
    if net > UNBALANCED * size:
        return [
            f"forces do not sum to zero ({net:.2g} eV/Å net force per structure): an external field, atoms that were "
            "cut away, or noise; nyff learns the forces without it"
        ]
    if any(dataset.pbc):
        return []
    arms = dataset.positions - dataset.positions.mean(axis=1, keepdims=True)
    torque = np.linalg.norm(np.cross(arms, dataset.forces).sum(axis=1), axis=-1).mean()
    largest = np.sum(np.linalg.norm(arms, axis=-1) * np.linalg.norm(dataset.forces, axis=-1), axis=1).mean()
    if torque > UNBALANCED * largest:
        return [
            f"forces turn the molecule as a whole ({torque:.2g} eV torque per structure): they may belong to another "
            "orientation than the positions, such as a program's standard orientation; check how they were extracted"
        ]
    return []


def _units(dataset: Dataset) -> Units:
    """The units the numbers were read as."""
    try:
        return parse_units(str(dataset.source.get("units", EV_ANGSTROM)))
    except InputError:
        return EV_ANGSTROM

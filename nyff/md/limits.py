"""When to stop a simulation: atoms collide, bonds break, forces explode, numbers are not finite.

The limits come from the ranges the training data covered, which the model carries. They are wide: a healthy run never
meets them, and a run that does has been outside of what the model knows for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import chemical_symbols, covalent_radii

from nyff.errors import InputError
from nyff.kernel.cell import MinimumImage

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField

# A pair is bonded when the training data had it closer than this many sums of covalent radii.
_BONDED = 1.25
# Without training ranges, atoms closer than this many sums of covalent radii have collided.
_COLLIDED = 0.5

START_REMEDY = (
    "Are its atoms in the order of the training data and its lengths in Å? Otherwise the model does not know it; train "
    "with structures like it"
)


@dataclass(frozen=True)
class Limits:
    """How far past the training data a simulation may go, as factors of the ranges there.

    ``shortest``: of the shortest distance of two atoms, among pairs of the same elements and bonding, so that atoms
    may trade places (a methyl group turns). ``longest``: of the longest distance of bonded atoms, again among equal
    bonds, and of the molecule's largest diameter for all other pairs. ``force``: of the largest force component.
    """

    shortest: float = 0.75
    longest: float = 1.5
    force: float = 3.0

    def __post_init__(self) -> None:
        if not (0 < self.shortest <= 1 <= min(self.longest, self.force)):
            raise InputError(
                f"limits must have 0 < shortest <= 1, longest >= 1 and force >= 1, got {self}; "
                f"the defaults are shortest={Limits.shortest}, longest={Limits.longest}, force={Limits.force}"
            )


class Watch:
    """Compares structures with the limits of a model; cheap enough for every few steps.

    Both checks return what is wrong in words, or None. Without training ranges in the model's metadata
    (``domain``), only collisions far inside the covalent radii and numbers that are not finite are found.
    """

    def __init__(self, model: ForceField, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._first, self._second = np.tril_indices(model.n_atoms, -1)
        self._numbers = np.asarray(model.numbers)
        cell = getattr(model, "cell", None)
        self._fold = None if cell is None else MinimumImage(cell, model.image)
        domain = model.metadata.get("domain")
        contact = covalent_radii[self._numbers[self._first]] + covalent_radii[self._numbers[self._second]]
        self._trained = domain is not None
        if domain is None:
            self._seen_low, self._seen_high = contact, np.full(len(contact), np.inf)
            self._low, self._high = _COLLIDED * contact, self._seen_high
            self._seen_force = self._force = np.inf
        else:
            self._seen_low, self._seen_high = self._ranges(domain, contact)
            self._low, self._high = limits.shortest * self._seen_low, limits.longest * self._seen_high
            self._seen_force = float(domain.get("max_force", np.inf))
            self._force = limits.force * self._seen_force
        self._low_squared, self._high_squared = self._low**2, self._high**2

    def _ranges(self, domain: dict, contact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shortest and longest distance per pair [D], shared among pairs of equal elements and bonding."""
        low, high = np.array(domain["min_distance"]), np.array(domain["max_distance"])
        bonded = low < _BONDED * contact
        elements = np.sort(np.stack([self._numbers[self._first], self._numbers[self._second]]), axis=0)
        _, kind = np.unique(np.vstack([elements, bonded]), axis=1, return_inverse=True)
        kind = kind.ravel()
        shortest, longest = np.full(kind.max() + 1, np.inf), np.zeros(kind.max() + 1)
        np.minimum.at(shortest, kind, low)
        np.maximum.at(longest, kind, high)
        return shortest[kind], np.where(bonded, longest[kind], high.max())

    def forces(self, energy: float, forces: np.ndarray) -> str | None:
        """Check an energy (eV) and forces [atoms, 3] (eV/Å)."""
        largest = float(np.abs(forces).max())
        if largest <= self._force and isfinite(energy) and largest < np.inf:
            return None
        if not (isfinite(energy) and isfinite(largest)):
            return "the energy or the forces are not finite"
        return (
            f"the largest force component is {largest:.1f} eV/Å; it was {self._seen_force:.1f} eV/Å or less in "
            f"training and the limit is {self._force:.1f} eV/Å"
        )

    def distances(self, positions: np.ndarray) -> str | None:
        """Check positions [atoms, 3] (Å)."""
        arrows = positions[self._first] - positions[self._second]
        if self._fold is not None:
            arrows = self._fold(torch.from_numpy(arrows)).numpy()
        squared = np.einsum("px,px->p", arrows, arrows)
        short, long = squared < self._low_squared, squared > self._high_squared
        if not (short.any() or long.any()):
            return None if np.isfinite(squared.sum()) else "a position is not finite"
        # Of several, the worst one: relative to its limit.
        ratio = np.where(short, self._low_squared / np.maximum(squared, 1e-12), 0.0)
        ratio = np.where(long, squared / self._high_squared, ratio)
        worst = int(np.argmax(ratio))
        if not self._trained:
            seen, limit = f"their covalent radii add up to {self._seen_low[worst]:.2f} Å", self._low[worst]
        elif short[worst]:
            seen, limit = f"such pairs had {self._seen_low[worst]:.2f} Å or more in training", self._low[worst]
        else:
            seen, limit = f"such pairs had {self._seen_high[worst]:.2f} Å or less in training", self._high[worst]
        return (
            f"atoms {self._label(self._second[worst])} and {self._label(self._first[worst])} are "
            f"{np.sqrt(squared[worst]):.2f} Å apart; {seen} and the limit is {limit:.2f} Å"
        )

    def _label(self, atom: int) -> str:
        return f"{chemical_symbols[self._numbers[atom]]}{atom}"

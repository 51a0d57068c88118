"""Periodic cells: which image of another atom is the nearest, for any shape of cell.

A pair descriptor in a cell knows each pair of atoms by one distance, that of the nearest images. Rounding fractional
coordinates finds it in a rectangular cell only; in a skewed one it can be wrong by whole lattice vectors. Here the
lattice is Minkowski-reduced first, coordinates are rounded in the reduced basis, and what could still be nearer, the
neighbours of the rounded image, is compared: in a Minkowski-reduced basis of up to three vectors the nearest lattice
point is among them (P. Q. Nguyen, D. Stehlé, ACM Trans. Algorithms 5, 46 (2009), doi 10.1145/1597036.1597050).

**What a global descriptor in a cell can do:** a fixed number of atoms in a fixed lattice, such as a molecule on a
surface, a molecular crystal or an intercalated layer, near the structures it was trained on; forces, Hessians and the
stress at that lattice.

**What it cannot:** distinguish the second nearest image of an atom, so interactions with an atom's own images are
constant, and forces jump where a pair crosses half the cell; exchange atoms or molecules that were not exchanged in
training, unless the exchange is in the permutation group; take more or fewer atoms, a supercell, or a lattice far from
the one it was trained in.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nyff.errors import InputError

IMAGES = ("nearest", "rounded")
"""``nearest`` is the true nearest image; ``rounded`` rounds fractional coordinates, as sGDML does."""

# No lattice of atoms repeats in less: the shortest spacings in crystals are 2.2 Å.
_SHORTEST = 1.5


def checked_cell(vectors: ArrayLike, pbc: ArrayLike | None = None) -> NDArray[np.float64]:
    """Lattice vectors as rows [3, 3] in Å, with zeros for directions that are not periodic.

    Without ``pbc`` [3] every row that is not zero counts as periodic. Raises :class:`~nyff.errors.InputError` for rows
    that are not independent or repeat so soon that atoms would sit on their own images.
    """
    rows = np.array(vectors, dtype=np.float64)
    if rows.shape != (3, 3) or not np.isfinite(rows).all():
        raise InputError(f"`cell` must be three finite lattice vectors as rows [3, 3] in Å, got {rows.tolist()}")
    rows[~(rows.any(1) if pbc is None else np.asarray(pbc, dtype=bool))] = 0.0
    periodic = rows[rows.any(1)]
    if pbc is not None and len(periodic) < np.sum(pbc):
        raise InputError(f"`cell` has no lattice vector in a periodic direction: {rows.tolist()} with pbc={pbc}")
    if len(periodic) == 0:
        raise InputError("`cell` has no lattice vectors; leave it out (None) for a molecule")
    lengths = np.linalg.norm(periodic, axis=1)
    if np.linalg.svd(periodic / lengths[:, None], compute_uv=False)[-1] < 1e-6:
        raise InputError(f"the cell is singular: its vectors {periodic.tolist()} are not independent; correct it")
    shortest = float(np.linalg.norm(_reduced(rows), axis=1).min())
    if shortest < _SHORTEST:
        raise InputError(
            f"the lattice repeats every {shortest:.3g} Å, nearer than two atoms can be; give lattice vectors in Å, "
            "as rows"
        )
    return rows


def free_rotations(cell: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Unit axes [k, 3] about which a structure may turn at no cost: all three, a chain's own axis, or none."""
    if cell is None:
        return np.eye(3)
    periodic = cell[cell.any(1)]
    return periodic / np.linalg.norm(periodic, axis=1) if len(periodic) == 1 else np.empty((0, 3))


def rounding_reach(cell: NDArray[np.float64]) -> float:
    """The length in Å below which rounding fractional coordinates finds the nearest image for sure; may be infinite."""
    periodic = cell[cell.any(1)]
    gram = periodic @ periodic.T
    if np.abs(gram - np.diag(np.diag(gram))).max() < 1e-10 * gram.max():
        return float("inf")
    # Fractional coordinates stay below a half as long as the vector is shorter than half of every width of the cell.
    return float(0.5 / np.linalg.norm(np.linalg.pinv(periodic), axis=0).max())


class MinimumImage:
    """Folds difference vectors into a lattice; ``cell`` as from :func:`checked_cell`, ``image`` of :data:`IMAGES`."""

    def __init__(self, cell: NDArray[np.float64], image: str = "nearest", device: torch.device | str = "cpu"):
        if image not in IMAGES:
            raise InputError(f"unknown image {image!r}; known are {', '.join(IMAGES)}")
        basis = cell[cell.any(1)] if image == "rounded" else _reduced(cell)
        exact = image == "rounded" or np.isinf(rounding_reach(basis))
        shifts = np.array([s for s in product((-1, 0, 1), repeat=len(basis)) if any(s)]) @ basis
        self._basis = torch.tensor(basis, device=device)
        self._inverse = torch.tensor(np.linalg.pinv(basis), device=device)
        self._shifts = None if exact else torch.tensor(shifts, device=device)
        # A vector shorter than half the shortest lattice vector has no nearer image.
        self._sure = 0.25 * float((basis**2).sum(1).min())

    def __call__(self, delta: Tensor) -> Tensor:
        """The images of ``delta`` [..., 3] Å nearest to zero."""
        folded = delta - torch.round(delta @ self._inverse) @ self._basis
        if self._shifts is None:
            return folded
        open_ = (folded * folded).sum(-1) > self._sure
        if not bool(open_.any()):
            return folded
        candidates = folded[open_]
        moved = candidates.unsqueeze(-2) + self._shifts  # [vector, shift, 3]
        square, which = (moved * moved).sum(-1).min(-1)
        nearer = square < (candidates * candidates).sum(-1)
        best = moved[torch.arange(len(moved), device=moved.device), which]
        folded[open_] = torch.where(nearer.unsqueeze(-1), best, candidates)
        return folded


def _reduced(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Minkowski-reduced basis [k, 3] of the same lattice."""
    from ase.geometry import minkowski_reduce

    periodic = cell.any(1)
    reduced: NDArray[np.float64] = np.asarray(minkowski_reduce(cell, pbc=periodic)[0])[periodic]
    return reduced

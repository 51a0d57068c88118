"""Rigid motions of a molecule: translations and rotations, which cost no energy."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from nyff.kernel.cell import free_rotations

# How far off a line the atoms of a linear molecule may be, relative to its size: relaxing leaves a little.
_LINEAR = 3e-3


def rigid_motions(atoms: Atoms, masses: np.ndarray | None = None) -> np.ndarray:
    """Orthonormal columns [3·atoms, 6] that span the free translations and rotations of ``atoms``.

    5 columns for a linear molecule, 3 (translations) for a crystal or a slab, 4 for a chain, which may turn about its
    axis. With ``masses`` [atoms] the columns are in mass-weighted coordinates, displacement times the square root of
    the mass.
    """
    positions = atoms.positions
    weights = np.ones(len(positions)) if masses is None else np.asarray(masses)
    centred = positions - np.average(positions, axis=0, weights=weights)
    motions = [np.tile(axis, (len(positions), 1)) for axis in np.eye(3)]
    # Lengths of the order of one, as those of translations: the rank then is that of the geometry.
    size = np.sqrt((centred**2).sum(1).mean())
    cell = atoms.cell.array * atoms.pbc[:, None] if atoms.pbc.any() else None
    motions += [np.cross(axis, centred / size) for axis in free_rotations(cell)]
    weighted = np.stack(motions) * np.sqrt(weights / weights.mean())[:, None]
    u, s, _ = np.linalg.svd(weighted.reshape(len(motions), -1).T, full_matrices=False)
    return np.ascontiguousarray(u[:, s > _LINEAR * s[0]])

"""Rigid motions of a molecule: translations and rotations, which cost no energy."""

from __future__ import annotations

import numpy as np

# How far off a line the atoms of a linear molecule may be, relative to its size: relaxing leaves a little.
_LINEAR = 3e-3


def rigid_motions(positions: np.ndarray, masses: np.ndarray | None = None, periodic: bool = False) -> np.ndarray:
    """Orthonormal columns [3·atoms, 6] that span translations and rotations of ``positions`` [atoms, 3].

    5 columns for a linear molecule, 3 (translations) if ``periodic``. With ``masses`` [atoms] the columns are in
    mass-weighted coordinates, displacement times the square root of the mass.
    """
    weights = np.ones(len(positions)) if masses is None else np.asarray(masses)
    centred = positions - np.average(positions, axis=0, weights=weights)
    motions = [np.tile(axis, (len(positions), 1)) for axis in np.eye(3)]
    if not periodic:
        # Lengths of the order of one, as those of translations: the rank then is that of the geometry.
        size = np.sqrt((centred**2).sum(1).mean())
        motions += [np.cross(axis, centred / size) for axis in np.eye(3)]
    weighted = np.stack(motions) * np.sqrt(weights / weights.mean())[:, None]
    u, s, _ = np.linalg.svd(weighted.reshape(len(motions), -1).T, full_matrices=False)
    return np.ascontiguousarray(u[:, s > _LINEAR * s[0]])

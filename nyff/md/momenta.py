"""Momenta at a temperature, without net momentum and rotation; and how many degrees of freedom are left."""

from __future__ import annotations

import numpy as np

from nyff.errors import InputError
from nyff.units import KB


def boltzmann_momenta(
    positions: np.ndarray,
    masses: np.ndarray,
    temperature: float,
    rng: np.random.Generator,
    n_dof: int,
    *,
    periodic: bool = False,
) -> np.ndarray:
    """Momenta [atoms, 3] drawn from the Maxwell-Boltzmann distribution, at rest as a whole, at exactly ``temperature``.

    Net momentum and rotation are removed (of a periodic system the momentum only); then all momenta are scaled so that
    ``n_dof`` degrees of freedom have that temperature (K). Masses are in ASE's unit of mass, momenta in
    Å sqrt(amu eV)/Å, as ASE keeps them.
    """
    momenta = rng.standard_normal((len(masses), 3)) * np.sqrt(masses * KB * temperature)[:, None]
    momenta = at_rest(positions, masses, momenta, periodic=periodic)
    now = kinetic_temperature(momenta, masses, n_dof)
    return momenta * np.sqrt(temperature / now) if now > 0 else momenta


def at_rest(positions: np.ndarray, masses: np.ndarray, momenta: np.ndarray, *, periodic: bool = False) -> np.ndarray:
    """The same momenta [atoms, 3] without net momentum and, unless ``periodic``, without angular momentum."""
    momenta = momenta - masses[:, None] * momenta.sum(0) / masses.sum()
    if periodic:
        return momenta
    arms = positions - masses @ positions / masses.sum()
    spin = np.cross(arms, momenta).sum(0)
    # The pseudo-inverse leaves out the axis of a linear molecule, about which nothing can rotate.
    turning = np.linalg.pinv(_inertia(arms, masses), rcond=1e-8, hermitian=True) @ spin
    return momenta - masses[:, None] * np.cross(turning, arms)


def degrees_of_freedom(n_atoms: int, *, rotation: bool) -> int:
    """3N - 3, and 3 fewer when the molecule has no angular momentum (2 fewer for two atoms).

    Longer linear molecules count as bent, because they are as soon as they move; then zero angular momentum about the
    axis holds one of the two bending motions. Raises :class:`~nyff.errors.InputError` when nothing is left to move.
    """
    if n_atoms < 2:
        raise InputError(f"a simulation needs at least 2 atoms, got {n_atoms}")
    return 3 * n_atoms - 3 - (0 if rotation else min(n_atoms, 3))


def kinetic_temperature(momenta: np.ndarray, masses: np.ndarray, n_dof: int) -> float:
    """Temperature in K of ``momenta`` [atoms, 3]: twice the kinetic energy over kB and the degrees of freedom."""
    return float((momenta**2 / masses[:, None]).sum() / (KB * n_dof))


def _inertia(arms: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """The tensor of inertia [3, 3] about the centre of mass, ``arms`` [atoms, 3] being measured from it."""
    return (masses * (arms**2).sum(1)).sum() * np.eye(3) - (arms.T * masses) @ arms

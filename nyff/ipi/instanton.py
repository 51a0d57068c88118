"""Where an instanton starts: at a transition state, and below the temperature at which there is one.

At a saddle with one unstable mode of frequency ω‡ the barrier is crossed by tunnelling below the crossover temperature
T_c = ħω‡/2πk (J. O. Richardson, Int. Rev. Phys. Chem. 37, 171 (2018), doi:10.1080/0144235X.2018.1472353); above it the
ring polymer collapses onto the saddle and there is no instanton to find.
"""

from __future__ import annotations

import numpy as np

from nyff.errors import InputError
from nyff.ipi.gle import INVERSE_CM
from nyff.units import HARTREE, KB

UNSTABLE_CM = 30.0
"""Imaginary frequencies below this are rotations of a structure that is not exactly stationary."""


def crossover_temperature(matrix: np.ndarray, masses: np.ndarray) -> float:
    """T_c in K from a Hessian [3N, 3N] (atomic units) and ``masses`` [N] (electron masses).

    Raises :class:`InputError` unless there is exactly one unstable mode.
    """
    weights = np.repeat(masses, 3) ** -0.5
    squares = np.linalg.eigvalsh(matrix * weights[:, None] * weights)
    unstable = np.sqrt(-squares[squares < -((UNSTABLE_CM * INVERSE_CM) ** 2)])
    if len(unstable) != 1:
        found = ", ".join(f"{frequency / INVERSE_CM:.0f}i" for frequency in unstable) or "none"
        raise InputError(
            f"an instanton starts at a transition state, with one unstable mode; unstable here are {found} (cm^-1). "
            "Optimise the structure to a saddle point first, for example with --motion instanton --nbeads 1"
        )
    return float(unstable[0] * HARTREE / (2 * np.pi * KB))

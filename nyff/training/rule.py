"""The paper's rule of thumb for the number of columns, and the power law it rests on.

S. Blücher, K.-R. Müller, S. Chmiela, J. Chem. Theory Comput. 19, 4619 (2023), doi 10.1021/acs.jctc.2c01304: steps of
CG fall as

    steps/n = (k/k̂)^(−m),

and a solve costs steps · n² for the products with K and n k² for the preconditioner. The sum is smallest at

    k* = (m k̂^m n²/2)^{1/(m+2)},

with m = 1 and k̂ = 100 for sampled columns of molecules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nyff.errors import InputError


@dataclass(frozen=True)
class PowerLaw:
    """steps/n = (k/``scale``)^(−``slope``); ``scale`` is k̂, the columns at which preconditioning starts to help."""

    slope: float = 1.0
    scale: float = 100.0

    def relative_steps(self, columns: ArrayLike) -> np.ndarray:
        """Steps per unknown at ``columns`` k."""
        return np.asarray((np.asarray(columns, dtype=np.float64) / self.scale) ** -self.slope)

    def best_columns(self, n: float) -> float:
        """k* for ``n`` unknowns."""
        return float((self.slope * self.scale**self.slope * n**2 / 2) ** (1 / (self.slope + 2)))


PAPER = PowerLaw()


def paper_columns(n: int) -> int:
    """The paper's k for ``n`` = 3NM unknowns, at least one and at most n."""
    return max(1, min(n, round(PAPER.best_columns(n))))


def fit_power_law(columns: ArrayLike, relative_steps: ArrayLike) -> PowerLaw:
    """Least squares of log(steps/n) against log k; needs two different k.

    Raises :class:`~nyff.errors.InputError` when there are fewer, or when the steps do not fall with k.
    """
    x = np.log(np.asarray(columns, dtype=np.float64))
    y = np.log(np.asarray(relative_steps, dtype=np.float64))
    if len(np.unique(x)) < 2:
        raise InputError(f"a power law needs at least two different numbers of columns, got {len(np.unique(x))}")
    slope, intercept = np.polyfit(x, y, 1)
    if not slope < 0:
        raise InputError(
            "the steps do not fall with the number of columns, there is no power law to fit; widen --columns"
        )
    return PowerLaw(float(-slope), float(np.exp(-intercept / slope)))

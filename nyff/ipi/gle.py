"""A generalised Langevin thermostat that samples every frequency of a range about equally fast.

White noise of friction γ samples a harmonic mode of frequency ω best when γ ≈ ω, and modes far from it slowly. A
friction in proportion to the frequency serves all of them at once; K(ω) = ω/2 proved best with the matrices made here
(M. Ceriotti, G. Bussi, M. Parrinello, J. Chem. Theory Comput. 6, 1170 (2010), doi:10.1021/ct900563s). Momenta p coupled
to auxiliary momenta s by the drift matrix

    A = [[γ₀, aᵀ], [a, diag(1/τᵢ)]]      give      K(ω) = γ₀ − Σ wᵢ + Σ wᵢ (ωτᵢ)²/(1 + (ωτᵢ)²),   wᵢ = aᵢ²τᵢ,

which is linear in wᵢ and γ₀ − Σ wᵢ. With the relaxation times τᵢ spread evenly over the range on a logarithmic scale,
non-negative least squares finds them, and γ₀ ≥ Σ wᵢ is just what A + Aᵀ ≥ 0 asks for: sampling stays canonical.
"""

from __future__ import annotations

import numpy as np

from nyff.errors import InputError

INVERSE_CM = 4.556335252912e-06
"""One cm⁻¹, as an angular frequency, in atomic units."""

FRICTION = 0.5
"""K(ω)/ω."""


def drift_matrix(lowest: float, highest: float, per_decade: float = 0.75) -> np.ndarray:
    """Drift matrix A [n, n] in the units of ``lowest`` and ``highest``, the angular frequencies to be sampled alike."""
    if not 0 < lowest < highest:
        raise InputError(f"wanted 0 < lowest < highest frequency, got {lowest:g} and {highest:g}")
    from scipy.optimize import nnls

    decades = np.log10(highest / lowest)
    count = max(2, round(per_decade * decades) + 2)
    # one relaxation beyond either end, where the sum would otherwise bend away from the line
    tau = 1.0 / np.geomspace(lowest * 10 ** (-0.5 / per_decade), highest * 10 ** (1.0 / per_decade), count)
    omega = np.geomspace(lowest, highest, 40 * count)[:, None]
    # a constant friction keeps what is slower than the range, such as the molecule's rotation, at temperature
    constant = FRICTION * lowest
    basis = (omega * tau) ** 2 / (1 + (omega * tau) ** 2)
    weights, _ = nnls(basis / omega, FRICTION - constant / omega[:, 0])
    w, tau = weights[weights > 0], tau[weights > 0]
    matrix = np.diag(np.concatenate([[constant + w.sum()], 1.0 / tau]))
    matrix[0, 1:] = matrix[1:, 0] = np.sqrt(w / tau)
    return matrix

"""The thermostat's drift matrix: canonical, and fast everywhere in its range, by an independent analysis."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from nyff.errors import InputError
from nyff.ipi.gle import drift_matrix


def efficiency(matrix, omega):
    """1/(ω τ_V) of a harmonic mode, where τ_V is the correlation time of its potential energy.

    For the linear process (q, p, s) with unit temperature and mass, τ_V = ∫ (⟨q(t)q⟩/⟨q²⟩)² dt, and the integral over
    the squared matrix exponential solves a Lyapunov equation. White noise reaches at most 1.
    """
    n = len(matrix) + 1
    drift = np.zeros((n, n))
    drift[0, 1], drift[1, 0] = -1.0, omega**2
    drift[1:, 1:] += matrix
    start = np.zeros(n)
    start[0] = 1.0
    integral = solve_continuous_lyapunov(drift, np.outer(start, start))
    return float(1.0 / (omega * integral[0, 0]))


@pytest.mark.parametrize("ratio", [0.02, 0.5, 1.0, 3.0, 40.0])
def test_white_noise_gives_the_textbook_efficiency(ratio):
    """Friction γ samples frequency ω with efficiency 2/(γ/ω + ω/γ): the analysis above is right."""
    assert efficiency(np.array([[ratio]]), 1.0) == pytest.approx(2 / (ratio + 1 / ratio))


@pytest.mark.parametrize(("lowest", "highest"), [(20.0, 13000.0), (10.0, 4000.0), (1.0, 2.0), (1e-4, 1.0)])
def test_every_frequency_of_the_range_is_sampled(lowest, highest):
    matrix = drift_matrix(lowest, highest)
    assert np.linalg.eigvalsh(matrix + matrix.T).min() > 0.01 * lowest, "sampling would not be canonical"
    values = [efficiency(matrix, omega) for omega in np.geomspace(lowest, highest, 25)]
    assert min(values) > 0.1


def test_the_matrix_scales_with_the_frequencies():
    np.testing.assert_allclose(drift_matrix(20.0, 2000.0) * 7.0, drift_matrix(140.0, 14000.0), rtol=1e-9)


def test_an_empty_range_is_refused():
    with pytest.raises(InputError, match="wanted 0 < lowest < highest"):
        drift_matrix(5.0, 5.0)

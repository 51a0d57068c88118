from __future__ import annotations

import math

import pytest
import torch

from nyff.errors import InputError
from nyff.kernel.radial import make_radial, radial_names


@pytest.fixture(params=radial_names())
def radial(request: pytest.FixtureRequest):
    return make_radial(request.param, 2.5)


def derivative(function, d: torch.Tensor) -> torch.Tensor:
    d = d.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(d).sum(), d)
    return slope


def test_scalars_are_the_derivatives_they_claim_to_be(radial):
    d = torch.linspace(0.05, 12, 40, dtype=torch.float64)
    c1, c2 = radial.first_two(d.clone())
    torch.testing.assert_close(c1, -derivative(radial.value, d) / d, rtol=1e-10, atol=1e-15)
    for n, (scalar, lower) in enumerate([(c2, 0), (radial.third(d), 1)]):
        # c1 and c2 themselves are differenced numerically: they are computed in place.
        h = 1e-5
        slope = (radial.first_two(d + h)[lower] - radial.first_two(d - h)[lower]) / (2 * h)
        torch.testing.assert_close(scalar, -slope / d, rtol=1e-6, atol=1e-12, msg=f"derivative {n}")


def test_value_is_one_at_zero_and_falls(radial):
    d = torch.linspace(0, 20, 50, dtype=torch.float64)
    value = radial.value(d)
    assert float(value[0]) == 1.0
    assert bool((value[1:] < value[:-1]).all())


@pytest.mark.parametrize(("name", "order"), [("matern52", 2.5), ("matern72", 3.5)])
def test_matern_functions_equal_the_general_formula(name, order):
    from scipy.special import gamma, kv

    d = torch.linspace(0.1, 10, 20, dtype=torch.float64)
    t = math.sqrt(2 * order) * d.numpy() / 1.7
    expected = 2 ** (1 - order) / gamma(order) * t**order * kv(order, t)
    torch.testing.assert_close(make_radial(name, 1.7).value(d), torch.tensor(expected), rtol=1e-12, atol=0)


def test_unknown_names_and_impossible_length_scales_are_refused():
    with pytest.raises(InputError, match="unknown kernel 'rbf'; known are gaussian, matern52, matern72"):
        make_radial("rbf", 1.0)
    with pytest.raises(InputError, match="`lengthscale` must be positive and finite, got 0"):
        make_radial("matern52", 0)

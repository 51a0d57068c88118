"""Radial functions κ(d) of the kernel and the scalars its derivatives need.

A radial function enters the force kernel only through

    c1(d) = −κ'(d)/d,   c2(d) = −c1'(d)/d,   c3(d) = −c2'(d)/d        (d = |x − x'|)

so that, with Δ = x − x',  ∂κ/∂x = −c1 Δ,  ∂²κ/∂x∂x' = c1 I − c2 ΔΔᵀ,  and one more derivative brings in c3.
All take ``d`` of any shape, in the unit of the descriptor, and return tensors of that shape in float64.

To add one, subclass :class:`Radial`, give it a ``name``, the four methods and :func:`register` it: it then works in
training, prediction, Hessians and model files.

Sources: S. Chmiela et al., Sci. Adv. 3, e1603015 (2017), eq. 4 (Matérn 5/2, there called κ);
C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), section 4.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nyff.errors import InputError


@dataclass(frozen=True)
class Radial(ABC):
    """A radial function with length scale ``lengthscale`` (σ, in the unit of the descriptor)."""

    lengthscale: float
    name: ClassVar[str] = ""

    @abstractmethod
    def value(self, d: Tensor) -> Tensor:
        """κ(d)."""

    @abstractmethod
    def first_two(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """(c1, c2): together, because they share the exponential, the dearest part of a prediction."""

    @abstractmethod
    def third(self, d: Tensor) -> Tensor:
        """c3; it multiplies Δ⊗Δ(Δ·β) only, so it may be cut off where d vanishes."""


@dataclass(frozen=True)
class Matern52(Radial):
    """κ = (1 + ad + (ad)²/3) e^{−ad} with a = √5/σ: what sGDML uses."""

    name: ClassVar[str] = "matern52"

    @property
    def _a(self) -> float:
        return 5**0.5 / self.lengthscale

    def value(self, d: Tensor) -> Tensor:
        t = self._a * d
        return (1 + t + t * t / 3) * torch.exp(-t)

    def first_two(self, d: Tensor) -> tuple[Tensor, Tensor]:
        a = self._a
        t = d * a
        e = torch.exp(-t).mul_(a * a / 3)
        return t.add_(1).mul_(e), e.mul_(a * a)

    def third(self, d: Tensor) -> Tensor:
        a = self._a
        return (a**5 / 3) * torch.exp(-a * d) / d.clamp_min(1e-12)


@dataclass(frozen=True)
class Matern72(Radial):
    """κ = (1 + ad + 2(ad)²/5 + (ad)³/15) e^{−ad} with a = √7/σ: one derivative smoother than Matérn 5/2."""

    name: ClassVar[str] = "matern72"

    @property
    def _a(self) -> float:
        return 7**0.5 / self.lengthscale

    def value(self, d: Tensor) -> Tensor:
        t = self._a * d
        return (1 + t + 0.4 * t * t + t**3 / 15) * torch.exp(-t)

    def first_two(self, d: Tensor) -> tuple[Tensor, Tensor]:
        a = self._a
        t = d * a
        e = torch.exp(-t).mul_(a * a / 15)
        linear = t + 1
        c1 = t.mul_(t).add_(linear, alpha=3).mul_(e)  # 3(1 + t) + t²
        return c1, linear.mul_(e).mul_(a * a)

    def third(self, d: Tensor) -> Tensor:
        a = self._a
        return (a**6 / 15) * torch.exp(-a * d)


@dataclass(frozen=True)
class Gaussian(Radial):
    """κ = e^{−d²/2σ²}: infinitely smooth, for surfaces without steep walls in the data."""

    name: ClassVar[str] = "gaussian"

    def value(self, d: Tensor) -> Tensor:
        return torch.exp(-0.5 * (d / self.lengthscale) ** 2)

    def first_two(self, d: Tensor) -> tuple[Tensor, Tensor]:
        c1 = self.value(d) / self.lengthscale**2
        return c1, c1 / self.lengthscale**2

    def third(self, d: Tensor) -> Tensor:
        return self.value(d) / self.lengthscale**6


_KNOWN: dict[str, type[Radial]] = {}


def register(kind: type[Radial]) -> type[Radial]:
    """Make a radial function available under its name, in ``nyff.fit`` and in model files."""
    if not kind.name:
        raise InputError(f"{kind.__name__} has no `name`; give the class one before registering it")
    _KNOWN[kind.name] = kind
    return kind


for _kind in (Matern52, Matern72, Gaussian):
    register(_kind)


def radial_names() -> list[str]:
    """Names that :func:`make_radial` knows."""
    return sorted(_KNOWN)


def make_radial(name: str, lengthscale: float) -> Radial:
    """The radial function called ``name`` with the given length scale; raises :class:`InputError` for other names."""
    if name not in _KNOWN:
        raise InputError(f"unknown kernel {name!r}; known are {', '.join(radial_names())}")
    if not (0 < lengthscale < float("inf")):
        raise InputError(f"`lengthscale` must be positive and finite, got {lengthscale}; sGDML's models use 5 to 100")
    return _KNOWN[name](float(lengthscale))

"""What i-PI's ``<parameters>``, its driver's ``-o`` and ``nyff ipi`` may set: the same names everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nyff.errors import InputError


@dataclass(frozen=True)
class Parameters:
    """A model and how to use it; names as in i-PI's own drivers for machine-learned potentials.

    ``model`` is a path, or several joined by ``;`` for a committee. ``template`` is a structure file whose atoms are
    checked against the model. ``energy_ensemble`` and ``force_virial_ensemble`` put the committee into the extras
    (``committee`` is short for both), ``uncertainty`` the standard deviations of the forces. ``uncertainty_threshold``
    in eV/Å applies to the largest one; beyond it ``uncertainty_action`` is to ``warn`` or to ``stop``.
    ``energy_zero`` in eV is subtracted from all energies. ``num_threads`` limits torch; 0 leaves it alone.
    """

    model: str = ""
    template: str = ""
    device: str = "cpu"
    committee: bool = False
    energy_ensemble: bool = False
    force_virial_ensemble: bool = False
    uncertainty: bool = False
    uncertainty_threshold: float = 0.0
    uncertainty_action: str = "warn"
    energy_zero: float = 0.0
    num_threads: int = 0

    def __post_init__(self) -> None:
        if self.uncertainty_action not in ("warn", "stop"):
            raise InputError(f"uncertainty_action must be warn or stop, got {self.uncertainty_action!r}")

    def updated(self, values: Mapping[str, Any]) -> Parameters:
        """A copy with ``values`` (texts or numbers) put in; raises :class:`InputError` for unknown names."""
        known = {item.name: type(item.default) for item in fields(self)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"unknown parameters {', '.join(unknown)}; known are {', '.join(known)}")
        converted = {name: _convert(name, value, known[name]) for name, value in values.items()}
        return Parameters(**(asdict(self) | converted))


def _convert(name: str, value: Any, kind: type) -> Any:
    if kind is bool and isinstance(value, str):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if value.strip().lower() not in words:
            raise InputError(f"parameter {name} must be true or false, got {value!r}")
        return words[value.strip().lower()]
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise InputError(f"parameter {name} must be of type {kind.__name__}, got {value!r}") from None

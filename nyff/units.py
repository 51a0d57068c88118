"""Units: electronvolt, ångström and femtosecond inside nyff; named conversions at its borders.

The literals equal those of :mod:`ase.units` (CODATA 2014), so that energies written by one and read by the other
agree to the last digit. Unknown names are refused, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from nyff.errors import InputError

HARTREE = 27.211386024367243
"""One hartree in eV."""
BOHR = 0.5291772105638411
"""One bohr in Å."""
KCAL_PER_MOL = 0.04336410390059322
"""One kcal/mol in eV."""
KJ_PER_MOL = 0.010364269574711572
"""One kJ/mol in eV."""
KB = 8.617330337217213e-05
"""Boltzmann's constant in eV/K."""

_ENERGIES = {
    "ev": 1.0,
    "electronvolt": 1.0,
    "mev": 1e-3,
    "kcal/mol": KCAL_PER_MOL,
    "kj/mol": KJ_PER_MOL,
    "hartree": HARTREE,
    "ha": HARTREE,
    "au": HARTREE,
    "millihartree": 1e-3 * HARTREE,
}
_LENGTHS = {
    "angstrom": 1.0,
    "ang": 1.0,
    "å": 1.0,
    "a": 1.0,
    "bohr": BOHR,
    "au": BOHR,
    "nm": 10.0,
}


@dataclass(frozen=True)
class Units:
    """What a file's numbers are measured in; multiply by ``energy``, ``length``, ``force`` to get eV, Å, eV/Å."""

    energy_name: str
    length_name: str

    @property
    def energy(self) -> float:
        """One unit of energy in eV."""
        return energy_in_ev(self.energy_name)

    @property
    def length(self) -> float:
        """One unit of length in Å."""
        return length_in_angstrom(self.length_name)

    @property
    def force(self) -> float:
        """One unit of force in eV/Å."""
        return self.energy / self.length

    def __str__(self) -> str:
        return f"{self.energy_name},{self.length_name}"


EV_ANGSTROM = Units("eV", "angstrom")


def energy_in_ev(name: str) -> float:
    """One ``name`` of energy in eV; raises :class:`InputError` for an unknown name."""
    return _look_up(name, _ENERGIES, "energy")


def length_in_angstrom(name: str) -> float:
    """One ``name`` of length in Å; raises :class:`InputError` for an unknown name."""
    return _look_up(name, _LENGTHS, "length")


def parse_units(text: str) -> Units:
    """Read ``ENERGY`` or ``ENERGY,LENGTH``, such as ``kcal/mol`` or ``hartree,bohr``; the length defaults to Å.

    Forces are energy per length. Raises :class:`InputError` for unknown names.
    """
    energy, _, length = (part.strip() for part in text.partition(","))
    units = Units(energy, length or "angstrom")
    _ = units.energy, units.length
    return units


def _look_up(name: str, table: dict[str, float], kind: str) -> float:
    try:
        return table[name.strip().lower()]
    except KeyError:
        raise InputError(
            f"unknown unit of {kind} {name!r}; known are {', '.join(table)}. "
            "Units are written ENERGY or ENERGY,LENGTH, for example kcal/mol or hartree,bohr"
        ) from None

from __future__ import annotations

import ase.units
import pytest
from scipy import constants

from nyff import units
from nyff.errors import InputError
from nyff.units import EV_ANGSTROM, Units, parse_units


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.HARTREE, ase.units.Hartree),
        (units.BOHR, ase.units.Bohr),
        (units.KCAL_PER_MOL, ase.units.kcal / ase.units.mol),
        (units.KJ_PER_MOL, ase.units.kJ / ase.units.mol),
        (units.KB, ase.units.kB),
    ],
)
def test_literals_equal_ase_to_the_last_digit(ours: float, theirs: float) -> None:
    assert ours == theirs


@pytest.mark.parametrize(
    ("ours", "codata", "tolerance"),
    [
        (units.HARTREE, constants.physical_constants["Hartree energy in eV"][0], 1e-7),
        (units.BOHR, constants.physical_constants["Bohr radius"][0] * 1e10, 1e-7),
        (units.KCAL_PER_MOL, 4184 / constants.N_A / constants.e, 1e-7),
        (units.KJ_PER_MOL, 1000 / constants.N_A / constants.e, 1e-7),
        (units.KB, constants.k / constants.e, 5e-7),  # moved by 3.4e-7 when the SI of 2019 fixed it
    ],
)
def test_literals_agree_with_codata(ours: float, codata: float, tolerance: float) -> None:
    assert ours == pytest.approx(codata, rel=tolerance)


@pytest.mark.parametrize(
    ("text", "energy", "length"),
    [
        ("eV", 1.0, 1.0),
        ("EV, Ang", 1.0, 1.0),
        ("kcal/mol", units.KCAL_PER_MOL, 1.0),
        ("hartree,bohr", units.HARTREE, units.BOHR),
        ("kJ/mol,nm", units.KJ_PER_MOL, 10.0),
        (" millihartree , Bohr ", units.HARTREE / 1000, units.BOHR),
    ],
)
def test_parse_units(text: str, energy: float, length: float) -> None:
    parsed = parse_units(text)
    assert (parsed.energy, parsed.length) == pytest.approx((energy, length), rel=1e-15)
    assert parsed.force == pytest.approx(energy / length, rel=1e-15)


def test_hartree_per_bohr() -> None:
    assert parse_units("hartree,bohr").force == pytest.approx(
        51.4220674763, rel=1e-7
    )  # CODATA 2018 atomic unit of force


@pytest.mark.parametrize("text", ["kcal", "kcal/mol,furlong", "", "eV/Å", "Ang"])
def test_unknown_units_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"unknown unit of (energy|length) .*; known are .*for example kcal/mol"):
        parse_units(text)


def test_text_is_read_back() -> None:
    assert parse_units(str(EV_ANGSTROM)) == EV_ANGSTROM
    assert parse_units(str(Units("hartree", "bohr"))) == Units("hartree", "bohr")

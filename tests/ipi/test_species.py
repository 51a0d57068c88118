"""Templates: read without ASE, compared with words."""

from __future__ import annotations

import ase.build
import ase.data
import numpy as np
import pytest

from nyff.errors import InputError
from nyff.ipi.species import SYMBOLS, check_species, formula, read_species


def test_the_table_of_elements_is_ase_s():
    assert list(SYMBOLS) == ase.data.chemical_symbols


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.traj", "a.cif"])
def test_species_are_read_from_any_format(tmp_path, name):
    atoms = ase.build.molecule("CH3CH2OH", cell=[9, 9, 9])
    atoms.write(tmp_path / name)
    np.testing.assert_array_equal(read_species(tmp_path / name), atoms.numbers)


def test_isotopes_are_their_elements(tmp_path):
    (tmp_path / "a.xyz").write_text("3\n# CELL\nO 0 0 0\nD 0 0 1\nT 0 1 0\n")
    np.testing.assert_array_equal(read_species(tmp_path / "a.xyz"), [8, 1, 1])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is not an xyz file"),
        ("3\n\nO 0 0 0\nH 0 0 1\n", "is not an xyz file"),
        ("1\n\nQq 0 0 0\n", "unknown elements Qq"),
    ],
)
def test_broken_templates_are_named(tmp_path, content, text):
    (tmp_path / "a.xyz").write_text(content)
    with pytest.raises(InputError, match=text):
        read_species(tmp_path / "a.xyz")
    with pytest.raises(InputError, match=r"'no\.xyz' does not exist"):
        read_species("no.xyz")


def test_formulas_show_the_order():
    assert formula([6, 6, 8, 1, 1, 1, 6]) == "C2 O H3 C"


def test_a_wrong_order_and_another_molecule_are_told_apart():
    check_species([8, 1, 1], np.array([8, 1, 1]), "it")
    with pytest.raises(InputError, match=r"template has the atoms H O H, the model wants O H2; reorder its atoms"):
        check_species([1, 8, 1], [8, 1, 1], "template")
    with pytest.raises(InputError, match=r"template has the atoms C O, the model wants O H2; use the structure"):
        check_species([6, 8], [8, 1, 1], "template")

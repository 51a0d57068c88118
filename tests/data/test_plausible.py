from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress

from nyff.data.bundled import ethanol
from nyff.data.check import check
from nyff.data.dataset import Dataset
from nyff.data.geometry import find_bonds, slope
from nyff.data.io import read_dataset
from nyff.data.plausible import hints
from nyff.units import BOHR, HARTREE, KCAL_PER_MOL, KJ_PER_MOL

RMD17 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rmd17"


def scaled(dataset: Dataset, energy: float = 1.0, length: float = 1.0) -> Dataset:
    """The same data as they look when read in the wrong unit."""
    assert dataset.energies is not None
    return replace(
        dataset,
        energies=dataset.energies * energy,
        positions=dataset.positions * length,
        forces=dataset.forces * energy / length,
    )


def test_stiffness_of_harmonic_bonds_is_found(many_methanol: Dataset) -> None:
    bonds = find_bonds(many_methanol)
    assert bonds is not None
    assert len(bonds.stiffness) == 5
    assert sorted(bonds.to_hydrogen.tolist()) == [False, True, True, True, True]
    # the constant of every bond is 31 eV/Å²; the carbon's four bonds mix a little in 200 structures
    np.testing.assert_allclose(bonds.stiffness, 31.0, rtol=0.2)
    np.testing.assert_allclose(bonds.stiffness[bonds.to_hydrogen], 31.0, rtol=0.03)


def test_slope_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(30)
    y = 3 * x + rng.standard_normal(30)
    expected = linregress(x, y)
    assert slope(x, y) == pytest.approx((expected.slope, expected.stderr), rel=1e-12)


@pytest.mark.parametrize("frames", [5, 30, 200])
@pytest.mark.parametrize(
    ("energy", "units", "message"),
    [
        (1 / KCAL_PER_MOL, "eV,angstrom", r"look like kcal/mol/angstrom read as eV/angstrom; .*units='kcal/mol'"),
        (1 / KJ_PER_MOL, "eV,angstrom", r"look like kJ/mol/angstrom read as eV"),
        (1 / HARTREE, "eV,angstrom", r"look like hartree/angstrom read as eV"),
        (KCAL_PER_MOL, "kcal/mol,angstrom", r"look like eV/angstrom read as kcal/mol/angstrom; .*units='eV'"),
        (KJ_PER_MOL / KCAL_PER_MOL, "kJ/mol,angstrom", r"look like kcal/mol/angstrom read as kJ/mol"),
        (KCAL_PER_MOL / KJ_PER_MOL, "kcal/mol,angstrom", r"look like kJ/mol/angstrom read as kcal/mol"),
    ],
)
def test_wrong_unit_of_energy(frames: int, energy: float, units: str, message: str, many_methanol: Dataset) -> None:
    right = replace(many_methanol[:frames], source={"units": units})
    assert hints(right) == []
    (hint,) = hints(scaled(right, energy=energy))
    assert pytest.approx(energy, rel=0.3) == float(hint.split(" eV/Å²")[0].split()[-1]) / 31
    assert re.search(message, hint)


def test_wrong_unit_of_length(many_methanol: Dataset) -> None:
    (hint,) = hints(scaled(many_methanol, length=1 / BOHR))
    assert "positions look like bohr read as angstrom; read the file with units='eV,bohr'" in hint
    read_as_bohr = replace(scaled(many_methanol, length=BOHR), source={"units": "hartree,bohr"})
    (hint,) = hints(read_as_bohr)
    assert "positions look like angstrom read as bohr; read the file with units='hartree,angstrom'" in hint
    read_as_nm = replace(scaled(many_methanol, length=10.0), source={"units": "kJ/mol,nm"})
    (hint,) = hints(read_as_nm)
    assert "positions look like angstrom read as nm; read the file with units='kJ/mol,angstrom'" in hint


def test_gradients_in_place_of_forces(many_methanol: Dataset) -> None:
    (hint,) = hints(replace(many_methanol, forces=-many_methanol.forces))
    assert "they look like gradients, whose sign is opposite" in hint


@pytest.mark.parametrize("factor", [1 / KCAL_PER_MOL, HARTREE, KCAL_PER_MOL, 1 / HARTREE])
def test_energies_in_another_unit_than_forces(factor: float, many_methanol: Dataset) -> None:
    energies = many_methanol.energies
    assert energies is not None
    (hint,) = hints(replace(many_methanol, energies=energies * factor))
    assert "energies and forces are in different units" in hint


def test_energies_that_are_no_labels(many_methanol: Dataset) -> None:
    (hint,) = hints(replace(many_methanol, energies=np.zeros(200)))
    assert "all energies are the same (0 eV); they look like missing labels" in hint


def test_forces_of_another_orientation(many_methanol: Dataset) -> None:
    quarter_turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = hints(replace(many_methanol, forces=many_methanol.forces @ quarter_turn))
    assert any("forces turn the molecule as a whole" in hint for hint in found)


def test_net_force(many_methanol: Dataset) -> None:
    found = hints(replace(many_methanol, forces=many_methanol.forces + 0.2))
    assert any("forces do not sum to zero" in hint for hint in found)


def test_single_structures_without_forces(many_methanol: Dataset) -> None:
    forces = many_methanol.forces.copy()
    forces[[3, 8]] = 0.0
    assert any(
        "2 of 200 structures have forces of exactly zero, frame 3 first" in h
        for h in hints(replace(many_methanol, forces=forces))
    )


def test_metals_are_judged_by_magnitude_only() -> None:
    rng = np.random.default_rng(0)
    grid = 2.9 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    positions = grid + 0.05 * rng.standard_normal((20, 4, 3))
    forces = rng.standard_normal((20, 4, 3))
    forces -= forces.mean(axis=1, keepdims=True)
    gold = Dataset([79] * 4, positions, forces)
    assert not any("unit" in hint for hint in hints(gold))
    assert any("forces are implausibly large" in hint for hint in hints(replace(gold, forces=gold.forces * 23)))


def test_bundled_data_are_judged_right() -> None:
    dataset = ethanol()
    rng = np.random.default_rng(0)
    for frames in (5, 20, 100):
        part = dataset[rng.choice(len(dataset), frames, replace=False)]
        assert hints(part) == []
        assert any(
            "look like kcal/mol/Ang read as eV/Ang" in hint for hint in hints(scaled(part, energy=1 / KCAL_PER_MOL))
        )


@pytest.mark.skipif(not RMD17.is_dir(), reason="rMD17 is not beside this checkout")
@pytest.mark.parametrize("name", ["aspirin", "azobenzene", "ethanol", "toluene", "uracil"])
def test_rmd17_is_judged_right(name: str) -> None:
    path = RMD17 / f"rmd17_{name}_train_01.npz"
    right = read_dataset(path, units="kcal/mol")
    assert right.hints == ()
    assert check(right[:5]).hints == ()
    for units in ("eV", "kJ/mol", "hartree"):
        (hint,) = read_dataset(path, units=units).hints
        assert f"look like kcal/mol/angstrom read as {units}/angstrom" in hint
    (hint,) = read_dataset(path, units="kcal/mol,bohr").hints
    assert "positions look like angstrom read as bohr" in hint

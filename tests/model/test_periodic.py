"""Periodic models: invariances, derivatives with respect to atoms and strain, calculator, and where stress is right.

The crystal is copper in a skewed cell of 27 atoms, labelled by ASE's effective-medium theory.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.stress import voigt_6_to_full_3x3_stress

import nyff
from nyff.calculator import WrongAtomsError
from nyff.errors import InputError
from nyff.md.run import run_md
from nyff.md.vibrations import vibrations


@pytest.fixture(scope="module")
def crystal() -> nyff.Dataset:
    """Sixty rattled structures; atoms are put into random images, as programs do that wrap or do not."""
    rng = np.random.default_rng(0)
    base = bulk("Cu") * (3, 3, 3)
    positions, forces, energies = [], [], []
    for _ in range(60):
        atoms = base.copy()
        atoms.positions += rng.normal(size=(27, 3)) * 0.08
        atoms.calc = EMT()
        forces.append(atoms.get_forces())
        energies.append(atoms.get_potential_energy())
        positions.append(atoms.positions + rng.integers(-1, 2, size=(27, 3)) @ base.cell.array)
    return nyff.Dataset(
        base.numbers, np.array(positions), np.array(forces), np.array(energies), base.cell.array, (True, True, True)
    )


@pytest.fixture(scope="module")
def fitted(crystal: nyff.Dataset) -> nyff.FitResult:
    return nyff.fit(crystal, 40, lengthscale=2.0, permutations="none", solver="cholesky")


@pytest.fixture
def atoms(crystal: nyff.Dataset, fitted: nyff.FitResult) -> Atoms:
    place = fitted.split.test[0]
    found = Atoms(crystal.numbers, crystal.positions[place], cell=crystal.cell, pbc=True)
    found.calc = nyff.NyffCalculator(fitted.model)
    return found


def test_training_learns_the_crystal(crystal, fitted):
    assert fitted.metrics["force_mae_ev_per_ang"] < 0.3 * np.abs(crystal.forces).mean()
    assert fitted.model.pbc == (True, True, True)
    assert np.array_equal(fitted.model.cell, crystal.cell)
    # Translations are the only free motions.
    assert fitted.problem.operator.block_size == 3 * 27 - 3
    # Nearest images: no pair is farther than the cell allows.
    assert max(fitted.model.metadata["domain"]["max_distance"]) < 6.0


def test_images_do_not_matter(crystal, fitted):
    rng = np.random.default_rng(1)
    positions = crystal.positions[:3]
    moved = positions + rng.integers(-4, 5, size=positions.shape) @ crystal.cell + rng.normal(size=3)
    for here, there in zip(*(fitted.model.predict_with_stress(r) for r in (positions, moved)), strict=True):
        assert np.abs(here - there).max() < 1e-8
    assert np.abs(fitted.model.predict(positions)[1].sum(1)).max() < 1e-10


def test_turning_everything_turns_forces_and_stress(crystal, fitted):
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    positions = crystal.positions[:2]
    energies, forces, stress = fitted.model.predict_with_stress(positions)
    turned = fitted.model.predict_with_stress(positions @ turn, crystal.cell @ turn)
    assert np.abs(turned[0] - energies).max() < 1e-9
    assert np.abs(turned[1] - forces @ turn).max() < 1e-8
    assert np.abs(turned[2] - turn.T @ stress @ turn).max() < 1e-10


def test_stress_is_the_strain_derivative(crystal, fitted):
    model, positions = fitted.model, crystal.positions[fitted.split.test[:2]]
    _, _, stress = model.predict_with_stress(positions)
    assert np.array_equal(stress, stress.swapaxes(1, 2))
    volume, h = abs(np.linalg.det(crystal.cell)), 1e-4
    for a in range(3):
        for b in range(3):
            energies = []
            for step in (h, -h, 2 * h, -2 * h):
                strain = np.eye(3)
                strain[a, b] += step
                energies.append(model.predict_with_stress(positions @ strain.T, crystal.cell @ strain.T)[0])
            slope = (8 * (energies[0] - energies[1]) - (energies[2] - energies[3])) / (12 * h)
            assert np.abs(slope / volume - stress[:, a, b]).max() < 1e-7 * np.abs(stress).max() + 1e-9


def test_forces_and_hessian_are_derivatives(crystal, fitted):
    model, positions = fitted.model, crystal.positions[fitted.split.test[:1]]
    _, forces = model.predict(positions)
    hessian = model.hessian(positions)[0]
    for atom, axis in ((0, 0), (13, 2), (26, 1)):
        step = np.zeros_like(positions)
        step[0, atom, axis] = 1e-4
        plus, minus = model.predict(positions + step), model.predict(positions - step)
        assert (minus[0] - plus[0])[0] / 2e-4 == pytest.approx(forces[0, atom, axis], abs=1e-5)
        numerical = ((minus[1] - plus[1]) / 2e-4).ravel()
        assert np.abs(hessian[3 * atom + axis] - numerical).max() < 1e-5 * np.abs(hessian).max()
    assert np.abs(hessian @ np.tile(np.eye(3), (27, 1))).max() < 1e-9 * np.abs(hessian).max()


def test_stress_of_a_molecule_in_a_large_box_is_its_virial(ethanol, small_fit):
    """Nothing crosses the boundary, so forces determine it: V σ = −Σ r ⊗ F. This is where a model's stress is right."""
    box = np.diag([20.0, 22.0, 25.0])
    positions = ethanol.positions[100:103] + 10
    energies, forces, stress = replace(small_fit.model, cell=box).predict_with_stress(positions)
    free_energies, free_forces = small_fit.model.predict(positions)
    assert np.abs(energies - free_energies).max() < 1e-9
    assert np.abs(forces - free_forces).max() < 1e-9
    virial = -np.einsum("fna,fnb->fab", positions, free_forces)
    assert np.abs(stress * np.linalg.det(box) - virial).max() < 1e-7 * np.abs(virial).max()


def test_calculator(atoms, caplog):
    assert "stress" in atoms.calc.implemented_properties
    assert "stress" not in type(atoms.calc).implemented_properties
    atoms.get_forces()
    assert set(atoms.calc.results) == {"energy", "free_energy", "forces"}
    with caplog.at_level(logging.WARNING, "nyff"):
        stress = atoms.get_stress()
        atoms.rattle(0.01)
        atoms.get_stress()
        assert [r.message for r in caplog.records] == [
            "the stress is the strain derivative of a model that was trained on forces in one lattice; forces do not "
            "determine it, so check it against the reference before you rely on it"
        ]
    assert stress.shape == (6,)
    stress = atoms.get_stress()
    numerical = calculate_numerical_stress(atoms, eps=1e-4)
    assert np.abs(stress - numerical).max() < 1e-5 * np.abs(stress).max()
    # xx, yy, zz, yz, xz, xy
    full = atoms.calc.model.predict_with_stress(atoms.positions[None])[2][0]
    assert np.abs(voigt_6_to_full_3x3_stress(stress) - full).max() < 1e-12
    assert stress[3] == pytest.approx(full[1, 2])
    forces = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 20])
    assert np.abs(atoms.get_forces()[[0, 20]] - forces).max() < 1e-5


def test_calculator_notices_a_changed_cell(atoms):
    before = atoms.get_potential_energy()
    atoms.set_cell(atoms.cell.array * 1.01)
    assert atoms.get_potential_energy() != before
    atoms.set_cell(atoms.cell.array / 1.01)
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-9)


def test_other_boundaries_are_refused(atoms, crystal, fitted, small_fit, ethanol):
    def refused(match: str, **changes: object) -> None:
        other = atoms.copy()
        other.calc = nyff.NyffCalculator(fitted.model)
        for name, value in changes.items():
            setattr(other, name, value)
        with pytest.raises(WrongAtomsError, match=match):
            other.get_potential_energy()

    refused(r"with pbc=\[True, True, True\], got atoms with pbc=\[False, True, True\]", pbc=[False, True, True])
    refused(r"strained by 10.0 % against the model's", cell=atoms.cell.array * 1.1)
    refused("the cell is singular", cell=np.ones((3, 3)))
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array * 1.01)
    with pytest.raises(WrongAtomsError, match="a Hessian is given in the model's own cell only"):
        nyff.NyffCalculator(fitted.model).get_hessian(strained)
    molecule = Atoms(ethanol.numbers, ethanol.positions[0], cell=[20, 20, 20], pbc=True)
    molecule.calc = nyff.NyffCalculator(small_fit.model)
    with pytest.raises(WrongAtomsError, match="is for one molecule without periodic boundaries"):
        molecule.get_potential_energy()
    with pytest.raises(InputError, match=r"a stress needs a cell .* the model is for a molecule"):
        small_fit.model.predict_with_stress(ethanol.positions[:1])
    slab = replace(fitted.model, cell=crystal.cell * [[1], [1], [0]])
    with pytest.raises(InputError, match=r"has pbc=\(True, True, False\)"):
        slab.predict_with_stress(crystal.positions[:1])
    assert "stress" not in nyff.NyffCalculator(slab).implemented_properties
    bent = Atoms(crystal.numbers, crystal.positions[0], cell=crystal.cell * 1.01, pbc=(True, True, False))
    bent.calc = nyff.NyffCalculator(slab)
    with pytest.raises(WrongAtomsError, match="it must be exactly that one"):
        bent.get_potential_energy()
    bent.cell = crystal.cell
    expected = slab.predict(crystal.positions[:1])[0][0]
    assert bent.get_potential_energy() == pytest.approx(expected)


def test_evaluate_many_in_several_cells(atoms, fitted):
    stretched = atoms.copy()
    stretched.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    found = nyff.NyffCalculator(fitted.model).evaluate_many([atoms.copy(), stretched])
    assert found[0].get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    stretched.calc = nyff.NyffCalculator(fitted.model)
    assert found[1].get_potential_energy() == pytest.approx(stretched.get_potential_energy(), abs=1e-9)


def test_file_keeps_the_cell(crystal, fitted, tmp_path: Path):
    model = replace(fitted.model, image="rounded")
    model.save(tmp_path / "model.nyff")
    back = nyff.load(tmp_path / "model.nyff")
    assert np.array_equal(back.cell, crystal.cell)
    assert back.image == "rounded"
    assert back.checksum == model.checksum != fitted.model.checksum
    for here, there in zip(*(m.predict(crystal.positions[:2]) for m in (model, back)), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-9)


def test_cells_that_cannot_be_are_refused_before_training(crystal):
    with pytest.raises(InputError, match=r"the lattice repeats every|collide|overlap"):
        nyff.fit(replace(crystal, cell=crystal.cell / 6), 40, lengthscale=2.0, permutations="none")


def test_vibrations_of_a_crystal(crystal, fitted):
    base = bulk("Cu") * (3, 3, 3)
    found = vibrations(fitted.model, base, fmax=1.0)
    assert found.geometry == "periodic"
    assert len(found.frequencies) == 3 * 27 - 3
    assert found.symmetry_number == 1
    # Copper's phonons end at 7.2 THz, 240 cm⁻¹.
    assert 150 < found.frequencies[-1] < 350
    states = found.thermochemistry(300.0, ignore_imaginary=True)
    assert states.gibbs_energy_ev == pytest.approx(states.internal_energy_ev - 300 * states.entropy_ev_per_kelvin)


def test_dynamics_in_a_cell(fitted, crystal, tmp_path: Path):
    from ase.io import read

    start = bulk("Cu") * (3, 3, 3)
    done = run_md(
        fitted.model, start, output=tmp_path / "run", temperature=100, timestep=2.0, time=200.0, frame_interval=50
    )
    assert done.finished
    frames = read(done.trajectory, index=":")
    assert len(frames) == 3
    assert frames[-1].pbc.all()
    assert np.abs(frames[-1].cell.array - crystal.cell).max() < 1e-9
    assert np.abs(done.atoms.get_momenta().sum(0)).max() < 1e-8
    from nyff.md.observe import read_log

    total = read_log(done.folder)["total_ev"]
    # Where two images of an atom are equally near, as in a perfect lattice, forces jump: energy is not exactly kept.
    assert np.ptp(total) < 0.05 * done.atoms.get_kinetic_energy()

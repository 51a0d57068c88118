"""Vibrations against closed formulas, ASE's finite differences and the quantum chemistry the model learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.constants as si
from ase import Atoms
from ase.build import molecule
from ase.io import read
from ase.optimize import BFGS
from ase.vibrations import Vibrations

import nyff
from nyff.errors import InputError
from nyff.kernel.group import generate_group
from nyff.md.relax import relax
from nyff.md.rigid import rigid_motions
from nyff.md.vibrations import count_rotations, normal_modes, summary, vibrations

EV_PER_ANG2 = si.e / 1e-20


def wavenumber(k: float, mass: float) -> float:
    """cm⁻¹ of a spring of ``k`` eV/Å² and a mass in amu, by SI units."""
    return np.sqrt(k * EV_PER_ANG2 / (mass * si.atomic_mass)) / (2 * np.pi * si.c * 100)


def springs(atoms: Atoms, bonds: list[tuple[int, int]], k: float) -> np.ndarray:
    hessian = np.zeros((len(atoms), 3, len(atoms), 3))
    for i, j in bonds:
        arrow = atoms.positions[i] - atoms.positions[j]
        block = k * np.outer(arrow, arrow) / (arrow @ arrow)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            hessian[a, :, b] += sign * block
    return hessian.reshape(3 * len(atoms), -1)


@pytest.fixture(scope="module")
def data() -> nyff.Dataset:
    return nyff.datasets.ethanol()


@pytest.fixture(scope="module")
def fitted(data: nyff.Dataset) -> nyff.FitResult:
    return nyff.fit(data[:160], 60, lengthscale=10.0, solver="cholesky")


@pytest.fixture(scope="module")
def relaxed(fitted: nyff.FitResult, data: nyff.Dataset) -> Atoms:
    found = relax(fitted.model, Atoms(data.numbers, data.positions[0]), fmax=1e-4)
    assert found.converged
    return found.atoms


@pytest.fixture(scope="module")
def result(fitted, relaxed):
    return vibrations(fitted.model, relaxed)


def test_diatomic_spring():
    atoms = Atoms("HCl", [[0, 0, 0], [0.9, 0.8, 0.4]])
    hydrogen, chlorine = atoms.get_masses()
    frequencies, modes, rigid = normal_modes(atoms, springs(atoms, [(0, 1)], 30.0))
    assert rigid == 5
    assert frequencies == pytest.approx([wavenumber(30.0, hydrogen * chlorine / (hydrogen + chlorine))], rel=1e-6)
    # The centre of mass stays, and the mode is a unit vector once it is weighted with masses.
    assert np.abs(atoms.get_masses() @ modes[0]).max() < 1e-12
    assert (atoms.get_masses()[:, None] * modes[0] ** 2).sum() == pytest.approx(1)


def test_linear_triatomic_springs():
    """E. B. Wilson et al., Molecular Vibrations: CO2 without bending force has ν₁² = k/m_O, ν₃² = k (1/m_O + 2/m_C)."""
    atoms = Atoms("OCO", [[-1.16, 0, 0], [0, 0, 0], [1.16, 0, 0]])
    oxygen, carbon, _ = atoms.get_masses()
    frequencies, _, rigid = normal_modes(atoms, springs(atoms, [(0, 1), (1, 2)], 90.0))
    assert rigid == 5
    assert frequencies[:2] == pytest.approx([0, 0], abs=1e-3)
    expected = [wavenumber(90.0, oxygen), wavenumber(90.0, 1 / (1 / oxygen + 2 / carbon))]
    assert frequencies[2:] == pytest.approx(expected, rel=1e-6)


def test_unstable_directions_are_negative_numbers():
    atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    frequencies, _, _ = normal_modes(atoms, springs(atoms, [(0, 1)], -30.0))
    assert frequencies == pytest.approx([-wavenumber(30.0, atoms.get_masses()[0] / 2)], rel=1e-6)


def test_against_finite_differences_of_ase(fitted, relaxed, result, tmp_path):
    atoms = relaxed.copy()
    atoms.calc = nyff.NyffCalculator(fitted.model)
    numerical = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.002)
    numerical.run()
    expected = numerical.get_frequencies()
    assert len(result.frequencies) == 21
    assert np.abs(result.frequencies - np.sort(expected.real)[6:]).max() < 0.5
    assert result.zero_point_energy == pytest.approx(numerical.get_zero_point_energy(), abs=2e-4)


def test_ase_data_agree(result):
    frequencies = result.data.get_frequencies()
    assert np.sort(np.abs(frequencies))[:6].max() < 1e-3
    assert np.sort(frequencies.real)[6:] == pytest.approx(result.frequencies, abs=1e-6)


def test_against_the_quantum_chemistry_it_learned(result, relaxed):
    """GFN2-xTB relaxed and differentiated on its own, from 60 training structures."""
    tblite = pytest.importorskip("tblite.ase")
    atoms = relaxed.copy()
    atoms.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.05)
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    start, hessian = atoms.positions.copy(), []
    for step in np.eye(27).reshape(27, 9, 3) * 0.005:
        forces = []
        for sign in (1, -1):
            atoms.positions = start + sign * step
            forces.append(atoms.get_forces().ravel())
        hessian.append((forces[1] - forces[0]) / 0.01)
    atoms.positions = start
    reference, _, _ = normal_modes(atoms, (np.array(hessian) + np.transpose(hessian)) / 2)
    assert np.abs(result.frequencies - reference).mean() < 30


def test_heavy_hydrogen_slows_its_bond(fitted, relaxed, result):
    heavy = relaxed.copy()
    masses = heavy.get_masses()
    hydroxyl = int(np.argmin(np.where(heavy.numbers == 1, heavy.get_distances(2, range(9)), np.inf)))
    masses[hydroxyl] = 2.014
    heavy.set_masses(masses)
    found = vibrations(fitted.model, heavy)
    assert found.zero_point_energy < result.zero_point_energy
    stretch = result.frequencies[-1]
    moved = found.frequencies[np.argmin(np.abs(found.frequencies - stretch / 1.37))]
    reduced = (1 / 1.008 + 1 / 15.999) / (1 / 2.014 + 1 / 15.999)
    assert stretch / moved == pytest.approx(np.sqrt(reduced), rel=0.01)


def test_thermochemistry(result):
    import ase.units as units

    found = result.thermochemistry(300.0, 1e5)
    assert found.zero_point_energy_ev == pytest.approx(result.frequencies.sum() * units.invcm / 2)
    assert found.enthalpy_ev - found.internal_energy_ev == pytest.approx(units.kB * 300)
    assert found.gibbs_energy_ev == pytest.approx(found.enthalpy_ev - 300 * found.entropy_ev_per_kelvin)
    # Experiment for ethanol gas at 298 K and 1 bar: 281.6 J/mol/K (CRC Handbook), mixed conformers included.
    molar = found.entropy_ev_per_kelvin * si.e * si.N_A
    assert 260 < molar < 290
    halved = result.thermochemistry(300.0, 1e5, symmetry_number=2)
    assert found.entropy_ev_per_kelvin - halved.entropy_ev_per_kelvin == pytest.approx(units.kB * np.log(2))
    doublet = result.thermochemistry(300.0, 1e5, spin=0.5)
    assert doublet.entropy_ev_per_kelvin - found.entropy_ev_per_kelvin == pytest.approx(units.kB * np.log(2))


def test_imaginary_modes_stop_thermochemistry(fitted, data):
    """A structure from a hot trajectory, taken as stationary by force: some curvatures are negative."""
    atoms = Atoms(data.numbers, data.positions[int(np.argmax(data.energies))])
    found = vibrations(fitted.model, atoms, fmax=100.0)
    assert found.n_imaginary >= 1
    assert found.n_imaginary == (found.frequencies < 0).sum()
    assert "imaginary mode" in found.hints[0]
    with pytest.raises(InputError, match=r"no minimum: \d imaginary modes? \(.*i.* cm⁻¹\); relax it further"):
        found.thermochemistry()
    real = found.frequencies[found.frequencies > 0]
    left = found.thermochemistry(ignore_imaginary=True)
    assert left.zero_point_energy_ev == pytest.approx(real.sum() / 2 / 8065.544, rel=1e-5)


def test_structures_that_are_not_stationary_are_refused(fitted, data):
    atoms = Atoms(data.numbers, data.positions[0])
    with pytest.raises(InputError, match=r"stationary point: .* at most 0.01 is wanted; relax it first \(nyff relax"):
        vibrations(fitted.model, atoms)
    with pytest.raises(InputError, match="fmax must be positive"):
        vibrations(fitted.model, atoms, fmax=0)
    far = atoms.copy()
    far.positions *= 2
    with pytest.raises(InputError, match="far from the training data"):
        vibrations(fitted.model, far)


def test_constraints_are_refused(fitted, relaxed):
    from ase.constraints import FixAtoms

    held = relaxed.copy()
    held.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="has constraints"):
        vibrations(fitted.model, held)


def test_mode_files(result, tmp_path):
    files = result.write_modes(tmp_path / "modes", frames=8, amplitude=0.3)
    assert len(files) == 21
    assert files[0].name == f"mode_00_{result.frequencies[0]:.0f}cm-1.extxyz"
    images = read(files[20], index=":")
    assert len(images) == 8
    assert np.abs(images[0].positions - result.atoms.positions).max() < 1e-7
    farthest = images[2].positions - images[0].positions  # a quarter of the swing
    assert np.linalg.norm(farthest, axis=1).max() == pytest.approx(0.3, abs=1e-6)
    # The O–H stretch moves oxygen and its hydrogen against each other, along their bond.
    bond = result.atoms.positions[3] - result.atoms.positions[2]
    mover = int(np.argmax(np.linalg.norm(farthest, axis=1)))
    bond = result.atoms.positions[mover] - result.atoms.positions[2]
    assert abs(farthest[mover] @ bond) > 0.95 * np.linalg.norm(bond) * 0.3
    assert images[0].info["frequency_invcm"] == pytest.approx(result.frequencies[20])
    with pytest.raises(InputError, match="exists already and is never overwritten"):
        result.write_modes(tmp_path / "modes")
    with pytest.raises(InputError, match="there is no mode 21; the 21 modes count from 0"):
        result.write_modes(tmp_path / "others", [21])
    assert not (tmp_path / "others").exists()


def test_imaginary_mode_files_say_so(result, tmp_path):
    frequencies = np.array([-120.4, *result.frequencies[1:]])
    files = replace(result, frequencies=frequencies).write_modes(tmp_path / "modes", [0])
    assert [file.name for file in files] == ["mode_00_120icm-1.extxyz"]


def test_summary_is_plain(result):
    import json

    content = json.loads(json.dumps(summary(result, result.thermochemistry())))
    assert content["n_imaginary"] == 0
    assert content["geometry"] == "nonlinear"
    assert content["thermochemistry"]["temperature_kelvin"] == 298.15


@pytest.mark.parametrize(
    ("name", "generators", "expected"),
    [
        ("H2O", [[0, 2, 1]], 2),
        ("NH3", [[0, 2, 1, 3], [0, 1, 3, 2]], 3),
        ("CH4", [[0, 2, 1, 3, 4], [0, 2, 3, 4, 1]], 12),
        ("CO2", [[0, 2, 1]], 2),
        ("HCN", [], 1),
        ("C2H4", [[1, 0, 4, 5, 2, 3], [0, 1, 3, 2, 5, 4]], 4),
    ],
)
def test_symmetry_number_counts_proper_rotations(name, generators, expected):
    atoms = molecule(name)
    atoms.rotate(33, (1, 2, 3))
    group = generate_group(np.array(generators, dtype=int).reshape(-1, len(atoms)), len(atoms))
    assert count_rotations(atoms, group) == expected


def test_rigid_motions_of_lines_and_crystals():
    bent = molecule("H2O")
    assert rigid_motions(bent).shape == (9, 6)
    assert rigid_motions(molecule("CO2")).shape == (9, 5)
    q = rigid_motions(bent, bent.get_masses())
    assert np.abs(q.T @ q - np.eye(6)).max() < 1e-12
    bent.cell = [5, 6, 7]
    for pbc, count in (((True, True, True), 3), ((True, True, False), 3), ((False, True, False), 4)):
        bent.pbc = pbc
        assert rigid_motions(bent, bent.get_masses()).shape == (9, count)


def test_relaxation_starts_from_the_hessian(fitted, data):
    """Same minimum, a third of the steps of ASE's BFGS."""
    steps, plain = 0, 0
    for start in data.positions[1000:1003]:
        found = relax(fitted.model, Atoms(data.numbers, start), fmax=1e-3)
        atoms = Atoms(data.numbers, start, calculator=nyff.NyffCalculator(fitted.model))
        search = BFGS(atoms, logfile=None)
        search.run(fmax=1e-3, steps=200)
        steps, plain = steps + found.steps, plain + search.nsteps
        assert found.converged
        assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert steps < 0.6 * plain

"""NyffCalculator in everything ASE does with a calculator, on an analytic force field as oracle."""

from __future__ import annotations

import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import (
    BaseCalculator,
    CalculationFailed,
    Calculator,
    CalculatorSetupError,
    PropertyNotImplementedError,
)
from ase.db import connect
from ase.io import Trajectory, read, write
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from nyff.calculator import NyffCalculator
from nyff.errors import InputError, NyffError


def _analytic():
    path = Path(__file__).parent / "md" / "analytic.py"
    spec = importlib.util.spec_from_file_location("nyff_tests_analytic", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


analytic = _analytic()


@pytest.fixture
def model():
    return analytic.AnalyticForceField()


@pytest.fixture
def atoms(model):
    atoms = analytic.ethanol()
    atoms.rattle(0.05, seed=1)
    atoms.calc = NyffCalculator(model)
    return atoms


def oracle(positions):
    """Energy and forces from a plain double loop over pairs."""
    energy, forces = 0.0, np.zeros((9, 3))
    for kind, length, i, j in zip(analytic.KIND, analytic.LENGTH, *analytic.LOWER, strict=True):
        arrow = positions[i] - positions[j]
        r = np.linalg.norm(arrow)
        if kind == 1:
            decay = np.exp(-2.0 * (r - length))
            value, slope = 4.5 * (1 - decay) ** 2, 18.0 * (1 - decay) * decay
        elif kind == 2:
            value, slope = 3.0 * (r - length) ** 2, 6.0 * (r - length)
        else:
            value = 40.0 * np.exp(-4 * r)
            slope = -4 * value
        energy += value
        forces[i] -= slope * arrow / r
        forces[j] += slope * arrow / r
    return energy, forces


class TestResults:
    def test_energy_and_forces_are_the_models(self, atoms):
        energy, forces = oracle(atoms.positions)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-12)

    def test_types_are_those_ase_wants(self, atoms):
        assert type(atoms.get_potential_energy()) is float
        assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
        properties = atoms.get_properties(["energy", "free_energy", "forces"])
        assert properties["forces"].shape == (9, 3)
        assert properties["forces"].dtype == np.float64
        assert set(atoms.calc.results) == {"energy", "free_energy", "forces"}

    def test_stress_is_not_invented(self, atoms):
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_stress()

    def test_other_calculators_are_left_alone(self, model):
        assert NyffCalculator(model).implemented_properties == ["energy", "free_energy", "forces"]
        assert BaseCalculator.implemented_properties == []
        assert Calculator.implemented_properties == []
        assert Calculator.ignored_changes == set()

    def test_one_prediction_serves_all_properties(self, atoms, model):
        atoms.get_forces()
        atoms.get_potential_energy()
        atoms.get_potential_energy(force_consistent=True)
        assert model.calls == [1]

    def test_no_folder_is_made(self, atoms, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        atoms.get_forces()
        assert list(tmp_path.iterdir()) == []

    def test_forces_are_minus_the_gradient_by_ases_finite_differences(self, atoms):
        fd = pytest.importorskip("ase.calculators.fd", reason="ASE's finite differences came with 3.24")
        forces = fd.calculate_numerical_forces(atoms, eps=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-8)

    def test_ases_finite_difference_calculator_accepts_it(self, atoms):
        fd = pytest.importorskip("ase.calculators.fd", reason="ASE's finite differences came with 3.24")
        forces = atoms.get_forces()
        boxed = atoms.copy()
        boxed.center(vacuum=5.0)
        boxed.calc = fd.FiniteDifferenceCalculator(atoms.calc.copy(), eps_disp=1e-5)
        np.testing.assert_allclose(boxed.get_forces(), forces, atol=1e-8)

    def test_calculate_without_atoms_repeats_the_last(self, atoms, model):
        energy = atoms.get_potential_energy()
        atoms.calc.calculate()
        assert atoms.calc.results["energy"] == energy
        with pytest.raises(InputError, match="calculate needs atoms"):
            NyffCalculator(model).calculate()


class TestNothingIsStale:
    @pytest.mark.parametrize("step", [1e-3, 1e-12, 1e-16])
    def test_any_movement_counts(self, atoms, model, step):
        atoms.positions[0] = 0.0
        atoms.get_forces()
        atoms.positions[0, 0] += step
        np.testing.assert_allclose(atoms.get_forces(), oracle(atoms.positions)[1], atol=1e-12)
        assert model.calls == [1, 1]

    def test_what_a_molecule_does_not_feel_does_not_count(self, atoms, model):
        energy = atoms.get_potential_energy()
        atoms.set_cell([10, 10, 10])
        atoms.set_initial_charges(np.ones(9))
        atoms.set_initial_magnetic_moments(np.ones(9))
        atoms.set_momenta(np.ones((9, 3)))
        assert atoms.get_potential_energy() == energy
        assert model.calls == [1]

    def test_becoming_periodic_is_noticed_in_spite_of_results(self, atoms):
        atoms.get_forces()
        atoms.cell = [10, 10, 10]
        atoms.pbc = [True, False, False]
        for ask in (atoms.get_forces, atoms.get_potential_energy):
            with pytest.raises(CalculatorSetupError, match=r"pbc=\[True, False, False\]; .* set atoms.pbc = False"):
                ask()
        atoms.pbc = False
        atoms.get_forces()

    def test_changing_elements_is_noticed(self, atoms):
        atoms.get_forces()
        atoms.numbers[2] = 16
        with pytest.raises(CalculatorSetupError):
            atoms.get_forces()

    def test_results_given_out_are_copies(self, atoms):
        forces = atoms.get_forces()
        forces[:] = 0.0
        np.testing.assert_allclose(atoms.get_forces(), oracle(atoms.positions)[1], atol=1e-12)
        atoms.calc.atoms.positions[:] = 0.0
        np.testing.assert_allclose(atoms.get_forces(), oracle(atoms.positions)[1], atol=1e-12)

    def test_one_calculator_for_two_structures_answers_for_each(self, atoms):
        other = atoms.copy()
        other.rattle(0.05, seed=3)
        other.calc = atoms.calc
        for _ in range(2):
            assert atoms.get_potential_energy() == pytest.approx(oracle(atoms.positions)[0], abs=1e-12)
            assert other.get_potential_energy() == pytest.approx(oracle(other.positions)[0], abs=1e-12)

    def test_reset_forgets(self, atoms, model):
        atoms.get_forces()
        atoms.calc.reset()
        atoms.get_forces()
        assert model.calls == [1, 1]

    def test_a_failed_calculation_leaves_no_results(self, atoms):
        atoms.get_forces()
        atoms.positions[0, 0] = np.nan
        with pytest.raises(CalculationFailed):
            atoms.get_forces()
        assert atoms.calc.results == {}
        with pytest.raises(CalculationFailed):
            atoms.get_potential_energy()


class TestRefusals:
    def test_another_order(self, atoms):
        shuffled = atoms[[2, 1, 0, 3, 4, 5, 6, 7, 8]]
        shuffled.calc = atoms.calc
        text = (
            "the atoms are in another order than the model's: the model is for C C O H H H H H H, got O C C H H H H H H"
            "; reorder the structure like the training data"
        )
        with pytest.raises(CalculatorSetupError, match=text):
            shuffled.get_forces()

    def test_another_number_of_atoms(self, atoms):
        less = atoms[:5]
        less.calc = atoms.calc
        text = "the structure has 5 atoms, the model is for 9: the model is for C C O H H H H H H, got C C O H H; take"
        with pytest.raises(CalculatorSetupError, match=text):
            less.get_forces()

    def test_other_elements(self, atoms):
        atoms.symbols[2] = "S"
        with pytest.raises(CalculatorSetupError, match=r"other elements than the model: .* got C C S H H H H H H"):
            atoms.get_forces()

    def test_periodic(self, atoms):
        atoms.pbc = True
        with pytest.raises(
            CalculatorSetupError, match="for one molecule without periodic boundaries, got atoms with pbc"
        ):
            atoms.get_potential_energy()

    def test_refusals_are_nyff_errors_too(self, atoms):
        atoms.pbc = True
        with pytest.raises(NyffError):
            atoms.get_potential_energy()

    def test_positions_that_are_not_finite(self, atoms):
        atoms.positions[3, 1] = np.inf
        with (
            pytest.raises(
                CalculationFailed, match=r"not finite, most likely because a position is not finite; look at"
            ),
            np.errstate(invalid="ignore"),
        ):
            atoms.get_forces()

    def test_coinciding_atoms(self, atoms):
        atoms.positions[3] = atoms.positions[4]
        with (
            pytest.raises(CalculationFailed, match="not finite, most likely because two atoms coincide"),
            np.errstate(all="ignore"),
        ):
            atoms.get_forces()

    def test_parameters_are_fixed(self, atoms):
        with pytest.raises(
            InputError, match=r"cannot be changed, got device; make a new one: NyffCalculator\(model, dev"
        ):
            atoms.calc.set(device="cuda")
        assert atoms.calc.set() == {}


class TestSharing:
    def test_copies_share_the_model_and_nothing_else(self, atoms):
        atoms.get_forces()
        twin = atoms.calc.copy()
        assert twin.model is atoms.calc.model
        assert twin.results == {}
        assert twin.parameters == atoms.calc.parameters
        assert twin.parameters is not atoms.calc.parameters

    def test_copies_work_in_threads(self, model):
        structures = []
        for seed in range(24):
            atoms = analytic.ethanol()
            atoms.rattle(0.1, seed=seed)
            atoms.calc = NyffCalculator(model)
            structures.append(atoms)
        with ThreadPoolExecutor(8) as pool:
            energies = list(pool.map(lambda atoms: atoms.get_potential_energy(), structures))
        np.testing.assert_allclose(energies, [oracle(atoms.positions)[0] for atoms in structures], atol=1e-12)

    def test_many_structures_are_one_prediction(self, atoms, model):
        structures = [atoms.copy() for _ in range(5)]
        for seed, structure in enumerate(structures):
            structure.rattle(0.05, seed=seed)
            structure.info["name"] = f"structure {seed}"
        evaluated = atoms.calc.evaluate_many(structures)
        assert model.calls == [5]
        for before, after in zip(structures, evaluated, strict=True):
            assert before.calc is None
            energy, forces = oracle(after.positions)
            assert after.get_potential_energy() == pytest.approx(energy, abs=1e-12)
            assert after.get_potential_energy(force_consistent=True) == after.get_potential_energy()
            np.testing.assert_allclose(after.get_forces(), forces, atol=1e-12)
            assert after.info == before.info
        assert atoms.calc.results == {}
        assert atoms.calc.evaluate_many([]) == []

    def test_evaluated_structures_keep_their_own_results(self, atoms):
        structures = [atoms.copy(), atoms.copy()]
        structures[1].rattle(0.05, seed=2)
        first, second = atoms.calc.evaluate_many(structures)
        energies = [first.get_potential_energy(), second.get_potential_energy()]
        assert energies[0] != energies[1]
        atoms.get_forces()
        assert [first.get_potential_energy(), second.get_potential_energy()] == energies
        first.positions[0] += 0.1
        with pytest.raises(PropertyNotImplementedError):
            first.get_potential_energy()

    def test_a_wrong_structure_among_many_is_named(self, atoms):
        with pytest.raises(CalculatorSetupError, match="structure 1: the structure has 4 atoms, the model is for 9"):
            atoms.calc.evaluate_many([atoms, atoms[:4]])
        bad = atoms.copy()
        bad.positions[3] = bad.positions[4]
        with pytest.raises(CalculationFailed, match="of structure 2 are not finite"), np.errstate(all="ignore"):
            atoms.calc.evaluate_many([atoms, atoms, bad])


class TestFiles:
    def test_parameters_are_json(self, atoms, model):
        assert json.loads(json.dumps(atoms.calc.todict())) == {"checksum": model.checksum, "device": "cpu"}

    def test_traj(self, atoms, tmp_path):
        with Trajectory(str(tmp_path / "a.traj"), "w", atoms) as trajectory:
            for seed in range(3):
                atoms.rattle(0.02, seed=seed)
                atoms.get_forces()
                trajectory.write()
        frames = read(tmp_path / "a.traj", ":")
        assert len(frames) == 3
        for frame in frames:
            energy, forces = oracle(frame.positions)
            assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-12)
            np.testing.assert_allclose(frame.get_forces(), forces, atol=1e-12)
            assert frame.calc.name == "nyff"

    def test_db(self, atoms, tmp_path):
        atoms.get_forces()
        with connect(tmp_path / "a.db") as database:
            database.write(atoms, source="test")
            database.write(atoms.calc.evaluate_many([atoms])[0])
        rows = list(database.select(calculator="nyff"))
        assert len(rows) == 2
        energy, forces = oracle(atoms.positions)
        for row in rows:
            assert row.energy == pytest.approx(energy, abs=1e-12)
            np.testing.assert_allclose(row.forces, forces, atol=1e-12)
        assert rows[0].calculator_parameters["checksum"] == atoms.calc.model.checksum

    def test_extxyz(self, atoms, tmp_path):
        structures = [atoms.copy() for _ in range(3)]
        for seed, structure in enumerate(structures):
            structure.rattle(0.05, seed=seed)
        write(tmp_path / "a.xyz", atoms.calc.evaluate_many(structures), format="extxyz")
        for frame in read(tmp_path / "a.xyz", ":"):
            energy, forces = oracle(frame.positions)
            assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-6)
            np.testing.assert_allclose(frame.get_forces(), forces, atol=1e-6)


class TestInASE:
    def test_velocity_verlet_and_its_logger(self, atoms, tmp_path):
        rng = np.random.default_rng(0)
        atoms.set_momenta(0.3 * rng.normal(size=(9, 3)) * np.sqrt(atoms.get_masses())[:, None])
        Stationary(atoms)
        energy = atoms.get_total_energy()
        log, path = tmp_path / "md.log", tmp_path / "md.traj"
        with VelocityVerlet(atoms, 0.25 * units.fs, trajectory=str(path), logfile=str(log)) as dynamics:
            dynamics.run(50)
        assert atoms.get_total_energy() == pytest.approx(energy, abs=0.01)
        assert len(read(path, ":")) == 51
        assert len(log.read_text().splitlines()) == 52

    def test_nose_hoover_chain(self, atoms):
        module = pytest.importorskip("ase.md.nose_hoover_chain", reason="ASE's chain came with 3.24")
        atoms.set_momenta(np.random.default_rng(0).normal(size=(9, 3)) * np.sqrt(0.025 * atoms.get_masses())[:, None])
        conserved = []
        with module.NoseHooverChainNVT(atoms, 0.25 * units.fs, temperature_K=300, tdamp=25 * units.fs) as dynamics:
            for _ in range(4):
                dynamics.run(20)
                conserved.append(dynamics.get_conserved_energy())
        assert np.ptp(conserved) < 0.05

    def test_bfgs_reaches_the_minimum(self, atoms):
        with BFGS(atoms, logfile=None) as search:
            assert search.run(fmax=1e-4, steps=500)
        gradient = oracle(atoms.positions)[1]
        assert np.linalg.norm(gradient, axis=1).max() < 1e-4

    def test_vibrations_agree_with_the_hessian_of_the_formula(self, atoms, tmp_path):
        with BFGS(atoms, logfile=None) as search:
            search.run(fmax=1e-5, steps=1000)
        vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=1e-3)
        vibrations.run()
        hessian = np.empty((27, 27))
        for column in range(27):
            moved = np.zeros(27)
            moved[column] = 1e-4
            forward, backward = (
                oracle(atoms.positions + sign * moved.reshape(9, 3))[1].ravel() for sign in (1.0, -1.0)
            )
            hessian[:, column] = (backward - forward) / 2e-4
        root = np.sqrt(np.repeat(atoms.get_masses(), 3))
        eigenvalues = np.linalg.eigvalsh(0.5 * (hessian + hessian.T) / root / root[:, None])
        expected = units._hbar * 1e10 / np.sqrt(units._e * units._amu) * np.sqrt(eigenvalues[-18:])
        np.testing.assert_allclose(np.sort(vibrations.get_energies().real)[-18:], expected, rtol=2e-4)

    @pytest.mark.parametrize("way", ["shared", "own", "threads"])
    def test_nudged_elastic_band(self, atoms, way):
        """Calculators shared, one per image, and one per image in parallel threads give the same band."""
        neb = pytest.importorskip("ase.mep.neb")
        images = self._band(atoms)
        if way == "shared":
            band = neb.NEB(images, method="improvedtangent", allow_shared_calculator=True)
            shared = NyffCalculator(atoms.calc.model)
            for image in images:
                image.calc = shared
        else:
            band = neb.NEB(images, method="improvedtangent", parallel=way == "threads")
            for image in images:
                image.calc = atoms.calc.copy()
        with BFGS(band, logfile=None) as search:
            search.run(fmax=1e-9, steps=5)
        positions = np.array([image.positions for image in images])
        np.testing.assert_allclose(positions, self._reference(neb, atoms), atol=1e-10)

    @staticmethod
    def _band(atoms):
        """From ethanol to ethanol with the hydroxyl hydrogen turned by 100 degrees."""
        first = analytic.ethanol()
        last = first.copy()
        last.set_dihedral(0, 1, 2, 3, first.get_dihedral(0, 1, 2, 3) + 100, mask=[0, 0, 0, 1, 0, 0, 0, 0, 0])
        images = [first]
        for fraction in (0.25, 0.5, 0.75):
            image = first.copy()
            image.positions += fraction * (last.positions - first.positions)
            images.append(image)
        return [*images, last]

    def _reference(self, neb, atoms):
        from ase.calculators.calculator import all_changes

        class Plain(Calculator):
            implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

            def calculate(self, atoms=None, properties=(), system_changes=all_changes):
                super().calculate(atoms, properties, system_changes)
                energy, forces = oracle(atoms.positions)
                self.results = {"energy": energy, "free_energy": energy, "forces": forces}

        images = self._band(atoms)
        for image in images:
            image.calc = Plain()
        band = neb.NEB(images, method="improvedtangent")
        with BFGS(band, logfile=None) as search:
            search.run(fmax=1e-9, steps=5)
        return np.array([image.positions for image in images])

"""The whole path with a model nyff trained itself: file, calculator, relaxation, dynamics, resuming."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.io import read

import nyff
from nyff.calculator import NyffCalculator
from nyff.errors import FileFormatError, InputError
from nyff.md.limits import Watch
from nyff.md.observe import drift, read_log
from nyff.md.relax import relax
from nyff.md.run import resume_md, run_md


@pytest.fixture(scope="module")
def data():
    return nyff.datasets.ethanol()


@pytest.fixture(scope="module")
def model(data):
    return nyff.fit(data, n_train=60, lengthscale=10.0, seed=0).model


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "ethanol.nyff"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def relaxed(model, data):
    return relax(model, Atoms(numbers=data.numbers, positions=data.positions[0]), fmax=0.001)


def test_a_path_and_its_model_are_the_same_calculator(model, path, data):
    atoms = Atoms(numbers=data.numbers, positions=data.positions[5])
    from_path, from_model = NyffCalculator(path), NyffCalculator(model)
    assert from_path.todict() == {"model": str(path), "checksum": model.checksum, "device": "cpu"}
    assert from_path.copy().todict() == from_path.todict()
    assert from_path.get_potential_energy(atoms) == from_model.get_potential_energy(atoms)
    np.testing.assert_array_equal(from_path.get_forces(atoms), from_model.get_forces(atoms))


def test_forces_are_minus_the_gradient(model, data):
    fd = pytest.importorskip("ase.calculators.fd", reason="ASE's finite differences came with 3.24")
    atoms = Atoms(numbers=data.numbers, positions=data.positions[7])
    atoms.calc = NyffCalculator(model)
    forces = fd.calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-5)


def test_threads_answer_as_one_does(model, data):
    structures = [
        Atoms(numbers=data.numbers, positions=p, calculator=NyffCalculator(model)) for p in data.positions[:32]
    ]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda atoms: atoms.get_forces(), structures))
    for forces, positions in zip(threaded, data.positions, strict=False):
        np.testing.assert_allclose(forces, model.predict(positions[None])[1][0], atol=1e-12)


def test_many_at_once_are_the_same_as_one_by_one(model, data):
    structures = [Atoms(numbers=data.numbers, positions=positions) for positions in data.positions[:20]]
    for atoms in NyffCalculator(model).evaluate_many(structures):
        single = NyffCalculator(model)
        assert atoms.get_potential_energy() == pytest.approx(single.get_potential_energy(atoms), abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), single.get_forces(atoms), atol=1e-9)


def test_coinciding_atoms_fail(model, data):
    atoms = Atoms(numbers=data.numbers, positions=data.positions[0], calculator=NyffCalculator(model))
    atoms.positions[8] = atoms.positions[7]
    with pytest.raises(CalculationFailed, match="not finite, most likely because two atoms coincide"):
        atoms.get_forces()


def test_a_device_that_is_not_there(model, path):
    for given in (model, path):
        with pytest.raises(InputError, match="there is no device 'cuda:77' here"):
            NyffCalculator(given, device="cuda:77")


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "x.nyff").write_text("hello")
    with pytest.raises(FileFormatError, match="is not a nyff model"):
        NyffCalculator(tmp_path / "x.nyff")


def test_no_labelled_structure_is_outside_the_limits(model, data):
    """The model saw 60 structures at 500 K; the limits must leave the other 1900 alone."""
    watch = Watch(model)
    assert len(data) > 1000
    for positions, forces in zip(data.positions, data.forces, strict=True):
        assert watch.distances(positions) is None
        assert watch.forces(0.0, forces) is None


def test_relaxation_finds_a_minimum(model, relaxed):
    assert relaxed.converged
    assert relaxed.fmax < 0.001
    rng = np.random.default_rng(0)
    nearby = relaxed.atoms.positions + 0.03 * rng.normal(size=(20, 9, 3))
    assert (model.predict(nearby)[0] > relaxed.energy).all()


def test_dynamics_conserves_energy_and_resumes_without_anything_but_the_folder(path, relaxed, tmp_path):
    common = {"ensemble": "nve", "temperature": 300, "timestep": 0.25, "seed": 1, "frame_interval": 100}
    run_md(path, relaxed.atoms, output=tmp_path / "parts", time="50fs", **common)
    resumed = resume_md(tmp_path / "parts", time="100fs")
    whole = run_md(path, relaxed.atoms, output=tmp_path / "whole", time="100fs", **common)
    np.testing.assert_array_equal(resumed.atoms.positions, whole.atoms.positions)
    for name in ("md.csv", "trajectory.extxyz", "final.xyz", "model.nyff", "config.yaml"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    log = read_log(whole.folder)
    assert np.ptp(log["conserved_ev"]) < 2e-3
    assert abs(drift(log["time_fs"], log["conserved_ev"], 9)) < 1e-3
    frame = read(whole.folder / "trajectory.extxyz", -1)
    energy, forces = nyff.load(whole.folder / "model.nyff").predict(frame.positions[None])
    assert frame.get_potential_energy() == pytest.approx(energy[0], abs=1e-6)
    np.testing.assert_allclose(frame.get_forces(), forces[0], atol=1e-6)


def test_an_altered_model_in_the_folder_is_refused(path, relaxed, tmp_path):
    run_md(path, relaxed.atoms, output=tmp_path / "run", time="1fs")
    content = bytearray((tmp_path / "run" / "model.nyff").read_bytes())
    content[-3] ^= 1
    (tmp_path / "run" / "model.nyff").write_bytes(content)
    with pytest.raises(FileFormatError, match="altered after it was written"):
        resume_md(tmp_path / "run")


def test_hot_dynamics_is_not_stopped_without_need(model, relaxed, tmp_path):
    result = run_md(
        model, relaxed.atoms, output=tmp_path / "run", ensemble="langevin", temperature=500, time="500fs", timestep=1.0
    )
    assert result.finished

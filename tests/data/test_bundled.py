from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from nyff.data.bundled import ethanol
from nyff.data.dataset import Dataset
from nyff.data.io import read_dataset


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return ethanol()


@pytest.fixture(scope="module")
def archive() -> dict[str, np.ndarray]:
    path = files("nyff.data") / "ethanol.npz"
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
        return {key: content[key] for key in content.files}


def in_order_of_time(archive: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Values [frames] as [trajectory, time]."""
    order = np.lexsort((archive["time_fs"], archive["trajectory"]))
    return values[order].reshape(len(np.unique(archive["trajectory"])), -1)


def autocorrelation(series: np.ndarray) -> float:
    """Between neighbours in time, over [trajectory, time]."""
    series = series - series.mean()
    return float(np.mean(series[:, 1:] * series[:, :-1].conj()).real / np.mean(np.abs(series) ** 2))


def torsion(positions: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Torsion angle [frames] in radians."""
    axis = positions[:, c] - positions[:, b]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    first, second = positions[:, a] - positions[:, b], positions[:, d] - positions[:, c]
    first -= np.sum(first * axis, axis=1, keepdims=True) * axis
    second -= np.sum(second * axis, axis=1, keepdims=True) * axis
    return np.arctan2(np.sum(np.cross(first, second) * axis, axis=1), np.sum(first * second, axis=1))


def test_content(dataset: Dataset) -> None:
    assert len(dataset) == 2000
    assert dataset.numbers.tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]
    assert dataset.name == "ethanol"
    assert dataset.hints == ()
    assert dataset.energies is not None
    assert np.unique(dataset.energies).size > 1990
    bonds = [(0, 1), (1, 2), (2, 3)]  # C-C, C-O, O-H: the order of the first atoms
    lengths = [np.median(np.linalg.norm(dataset.positions[:, i] - dataset.positions[:, j], axis=1)) for i, j in bonds]
    np.testing.assert_allclose(lengths, [1.52, 1.42, 0.97], atol=0.05)


def test_small_enough_for_a_package() -> None:
    assert len((files("nyff.data") / "ethanol.npz").read_bytes()) < 1_500_000


def test_provenance_is_in_the_file(dataset: Dataset) -> None:
    told = dataset.source["provenance"]
    assert told["method"] == "GFN2-xTB"
    assert told["temperature_K"] == 500
    assert told["script"] == "scripts/make_ethanol.py"
    assert "tblite" in told["software"]
    assert {"timestep_fs", "friction_per_fs", "stride_fs", "seed", "date", "accuracy"} <= set(told)
    assert dataset.source["theory"] == "GFN2-xTB"
    json.dumps(dataset.source)


def test_units_are_in_the_file(dataset: Dataset) -> None:
    with np.load(str(files("nyff.data") / "ethanol.npz")) as content:
        assert (str(content["e_unit"]), str(content["r_unit"])) == ("eV", "Ang")
    assert read_dataset(str(files("nyff.data") / "ethanol.npz")).fingerprint() == dataset.fingerprint()


def test_temperature_of_the_sample(dataset: Dataset) -> None:
    # classical equipartition: 21 internal degrees of freedom hold 21/2 kT on average and spread by sqrt(21/2) kT
    kt = 8.617333262e-5 * 500
    energies = np.asarray(dataset.energies)
    assert energies.std() == pytest.approx(np.sqrt(21 / 2) * kt, rel=0.2)
    assert energies.mean() - energies.min() == pytest.approx(21 / 2 * kt, rel=0.3)


def test_structures_are_decorrelated(dataset: Dataset, archive: dict[str, np.ndarray]) -> None:
    noise = 1 / np.sqrt(len(dataset))
    assert abs(autocorrelation(in_order_of_time(archive, np.asarray(dataset.energies)))) < 5 * noise
    forces = dataset.forces.reshape(len(dataset), -1).T
    assert np.mean([autocorrelation(in_order_of_time(archive, f)) for f in forces]) < 2 * noise


def test_conformers_are_visited_and_left(dataset: Dataset, archive: dict[str, np.ndarray]) -> None:
    angle = torsion(dataset.positions, 0, 1, 2, 3)
    trans = np.abs(angle) > 2 * np.pi / 3
    shares = [trans.mean(), (~trans & (angle > 0)).mean(), (~trans & (angle < 0)).mean()]
    assert min(shares) > 0.1
    assert shares[1] == pytest.approx(shares[2], abs=0.05)  # mirror images
    assert abs(autocorrelation(in_order_of_time(archive, np.cos(angle)))) < 0.1
    assert abs(autocorrelation(in_order_of_time(archive, np.sin(angle)))) < 0.1


def test_slices_are_fair_samples(dataset: Dataset, archive: dict[str, np.ndarray]) -> None:
    trajectories = archive["trajectory"][:500]
    counts = np.bincount(trajectories, minlength=20)
    assert counts.min() > 10  # 25 expected of each


def test_labels_belong_to_the_stored_positions(dataset: Dataset) -> None:
    """Recompute a few from scratch; what xTB itself repeats to, from another guess, is 1e-6."""
    tblite = pytest.importorskip("tblite.ase", reason="tblite is not installed")
    from ase import Atoms

    for k in (0, 777, 1999):
        one = dataset[k]
        atoms = Atoms(one.numbers, one.positions[0])
        atoms.calc = tblite.TBLite(method="GFN2-xTB", accuracy=0.01, verbosity=0)
        assert atoms.get_potential_energy() == pytest.approx(np.asarray(one.energies)[0], abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), one.forces[0], atol=1e-5)


def test_forces_are_the_negative_slope_of_the_energies() -> None:
    """Central differences of xTB along one random direction, at a stored structure."""
    tblite = pytest.importorskip("tblite.ase", reason="tblite is not installed")
    from ase import Atoms

    one = ethanol()[42]
    direction = np.random.default_rng(0).standard_normal((9, 3))
    direction /= np.linalg.norm(direction)
    step = 1e-3
    energies = []
    for sign in (1, -1):
        atoms = Atoms(one.numbers, one.positions[0] + sign * step * direction)
        atoms.calc = tblite.TBLite(method="GFN2-xTB", accuracy=0.01, verbosity=0)
        energies.append(atoms.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * step)
    assert -slope == pytest.approx(np.sum(one.forces[0] * direction), abs=1e-4)

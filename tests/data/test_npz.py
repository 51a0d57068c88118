from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nyff.data.dataset import Dataset
from nyff.data.io import read_dataset, write_dataset
from nyff.errors import FileFormatError, InputError
from nyff.units import BOHR, HARTREE, KCAL_PER_MOL


def md17(dataset: Dataset) -> dict[str, Any]:
    """The arrays of rMD17, in kcal/mol and Å, dtypes included."""
    return {
        "nuclear_charges": dataset.numbers.astype(np.uint8),
        "coords": dataset.positions,
        "energies": np.asarray(dataset.energies) / KCAL_PER_MOL,
        "forces": dataset.forces / KCAL_PER_MOL,
        "old_forces": dataset.forces / KCAL_PER_MOL * 1.01,
    }


def sgdml(dataset: Dataset, e_unit: str | None = "kcal/mol", r_unit: str | None = "Ang") -> dict[str, Any]:
    """The arrays sGDML writes: energies as a column, units, digest."""
    arrays: dict[str, Any] = {
        "z": dataset.numbers,
        "R": dataset.positions,
        "E": np.asarray(dataset.energies)[:, None] / KCAL_PER_MOL,
        "F": dataset.forces / KCAL_PER_MOL,
    }
    parts = b"".join(hashlib.md5(np.ascontiguousarray(arrays[key])).digest() for key in "zREF")
    arrays["md5"] = np.array(hashlib.md5(parts).hexdigest().encode("utf-8"))
    texts = {"type": "d", "name": "methanol", "theory": "harmonic", "e_unit": e_unit, "r_unit": r_unit}
    return {**arrays, **{key: np.array(text) for key, text in texts.items() if text is not None}}


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def same_data(a: Dataset, b: Dataset) -> None:
    np.testing.assert_array_equal(a.numbers, b.numbers)
    np.testing.assert_allclose(a.positions, b.positions, rtol=1e-14)
    np.testing.assert_allclose(a.forces, b.forces, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(np.asarray(a.energies), np.asarray(b.energies), rtol=1e-14)


def test_rmd17_keys_with_units_given(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "rmd17.npz", md17(methanol))
    dataset = read_dataset(path, units="kcal/mol")
    same_data(dataset, methanol)
    assert dataset.name == "rmd17"
    assert dataset.source["units"] == "kcal/mol,angstrom"
    assert dataset.hints == ()
    named = read_dataset(path, units="kcal/mol", forces_key="old_forces")
    np.testing.assert_allclose(named.forces, methanol.forces * 1.01, rtol=1e-12, atol=1e-14)


def test_units_are_never_guessed(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "rmd17.npz", md17(methanol))
    with pytest.raises(
        InputError, match=r"rmd17\.npz does not say its units; pass them, such as units='kcal/mol' for rMD17"
    ):
        read_dataset(path)
    half = saved(tmp_path / "half.npz", sgdml(methanol, r_unit=None))
    with pytest.raises(InputError, match=r"does not say its units for lengths \(its energies are in kcal/mol\)"):
        read_dataset(half)
    same_data(read_dataset(half, units="kcal/mol"), methanol)


def test_sgdml_keys_bring_their_units(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "data.npz", sgdml(methanol))
    for dataset in (read_dataset(path), read_dataset(path, units="kcal/mol")):
        same_data(dataset, methanol)
        assert dataset.name == "methanol"
        assert dataset.source["theory"] == "harmonic"
        assert dataset.source["units"] == "kcal/mol,Ang"


def test_atomic_units(methanol: Dataset, tmp_path: Path) -> None:
    arrays = {
        "z": methanol.numbers,
        "R": methanol.positions / BOHR,
        "E": np.asarray(methanol.energies) / HARTREE,
        "F": methanol.forces / (HARTREE / BOHR),
    }
    same_data(read_dataset(saved(tmp_path / "a.npz", arrays), units="hartree,bohr"), methanol)
    stated = {**arrays, "e_unit": np.array("Hartree"), "r_unit": np.array("bohr")}
    same_data(read_dataset(saved(tmp_path / "b.npz", stated)), methanol)


def test_units_that_contradict_the_file_are_refused(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "data.npz", sgdml(methanol))
    for units in ("eV", "kcal/mol,bohr"):
        with pytest.raises(
            InputError, match=r"contradicts .*data\.npz, which says it is in 'kcal/mol,Ang'.*; leave units"
        ):
            read_dataset(path, units=units)


def test_unknown_units_in_the_file(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "data.npz", sgdml(methanol, e_unit="kcal per mole"))
    with pytest.raises(
        InputError, match=r"e_unit 'kcal per mole' and r_unit 'Ang': unknown unit of energy.*; pass what"
    ):
        read_dataset(path)
    same_data(read_dataset(path, units="kcal/mol"), methanol)


def test_columns_of_lattice_are_the_vectors(methanol: Dataset, tmp_path: Path) -> None:
    lattice = np.array([[9.0, 2.0, 0.0], [0.0, 8.0, 1.0], [0.0, 0.0, 7.0]])
    arrays = {**sgdml(methanol, r_unit="bohr"), "lattice": lattice / BOHR}
    arrays["R"] = methanol.positions / BOHR
    arrays.pop("md5")
    dataset = read_dataset(saved(tmp_path / "cell.npz", arrays))
    np.testing.assert_allclose(dataset.cell, lattice.T, rtol=1e-14)
    np.testing.assert_allclose(dataset.forces, methanol.forces / BOHR, rtol=1e-13)
    assert dataset.pbc == (True, True, True)


def test_atoms_repeated_for_every_structure(methanol: Dataset, tmp_path: Path) -> None:
    arrays = md17(methanol)
    arrays["nuclear_charges"] = np.tile(methanol.numbers, (12, 1))
    same_data(read_dataset(saved(tmp_path / "a.npz", arrays), units="kcal/mol"), methanol)
    arrays["nuclear_charges"][5, [1, 2]] = arrays["nuclear_charges"][5, [2, 1]]
    with pytest.raises(InputError, match=r"frame 5 of .*a\.npz has its atoms in another order: atom 1 is H"):
        read_dataset(saved(tmp_path / "a.npz", arrays), units="kcal/mol")


def test_forces_without_energies(methanol: Dataset, tmp_path: Path) -> None:
    arrays = md17(methanol)
    del arrays["energies"]
    assert read_dataset(saved(tmp_path / "a.npz", arrays), units="kcal/mol").energies is None


def test_missing_labels_and_keys(methanol: Dataset, tmp_path: Path) -> None:
    arrays = md17(methanol)
    del arrays["forces"]
    path = saved(tmp_path / "a.npz", arrays)
    with pytest.raises(InputError, match=r"has no forces.*forces_key= \(--forces-key\), the keys are .*old_forces"):
        read_dataset(path, units="kcal/mol")
    with pytest.raises(InputError, match="has no `dft` to take the energies from; its keys are nuclear_charges"):
        read_dataset(path, units="kcal/mol", energy_key="dft")
    path = saved(tmp_path / "b.npz", {"x": np.zeros(3)})
    with pytest.raises(FileFormatError, match=r"is not a known data set: it needs the keys .*, its keys are x; rename"):
        read_dataset(path, units="eV")
    for kind, name in {"m": "model", "t": "training task"}.items():
        path = saved(tmp_path / "c.npz", {"type": np.array(kind), "z": methanol.numbers})
        with pytest.raises(FileFormatError, match=f"is an sGDML {name}, not a data set"):
            read_dataset(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("coords", np.zeros((12, 18)), r"`positions` must have shape \[frames, 6 atoms, 3\], got \[12, 18\]"),
        ("forces", np.zeros((11, 6, 3)), r"`forces` must have shape \[12 frames, 6 atoms, 3\]"),
        ("energies", np.zeros(11), r"`energies` must have shape \[12 frames\]"),
        ("energies", np.array(["a"] * 12), "energies in .* must be real numbers, got dtype <U1"),
    ],
)
def test_wrong_shapes_and_kinds(key: str, value: Any, message: str, methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", {**md17(methanol), key: value})
    with pytest.raises(FileFormatError, match=message):
        read_dataset(path, units="kcal/mol")


def test_one_structure(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", md17(methanol[:1]))
    with pytest.raises(InputError, match="the data set has 1 structure, at least 2"):
        read_dataset(path, units="kcal/mol")


class Hostile:
    """Unpickling this creates a file, which stands for anything."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("key", ["nuclear_charges", "coords", "forces", "energies"])
def test_pickled_objects_are_refused_and_not_opened(key: str, methanol: Dataset, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    hostile = np.empty(1, dtype=object)
    hostile[0] = Hostile(proof)
    path = saved(tmp_path / "a.npz", {**md17(methanol), key: hostile})
    with pytest.raises(FileFormatError, match=f"`{key}` in .* holds Python objects, which can run code .* is refused"):
        read_dataset(path, units="kcal/mol")
    assert not proof.exists()
    np.load(path, allow_pickle=True)[key]
    assert proof.exists()  # the trap works


def test_pickled_objects_under_other_keys_are_ignored(methanol: Dataset, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    hostile = np.empty(1, dtype=object)
    hostile[0] = Hostile(proof)
    same_data(read_dataset(saved(tmp_path / "a.npz", {**md17(methanol), "extra": hostile}), units="kcal/mol"), methanol)
    assert not proof.exists()


def test_a_bare_pickle_is_refused(methanol: Dataset, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    hostile = np.empty(1, dtype=object)
    hostile[0] = Hostile(proof)
    with (tmp_path / "a.npz").open("wb") as stream:
        hostile.dump(stream)
    with pytest.raises(FileFormatError, match=r"is not a readable \.npz archive"):
        read_dataset(tmp_path / "a.npz", units="eV")
    with (tmp_path / "b.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(FileFormatError, match=r"holds a single array, not an \.npz archive"):
        read_dataset(tmp_path / "b.npz", units="eV")
    assert not proof.exists()


def test_altered_content_is_noticed(methanol: Dataset, tmp_path: Path) -> None:
    arrays = sgdml(methanol)
    arrays["F"] = arrays["F"] + 1e-12
    with pytest.raises(
        FileFormatError, match=r"was altered after it was written: its md5 is .*; fetch it again, or remove"
    ):
        read_dataset(saved(tmp_path / "a.npz", arrays))


def test_damaged_member_is_noticed(methanol: Dataset, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", md17(methanol))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("forces.npy").header_offset + 300
    content = bytearray(path.read_bytes())
    content[start] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"`forces` in .* cannot be read .*: the file is damaged"):
        read_dataset(path, units="kcal/mol")


def test_written_files_are_sgdml_data_sets(methanol: Dataset, tmp_path: Path) -> None:
    cell = np.array([[9.0, 0, 0], [2, 9, 0], [0, 1, 9]])
    dataset = Dataset(
        methanol.numbers,
        methanol.positions,
        methanol.forces,
        methanol.energies,
        cell=cell,
        pbc=(True, True, True),
        name="methanol",
        source={"theory": "harmonic"},
    )
    write_dataset(dataset, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        content = {key: archive[key] for key in archive.files}
    assert content["type"] == "d"
    assert (str(content["e_unit"]), str(content["r_unit"])) == ("eV", "Ang")
    assert (str(content["name"]), str(content["theory"])) == ("methanol", "harmonic")
    np.testing.assert_array_equal(content["lattice"][:, 1], cell[1])
    assert content["F_max"] == methanol.forces.max()
    parts = b"".join(hashlib.md5(content[key]).digest() for key in "zREF")
    assert bytes(content["md5"]) == hashlib.md5(parts).hexdigest().encode()
    assert read_dataset(tmp_path / "a.npz").source["theory"] == "harmonic"


def test_same_data_same_bytes(methanol: Dataset, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_dataset(methanol, tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()

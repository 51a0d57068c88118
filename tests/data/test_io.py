from __future__ import annotations

import gzip
import logging
import os
import stat
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from nyff.data.dataset import Dataset
from nyff.data.io import read_dataset, write_dataset
from nyff.errors import FileFormatError, InputError
from nyff.units import BOHR, HARTREE, KCAL_PER_MOL


def structures(dataset: Dataset, energy: str | None = "REF_energy", forces: str | None = "REF_forces") -> list[Atoms]:
    """ASE structures with labels under the given names, ``"calculator"`` for its results."""
    assert dataset.energies is not None
    made = []
    for k in range(len(dataset)):
        atoms = Atoms(dataset.numbers, dataset.positions[k])
        results: dict[str, Any] = {}
        if energy == "calculator":
            results["energy"] = dataset.energies[k]
        elif energy:
            atoms.info[energy] = dataset.energies[k]
        if forces == "calculator":
            results["forces"] = dataset.forces[k]
        elif forces:
            atoms.arrays[forces] = dataset.forces[k].copy()
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        made.append(atoms)
    return made


def write_xyz(path: Path, frames: list[Atoms]) -> Path:
    ase.io.write(path, frames, format="extxyz")
    return path


def same_data(a: Dataset, b: Dataset, digits: float = 0.0) -> None:
    np.testing.assert_array_equal(a.numbers, b.numbers)
    for name in ("positions", "forces", "energies"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=digits)


# --- what is read, and from where -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "suffix"),
    [
        *[("REF", suffix) for suffix in (".xyz", ".extxyz", ".xyz.gz", ".db")],  # .traj stores calculator results only
        *[("calculator", suffix) for suffix in (".xyz", ".extxyz", ".xyz.gz", ".traj", ".db")],
    ],
)
def test_formats_of_ase(where: str, suffix: str, methanol: Dataset, tmp_path: Path) -> None:
    path = tmp_path / f"methanol{suffix}"
    if where == "REF" and suffix == ".db":
        with ase.db.connect(path, use_lock_file=False) as database:
            for atoms in structures(methanol):
                database.write(
                    Atoms(atoms.numbers, atoms.positions),
                    REF_energy=atoms.info["REF_energy"],
                    data={"REF_forces": atoms.arrays["REF_forces"]},
                )
    else:
        names = ("REF_energy", "REF_forces") if where == "REF" else ("calculator", "calculator")
        kind = {"format": "extxyz"} if "xyz" in suffix else {}
        ase.io.write(path, structures(methanol, *names), **kind)
    dataset = read_dataset(path)
    same_data(dataset, methanol, digits=1e-8 if "xyz" in suffix else 0.0)  # ASE writes eight digits
    assert dataset.name == "methanol"
    assert dataset.cell is None
    assert dataset.source["units"] == "eV,angstrom"
    assert dataset.source["files"][0]["structures"] == 12


def test_reference_labels_win_over_the_calculator_and_named_keys_over_both(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol)
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=atoms.arrays["REF_forces"] * 2)
        atoms.info["dft_energy"] = atoms.info["REF_energy"] * 3
        atoms.arrays["dft_forces"] = atoms.arrays["REF_forces"] * 3
    path = write_xyz(tmp_path / "many.xyz", frames)
    same_data(read_dataset(path), methanol, digits=1e-7)
    named = read_dataset(path, energy_key="dft_energy", forces_key="dft_forces")
    np.testing.assert_allclose(named.forces, 3 * methanol.forces, atol=1e-7)
    np.testing.assert_allclose(named.energies, 3 * np.asarray(methanol.energies), atol=1e-7)
    calculator = read_dataset(path, energy_key="REF_energy", forces_key="forces")
    np.testing.assert_allclose(calculator.forces, 2 * methanol.forces, atol=1e-7)


def test_forces_of_fixed_atoms_are_read_as_they_are(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol, "calculator", "calculator")
    for atoms in frames:
        atoms.set_constraint(FixAtoms([0, 1]))
    ase.io.write(tmp_path / "fixed.traj", frames)
    same_data(read_dataset(tmp_path / "fixed.traj"), methanol)


def test_forces_without_energies(methanol: Dataset, tmp_path: Path) -> None:
    path = write_xyz(tmp_path / "forces.xyz", structures(methanol, energy=None))
    dataset = read_dataset(path)
    assert dataset.energies is None
    np.testing.assert_allclose(dataset.forces, methanol.forces, atol=1e-8)


def test_units_given_for_a_format_that_has_none(methanol: Dataset, tmp_path: Path) -> None:
    atomic = Dataset(
        methanol.numbers,
        methanol.positions / BOHR,
        methanol.forces / HARTREE * BOHR,
        np.asarray(methanol.energies) / HARTREE,
    )
    path = write_xyz(tmp_path / "atomic.xyz", structures(atomic))
    same_data(read_dataset(path, units="hartree,bohr"), methanol, digits=1e-6)


def test_periodic_cells(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol)
    cell = np.array([[9.0, 0, 0], [1, 9, 0], [0, 1, 9]])
    for atoms in frames:
        atoms.set_cell(cell)
        atoms.pbc = (True, True, False)
    dataset = read_dataset(write_xyz(tmp_path / "slab.xyz", frames))
    np.testing.assert_array_equal(dataset.cell, cell)
    assert dataset.pbc == (True, True, False)
    frames[5].set_cell(cell * 1.01)
    with pytest.raises(InputError, match=r"frame 5 of .*slab\.xyz has another cell .*; nyff needs one fixed cell"):
        read_dataset(write_xyz(tmp_path / "slab.xyz", frames))


def test_several_files_in_the_order_given_and_folders_by_number(methanol: Dataset, tmp_path: Path) -> None:
    parts = {"run10.xyz": slice(9, 12), "run2.xyz": slice(5, 9), "run1.traj": slice(0, 5)}
    for name, part in parts.items():
        frames = structures(methanol[part], "calculator", "calculator")
        ase.io.write(tmp_path / name, frames, format="extxyz" if "xyz" in name else "traj")
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / ".hidden.xyz").write_text("not data")
    folder = read_dataset(tmp_path)
    same_data(folder, methanol, digits=1e-8)
    assert [Path(file["path"]).name for file in folder.source["files"]] == ["run1.traj", "run2.xyz", "run10.xyz"]
    reverse = read_dataset([tmp_path / "run10.xyz", str(tmp_path / "run1.traj")])
    np.testing.assert_allclose(reverse.positions, methanol.positions[[9, 10, 11, 0, 1, 2, 3, 4]], atol=1e-8)
    assert {len(file["sha256"]) for file in reverse.source["files"]} == {64}


def test_hints_are_kept_and_logged(methanol: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_xyz(tmp_path / "kcal.xyz", structures(methanol))
    with caplog.at_level(logging.WARNING, "nyff.data"):
        assert read_dataset(path).hints == ()
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "nyff.data"):
        dataset = read_dataset(path, units="kcal/mol")
    assert "look like eV/angstrom read as kcal/mol/angstrom" in dataset.hints[0]
    assert dataset.hints[0] in caplog.text


# --- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz", ".npz"])
@pytest.mark.parametrize("energies", [True, False])
@pytest.mark.parametrize("periodic", [True, False])
def test_round_trip_to_the_last_digit(
    suffix: str, energies: bool, periodic: bool, methanol: Dataset, tmp_path: Path
) -> None:
    dataset = Dataset(
        methanol.numbers,
        methanol.positions,
        methanol.forces,
        methanol.energies if energies else None,
        cell=np.array([[9.0, 0, 0], [1 / 3, 9, 0], [0, 1, 9]]) if periodic else None,
        pbc=(periodic,) * 3,
    )
    path = tmp_path / f"copy{suffix}"
    write_dataset(dataset, path)
    again = read_dataset(path)
    assert again.fingerprint() == dataset.fingerprint()
    assert again.hints == ()
    assert list(tmp_path.iterdir()) == [path]


def test_ase_reads_what_is_written(methanol: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "copy.xyz"
    write_dataset(methanol, path)
    frames = ase.io.read(path, ":")
    np.testing.assert_array_equal([atoms.positions for atoms in frames], methanol.positions)
    np.testing.assert_array_equal([atoms.arrays["REF_forces"] for atoms in frames], methanol.forces)
    np.testing.assert_array_equal([atoms.info["REF_energy"] for atoms in frames], methanol.energies)
    assert not frames[0].pbc.any()


def test_nothing_is_overwritten_unless_asked(methanol: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "copy.xyz"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"copy\.xyz exists already; choose another name, or pass overwrite=True"):
        write_dataset(methanol, path)
    assert path.read_text() == "precious"
    write_dataset(methanol, path, overwrite=True)
    assert len(read_dataset(path)) == 12


def test_a_failed_write_leaves_the_old_file(methanol: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "copy.npz"
    write_dataset(methanol, path)
    before = path.read_bytes()
    slab = Dataset(methanol.numbers, methanol.positions, methanol.forces, cell=np.eye(3), pbc=(True, True, False))
    with pytest.raises(InputError, match=r"periodic in all directions or in none.*write extended XYZ"):
        write_dataset(slab, path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_suffix_and_missing_folder(methanol: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*copy\.csv: its format is unknown; use one of the suffixes"):
        write_dataset(methanol, tmp_path / "copy.csv")
    with pytest.raises(InputError, match="cannot write"):
        write_dataset(methanol, tmp_path / "missing" / "copy.xyz")


# --- what is refused ------------------------------------------------------------------------------------------------


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.xyz: No such file or directory; check the path"):
        read_dataset(tmp_path / "none.xyz")
    for name in ("empty.xyz", "empty.npz", "empty.traj", "empty.db"):
        (tmp_path / name).touch()
        with pytest.raises(FileFormatError, match=rf"{name} is empty; write it again"):
            read_dataset(tmp_path / name)
    (tmp_path / "data.csv").write_text("1,2,3")
    with pytest.raises(InputError, match=r"data\.csv: its format is unknown; nyff reads \.npz, \.xyz"):
        read_dataset(tmp_path / "data.csv")
    with pytest.raises(InputError, match="`paths` is empty"):
        read_dataset([])
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder .* holds no data files"):
        read_dataset(tmp_path / "folder")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_unreadable_file(methanol: Dataset, tmp_path: Path) -> None:
    path = write_xyz(tmp_path / "locked.xyz", structures(methanol))
    path.chmod(stat.S_IWUSR)
    with pytest.raises(InputError, match=r"locked\.xyz: Permission denied"):
        read_dataset(path)


def test_blank_file_holds_no_structures(tmp_path: Path) -> None:
    (tmp_path / "blank.xyz").write_text("\n\n")
    with pytest.raises(FileFormatError, match=r"blank\.xyz (holds no structures|cannot be read as extended XYZ)"):
        read_dataset(tmp_path / "blank.xyz")


@pytest.mark.parametrize("suffix", [".xyz", ".traj", ".db", ".npz"])
def test_truncated_and_foreign_files(suffix: str, methanol: Dataset, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".npz":
        write_dataset(methanol, path)
    else:
        ase.io.write(path, structures(methanol, "calculator", "calculator"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - len(whole) // 10])
    with pytest.raises(FileFormatError, match=r"cut\..*(truncated|damaged)"):
        read_dataset(path)
    path.write_bytes(os.urandom(3000))
    with pytest.raises(FileFormatError, match=r"cut\..*another kind of file"):
        read_dataset(path)


def test_truncated_compressed_file(methanol: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "cut.xyz.gz"
    write_xyz(tmp_path / "whole.xyz", structures(methanol))
    path.write_bytes(gzip.compress((tmp_path / "whole.xyz").read_bytes())[:-100])
    with pytest.raises(FileFormatError, match=r"cut\.xyz\.gz cannot be read as extended XYZ"):
        read_dataset(path)


def test_one_structure(methanol: Dataset, tmp_path: Path) -> None:
    path = write_xyz(tmp_path / "one.xyz", structures(methanol[:1]))
    with pytest.raises(InputError, match="the data set has 1 structure, at least 2 are needed"):
        read_dataset(path)
    assert len(read_dataset(path, minimum=1)) == 1


def test_mixed_molecules(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol)
    frames[4] = frames[4][[0, 1, 2, 3]]
    with pytest.raises(
        InputError, match=r"frame 4 of .*mix\.xyz is another molecule: CH2O with 4 atoms, .* CH4O with 6"
    ):
        read_dataset(write_xyz(tmp_path / "mix.xyz", frames))
    ethane = Dataset([6, 6, 1, 1, 1, 1], methanol.positions, methanol.forces, methanol.energies)
    a = write_xyz(tmp_path / "a.xyz", structures(methanol))
    b = write_xyz(tmp_path / "b.xyz", structures(ethane))
    with pytest.raises(InputError, match=r"b\.xyz is another molecule: C2H4 with 6 atoms, the first structure is CH4O"):
        read_dataset([a, b])


def test_atoms_out_of_order(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol)
    frames[7] = frames[7][[0, 2, 1, 3, 4, 5]]
    with pytest.raises(
        InputError, match=r"frame 7 of .*order\.xyz has its atoms in another order: atom 1 is H, .* has O there; sort"
    ):
        read_dataset(write_xyz(tmp_path / "order.xyz", frames))


def test_nan_in_a_file(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol)
    frames[3].arrays["REF_forces"][2, 1] = np.nan
    a = write_xyz(tmp_path / "a.xyz", structures(methanol))
    b = write_xyz(tmp_path / "b.xyz", frames)
    with pytest.raises(InputError, match=r"force of atom 2 \(H\) in frame 3 of .*b\.xyz is nan; 1 of 24"):
        read_dataset([a, b])


def test_no_forces_names_the_keys_there_are(methanol: Dataset, tmp_path: Path) -> None:
    path = write_xyz(tmp_path / "dft.xyz", structures(methanol, "dft_energy", "dft_forces"))
    with pytest.raises(
        InputError,
        match=r"frame 0 of .*dft\.xyz has no forces under `REF_forces` or `forces`; name the right key with "
        r"forces_key= \(--forces-key\), the structure's keys are: dft_forces, dft_energy",
    ):
        read_dataset(path)
    with pytest.raises(InputError, match=r"has no energy under `E`; name the right key with energy_key="):
        read_dataset(path, forces_key="dft_forces", energy_key="E")


def test_labels_missing_in_some_structures(methanol: Dataset, tmp_path: Path) -> None:
    def without(name: str, k: int) -> Path:
        frames = structures(methanol)
        (frames[k].info if name == "REF_energy" else frames[k].arrays).pop(name)
        return write_xyz(tmp_path / "gap.xyz", frames)

    with pytest.raises(InputError, match=r"frame 5 of .* has no forces and frame 0 has \(`REF_forces`\); label it"):
        read_dataset(without("REF_forces", 5))
    with pytest.raises(InputError, match=r"frame 2 of .* has no energy and frame 0 has \(`REF_energy`\); label it"):
        read_dataset(without("REF_energy", 2))
    with pytest.raises(InputError, match=r"frame 1 of .* has energy \(`REF_energy`\) and frame 0 has none; label all"):
        read_dataset(without("REF_energy", 0))


def test_labels_from_two_sources_are_not_mixed(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol[:6]) + structures(methanol[6:], "REF_energy", "calculator")
    with pytest.raises(InputError, match=r"frame 6 of .* has its forces in `forces` and frame 0 in `REF_forces`; name"):
        read_dataset(write_xyz(tmp_path / "two.xyz", frames))


def test_labels_of_another_shape(methanol: Dataset, tmp_path: Path) -> None:
    frames = structures(methanol)
    for atoms in frames:
        atoms.arrays["charges"] = np.zeros(6)
        atoms.info["comment"] = "text"
    path = write_xyz(tmp_path / "shape.xyz", frames)
    with pytest.raises(
        InputError, match=r"`charges` in frame 0 .* must be numbers of shape \[6, 3\], got float64 with"
    ):
        read_dataset(path, forces_key="charges")
    with pytest.raises(InputError, match=r"`comment` in frame 0 .* must be one number, got"):
        read_dataset(path, energy_key="comment")


def test_unknown_units(methanol: Dataset, tmp_path: Path) -> None:
    path = write_xyz(tmp_path / "a.xyz", structures(methanol))
    with pytest.raises(InputError, match="unknown unit of energy 'kcal'; known are ev,"):
        read_dataset(path, units="kcal")
    assert read_dataset(path, units="kcal/mol").forces == pytest.approx(methanol.forces * KCAL_PER_MOL, abs=1e-8)

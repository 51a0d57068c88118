from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nyff.data.check import check, name_frame
from nyff.data.dataset import Dataset, concatenate
from nyff.errors import InputError


def altered(dataset: Dataset, name: str, where: tuple[int, ...], value: float) -> Dataset:
    array = getattr(dataset, name).copy()
    array[where] = value
    return replace(dataset, **{name: array})


def test_good_data_pass_unchanged(methanol: Dataset) -> None:
    passed = check(methanol)
    assert passed.hints == ()
    assert passed.fingerprint() == methanol.fingerprint()
    assert check(replace(methanol, energies=None)).hints == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(methanol: Dataset, value: float) -> None:
    with pytest.raises(InputError, match=r"position of atom 1 \(O\) in frame 7 is .*; 1 of 12 structures .* remove"):
        check(altered(methanol, "positions", (7, 1, 2), value))
    with pytest.raises(InputError, match=r"force of atom 5 \(H\) in frame 11 is .*; 1 of 12"):
        check(altered(methanol, "forces", (11, 5, 0), value))
    with pytest.raises(InputError, match=r"energy of frame 3 is .*; 1 of 12"):
        check(altered(methanol, "energies", (3,), value))


def test_frame_numbers_are_the_sources(methanol: Dataset) -> None:
    broken = altered(methanol, "forces", (9, 0, 0), np.nan)
    with pytest.raises(InputError, match="in frame 9 is nan"):
        check(broken[5:])


def test_frames_of_several_files_are_named_with_their_file(methanol: Dataset) -> None:
    files = [{"path": "a.xyz", "structures": 5}, {"path": "b.xyz", "structures": 7}]
    dataset = replace(methanol, source={"files": files})
    assert name_frame(dataset, 4) == "frame 4 of a.xyz"
    assert name_frame(dataset, 5) == "frame 0 of b.xyz"
    assert name_frame(dataset[[11]], 0) == "frame 6 of b.xyz"
    assert name_frame(methanol, 4) == "frame 4"


def test_too_few_structures(methanol: Dataset) -> None:
    with pytest.raises(InputError, match="the data set has 1 structure, at least 2 are needed"):
        check(methanol[:1])
    with pytest.raises(InputError, match="the data set has 0 structures"):
        check(methanol[:0])
    with pytest.raises(InputError, match="the data set has 1 different structure, at least 2"):
        check(concatenate([methanol[:1], methanol[:1]]))
    assert len(check(methanol[:1], minimum=1)) == 1


def test_elements_must_exist(methanol: Dataset) -> None:
    with pytest.raises(InputError, match="`numbers` holds 200, which is no element's"):
        check(replace(methanol, numbers=[200, 8, 1, 1, 1, 1]))


def test_colliding_atoms_are_named(methanol: Dataset) -> None:
    positions = methanol.positions.copy()
    positions[4, 2] = positions[4, 1] + [0.0, 0.3, 0.0]
    with pytest.raises(
        InputError, match=r"atoms 1 \(O\) and 2 \(H\) collide in frame 4: they are 0\.300 Å apart; 1 of 12"
    ):
        check(replace(methanol, positions=positions))


def test_nanometres_read_as_angstrom(methanol: Dataset) -> None:
    with pytest.raises(InputError, match="so do atoms in every other structure; positions look like nm"):
        check(replace(methanol, positions=methanol.positions / 10))


def test_atoms_collide_through_the_cell(methanol: Dataset) -> None:
    shift = np.zeros((6, 1))
    shift[2] = 1.0
    cell = np.array([[9.0, 0.0, 0.0], [2.0, 9.0, 0.0], [0.0, 1.0, 9.0]])
    wrapped = replace(methanol, positions=methanol.positions + shift * (cell[0] - cell[1]), cell=cell)
    assert check(replace(wrapped, pbc=(True, True, True))).hints == ()
    squeezed = wrapped.positions.copy()
    squeezed[:, 2] = squeezed[:, 1] + cell[0] - cell[1] + [0.0, 0.3, 0.0]
    with pytest.raises(InputError, match=r"atoms 1 \(O\) and 2 \(H\) collide in frame 0: they are 0\.300 Å apart"):
        check(replace(wrapped, positions=squeezed, pbc=(True, True, True)))
    assert "collide" not in str(check(replace(wrapped, positions=squeezed, pbc=(False, False, True))).hints)


def test_flat_cell_is_refused(methanol: Dataset) -> None:
    with pytest.raises(InputError, match="`cell` spans no volume"):
        check(replace(methanol, cell=np.diag([9.0, 9.0, 0.0]), pbc=(True, True, True)))


def test_zero_forces_are_refused(methanol: Dataset) -> None:
    with pytest.raises(InputError, match="the forces of all structures are exactly zero"):
        check(replace(methanol, forces=np.zeros_like(methanol.forces)))


def test_duplicates_are_dropped_and_reported(methanol: Dataset) -> None:
    doubled = concatenate([methanol, methanol[[2, 7]]])
    passed = check(doubled)
    assert passed.fingerprint() == methanol.fingerprint()
    assert passed.hints == ("dropped 2 exact duplicates: frame 12 of frame 2, frame 13 of frame 7",)
    again = check(passed)
    assert again.hints == passed.hints
    assert check(concatenate([methanol[:1], doubled]))[1].frames.tolist() == [2]


def test_noise_below_convergence_does_not_tell_duplicates_apart(methanol: Dataset) -> None:
    doubled = concatenate([methanol, methanol[:1]])
    noisy = altered(doubled, "energies", (12,), doubled.energies[0] + 1e-6)  # type: ignore[index]
    assert len(check(noisy)) == 12


def test_identical_positions_with_different_labels_are_refused(methanol: Dataset) -> None:
    doubled = concatenate([methanol, methanol[:1]])
    with pytest.raises(
        InputError, match=r"frame 0 and frame 12 have identical positions but different forces \(by 0\.1"
    ):
        check(altered(doubled, "forces", (12, 0, 0), doubled.forces[0, 0, 0] + 0.1))
    with pytest.raises(InputError, match=r"but different energies \(by 1 eV\); keep the one"):
        check(altered(doubled, "energies", (12,), doubled.energies[0] + 1))  # type: ignore[index]

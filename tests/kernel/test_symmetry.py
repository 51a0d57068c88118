"""Permutational symmetry found in data: molecular dynamics, groups known from spectroscopy, hard cases.

Fixtures in ``data/`` are 200 frames each of GFN2-xTB dynamics at 500 K (``scripts/make_symmetry_fixtures.py``); the
molecules of rMD17 are read from beside the checkout if they are there. The groups of non-rigid molecules are those of
Longuet-Higgins (doi 10.1080/00268976300100501): ethane, acetone and dimethylacetylene G36, isobutane G162.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from scipy.spatial.transform import Rotation

from nyff.data.dataset import Dataset
from nyff.errors import InputError
from nyff.kernel.symmetry import Symmetry, check_group, describe, find_permutations, find_symmetry

FIXTURES = Path(__file__).parent / "data"
RMD17 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "rmd17"


@dataclass
class Structures:
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None = None
    pbc: tuple[bool, bool, bool] = (False, False, False)


def fixture(name: str) -> Structures:
    with np.load(FIXTURES / f"{name}.npz") as data:
        return Structures(data["numbers"], data["positions"])


def rmd17(name: str) -> Structures:
    path = RMD17 / f"rmd17_{name}_train_01.npz"
    if not path.is_file():
        pytest.skip("rMD17 is not beside the checkout")
    with np.load(path) as data:
        return Structures(data["nuclear_charges"], data["coords"])


def rotors(atoms: Atoms) -> list[tuple[int, int, list[int]]]:
    """Methyl groups of a molecule: (neighbour, carbon, hydrogens)."""
    radii = covalent_radii[atoms.numbers]
    bonded = atoms.get_all_distances() < 1.3 * (radii[:, None] + radii)
    np.fill_diagonal(bonded, False)
    found = []
    for carbon in np.flatnonzero(atoms.numbers == 6):
        neighbours = np.flatnonzero(bonded[carbon])
        hydrogens = [int(k) for k in neighbours if atoms.numbers[k] == 1]
        if len(hydrogens) == 3 and len(neighbours) == 4:
            found.append((int(next(k for k in neighbours if k not in hydrogens)), int(carbon), hydrogens))
    return found


def turning(
    numbers: np.ndarray,
    positions: np.ndarray,
    axes: list[tuple[int, int, list[int]]],
    frames: int = 80,
    noise: float = 0.04,
    seed: int = 0,
) -> Structures:
    """Structures with groups turned freely about bonds, noise in Å on every coordinate, and random orientation."""
    rng = np.random.default_rng(seed)
    sample = np.empty((frames, len(numbers), 3))
    for frame in range(frames):
        structure = np.array(positions, dtype=float)
        for start, end, moving in axes:
            axis = structure[end] - structure[start]
            turn = Rotation.from_rotvec(rng.uniform(0, 2 * np.pi) * axis / np.linalg.norm(axis))
            structure[moving] = structure[end] + turn.apply(structure[moving] - structure[end])
        structure += noise * rng.normal(size=structure.shape)
        sample[frame] = structure @ Rotation.random(random_state=rng).as_matrix().T
    return Structures(np.asarray(numbers), sample)


def free(name: str, **options: object) -> Structures:
    atoms = molecule(name)
    return turning(atoms.numbers, atoms.positions, rotors(atoms), **options)  # type: ignore[arg-type]


def rows(permutations: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in permutations.tolist()}


def hexamethylbenzene() -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, list[int]]]]:
    positions = [[r * np.cos(k * np.pi / 3), r * np.sin(k * np.pi / 3), 0] for r in (1.39, 2.9) for k in range(6)]
    axes = []
    for k in range(6):
        out = np.array([np.cos(k * np.pi / 3), np.sin(k * np.pi / 3), 0])
        side, up = np.array([-out[1], out[0], 0]), np.array([0, 0, 1.0])
        axes.append((k, 6 + k, [len(positions) + j for j in range(3)]))
        for j in range(3):
            angle = 2 * np.pi * j / 3 + 0.3
            positions.append(list(3.26 * out + 1.03 * (np.cos(angle) * side + np.sin(angle) * up)))
    return np.array([6] * 12 + [1] * 18), np.array(positions), axes


# -- molecular dynamics ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [50, 200])
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("malonaldehyde", 4),
        ("malonaldehyde_enol", 2),
        ("benzene", 12),
        ("naphthalene", 4),
        ("paracetamol", 12),
        ("salicylic_acid", 1),
    ],
)
def test_groups_of_xtb_dynamics(name: str, count: int, frames: int) -> None:
    sample = fixture(name)
    symmetry = find_symmetry(Structures(sample.numbers, sample.positions[:: 200 // frames]))
    assert len(symmetry.permutations) == count
    assert symmetry.complete
    assert symmetry.full_order == count
    assert symmetry.n_frames == frames
    assert not symmetry.left_out
    np.testing.assert_array_equal(check_group(symmetry.permutations, sample.numbers), symmetry.permutations)


@pytest.mark.parametrize("frames", [50, 1000])
@pytest.mark.parametrize(
    ("name", "count"), [("ethanol", 6), ("uracil", 1), ("toluene", 12), ("aspirin", 6), ("azobenzene", 8)]
)
def test_groups_of_rmd17(name: str, count: int, frames: int) -> None:
    sample = rmd17(name)
    chosen = np.random.default_rng(5).choice(len(sample.positions), frames, replace=False)
    symmetry = find_symmetry(Structures(sample.numbers, sample.positions[chosen]))
    assert len(symmetry.permutations) == count
    assert symmetry.full_order == count
    assert all(motion.support > 0.2 for motion in symmetry.generators)
    np.testing.assert_array_equal(check_group(symmetry.permutations, sample.numbers), symmetry.permutations)


def test_the_six_of_ethanol() -> None:
    # Turns of the methyl group (H5 H6 H7) keep H3 and H4, its reflections exchange them: never one without the other.
    permutations = find_permutations(rmd17("ethanol"))
    turns = [(5, 6, 7), (6, 7, 5), (7, 5, 6)]
    reflections = [(6, 5, 7), (5, 7, 6), (7, 6, 5)]
    assert rows(permutations) == {(0, 1, 2, 3, 4, *turn, 8) for turn in turns} | {
        (0, 1, 2, 4, 3, *swap, 8) for swap in reflections
    }


def test_the_four_of_malonaldehyde() -> None:
    permutations = find_permutations(fixture("malonaldehyde"))
    halves, hydrogens = [2, 1, 0, 4, 3, 8, 6, 7, 5], [0, 1, 2, 3, 4, 5, 7, 6, 8]
    assert rows(permutations) == {
        tuple(range(9)),
        tuple(halves),
        tuple(hydrogens),
        tuple(np.array(halves)[hydrogens].tolist()),
    }


def test_a_proton_that_goes_over_makes_the_ends_equal() -> None:
    # No bond graph shows it: the proton H5 is bonded to one oxygen atom in every structure.
    sample = fixture("malonaldehyde_enol")
    near = np.linalg.norm(sample.positions[:, 4] - sample.positions[:, 5], axis=-1)
    far = np.linalg.norm(sample.positions[:, 3] - sample.positions[:, 5], axis=-1)
    both = find_permutations(sample)
    assert rows(both) == {tuple(range(9)), (2, 1, 0, 4, 3, 5, 8, 7, 6)}
    assert 20 < np.count_nonzero(near < far) < 180
    before = find_symmetry(Structures(sample.numbers, sample.positions[near < far - 0.3]))
    assert len(before.permutations) == 1


# -- groups known from spectroscopy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("H2O", 2),
        ("NH3", 6),
        ("CH4", 24),
        ("C2H4", 4),
        ("C3H4_D2d", 8),
        ("CH3OH", 6),
        ("CH3CH2OH", 6),
        ("C2H6", 36),
        ("CH3COCH3", 36),
        ("2-butyne", 36),
        ("isobutane", 162),
        ("cyclobutane", 8),  # puckered, and it stays so
        ("C60", 120),
    ],
)
def test_groups_of_nonrigid_molecules(name: str, count: int) -> None:
    symmetry = find_symmetry(free(name))
    assert len(symmetry.permutations) == count
    assert symmetry.complete


def test_single_structures_have_the_symmetry_of_their_shape() -> None:
    atoms = molecule("C6H6")
    assert len(find_permutations(Structures(atoms.numbers, atoms.positions[None]))) == 12
    atoms = molecule("CH3CH2OH")  # staggered: only the mirror plane
    assert len(find_permutations(Structures(atoms.numbers, atoms.positions[None]))) == 2


# -- three-cycles on their own -----------------------------------------------------------------------------------------


def test_a_pinwheel_turns_but_is_not_reflected() -> None:
    # Flat, three arms with bent ends, all to the left: C3h, as boric acid.
    angles = 2 * np.pi * np.arange(3) / 3
    inner = 1.37 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    outer = 1.9 * np.stack([np.cos(angles + 0.5), np.sin(angles + 0.5), 0 * angles], axis=1)
    sample = turning(np.array([5, 8, 8, 8, 1, 1, 1]), np.vstack([np.zeros((1, 3)), inner, outer]), [])
    symmetry = find_symmetry(sample)
    assert rows(symmetry.permutations) == {(0, 1, 2, 3, 4, 5, 6), (0, 2, 3, 1, 5, 6, 4), (0, 3, 1, 2, 6, 4, 5)}
    assert symmetry.rejected
    assert all("are kept apart in the data" in motion.reason for motion in symmetry.rejected)
    turned = np.concatenate([sample.positions, turning(sample.numbers, sample.positions[0] * [1, 1, -1], []).positions])
    assert len(find_permutations(Structures(sample.numbers, turned))) == 3  # a mirror image changes nothing


def test_a_rotor_beside_a_chiral_atom_turns_but_is_not_reflected() -> None:
    atoms = molecule("CH3CH2Cl")
    methyl = rotors(atoms)
    hydrogen = next(int(k) for k in np.flatnonzero(atoms.numbers == 1) if k not in methyl[0][2])
    atoms.numbers[hydrogen] = 9
    symmetry = find_symmetry(turning(atoms.numbers, atoms.positions, methyl))
    assert len(symmetry.permutations) == 3
    moved = np.flatnonzero((symmetry.permutations != np.arange(8)).any(axis=0))
    assert moved.tolist() == methyl[0][2]
    assert all("invert the handedness at C" in motion.reason for motion in symmetry.rejected)


# -- invariances -------------------------------------------------------------------------------------------------------


def test_the_order_of_the_frames_does_not_matter() -> None:
    sample = fixture("malonaldehyde")
    shuffled = np.random.default_rng(6).permutation(sample.positions)
    for limit in (500, 60):
        first = find_symmetry(sample, max_frames=limit, seed=3)
        second = find_symmetry(Structures(sample.numbers, shuffled), max_frames=limit, seed=3)
        np.testing.assert_array_equal(first.permutations, second.permutations)
        assert first.description == second.description
        assert [motion.support for motion in first.generators] == [motion.support for motion in second.generators]


@pytest.mark.parametrize("name", ["C2H6", "CH3CH2OH"])
def test_relabelled_atoms_give_the_conjugate_group(name: str) -> None:
    sample = free(name)
    order = np.random.default_rng(7).permutation(len(sample.numbers))
    back = np.argsort(order)
    plain = find_permutations(sample)
    relabelled = find_permutations(Structures(sample.numbers[order], sample.positions[:, order]))
    assert rows(relabelled) == rows(back[plain[:, order]])


def test_mirror_images_have_the_same_group() -> None:
    sample = free("CH3CH2OH")
    mirrored = Structures(sample.numbers, sample.positions * [-1.0, 1.0, 1.0])
    np.testing.assert_array_equal(find_permutations(sample), find_permutations(mirrored))


def test_atoms_on_both_sides_of_a_cell_boundary() -> None:
    sample = free("C2H6")
    cell = np.array([[9.0, 0.0, 0.0], [2.0, 9.0, 0.0], [0.0, -2.0, 9.0]])
    fractional = sample.positions @ np.linalg.inv(cell)
    wrapped = (fractional % 1.0) @ cell
    periodic = Structures(sample.numbers, wrapped, cell, (True, True, True))
    np.testing.assert_array_equal(find_permutations(periodic), find_permutations(sample))
    assert len(find_permutations(Structures(sample.numbers, wrapped))) != 36  # torn apart without the cell


def test_a_data_set_is_accepted() -> None:
    sample = fixture("benzene")
    dataset = Dataset(sample.numbers, sample.positions, np.zeros_like(sample.positions))
    np.testing.assert_array_equal(find_permutations(dataset), find_permutations(sample))


# -- what the data do not show -----------------------------------------------------------------------------------------


def test_a_rotor_that_never_turned_is_rejected_with_the_reason() -> None:
    atoms = molecule("C2H6")
    symmetry = find_symmetry(turning(atoms.numbers, atoms.positions, []))
    assert len(symmetry.permutations) == 12  # of the rigid staggered molecule, D3d
    assert any("are kept apart in the data" in motion.reason for motion in symmetry.rejected)
    assert any("do not show" in line for line in symmetry.description)


def test_one_turn_in_the_data_is_enough() -> None:
    atoms = molecule("C2H6")
    still = turning(atoms.numbers, atoms.positions, [], frames=60)
    hydrogens = rotors(atoms)[0][2]
    atoms.positions[hydrogens] = atoms.positions[hydrogens[1:] + hydrogens[:1]]
    later = turning(atoms.numbers, atoms.positions, [], frames=40, seed=1)
    both = Structures(still.numbers, np.concatenate([still.positions, later.positions]))
    assert len(find_permutations(both)) == 36


# -- large groups and large molecules ----------------------------------------------------------------------------------


def test_a_group_that_explodes_is_cut_and_says_so() -> None:
    sample = turning(*hexamethylbenzene())
    symmetry = find_symmetry(sample)
    assert symmetry.full_order == 3**6 * 2 * 12
    assert 100 < len(symmetry.permutations) <= 200
    np.testing.assert_array_equal(check_group(symmetry.permutations, sample.numbers), symmetry.permutations)
    assert all("more than 200 permutations" in motion.reason for motion in symmetry.left_out)
    kept = [motion.words for motion in symmetry.generators if "methyl" in motion.words]
    left = [motion.words for motion in symmetry.left_out if "methyl" in motion.words]
    assert len(kept) == 4
    assert len(left) == 2
    assert any("left out of the full group of 17,496" in line for line in symmetry.description)


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7, 36, 161])
def test_limits_are_kept(limit: int) -> None:
    sample = free("isobutane")
    permutations = find_permutations(sample, max_permutations=limit)
    assert 1 <= len(permutations) <= limit
    check_group(permutations, sample.numbers)
    assert len(permutations) > limit / 3


def test_a_long_chain_is_searched_completely() -> None:
    count = 34
    carbon = np.array([[1.27 * k, 0.44 * (-1) ** k, 0.0] for k in range(count)])
    side = np.array([[0.0, 0.63 * (-1) ** k, 0.89] for k in range(count)])
    ends = np.array([[-0.9, -0.16, 0.0], [1.27 * (count - 1) + 0.9, 0.16, 0.0]])
    positions = np.vstack([carbon, carbon + side, carbon + side * [1, 1, -1], ends])
    numbers = np.array([6] * count + [1] * (2 * count + 2))
    last = 3 * count
    axes = [(1, 0, [count, 2 * count, last]), (count - 2, count - 1, [2 * count - 1, last - 1, last + 1])]
    assert len(numbers) == 104
    symmetry = find_symmetry(turning(numbers, positions, axes, frames=50))
    # Turns of two methyl groups, the mirror plane (34 pairs exchanged at once), and the two ends.
    assert len(symmetry.permutations) == 36
    assert symmetry.complete


def test_many_molecules_end_in_time() -> None:
    # Sixteen water molecules that stay where they are: turns of each, 2^16 in all.
    water = molecule("H2O")
    rng = np.random.default_rng(8)
    sites = 3.1 * np.stack(np.meshgrid(range(4), range(2), range(2)), axis=-1).reshape(-1, 3)
    sample = np.array(
        [
            np.concatenate(
                [
                    site + 0.2 * rng.normal(size=3) + Rotation.random(random_state=rng).apply(water.positions)
                    for site in sites
                ]
            )
            for _ in range(50)
        ]
    )
    symmetry = find_symmetry(Structures(np.tile(water.numbers, len(sites)), sample))
    assert len(symmetry.permutations) == 128
    assert symmetry.full_order >= 2**16
    assert symmetry.left_out
    assert any("more" in line for line in symmetry.description)


# -- words and errors --------------------------------------------------------------------------------------------------


def test_words_for_a_chemist() -> None:
    sample = free("CH3CH2OH")
    symmetry = find_symmetry(sample)
    text = "\n".join(symmetry.description)
    methyl = rotors(molecule("CH3CH2OH"))[0]
    assert symmetry.description[0] == "6 permutations, from 80 structures, generated by"
    assert f"rotation of the methyl group C{methyl[1]}: " + " ".join(f"H{k}" for k in methyl[2]) in text
    assert "together with" in text
    assert "as in the mirror image" in text
    assert "invert the handedness at C" in text
    spoken = describe(symmetry.permutations, sample.numbers, sample.positions)
    assert spoken[0] == "6 permutations, generated by"
    assert spoken[1:] == [f"  {motion.words}" for motion in symmetry.generators]


def test_words_without_positions() -> None:
    group = np.array([[0, 1, 2, 3, 4], [0, 2, 3, 1, 4], [0, 3, 1, 2, 4]])
    assert describe(group, [6, 1, 1, 1, 9]) == ["3 permutations, generated by", "  three-fold turn: H1→H2→H3→H1"]
    assert describe([[0, 1], [1, 0]], [1, 1]) == ["2 permutations, generated by", "  exchange of H0 and H1"]
    assert describe([[0, 1]], [1, 1]) == ["1 permutation: no two atoms may be exchanged"]


def test_words_for_rings() -> None:
    symmetry: Symmetry = find_symmetry(fixture("paracetamol"))
    text = "\n".join(symmetry.description)
    assert "flip of the ring (C0 C1 C2 C3 C4 C5): C1↔C5, C2↔C4" in text
    assert "rotation of the methyl group C7: H17 H18 H19" in text


@pytest.mark.parametrize(
    ("positions", "options", "message"),
    [
        (np.zeros((3, 3)), {}, r"must have shape \[frames, 3 atoms, 3\] with at least one frame, got \[3, 3\]"),
        (np.zeros((0, 3, 3)), {}, r"with at least one frame, got \[0, 3, 3\]"),
        (np.full((2, 3, 3), np.nan), {}, "not finite"),
        (np.zeros((2, 3, 3)), {"max_permutations": 0}, "`max_permutations` must be at least 1, got 0"),
        (np.zeros((2, 3, 3)), {"max_frames": 0}, "`max_frames` must be at least 1, got 0"),
    ],
)
def test_bad_input(positions: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_permutations(Structures(np.array([8, 1, 1]), positions), **options)

"""Permutation groups: laws, checks, action on descriptors, files."""

from __future__ import annotations

import itertools
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nyff.errors import FileFormatError, InputError
from nyff.kernel.group import cycles, inverse
from nyff.kernel.symmetry import (
    check_group,
    generate_group,
    pair_permutations,
    read_permutations,
    write_permutations,
)

METHYL = np.array([[0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2]])
METHYL_Z = np.array([6, 1, 1, 1])


@st.composite
def generating_sets(draw: st.DrawFn) -> np.ndarray:
    n_atoms = draw(st.integers(2, 5))
    count = draw(st.integers(1, 3))
    return np.array([draw(st.permutations(range(n_atoms))) for _ in range(count)])


def composed(p: tuple[int, ...], q: tuple[int, ...]) -> tuple[int, ...]:
    """Apply p, then q, to a list of labels, one at a time."""
    labels = [f"atom {k}" for k in range(len(p))]
    after_p = [labels[k] for k in p]
    return tuple(labels.index(after_p[k]) for k in q)


@settings(deadline=None, max_examples=60)
@given(generating_sets())
def test_generated_sets_are_groups(generators: np.ndarray) -> None:
    n_atoms = generators.shape[1]
    group = generate_group(generators, n_atoms)
    assert group is not None
    members = set(map(tuple, group.tolist()))
    assert len(members) == len(group)
    assert group[0].tolist() == list(range(n_atoms))
    assert {tuple(row) for row in generators.tolist()} <= members
    assert {composed(p, q) for p in members for q in members} == members
    assert all(composed(p, tuple(inverse(p).tolist())) == tuple(range(n_atoms)) for p in members)
    factorial = len(list(itertools.permutations(range(n_atoms))))
    assert factorial % len(group) == 0  # Lagrange
    np.testing.assert_array_equal(check_group(group[::-1], np.ones(n_atoms)), group)


@settings(deadline=None, max_examples=60)
@given(generating_sets(), st.data())
def test_a_group_without_one_member_is_refused(generators: np.ndarray, data: st.DataObject) -> None:
    group = generate_group(generators, generators.shape[1])
    assert group is not None
    lost = data.draw(st.integers(0, len(group) - 1))
    rest = np.delete(group, lost, axis=0)
    if len(group) > 2 or (len(group) == 2 and lost == 0):  # otherwise what remains is a group, or nothing
        with pytest.raises(InputError, match=r"is not a group.*missing.*generate_group"):
            check_group(rest, np.ones(group.shape[1]))


@settings(deadline=None, max_examples=30)
@given(generating_sets(), st.integers(0, 2**32 - 1))
def test_pairs_are_permuted_as_structures_are(generators: np.ndarray, seed: int) -> None:
    n_atoms = generators.shape[1]
    positions = np.random.default_rng(seed).normal(size=(n_atoms, 3))

    def descriptor(structure: np.ndarray) -> list[float]:
        return [1.0 / np.linalg.norm(structure[i] - structure[j]) for i in range(n_atoms) for j in range(i)]

    x = np.array(descriptor(positions))
    for permutation, pairs in zip(generators, pair_permutations(generators), strict=True):
        np.testing.assert_allclose(descriptor(positions[permutation]), x[pairs], rtol=1e-12)
    group = generate_group(generators, n_atoms)
    assert group is not None
    if n_atoms > 2:  # two atoms have one pair, which never changes
        images = {tuple(row) for row in pair_permutations(group).tolist()}
        assert len(images) == len(group)


def test_limits_stop_large_groups() -> None:
    swaps = np.array([[1, 0, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])
    full = generate_group(swaps, 6)
    assert full is not None
    assert len(full) == 720
    assert generate_group(swaps, 6, limit=719) is None
    assert len(generate_group(swaps, 6, limit=720)) == 720  # type: ignore[arg-type]


def test_cycles() -> None:
    assert cycles([0, 2, 3, 1, 5, 4, 6]) == [[1, 2, 3], [4, 5]]
    assert cycles([0, 1]) == []


def test_identity_goes_first() -> None:
    np.testing.assert_array_equal(check_group(METHYL[[1, 0, 2]], METHYL_Z), METHYL)
    np.testing.assert_array_equal(check_group([0, 1, 2, 3], METHYL_Z), METHYL[:1])
    np.testing.assert_array_equal(check_group(METHYL.astype(float), METHYL_Z), METHYL)


@pytest.mark.parametrize(
    ("permutations", "message"),
    [
        (METHYL[:, :3], r"must have shape \[permutations, 4 atoms\], got \[3, 3\]"),
        ([[0, 1, 2, 3], [0, 1]], r"must have shape .* got rows of different lengths"),
        (np.empty((0, 4), dtype=int), r"must have shape .* got \[0, 4\]"),
        (METHYL + 0.5, "must hold integers"),
        (METHYL + 1, r"run from 1 to 4; nyff counts atoms from 0: subtract 1"),
        ([[0, 1, 2, 3], [0, 1, 1, 3]], r"row 1 .*is not a permutation of 0 … 3: every atom must occur exactly once"),
        ([[0, 1, 2, 3], [0, 1, 2, 9]], r"row 1 .*is not a permutation"),
        ([[0, 1, 2, 3], [1, 0, 2, 3]], r"row 1 .* puts atom 1 \(Z=1\) in the place of atom 0 \(Z=6\)"),
        ([[0, 1, 2, 3], [0, 1, 2, 3]], "row 1 .* repeats row 0; list every permutation once"),
        (METHYL[:2], r"not a group: the inverse \[0, 3, 1, 2\] of row 1 is missing"),
        (METHYL[1:], r"not a group: the identity \[0, 1, 2, 3\] is missing"),
        (
            [[0, 1, 2, 3], [0, 2, 1, 3], [0, 1, 3, 2]],
            r"not a group: row 1 followed by row 2 gives \[0, 2, 3, 1\], which is missing",
        ),
    ],
)
def test_what_is_not_a_group_is_refused(permutations: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_group(permutations, METHYL_Z)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["txt", "npy", "permutations", "perms", "anything"])
def test_files_keep_groups(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"group.{form if form in ('txt', 'npy') else 'npz'}"
    if form == "txt":
        write_permutations(path, METHYL, comments=["a methyl group"])
        assert path.read_text().startswith("# a methyl group\n# ")
    elif form == "npy":
        np.save(path, METHYL)
    else:
        np.savez(path, **{form: METHYL})
    np.testing.assert_array_equal(read_permutations(path), METHYL)
    np.testing.assert_array_equal(read_permutations(str(path), METHYL_Z), METHYL)


def test_arrays_beside_the_permutations_do_not_matter(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", perms=METHYL, z=METHYL_Z, sig=10)
    np.testing.assert_array_equal(read_permutations(tmp_path / "model.npz", METHYL_Z), METHYL)


def test_text_may_have_commas_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "group.txt"
    path.write_text("# methyl\n\n0, 1, 2, 3\n0,2,3,1  # turn\n0 3 1 2\n")
    np.testing.assert_array_equal(read_permutations(path, METHYL_Z), METHYL)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("0 1 2 3\n0 2 x 1\n", FileFormatError, r"line 2: expected atom indices.*got '0 2 x 1'"),
        ("0 1 2 3\n0 2 1\n", FileFormatError, "line 2: 3 indices where the lines above have 4"),
        ("# nothing\n", FileFormatError, "holds no permutations: write one per line"),
        ("1 2 3 4\n1 3 4 2\n1 4 2 3\n", InputError, "group.txt: the atom indices run from 1 to 4"),
        ("0 1 2\n0 2 1\n", InputError, r"group.txt: .*must have shape \[permutations, 4 atoms\], got \[2, 3\]"),
        ("0 1 2 3\n0 2 3 1\n", InputError, "group.txt: .*is not a group"),
    ],
)
def test_text_that_is_not_a_group(tmp_path: Path, text: str, error: type[InputError], message: str) -> None:
    path = tmp_path / "group.txt"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_permutations(path, METHYL_Z)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*missing.txt"):
        read_permutations(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(FileFormatError, match="cannot be read as permutations"):
        read_permutations(tmp_path / "binary.txt")
    (tmp_path / "short.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(FileFormatError, match="cannot be read as permutations"):
        read_permutations(tmp_path / "short.npz")
    np.save(tmp_path / "float.npy", METHYL / 2)
    with pytest.raises(FileFormatError, match=re.escape("holds an array of float64 with shape [3, 4]")):
        read_permutations(tmp_path / "float.npy")
    np.savez(tmp_path / "two.npz", z=METHYL_Z, R=METHYL)
    with pytest.raises(FileFormatError, match="has the arrays R, z; permutations are looked for under the names"):
        read_permutations(tmp_path / "two.npz")


class _Hostile:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["hostile.npy", "hostile.npz"])
def test_pickles_do_not_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "executed"
    array = np.array([_Hostile(mark)], dtype=object)
    if name.endswith("npy"):
        np.save(tmp_path / name, array, allow_pickle=True)
    else:
        np.savez(tmp_path / name, perms=array)
    with pytest.raises(FileFormatError, match="cannot be read as permutations"):
        read_permutations(tmp_path / name)
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Hostile(mark)))  # it would have run
    assert mark.exists()

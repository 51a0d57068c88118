from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from nyff.data.dataset import Dataset, concatenate
from nyff.errors import InputError


def arrays(frames: int = 3, atoms: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "numbers": np.array([8, 1, 1, 6][:atoms]),
        "positions": rng.standard_normal((frames, atoms, 3)),
        "forces": rng.standard_normal((frames, atoms, 3)),
        "energies": rng.standard_normal(frames),
    }


def test_arrays_are_contiguous_double_and_read_only() -> None:
    given = arrays()
    given["positions"] = np.asfortranarray(given["positions"].astype(np.float32))
    given["numbers"] = given["numbers"].astype(np.uint8)
    dataset = Dataset(**given)
    for name, dtype in {
        "numbers": np.int64,
        "positions": np.float64,
        "forces": np.float64,
        "energies": np.float64,
    }.items():
        array = getattr(dataset, name)
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_later_changes_of_the_input_do_not_reach_the_dataset() -> None:
    given = arrays()
    view = given["forces"].view()
    view.setflags(write=False)
    before = given["positions"].copy(), given["forces"].copy()
    dataset = Dataset(**{**given, "forces": view})
    given["positions"][:] = 0
    given["forces"][:] = 0
    np.testing.assert_array_equal(dataset.positions, before[0])
    np.testing.assert_array_equal(dataset.forces, before[1])
    assert given["positions"].flags.writeable


def test_slices_share_memory_and_keep_frame_numbers() -> None:
    dataset = Dataset(**arrays(frames=6))
    part = dataset[1:5]
    assert np.shares_memory(part.positions, dataset.positions)
    np.testing.assert_array_equal(part[::2].frames, [1, 3])
    np.testing.assert_array_equal(part[[3, 0]].frames, [4, 1])
    np.testing.assert_array_equal(part[[3, 0]].energies, dataset.energies[[4, 1]])  # type: ignore[index]
    np.testing.assert_array_equal(
        dataset[dataset.positions[:, 0, 0] > 0].frames, np.flatnonzero(dataset.positions[:, 0, 0] > 0)
    )
    np.testing.assert_array_equal(dataset[-1].frames, [5])
    assert len(dataset[[]]) == len(dataset[:0]) == 0
    assert [len(one) for one in dataset] == [1] * 6
    with pytest.raises(IndexError):
        dataset[6]


def test_works_without_energies_and_is_picklable() -> None:
    dataset = Dataset(**{**arrays(), "energies": None}, source={"theory": "none"})
    assert dataset[:2].energies is None
    again = pickle.loads(pickle.dumps(dataset))
    assert again.fingerprint() == dataset.fingerprint()
    assert repr(dataset) == "<Dataset 3 structures of HO (2 atoms) with forces>"
    assert json.dumps(dataset.source) == '{"theory": "none"}'


def test_fingerprint_depends_on_everything_that_is_learned_from() -> None:
    given = {**arrays(), "cell": np.eye(3) * 9, "pbc": (True, True, True)}
    prints = {Dataset(**given).fingerprint(), Dataset(**{**given, "name": "other"}).fingerprint()}
    assert len(prints) == 1
    for name in ("numbers", "positions", "forces", "energies", "cell"):
        changed = given[name].copy()
        changed.flat[0] += 1
        prints.add(Dataset(**{**given, name: changed}).fingerprint())
    prints.add(Dataset(**{**given, "energies": None}).fingerprint())
    prints.add(Dataset(**{**given, "pbc": (True, True, False)}).fingerprint())
    assert len(prints) == 8


def test_fingerprint_is_the_same_on_every_machine() -> None:
    dataset = Dataset([1, 1], [[[0, 0, 0], [0, 0, 1]]], [[[0, 0, 0.5], [0, 0, -0.5]]], [0.25])
    assert dataset.fingerprint() == "17c39f5f73eb8202709366749a9fe9a3c023d27979ea17f1b6fc3319682f8fee"
    swapped = Dataset(dataset.numbers, dataset.positions.astype(">f8"), dataset.forces.astype(">f4"), [0.25])
    assert swapped.fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"positions": np.zeros((2, 3))},
            r"`positions` must have shape \[frames, atoms, 3\], got \[2, 3\]; add a leading",
        ),
        ({"positions": np.zeros((3, 4, 3))}, r"`positions` must have shape \[frames, 2 atoms, 3\], got \[3, 4, 3\]"),
        (
            {"forces": np.zeros((2, 2, 3))},
            r"`forces` must have shape \[3 frames, 2 atoms, 3\] like `positions`, got \[2,",
        ),
        ({"energies": np.zeros((3, 1))}, r"`energies` must have shape \[3 frames\] like `positions`, got \[3, 1\]"),
        ({"energies": ["a", "b", "c"]}, "`energies` must be an array of real numbers, got list"),
        (
            {"forces": np.zeros((3, 2, 3), dtype=complex)},
            "`forces` must be an array of real numbers, got dtype complex128",
        ),
        ({"positions": [[[0, 0, 0]], [[0, 0]]]}, "`positions` must be an array of real numbers, got list"),
        ({"numbers": [1.5, 2]}, "`numbers` must be an array of integers"),
        ({"numbers": [[1, 1]]}, r"`numbers` must have shape \[atoms\], got \[1, 2\]"),
        ({"numbers": [0, 1]}, r"`numbers` must hold the atomic numbers of at least two atoms, got \[0, 1\]"),
        ({"cell": np.eye(2)}, r"`cell` must have shape \[3, 3\], rows are the lattice vectors, got \[2, 2\]"),
        ({"pbc": (True, True, True)}, "`pbc` is .* but there is no `cell`; give the lattice vectors"),
        ({"pbc": (True, True)}, "`pbc` must be three booleans"),
        ({"source": {"a": object()}}, "`source` must be JSON-able"),
        ({"frames": [1]}, r"`frames` must have shape \[3 frames\]"),
    ],
)
def test_wrong_shapes_and_kinds_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Dataset(**{**arrays(), **change})


def test_concatenate_in_order() -> None:
    whole = Dataset(**arrays(frames=6))
    again = concatenate([whole[:2], whole[2:5], whole[5:]])
    assert again.fingerprint() == whole.fingerprint()
    np.testing.assert_array_equal(again.frames, range(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"numbers": [1, 8]},
            "data set 1 has its atoms in another order: atom 0 is H, the first structure has O there",
        ),
        ({"numbers": [8, 9]}, "data set 1 is another molecule: FO with 2 atoms, the first structure is HO with 2"),
        ({"energies": None}, "data set 0 has energies and data set 1 has none"),
        ({"cell": np.eye(3), "pbc": (True, True, True)}, "data set 1 has another cell than data set 0"),
    ],
)
def test_only_like_joins_like(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        concatenate([Dataset(**arrays()), Dataset(**{**arrays(), **change})])
    with pytest.raises(InputError, match="`datasets` is empty"):
        concatenate([])

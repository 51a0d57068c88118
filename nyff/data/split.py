"""Which structures train, which choose settings, which test: drawn by a seed, stored with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nyff.data.dataset import Dataset
from nyff.errors import InputError

METHODS = ("stratified", "first")
DEFAULT_VALID = 200
DEFAULT_TEST = 1000


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint indices into a data set, each in ascending order, and how they were drawn.

    Raises :class:`InputError` when a structure is in two parts or twice in one.
    """

    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    seed: int = 0
    method: str = "stratified"

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            indices = np.array(getattr(self, name), dtype=np.int64).reshape(-1)
            indices.setflags(write=False)
            object.__setattr__(self, name, indices)
        everything = np.concatenate([self.train, self.valid, self.test])
        values, counts = np.unique(everything, return_counts=True)
        if (counts > 1).any():
            raise InputError(
                f"structure {values[counts > 1][0]} is more than once in the split; each structure may either train, "
                "validate or test"
            )
        if len(values) and values[0] < 0:
            raise InputError(f"the split holds index {values[0]}; indices count from 0")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content; :meth:`from_dict` reads it back."""
        return {
            "method": self.method,
            "seed": self.seed,
            "train": self.train.tolist(),
            "valid": self.valid.tolist(),
            "test": self.test.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Split:
        """The split that :meth:`to_dict` wrote."""
        missing = {"method", "seed", "train", "valid", "test"} - set(content)
        if missing:
            raise InputError(f"the stored split lacks {', '.join(sorted(missing))}; its file is damaged")
        return cls(
            train=np.array(content["train"], dtype=np.int64),
            valid=np.array(content["valid"], dtype=np.int64),
            test=np.array(content["test"], dtype=np.int64),
            seed=int(content["seed"]),
            method=str(content["method"]),
        )


def split(
    dataset: Dataset,
    n_train: int,
    n_valid: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    method: str = "stratified",
) -> Split:
    """Draw training, validation and test structures, all different.

    ``"stratified"`` preserves the distribution of energies in each part: structures sorted by energy are cut into as
    many equal groups as are wanted, and each group gives one at random; without energies it draws uniformly. The test
    part is drawn first, so that the same seed and ``n_test`` give the same test structures for every ``n_train``.
    ``"first"`` takes the structures in the order of the data: first those for training, then validation, then test.

    Of the structures left over by ``n_train``, ``n_valid`` defaults to half, 200 at most, and ``n_test`` to the rest,
    1000 at most. ``n_train`` may be all structures; validation and test are empty then.

    Raises :class:`InputError` when more structures are wanted than there are.
    """
    if method not in METHODS:
        raise InputError(f"`method` is {method!r}; known ways to split are {', '.join(METHODS)}")
    for name, value in (("n_train", n_train), ("n_valid", n_valid), ("n_test", n_test)):
        least = 1 if name == "n_train" else 0
        if value is not None and (not isinstance(value, (int, np.integer)) or value < least):
            raise InputError(f"`{name}` must be an integer of at least {least}, got {value!r}")
    if n_train > len(dataset):
        raise InputError(
            f"`n_train` is {n_train} but the data set has {len(dataset)} structures; train on at most {len(dataset)}, "
            "or add data"
        )
    left = len(dataset) - n_train
    if n_valid is None:
        n_valid = min(DEFAULT_VALID, left // 2 if n_test is None else max(0, left - n_test))
    if n_test is None:
        n_test = min(DEFAULT_TEST, max(0, left - n_valid))
    if n_valid + n_test > left:
        raise InputError(
            f"{n_train} + {n_valid} + {n_test} structures are wanted for training, validation and test, the data set "
            f"has {len(dataset)}; lower `n_train`, `n_valid` or `n_test`, or add data"
        )
    sizes = [int(n_test), int(n_valid), int(n_train)]
    if method == "first":
        order = np.arange(len(dataset))
        train, valid, test = order[:n_train], order[n_train:][:n_valid], order[n_train + n_valid :][:n_test]
        return Split(train, valid, test, seed, method)
    energies = np.zeros(len(dataset)) if dataset.energies is None else dataset.energies
    free = np.ones(len(dataset), dtype=bool)
    parts = []
    for part, size in enumerate(sizes):
        chosen = _one_per_group(energies, np.flatnonzero(free), size, np.random.default_rng([seed, part]))
        free[chosen] = False
        parts.append(np.sort(chosen))
    test, valid, train = parts
    return Split(train, valid, test, seed, method)


def _one_per_group(
    energies: NDArray[np.float64], candidates: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """One random candidate from each of ``size`` groups of neighbouring energies; equal energies in random order."""
    shuffled = rng.permutation(candidates)
    ranked = shuffled[np.argsort(energies[shuffled], kind="stable")]
    edges = np.arange(size + 1) * len(ranked) // max(size, 1)
    return ranked[rng.integers(edges[:-1], edges[1:])] if size else ranked[:0]

"""Distances in labelled structures, measured in sums of covalent radii, and what the data say about bonds.

==========  ==========================================================  ======
symbol      meaning                                                     unit
==========  ==========================================================  ======
r           length of a bond                                            Å
f           relative acceleration of its atoms along it × reduced mass  eV/Å
k           −slope of f over r: stiffness                               eV/Å²
==========  ==========================================================  ======
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nyff.data.dataset import Dataset

NON_METALS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)
BOND = 1.3
"""Atoms closer than this many sums of covalent radii are bonded."""
FEWEST = 5
"""Structures that the slope of a bond's force needs."""


@dataclass(frozen=True)
class Bonds:
    """Stiffness k [bonds] in eV/Å², forces along them f [frames, bonds] in eV/Å, which are bonds to hydrogen."""

    stiffness: NDArray[np.float64]
    forces: NDArray[np.float64]
    to_hydrogen: NDArray[np.bool_]


def pair_vectors(dataset: Dataset, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Vectors [frames, pairs, 3] in Å from atoms ``j`` to atoms ``i``, through the cell when that is shorter."""
    return nearest_image(dataset.positions[:, i] - dataset.positions[:, j], dataset)


def nearest_image(vectors: NDArray[np.float64], dataset: Dataset) -> NDArray[np.float64]:
    """Fold difference vectors [..., 3] into the cell by rounding fractional coordinates: exact for short ones."""
    if dataset.cell is None or not any(dataset.pbc):
        return vectors
    fractional = vectors @ np.linalg.inv(dataset.cell)
    return vectors - np.where(dataset.pbc, np.round(fractional), 0.0) @ dataset.cell


def distance_ratios(dataset: Dataset, chunk: int = 2_000_000) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Distances over sums of covalent radii, some structures at a time: index of the first, ratios [frames, pairs].

    Pairs are in the order of ``np.tril_indices(atoms, -1)``.
    """
    first, second = np.tril_indices(dataset.n_atoms, -1)
    step = max(1, chunk // len(first))
    for start in range(0, len(dataset), step):
        lengths = np.linalg.norm(pair_vectors(dataset[start : start + step], first, second), axis=-1)
        yield start, lengths / _radii(dataset, first, second)


def collisions(dataset: Dataset, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Structures [hits] with a pair closer than ``threshold`` covalent distances, and their closest pair [hits, 2]."""
    first, second = np.tril_indices(dataset.n_atoms, -1)
    hits: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    pairs: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for start, ratios in distance_ratios(dataset):
        closest = ratios.argmin(axis=1)
        found = np.flatnonzero(ratios[np.arange(len(ratios)), closest] < threshold)
        hits.append(start + found)
        pairs.append(np.stack([second[closest[found]], first[closest[found]]], axis=1))
    return np.concatenate(hits), np.concatenate(pairs)


def nearest_neighbours(dataset: Dataset, structures: int = 20) -> float:
    """Median over atoms and the first structures of the distance to the nearest neighbour, in covalent distances."""
    i, j = np.tril_indices(dataset.n_atoms, -1)
    sample = dataset[:structures]
    ratios = np.full((len(sample), dataset.n_atoms, dataset.n_atoms), np.inf)
    for start, part in distance_ratios(sample):
        ratios[start : start + len(part), i, j] = part
        ratios[start : start + len(part), j, i] = part
    return float(np.median(ratios.min(axis=2)))


def find_bonds(dataset: Dataset) -> Bonds | None:
    """Bonds between non-metals whose stiffness the data determine; None when there are none or too few structures."""
    from ase.data import atomic_masses

    if len(dataset) < FEWEST:
        return None
    z, masses = dataset.numbers, atomic_masses[dataset.numbers]
    i, j = np.tril_indices(dataset.n_atoms, -1)
    start = np.linalg.norm(pair_vectors(dataset[:1], i, j)[0], axis=-1)
    chosen = np.isin(z[i], NON_METALS) & np.isin(z[j], NON_METALS) & (start < 2 * BOND * _radii(dataset, i, j))
    i, j = i[chosen], j[chosen]
    vectors = pair_vectors(dataset, i, j)  # [frame, pair, axis]
    lengths = np.linalg.norm(vectors, axis=-1)
    chosen = (np.median(lengths, axis=0) < BOND * _radii(dataset, i, j)) & (lengths.std(axis=0) > 1e-3)
    if not chosen.any():
        return None
    i, j, lengths = i[chosen], j[chosen], lengths[:, chosen]
    directions = vectors[:, chosen] / lengths[..., None]
    reduced = masses[i] * masses[j] / (masses[i] + masses[j])
    accelerations = dataset.forces[:, i] / masses[i][:, None] - dataset.forces[:, j] / masses[j][:, None]
    forces = reduced * np.sum(accelerations * directions, axis=-1)
    slopes, errors = zip(*(slope(r, f) for r, f in zip(lengths.T, forces.T, strict=True)), strict=True)
    stiffness = -np.array(slopes)
    sure = np.array(errors) < 0.5 * np.abs(stiffness)
    to_hydrogen = (z[i] == 1) | (z[j] == 1)
    return Bonds(stiffness[sure], forces[:, sure], to_hydrogen[sure]) if sure.any() else None


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope of the regression line of ``y`` over ``x`` and its standard error."""
    x, y = x - x.mean(), y - y.mean()
    value = float(x @ y / (x @ x))
    rest = y - value * x
    return value, float(np.sqrt(rest @ rest / (len(x) - 2) / (x @ x)))


def _radii(dataset: Dataset, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of covalent radii [pairs] in Å."""
    from ase.data import covalent_radii

    radii = covalent_radii[dataset.numbers]
    sums: NDArray[np.float64] = radii[i] + radii[j]
    return sums

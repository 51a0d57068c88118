"""Does the data support a permutation? Distances and handedness, compared as distributions over the sampled structures.

Identical atoms may always be exchanged: the energy does not notice. But copies of the data that no structure ever
comes near only cost time. The permutations worth having are the *feasible* ones of Longuet-Higgins (Mol. Phys. 6, 445
(1963), doi 10.1080/00268976300100501): those which the molecule, or its mirror image, realises by turning as a whole or
by the internal motions that the data show. A permutation p is supported if, within the sampled structures,

* every distance r(i, j) between atoms at most three bonds apart, or in different molecules, takes the same values as
  its image r(p_i, p_j): bond lengths, angles and torsions do (farther atoms follow, or turn about independently), and
* every atom with three neighbours has the handedness of its image — or, at *all* such atoms, the opposite one: a mirror
  image has the same distances and energy. One methyl group cannot be mirrored alone, the molecule around it must be.

"Take the same values" is measured by the overlap ∫ min(f, g) of the two distributions, from quantiles: 1 for equal
ones, 0 for a torsion that never came round. Thermal motion sets the scale by itself; :data:`RESOLUTION` replaces it
where there is none. Marginal distributions need few structures (about 50) and no correspondence between them.

| symbol | here |
|---|---|
| f, g as sorted samples | ``Evidence.distances`` [atoms, atoms, quantiles] |
| n·(u_a × u_b)·u_c, handedness of a star, in −1 … 1 | :meth:`Evidence.handedness` |
| mirror image or not | ``sign`` −1 or 1 |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from nyff.kernel.graph import Star, bond_graph, counting_pairs, stars

FloatArray = NDArray[np.float64]

OVERLAP = 0.1
"""Least overlap of two distributions that counts as taking the same values."""
RESOLUTION = 0.02
"""Differences in Å (and in handedness) that are never significant."""
REACH = 3
"""Distances between atoms of one molecule count up to this many bonds: torsions are the last that do."""
QUANTILES = 64
_BINS = 16

# A fixed Gaussian dither blurs all distributions alike, so that samples without any spread can still overlap.
_DITHER = RESOLUTION * ndtri(np.mod((np.arange(QUANTILES) + 0.5) * (np.sqrt(5.0) - 1.0) / 2.0, 1.0))


def quantiles(samples: FloatArray) -> NDArray[np.float32]:
    """Blurred quantiles [..., QUANTILES] of ``samples`` [frames, ...]."""
    ordered = np.sort(samples, axis=0)
    wanted = np.clip((np.arange(QUANTILES) + 0.5) / QUANTILES * len(ordered) - 0.5, 0, len(ordered) - 1)
    below = np.floor(wanted).astype(int)
    above = np.minimum(below + 1, len(ordered) - 1)
    share = (wanted - below).reshape(-1, *[1] * (samples.ndim - 1))
    values = (1.0 - share) * ordered[below] + share * ordered[above]
    return (np.moveaxis(values, 0, -1) + _DITHER).astype(np.float32)


def overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> FloatArray:
    """Overlap [...] of distributions given by :func:`quantiles` [..., QUANTILES]: 1 if equal, 0 if apart."""
    order = np.argsort(np.concatenate([first, second], axis=-1), axis=-1, kind="stable")
    from_first = (order < QUANTILES).reshape(*order.shape[:-1], _BINS, 2 * QUANTILES // _BINS).sum(axis=-1)
    return np.asarray(np.minimum(from_first, 2 * QUANTILES // _BINS - from_first).sum(axis=-1) / QUANTILES)


@dataclass(frozen=True)
class Support:
    """How well the data support a permutation: the smallest overlap, what has it, and if it takes the mirror image."""

    value: float
    mirror: bool
    weakest: str
    star: int | None = None

    @property
    def enough(self) -> bool:
        """Whether the data count as supporting the permutation."""
        return self.value >= OVERLAP


@dataclass
class Evidence:
    """Distributions of all distances and, on demand, of the handedness of stars, over some structures.

    ``positions`` is [frames, atoms, 3] in Å, ``fold`` maps difference vectors [..., 3] to their nearest periodic image.
    """

    numbers: NDArray[np.int64]
    positions: FloatArray
    fold: Callable[[FloatArray], FloatArray] | None = None
    distances: NDArray[np.float32] = field(init=False)
    graph: nx.Graph = field(init=False)
    _stars: dict[int, list[Star]] = field(init=False, default_factory=dict)
    _cache: dict[Star, NDArray[np.float32]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        n_atoms = len(self.numbers)
        self.distances = np.empty((n_atoms, n_atoms, QUANTILES), dtype=np.float32)
        typical = np.zeros((n_atoms, n_atoms))
        for atom in range(n_atoms):
            lengths = np.linalg.norm(self._vectors(atom, slice(0, atom + 1)), axis=-1)  # [frame, other]
            self.distances[atom, : atom + 1] = self.distances[: atom + 1, atom] = quantiles(lengths)
            typical[atom, : atom + 1] = typical[: atom + 1, atom] = np.median(lengths, axis=0)
        self._low, self._high = self.distances.min(axis=-1), self.distances.max(axis=-1)
        self.graph = bond_graph(self.numbers, typical)
        self._counts = counting_pairs(self.graph, REACH)
        self._stars = {atom: [] for atom in range(n_atoms)}
        self._all_stars = stars(self.graph)
        for star in self._all_stars:
            for atom in star:
                self._stars[atom].append(star)

    def _vectors(self, atom: int, others: slice | list[int]) -> FloatArray:
        vectors = self.positions[:, others] - self.positions[:, atom, None]
        return vectors if self.fold is None else np.asarray(self.fold(vectors))

    def handedness(self, centre: int, a: int, b: int, c: int) -> NDArray[np.float32]:
        """Distribution of the signed volume of three unit vectors from an atom to three others, in −1 … 1."""
        low, middle, high = sorted((a, b, c))
        odd = (a > b) ^ (b > c) ^ (a > c)
        key = (centre, low, middle, high)
        if key not in self._cache:
            arms = self._vectors(centre, [low, middle, high])
            arms = arms / np.linalg.norm(arms, axis=-1, keepdims=True)
            self._cache[key] = quantiles(np.linalg.det(arms))
        # The dither is symmetric enough for a sign to commute with it.
        return -self._cache[key] if odd else self._cache[key]

    def support(self, permutation: ArrayLike, sign: int) -> Support:
        """Smallest overlap over all distances and stars that ``permutation`` moves; ``sign`` −1 compares mirrored."""
        image = np.asarray(permutation, dtype=np.int64)
        first, second = np.tril_indices(len(image), -1)
        changed = np.sort(np.stack([first, second]), axis=0) != np.sort(np.stack([image[first], image[second]]), axis=0)
        counts = changed.any(axis=0) & (self._counts[first, second] | self._counts[image[first], image[second]])
        i, j = first[counts], second[counts]
        best = Support(1.0, sign < 0, "")
        if len(i):
            overlaps = overlap(self.distances[i, j], self.distances[image[i], image[j]])
            worst = int(np.argmin(overlaps))
            pair, target = (int(i[worst]), int(j[worst])), (int(image[i[worst]]), int(image[j[worst]]))
            words = f"{self._span(*pair)} and {self._span(*target)} are kept apart in the data"
            best = Support(float(overlaps[worst]), sign < 0, words)
        compared = [star for star in self._all_stars if sign < 0 or any(image[atom] != atom for atom in star)]
        if compared:
            goals = [tuple(int(image[atom]) for atom in star) for star in compared]
            kept = np.stack([self.handedness(*star) for star in compared])
            overlaps = overlap(kept, sign * np.stack([self.handedness(*goal) for goal in goals]))
            worst = int(np.argmin(overlaps))
            if overlaps[worst] < best.value:
                centre, change = compared[worst][0], "keep" if sign < 0 else "invert"
                words = f"it would {change} the handedness at {self.name(centre)}"
                best = Support(float(overlaps[worst]), sign < 0, words, centre)
        return best

    def best_support(self, permutation: ArrayLike) -> Support:
        """Support as it stands or, if that is not enough, with the mirror image."""
        plain = self.support(permutation, 1)
        if plain.enough:
            return plain
        mirrored = self.support(permutation, -1)
        if plain.star is not None and mirrored.star is not None and not mirrored.enough:
            words = f"{plain.weakest} but not at {self.name(mirrored.star)}"
            return Support(max(plain.value, mirrored.value), False, words, plain.star)
        return max(plain, mirrored, key=lambda support: support.value)

    def name(self, atom: int) -> str:
        """Element and index, such as C0."""
        from ase.data import chemical_symbols

        return f"{chemical_symbols[int(self.numbers[atom])]}{int(atom)}"

    def _span(self, i: int, j: int) -> str:
        low, high = self._low[i, j], self._high[i, j]
        return f"{self.name(i)}–{self.name(j)} ({low:.1f} … {high:.1f} Å)"

    # -- the relation that the search for automorphisms asks for -------------------------------------------------------

    def images(
        self, atom: int, mapped: list[int], images: list[int], free: NDArray[np.bool_], sign: int
    ) -> Iterator[int]:
        """Atoms that may stand for ``atom``, given that ``images`` stand for the atoms ``mapped``; itself first."""
        candidates = np.flatnonzero(free & (self.numbers == self.numbers[atom]))
        known, there = np.asarray(mapped, dtype=np.int64), np.asarray(images, dtype=np.int64)
        placed = dict(zip(known.tolist(), there.tolist(), strict=True))
        counts = np.flatnonzero(self._counts[atom, known])
        if len(counts):
            # The nearest placed atom, most often a neighbour, leaves few candidates for the other comparisons.
            nearest = counts[np.argmin(self._high[atom, known[counts]])]
            candidates = candidates[self._ranges_meet(atom, known[nearest], candidates, there[nearest])]
            meet = self._ranges_meet(atom, known[counts], candidates[:, None], there[counts])
            candidates = candidates[meet.all(axis=1)]
        for candidate in sorted(candidates.tolist(), key=lambda other: (other != atom, other)):
            same = ((known == there) & (candidate == atom)) | ((known == candidate) & (there == atom))
            test = (self._counts[atom, known] | self._counts[candidate, there]) & ~same
            common = overlap(self.distances[atom, known[test]], self.distances[candidate, there[test]])
            if (common >= OVERLAP).all() and self._stars_agree(atom, placed | {atom: candidate}, sign):
                yield candidate

    def _ranges_meet(self, i: Any, j: Any, k: Any, l: Any) -> NDArray[np.bool_]:
        return np.asarray((self._low[k, l] <= self._high[i, j]) & (self._high[k, l] >= self._low[i, j]))

    def _stars_agree(self, atom: int, placed: dict[int, int], sign: int) -> bool:
        for star in self._stars.get(atom, ()):
            if not all(member in placed for member in star):
                continue
            target = tuple(placed[member] for member in star)
            if sign > 0 and target == star:
                continue
            if overlap(self.handedness(*star), sign * self.handedness(*target)) < OVERLAP:
                return False
        return True

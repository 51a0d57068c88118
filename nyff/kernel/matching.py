"""Which atom of one structure is which of another: the permutation that brings two structures closest.

Compared are inverse distances, the metric of the kernel: find p that minimises ‖A[p][:, p] − B‖, a quadratic assignment
problem. Each start is improved by the assignment (Hungarian algorithm, scipy) that is best while all other atoms stay,
until nothing improves. Starts are the atoms as they are, and two sets of fingerprints: eigenvector magnitudes
(Umeyama, doi 10.1109/34.6778; S. Chmiela et al., Nat. Commun. 9, 3887 (2018), doi 10.1038/s41467-018-06169-2) and
sorted distances to each element. An assignment taken the wrong way round is its inverse, so both are tried: only for
permutations made of swaps are they the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from nyff.kernel.group import inverse

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FORBIDDEN = 1e6


def inverse_distances(positions: FloatArray, fold: Callable[[FloatArray], FloatArray] | None = None) -> FloatArray:
    """1/r [atoms, atoms] in 1/Å of one structure [atoms, 3], zero on the diagonal; ``fold`` finds nearest images."""
    vectors = positions[:, None] - positions[None, :]
    lengths = np.linalg.norm(vectors if fold is None else fold(vectors), axis=-1)
    np.fill_diagonal(lengths, np.inf)
    return np.asarray(1.0 / lengths)


def mismatch(first: FloatArray, second: FloatArray, permutation: IntArray) -> float:
    """‖A[p][:, p] − B‖ in 1/Å."""
    return float(np.linalg.norm(first[np.ix_(permutation, permutation)] - second))


def match(first: FloatArray, second: FloatArray, numbers: IntArray, sweeps: int = 10) -> IntArray:
    """Permutation p [atoms] with A[p][:, p] close to B, for inverse distances A, B [atoms, atoms]; a local optimum."""
    different = FORBIDDEN * (numbers[:, None] != numbers[None, :])
    identity = np.arange(len(numbers))
    starts = [identity]
    for describe in (_eigenvectors, _profiles):
        a, b = describe(first, numbers), describe(second, numbers)
        cost = cdist(b, a, "sqeuclidean")  # [atom of second, atom of first]
        assigned = linear_sum_assignment(cost + different)[1]
        starts += [assigned, inverse(assigned)]
    unique = {start.tobytes(): start for start in starts}.values()
    improved = [_improve(first, second, start, different, sweeps) for start in unique]
    return min(improved, key=lambda p: mismatch(first, second, p))


def _improve(first: FloatArray, second: FloatArray, start: IntArray, different: FloatArray, sweeps: int) -> IntArray:
    best, least = start, mismatch(first, second, start)
    for _ in range(sweeps):
        # cost[k, l] of atom l of the first structure in the place of atom k, every other atom placed as it is now
        moved = first[:, best]
        cost = (moved**2).sum(axis=1)[None, :] + (second**2).sum(axis=1)[:, None] - 2.0 * second @ moved.T
        trial = linear_sum_assignment(cost + different)[1]
        value = mismatch(first, second, trial)
        if value >= least - 1e-12:
            break
        best, least = trial, value
    return best


def _eigenvectors(matrix: FloatArray, numbers: IntArray) -> FloatArray:
    return np.abs(np.linalg.eigh(matrix)[1])[:, ::-1]


def _profiles(matrix: FloatArray, numbers: IntArray) -> FloatArray:
    return np.concatenate([-np.sort(-matrix[:, numbers == z], axis=1) for z in np.unique(numbers)], axis=1)

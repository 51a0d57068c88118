"""Algebra of permutation groups of atoms: closure, checks, action on pair descriptors, text files.

A permutation is a row of atom indices: ``positions[:, permutation]`` is the equivalent structure, so atom k of the new
structure is atom ``permutation[k]`` of the old one. Applying p and then q gives ``p[q]``. A group is an int64 array
[permutations, atoms] with the identity first.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nyff.errors import FileFormatError, InputError

IntArray = NDArray[np.int64]

ARRAY_NAMES = ("permutations", "perms")
"""Names under which an .npz file may hold permutations; the second is sGDML's."""


def inverse(permutation: ArrayLike) -> IntArray:
    """The permutation that undoes ``permutation`` [atoms]."""
    return np.argsort(np.asarray(permutation, dtype=np.int64)).astype(np.int64)


def cycles(permutation: ArrayLike) -> list[list[int]]:
    """Cycles of two and more atoms, each starting with its lowest atom: [[3, 4, 5], [6, 7]]."""
    image = np.asarray(permutation, dtype=np.int64)
    seen = image == np.arange(len(image))
    found = []
    for start in range(len(image)):
        cycle = []
        atom = start
        while not seen[atom]:
            seen[atom] = True
            cycle.append(atom)
            atom = int(image[atom])
        if cycle:
            found.append(cycle)
    return found


def generate_group(generators: ArrayLike, n_atoms: int, limit: int | None = None) -> IntArray | None:
    """All products of ``generators`` [generators, atoms], identity first and the rest in lexicographic order.

    Returns None as soon as there are more than ``limit``: groups grow factorially, so ask for a limit whenever the
    generators come from outside.
    """
    identity = np.arange(n_atoms, dtype=np.int64)
    steps = np.asarray(generators, dtype=np.int64).reshape(-1, n_atoms)
    seen = {identity.tobytes()}
    edge = [identity]
    while edge:
        grown = []
        for element in edge:
            for product in element[steps]:
                key = product.tobytes()
                if key not in seen:
                    if limit is not None and len(seen) >= limit:
                        return None
                    seen.add(key)
                    grown.append(product)
        edge = grown
    return _sorted(np.array([np.frombuffer(key, dtype=np.int64) for key in seen]))


def check_group(permutations: ArrayLike, numbers: ArrayLike) -> IntArray:
    """``permutations`` [permutations, atoms] as a checked group of the atoms ``numbers`` [atoms], identity first.

    The kernel is symmetric and positive definite only if its permutations form a group, and only equal atoms may be
    exchanged. Raises :class:`InputError` naming the row that is at fault.
    """
    z = np.asarray(numbers)
    n_atoms = len(z)
    try:
        rows = np.asarray(permutations)
    except ValueError:  # rows of different lengths
        rows = np.empty(0)
    if rows.ndim == 1 and rows.size == n_atoms and rows.dtype.kind in "iu":
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != n_atoms or len(rows) == 0:
        raise InputError(
            f"`permutations` must have shape [permutations, {n_atoms} atoms], got {_shape_words(permutations)}; "
            f"give one row of {n_atoms} atom indices for each permutation"
        )
    if rows.dtype.kind not in "iu" and not (rows.dtype.kind == "f" and np.all(rows == np.round(rows))):
        raise InputError(f"`permutations` must hold integers (atom indices), got {rows.dtype}")
    rows = rows.astype(np.int64)
    if rows.min() == 1 and rows.max() == n_atoms:
        raise InputError(f"the atom indices run from 1 to {n_atoms}; nyff counts atoms from 0: subtract 1")
    for k, row in enumerate(rows):
        if not np.array_equal(np.sort(row), np.arange(n_atoms)):
            raise InputError(
                f"row {k} of `permutations`, {row.tolist()}, is not a permutation of 0 … {n_atoms - 1}: "
                "every atom must occur exactly once"
            )
        wrong = np.flatnonzero(z[row] != z)
        if len(wrong):
            i, j = int(wrong[0]), int(row[wrong[0]])
            raise InputError(
                f"row {k} of `permutations` puts atom {j} (Z={z[j]}) in the place of atom {i} (Z={z[i]}): only atoms "
                "of one element may be exchanged; is the file for this molecule, with its atoms in this order?"
            )
    _check_closed(rows)
    return _sorted(rows)


def _check_closed(rows: IntArray) -> None:
    index: dict[bytes, int] = {}
    for k, row in enumerate(rows):
        first = index.setdefault(row.tobytes(), k)
        if first != k:
            raise InputError(f"row {k} of `permutations` repeats row {first}; list every permutation once")
    remedy = "add what is missing, or complete the group with `nyff.kernel.symmetry.generate_group`"
    identity = np.arange(rows.shape[1])
    if identity.tobytes() not in index:
        raise InputError(f"`permutations` is not a group: the identity {identity.tolist()} is missing; {remedy}")
    for k, row in enumerate(rows):
        if inverse(row).tobytes() not in index:
            raise InputError(
                f"`permutations` is not a group: the inverse {inverse(row).tolist()} of row {k} is missing; {remedy}"
            )
    for k, row in enumerate(rows):
        for other, product in enumerate(row[rows]):
            if product.tobytes() not in index:
                raise InputError(
                    f"`permutations` is not a group: row {k} followed by row {other} gives {product.tolist()}, "
                    f"which is missing; {remedy}"
                )


def pair_permutations(permutations: ArrayLike) -> IntArray:
    """Action on pair descriptors: π [permutations, pairs] with x(R[p]) = x(R)[π], pairs as ``np.tril_indices(N, -1)``.

    π[d(i, j)] = d(p_i, p_j), sGDML's convention.
    """
    rows = np.atleast_2d(np.asarray(permutations, dtype=np.int64))
    n_atoms = rows.shape[1]
    first, second = np.tril_indices(n_atoms, -1)
    a, b = rows[:, first], rows[:, second]
    high, low = np.maximum(a, b), np.minimum(a, b)
    return high * (high - 1) // 2 + low


def read_permutations(path: str | Path, numbers: ArrayLike | None = None) -> IntArray:
    """Read permutations [permutations, atoms] from text (a row per line, ``#`` comments), ``.npy`` or ``.npz``.

    An .npz file holds them as ``permutations`` or ``perms`` (so sGDML's data sets and models can be read), or as its
    only array. With ``numbers`` [atoms] the rows must be a group of this molecule, see :func:`check_group`. Raises
    :class:`FileFormatError` for files of another kind, :class:`InputError` for permutations that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; `permutations` may be 'auto', 'none' or the path of a file")
    try:
        rows = _read_arrays(path) if path.suffix in (".npy", ".npz") else _read_text(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise FileFormatError(f"{path} cannot be read as permutations: {error}") from error
    if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise FileFormatError(
            f"{path} holds an array of {rows.dtype} with shape {list(rows.shape)}; "
            "permutations are integers with shape [permutations, atoms]"
        )
    if numbers is None:
        return rows.astype(np.int64)
    try:
        return check_group(rows, numbers)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_permutations(path: str | Path, permutations: ArrayLike, comments: Sequence[str] = ()) -> None:
    """Write permutations [permutations, atoms] as text, a row per line, ``comments`` first."""
    rows = np.atleast_2d(np.asarray(permutations, dtype=np.int64))
    lines = [f"# {comment}" for comment in (*comments, "a permutation per line, atoms counted from 0")]
    lines += [" ".join(map(str, row)) for row in rows.tolist()]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read_arrays(path: Path) -> NDArray[np.generic]:
    with path.open("rb") as stream:  # a damaged archive would otherwise stay open
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        for name in (*ARRAY_NAMES, *(loaded.files if len(loaded.files) == 1 else ())):
            if name in loaded.files:
                array: NDArray[np.generic] = loaded[name]
                return array
        raise FileFormatError(
            f"{path} has the arrays {', '.join(sorted(loaded.files))}; permutations are looked for under the names "
            f"{' and '.join(ARRAY_NAMES)}"
        )


def _read_text(path: Path) -> IntArray:
    rows: list[list[int]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            rows.append([int(word) for word in words])
        except ValueError:
            raise FileFormatError(
                f"{path}, line {number}: expected atom indices separated by blanks, got {line.strip()[:60]!r}"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise FileFormatError(
                f"{path}, line {number}: {len(rows[-1])} indices where the lines above have {len(rows[0])}; "
                "each line must name every atom once"
            )
    if not rows:
        raise FileFormatError(f"{path} holds no permutations: write one per line, as atom indices counted from 0")
    return np.array(rows, dtype=np.int64)


def _sorted(rows: IntArray) -> IntArray:
    # The identity is the lexicographically first permutation.
    return rows[np.lexsort(rows.T[::-1])]


def _shape_words(permutations: ArrayLike) -> str:
    try:
        return str(list(np.asarray(permutations).shape))
    except ValueError:
        return "rows of different lengths"

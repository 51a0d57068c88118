"""The gate every data set passes once before anything is computed from it.

What makes training impossible or wrong raises :class:`InputError` and names the structure and the atom. What is only
odd comes back as sentences in :attr:`Dataset.hints` (see :mod:`nyff.data.plausible`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nyff.data.dataset import Dataset
from nyff.data.geometry import collisions, nearest_image
from nyff.data.plausible import hints
from nyff.errors import InputError

COLLISION = 0.4
"""Atoms closer than this share of the sum of their covalent radii have collided; strong compression reaches 0.6."""
_FARTHEST, _STRONGEST = 1e6, 1e5
"""Å and eV/Å: beyond them differences of positions have lost their digits, and forces are those of no molecule."""
SAME_LABEL = 1e-4
"""Labels of identical positions may differ by this much, in eV and eV/Å: the noise of converged calculations."""


def check(dataset: Dataset, minimum: int = 2) -> Dataset:
    """Return the data set with exact duplicates dropped and ``hints`` filled in; idempotent.

    Duplicates are dropped only when their labels agree. :attr:`Dataset.frames` still numbers the structures as they
    stood in the source.

    Raises :class:`InputError` for fewer than ``minimum`` structures, numbers that are not finite, elements that do not
    exist, colliding atoms, forces that are all zero, and identical positions with different labels.
    """
    _require_enough(dataset, minimum)
    _require_elements(dataset)
    _require_finite(dataset)
    _require_apart(dataset)
    if not np.any(dataset.forces):
        raise InputError(
            "the forces of all structures are exactly zero, so there is nothing to learn; they look like missing "
            "labels: name the right ones with forces_key= (--forces-key)"
        )
    kept, dropped = _without_duplicates(dataset)
    _require_enough(kept, minimum, "different ")
    return replace(kept, hints=(*dropped, *_earlier_drops(dataset, dropped), *hints(kept)))


def name_frame(dataset: Dataset, index: int) -> str:
    """How a person finds structure ``index`` again: its number in the source and, of several files, in which."""
    frame = int(dataset.frames[index])
    files = dataset.source.get("files", [])
    if len(files) < 2:
        return f"frame {frame}"
    start = 0
    for file in files:
        if frame < start + file["structures"]:
            return f"frame {frame - start} of {file['path']}"
        start += file["structures"]
    return f"frame {frame}"


def _require_enough(dataset: Dataset, minimum: int, kind: str = "") -> None:
    if len(dataset) < minimum:
        count = f"{len(dataset)} {kind}structure{'' if len(dataset) == 1 else 's'}"
        raise InputError(f"the data set has {count}, at least {minimum} are needed; add labelled structures")


def _require_elements(dataset: Dataset) -> None:
    from ase.data import covalent_radii

    unknown = [int(z) for z in dataset.numbers if z >= len(covalent_radii)]
    if unknown:
        raise InputError(f"`numbers` holds {unknown[0]}, which is no element's atomic number; check the file")


def _require_finite(dataset: Dataset) -> None:
    for name, array in (("position", dataset.positions), ("force", dataset.forces)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            index, atom, axis = bad[0]
            broken = len(np.unique(bad[:, 0]))
            raise InputError(
                f"{name} of atom {atom} ({dataset.symbols[atom]}) in {name_frame(dataset, index)} is "
                f"{array[index, atom, axis]}; {broken} of {len(dataset)} structures have such {name}s, "
                "remove or recompute them"
            )
    for name, array, most, unit in (
        ("position", dataset.positions, _FARTHEST, "Å"),
        ("force", dataset.forces, _STRONGEST, "eV/Å"),
    ):
        index, atom, axis = np.unravel_index(np.argmax(np.abs(array)), array.shape)
        if abs(array[index, atom, axis]) > most:
            raise InputError(
                f"{name} of atom {atom} ({dataset.symbols[atom]}) in {name_frame(dataset, int(index))} is "
                f"{array[index, atom, axis]:.3g} {unit}, no molecule has {name}s beyond {most:g} {unit}; check the "
                "units (--units) and the file"
            )
    if dataset.energies is not None and not np.all(np.isfinite(dataset.energies)):
        broken_at = np.flatnonzero(~np.isfinite(dataset.energies))
        index = broken_at[0]
        raise InputError(
            f"energy of {name_frame(dataset, index)} is {dataset.energies[index]}; {len(broken_at)} of {len(dataset)} "
            "structures have such energies, remove or recompute them"
        )
    if dataset.cell is not None and not (np.all(np.isfinite(dataset.cell)) and abs(np.linalg.det(dataset.cell)) > 1e-6):
        raise InputError(
            f"`cell` spans no volume: {dataset.cell.tolist()}; give three independent lattice vectors in Å, "
            "or no periodic directions"
        )


def _require_apart(dataset: Dataset) -> None:
    hits, pairs = collisions(dataset, COLLISION)
    if not len(hits):
        return
    (i, j), index = pairs[0], hits[0]
    vector = nearest_image(dataset.positions[index, i] - dataset.positions[index, j], dataset)
    what = (
        f"atoms {i} ({dataset.symbols[i]}) and {j} ({dataset.symbols[j]}) collide in {name_frame(dataset, index)}: "
        f"they are {np.linalg.norm(vector):.3f} Å apart"
    )
    if len(hits) == len(dataset):
        raise InputError(
            f"{what}, and so do atoms in every other structure; positions look like nm or another longer unit read as "
            "Å: give the right one after the energy, such as units='kJ/mol,nm' (--units)"
        )
    raise InputError(f"{what}; {len(hits)} of {len(dataset)} structures have such atoms, remove them")


def _without_duplicates(dataset: Dataset) -> tuple[Dataset, list[str]]:
    seen: dict[bytes, int] = {}
    keep, copies = [], []
    for index, positions in enumerate(dataset.positions + 0.0):  # + 0.0 makes -0.0 and 0.0 the same bytes
        original = seen.setdefault(positions.tobytes(), index)
        if original == index:
            keep.append(index)
            continue
        _require_same_labels(dataset, original, index)
        copies.append(f"{name_frame(dataset, index)} of {name_frame(dataset, original)}")
    if not copies:
        return dataset, []
    more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
    return dataset[keep], [
        f"dropped {len(copies)} exact duplicate{'' if len(copies) == 1 else 's'}: {', '.join(copies[:3])}{more}"
    ]


def _require_same_labels(dataset: Dataset, a: int, b: int) -> None:
    difference: dict[str, Any] = {"forces": np.abs(dataset.forces[a] - dataset.forces[b]).max()}
    if dataset.energies is not None:
        difference["energies"] = abs(dataset.energies[a] - dataset.energies[b])
    for name, value in difference.items():
        if value > SAME_LABEL:
            unit = "eV/Å" if name == "forces" else "eV"
            raise InputError(
                f"{name_frame(dataset, a)} and {name_frame(dataset, b)} have identical positions but different {name} "
                f"(by {value:.3g} {unit}); keep the one whose labels are right"
            )


def _earlier_drops(dataset: Dataset, dropped: list[str]) -> list[str]:
    """What an earlier pass through the gate said about duplicates stays true of the data."""
    return [hint for hint in dataset.hints if hint.startswith("dropped ") and hint not in dropped]

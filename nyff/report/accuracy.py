"""Where a model errs: by element, by atom, and the structures it knows least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nyff.data.dataset import symbols
from nyff.kernel.descriptor import PairDescriptor
from nyff.kernel.group import pair_permutations
from nyff.model.force_field import ForceField
from nyff.report.folder import Predictions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AtomError:
    """Force errors of an atom or an element, in eV/Å; ``typical`` is the RMS of its reference forces' components."""

    name: str
    atoms: int
    mae: float
    rmse: float
    largest: float
    typical: float

    @property
    def relative(self) -> float:
        """MAE over typical force."""
        return self.mae / self.typical if self.typical > 0 else float("nan")


@dataclass(frozen=True)
class Worst:
    """A structure with a large error: ``error`` is |ΔF| (eV/Å) on ``atom``, ``by_atom`` [atoms] that of all.

    Energies in eV, ``energy`` relative to the mean of the references; None without references. ``unusual`` says which
    distance lies furthest outside of the training data, if one does.
    """

    row: int
    frame: int
    atom: int
    error: float
    reference: float
    by_atom: Floats
    energy: float | None
    energy_error: float | None
    unusual: str | None


def errors_by_element(predictions: Predictions) -> list[AtomError]:
    """One entry an element, light ones first."""
    numbers = predictions.numbers
    return [
        _atom_error(predictions, np.flatnonzero(numbers == z), symbols(np.array([z]))[0]) for z in np.unique(numbers)
    ]


def errors_by_atom(predictions: Predictions) -> list[AtomError]:
    """One entry an atom, in their order."""
    return [
        _atom_error(predictions, np.array([atom]), f"{symbol}{atom}")
        for atom, symbol in enumerate(symbols(predictions.numbers))
    ]


def _atom_error(predictions: Predictions, atoms: NDArray[np.int64], name: str) -> AtomError:
    reference = predictions.evaluation.reference_forces[:, atoms]
    difference = predictions.evaluation.forces[:, atoms] - reference
    return AtomError(
        name=name,
        atoms=len(atoms),
        mae=float(np.abs(difference).mean()),
        rmse=float(np.sqrt((difference**2).mean())),
        largest=float(np.linalg.norm(difference, axis=-1).max()),
        typical=float(np.sqrt((reference**2).mean())),
    )


def standard_error(predictions: Predictions) -> float | None:
    """Standard error (eV/Å) of the force MAE, from its spread over structures; None for fewer than two."""
    difference = predictions.evaluation.forces - predictions.evaluation.reference_forces
    by_structure = np.abs(difference).mean((1, 2))
    if len(by_structure) < 2:
        return None
    return float(by_structure.std(ddof=1) / np.sqrt(len(by_structure)))


def worst_structures(predictions: Predictions, model: ForceField | None, most: int = 6) -> list[Worst]:
    """The structures whose largest error of a force vector is largest, worst first."""
    evaluation = predictions.evaluation
    size = np.linalg.norm(evaluation.forces - evaluation.reference_forces, axis=-1)  # [frame, atom]
    domain = None if model is None else _Domain(model)
    references = evaluation.reference_energies
    found = []
    for row in np.argsort(-size.max(1), kind="stable")[:most].tolist():
        atom = int(size[row].argmax())
        known = references is not None
        found.append(
            Worst(
                row=row,
                frame=int(predictions.frames[row]),
                atom=atom,
                error=float(size[row, atom]),
                reference=float(np.linalg.norm(evaluation.reference_forces[row, atom])),
                by_atom=size[row],
                energy=float(references[row] - references.mean()) if known else None,  # type: ignore[index,union-attr]
                energy_error=float(evaluation.energies[row] - references[row]) if known else None,  # type: ignore[index]
                unusual=None if domain is None else domain.unusual(predictions.positions[row]),
            )
        )
    return found


class _Domain:
    """Shortest and longest distance [pairs] of each pair in the training data, equal atoms taken together."""

    def __init__(self, model: ForceField) -> None:
        domain: Mapping[str, Any] = model.metadata.get("domain", {})
        pairs = pair_permutations(model.permutations)  # [π, pair]
        self.names = [f"{symbol}{atom}" for atom, symbol in enumerate(symbols(model.numbers))]
        self.descriptor = PairDescriptor(model.n_atoms, cell=model.cell, image=model.image)
        n = self.descriptor.n_pairs
        self.shortest = np.asarray(domain.get("min_distance", np.zeros(n)))[pairs].min(0)
        self.longest = np.asarray(domain.get("max_distance", np.full(n, np.inf)))[pairs].max(0)

    def unusual(self, positions: Floats) -> str | None:
        """The distance furthest outside of what training saw, in words."""
        r = self.descriptor.arrows(torch.from_numpy(positions)).norm(dim=-1).numpy()
        below, above = np.maximum(self.shortest, 1e-9) / r, r / self.longest
        outside = np.maximum(below, above)
        pair = int(outside.argmax())
        # A hundredth of a distance is what two trainings on the same data would differ by.
        if outside[pair] < 1.01:
            return None
        short = below[pair] > above[pair]
        limit = self.shortest[pair] if short else self.longest[pair]
        return (
            f"{self.names[self.descriptor.second[pair]]}–{self.names[self.descriptor.first[pair]]} is {r[pair]:.2f} Å, "
            f"{'shorter' if short else 'longer'} than in any training structure ({limit:.2f} Å)"
        )

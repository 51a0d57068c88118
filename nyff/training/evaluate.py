"""Errors of a model on labelled structures, and what they hint at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nyff.data.dataset import Dataset
from nyff.data.dataset import symbols as element_symbols
from nyff.errors import InputError
from nyff.model.force_field import ForceField

# Energies (eV) that differ by less are all the same, and have no slope.
_FLAT = 1e-7
# A model whose force error is this share of the forces has learned nothing.
_NOTHING_LEARNED = 0.9


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions beside references: energies [frames] eV (reference None if there is none), forces [frames, atoms, 3]."""

    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    reference_energies: NDArray[np.float64] | None
    reference_forces: NDArray[np.float64]

    @property
    def metrics(self) -> dict[str, float | int]:
        """MAE and RMSE with the unit in the key; energies only where there are any."""
        difference = self.forces - self.reference_forces
        metrics: dict[str, float | int] = {
            "n_test": len(self.forces),
            "force_mae_ev_per_ang": float(np.abs(difference).mean()),
            "force_rmse_ev_per_ang": float(np.sqrt((difference**2).mean())),
            "force_max_error_ev_per_ang": float(np.abs(difference).max()),
        }
        if self.reference_energies is not None:
            error = self.energies - self.reference_energies
            metrics["energy_mae_ev"] = float(np.abs(error).mean())
            metrics["energy_rmse_ev"] = float(np.sqrt((error**2).mean()))
            if len(error) > 2 and min(np.ptp(self.reference_energies), np.ptp(self.energies)) > _FLAT:
                slope = np.polyfit(self.reference_energies - self.reference_energies.mean(), self.energies, 1)[0]
                metrics["energy_slope"] = float(slope)
        return metrics

    def hints(self) -> list[str]:
        """What the errors suggest: energies and forces that do not belong together, a poor length scale."""
        metrics = self.metrics
        if metrics["force_rmse_ev_per_ang"] > _NOTHING_LEARNED * float(np.sqrt((self.reference_forces**2).mean())):
            return [
                "the model predicts these forces no better than zeros would: it has learned nothing about such "
                "structures; check lengthscale, regularization, and that the data are the same molecule's and level's"
            ]
        slope = metrics.get("energy_slope")
        if slope is None or abs(slope - 1) <= 0.1:
            return []
        if slope < 0:
            return [
                f"predicted energies fall where the reference rises (slope {slope:.2f}): the forces look like "
                "gradients; their sign must be that of −dE/dr"
            ]
        return [
            f"predicted energies against reference have slope {slope:.2f} instead of 1: energies and forces may have "
            "different units or levels of theory; if they belong together, try a longer length scale or more structures"
        ]


def evaluate(model: ForceField, dataset: Dataset) -> Evaluation:
    """Predict all structures of ``dataset``. Raises :class:`~nyff.errors.InputError` for another molecule."""
    require_same_molecule(model, dataset.numbers)
    energies, forces = model.predict(dataset.positions)
    return Evaluation(energies, forces, dataset.energies, dataset.forces)


def require_same_molecule(model: ForceField, numbers: NDArray[np.int64]) -> None:
    """Refuse atoms that are not those of the model, in its order."""
    if np.array_equal(model.numbers, numbers):
        return
    got, wanted = (" ".join(element_symbols(n)) for n in (np.asarray(numbers), model.numbers))
    if sorted(numbers) == sorted(model.numbers):
        raise InputError(f"the atoms are in another order than the model's: got {got}, wanted {wanted}; reorder them")
    raise InputError(
        f"the model is for another molecule: got {got}, wanted {wanted}; use a model trained on these atoms"
    )

"""Between a force field (eV, Å) and i-PI (hartree, bohr): units, checks, uncertainty, extras.

Both ways into i-PI, the socket client and the PES plug-in, ask one :class:`ModelEvaluator` per process.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nyff.errors import InputError, SimulationError
from nyff.ipi.parameters import Parameters
from nyff.ipi.protocol import Evaluation
from nyff.ipi.species import formula
from nyff.units import BOHR, HARTREE

log = logging.getLogger("nyff.ipi")

Evaluate = Callable[[np.ndarray, np.ndarray], Evaluation]
"""``evaluate(positions[B, N, 3], cells[B, 3, 3]) -> Evaluation``, everything in atomic units."""

FORCE = HARTREE / BOHR
"""One hartree/bohr in eV/Å."""


class Predicts(Protocol):
    """What any model must offer."""

    @property
    def numbers(self) -> Any:
        """Atomic numbers [N]."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Provenance; ``metadata["domain"]`` may hold the pair distances seen in training."""

    def predict(self, positions: Any) -> tuple[Any, Any]:
        """Energies [B] eV and forces [B, N, 3] eV/Å for positions [B, N, 3] Å."""


@runtime_checkable
class HasCommittee(Protocol):
    """A model that answers with several voices: ensemble members or draws from its posterior."""

    def committee(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [M, B] eV and forces [M, B, N, 3] eV/Å."""


@runtime_checkable
class HasUncertainty(Protocol):
    """A model that knows the standard deviations of its force components."""

    def uncertainty(self, positions: np.ndarray) -> np.ndarray:
        """Standard deviations [B, N, 3] eV/Å."""


@runtime_checkable
class HasHessian(Protocol):
    """A model that knows its second derivatives."""

    def hessian(self, positions: np.ndarray) -> np.ndarray:
        """Second derivatives [B, 3N, 3N] of the energy, eV/Å²."""


class Refused(SimulationError):
    """No answer can be given for a structure.

    ``reason`` (at most 12 letters) reaches the server's log. ``ends_run`` tells a structure the simulation should not
    have reached, which any client would refuse, from one that was never this model's.
    """

    def __init__(self, reason: str, message: str, *, ends_run: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.ends_run = ends_run


class ModelEvaluator:
    """Evaluates requests with a model and refuses to answer nonsense.

    Clusters have no virial: zeros are sent, so that i-PI's pressure is meaningless and constant-pressure runs are
    out. For a model with a cell NaN is sent, until models offer a virial: a barostat then stops at once instead of
    believing a number.
    """

    def __init__(self, model: Predicts, parameters: Parameters | None = None) -> None:
        parameters = parameters or Parameters()
        self.model = model
        self.numbers = np.asarray(model.numbers)
        self._zero = parameters.energy_zero
        self._ensemble = parameters.committee or parameters.energy_ensemble
        self._force_ensemble = parameters.committee or parameters.force_virial_ensemble
        self._report_uncertainty = parameters.uncertainty
        self._threshold = parameters.uncertainty_threshold
        self._stop = parameters.uncertainty_action == "stop"
        self._worst = parameters.uncertainty_threshold
        self._first = True
        self._check_offers()

    def __call__(self, positions: np.ndarray, cells: np.ndarray) -> Evaluation:
        """Evaluate ``positions`` [B, N, 3] bohr in ``cells`` [B, 3, 3] bohr; atomic units out.

        Raises :class:`Refused` for numbers that are not finite, a wrong number of atoms, or too large an uncertainty.
        """
        self._check_request(positions)
        distinct = _count_distinct(positions)
        energies, forces, extras = self._evaluate(positions[:distinct] * BOHR)
        padding = [distinct - 1] * (len(positions) - distinct)
        rows = [*range(distinct), *padding]
        periodic = getattr(self.model, "cell", None) is not None
        virials = np.full((len(rows), 3, 3), np.nan if periodic else 0.0)
        return Evaluation(energies[rows] / HARTREE, forces[rows] / FORCE, virials, [extras[row] for row in rows])

    def _evaluate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
        blocks: dict[str, np.ndarray] = {}
        spread = None
        if self._ensemble or self._force_ensemble or (self._wants_spread and not self._calibrated):
            member_energies, member_forces = self.model.committee(positions)  # type: ignore[attr-defined]
            energies, forces = member_energies.mean(0), member_forces.mean(0)
            spread = member_forces.std(0, ddof=1)
            if self._ensemble:
                blocks["committee_pot"] = (member_energies.T - self._zero) / HARTREE
            if self._force_ensemble:
                members, batch = member_energies.shape
                blocks["committee_force"] = member_forces.swapaxes(0, 1).reshape(batch, members, -1) / FORCE
                blocks["committee_virial"] = np.zeros((batch, members, 9))
        else:
            energies, forces = self.model.predict(positions)
        energies, forces = np.asarray(energies, dtype=np.float64), np.asarray(forces, dtype=np.float64)
        _check_finite(energies, forces, blocks)
        if self._wants_spread:
            if self._calibrated:
                spread = np.asarray(self.model.uncertainty(positions))  # type: ignore[attr-defined]
            assert spread is not None
            self._judge(spread)
            if self._report_uncertainty:
                blocks["force_uncertainty"] = spread.reshape(len(spread), -1) / FORCE
        extras = [
            json.dumps({name: block[row].tolist() for name, block in blocks.items()}) if blocks else ""
            for row in range(len(energies))
        ]
        return energies - self._zero, forces, extras

    @property
    def _wants_spread(self) -> bool:
        return self._report_uncertainty or self._threshold > 0

    @property
    def _calibrated(self) -> bool:
        return isinstance(self.model, HasUncertainty)

    def _check_offers(self) -> None:
        committee = isinstance(self.model, HasCommittee)
        if (self._ensemble or self._force_ensemble) and not committee:
            raise InputError("this model is no committee; give several model files joined by ';', or drop the ensemble")
        if self._wants_spread and not (committee or self._calibrated):
            raise InputError(
                "this model offers no uncertainty; give several model files joined by ';' for a committee, "
                "or drop uncertainty and uncertainty_threshold"
            )

    def _check_request(self, positions: np.ndarray) -> None:
        atoms = positions.shape[1]
        if atoms != len(self.numbers):
            raise Refused(
                "ATOMS",
                f"the server sends {atoms} atoms, the model has {len(self.numbers)} ({formula(self.numbers)}); "
                "start the simulation from the molecule the model was trained on",
                ends_run=False,
            )
        if not np.isfinite(positions).all():
            raise Refused("POSITIONS", "the server sends positions that are not finite; use a shorter time step")
        if self._first:
            self._first = False
            _check_domain(self.model.metadata.get("domain"), positions[0] * BOHR, self.numbers)

    def _judge(self, spread: np.ndarray) -> None:
        largest = float(spread.max())
        if self._threshold <= 0 or largest <= self._worst:
            return
        structure, atom, _ = np.unravel_index(int(spread.argmax()), spread.shape)
        message = (
            f"the force on atom {int(atom) + 1} of structure {int(structure) + 1} is uncertain by {largest:.4g} eV/Å, "
            f"more than the threshold of {self._threshold:.4g} eV/Å"
        )
        if self._stop:
            raise Refused("UNCERTAIN", message + "; train on structures like the last ones, or raise the threshold")
        # only new records: one line per step of every bead would drown the log
        self._worst = largest
        log.warning(message)


def _count_distinct(positions: np.ndarray) -> int:
    """How many structures remain when repeats of the last one are dropped: i-PI pads short batches with them."""
    differs = (positions != positions[-1]).any(axis=(1, 2))
    return int(np.flatnonzero(differs)[-1]) + 2 if differs.any() else 1


def _check_finite(energies: np.ndarray, forces: np.ndarray, blocks: Mapping[str, np.ndarray]) -> None:
    bad = ~(np.isfinite(energies) & np.isfinite(forces).all(axis=(1, 2)))
    for block in blocks.values():
        bad |= ~np.isfinite(block).reshape(len(bad), -1).all(axis=1)
    if bad.any():
        raise Refused(
            "NOTFINITE",
            f"the model's energy or forces are not finite for structure {int(bad.argmax()) + 1} of {len(bad)}; "
            "atoms probably collided: use a shorter time step, or train on structures like the last ones",
        )


def _check_domain(domain: Mapping[str, Any] | None, positions: np.ndarray, numbers: np.ndarray) -> None:
    """Refuse a first structure that no step of dynamics explains: species are never sent, but distances tell.

    A pair distance below half the smallest, or above twice the largest, that training saw means another molecule,
    another order of the atoms or other units.
    """
    if not domain:
        return
    i, j = np.tril_indices(len(positions), -1)
    distances = np.linalg.norm(positions[i] - positions[j], axis=1)
    low, high = np.asarray(domain["min_distance"]), np.asarray(domain["max_distance"])
    bad = (distances < 0.5 * low) | (distances > 2.0 * high)
    if bad.any():
        k = int(bad.argmax())
        names = formula([numbers[i[k]]]), formula([numbers[j[k]]])
        raise Refused(
            "GEOMETRY",
            f"in the first structure atoms {j[k] + 1} ({names[1]}) and {i[k] + 1} ({names[0]}) are {distances[k]:.3f} Å"
            f" apart, in training {low[k]:.3f} to {high[k]:.3f} Å; check the order of the atoms and the units of the "
            "start structure",
            ends_run=False,
        )

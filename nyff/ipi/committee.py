"""Several force fields asked at once: their mean drives the dynamics, their spread tells how far to trust it.

The members are ordinary models, for example trained on different draws of the same data
(H. S. Seung, M. Opper, H. Sompolinsky, 1992, doi:10.1145/130385.130417; i-PI's use of committees: G. Imbalzano et al.,
2021, doi:10.1063/5.0036522).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nyff.errors import InputError
from nyff.ipi.evaluator import HasHessian, Predicts
from nyff.ipi.species import formula


class Committee:
    """Mean and members of several models of one molecule; has the ``predict`` of a single one."""

    def __init__(self, members: Sequence[Predicts]) -> None:
        if len(members) < 2:
            raise InputError(f"a committee needs at least two models, got {len(members)}; join their paths with ';'")
        self.members = tuple(members)
        self.numbers = np.asarray(members[0].numbers)
        for index, member in enumerate(self.members):
            if not np.array_equal(member.numbers, self.numbers):
                raise InputError(
                    f"committee member {index + 1} is a model of {formula(np.asarray(member.numbers))}, the first one "
                    f"of {formula(self.numbers)}; all members must hold the same atoms in the same order"
                )
        self.metadata: dict[str, Any] = dict(members[0].metadata)

    def committee(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies [M, B] eV and forces [M, B, N, 3] eV/Å of every member, for ``positions`` [B, N, 3] Å."""
        energies, forces = zip(*(member.predict(positions) for member in self.members), strict=True)
        return np.stack(energies), np.stack(forces)

    def predict(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean energies [B] eV and forces [B, N, 3] eV/Å."""
        energies, forces = self.committee(positions)
        return energies.mean(0), forces.mean(0)

    def hessian(self, positions: np.ndarray) -> np.ndarray:
        """Mean second derivatives [B, 3N, 3N] eV/Å², of members that know theirs."""
        known = [member.hessian(positions) for member in self.members if isinstance(member, HasHessian)]
        if len(known) < len(self.members):
            raise InputError("not all members of the committee know their second derivatives; use a single model")
        return np.mean(known, axis=0)

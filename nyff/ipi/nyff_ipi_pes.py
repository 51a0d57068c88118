"""i-PI's PES plug-in: a nyff model inside the i-PI process, or behind ``i-pi-py_driver -m custom -P <this file>``.

i-PI loads this file by its path, as a top-level module named after it; hence the unmistakable file name and the
absolute imports. The parameters are those of :class:`nyff.ipi.parameters.Parameters`. With a batch size, all beads
reach the model in one call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi.utils.softexit import softexit

from nyff.ipi.evaluator import Refused
from nyff.ipi.load import load_evaluator
from nyff.ipi.parameters import Parameters

__DRIVER_NAME__ = "nyff"
__DRIVER_CLASS__ = "NyffDriver"

Result = tuple[float, np.ndarray, np.ndarray, str]

_FROM_IPI = ("verbosity", "verbose")


class NyffDriver(Dummy_driver):
    """Evaluates one structure or a list of them; atomic units in and out."""

    def __init__(self, *args: Any, **parameters: Any) -> None:
        # i-PI adds parameters of its own and stores all of them for restarts
        given = {name: value for name, value in parameters.items() if name not in _FROM_IPI}
        self.evaluator = load_evaluator(Parameters().updated(given))
        super().__init__(verbose=bool(parameters.get("verbose", False)))

    def compute(self, cell: Any, pos: Any) -> Result | list[Result]:
        """Energy, forces [N, 3], virial [3, 3] and extras of ``pos`` [N, 3] in ``cell`` [3, 3]; lists give a list."""
        if not isinstance(pos, list):
            return self._evaluate([cell], [pos])[0]
        return self._evaluate(cell, pos)

    def compute_structure(self, cell: np.ndarray, pos: np.ndarray) -> Result:
        """As :meth:`compute`, for a single structure."""
        return self._evaluate([cell], [pos])[0]

    def _evaluate(self, cells: list[np.ndarray], positions: list[np.ndarray]) -> list[Result]:
        # np.stack copies: i-PI's arrays may be views of memory that it writes to
        try:
            answer = self.evaluator(np.stack(positions), np.stack(cells))
        except Refused as refused:
            # the exception alone would lose what i-PI has not flushed and leave no RESTART; the clean-up alone would
            # let i-PI end with code 0
            if softexit.flist:
                softexit.cleanup(status="restartable", message=str(refused))
                softexit.hard_exit = False
            raise
        rows = zip(answer.energies, answer.forces, answer.virials, answer.extras, strict=True)
        return [(float(energy), forces, virial, extras) for energy, forces, virial, extras in rows]

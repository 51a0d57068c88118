"""From parameters to an evaluator: models loaded, committee formed, template checked, before anything moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nyff.errors import InputError
from nyff.ipi.committee import Committee
from nyff.ipi.evaluator import ModelEvaluator, Predicts
from nyff.ipi.parameters import Parameters
from nyff.ipi.species import check_species, read_species


def load_evaluator(parameters: Parameters) -> ModelEvaluator:
    """Load what ``parameters`` name; raises :class:`InputError` when the template holds other atoms than the model."""
    from nyff.model.file import load

    paths = [path.strip() for path in parameters.model.split(";") if path.strip()]
    if not paths:
        raise InputError("no model given; pass --model FILE, or model: FILE in the server's <parameters>")
    if parameters.num_threads > 0:
        import torch

        torch.set_num_threads(parameters.num_threads)
    models = [load(path, device=parameters.device) for path in paths]
    model: Predicts = models[0] if len(models) == 1 else Committee(models)
    if parameters.template:
        check_species(read_species(parameters.template), model.numbers, f"template {parameters.template!r}")
    return ModelEvaluator(model, parameters)


class EvaluatorSource:
    """Makes a client's evaluator from what its user gave and what the server's INIT adds; the user's word wins.

    A model the user named is loaded at once, so that a wrong file or template fails before any server is met.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self._parameters = Parameters().updated(self._given)
        self._evaluator = load_evaluator(self._parameters) if self._parameters.model else None

    def __call__(self, from_server: Mapping[str, str]) -> ModelEvaluator:
        """The evaluator for this session; the model is only loaded again when the parameters differ."""
        parameters = Parameters().updated({**from_server, **self._given})
        if self._evaluator is None or parameters != self._parameters:
            self._evaluator = load_evaluator(parameters)
            self._parameters = parameters
        return self._evaluator

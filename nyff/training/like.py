"""Training as an sGDML model was trained: its settings and its structures, found again in the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nyff.data.dataset import Dataset, same_cell
from nyff.data.split import Split
from nyff.errors import InputError
from nyff.kernel.descriptor import PairDescriptor
from nyff.model.force_field import ForceField
from nyff.model.sgdml import read_sgdml_model
from nyff.training.evaluate import require_same_molecule

# Descriptors of the same structure differ by this much at most, relatively, when one file was in single precision.
_SAME = 1e-5


@dataclass(frozen=True, eq=False)
class Like:
    """What repeats the training of ``model``: arguments of :func:`nyff.fit` and which structures of the data to take.

    ``nyff.fit(dataset, splitting=like.splitting, **like.arguments)``. ``hints`` say what could not be repeated.
    """

    model: ForceField
    arguments: dict[str, Any]
    splitting: Split
    hints: list[str] = field(default_factory=list)


def like(model: str | Path | ForceField, dataset: Dataset, units: str | None = None) -> Like:
    """Settings and split of the sGDML model ``model`` (a path, or read already) for ``dataset``, the data it came from.

    Kernel, length scale, regularisation (in nyff's units), permutations and training and validation indices are the
    model's; what is left tests. Every training structure must be the one that the model knows by its descriptor, so
    another data set, an altered or a reordered one is refused whatever its md5. ``units`` as in
    :func:`~nyff.model.sgdml.read_sgdml_model`.

    Raises :class:`~nyff.errors.InputError` when the data is not that of the model, or the model does not tell.
    """
    found = model if isinstance(model, ForceField) else read_sgdml_model(model, units)
    known = found.metadata.get("sgdml")
    if not isinstance(known, Mapping) or len(known.get("idxs_train", ())) != found.n_train or "lam" not in known:
        raise InputError(
            "the model does not tell how it was trained (idxs_train, lam); only sGDML's own models can be repeated"
        )
    require_same_molecule(found, dataset.numbers)
    cell = dataset.cell if any(dataset.pbc) else None
    if not same_cell(found.cell, cell):
        raise InputError(
            f"the model was trained in the cell {_listed(found.cell)}, the data have {_listed(cell)}; give the data "
            "set the model was trained on"
        )
    place = {int(frame): index for index, frame in enumerate(dataset.frames)}
    train = _places(known["idxs_train"], place, "training")
    _require_same_structures(found, dataset, train, known)
    hints = []
    valid = [place[i] for i in known.get("idxs_valid", ()) if i in place]
    if known.get("md5_valid") != known.get("md5_train"):
        valid = []
        hints.append("the model was validated on another data set, so all other structures test")
    if found.energy_coefficients is not None:
        hints.append("the model was trained on energies too (alphas_E); nyff fits forces and one integration constant")
    if found.image == "rounded":
        hints.append("the model rounds to images in its skewed cell; nyff trains with the true nearest ones")
    valid = sorted(set(valid) - set(train.tolist()))
    test = np.setdiff1d(np.arange(len(dataset)), np.concatenate([train, np.array(valid, dtype=np.int64)]))
    length = known["sig"] / found.lengthscale  # of the model's unit, in Å
    return Like(
        model=found,
        arguments={
            "lengthscale": found.lengthscale,
            "regularization": known["lam"] / length**2,
            "kernel": found.kernel,
            "descriptor_power": found.descriptor_power,
            "permutations": found.permutations,
        },
        splitting=Split(np.sort(train), np.array(valid, dtype=np.int64), test, method="like"),
        hints=hints,
    )


def _listed(cell: NDArray[np.float64] | None) -> str:
    return "none" if cell is None else str(np.round(cell, 4).tolist())


def _places(wanted: list[int], place: Mapping[int, int], what: str) -> NDArray[np.int64]:
    missing = [i for i in wanted if i not in place]
    if missing:
        raise InputError(
            f"{what} structure {missing[0]} of the model is not in the data, which has {len(place)} structures; give "
            "the data set the model was trained on, whole"
        )
    return np.array([place[i] for i in wanted], dtype=np.int64)


def _require_same_structures(
    model: ForceField, dataset: Dataset, train: NDArray[np.int64], known: Mapping[str, Any]
) -> None:
    descriptor = PairDescriptor(model.n_atoms, 1.0, "cpu", model.cell, model.image)
    here = descriptor(torch.tensor(dataset.positions[train])).x
    there = model.descriptors.cpu()
    off = ((here - there).abs() / there).amax(1)
    wrong = torch.nonzero(off > _SAME).flatten()
    if len(wrong):
        k = int(wrong[0])
        raise InputError(
            f"this is not the data the model was trained on: {len(wrong)} of its {len(train)} training structures "
            f"differ, the first is structure {train[k]}; give the data set with md5 "
            f"{known.get('md5_train', 'unknown')}, in its original order and units"
        )

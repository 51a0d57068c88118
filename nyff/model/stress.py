"""Stress of a force field in a periodic cell, from the derivative of its energy with respect to strain.

A homogeneous strain ε moves every arrow between nearest images, δ → (1 + ε) δ, and with g_d = ∂x_d/∂r of
:mod:`nyff.kernel.descriptor`

    ∂E/∂ε_ab = Σ_d (∂E/∂x_d) g_da δ_db,        σ = (∂E/∂ε) / V,

symmetric because g_d is parallel to δ_d. Positive stress pulls, as in ASE.

**How far to trust it.** This is the exact derivative of the model's energy, but a model is trained on forces in one
lattice, and displacements of atoms inside a lattice never add up to a strain of it: where atoms interact across the
boundary, training says nothing about the stress, and its error can be larger than the stress. It is right where nothing
crosses the boundary. Lattices other than the model's own are extrapolation for the same reason, so those far from it
are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nyff.errors import InputError
from nyff.kernel.cell import checked_cell
from nyff.kernel.descriptor import PairDescriptor

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField

LARGEST_STRAIN = 0.05
"""How far lattice vectors may be stretched or sheared against the model's own."""


def predict_with_stress(
    model: ForceField, positions: Tensor, cell: ArrayLike | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Energies [frames] eV, forces [frames, atoms, 3] eV/Å and stresses [frames, 3, 3] eV/Å³, see the method."""
    if model.cell is None or not all(model.pbc):
        raise InputError(
            "a stress needs a cell that is periodic in all directions, the model "
            + ("is for a molecule" if model.cell is None else f"has pbc={model.pbc}")
        )
    descriptor, vectors = model._descriptor, model.cell
    if cell is not None:
        vectors = near_cell(model, cell)
        descriptor = PairDescriptor(model.n_atoms, model.descriptor_power, model.device, vectors, model.image)
    geometry = descriptor(positions)
    energies, field = model._energies_and_field(geometry.x)
    forces = descriptor.pull(geometry.g, field)
    virial = torch.einsum("fd,fda,fdb->fab", field, geometry.g, descriptor.arrows(positions)).neg_()
    stress = virial.div_(float(abs(np.linalg.det(vectors))))
    return energies, forces, stress.add_(stress.transpose(1, 2).clone()).mul_(0.5)


def near_cell(model: ForceField, cell: ArrayLike) -> NDArray[np.float64]:
    """``cell`` [3, 3], if it is the model's own but for a rotation and a small strain; else refused."""
    assert model.cell is not None
    vectors = checked_cell(cell, model.pbc)
    periodic = model.cell.any(1)
    # The stretches are singular values of the map from one lattice to the other, within its span.
    stretches = np.linalg.svd(np.linalg.pinv(model.cell[periodic]) @ vectors[periodic], compute_uv=False)
    strain = float(np.abs(stretches[: periodic.sum()] - 1).max())
    if strain > LARGEST_STRAIN:
        raise InputError(
            f"the cell {np.round(vectors, 4).tolist()} is strained by {100 * strain:.1f} % against the model's, "
            f"{np.round(model.cell, 4).tolist()}; at most {100 * LARGEST_STRAIN:.0f} % is sensible for a model that "
            "was trained in one lattice: take that lattice, with its vectors in the same order"
        )
    return vectors

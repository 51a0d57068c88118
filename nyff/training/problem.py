"""The linear system of a fit: kernel operator, labels without rigid motion, and the model its solution makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nyff.data.dataset import Dataset
from nyff.errors import InputError
from nyff.kernel.cell import checked_cell
from nyff.kernel.descriptor import PairDescriptor
from nyff.kernel.force_kernel import ForceKernel
from nyff.kernel.group import check_group, pair_permutations
from nyff.kernel.internal import InternalKernel, internal_basis
from nyff.kernel.radial import make_radial
from nyff.kernel.symmetry import find_permutations
from nyff.model.force_field import ForceField
from nyff.training.settings import Settings


@dataclass(frozen=True, eq=False)
class Problem:
    """(K̃ + λI) α̃ = ỹ for one training set; see :mod:`nyff.kernel.internal` for the tilde.

    ``labels`` are the forces over ``scale`` (their standard deviation, eV/Å) in internal coordinates; ``rigid_share`` is
    the part of the forces, relative to their norm, that was net force and torque and has been projected out.
    """

    dataset: Dataset
    permutations: NDArray[np.int64]
    operator: InternalKernel
    labels: Tensor
    scale: float
    rigid_share: float

    @property
    def n(self) -> int:
        """Unknowns 3NM, rigid motions included."""
        return self.operator.kernel.n

    def coefficients(self, solution: Tensor) -> Tensor:
        """α [train, 3·atoms] of a solution α̃."""
        return self.operator.to_cartesian(solution).view(len(self.dataset), -1)


def resolve_permutations(
    dataset: Dataset, permutations: str | ArrayLikePermutations, seed: int = 0
) -> NDArray[np.int64]:
    """The group to use: ``"auto"`` finds it in the data, ``"none"`` is the identity, an array is checked."""
    if isinstance(permutations, str):
        if permutations == "auto":
            return find_permutations(dataset, seed=seed)
        if permutations == "none":
            return np.arange(dataset.n_atoms)[None]
        raise InputError(f"`permutations` must be 'auto', 'none' or an array [S, atoms], got {permutations!r}")
    return check_group(permutations, dataset.numbers)


ArrayLikePermutations = NDArray[np.int64] | list[list[int]]


def build_problem(
    dataset: Dataset, permutations: NDArray[np.int64], settings: Settings, lengthscale: float, max_bytes: float
) -> Problem:
    """Set up the system for ``dataset`` on ``settings.device``; ``max_bytes`` bounds the scalars the kernel may keep."""
    device = torch.device(settings.device)
    positions = torch.tensor(dataset.positions, device=device)
    forces = torch.tensor(dataset.forces, device=device).reshape(-1)
    scale = float(forces.std(unbiased=False))
    if not scale > 0:
        raise InputError("all forces are the same, there is nothing to learn; check the forces in the data")
    cell = checked_cell(dataset.cell, dataset.pbc) if dataset.cell is not None and any(dataset.pbc) else None
    kernel = ForceKernel(
        positions,
        make_radial(settings.kernel, lengthscale),
        torch.as_tensor(pair_permutations(permutations)),
        descriptor_power=settings.descriptor_power,
        cell=cell,
        max_bytes=max_bytes,
    )
    operator = InternalKernel(kernel, internal_basis(positions, cell))
    labels = operator.to_internal(forces) / scale
    total = float(forces.norm()) / scale
    rigid = max(total**2 - float(labels.norm()) ** 2, 0.0) ** 0.5
    return Problem(dataset, permutations, operator, labels, scale, rigid / total)


def build_model(problem: Problem, solution: Tensor, provenance: Mapping[str, Any]) -> ForceField:
    """The force field of a solution, its energy offset fixed on the training energies."""
    kernel = problem.operator.kernel
    alpha = problem.coefficients(solution).view(len(problem.dataset), -1, 3)
    beta = kernel.descriptor.push(kernel.geometry.g, alpha).neg_()
    model = ForceField(
        numbers=problem.dataset.numbers,
        descriptors=kernel.geometry.x,
        coefficients=beta,
        permutations=problem.permutations,
        kernel=kernel.radial.name,
        lengthscale=kernel.radial.lengthscale,
        descriptor_power=kernel.descriptor.power,
        scale=problem.scale,
        energy_offset=0.0,
        metadata={"training": dict(provenance), "domain": _domain(problem.dataset, kernel.descriptor)},
        cell=kernel.descriptor.cell,
    )
    if problem.dataset.energies is None:
        return model
    from dataclasses import replace

    predicted, _ = model.predict(problem.dataset.positions)
    return replace(model, energy_offset=float(np.mean(problem.dataset.energies - predicted)))


def _domain(dataset: Dataset, descriptor: PairDescriptor) -> dict[str, Any]:
    """What the training set spans, for the checks that stop a simulation outside of it."""
    arrows = descriptor.arrows(torch.tensor(dataset.positions, device=descriptor.device))
    distances = arrows.norm(dim=-1).cpu().numpy()
    domain: dict[str, Any] = {
        "min_distance": distances.min(0).tolist(),
        "max_distance": distances.max(0).tolist(),
        "max_force": float(np.linalg.norm(dataset.forces, axis=-1).max()),
    }
    if dataset.energies is not None:
        domain |= {"energy_min": float(dataset.energies.min()), "energy_max": float(dataset.energies.max())}
    return domain

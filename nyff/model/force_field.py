"""A trained force field: energies and forces of any number of structures in one call.

With β_j = −J_j α_j, Δ = x − πx_j and d = |Δ|, summed over training structures j and permutations π
(S. Chmiela et al., Comput. Phys. Commun. 240, 38 (2019), section 2),

    E = c₀ + s Σ c1(d) Δ·πβ_j,        F = s Jᵀ Σ [c2(d) (Δ·πβ_j) Δ − c1(d) πβ_j].

Models trained on energies too have energy coefficients a_j, which add s Σ a_j κ(d) to E and c1 a_j Δ inside the
brackets of F.

The query is permuted, not the training set: |x − πx_j| = |π⁻¹x − x_j|, so that the training arrays are read once for
all permutations and the sums become two matrix products with the stacked matrix [X; β].

| symbol | here |
|---|---|
| x_j, β_j | ``descriptors`` [train, pairs] Å^−p, ``coefficients`` [train, pairs] |
| a_j | ``energy_coefficients`` [train] Å, or None |
| s, c₀ | ``scale`` eV/Å, ``energy_offset`` eV |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nyff.errors import InputError
from nyff.kernel.descriptor import PairDescriptor
from nyff.kernel.group import pair_permutations
from nyff.kernel.radial import Radial, make_radial

Array = TypeVar("Array", Tensor, NDArray[Any])

# Numbers in a tile of the [query, train] matrices: a few of them together stay in the cache of a core.
_TILE_NUMBERS = 250_000
# Numbers that all frames of a chunk take together: 128 MB, however many frames are asked for.
_CHUNK_NUMBERS = 16_000_000


@dataclass(frozen=True, eq=False)
class ForceField:
    """A force field for one molecule. Stateless: any number of threads may call one object.

    ``numbers`` [atoms] atomic numbers, in the order positions must have; ``descriptors`` and ``coefficients``
    [train, pairs]; ``permutations`` [symmetries, atoms] (``positions[permutation]`` is the equivalent structure); the
    radial function by ``kernel`` and ``lengthscale``; ``descriptor_power`` p; ``scale`` s (eV/Å); ``energy_offset`` c₀
    (eV). ``metadata`` is JSON-able: what the model was trained on, how, and the domain it knows.
    ``energy_coefficients`` [train] belong to models trained on energies too. ``cell`` [3, 3] (rows in Å, zero where not
    periodic) and how its nearest ``image`` is found belong to models of periodic systems, see :mod:`nyff.kernel.cell`.
    """

    numbers: NDArray[np.int64]
    descriptors: Tensor
    coefficients: Tensor
    permutations: NDArray[np.int64]
    kernel: str
    lengthscale: float
    descriptor_power: float
    scale: float
    energy_offset: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    energy_coefficients: Tensor | None = None
    cell: NDArray[np.float64] | None = None
    image: str = "nearest"

    @property
    def n_atoms(self) -> int:
        """Atoms of the molecule."""
        return len(self.numbers)

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """Along which lattice vectors the system is periodic."""
        a, b, c = (False, False, False) if self.cell is None else (bool(row.any()) for row in self.cell)
        return a, b, c

    @property
    def n_train(self) -> int:
        """Training structures."""
        return len(self.descriptors)

    @property
    def device(self) -> torch.device:
        """Where predictions are computed."""
        return self.descriptors.device

    @cached_property
    def radial(self) -> Radial:
        """The radial function of the kernel."""
        return make_radial(self.kernel, self.lengthscale)

    @cached_property
    def _descriptor(self) -> PairDescriptor:
        return PairDescriptor(self.n_atoms, self.descriptor_power, self.device, self.cell, self.image)

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables.of(self)

    def predict(self, positions: Array) -> tuple[Array, Array]:
        """Energies [frames] in eV and forces [frames, atoms, 3] in eV/Å at ``positions`` [frames, atoms, 3] in Å.

        NumPy in, NumPy out; torch in, torch out (on the device of ``positions``). Computed in float64.
        Raises :class:`~nyff.errors.InputError` for another shape or number of atoms.
        """
        r = self._checked(positions)
        energies, forces = self._predict(r)
        return _like(positions, energies), _like(positions, forces)

    def predict_with_stress(self, positions: Array, cell: ArrayLike | None = None) -> tuple[Array, Array, Array]:
        """Energies, forces and stresses [frames, 3, 3] in eV/Å³ of a periodic model; in and out like :meth:`predict`.

        ``cell`` [3, 3] (rows in Å) may differ a little from the model's own, of which it knows nothing else; see
        :mod:`nyff.model.stress`. Raises :class:`~nyff.errors.InputError` for models that are not periodic in all
        directions, and for cells too far from the model's.
        """
        from nyff.model.stress import predict_with_stress

        energies, forces, stress = predict_with_stress(self, self._checked(positions), cell)
        return _like(positions, energies), _like(positions, forces), _like(positions, stress)

    def hessian(self, positions: Array) -> Array:
        """Second derivatives of the energy [frames, 3·atoms, 3·atoms] in eV/Å².

        At ``positions`` [frames, atoms, 3] in Å. Analytic and exactly symmetric; see :mod:`nyff.model.hessian`. In and
        out like :meth:`predict`.
        """
        from nyff.model.hessian import hessian

        return _like(positions, hessian(self, self._checked(positions)))

    def hessian_vector_product(self, positions: Array, vectors: Array) -> Array:
        """Hessians times ``vectors``, [frames, atoms, 3] or [frames, k, atoms, 3] in Å: eV/Å of that shape.

        Costs a few force calls for each vector, and never builds a Hessian. In and out like :meth:`predict`.
        """
        from nyff.model.hessian import hessian_vector_product

        r, v = self._checked(positions), _as_tensor(vectors).to(self.device, torch.float64)
        if v.ndim not in (3, 4) or len(v) != len(r) or v.shape[-2:] != r.shape[1:]:
            raise InputError(
                f"`vectors` must have shape [{len(r)} frames, {self.n_atoms} atoms, 3] or [{len(r)} frames, k, "
                f"{self.n_atoms} atoms, 3] like `positions`, got {list(v.shape)}"
            )
        product = hessian_vector_product(self, r, v if v.ndim == 4 else v.unsqueeze(1))
        return _like(vectors, product.view(v.shape))

    def _checked(self, positions: Array) -> Tensor:
        r = _as_tensor(positions)
        if r.ndim != 3 or r.shape[-1] != 3:
            raise InputError(
                f"`positions` must have shape [frames, atoms, 3], got {list(r.shape)}; "
                "add a leading axis for one structure"
            )
        if r.shape[1] != self.n_atoms:
            raise InputError(
                f"the model is for {self.n_atoms} atoms, got positions of {r.shape[1]}; "
                "use the molecule it was trained on"
            )
        return r.to(self.device, torch.float64)

    def _predict(self, r: Tensor) -> tuple[Tensor, Tensor]:
        energies = torch.empty(len(r), dtype=torch.float64, device=self.device)
        forces = torch.empty_like(r)
        # Jacobians and their gathers take about a dozen numbers a pair: bound them, whatever the number of frames.
        step = max(1, _CHUNK_NUMBERS // (12 * self._descriptor.n_pairs))
        for start in range(0, len(r), step):
            part = slice(start, start + step)
            geometry = self._descriptor(r[part])
            energies[part], field_ = self._energies_and_field(geometry.x)
            forces[part] = self._descriptor.pull(geometry.g, field_)
        return energies, forces

    def _energies_and_field(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """E [frames] and −∂E/∂x [frames, pairs] at ``descriptors`` [frames, pairs]."""
        tables = self._tables
        x = descriptors - tables.center
        s, pairs = tables.inverse.shape
        energies = torch.empty(len(x), dtype=torch.float64, device=self.device)
        field_ = torch.empty_like(x)
        step = max(1, min(_TILE_NUMBERS // (s * self.n_train), 8 * _TILE_NUMBERS // (s * pairs)))
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            rows = x[part][:, tables.inverse].reshape(-1, pairs)  # [(frame, π), pair]
            energy, g = _row_sums(rows, tables, self.radial)
            energies[part] = energy.view(-1, s).sum(1)
            # Row π holds π⁻¹ applied to the field: bring it back with π.
            g = g.view(-1, s, pairs).gather(2, tables.forward.expand(len(g) // s, s, pairs))
            field_[part] = g.sum(1)
        return energies.mul_(self.scale).add_(self.energy_offset), field_.mul_(self.scale)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over everything that decides predictions, and the metadata."""
        digest = hashlib.sha256(json.dumps(self.header(), sort_keys=True).encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def header(self) -> dict[str, Any]:
        """Everything but the arrays, JSON-able."""
        header: dict[str, Any] = {
            "kernel": self.kernel,
            "lengthscale": self.lengthscale,
            "descriptor_power": self.descriptor_power,
            "force_scale_ev_per_ang": self.scale,
            "energy_offset_ev": self.energy_offset,
            "metadata": dict(self.metadata),
        }
        return header if self.cell is None else {**header, "image": self.image}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, on the CPU."""
        arrays = {
            "numbers": np.ascontiguousarray(self.numbers, dtype=np.int64),
            "permutations": np.ascontiguousarray(self.permutations, dtype=np.int64),
            "descriptors": self.descriptors.cpu().contiguous().numpy(),
            "coefficients": self.coefficients.cpu().contiguous().numpy(),
        }
        if self.cell is not None:
            arrays["cell"] = np.ascontiguousarray(self.cell, dtype=np.float64)
        if self.energy_coefficients is not None:
            arrays["energy_coefficients"] = self.energy_coefficients.cpu().contiguous().numpy()
        return arrays

    def save(self, path: str | Path) -> None:
        """Write the model to one file; the same model always gives the same bytes. See :mod:`nyff.model.file`."""
        from nyff.model.file import save

        save(self, path)

    def to(self, device: torch.device | str) -> ForceField:
        """The same model on another device; raises :class:`~nyff.errors.InputError` when that is not there."""
        from dataclasses import replace

        from nyff.model.file import checked_device

        device = checked_device(device)
        from nyff.model.file import checked_device

        device = checked_device(device)
        tensors = {
            name: tensor.to(device)
            for name in ("descriptors", "coefficients", "energy_coefficients")
            if (tensor := getattr(self, name)) is not None
        }
        return replace(self, **tensors)


def _as_tensor(array: Array) -> Tensor:
    """``array`` as a real tensor outside of any gradient: :meth:`ForceField.predict` gives forces itself."""
    if isinstance(array, Tensor) and not array.is_complex():
        return array.detach()
    try:
        numbers = np.asarray(array)
        if numbers.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise InputError(
            f"positions must be an array of real numbers, got {type(array).__name__}; give [frames, atoms, 3] in Å"
        ) from None
    # A copy in order: torch takes no views that run backwards.
    return torch.from_numpy(np.array(numbers, dtype=np.float64, order="C"))


def _like(asked: Array, result: Tensor) -> Array:
    """``result`` as the kind of array that was passed, on its device."""
    return result.to(asked.device) if isinstance(asked, Tensor) else result.cpu().numpy()


@dataclass(frozen=True)
class _Tables:
    """What every prediction needs, prepared once."""

    center: Tensor  # [pair]
    stacked: Tensor  # [X; β] [2·train, pair]
    energy: Tensor | None  # a_j [train]
    square: Tensor  # |x_j|² [train]
    offset: Tensor  # x_j·β_j [train]
    forward: Tensor  # π on pairs [π, pair]
    inverse: Tensor  # π⁻¹ on pairs [π, pair]

    @classmethod
    def of(cls, model: ForceField) -> _Tables:
        forward = torch.as_tensor(pair_permutations(model.permutations), device=model.device)
        # Any vector may be the origin as long as permutations leave it alone; the mean keeps most digits.
        center = model.descriptors.mean(0)[forward].mean(0)
        x = model.descriptors - center
        beta = model.coefficients
        stacked = torch.cat([x, beta])
        offset = (x * beta).sum(1)
        return cls(center, stacked, model.energy_coefficients, (x * x).sum(1), offset, forward, forward.argsort(1))

    @property
    def x(self) -> Tensor:
        """x_j, centred [train, pair]."""
        return self.stacked[: len(self.square)]

    @property
    def beta(self) -> Tensor:
        """β_j [train, pair]."""
        return self.stacked[len(self.square) :]


def _row_sums(rows: Tensor, tables: _Tables, radial: Radial) -> tuple[Tensor, Tensor]:
    """The sums over j in E [row] and F before Jᵀ [row, pair], for π⁻¹x in ``rows`` [row, pair]: Δ = row − x_j."""
    m = len(tables.square)
    products = rows @ tables.stacked.T  # [row, (x, β) · train]
    square = torch.add(tables.square, products[:, :m], alpha=-2.0)
    square.add_((rows * rows).sum(1, keepdim=True)).clamp_min_(0.0)
    q = products[:, m:].sub_(tables.offset)
    d = square.sqrt_()
    c1, c2 = radial.first_two(d)
    energy = (c1 * q).sum(1)
    torch.mul(c2, q, out=products[:, :m])
    if tables.energy is not None:
        energy += radial.value(d) @ tables.energy
        products[:, :m].addcmul_(tables.energy, c1)
    products[:, m:] = c1
    total = products[:, :m].sum(1, keepdim=True)
    return energy, torch.addmm(rows * total, products, tables.stacked, alpha=-1.0)

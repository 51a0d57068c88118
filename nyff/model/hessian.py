"""Second derivatives of a force field's energy: Hessians, and their products with vectors.

With Δ = x − πx_j, q = Δ·πβ_j, the scalars c1, c2, c3 of :mod:`nyff.kernel.radial` and s the model's scale, one more
derivative of the energy in :mod:`nyff.model.force_field` gives in descriptor space

    H_x = ∂²E/∂x² = s Σ [ c3 q ΔΔᵀ − c2 (Δβᵀ + βΔᵀ) − c2 q I ]        (sum over j and π)

and in space, with the second derivatives h_d of the descriptor,

    H = Jᵀ H_x J + Σ_d (∂E/∂x_d) h_d.

Energy coefficients a_j (models trained on energies too) have the terms of κ itself: c3 q becomes c3 q + a c2, and c2 q
in front of I becomes c2 q + a c1. Matérn 5/2 has c3 ∝ 1/d, but it only multiplies terms of third order in Δ.

A Hessian projects Δ and β onto the 3N directions first: with P = (Δᵀ J) and B = (βᵀ J) [train, 3N],

    Jᵀ H_x J = T + Tᵀ − Σ(c2 q) JᵀJ,    T = Pᵀ(½ c3 q P − c2 B),

two matrix products for each permutation, with the query permuted instead of the training set as in a prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nyff.kernel.descriptor import Geometry

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField

# Numbers in the largest intermediate, [2·train, rows, directions]: 4 MB stay in the cache.
_TILE_NUMBERS = 500_000


def hessian(model: ForceField, positions: Tensor) -> Tensor:
    """H [frames, 3·atoms, 3·atoms] in eV/Å² at ``positions`` [frames, atoms, 3] in Å, exactly symmetric."""
    directions = 3 * model.n_atoms
    out = positions.new_empty((len(positions), directions, directions))
    # Dense Jacobians, one per permutation, are the second largest intermediate.
    step = max(1, _TILE_NUMBERS // (len(model.permutations) * model._descriptor.n_pairs * directions))
    for start in range(0, len(positions), step):
        part = slice(start, start + step)
        geometry = model._descriptor(positions[part])
        out[part] = _projected(model, geometry).mul_(model.scale).add_(_curvature(model, geometry))
    return out.add_(out.transpose(1, 2).clone()).mul_(0.5)


def hessian_vector_product(model: ForceField, positions: Tensor, vectors: Tensor) -> Tensor:
    """H v in eV/Å: ``positions`` [frames, atoms, 3], ``vectors`` [frames, k, atoms, 3] in Å, of the latter's shape."""
    out = torch.empty_like(vectors)
    numbers = 2 * model.n_train * len(model.permutations)
    at_once = max(1, min(vectors.shape[1], _TILE_NUMBERS // numbers))
    step = max(1, _TILE_NUMBERS // (numbers * at_once))
    for start in range(0, len(positions), step):
        part = slice(start, start + step)
        geometry = model._descriptor(positions[part])
        for k in range(0, vectors.shape[1], at_once):
            out[part, k : k + at_once] = _product(model, geometry, vectors[part, k : k + at_once])
    return out


def _weights(model: ForceField, rows: Tensor, train: slice) -> tuple[Tensor, Tensor, Tensor]:
    """c3 q + a c2, c2 and c2 q + a c1 between permuted queries ``rows`` [row, pair] and structures [row, train]."""
    tables = model._tables
    x, beta = tables.x[train], tables.beta[train]
    square = torch.addmm(tables.square[train], rows, x.T, alpha=-2.0)
    d = square.add_((rows * rows).sum(1, keepdim=True)).clamp_min_(0.0).sqrt_()
    q = torch.addmm(tables.offset[train], rows, beta.T, beta=-1.0)
    c1, c2 = model.radial.first_two(d)
    along, isotropic = model.radial.third(d).mul_(q), c2 * q
    if tables.energy is not None:
        a = tables.energy[train]
        along.addcmul_(a, c2)
        isotropic.addcmul_(a, c1)
    return along, c2, isotropic


def _projected(model: ForceField, geometry: Geometry) -> Tensor:
    """Jᵀ H_x J / s [frames, 3·atoms, 3·atoms]."""
    tables = model._tables
    s, pairs = tables.inverse.shape
    frames, directions = len(geometry), 3 * model.n_atoms
    jacobian = model._descriptor.dense(geometry.g)
    x = geometry.x - tables.center
    rows = x[:, tables.inverse].reshape(-1, pairs)  # [(frame, π), pair]
    permuted = jacobian[:, tables.inverse].reshape(-1, pairs, directions)
    # The centre is invariant, so (πx)ᵀ(πJ) is the same for every π.
    own = (x.unsqueeze(1) @ jacobian).repeat_interleave(s, dim=0)  # [(frame, π), 1, direction]
    half = x.new_zeros((len(rows), directions, directions))
    total = x.new_zeros(len(rows))
    tile = max(1, min(model.n_train, _TILE_NUMBERS // (2 * directions)))
    step = max(1, _TILE_NUMBERS // (2 * tile * directions))
    for j in range(0, model.n_train, tile):
        train = slice(j, j + tile)
        stacked = torch.cat([tables.x[train], tables.beta[train]])
        m = len(stacked) // 2
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            along, c2, isotropic = _weights(model, rows[part], train)
            projected = stacked @ permuted[part]  # [row, (x, β) · train, direction]
            p = own[part] - projected[:, :m]
            v = projected[:, m:].mul_(c2.neg_().unsqueeze(-1)).addcmul_(along.mul_(0.5).unsqueeze(-1), p)
            half[part].baddbmm_(p.transpose(1, 2), v)
            total[part] += isotropic.sum(1)
    out = half.view(frames, s, directions, directions).sum(1)
    out = out + out.transpose(1, 2)
    return out.baddbmm_(jacobian.transpose(1, 2) * total.view(frames, s).sum(1)[:, None, None], jacobian, alpha=-1.0)


def _curvature(model: ForceField, geometry: Geometry) -> Tensor:
    """Σ_d (∂E/∂x_d) h_d [frames, 3·atoms, 3·atoms]."""
    _, field = model._energies_and_field(geometry.x)
    blocks = model._descriptor.second_derivatives(geometry).mul_(field[..., None, None])  # −(∂E/∂x) h
    i, j, n = model._descriptor.first, model._descriptor.second, model.n_atoms
    out = blocks.new_zeros((len(geometry), n, n, 3, 3))
    out[:, i, j] = blocks
    out[:, j, i] = blocks
    atom = torch.arange(n, device=blocks.device)
    out[:, atom, atom] = -out.sum(2)
    return out.transpose(2, 3).reshape(len(geometry), 3 * n, 3 * n)


def _product(model: ForceField, geometry: Geometry, vectors: Tensor) -> Tensor:
    """H v for ``vectors`` [frames, k, atoms, 3]."""
    descriptor, tables = model._descriptor, model._tables
    s, pairs = tables.inverse.shape
    frames, k = vectors.shape[:2]
    x = geometry.x - tables.center
    rows = x[:, tables.inverse].reshape(-1, pairs)
    along, c2, isotropic = (w.unsqueeze(1) for w in _weights(model, rows, slice(None)))  # [(frame, π), 1, train]
    u = descriptor.push(geometry.g.unsqueeze(1), vectors)  # [frame, k, pair]
    permuted = u[:, :, tables.inverse].transpose(1, 2).reshape(-1, pairs)  # [(frame, π, k), pair]
    own = (x.unsqueeze(1) * u).sum(-1).repeat_interleave(s, dim=0).unsqueeze(-1)  # [(frame, π), k, 1]
    p = own - (permuted @ tables.x.T).view(-1, k, model.n_train)
    b = (permuted @ tables.beta.T).view(-1, k, model.n_train)
    w = along * p - c2 * b  # of Δ, that is of the row minus x_j
    out = w.sum(-1, keepdim=True) * rows.unsqueeze(1)
    out -= (w.view(-1, model.n_train) @ tables.x + (c2 * p).view(-1, model.n_train) @ tables.beta).view(out.shape)
    out -= isotropic.sum(-1, keepdim=True) * permuted.view(out.shape)
    forward = tables.forward.view(1, s, 1, pairs).expand(frames, s, k, pairs)
    field = out.view(frames, s, k, pairs).gather(3, forward).sum(1).mul_(model.scale)  # H_x J v
    _, minus_gradient = model._energies_and_field(geometry.x)
    h = descriptor.second_derivatives(geometry).mul_(minus_gradient[..., None, None].neg())
    stretch = vectors[..., descriptor.first, :] - vectors[..., descriptor.second, :]
    curved = (h.unsqueeze(1) @ stretch.unsqueeze(-1)).squeeze(-1)  # [frame, k, pair, 3]
    return descriptor.gather(geometry.g.unsqueeze(1) * field.unsqueeze(-1) + curved)

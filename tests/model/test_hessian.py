"""Second derivatives against automatic differentiation of the energy written plainly, finite differences, symmetry."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

import nyff
from nyff.calculator import NyffCalculator
from nyff.errors import InputError
from nyff.kernel.radial import make_radial, radial_names
from nyff.model.force_field import ForceField

N_ATOMS, N_TRAIN = 5, 6
CYCLES = np.array([[0, 1, 2, 3, 4], [1, 2, 0, 3, 4], [2, 0, 1, 3, 4]])


def kappa(name: str, d: torch.Tensor, lengthscale: float) -> torch.Tensor:
    """The radial functions as textbooks write them."""
    if name == "gaussian":
        return torch.exp(-((d / lengthscale) ** 2) / 2)
    nu = {"matern52": 5, "matern72": 7}[name]
    t = math.sqrt(nu) * d / lengthscale
    polynomial = 1 + t + t**2 / 3 if nu == 5 else 1 + t + 2 * t**2 / 5 + t**3 / 15
    return polynomial * torch.exp(-t)


def energy(model: ForceField, positions: torch.Tensor) -> torch.Tensor:
    """The model's energy as a sum over all training structures and permutations: β is minus a derivative of κ."""
    i, j = np.tril_indices(model.n_atoms, -1)
    total = torch.zeros((), dtype=torch.float64)
    for permutation in model.permutations:
        r = positions[list(permutation)]
        x = (r[i] - r[j]).norm(dim=-1) ** -model.descriptor_power
        copies = x.expand(model.n_train, -1).clone()  # one for each training structure, to differentiate apart
        values = kappa(model.kernel, (copies - model.descriptors).norm(dim=1), model.lengthscale)
        (slopes,) = torch.autograd.grad(values.sum(), copies, create_graph=True)
        total = total - (slopes * model.coefficients).sum()
        if model.energy_coefficients is not None:
            total = total + values @ model.energy_coefficients
    return model.scale * total + model.energy_offset


def make_model(kernel: str, power: float, permutations: np.ndarray, with_energies: bool) -> ForceField:
    rng = np.random.default_rng(0)
    positions = structures(N_TRAIN, seed=1)
    i, j = np.tril_indices(N_ATOMS, -1)
    x = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1) ** -power
    return ForceField(
        numbers=np.array([1, 1, 1, 6, 8]),
        descriptors=torch.tensor(x),
        coefficients=torch.tensor(rng.normal(size=x.shape)),
        permutations=permutations,
        kernel=kernel,
        lengthscale=1.3,
        descriptor_power=power,
        scale=1.7,
        energy_offset=-3.0,
        energy_coefficients=torch.tensor(rng.normal(size=N_TRAIN)) if with_energies else None,
    )


def structures(count: int, seed: int) -> np.ndarray:
    shape = np.random.default_rng(99).normal(size=(N_ATOMS, 3)) * 1.5
    return shape + 0.1 * np.random.default_rng(seed).normal(size=(count, N_ATOMS, 3))


@pytest.fixture
def trained(small_fit: nyff.FitResult, ethanol: nyff.Dataset) -> tuple[ForceField, np.ndarray]:
    """A real model, and structures it did not train on."""
    return small_fit.model, ethanol.positions[small_fit.split.test[:3]]


@pytest.mark.parametrize("with_energies", [False, True])
@pytest.mark.parametrize("permutations", [CYCLES[:1], CYCLES], ids=["identity", "3-cycle"])
@pytest.mark.parametrize(
    ("kernel", "power"), [("matern52", 1.0), ("matern52", 0.5), ("matern72", 1.0), ("gaussian", 2.0)]
)
def test_against_automatic_differentiation(kernel, power, permutations, with_energies):
    model = make_model(kernel, power, permutations, with_energies)
    positions = torch.tensor(structures(2, seed=2))
    vectors = torch.tensor(np.random.default_rng(3).normal(size=(2, 3, N_ATOMS, 3)))
    computed = model.hessian(positions)
    products = model.hessian_vector_product(positions, vectors)
    energies, forces = model.predict(positions)
    for b, r in enumerate(positions):
        flat = r.reshape(-1).clone().requires_grad_()
        value = energy(model, flat.view(-1, 3))
        (gradient,) = torch.autograd.grad(value, flat, create_graph=True)
        expected = torch.stack([torch.autograd.grad(g, flat, retain_graph=True)[0] for g in gradient])
        size = expected.abs().max()
        assert abs(energies[b] - value.detach()) < 1e-12
        assert (forces[b].reshape(-1) + gradient.detach()).abs().max() < 1e-12 * max(1, size)
        assert (computed[b] - expected).abs().max() < 1e-11 * size
        assert (products[b].view(3, -1) - vectors[b].view(3, -1) @ expected).abs().max() < 1e-10 * size


@pytest.mark.parametrize("name", radial_names())
def test_scalars_are_the_derivatives_they_claim_to_be(name):
    radial = make_radial(name, 1.3)
    d = torch.linspace(0.05, 6.0, 40, dtype=torch.float64).requires_grad_()
    c = kappa(name, d, 1.3)
    assert torch.allclose(c, radial.value(d.detach()), rtol=1e-13)
    for expected in (*radial.first_two(d.detach()), radial.third(d.detach())):
        (slope,) = torch.autograd.grad(c.sum(), d, create_graph=True)
        c = -slope / d
        # Rounding is divided by d once for every derivative.
        assert torch.allclose(c.detach(), expected, rtol=1e-9, atol=1e-11)


def test_against_finite_differences(trained):
    model, positions = trained
    analytic = model.hessian(positions)
    n = analytic.shape[1]
    steps = np.eye(n).reshape(n, -1, 3)[:, None]

    def central(h: float) -> np.ndarray:
        """−dF/dr [frames, 3·atoms, 3·atoms]."""
        moved = (positions[None] + sign * h * steps for sign in (1, -1))
        plus, minus = (model.predict(r.reshape(-1, n // 3, 3))[1].reshape(n, len(positions), n) for r in moved)
        return ((minus - plus) / (2 * h)).swapaxes(0, 1)

    numerical = (4 * central(1e-3) - central(2e-3)) / 3  # Richardson: error of fourth order
    assert np.abs(analytic - numerical).max() < 1e-6 * np.abs(analytic).max()


def test_is_exactly_symmetric_and_blind_to_translation(trained):
    model, positions = trained
    h = model.hessian(positions)
    assert np.array_equal(h, h.swapaxes(1, 2))
    translations = np.tile(np.eye(3), (model.n_atoms, 1))
    assert np.abs(h @ translations).max() < 1e-10 * np.abs(h).max()


def test_rotation_turns_forces(trained):
    """E(Rr) = E(r) differentiated twice: H (ω×r) = −ω×F; so rotations are in the null space where forces vanish."""
    model, positions = trained
    _, forces = model.predict(positions)
    for omega in np.eye(3):
        turn = np.cross(omega, positions)
        product = model.hessian_vector_product(positions, turn)
        assert np.abs(product + np.cross(omega, forces)).max() < 1e-8
        dense = np.einsum("bxy,by->bx", model.hessian(positions), turn.reshape(len(turn), -1))
        assert np.abs(dense - product.reshape(dense.shape)).max() < 1e-8


def test_symmetry_permutes_the_hessian(trained):
    model, positions = trained
    permutation = model.permutations[-1]
    n = model.n_atoms
    h = model.hessian(positions).reshape(-1, n, 3, n, 3)
    exchanged = model.hessian(positions[:, permutation]).reshape(-1, n, 3, n, 3)
    assert np.abs(exchanged - h[:, permutation][:, :, :, permutation]).max() < 1e-9 * np.abs(h).max()


def test_at_a_training_structure(small_fit):
    """There d = 0, and c3 of Matérn 5/2 is infinite: its limit is zero, and the Hessian continuous."""
    model, positions = small_fit.model, small_fit.problem.dataset.positions[:1]
    h = model.hessian(positions)
    near = model.hessian(positions + 1e-9)
    nudged = positions.copy()
    nudged[0, 0, 0] += 1e-7
    assert np.isfinite(h).all()
    assert np.abs(h - near).max() < 1e-6 * np.abs(h).max()
    assert np.abs(h - model.hessian(nudged)).max() < 1e-4 * np.abs(h).max()


def test_tiles_do_not_change_the_result(trained, monkeypatch):
    model, positions = trained
    vectors = np.random.default_rng(0).normal(size=(len(positions), 4, model.n_atoms, 3))
    whole, product = model.hessian(positions), model.hessian_vector_product(positions, vectors)
    # Seven training structures at a time, one row at a time, one vector at a time.
    monkeypatch.setattr("nyff.model.hessian._TILE_NUMBERS", 2 * 3 * model.n_atoms * 7)
    assert np.abs(model.hessian(positions) - whole).max() < 1e-10 * np.abs(whole).max()
    assert np.abs(model.hessian_vector_product(positions, vectors) - product).max() < 1e-10 * np.abs(product).max()


def test_numpy_and_torch(trained):
    model, positions = trained
    h = model.hessian(torch.tensor(positions, dtype=torch.float32))
    assert isinstance(h, torch.Tensor)
    assert h.dtype == torch.float64
    assert np.abs(h.numpy() - model.hessian(positions.astype(np.float32))).max() == 0
    assert model.hessian(positions[:0]).shape == (0, 27, 27)
    one = model.hessian_vector_product(positions, positions)
    assert isinstance(one, np.ndarray)
    assert one.shape == positions.shape


def test_wrong_shapes_are_refused(trained):
    model, positions = trained
    with pytest.raises(InputError, match=r"\[frames, atoms, 3\], got \[9, 3\]; add a leading axis"):
        model.hessian(positions[0])
    with pytest.raises(InputError, match="the model is for 9 atoms, got positions of 8"):
        model.hessian(positions[:, :8])
    with pytest.raises(InputError, match=r"`vectors` must have shape \[3 frames, 9 atoms, 3\].* got \[3, 27\]"):
        model.hessian_vector_product(positions, positions.reshape(3, 27))


def test_energy_coefficients_survive_saving(tmp_path):
    model = make_model("matern52", 1.0, CYCLES, with_energies=True)
    model.save(tmp_path / "model.nyff")
    back = nyff.load(tmp_path / "model.nyff")
    positions = structures(3, seed=5)
    assert back.checksum == model.checksum
    assert back.checksum != replace(model, energy_coefficients=None).checksum
    np.testing.assert_allclose(back.predict(positions)[1], model.predict(positions)[1], rtol=1e-12, atol=1e-12)
    assert torch.equal(back.to("cpu").energy_coefficients, model.energy_coefficients)


def test_calculator(trained):
    model, positions = trained
    atoms = Atoms(numbers=model.numbers, positions=positions[0])
    calculator = NyffCalculator(model)
    found = calculator.get_hessian(atoms)
    assert found.shape == (27, 27)
    assert np.array_equal(found, model.hessian(positions[:1])[0])
    # A C–H or O–H stretch is worth some 30 eV/Å²: the unit is right.
    assert 20 < found.max() < 80
    with pytest.raises(InputError, match="the structure has 8 atoms, the model is for 9"):
        calculator.get_hessian(atoms[:8])

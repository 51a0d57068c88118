"""Physics of the integrators on the analytic force field."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.metadata import version

import numpy as np
import pytest
from ase import units

from nyff.calculator import NyffCalculator
from nyff.md.integrators import NoseHooverChain, make_integrator
from nyff.md.momenta import boltzmann_momenta, kinetic_temperature
from nyff.md.observe import block_average
from nyff.md.options import MDOptions


@pytest.fixture
def build():
    """Integrators as simulations make them; closed at the end."""
    with ExitStack() as opened:

        def make(*args, **kwargs):
            integrator, atoms = _build(*args, **kwargs)
            opened.callback(integrator.dynamics.close)
            return integrator, atoms

        yield make


def _build(force_field, atoms, ensemble, timestep=0.5, temperature=300.0, **more):
    options = MDOptions(
        **{
            "ensemble": ensemble,
            "temperature": temperature,
            "timestep": timestep,
            "time": 1e3,
            "seed": 0,
            "friction": 0.05,
            "thermostat_time": 25.0,
            "keep_momenta": False,
            "trajectory": "extxyz",
            "frame_interval": 20,
            "log_interval": 10,
            "checkpoint_seconds": 30.0,
            **more,
        }
    )
    rng = np.random.default_rng(1)
    atoms = atoms.copy()
    atoms.calc = NyffCalculator(force_field)
    integrator = make_integrator(options, atoms, rng)
    atoms.set_momenta(boltzmann_momenta(atoms.positions, atoms.get_masses(), temperature, rng, integrator.n_dof))
    return integrator, atoms


def run(integrator, atoms, steps):
    """Temperatures and conserved energies after every step."""
    temperatures, conserved = np.empty(steps), np.empty(steps)
    for step in range(steps):
        integrator.dynamics.step()
        temperatures[step] = kinetic_temperature(atoms.get_momenta(), atoms.get_masses(), integrator.n_dof)
        conserved[step] = integrator.conserved(atoms.get_total_energy()) or 0.0
    return temperatures, conserved


def test_nve_error_falls_with_the_square_of_the_timestep(build, force_field, ethanol):
    """Velocity Verlet conserves its shadow energy: the true one swings by O(dt²) and does not drift."""
    spread = []
    for timestep in (0.5, 0.25):
        integrator, atoms = build(force_field, ethanol, "nve", timestep)
        _, energy = run(integrator, atoms, round(300 / timestep))
        spread.append(energy.std())
        time_ps = np.arange(len(energy)) * timestep * 1e-3
        drift = np.polyfit(time_ps, energy, 1)[0] / len(atoms)
        assert abs(drift) * 0.3 < spread[-1] / 2
    assert 3.5 < spread[0] / spread[1] < 4.5


@pytest.mark.parametrize("ensemble", ["nve", "nose-hoover"])
def test_the_molecule_stays_at_rest_as_a_whole(build, force_field, ethanol, ensemble):
    integrator, atoms = build(force_field, ethanol, ensemble)
    run(integrator, atoms, 200)
    np.testing.assert_allclose(atoms.get_momenta().sum(0), 0, atol=1e-10)
    np.testing.assert_allclose(atoms.get_angular_momentum(), 0, atol=1e-10)


def test_langevin_holds_the_centre_of_mass_and_lets_the_molecule_turn(build, force_field, ethanol):
    integrator, atoms = build(force_field, ethanol, "langevin")
    start = atoms.get_center_of_mass()
    run(integrator, atoms, 200)
    np.testing.assert_allclose(atoms.get_center_of_mass(), start, atol=1e-10)
    np.testing.assert_allclose(atoms.get_momenta().sum(0), 0, atol=1e-10)
    assert np.abs(atoms.get_angular_momentum()).max() > 0.1


@pytest.mark.parametrize("ensemble", ["langevin", "nose-hoover"])
def test_thermostats_keep_the_temperature(build, force_field, ethanol, ensemble):
    """With 3N degrees of freedom counted instead, the mean would be 11 % (Langevin) or 29 % (chain) off."""
    integrator, atoms = build(force_field, ethanol, ensemble, timestep=1.0)
    temperatures, _ = run(integrator, atoms, 5000)
    mean, error = block_average(temperatures[500:], 15)
    assert error < 10
    assert abs(mean - 300) < 3 * error + 3


def test_the_chain_conserves_its_energy(build, force_field, ethanol):
    spread = []
    for timestep in (0.5, 0.25):
        integrator, atoms = build(force_field, ethanol, "nose-hoover", timestep)
        _, energy = run(integrator, atoms, round(200 / timestep))
        spread.append(np.ptp(energy))
    assert spread[0] < 0.02
    assert spread[0] / spread[1] > 3


@pytest.mark.skipif(
    tuple(int(part) for part in version("ase").split(".")[:2]) < (3, 26), reason="ASE's chain was changed in 3.26"
)
def test_the_chain_is_ases_chain_with_another_number_of_degrees_of_freedom(build, force_field, ethanol):
    """Told to thermostat 3N, ours moves the atoms as ASE's NoseHooverChainNVT does."""
    from ase.md.nose_hoover_chain import NoseHooverChainNVT

    integrator, atoms = build(force_field, ethanol, "nose-hoover")
    period = 25 * units.fs
    integrator.dynamics.chain = NoseHooverChain(3 * len(atoms), 300.0, period)
    other = atoms.copy()
    other.calc = NyffCalculator(force_field)
    with NoseHooverChainNVT(other, 0.5 * units.fs, temperature_K=300.0, tdamp=period, tchain=3, tloop=1) as oracle:
        for _ in range(200):
            integrator.dynamics.step()
            oracle.step()
    np.testing.assert_allclose(atoms.positions, other.positions, atol=1e-9)
    np.testing.assert_allclose(atoms.get_momenta(), other.get_momenta(), atol=1e-9)
    ours = atoms.get_total_energy() + integrator.dynamics.chain.energy()
    assert ours == pytest.approx(oracle.get_conserved_energy(), abs=1e-9)


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover"])
def test_state_is_everything(build, force_field, ethanol, ensemble):
    """A fresh integrator with the saved state makes the very same steps."""
    integrator, atoms = build(force_field, ethanol, ensemble)
    run(integrator, atoms, 37)
    values, arrays = integrator.state()
    run(integrator, atoms, 41)
    other, twin = build(force_field, ethanol, ensemble, temperature=300.0, seed=9)
    other.restore(values, arrays)
    run(other, twin, 41)
    np.testing.assert_array_equal(twin.positions, atoms.positions)
    np.testing.assert_array_equal(twin.get_momenta(), atoms.get_momenta())
    assert other.conserved(1.0) == integrator.conserved(1.0)

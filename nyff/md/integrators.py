"""ASE's integrators, with a thermostat that counts the molecule's own degrees of freedom, and state that can be saved.

ASE's NoseHooverChainNVT drives the kinetic energy to 3N kT/2. A molecule whose net momentum and rotation were removed
never gets them back under it, so that its 3N - 6 vibrations would be heated to T · 3N/(3N - 6): 386 K instead of
300 K for ethanol. The chain here is the same one, told the right number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from nyff.md.momenta import degrees_of_freedom
from nyff.md.options import MDOptions
from nyff.units import KB

# Suzuki and Yoshida's fourth-order weights, Phys. Lett. A 150, 262 (1990), doi:10.1016/0375-9601(90)90092-3
_OUTER = 1 / (2 - 2 ** (1 / 3))
_WEIGHTS = (_OUTER, 1 - 2 * _OUTER, _OUTER)
_LINKS = 3


class NoseHooverChain:
    """A chain of three Nosé-Hoover thermostats, integrated as by Martyna, Tuckerman, Tobias and Klein.

    Mol. Phys. 87, 1117 (1996), doi:10.1080/00268979600100761. ``positions`` and ``momenta`` are the chain's η and
    p_η, ``temperature`` is in K, ``period`` in ASE's unit of time.
    """

    def __init__(self, n_dof: int, temperature: float, period: float) -> None:
        self.kt = KB * temperature
        self.n_dof = n_dof
        self.masses = [n_dof * self.kt * period**2] + [self.kt * period**2] * (_LINKS - 1)
        self.positions = [0.0] * _LINKS
        self.momenta = [0.0] * _LINKS

    def energy(self) -> float:
        """What the chain holds (eV): with kinetic and potential energy it makes the conserved quantity."""
        held = self.kt * (self.n_dof * self.positions[0] + sum(self.positions[1:]))
        return held + sum(0.5 * p * p / mass for p, mass in zip(self.momenta, self.masses, strict=True))

    def scale(self, twice_kinetic: float, timestep: float) -> float:
        """Advance the chain by ``timestep``; returns the factor for the atoms' momenta."""
        total = 1.0
        for weight in _WEIGHTS:
            step = weight * timestep
            for link in reversed(range(_LINKS)):
                self._kick(link, twice_kinetic, step)
            for link in range(_LINKS):
                self.positions[link] += step * self.momenta[link] / self.masses[link]
            factor = exp(-step * self.momenta[0] / self.masses[0])
            total *= factor
            twice_kinetic *= factor * factor
            for link in range(_LINKS):
                self._kick(link, twice_kinetic, step)
        return total

    def _kick(self, link: int, twice_kinetic: float, step: float) -> None:
        if link == 0:
            push = twice_kinetic - self.n_dof * self.kt
        else:
            push = self.momenta[link - 1] ** 2 / self.masses[link - 1] - self.kt
        last = link == _LINKS - 1
        drag = 1.0 if last else exp(-0.25 * step * self.momenta[link + 1] / self.masses[link + 1])
        self.momenta[link] = (self.momenta[link] * drag + 0.5 * step * push) * drag


class NoseHooverVerlet(VelocityVerlet):
    """ASE's velocity Verlet between two half steps of a :class:`NoseHooverChain`."""

    def __init__(self, atoms: Atoms, timestep: float, chain: NoseHooverChain) -> None:
        super().__init__(atoms, timestep)
        self.chain = chain

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One time step; returns the forces (eV/Å) at its end."""
        self._thermostat()
        forces = super().step()
        self._thermostat()
        return forces

    def _thermostat(self) -> None:
        momenta = self.atoms.arrays["momenta"]
        momenta *= self.chain.scale(float((momenta**2 / self.masses).sum()), 0.5 * self.dt)


@dataclass(frozen=True)
class Integrator:
    """One of ASE's dynamics with what nyff must know about it: degrees of freedom, random numbers, extra state."""

    dynamics: VelocityVerlet | Langevin
    n_dof: int
    rng: np.random.Generator
    chain: NoseHooverChain | None = None

    def conserved(self, total_energy: float) -> float | None:
        """The quantity that stays constant (eV), or None when there is none (Langevin)."""
        if self.chain is not None:
            return total_energy + self.chain.energy()
        return None if isinstance(self.dynamics, Langevin) else total_energy

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All that decides the next steps, as JSON-able values and arrays."""
        atoms = self.dynamics.atoms
        arrays = {"positions": atoms.get_positions(), "momenta": atoms.get_momenta()}
        if self.chain is not None:
            arrays["chain_positions"] = np.array(self.chain.positions)
            arrays["chain_momenta"] = np.array(self.chain.momenta)
        return {"rng": self.rng.bit_generator.state}, arrays

    def restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continue from :meth:`state`."""
        atoms = self.dynamics.atoms
        atoms.set_positions(arrays["positions"], apply_constraint=False)
        atoms.set_momenta(arrays["momenta"], apply_constraint=False)
        self.rng.bit_generator.state = values["rng"]
        if self.chain is not None:
            self.chain.positions = arrays["chain_positions"].tolist()
            self.chain.momenta = arrays["chain_momenta"].tolist()


def make_integrator(options: MDOptions, atoms: Atoms, rng: np.random.Generator) -> Integrator:
    """The integrator ``options`` ask for, moving ``atoms`` (which it changes).

    NVE and Nosé-Hoover conserve the zero net momentum and rotation they start with, so 3N - 6 degrees of freedom
    share the energy. Langevin's noise turns the molecule, and only its centre of mass
    is held: 3N - 3, as in a periodic system, whose angular momentum is not conserved.
    """
    langevin = options.ensemble == "langevin"
    n_dof = degrees_of_freedom(len(atoms), rotation=langevin or bool(atoms.pbc.any()))
    timestep = options.timestep * units.fs
    if langevin:
        # ASE's own fixcm samples a slightly wrong distribution and is deprecated for this constraint.
        atoms.set_constraint(FixCom())
        dynamics = Langevin(
            atoms,
            timestep,
            temperature_K=options.temperature,
            friction=options.friction / units.fs,
            fixcm=False,
            rng=rng,
        )
        return Integrator(dynamics, n_dof, rng)
    if options.ensemble == "nose-hoover":
        chain = NoseHooverChain(n_dof, options.temperature, options.thermostat_time * units.fs)
        return Integrator(NoseHooverVerlet(atoms, timestep, chain), n_dof, rng, chain)
    return Integrator(VelocityVerlet(atoms, timestep), n_dof, rng)

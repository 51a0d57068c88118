"""What a simulation with i-PI is to be, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

from nyff.errors import InputError

MOTIONS = ("nvt", "nve", "remd", "geop", "instanton")
THERMOSTATS = ("pile_l", "pile_g", "gle")
MODES = ("direct", "unix", "inet", "shm")


@dataclass(frozen=True)
class InputOptions:
    """What a simulation is to be. Times in fs, temperatures in K; raises :class:`InputError` for what cannot be.

    ``motion``: ``nvt`` and ``nve`` dynamics, ``remd`` (replica exchange between ``temperatures``), ``geop`` (geometry
    optimisation, one bead), ``instanton`` (tunnelling rate from a transition state; with one bead, a search for that
    state). ``contract`` > 0 evaluates the model on that many beads only (T. E. Markland, D. E. Manolopoulos, J. Chem.
    Phys. 129, 024105 (2008), doi:10.1063/1.2953308); with ``reference``, a cheaper model, only the difference from it.
    ``steps`` overrides ``time`` / ``timestep``.
    """

    motion: str = "nvt"
    nbeads: int = 32
    temperature: float = 300.0
    temperatures: tuple[float, ...] = ()
    thermostat: str = "pile_l"
    mode: str = "direct"
    time: float = 1000.0
    timestep: float = 0.25
    steps: int = 0
    seed: int = 0
    address: str = ""
    port: int = 31415
    contract: int = 0
    reference: str = ""
    exit_on_disconnect: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("motion", self.motion, MOTIONS),
            ("thermostat", self.thermostat, THERMOSTATS),
            ("mode", self.mode, MODES),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if self.nbeads < 1 or not self.temperature > 0 or self.total_steps < 1 or self.seed < 0:
            raise InputError(
                "wanted at least one bead, a positive temperature, a seed of zero or more and a time of at least one "
                f"time step, got {self.nbeads} beads, {self.temperature:g} K, seed {self.seed}, {self.time:g} fs in "
                f"steps of {self.timestep:g} fs"
            )
        if self.motion == "remd" and len(self.ladder) < 2:
            raise InputError("replica exchange needs two or more temperatures; pass --temperatures 300,350,410")
        if self.motion == "geop" and self.nbeads != 1:
            raise InputError(f"a geometry optimisation has one bead, got {self.nbeads}; pass --nbeads 1")
        if self.contract and not 1 <= self.contract < self.nbeads:
            raise InputError(f"--contract must be 1 to {self.nbeads - 1} for {self.nbeads} beads, got {self.contract}")
        if self.contract and self.motion not in ("nvt", "nve"):
            raise InputError(f"ring-polymer contraction is for nvt and nve, not for {self.motion}")
        if self.reference and not self.contract:
            raise InputError("a reference model is only for ring-polymer contraction; pass --contract as well")

    @property
    def total_steps(self) -> int:
        """Steps of dynamics, or at most so many of an optimisation."""
        return self.steps or round(self.time / self.timestep)

    @property
    def ladder(self) -> tuple[float, ...]:
        """The temperatures of the systems: one, unless replicas are exchanged."""
        return self.temperatures if self.motion == "remd" else (self.temperature,)

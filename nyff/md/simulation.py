"""The loop of a simulation: a step, its checks, and what is written after it."""

from __future__ import annotations

import logging
import time as clock
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from nyff.calculator import NyffCalculator
from nyff.errors import SimulationError
from nyff.files import atomic_write
from nyff.interrupt import Interruption, deferred_signals
from nyff.md.checkpoint import Checkpoint
from nyff.md.integrators import Integrator
from nyff.md.limits import Limits, Watch
from nyff.md.momenta import kinetic_temperature
from nyff.md.observe import Progress
from nyff.md.options import MDOptions
from nyff.md.output import CsvLog, ExtxyzFormat, labelled, open_trajectory

log = logging.getLogger(__name__)

# Steps between two looks at the distances; forces are looked at after every step.
_DISTANCE_INTERVAL = 10
_PROGRESS_SECONDS = 0.25
_COLUMNS = {
    "step": "d",
    "time_fs": ".12g",
    "temperature_K": ".4f",
    "kinetic_ev": ".9f",
    "potential_ev": ".9f",
    "total_ev": ".9f",
    "conserved_ev": ".9f",
    "max_force_ev_per_ang": ".6f",
}


@dataclass(frozen=True)
class MDResult:
    """Where a simulation ended. ``atoms`` carries momenta, energy and forces; ``seconds`` are those of this session."""

    folder: Path
    trajectory: Path
    atoms: Atoms
    steps: int
    time_fs: float
    finished: bool
    seconds: float
    steps_per_second: float


class Simulation:
    """A simulation in progress: the atoms, the files they are written to, and the checks after every step."""

    def __init__(
        self,
        folder: Path,
        options: MDOptions,
        limits: Limits,
        calculator: NyffCalculator,
        integrator: Integrator,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.folder, self.options, self.integrator, self.calculator = folder, options, integrator, calculator
        self.atoms = integrator.dynamics.atoms
        self.atoms.calc = calculator
        self.masses = self.atoms.get_masses()
        self.watch = Watch(calculator.model, limits)
        self.format = ExtxyzFormat(self.atoms)
        self.step = self.first_step = checkpoint.step if checkpoint else 0
        marks = checkpoint.marks if checkpoint else {}
        columns = {k: v for k, v in _COLUMNS.items() if k != "conserved_ev" or integrator.conserved(0.0) is not None}
        with ExitStack() as files:
            # ASE before 3.27 holds a file open even when nothing is to be logged.
            files.callback(integrator.dynamics.close)
            self.log = CsvLog(folder / "md.csv", columns, marks.get("log"))
            files.callback(self.log.close)
            self.path = folder / f"trajectory.{options.trajectory}"
            self.trajectory = open_trajectory(self.path, self.atoms, marks.get("trajectory"))
            files.callback(self.trajectory.close)
            self.atoms.get_forces()
            if checkpoint is None:
                self._record()
                self._checkpoint()
            self._keep()
            self.files = files.pop_all()

    def run(self, progress: Callable[[Progress], None] | None) -> MDResult:
        """Go on to the end, or until a signal comes."""
        started = clock.monotonic()
        with self.files, deferred_signals() as interruption:
            self._advance(interruption, progress, started)
            self._checkpoint()
        if interruption:
            log.warning("interrupted after step %d; resume the run in %s to continue", self.step, self.folder)
            interruption.deliver()
        else:
            self._write_frame("final.xyz", self._present())
        seconds = clock.monotonic() - started
        done = self.step - self.first_step
        final = labelled(self.atoms, self.calculator.results, step=self.step, time_fs=self.time)
        return MDResult(
            self.folder,
            self.path,
            final,
            self.step,
            self.time,
            not interruption,
            seconds,
            done / seconds if done else 0.0,
        )

    @property
    def time(self) -> float:
        """Simulated time in fs."""
        return self._time_at(self.step)

    def _time_at(self, step: int) -> float:
        # Rounded, so that 3 steps of 0.1 fs are 0.3 fs in the files, not 0.30000000000000004.
        return round(step * self.options.timestep, 9)

    def _advance(self, interruption: Interruption, progress: Callable[[Progress], None] | None, started: float) -> None:
        last_progress = last_checkpoint = started
        while self.step < self.options.steps and not interruption:
            self._step()
            now = clock.monotonic()
            if progress is not None and now - last_progress > _PROGRESS_SECONDS:
                progress(self._progress(now - started))
                last_progress = now
            if now - last_checkpoint > self.options.checkpoint_seconds:
                self._checkpoint()
                last_checkpoint = clock.monotonic()
        if progress is not None:
            progress(self._progress(clock.monotonic() - started))

    def _step(self) -> None:
        """One time step, its checks, and what is to be written after it."""
        try:
            self.integrator.dynamics.step()
        except (CalculationFailed, OverflowError) as error:
            self._stop(str(error), self.step + 1)
        self.integrator.dynamics.nsteps += 1
        self.step += 1
        results = self.calculator.results
        problem = self.watch.forces(results["energy"], results["forces"])
        logged = self.step % self.options.log_interval == 0
        framed = self.step % self.options.frame_interval == 0
        look = framed or self.step % _DISTANCE_INTERVAL == 0
        if problem is None and look:
            problem = self.watch.distances(self.atoms.arrays["positions"])
        if problem is not None:
            self._stop(problem, self.step)
        if look:
            self._keep()
        if logged or framed:
            self._record(logged, framed)

    def _record(self, logged: bool = True, framed: bool = True) -> None:
        results = self.calculator.results
        if framed:
            self.trajectory.write(self.atoms, results, step=self.step, time_fs=self.time)
        if logged:
            potential = results["energy"]
            kinetic = self._kinetic()
            row = {
                "step": self.step,
                "time_fs": self.time,
                "temperature_K": self._temperature(),
                "kinetic_ev": kinetic,
                "potential_ev": potential,
                "total_ev": kinetic + potential,
                "max_force_ev_per_ang": float(np.abs(results["forces"]).max()),
            }
            conserved = self.integrator.conserved(kinetic + potential)
            if conserved is not None:
                row["conserved_ev"] = conserved
            self.log.write(row)

    def _kinetic(self) -> float:
        momenta = self.atoms.arrays["momenta"]
        return float(0.5 * (momenta**2 / self.masses[:, None]).sum())

    def _temperature(self) -> float:
        return kinetic_temperature(self.atoms.arrays["momenta"], self.masses, self.integrator.n_dof)

    def _progress(self, seconds: float) -> Progress:
        potential = self.calculator.results["energy"]
        rate = (self.step - self.first_step) / max(seconds, 1e-9)
        left = self.options.steps - self.step
        return Progress(
            step=self.step,
            steps=self.options.steps,
            time_fs=self.time,
            temperature_kelvin=self._temperature(),
            potential_ev=potential,
            total_ev=potential + self._kinetic(),
            steps_per_second=rate,
            seconds_left=left / rate if rate else (0.0 if left == 0 else float("inf")),
        )

    def _checkpoint(self) -> None:
        values, arrays = self.integrator.state()
        arrays["cell"] = self.atoms.cell.array
        if self.atoms.has("masses"):
            arrays["masses"] = self.masses
        marks = {"log": self.log.mark(), "trajectory": self.trajectory.mark()}
        Checkpoint(self.step, marks, values, arrays).save(self.folder / "checkpoint.npz")

    def _present(self) -> tuple[Atoms, dict, int]:
        return self.atoms, self.calculator.results, self.step

    def _keep(self) -> None:
        """Remember this frame as good. Only copies of arrays: this happens every few steps."""
        arrays = self.atoms.arrays
        self._good = (arrays["positions"].copy(), arrays["momenta"].copy(), self.calculator.results, self.step)

    def _stop(self, problem: str, step: int) -> None:
        positions, momenta, results, good_step = self._good
        good = self.atoms.copy()
        good.set_constraint()
        good.set_positions(positions)
        good.set_momenta(momenta)
        path = self._write_frame("last_good.xyz", (good, results, good_step))
        raise SimulationError(
            f"stopped at step {step} ({self._time_at(step):g} fs): {problem}. The last good frame, of step "
            f"{good_step}, is in {path}. Try a shorter timestep (now {self.options.timestep:g} fs) or a lower "
            "temperature, or train with structures like that frame"
        )

    def _write_frame(self, name: str, frame: tuple[Atoms, dict, int]) -> Path:
        atoms, results, step = frame
        with atomic_write(self.folder / name) as temporary:
            text = self.format.frame(atoms, results, step=step, time_fs=self._time_at(step))
            temporary.write_text(text, encoding="utf-8")
        return self.folder / name

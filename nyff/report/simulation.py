"""Sections on what was done with a model: molecular dynamics and relaxation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from nyff.data.dataset import symbols
from nyff.md.observe import block_average, drift
from nyff.report import figures, text
from nyff.report.folder import MDRun
from nyff.report.svg import embed
from nyff.report.training import Facts

if TYPE_CHECKING:
    from ase import Atoms

    from nyff.report.molecule import Picture

_ENSEMBLES = {
    "nve": "NVE (constant energy, velocity Verlet)",
    "langevin": "NVT, Langevin thermostat",
    "nose-hoover": "NVT, Nosé–Hoover chain",
}


@dataclass(frozen=True)
class Length:
    """A bond of the relaxed molecule, in Å."""

    name: str
    angstrom: str


def md_facts(md: MDRun) -> Facts:
    """What was simulated, and its averages."""
    options, log = md.options, md.log
    times, kelvin = log["time_fs"], log["temperature_K"]
    facts: Facts = [("Ensemble", _ENSEMBLES.get(options.ensemble, options.ensemble))]
    if options.ensemble == "langevin":
        facts.append(("Friction", f"{options.friction:g} / fs"))
    if options.ensemble == "nose-hoover":
        facts.append(("Thermostat period", f"{options.thermostat_time:g} fs"))
    facts.append(("Time step", f"{options.timestep:g} fs"))
    reached = f"{times[-1] * 1e-3:g} ps of {options.time * 1e-3:g} ps"
    facts.append(("Simulated", f"{reached}, {text.count(int(log['step'][-1]))} steps, seed {options.seed}"))
    rate = md.summary.get("steps_per_second")
    if isinstance(rate, (int, float)):
        facts.append(("Speed", f"{text.number(rate)} steps per second"))
    facts.append(("Mean temperature", _mean_temperature(kelvin)))
    n_atoms = _atoms(md)
    if n_atoms is not None and n_atoms > 2:
        # A chi-squared distribution of 3N − 6 degrees of freedom.
        spread = kelvin.mean() * np.sqrt(2 / (3 * n_atoms - 6))
        facts.append(
            (
                "Its fluctuation",
                f"{text.number(kelvin.std())} K; a thermostat gives {n_atoms} atoms about {text.number(spread, 2)} K",
            )
        )
    if "conserved_ev" in log and len(times) > 2 and n_atoms:
        rate_ev = drift(times, log["conserved_ev"], n_atoms)
        facts.append(("Drift of the conserved energy", f"{text.number(1e6 * rate_ev)} µeV per atom and ps"))
    if "max_force_ev_per_ang" in log:
        facts.append(("Largest force component met", f"{text.number(log['max_force_ev_per_ang'].max())} eV/Å"))
    return facts


def md_hints(md: MDRun) -> list[str]:
    """A simulation that did not reach its end."""
    reached = f"{md.log['time_fs'][-1] * 1e-3:g} ps of {md.options.time * 1e-3:g} ps"
    if md.stopped:
        return [
            f"The simulation stopped after {reached}: it had left what the model knows. Its last good frame is in "
            "last_good.xyz; train with structures like it, or take a shorter time step or a lower temperature."
        ]
    if not md.finished:
        return [f"The simulation is not complete: its log ends at {reached}."]
    return []


def md_figure(md: MDRun) -> Markup:
    """Temperature and energies against time."""
    log, options = md.log, md.options
    canvas = figures.figure(figures.WIDE, 3.4)
    left, right = canvas.subplots(1, 2)
    target = None if options.ensemble == "nve" else options.temperature
    figures.temperature_trace(left, log["time_fs"], log["temperature_K"], target=target)
    traces = {"potential": log["potential_ev"], "total": log["total_ev"]}
    if "conserved_ev" in log and options.ensemble != "nve":
        traces["conserved"] = log["conserved_ev"]
    figures.energy_traces(right, log["time_fs"], traces, zero=float(log["potential_ev"][0]))
    right.set_ylabel("energy − start (eV)")
    return embed(canvas, "md", "Temperature and energies of the simulation against time")


def relaxed_facts(atoms: Atoms) -> Facts:
    """Energy and residual force of a relaxed structure."""
    results = {} if atoms.calc is None else atoms.calc.results
    facts: Facts = []
    if "energy" in results:
        facts.append(("Energy", f"{float(results['energy']):.4f} eV".replace("-", "−")))
    if "forces" in results:
        largest = float(np.linalg.norm(results["forces"], axis=1).max())
        facts.append(("Largest force on an atom", f"{text.number(largest, 2)} eV/Å"))
    return facts


def bond_lengths(picture: Picture, positions: np.ndarray, most: int = 60) -> list[Length]:
    """Lengths of the bonds of ``picture`` at ``positions`` [atoms, 3] in Å, ``most`` of them."""
    names = symbols(picture.numbers)
    return [
        Length(f"{names[i]}{i}–{names[j]}{j}", f"{np.linalg.norm(positions[i] - positions[j]):.3f}")
        for i, j in picture.bonds[:most]
    ]


def _mean_temperature(kelvin: np.ndarray) -> str:
    if len(kelvin) < 40:
        return f"{text.number(kelvin.mean())} K"
    mean, error = block_average(kelvin)
    return f"{text.number(mean)} ± {text.number(error, 2)} K (standard error from ten blocks)"


def _atoms(md: MDRun) -> int | None:
    from ase.formula import Formula

    try:
        return sum(Formula(str(md.config["molecule"])).count().values())
    except (KeyError, ValueError):
        return None

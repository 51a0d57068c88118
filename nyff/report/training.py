"""Sections on the data, the model and its training: what the page says, without how it looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from nyff.data.dataset import formula, symbols
from nyff.kernel.words import describe
from nyff.linalg.solution import Status
from nyff.model.force_field import ForceField
from nyff.report import figures, text
from nyff.report.accuracy import standard_error
from nyff.report.folder import TrainingRun
from nyff.report.svg import embed
from nyff.training.memory import format_bytes
from nyff.units import KCAL_PER_MOL

KERNELS = {"matern52": "Matérn 5/2", "matern72": "Matérn 7/2", "gaussian": "Gaussian"}


@dataclass(frozen=True)
class Tile:
    """A headline number: ``value`` with ``unit``, and smaller lines below."""

    label: str
    value: str
    unit: str
    note: tuple[str, ...]


Facts = list[tuple[str, str]]


def tiles(run: TrainingRun) -> list[Tile]:
    """The numbers people look for first."""
    metrics, found = run.metrics, []
    if "force_mae_ev_per_ang" in metrics:
        mae, rmse = metrics["force_mae_ev_per_ang"], metrics["force_rmse_ev_per_ang"]
        spread = standard_error(run.predictions) if run.predictions else None
        notes = [f"{text.number(mae / KCAL_PER_MOL)} kcal/mol/Å", f"RMSE {text.number(1e3 * rmse)} meV/Å"]
        if spread:
            notes.append(f"standard error {text.number(1e3 * spread, 2)} meV/Å")
        found.append(Tile("Force MAE", text.number(1e3 * mae), "meV/Å", tuple(notes)))
    if "energy_mae_ev" in metrics:
        mae, rmse = metrics["energy_mae_ev"], metrics["energy_rmse_ev"]
        notes = [f"{text.number(mae / KCAL_PER_MOL)} kcal/mol", f"RMSE {text.number(1e3 * rmse)} meV"]
        found.append(Tile("Energy MAE", text.number(1e3 * mae), "meV", tuple(notes)))
    if "n_train" in metrics:
        tested = metrics.get("n_test", 0)
        note = f"tested on {text.count(tested)} others" if tested else "none left to test"
        found.append(Tile("Trained on", text.count(metrics["n_train"]), "structures", (note,)))
    if "solve_seconds" in metrics:
        steps = "exact factorisation" if metrics.get("solver") == "cholesky" else f"{metrics['iterations']} CG steps"
        unknowns = f"{text.count(metrics['n_unknowns'])} unknowns"
        value, unit = text.duration(metrics["solve_seconds"] + metrics.get("preconditioner_seconds", 0)).split(" ")
        found.append(Tile("Solved in", value, unit, (unknowns, steps)))
    return found


def summary(run: TrainingRun) -> str:
    """One or two sentences for the top of the page."""
    metrics, model = run.metrics, run.model
    if not metrics or model is None:
        return "This run is not complete; what there is so far is below."
    words = f"A force field for {text.subscripts(formula(model.numbers))} that learned from {model.n_train} structures."
    if "force_mae_ev_per_ang" in metrics and run.predictions is not None:
        typical = float(np.sqrt((run.predictions.evaluation.reference_forces**2).mean()))
        mae = metrics["force_mae_ev_per_ang"]
        share = f", {text.number(100 * mae / typical, 2)}\u00a0% of the RMS force" if typical else ""
        words += (
            f" On {text.count(metrics['n_test'])} structures it has not seen, the mean absolute error of a force "
            f"component is {text.force(mae)}{share}."
        )
    return words


def hints(run: TrainingRun) -> list[str]:
    """What to read before anything else."""
    found = list(run.hints)
    if not run.metrics:
        found.insert(0, f"The run is not complete: `nyff train --resume {run.folder.name}` continues it.")
    return found


def data(run: TrainingRun) -> Facts:
    """The molecule and the labels."""
    facts: Facts = []
    model, predictions, training = run.model, run.predictions, _training(run)
    numbers = model.numbers if model is not None else predictions.numbers if predictions is not None else None
    if numbers is not None:
        facts.append(("Molecule", f"{text.subscripts(formula(numbers))}, {len(numbers)} atoms"))
        if len(numbers) <= 40:
            facts.append(("Atoms in order", " ".join(f"{s}{i}" for i, s in enumerate(symbols(numbers)))))
    periodic = model is not None and model.cell is not None
    if model is not None and periodic:
        facts.append(("Periodic cell", _cell(model)))
    source = training.get("dataset_source", {})
    facts.append(("Data set", ", ".join(_files(run)) or str(training.get("dataset") or "unnamed")))
    units = source.get("units") or (run.config.get("data") or {}).get("units")
    facts.append(("Units in the file", f"{units} (eV, Å and eV/Å in nyff)" if units else "not recorded"))
    if source.get("theory"):
        facts.append(("Labels from", str(source["theory"])))
    if run.split is not None:
        sizes = (len(run.split.train), len(run.split.valid), len(run.split.test))
        how = {"stratified": "drawn evenly over the energies", "first": "in the order of the file"}
        facts.append(
            (
                "Split",
                f"{sizes[0]} to train, {sizes[1]} to validate, {sizes[2]} to test, "
                f"{how.get(run.split.method, run.split.method)}, seed {run.split.seed}",
            )
        )
    domain = {} if model is None else model.metadata.get("domain", {})
    if "energy_min" in domain:
        width = domain["energy_max"] - domain["energy_min"]
        facts.append(("Energies trained on", f"a range of {text.number(width)} eV"))
    if "max_force" in domain:
        facts.append(("Largest force trained on", f"{text.number(domain['max_force'])} eV/Å"))
    rigid = run.metrics.get("rigid_share_of_forces")
    if rigid is not None:
        facts.append(
            (
                "Net force in the labels" if periodic else "Net force and torque in the labels",
                f"{text.number(rigid, 2)} of their norm, projected out",
            )
        )
    return facts


def provenance(run: TrainingRun) -> Facts:
    """Everything the data say about where they come from."""
    training = _training(run)
    source = training.get("dataset_source", {})
    facts = [(label, value) for label, value in _flattened(source) if label not in {"units", "files", "theory"}]
    if "dataset_fingerprint" in training:
        facts.append(("SHA-256 of atoms and labels", str(training["dataset_fingerprint"])))
    return facts


def model(run: TrainingRun) -> Facts:
    """What was fitted, and why so."""
    facts: Facts = []
    settings, plan = run.settings, run.metrics.get("plan", {})
    if settings:
        name = str(settings.get("kernel", ""))
        power = settings.get("descriptor_power", 1.0)
        shape = "inverse distances" if power == 1 else f"distances to the power −{power:g}"
        facts.append(("Kernel", f"{KERNELS.get(name, name)} on {shape} between all atoms"))
        facts.append(("Length scale σ", _lengthscale(run)))
        facts.append(("Regularisation λ", text.number(settings["regularization"], 2)))
    if run.model is not None:
        positions = None if run.predictions is None else run.predictions.positions
        words = describe(run.model.permutations, run.model.numbers, positions)
        asked = settings.get("permutations")
        found = " (found in the data)" if asked == "auto" else " (as asked)" if asked else ""
        facts.append((f"Symmetry{found}", "\n".join(words)))
    if plan:
        how = "Cholesky factorisation" if plan["solver"] == "cholesky" else "preconditioned conjugate gradients"
        facts.append(("Solver", f"{how}; {plan['reason']}"))
    return facts


def cost(run: TrainingRun) -> Facts:
    """What the fit cost, beside what was expected."""
    metrics, plan, facts = run.metrics, run.metrics.get("plan", {}), []
    if plan:
        facts.append(
            ("Unknowns", f"{text.count(plan['unknowns'])}, {text.count(plan['reduced'])} without rigid motions")
        )
        memory, limit = format_bytes(plan["memory_bytes"]), format_bytes(plan["limit_bytes"])
        facts.append(("Memory planned", f"{memory} of {limit} allowed"))
    if "solve_seconds" in metrics:
        iterative = metrics.get("solver") == "cg"
        build = metrics.get("preconditioner_seconds", 0.0)
        if iterative:
            size = format_bytes(metrics.get("preconditioner_bytes", 0))
            columns = metrics.get("columns")
            facts.append(("Preconditioner", f"{columns} columns, {size}, built in {text.duration(build)}"))
            facts.append(("CG steps", text.count(metrics["iterations"])))
        facts.append(("Time to solve", text.duration(metrics["solve_seconds"])))
        if plan:
            facts.append(("Time expected", f"{text.duration(plan['seconds'])} in all"))
        facts.append(("Ended", _ending(str(metrics["status"]))))
        facts.append(("True relative residual", text.number(metrics["relative_residual"], 2)))
    return facts


def convergence_figure(run: TrainingRun) -> Markup | None:
    """Residual against iterations and seconds; None for a direct solve, which has no history."""
    table = run.convergence
    if table is None or len(table["iteration"]) < 3:
        return None
    canvas = figures.figure(figures.WIDE, 3.4)
    left, right = canvas.subplots(1, 2, sharey=True)
    tolerance = run.settings.get("tolerance")
    residual = table["relative_residual"]
    figures.convergence(left, table["iteration"], residual, xlabel="iteration", tolerance=tolerance)
    figures.convergence(
        right, table["seconds"], residual, xlabel="seconds after the preconditioner was built", tolerance=tolerance
    )
    right.set_ylabel("")
    return embed(canvas, "convergence", "Relative residual against iterations and against seconds, logarithmic scale")


def scan_figure(run: TrainingRun) -> Markup | None:
    """The scan of length scales, if there was one."""
    if run.scan is None or len(run.scan["lengthscale"]) < 2:
        return None
    canvas = figures.figure(5.2, 3.1)
    ax = canvas.subplots()
    figures.lengthscale_scan(
        ax, run.scan["lengthscale"], run.scan["force_mae_ev_per_ang"], chosen=run.settings.get("lengthscale")
    )
    return embed(canvas, "scan", "Validation error of the forces against the length scale")


def _lengthscale(run: TrainingRun) -> str:
    value = run.settings.get("lengthscale")
    if value is None:
        return "not chosen yet"
    asked = (run.config.get("settings") or {}).get("lengthscale")
    if asked is not None:
        return f"{value:g}, as asked"
    if run.scan is not None:
        return f"{value:g}, the best of {len(run.scan['lengthscale'])} on structures kept apart"
    return f"{value:g}"


def _cell(model: ForceField) -> str:
    """Lengths of the lattice vectors along which the system repeats."""
    assert model.cell is not None
    lengths = [
        f"{axis} = {np.linalg.norm(row):.3f} Å"
        for axis, row, repeats in zip("abc", model.cell, model.pbc, strict=True)
        if repeats
    ]
    return ", ".join(lengths)


def _ending(status: str) -> str:
    try:
        known = Status(status)
    except ValueError:
        return status
    return f"{status}. {known.advice}"


def _training(run: TrainingRun) -> Mapping[str, Any]:
    found = {} if run.model is None else run.model.metadata.get("training", {})
    return found if isinstance(found, Mapping) else {}


def _files(run: TrainingRun) -> list[str]:
    """Names of the data files, without the folders they lay in: a report may travel further than they do."""
    return [Path(str(name)).name for name in (run.config.get("data") or {}).get("files") or []]


def _flattened(source: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Provenance as readable pairs: nested names joined, underscores gone."""
    for name, value in source.items():
        label = f"{prefix}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flattened(value, "" if name == "provenance" else f"{label}: ")
        elif isinstance(value, list):
            yield label, ", ".join(text.plain(entry) for entry in value)
        elif value is not None:
            yield label, text.plain(value)

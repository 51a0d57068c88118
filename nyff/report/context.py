"""What the template shows, gathered from a run: sections that cannot be made are None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nyff.data.dataset import formula, symbols
from nyff.report import accuracy, figures, simulation, text, training
from nyff.report.folder import MDRun, Predictions, TrainingRun, read_structure
from nyff.report.molecule import Picture
from nyff.report.svg import embed, style
from nyff.report.usage import files, usage


def training_context(run: TrainingRun) -> dict[str, Any]:
    with style():
        picture = _picture(run)
        name = _name(run)
        shown = "test structure of lowest energy" if run.relaxed is None else "relaxed molecule"
        missing = [
            what
            for what, part in (
                ("test predictions (test_predictions.npz)", run.predictions),
                ("convergence history (convergence.csv)", run.convergence),
                ("a model (model.nyff)", run.model),
                ("errors and cost (metrics.json)", run.metrics or None),
                ("a simulation (md/)", run.md),
                ("a relaxed structure (relaxed.xyz)", run.relaxed),
            )
            if part is None
        ]
        return {
            "title": name,
            "kind": "Training report",
            "summary": training.summary(run),
            "hints": training.hints(run) + (simulation.md_hints(run.md) if run.md else []),
            "tiles": training.tiles(run) + _speed_tile(run.md),
            "picture": None if picture is None else embed(picture.figure(), "molecule", f"The molecule {name}"),
            "picture_caption": f"The {shown}.",
            "data": training.data(run),
            "provenance": training.provenance(run),
            "model": training.model(run),
            "scan": training.scan_figure(run),
            "accuracy": None if run.predictions is None else _accuracy(run, run.predictions, picture),
            "convergence": training.convergence_figure(run),
            "direct": run.metrics.get("solver") == "cholesky",
            "cost": training.cost(run),
            "relaxed": _relaxed(run, picture),
            "md": None if run.md is None else _md(run.md),
            "usage": None if run.model is None else usage(run),
            "missing": missing,
            "files": files(run.folder),
        }


def md_context(md: MDRun) -> dict[str, Any]:
    molecule = str(md.config.get("molecule", "molecule"))
    picture = None
    final = md.folder / "final.xyz"
    if final.exists():
        atoms = read_structure(final)
        picture = Picture.of(atoms.numbers, atoms.positions)
    with style():
        drawn = None if picture is None else embed(picture.figure(), "molecule", "The last frame")
        return {
            "title": text.subscripts(molecule),
            "kind": "Simulation report",
            "summary": f"Molecular dynamics of {text.subscripts(molecule)} with a nyff force field.",
            "hints": simulation.md_hints(md),
            "tiles": _speed_tile(md),
            "picture": drawn,
            "picture_caption": "The last frame.",
            "md": _md(md),
            "missing": [],
            "files": files(md.folder),
        }


def _md(md: MDRun) -> dict[str, Any]:
    thermostatted = md.options.ensemble != "nve"
    caption = (
        "The thermostat exchanges energy with the molecule, so that the total energy is free to move."
        if thermostatted
        else "The total energy must stay where it is; what it moves by is the error of the integrator."
    )
    return {"facts": simulation.md_facts(md), "figure": simulation.md_figure(md), "caption": caption}


def _picture(run: TrainingRun) -> Picture | None:
    """The relaxed molecule if there is one, else the test structure of lowest energy."""
    predictions = run.predictions
    if run.relaxed is not None:
        return Picture.of(run.relaxed.numbers, run.relaxed.positions)
    if predictions is None:
        return None
    energies = predictions.evaluation.reference_energies
    lowest = 0 if energies is None else int(np.argmin(energies))
    return Picture.of(predictions.numbers, predictions.positions, lowest)


def _accuracy(run: TrainingRun, predictions: Predictions, picture: Picture | None) -> dict[str, Any]:
    assert picture is not None
    evaluation = predictions.evaluation
    by_atom = accuracy.errors_by_atom(predictions)
    worst = accuracy.worst_structures(predictions, run.model)
    most = 1e3 * max(entry.error for entry in worst)
    names = symbols(predictions.numbers)
    coloured = picture.figure([1e3 * entry.mae for entry in by_atom], label="force MAE (meV/Å)", width=5.6, height=3.8)
    return {
        "n": len(predictions.frames),
        "part": "validation" if run.split is not None and not len(run.split.test) else "test",
        "parity": embed(_parity(predictions), "parity", "Predicted against reference values, and the errors"),
        "tails": embed(_tails(predictions), "tails", "Share of errors above each size"),
        "has_energies": evaluation.reference_energies is not None,
        "slope": run.metrics.get("energy_slope"),
        "by_element": accuracy.errors_by_element(predictions),
        "by_atom": by_atom,
        "coloured": embed(coloured, "by-atom", "The molecule with its atoms coloured by their force error"),
        "scale": most,
        "worst": [
            {
                "entry": entry,
                "atom": text.atom_name(names, entry.atom),
                "picture": embed(
                    picture.with_structure(predictions.positions[entry.row]).figure(
                        1e3 * entry.by_atom, most=most, ring=entry.atom, colorbar=False, width=3.1, height=2.5
                    ),
                    f"worst-{place}",
                    f"Structure {entry.frame}, atoms coloured by their force error",
                ),
                "xyz": _xyz(names, predictions.positions[entry.row], f"frame {entry.frame}"),
            }
            for place, entry in enumerate(worst)
        ],
    }


def _parity(predictions: Predictions) -> Figure:
    """Parity over errors, for energies (if there are any) and forces."""
    e = predictions.evaluation
    references = e.reference_energies
    columns = 1 if references is None else 2
    canvas = figures.figure(figures.WIDE if columns == 2 else 5.2, 6.6)
    grid = canvas.subplots(2, columns, height_ratios=(3, 1.25), squeeze=False)
    if references is not None:
        mean = references.mean()
        figures.parity(
            grid[0, 0],
            references - mean,
            e.energies - mean,
            quantity="energy − mean",
            unit="eV",
            errors_in=("meV", 1e3),
        )
        figures.residuals(
            grid[1, 0], references - mean, 1e3 * (e.energies - references),
            quantity="energy − mean", unit="eV", error_unit="meV",
        )  # fmt: skip
    figures.parity(
        grid[0, -1], e.reference_forces, e.forces,
        quantity="force component", unit="eV/Å", errors_in=("meV/Å", 1e3),
    )  # fmt: skip
    figures.residuals(
        grid[1, -1], e.reference_forces, 1e3 * (e.forces - e.reference_forces),
        quantity="force component", unit="eV/Å", error_unit="meV/Å",
    )  # fmt: skip
    return canvas


def _tails(predictions: Predictions) -> Figure:
    e = predictions.evaluation
    references = e.reference_energies
    columns = 1 if references is None else 2
    canvas = figures.figure(figures.WIDE if columns == 2 else 5.2, 3.3)
    axes = canvas.subplots(1, columns, squeeze=False)[0]
    if references is not None:
        figures.error_distribution(axes[0], 1e3 * (e.energies - references), unit="meV", what="structures")
    figures.error_distribution(axes[-1], 1e3 * (e.forces - e.reference_forces), unit="meV/Å", what="force components")
    return canvas


def _relaxed(run: TrainingRun, picture: Picture | None) -> dict[str, Any] | None:
    if run.relaxed is None or picture is None:
        return None
    lengths = simulation.bond_lengths(picture, run.relaxed.positions)
    return {"facts": simulation.relaxed_facts(run.relaxed), "lengths": lengths}


def _speed_tile(md: MDRun | None) -> list[training.Tile]:
    rate = None if md is None else md.summary.get("steps_per_second")
    if md is None or not isinstance(rate, (int, float)):
        return []
    day = rate * 86400 * md.options.timestep * 1e-6
    return [
        training.Tile(
            "Dynamics",
            text.number(rate),
            "steps/s",
            (f"{text.number(day)} ns a day", f"at {md.options.timestep:g} fs a step"),
        )
    ]


def _name(run: TrainingRun) -> str:
    """The name of the data set with the formula, or whichever there is."""
    parts = []
    if run.model is not None:
        name = str(run.model.metadata.get("training", {}).get("dataset") or "")
        parts = [name] if name else []
        parts.append(text.subscripts(formula(run.model.numbers)))
    return ", ".join(parts) or run.folder.resolve().name


def _xyz(names: Sequence[str], positions: np.ndarray, comment: str) -> str:
    rows = [f"{name:<2} {x:12.6f} {y:12.6f} {z:12.6f}" for name, (x, y, z) in zip(names, positions, strict=True)]
    return "\n".join([str(len(names)), comment, *rows])

"""How to go on: commands and code to copy, and what the files of the folder are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nyff.data.dataset import symbols
from nyff.report.folder import TrainingRun
from nyff.report.training import Facts


@dataclass(frozen=True)
class Usage:
    """Something to do with the model: a sentence and what to copy."""

    title: str
    code: str


def usage(run: TrainingRun) -> dict[str, Any]:
    assert run.model is not None
    where = run.folder.resolve().name
    path = f"{where}/model.nyff"
    start = f"{where}/relaxed.xyz" if run.relaxed is not None else "molecule.xyz"
    model, structure = shlex.quote(path), shlex.quote(start)
    order = " ".join(symbols(run.model.numbers))
    placeholder = f"molecule.xyz stands for a structure with the atoms {order}, in this order."
    return {
        "note": placeholder if run.relaxed is None else None,
        "examples": [
            Usage(
                "Python, with ASE",
                "import ase.io\nimport nyff\n\n"
                f"atoms = ase.io.read({start!r})\natoms.calc = nyff.NyffCalculator({path!r})\n"
                "print(atoms.get_potential_energy(), atoms.get_forces())  # eV, eV/Å",
            ),
            Usage(
                "Python, many structures at once",
                f"import nyff\n\nmodel = nyff.load({path!r})\n"
                "energies, forces = model.predict(positions)  # [frames, atoms, 3] in Å -> eV, eV/Å",
            ),
            Usage(
                "Molecular dynamics",
                f"nyff md {model} {structure} --ensemble langevin --temperature 300 --time 10ps -o my-md",
            ),
            Usage("Relax a structure", f"nyff relax {model} {structure} --fmax 0.001"),
            Usage(
                "Path integrals with i-PI",
                f"nyff ipi --write-input {structure} --model {model} --nbeads 32 --temperature 300 -o my-pimd",
            ),
            Usage("Test on other data", f"nyff test {model} more-data.xyz"),
        ],
    }


_DESCRIPTIONS = {
    "config.yaml": "what was asked for; enough to repeat the run",
    "train.log": "what happened",
    "split.json": "which structures trained, validated, tested",
    "convergence.csv": "iteration, relative residual, seconds",
    "lengthscale_scan.csv": "validation error at each length scale",
    "metrics.json": "errors with units, cost, plan, hints",
    "model.nyff": "the model",
    "solution.npz": "coefficients, to continue from",
    "test_predictions.npz": "predictions beside references",
    "relaxed.xyz": "the relaxed structure",
    "md": "a simulation",
    "md.csv": "one row every so many steps, units in the names",
    "trajectory.extxyz": "frames with energies, forces and momenta",
    "trajectory.traj": "frames with energies, forces and momenta",
    "checkpoint.npz": "to resume from",
    "final.xyz": "the last frame",
    "last_good.xyz": "the last frame before it went wrong",
}


def files(folder: Path) -> Facts:
    return [(name, words) for name, words in _DESCRIPTIONS.items() if (folder / name).exists()]

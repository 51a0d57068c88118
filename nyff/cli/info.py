"""``nyff info``: what is this file?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nyff.cli.console import errors_in_words, print_json, say


def info(
    path: Annotated[Path, typer.Argument(help="A model, a data set or a run folder.")],
    units: Annotated[str | None, typer.Option(help="Of data whose file does not say.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """Say what a model, a data set or a run folder holds."""
    from nyff.errors import InputError
    from nyff.model.convert import is_model

    if not path.exists():
        raise InputError(f"there is no {path}; give a model, a data set or a run folder")
    if path.is_dir() and (path / "config.yaml").exists():
        content = _run(path)
    elif path.suffix == ".nyff" or is_model(path):
        content = _model(path)
    else:
        content = _data(path, units)
    if json:
        print_json(content)
        return
    for key, value in content.items():
        for i, line in enumerate(value if isinstance(value, list) else [value]):
            say(f"{key if i == 0 else '':<22} {line}")


def _model(path: Path) -> dict[str, Any]:
    from nyff.data.dataset import formula
    from nyff.kernel.words import describe
    from nyff.model.file import load

    model = load(path)
    training = model.metadata.get("training", {})
    return {
        "kind": "nyff model" if path.suffix == ".nyff" else "sGDML model",
        "molecule": f"{formula(model.numbers)}, {model.n_atoms} atoms",
        "training structures": model.n_train,
        "kernel": f"{model.kernel}, length scale {model.lengthscale:g}, descriptor power {model.descriptor_power:g}",
        "symmetry": describe(model.permutations, model.numbers),
        "regularisation": training.get("regularization", "unknown"),
        "trained on": training.get("dataset") or "unnamed data",
        "solver": f"{training.get('solver', 'unknown')}, {training.get('status', 'unknown')}",
        "units": "eV, Å",
        "checksum (SHA-256)": model.checksum,
    }


def _data(path: Path, units: str | None) -> dict[str, Any]:
    from nyff.data.check import check
    from nyff.data.dataset import formula
    from nyff.data.io import read_dataset
    from nyff.kernel.symmetry import find_symmetry

    dataset = check(read_dataset(path, units=units))
    content: dict[str, Any] = {
        "kind": "labelled structures",
        "molecule": f"{formula(dataset.numbers)}, {dataset.n_atoms} atoms: {' '.join(dataset.symbols)}",
        "structures": len(dataset),
        "largest force": f"{abs(dataset.forces).max():.3f} eV/Å",
        "rms force": f"{(dataset.forces**2).mean() ** 0.5:.3f} eV/Å",
        "periodic": "yes" if dataset.cell is not None else "no",
        "symmetry": list(find_symmetry(dataset).description),
    }
    if dataset.energies is not None:
        low, high = float(dataset.energies.min()), float(dataset.energies.max())
        content["energies"] = f"{low:.4f} to {high:.4f} eV, a range of {high - low:.4f} eV"
    if dataset.hints:
        content["notes"] = list(dataset.hints)
    return content


def _run(path: Path) -> dict[str, Any]:
    import yaml

    from nyff.errors import FileFormatError

    try:
        return _read_run(path)
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise FileFormatError(
            f"{path} is no run folder of nyff, or its config.yaml or metrics.json is damaged ({type(error).__name__}: "
            f"{' '.join(str(error).split())}); restore the file, or run again into a new folder"
        ) from error


def _read_run(path: Path) -> dict[str, Any]:
    import json

    import yaml

    config = yaml.safe_load((path / "config.yaml").read_text())
    if "settings" not in config:
        return {"kind": "simulation run", **{k: str(v) for k, v in config.items()}}
    content: dict[str, Any] = {"kind": "training run", "data": config["data"]["files"], "n_train": config["n_train"]}
    if (path / "metrics.json").exists():
        metrics = json.loads((path / "metrics.json").read_text())
        content |= {"status": metrics["status"], "errors": errors_in_words(metrics), "notes": metrics["hints"]}
    else:
        content["status"] = f"unfinished; continue with: nyff train --resume {path}"
    return content

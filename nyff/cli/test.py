"""``nyff test``: errors of a model on labelled structures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nyff.cli.console import errors_in_words, print_json, say

if TYPE_CHECKING:
    from nyff.training.evaluate import Evaluation


def test(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    data: Annotated[list[Path], typer.Argument(help="Labelled structures.")],
    units: Annotated[str | None, typer.Option(help="Of data whose file does not say: kcal/mol, hartree,bohr.")] = None,
    energy_key: Annotated[str | None, typer.Option(help="Name of the energies in the file.")] = None,
    forces_key: Annotated[str | None, typer.Option(help="Name of the forces in the file.")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n-test", help="Only the first so many structures.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a parity plot to this .png, .svg or .pdf.")] = None,
) -> None:
    """Predict labelled structures and print the errors."""
    import time

    from nyff.data.check import check
    from nyff.data.io import read_dataset
    from nyff.errors import InputError
    from nyff.model.file import load
    from nyff.training.evaluate import evaluate

    force_field = load(model, device)
    dataset = read_dataset([str(d) for d in data], units=units, energy_key=energy_key, forces_key=forces_key, minimum=1)
    dataset = check(dataset, minimum=1)
    if n is not None:
        if not 0 < n <= len(dataset):
            raise InputError(f"-n is {n} but the data has {len(dataset)} structures; give 1 to {len(dataset)}")
        dataset = dataset[:n]
    started = time.perf_counter()
    evaluation = evaluate(force_field, dataset)
    seconds = time.perf_counter() - started
    metrics = {**evaluation.metrics, "seconds_per_structure": seconds / len(dataset)}
    if plot is not None:
        _save_parity(evaluation, plot)
    if json:
        print_json(metrics)
        return
    for line in errors_in_words(metrics):
        say(line)
    for hint in (*dataset.hints, *evaluation.hints()):
        say(f"note: {hint}")


def _save_parity(evaluation: Evaluation, path: Path) -> None:
    from nyff.errors import InputError
    from nyff.files import atomic_write
    from nyff.report.figures import figure, parity

    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"cannot write a picture to {path}; end its name with .png, .svg or .pdf")
    picture = figure(8.0, 4.0)
    left, right = picture.subplots(1, 2)
    unit = ("meV/Å", 1e3)
    parity(left, evaluation.reference_forces, evaluation.forces, quantity="force", unit="eV/Å", errors_in=unit)
    if evaluation.reference_energies is None:
        right.set_axis_off()
    else:
        middle = evaluation.reference_energies.mean()
        reference, predicted = evaluation.reference_energies - middle, evaluation.energies - middle
        parity(right, reference, predicted, quantity="energy", unit="eV", errors_in=("meV", 1e3))
    with atomic_write(path) as temporary:
        picture.savefig(temporary, dpi=150)

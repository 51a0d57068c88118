"""``nyff precond``: preconditioners compared on anybody's data, as table, data and figure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nyff.data.dataset import Dataset
    from nyff.training.study import Hooks, Store

_OUT = "Output"
_KERNEL = "Kernel and data"


def precond(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled structures; each file or folder is a molecule of its own, or bundled:ethanol."),
    ] = None,
    n_train: Annotated[
        str | None, typer.Option("-n", "--n-train", help="Training structures, or several: 100,200,400.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Names joined by commas, or all. Default: default,leverage.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Memory k of the preconditioner in columns of K, or several; paper is its rule of thumb."),
    ] = None,
    form: Annotated[str | None, typer.Option(help="Of the low-rank ones: shifted or woodbury (the paper's).")] = None,
    seed: Annotated[str | None, typer.Option("--seed", "--seeds", help="One, or several: 0,1,2.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A named comparison: figure-a to figure-i of the paper, residual, paper-table, or list."),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Relative residual at which CG stops.")] = 1e-4,
    max_iterations: Annotated[int | None, typer.Option(help="Steps at which CG gives up. Default: 5 n.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Such as 4GB; default: a share of what is free.")] = None,
    lengthscale: Annotated[float, typer.Option(help="σ.", rich_help_panel=_KERNEL)] = 10.0,
    regularization: Annotated[
        float, typer.Option(help="λ, relative to forces of unit variance.", rich_help_panel=_KERNEL)
    ] = 1e-10,
    kernel: Annotated[str, typer.Option(help="matern52, matern72 or gaussian.", rich_help_panel=_KERNEL)] = "matern52",
    descriptor_power: Annotated[float, typer.Option(help="p in 1/r^p.", rich_help_panel=_KERNEL)] = 1.0,
    permutations: Annotated[
        str, typer.Option(help="auto, none or a file with one permutation a line.", rich_help_panel=_KERNEL)
    ] = "auto",
    split: Annotated[
        str, typer.Option(help="first or stratified (by energy, drawn with the seed).", rich_help_panel=_KERNEL)
    ] = "first",
    units: Annotated[
        str | None,
        typer.Option(help="Of data that does not say; a unit of energy cancels here.", rich_help_panel=_KERNEL),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...", rich_help_panel=_KERNEL)] = "cpu",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Results as JSON, kept as they come.", rich_help_panel=_OUT)
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Results as CSV, kept as they come.", rich_help_panel=_OUT)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Figure (.pdf, .png, .svg), with its data beside it.", rich_help_panel=_OUT)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for all of these.", rich_help_panel=_OUT)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what --json or -o has and do the rest.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Compare preconditioners: CG steps, memory and seconds on your data.

    nyff precond DATA -n 200 --columns 300 --methods default,leverage

    nyff precond DATA --preset figure-a -o figure-a
    """
    from nyff.errors import InputError
    from nyff.training.compare import method_names
    from nyff.training.presets import PRESETS, find_preset
    from nyff.training.settings import Settings
    from nyff.training.study import Request, Store, run_study

    if preset == "list":
        for each in PRESETS.values():
            typer.echo(f"{each.name:12s} {each.summary}")
        return
    if not data:
        raise InputError("no data given; name a file with labelled structures, or bundled:ethanol for a first try")
    request = Request(
        settings=Settings(
            lengthscale=lengthscale,
            regularization=regularization,
            kernel=kernel,
            descriptor_power=descriptor_power,
            permutations=_permutations(permutations),
            tolerance=tolerance,
            max_memory=max_memory,
            max_iterations=max_iterations,
            device=device,
        ),
        preset=find_preset(preset) if preset else None,
        methods=_words(methods, method_names()),
        columns=_columns(columns),
        n_train=_numbers("--n-train", n_train, 2),
        seeds=_numbers("--seed", seed, 0),
        form=form,
        split=split,
    )
    pictures = [plot] if plot else []
    if output is not None:
        name = request.preset.name if request.preset else "comparison"
        pictures += [output / f"{name}.pdf", output / f"{name}.png"]
    for picture in pictures:
        _check_picture(picture)
    if output is not None:
        _folder(output, resume)
    store = Store(
        settings=request.identity(),
        json_path=json_file or (output / "results.json" if output else None),
        csv_path=csv_file or (output / "results.csv" if output else None),
        history_path=output / "history.csv" if output else None,
    )
    if resume:
        store.load()
    datasets = [_read(path, units) for path in data]
    try:
        with _display(store) as hooks:
            run_study(datasets, request, store, hooks)
    except KeyboardInterrupt:
        kept = store.json_path or store.csv_path
        typer.echo(
            f"interrupted; {len(store.results)} results" + (f" are in {kept}" if kept else " were not kept"), err=True
        )
        raise typer.Exit(130) from None
    _finish(store, request.preset.name if request.preset else None, pictures, output)


def _finish(store: Store, preset: str | None, pictures: list[Path], output: Path | None) -> None:
    from nyff.errors import MemoryLimitError
    from nyff.report.precond import draw
    from nyff.report.precond_table import paper_table
    from nyff.training.study import write_table

    store.save()
    if not store.results and not store.tables:
        raise MemoryLimitError(store.refused[-1]["reason"] if store.refused else "nothing was compared")
    if preset == "paper-table":
        table = paper_table(store.results)
        _print_paper_table(table)
        if output is not None:
            write_table(output / "table.csv", table)
    if pictures:
        drawn = draw(store, preset)
        for path in dict.fromkeys(path for picture in pictures for path in drawn.save(picture)):
            typer.echo(f"wrote {path}")
    for kept in (store.json_path, store.csv_path):
        if kept is not None:
            typer.echo(f"wrote {kept}")


def _read(path: Path, units: str | None) -> Dataset:
    from nyff.data.bundled import ethanol
    from nyff.data.io import read_dataset
    from nyff.errors import FileFormatError, InputError

    if str(path) == "bundled:ethanol":
        return ethanol()
    try:
        return read_dataset(path, units)
    except FileFormatError:
        raise
    except InputError:
        if units is not None:
            raise
        # Forces are divided by their standard deviation, so a unit of energy changes nothing.
        try:
            return read_dataset(path, "kcal/mol")
        except InputError:
            pass
        raise


def _permutations(text: str) -> str | list[list[int]]:
    if text in ("auto", "none"):
        return text
    from nyff.kernel.group import read_permutations

    rows: list[list[int]] = read_permutations(text).tolist()
    return rows


def _words(text: str | None, everything: list[str]) -> tuple[str, ...] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(everything if words == ["all"] else ["default" if word == "auto" else word for word in words])


def _numbers(option: str, text: str | None, least: int) -> tuple[int, ...] | None:
    from nyff.errors import InputError

    if text is None:
        return None
    try:
        numbers = tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < least:
        raise InputError(f"{option} must be integers of at least {least} joined by commas, got {text!r}")
    return numbers


def _columns(text: str | None) -> tuple[int | str, ...] | None:
    from nyff.errors import InputError

    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word != "paper" and not (word.isdigit() and int(word) > 0):
            raise InputError(f"--columns must be positive integers or paper, joined by commas, got {text!r}")
    return tuple(word if word == "paper" else int(word) for word in words)


def _check_picture(path: Path) -> None:
    """Before hours of computing, not after."""
    from nyff.errors import InputError
    from nyff.report.precond_style import FORMATS

    if path.suffix.lower() not in FORMATS:
        raise InputError(f"cannot draw {path.name}: the suffix must be one of {', '.join(FORMATS)}")


def _folder(output: Path, resume: bool) -> None:
    from nyff.files import new_folder

    if not (resume and (output / "results.json").exists()):
        new_folder(output, "output folder")


_HEAD = ("molecule", "method", "n", "k", "seed", "steps", "status", "residual", "held", "peak", "build s", "CG s")


def _cells(row: dict[str, Any]) -> list[str]:
    from nyff.training.memory import format_bytes

    return [
        row["molecule"],
        row["method"],
        str(row["n"]),
        str(row["columns"]),
        str(row["seed"]),
        str(row["iterations"]),
        row["status"],
        f"{row['true_relative_residual']:.1e}",
        format_bytes(row["preconditioner_bytes"]),
        format_bytes(row["peak_build_bytes"]),
        f"{row['build_s']:.1f}",
        f"{row['solve_s']:.1f}",
    ]


@contextmanager
def _display(store: Store) -> Iterator[Hooks]:
    """A live table on a terminal, a line for each result elsewhere."""
    from nyff.training.study import Hooks

    if not sys.stdout.isatty():
        typer.echo("  ".join(_HEAD))
        yield Hooks(result=lambda row: typer.echo("  ".join(_cells(row))), refused=_refused)
        return
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    table = Table(*_HEAD, box=None, header_style="bold")
    for row in store.results:
        table.add_row(*_cells(row))
    with Live(Group(table), refresh_per_second=8) as live:

        def doing(text: str, record: Any) -> None:
            step = f": step {record.iteration}, relative residual {record.relative_residual:.2e}" if record else ""
            live.update(Group(table, Text(text + step, style="dim")))

        def result(row: dict[str, Any]) -> None:
            table.add_row(*_cells(row), style=None if row["converged"] else "red")

        yield Hooks(doing=doing, result=result, refused=lambda row: live.console.print(row["reason"], style="red"))
        live.update(Group(table))


def _refused(row: dict[str, Any]) -> None:
    typer.echo(f"{row['molecule']}, n = {row['n']}: {row['reason']}", err=True)


def _print_paper_table(table: list[dict[str, Any]]) -> None:
    typer.echo(
        f"{'molecule':12s} {'structures':>10s} {'k':>6s} {'method':12s} {'steps (median, range)':>24s} "
        f"{'paper: leverage':>16s} {'spectral':>9s} {'goal':>6s}"
    )
    for row in table:
        steps = f"{row['steps']:g} ({row['fewest']}-{row['most']})" + ("" if row["converged"] else " not converged")
        typer.echo(
            f"{row['molecule']:12s} {row['structures']:10d} {row['columns']:6d} {row['method']:12s} {steps:>24s} "
            f"{row['paper_leverage']!s:>16s} {row['paper_spectral']!s:>9s} {row['goal']!s:>6s}"
        )

"""A comparison of preconditioners over data sets, sizes and seeds, kept as it goes and resumable.

What is compared comes from a :class:`~nyff.training.presets.Preset` or from the request alone; :class:`Store` holds the
results and writes them after every solve, so that an interruption costs one solve.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nyff.data.dataset import Dataset
from nyff.data.split import split
from nyff.errors import FileFormatError, InputError
from nyff.files import atomic_write
from nyff.kernel.symmetry import find_permutations
from nyff.linalg.preconditioner.make import METHODS, make_preconditioner
from nyff.linalg.solution import Record
from nyff.training.compare import (
    AUTOMATIC,
    DEFAULT,
    Case,
    Listener,
    Refusal,
    Result,
    cases,
    compare,
    solve_automatically,
)
from nyff.training.memory import memory_limit
from nyff.training.plan import scalar_bytes
from nyff.training.presets import REFERENCES, UNKNOWNS, Preset
from nyff.training.problem import Problem, build_problem, resolve_permutations
from nyff.training.rule import paper_columns
from nyff.training.settings import Settings
from nyff.training.spectra import dense_matrix, preconditioned_spectrum, ridge_leverage_scores

RIDGES = tuple(10.0**-e for e in range(5, 13))
"""λ of the ridge leverage scores that are drawn."""

_HISTORY_POINTS = 2000
_FALLBACK_COLUMNS = 768


@dataclass(frozen=True)
class Request:
    """What to compare. None leaves it to the preset; ``columns`` are numbers, or ``"paper"`` for the rule of thumb."""

    settings: Settings
    preset: Preset | None = None
    methods: tuple[str, ...] | None = None
    columns: tuple[int | str, ...] | None = None
    n_train: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    form: str | None = None
    split: str = "first"

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Names of the methods, of the request or its preset."""
        return self.methods or (self.preset.methods if self.preset else ()) or (DEFAULT, "leverage")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return self.seeds or (self.preset.seeds if self.preset else (0,))

    @property
    def the_form(self) -> str:
        return self.form or (self.preset.form if self.preset else "shifted")

    def sizes(self, dataset: Dataset) -> list[int]:
        """Numbers of training structures, ascending."""
        preset = self.preset
        largest: Sequence[int]
        if self.n_train:
            largest = self.n_train
        elif preset is not None and preset.name == "paper-table" and dataset.formula in REFERENCES:
            largest = (REFERENCES[dataset.formula].n_train,)
        else:
            unknowns = preset.unknowns if preset else UNKNOWNS
            largest = (min(len(dataset), unknowns // (3 * dataset.n_atoms)),)
        shares = preset.sizes if preset and len(largest) == 1 else (1.0,)
        return sorted({max(2, round(share * n)) for n in largest for share in shares})

    def counts(self, dataset: Dataset, n: int) -> list[int]:
        """Numbers of columns for ``n`` unknowns, ascending."""
        preset = self.preset
        if self.columns:
            wanted = {paper_columns(n) if k == "paper" else int(k) for k in self.columns}
        elif preset is not None and preset.shares:
            wanted = {max(1, round(share * n)) for share in preset.shares}
        elif dataset.formula in REFERENCES and preset is not None:
            wanted = {REFERENCES[dataset.formula].columns}
        else:
            wanted = {min(_FALLBACK_COLUMNS, n) if preset else paper_columns(n)}
        if preset is not None and preset.kind == "choices":
            wanted |= {one_per_cent(n), paper_columns(n)}
        return sorted({min(k, n) for k in wanted})

    def identity(self) -> dict[str, Any]:
        """What two sets of results must share to be joined."""
        settings = self.settings.to_dict()
        kept = (
            "lengthscale",
            "regularization",
            "kernel",
            "descriptor_power",
            "tolerance",
            "permutations",
            "max_iterations",
        )
        return {**{name: settings[name] for name in kept}, "split": self.split}


def one_per_cent(n: int) -> int:
    """The columns of the simplest choice there is."""
    return max(1, round(n / 100))


@dataclass
class Store:
    """Results so far, and the files they are kept in (each optional).

    ``results``, ``refused`` and ``history`` are rows; ``tables`` are further ones by name (spectra, scores).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    json_path: Path | None = None
    csv_path: Path | None = None
    history_path: Path | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def load(self) -> None:
        """Take over what an earlier, interrupted comparison left; nothing if there is no file.

        Raises :class:`~nyff.errors.InputError` when it was made with other settings.
        """
        if self.json_path is None or not self.json_path.exists():
            return
        try:
            content = json.loads(self.json_path.read_text())
            earlier, results = content["settings"], list(content["results"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileFormatError(
                f"cannot read {self.json_path} as results of a comparison ({error}); remove it, or choose another file"
            ) from error
        for name, value in self.settings.items():
            if earlier.get(name) != value:
                raise InputError(
                    f"{self.json_path} was made with {name} = {earlier.get(name)!r}, now it is {value!r}; use the "
                    "same, or another output"
                )
        self.results = results
        if self.history_path is not None and self.history_path.exists():
            self.history = read_table(self.history_path)

    def find(self, molecule: str, n_train: int, case: Case) -> bool:
        """Whether there is a result of ``case`` already."""
        sized = case.method == AUTOMATIC or METHODS["auto" if case.method == DEFAULT else case.method].sized
        return any(
            (row["molecule"], row["n_train"], row["method"], row["seed"]) == (molecule, n_train, case.method, case.seed)
            and (case.method == AUTOMATIC or not sized or row["columns"] == case.columns)
            and (case.method == AUTOMATIC or row["form"] in ("", case.form))
            for row in self.results
        )

    def add(self, molecule: str, formula: str, result: Result) -> dict[str, Any]:
        """Keep and write one more; returns its row."""
        row = {"molecule": molecule, "formula": formula, **result.to_dict()}
        self.results.append(row)
        label = {name: row[name] for name in ("molecule", "n", "method", "columns", "seed")}
        self.history += [
            {**label, "iteration": r.iteration, "relative_residual": r.relative_residual, "seconds": r.seconds}
            for r in _thinned(result.history)
        ]
        self.save()
        return row

    def save(self) -> None:
        """Write all files, each complete or not at all."""
        if self.json_path is not None:
            content = {"settings": dict(self.settings), "results": self.results, "refused": self.refused}
            with atomic_write(self.json_path) as path:
                path.write_text(json.dumps(content, indent=1))
        if self.csv_path is not None:
            write_table(self.csv_path, self.results)
        if self.history_path is not None:
            write_table(self.history_path, self.history)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of equal keys as CSV with a header; an empty file when there are none."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as stream:
        if rows:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, Any]]:
    """What :func:`write_table` wrote; numbers as numbers."""
    with path.open(newline="") as stream:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text)


def _thinned(history: Sequence[Record]) -> Iterable[Record]:
    if len(history) <= _HISTORY_POINTS:
        return history
    chosen = np.unique(np.linspace(0, len(history) - 1, _HISTORY_POINTS).astype(int))
    return [history[i] for i in chosen]


@dataclass(frozen=True)
class Hooks:
    """What a caller is told: a line on what goes on (with the CG record while solving), each row, each refusal."""

    doing: Callable[[str, Record | None], None] = lambda text, record: None
    result: Callable[[dict[str, Any]], None] = lambda row: None
    refused: Callable[[dict[str, Any]], None] = lambda row: None


def molecule_names(datasets: Sequence[Dataset]) -> list[str]:
    """A short name for each data set: its molecule if the data's name tells, else the data's name; all different."""
    names = []
    known = [reference.molecule for reference in REFERENCES.values()]
    for dataset in datasets:
        stem = Path(dataset.name).stem or dataset.formula
        names.append(next((molecule for molecule in known if molecule in stem.lower()), stem))
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({i + 1})" for i, name in enumerate(names)]


def run_study(datasets: Sequence[Dataset], request: Request, store: Store, hooks: Hooks | None = None) -> None:
    """Carry out ``request`` on each of ``datasets``; results go into ``store``.

    Raises :class:`~nyff.errors.InputError` for requests that make no sense, before anything is computed.
    """
    hooks = hooks or Hooks()
    cases(request.all_methods, [k for k in request.columns or () if isinstance(k, int)], (0,), form=request.the_form)
    limit = memory_limit(request.settings.max_memory, request.settings.device)
    for dataset, molecule in zip(datasets, molecule_names(datasets), strict=True):
        permutations = _permutations(dataset, request, hooks)
        for n_train in request.sizes(dataset):
            # A stratified sample is another training set for each seed; the first n are the same for all.
            groups = [request.all_seeds] if request.split == "first" else [(seed,) for seed in request.all_seeds]
            for seeds in groups:
                chosen = split(dataset, n_train, 0, 0, seed=seeds[0], method=request.split).train
                problem = _problem(dataset[chosen], permutations, request.settings, limit)
                _run(problem, molecule, request, seeds, limit, store, hooks)


def _permutations(dataset: Dataset, request: Request, hooks: Hooks) -> NDArray[np.int64]:
    if request.settings.permutations != "auto":
        return resolve_permutations(dataset, request.settings.permutations)
    hooks.doing("finding symmetries", None)
    # From all the data: few training structures show less of the symmetry, and sizes would not compare.
    return find_permutations(dataset)


def _problem(dataset: Dataset, permutations: NDArray[np.int64], settings: Settings, limit: int) -> Problem:
    lengthscale = settings.lengthscale
    if lengthscale is None:
        raise InputError("a comparison needs a length scale, got none; 10 is the paper's (--lengthscale 10)")
    return build_problem(dataset, permutations, settings, lengthscale, max_bytes=limit / 3)


def _run(
    problem: Problem, molecule: str, request: Request, seeds: Sequence[int], limit: int, store: Store, hooks: Hooks
) -> None:
    kernel = problem.operator.kernel
    room = limit - min(scalar_bytes(len(problem.dataset), len(problem.permutations)), kernel.max_bytes)
    counts = request.counts(problem.dataset, problem.n)
    kind = request.preset.kind if request.preset else "solves"
    if kind == "scores":
        return _scores(problem, molecule, request, room, store, hooks)
    todo = cases(request.all_methods, counts, seeds, form=request.the_form)
    if kind == "spectrum":
        return _spectra(problem, molecule, todo, request, room, store, hooks)
    where = f"{molecule}, n = {problem.n}"

    def words(case: Case, stage: str) -> str:
        return f"{where}: {case.method}" + (f", k = {case.columns}" if case.columns else "") + f", {stage}"

    listener = Listener(
        started=lambda case, stage: hooks.doing(words(case, stage), None),
        step=lambda case, record: hooks.doing(words(case, "solving"), record),
    )
    missing = [case for case in todo if not store.find(molecule, len(problem.dataset), case)]
    settings = request.settings
    for outcome in compare(
        problem,
        missing,
        regularization=settings.regularization,
        tolerance=settings.tolerance,
        max_iterations=settings.max_iterations,
        max_bytes=room,
        listener=listener,
    ):
        if isinstance(outcome, Refusal):
            store.refused.append({"molecule": molecule, "n": problem.n, **outcome.to_dict()})
            store.save()
            hooks.refused(store.refused[-1])
        else:
            hooks.result(store.add(molecule, problem.dataset.formula, outcome))
    if kind == "choices" and not store.find(molecule, len(problem.dataset), Case(AUTOMATIC, 0, seeds[0])):
        hooks.doing(f"{where}: automatic choice", None)
        chosen = solve_automatically(problem, replace(settings, seed=seeds[0]), limit)
        hooks.result(store.add(molecule, problem.dataset.formula, chosen))
    return None


def _spectra(
    problem: Problem, molecule: str, todo: Sequence[Case], request: Request, room: float, store: Store, hooks: Hooks
) -> None:
    hooks.doing(f"{molecule}, n = {problem.n}: spectrum", None)
    matrix = dense_matrix(problem, room)
    shift = request.settings.regularization
    table = store.tables.setdefault("spectrum", [])

    def keep(method: str, columns: int, seed: int, values: torch.Tensor) -> None:
        label = {"molecule": molecule, "n": problem.n, "method": method, "columns": columns, "seed": seed}
        table.extend({**label, "index": i + 1, "eigenvalue": w} for i, w in enumerate(values.tolist()))

    keep("none", 0, 0, preconditioned_spectrum(matrix, shift))
    for case in todo:
        hooks.doing(f"{molecule}, n = {problem.n}: spectrum of {case.method}, k = {case.columns}", None)
        built = make_preconditioner(
            "auto" if case.method == DEFAULT else case.method,
            problem.operator,
            shift,
            case.columns,
            n=problem.n,
            seed=case.seed,
            form=case.form,
            max_bytes=room,
        )
        keep(case.method, case.columns, case.seed, preconditioned_spectrum(matrix, shift, built))


def _scores(problem: Problem, molecule: str, request: Request, room: float, store: Store, hooks: Hooks) -> None:
    hooks.doing(f"{molecule}, n = {problem.n}: leverage scores", None)
    shift = request.settings.regularization
    shifts = sorted({*RIDGES, shift}, reverse=True)
    scores = ridge_leverage_scores(problem, dense_matrix(problem, room), shifts)
    table = store.tables.setdefault("scores", [])
    symbols = problem.dataset.symbols
    for ridge, values in zip(shifts, scores.tolist(), strict=True):
        for structure, atoms in enumerate(values):
            for atom, components in enumerate(atoms):
                for axis, score in zip("xyz", components, strict=True):
                    table.append(
                        {
                            "molecule": molecule,
                            "n": problem.n,
                            "regularization": ridge,
                            "structure": structure,
                            "atom": atom,
                            "symbol": symbols[atom],
                            "axis": axis,
                            "score": score,
                        }
                    )

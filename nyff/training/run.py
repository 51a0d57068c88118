"""A training run as a folder that explains itself.

======================  ===================================================================
``config.yaml``         what was asked for: data, split, settings; enough to repeat the run
``train.log``           what happened, with the plan
``split.json``          which structures trained, validated, tested
``convergence.csv``     iteration, relative residual, seconds
``metrics.json``        errors with units in the keys, cost, plan, hints
``model.nyff``          the model
``solution.npz``        coefficients α, to continue from
``plan.json``           length scale, solver and columns as resolved; a resumed run takes them from here
``test_predictions.npz``  predictions beside references
``checkpoint.npz``      state of an unfinished solve; gone when the run is complete
======================  ===================================================================

A run is never overwritten; an interrupted one is resumed by :func:`resume_run` with the result it would have had.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nyff._version import __version__
from nyff.data import bundled
from nyff.data.check import check
from nyff.data.dataset import Dataset
from nyff.data.io import read_dataset
from nyff.data.split import Split, split
from nyff.errors import FileFormatError, InputError, NyffError
from nyff.files import atomic_write, new_folder
from nyff.interrupt import deferred_signals
from nyff.linalg.cg import CGState
from nyff.linalg.solution import Record
from nyff.model.file import checked_device
from nyff.training.checkpoint import load_state, save_state
from nyff.training.like import like
from nyff.training.plan import Plan
from nyff.training.settings import Settings
from nyff.training.solve import Interrupted, Progress, Watcher
from nyff.training.train import FitResult, default_n_train, fit_with

BUNDLED = "bundled:ethanol"
"""Name of the bundled data set, in place of a file."""

_LOG = logging.getLogger("nyff")


def train_run(
    data: str | Path | Sequence[str | Path],
    *,
    output: str | Path,
    settings: Settings,
    n_train: int | None = None,
    split_method: str = "stratified",
    units: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    like_model: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Callable[[Progress], None] | None = None,
    planned: Callable[[Plan], None] | None = None,
) -> FitResult:
    """Train on the files ``data`` (or :data:`BUNDLED`) and write everything into the new folder ``output``.

    ``like_model`` is an sGDML model whose settings and training structures are taken instead of those given.

    Raises :class:`~nyff.training.solve.Interrupted` on Ctrl-C or SIGTERM, after a checkpoint; errors in data or
    settings are raised before the folder is created.
    """
    checked_device(settings.device)
    given = [str(f) for f in ([data] if isinstance(data, (str, Path)) else data)]
    files = [f if f == BUNDLED else str(Path(f).resolve()) for f in given]
    source = {"files": files, "units": units, "energy_key": energy_key, "forces_key": forces_key}
    dataset = _read(source)
    if like_model is not None:
        found = like(like_model, dataset)
        stored = {**found.arguments, "permutations": found.arguments["permutations"].tolist()}
        settings, splitting = replace(settings, **stored), found.splitting
    else:
        wanted = default_n_train(dataset) if n_train is None else n_train
        splitting = split(dataset, wanted, seed=settings.seed, method=split_method)
    folder = new_folder(output)
    config = {
        "nyff_version": __version__,
        "data": {**source, "fingerprint_sha256": dataset.fingerprint()},
        "n_train": len(splitting.train),
        "split_method": splitting.method,
        "checkpoint_seconds": checkpoint_seconds,
        "settings": settings.to_dict(),
    }
    _write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    _write_text(folder / "split.json", json.dumps(splitting.to_dict()))
    try:
        return _execute(folder, dataset, splitting, settings, None, checkpoint_seconds, progress, planned)
    except NyffError:
        # Refused, or impossible with these settings: leave nothing that would be in the way of the next try. What was
        # worked for (a checkpoint, a model) stays.
        if not ((folder / "checkpoint.npz").exists() or (folder / "model.nyff").exists()):
            shutil.rmtree(folder)
        raise


def resume_run(
    folder: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    planned: Callable[[Plan], None] | None = None,
) -> FitResult:
    """Go on with an interrupted run in ``folder``; the result is that of a run that was never interrupted."""
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder} is no training run (it has no config.yaml); give the folder of `nyff train -o`")
    if (folder / "metrics.json").exists():
        raise InputError(f"the run in {folder} is complete; there is nothing to resume")
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        splitting = Split.from_dict(json.loads((folder / "split.json").read_text()))
        settings = Settings(**config["settings"])
        source, interval = config["data"], float(config["checkpoint_seconds"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise FileFormatError(
            f"the run in {folder} cannot be resumed, its config.yaml or split.json is damaged ({error})"
        ) from error
    dataset = _read(source)
    if dataset.fingerprint() != source["fingerprint_sha256"]:
        raise InputError(f"the data of the run in {folder} have changed since it started; train anew with another -o")
    state = None
    if (folder / "plan.json").exists():
        resolved = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["resolved"]
        settings = replace(settings, **resolved)
        if (folder / "checkpoint.npz").exists():
            state = load_state(folder / "checkpoint.npz", settings.device)
    return _execute(folder, dataset, splitting, settings, state, interval, progress, planned)


def _execute(
    folder: Path,
    dataset: Dataset,
    splitting: Split,
    settings: Settings,
    state: CGState | None,
    interval: float,
    progress: Callable[[Progress], None] | None,
    planned: Callable[[Plan], None] | None,
) -> FitResult:
    last = time.monotonic()

    def on_plan(plan: Plan, final: Settings) -> None:
        resolved = {"lengthscale": final.lengthscale, "solver": plan.solver, "columns": plan.columns or "auto"}
        _write_text(folder / "plan.json", json.dumps({"resolved": resolved, "plan": plan.to_dict()}, indent=1))
        if planned is not None:
            planned(plan)

    def keep(current: CGState, stopping: bool) -> None:
        nonlocal last
        if stopping or time.monotonic() - last > interval:
            save_state(folder / "checkpoint.npz", current)
            _write_convergence(folder, current.history)
            last = time.monotonic()

    with _logging_to(folder / "train.log"), deferred_signals() as interruption:
        _LOG.info("nyff %s, %s: %s", __version__, dataset.name or "data", "resumed" if state else "started")
        watcher = Watcher(progress, lambda: bool(interruption), on_plan, keep)
        try:
            result = fit_with(dataset, None, settings, splitting, watcher, state)
        except Interrupted as stopped:
            _LOG.info("interrupted while %s", stopped)
            raise
        _write_results(folder, result, dataset)
        (folder / "checkpoint.npz").unlink(missing_ok=True)
        _LOG.info("done: %s", json.dumps(result.metrics))
    return result


def _write_results(folder: Path, result: FitResult, dataset: Dataset) -> None:
    """``metrics.json`` comes last: it marks the run as complete."""
    _write_convergence(folder, result.solution.history)
    result.model.save(folder / "model.nyff")
    with atomic_write(folder / "solution.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, coefficients=result.coefficients.cpu().numpy(), train_indices=result.split.train)
    if result.evaluation is not None:
        _write_predictions(folder / "test_predictions.npz", result, dataset)
    if result.lengthscale_errors:
        rows = [f"{scale:g},{error!r}" for scale, error in result.lengthscale_errors.items()]
        _write_text(folder / "lengthscale_scan.csv", "\n".join(["lengthscale,force_mae_ev_per_ang", *rows, ""]))
    content = {
        **result.metrics,
        "settings": result.settings.to_dict(),
        "plan": result.plan.to_dict(),
        "hints": result.hints,
        "model_checksum_sha256": result.model.checksum,
    }
    _write_text(folder / "metrics.json", json.dumps(content, indent=1))


def _write_predictions(path: Path, result: FitResult, dataset: Dataset) -> None:
    evaluation = result.evaluation
    assert evaluation is not None
    index = result.split.test if len(result.split.test) else result.split.valid
    arrays: dict[str, Any] = {
        "numbers": dataset.numbers,
        "frames": dataset.frames[index],
        "positions": dataset.positions[index],
        "energies": evaluation.energies,
        "forces": evaluation.forces,
        "reference_forces": evaluation.reference_forces,
    }
    if evaluation.reference_energies is not None:
        arrays["reference_energies"] = evaluation.reference_energies
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def _write_convergence(folder: Path, history: Sequence[Record]) -> None:
    rows = [f"{h.iteration},{h.relative_residual:.6e},{h.seconds:.4f}" for h in history]
    _write_text(folder / "convergence.csv", "\n".join(["iteration,relative_residual,seconds", *rows, ""]))


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _read(source: dict[str, Any]) -> Dataset:
    if source["files"] == [BUNDLED]:
        return bundled.ethanol()
    return check(
        read_dataset(
            source["files"],
            units=source["units"],
            energy_key=source["energy_key"],
            forces_key=source["forces_key"],
        )
    )


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)
        handler.close()

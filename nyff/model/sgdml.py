"""sGDML's model files (``.npz``), both ways.

An sGDML model is the special case of a nyff model with the Matérn 5/2 kernel and inverse distances; its numbers are
taken over as they are, only units change. Format and formulas: S. Chmiela et al., Comput. Phys. Commun. 240, 38
(2019), doi 10.1016/j.cpc.2019.02.007, and the package sgdml 1.0.3; the keys that decide predictions have been the same
since 0.4.

================== ============ =================================================================
key                shape        here
================== ============ =================================================================
``R_desc``         [D, M]       ``descriptors`` transposed, 1/length
``R_d_desc_alpha`` [M, D]       ``coefficients``
``alphas_E``       [M]          ``energy_coefficients``, length
``std``, ``c``                  ``scale`` (energy/length), ``energy_offset`` (energy)
``sig``                         ``lengthscale``, 1/length, an integer
``perms``          [S, N]       ``permutations``
``tril_perms_lin`` [D·S]        π of pair d under permutation s at d·S + s, plus s·D
``lattice``        [3, 3]       ``cell`` transposed; images by rounding
================== ============ =================================================================

Files are read without pickle, entry by entry: what sGDML keeps as Python objects (errors of validation and test) is
left alone, and a file whose objects would run code does not get to run it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nyff._version import __version__
from nyff.data.npz import SGDML_NAMES, Archive, stated_units
from nyff.errors import FileFormatError, InputError
from nyff.files import atomic_write
from nyff.kernel.cell import checked_cell, rounding_reach
from nyff.kernel.group import check_group, pair_permutations
from nyff.model.force_field import ForceField
from nyff.units import Units, parse_units

log = logging.getLogger(__name__)

_NEEDED = ("z", "R_desc", "R_d_desc_alpha", "sig", "c", "perms", "tril_perms_lin")
# Features of versions and forks that change predictions in ways the formula here does not have.
_FOREIGN = {
    "interact_cut_off": "a cut-off of the descriptor (sGDML 0.4.10)",
    "use_descriptor": "another descriptor than inverse distances",
    "entity_ids": "a many-body expansion (mbGDML), of which this is one term",
}


def is_archive(path: str | Path) -> bool:
    """Whether the file starts like an ``.npz`` archive, as sGDML's files do."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def is_sgdml_model(path: str | Path) -> bool:
    """Whether the file is an sGDML model, by its own word."""
    if not is_archive(path):
        return False
    archive = Archive(Path(path))
    try:
        return archive.text("type") == "m"
    finally:
        archive.close()


def read_sgdml_model(path: str | Path, units: str | None = None, device: torch.device | str = "cpu") -> ForceField:
    """Read a model of sGDML 0.4 or later; predictions equal those of its NumPy predictor, in eV and Å.

    ``units`` is ENERGY or ENERGY,LENGTH, such as ``"kcal/mol"``, for models that do not state theirs. A model without
    energies (``use_E`` false) predicts energies up to a constant. In a skewed cell images are found by rounding, as the
    model was trained.

    Raises :class:`~nyff.errors.FileFormatError` for files that are damaged or not sGDML models, and
    :class:`~nyff.errors.InputError` for models whose features cannot be honoured, by name, and for unknown units.
    """
    archive = _open(Path(path))
    try:
        return _read(archive, units, device)
    finally:
        archive.close()


def read_sgdml_provenance(path: str | Path, units: str | None = None) -> dict[str, Any]:
    """How a model was trained, as its file tells: what :func:`read_sgdml_model` keeps in ``metadata["sgdml"]``."""
    archive = _open(Path(path))
    try:
        return _provenance(archive, stated_units(archive, None if units is None else parse_units(units)))
    finally:
        archive.close()


def write_sgdml_model(
    model: ForceField, path: str | Path, units: str | None = None, *, overwrite: bool = False
) -> None:
    """Write ``model`` as sGDML 1.0.3 keeps its models: its predictors, command line and i-PI's ``<ffsgdml>`` read it.

    ``units`` are those of the file, ENERGY or ENERGY,LENGTH; by default those of the sGDML model that this one was read
    from, else kcal/mol and Å, which sGDML's ASE calculator takes for granted. i-PI knows eV, kcal/mol, millihartree
    and angstrom, bohr.

    Raises :class:`~nyff.errors.InputError` for a model that the format cannot express, with the reason, and when the
    file exists, unless ``overwrite``.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"an sGDML model is an .npz file, got {path}; choose a name that ends in .npz")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; choose another name, or pass overwrite=True to replace it")
    known: dict[str, Any] = dict(model.metadata.get("sgdml", {}))
    chosen = parse_units(units or known.get("units") or "kcal/mol")
    entries = _entries(model, known, chosen)
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **entries)


def _open(path: Path) -> Archive:
    try:
        archive = Archive(path)
    except OSError as error:
        raise InputError(f"cannot read the model {path}: {error.strerror}; give the path of an .npz file") from error
    try:
        kind = archive.text("type")
    except FileFormatError:
        archive.close()
        raise
    if kind == "m":
        return archive
    archive.close()
    what = {"d": "an sGDML data set", "t": "an sGDML training task"}.get(kind)
    if what is None and any(keys <= set(archive.keys) for keys in ({"R", "F"}, {"coords", "forces"})):
        what = "a data set"
    raise FileFormatError(
        f"{path} is {what or 'no sGDML model (its type is not m)'}, not a model; give a model, or train one on data "
        "with `nyff train`"
    )


def _read(archive: Archive, units: str | None, device: torch.device | str) -> ForceField:
    path = archive.path
    for key, meaning in _FOREIGN.items():
        if key in archive.keys and not _is_object(archive, key):
            raise InputError(f"{path} uses `{key}`, {meaning}, which nyff does not have; use sGDML for this model")
    missing = [key for key in _NEEDED if key not in archive.keys]
    if missing:
        raise FileFormatError(f"{path} lacks {', '.join(missing)}: it is damaged or older than sGDML 0.4; get it again")
    unit = stated_units(archive, None if units is None else parse_units(units))
    numbers = _array(archive, "z", (-1,)).astype(np.int64)
    n = len(numbers)
    pairs = n * (n - 1) // 2
    descriptors = _array(archive, "R_desc", (pairs, -1)).T / unit.length
    m = len(descriptors)
    coefficients = _array(archive, "R_d_desc_alpha", (m, pairs))
    energies = _array(archive, "alphas_E", (m,)) * unit.length if "alphas_E" in archive.keys else None
    permutations = _permutations(archive, numbers, pairs)
    cell, image = _cell(archive, unit)
    closest, farthest = 1 / descriptors.max(0), 1 / descriptors.min(0)
    known = _provenance(archive, unit)
    training = _training(known, unit)
    if training.get("status") == "not converged":
        log.warning(
            "%s was saved before its solver had converged (relative residual %.1e); sGDML may even have saved forces "
            "with the wrong sign: test it before you use it",
            path,
            training["relative_residual"],
        )
    return ForceField(
        numbers=numbers,
        descriptors=_tensor(descriptors, device),
        coefficients=_tensor(coefficients, device),
        permutations=permutations,
        kernel="matern52",
        lengthscale=_number(archive, "sig") / unit.length,
        descriptor_power=1.0,
        scale=_number(archive, "std", 1.0) * unit.force,
        energy_offset=_number(archive, "c") * unit.energy,
        metadata={
            "sgdml": known,
            "training": training,
            "domain": {"min_distance": closest.tolist(), "max_distance": farthest.tolist()},
        },
        energy_coefficients=None if energies is None else _tensor(energies, device),
        cell=cell,
        image=image,
    )


def _permutations(archive: Archive, numbers: NDArray[np.int64], pairs: int) -> NDArray[np.int64]:
    rows = _array(archive, "perms", (-1, len(numbers)))
    try:
        permutations = check_group(rows, numbers)
    except InputError as error:
        raise FileFormatError(f"{archive.path}: {error}") from None
    rows = rows.astype(np.int64)
    expected = pair_permutations(rows).T + np.arange(len(rows)) * pairs
    if not np.array_equal(_array(archive, "tril_perms_lin", (pairs, len(rows))), expected):
        raise FileFormatError(
            f"`perms` and `tril_perms_lin` in {archive.path} do not belong together: the file is damaged; get it again"
        )
    return permutations


def _cell(archive: Archive, unit: Units) -> tuple[NDArray[np.float64] | None, str]:
    if "lattice" not in archive.keys:
        return None, "nearest"
    try:
        cell = checked_cell(_array(archive, "lattice", (3, 3)).T * unit.length, (True, True, True))
    except InputError as error:
        raise FileFormatError(f"{archive.path}: {error}") from None
    # Where rounding is exact, both ways are the same.
    return cell, "nearest" if np.isinf(rounding_reach(cell)) else "rounded"


def _provenance(archive: Archive, unit: Units) -> dict[str, Any]:
    known: dict[str, Any] = {"units": str(unit)}
    for key in ("code_version", "dataset_name", "dataset_theory", "solver_name", "md5_train", "md5_valid"):
        if text := archive.text(key):
            known[key] = text
    for key in ("sig", "lam", "solver_tol", "solver_iters", "solver_resid", "norm_y_train"):
        if key in archive.keys and not _is_object(archive, key):
            known[key] = _number(archive, key)
    for key in ("idxs_train", "idxs_valid"):
        if key in archive.keys:
            known[key] = _array(archive, key, (-1,)).astype(np.int64).tolist()
    if "use_E" in archive.keys:
        known["use_E"] = bool(_number(archive, "use_E"))
    return known


def _training(known: dict[str, Any], unit: Units) -> dict[str, Any]:
    """What nyff's own models tell of their training too, under the names and in the units they have there."""
    told: dict[str, Any] = {
        "dataset": known.get("dataset_name"),
        "dataset_source": {"theory": known.get("dataset_theory", "unknown")},
        "train_indices": known.get("idxs_train"),
        "solver": f"sGDML {known['solver_name']}" if "solver_name" in known else None,
        "regularization": known["lam"] / unit.length**2 if "lam" in known else None,
    }
    if known.get("solver_name") == "analytic":
        told["status"] = "converged"
    elif {"solver_resid", "solver_tol", "norm_y_train"} <= set(known):
        residual = known["solver_resid"] / known["norm_y_train"]
        told["relative_residual"] = residual
        told["status"] = "converged" if residual <= known["solver_tol"] else "not converged"
    return {name: value for name, value in told.items() if value is not None}


def _entries(model: ForceField, known: dict[str, Any], units: Units) -> dict[str, Any]:
    """The arrays of the file by name."""
    _require_expressible(model)
    sigma = model.lengthscale * units.length
    if abs(sigma - round(sigma)) > 1e-9 * sigma:
        raise InputError(
            f"sGDML's files hold whole length scales only, this model has {sigma:g} 1/{units.length_name}; train it "
            f"with a whole one, such as lengthscale={max(1, round(sigma))} (--lengthscale)"
        )
    descriptors = model.descriptors.cpu().numpy() * units.length
    pairs, s = descriptors.shape[1], len(model.permutations)
    training = model.metadata.get("training", {})
    unknown_error = np.array({"mae": np.nan, "rmse": np.nan})
    train = training.get("train_indices", ())
    if len(train) != model.n_train:
        train = range(model.n_train)
    entries: dict[str, Any] = {
        "type": np.array("m"),
        "code_version": np.array(f"nyff {__version__}"),
        "dataset_name": np.array(known.get("dataset_name") or training.get("dataset") or "unknown"),
        "dataset_theory": np.array(known.get("dataset_theory") or _theory(training)),
        # Not "cg" for nyff's own: sGDML then expects the state of its solver, to resume.
        "solver_name": np.array(known.get("solver_name") or "nyff " + str(training.get("solver", ""))),
        "z": model.numbers.astype(np.int64),
        "idxs_train": np.array(train, dtype=np.int64),
        "md5_train": np.array(known.get("md5_train", "unknown").encode()),
        "idxs_valid": np.array(known.get("idxs_valid", []), dtype=np.int64),
        "md5_valid": np.array(known.get("md5_valid", "unknown").encode()),
        "n_test": np.array(0),
        "md5_test": np.array(None),
        "f_err": unknown_error,
        "e_err": unknown_error,
        "R_desc": np.ascontiguousarray(descriptors.T),
        "R_d_desc_alpha": model.coefficients.cpu().numpy(),
        "c": np.array(model.energy_offset / units.energy),
        "std": np.array(model.scale / units.force),
        "sig": np.array(round(sigma)),
        "lam": np.array(training.get("regularization", 1e-10) * units.length**2),
        "perms": model.permutations.astype(np.int64),
        "tril_perms_lin": (pair_permutations(model.permutations).T + np.arange(s) * pairs).ravel(),
        "use_E": np.array(known.get("use_E", True)),
        "e_unit": np.array(SGDML_NAMES.get(units.energy_name.lower(), units.energy_name)),
        "r_unit": np.array(SGDML_NAMES.get(units.length_name.lower(), units.length_name)),
    }
    if model.energy_coefficients is not None:
        entries["alphas_E"] = model.energy_coefficients.cpu().numpy() / units.length
    if model.cell is not None:
        entries["lattice"] = np.ascontiguousarray(model.cell.T) / units.length
    return entries


def _require_expressible(model: ForceField) -> None:
    reason = None
    if model.kernel != "matern52":
        reason = f"its kernel is {model.kernel}, sGDML has matern52 only"
    elif model.descriptor_power != 1:
        reason = f"its descriptor is distances to the power −{model.descriptor_power:g}, sGDML has −1 only"
    elif model.cell is not None and not all(model.pbc):
        reason = f"it is periodic in some directions only ({model.pbc}), sGDML's cells are so in all three"
    elif model.cell is not None and model.image == "nearest":
        farthest = 1 / float(model.descriptors.min())
        if farthest > rounding_reach(model.cell):
            reason = (
                f"atoms in its skewed cell are up to {farthest:.1f} Å apart, and sGDML, which rounds fractional "
                f"coordinates, is sure of the nearest image up to {rounding_reach(model.cell):.1f} Å only"
            )
    if reason is not None:
        raise InputError(f"the model cannot be written as an sGDML file: {reason}; keep it as .nyff")


def _theory(training: dict[str, Any]) -> str:
    source = training.get("dataset_source", {})
    return str(source.get("theory", "unknown")) if isinstance(source, dict) else "unknown"


def _array(archive: Archive, key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An entry of real, finite numbers in ``shape``, one of which may be −1; flattened entries are folded."""
    array = archive[key]
    if array.dtype.kind not in "iufb":
        raise FileFormatError(f"`{key}` in {archive.path} must hold numbers, got {array.dtype}; get the file again")
    try:
        folded = array.reshape(shape)
    except ValueError:
        folded = None
    if folded is None or (array.ndim == len(shape) and array.shape != folded.shape):
        wanted = [n if n >= 0 else "any" for n in shape]
        raise FileFormatError(
            f"`{key}` in {archive.path} has shape {list(array.shape)}, wanted {wanted}: the file is damaged; "
            "get it again"
        )
    if not np.isfinite(folded).all():
        raise FileFormatError(f"`{key}` in {archive.path} holds numbers that are not finite: the model is damaged")
    return folded


def _number(archive: Archive, key: str, default: float | None = None) -> float:
    if key not in archive.keys and default is not None:
        return default
    return float(_array(archive, key, (1,))[0])


def _is_object(archive: Archive, key: str) -> bool:
    """Whether an entry is a Python object, such as the None that stands for a feature not used."""
    try:
        array = archive[key]
    except FileFormatError as error:
        if "Python objects" in str(error):
            return True
        raise
    return array.dtype.kind in "US" and array.size == 1 and str(array) in ("None", "")


def _tensor(array: NDArray[Any], device: torch.device | str) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array, dtype=np.float64), device=device)

"""Model files: safetensors with one JSON header, nothing that can execute.

The file can be read without nyff: ``safetensors.numpy.load_file`` gives the arrays ``numbers`` [atoms],
``permutations`` [symmetries, atoms], ``descriptors`` and ``coefficients`` [train, pairs], and ``energy_coefficients``
[train] if the model was trained on energies too, ``cell`` [3, 3] if it is periodic; the metadata entry ``nyff`` is the
JSON text with the rest (kernel, length scale, units, provenance). The formula is that of :mod:`nyff.model.force_field`.
A checksum over arrays and header tells a file that was cut off or changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from nyff.errors import FileFormatError, InputError
from nyff.files import atomic_write
from nyff.model.force_field import ForceField
from nyff.model.sgdml import is_archive, read_sgdml_model

FORMAT = "nyff-force-field"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "angstrom", "force": "eV/angstrom"}


def save(model: ForceField, path: str | Path) -> None:
    """Write ``model`` to ``path``, whole or not at all. Same model, same bytes."""
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "units": UNITS,
        "checksum_sha256": model.checksum,
        **model.header(),
    }
    data = save_arrays(model.arrays(), metadata={"nyff": json.dumps(header, sort_keys=True)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def load(path: str | Path, device: torch.device | str = "cpu", units: str | None = None) -> ForceField:
    """Read a model: nyff's own, or one of sGDML (``.npz``, see :mod:`nyff.model.sgdml`).

    ``units``, such as ``"kcal/mol"`` or ``"hartree,bohr"``, are for sGDML models that do not state theirs.

    Raises :class:`~nyff.errors.FileFormatError` for a file that is not a whole, unaltered nyff model.
    """
    device = checked_device(device)
    if is_archive(path):
        return read_sgdml_model(path, units, device)
    if units is not None:
        raise InputError(f"units={units!r} was given, but {path} is no sGDML model; nyff's own models are in eV and Å")
    header, arrays = _read(Path(path))
    try:
        model = _model(header, arrays, device)
        same = model.checksum == header["checksum_sha256"]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FileFormatError(f"{path} was altered or is damaged: {error!r} in its header; get a fresh copy") from error
    if not same:
        raise FileFormatError(f"{path} was altered after it was written: its checksum does not match; get a fresh copy")
    return model


def _model(header: dict[str, Any], arrays: dict[str, NDArray[Any]], device: torch.device) -> ForceField:
    energies = arrays.get("energy_coefficients")
    return ForceField(
        numbers=arrays["numbers"],
        descriptors=torch.from_numpy(arrays["descriptors"]).to(device),
        coefficients=torch.from_numpy(arrays["coefficients"]).to(device),
        permutations=arrays["permutations"],
        kernel=header["kernel"],
        lengthscale=header["lengthscale"],
        descriptor_power=header["descriptor_power"],
        scale=header["force_scale_ev_per_ang"],
        energy_offset=header["energy_offset_ev"],
        metadata=header["metadata"],
        energy_coefficients=None if energies is None else torch.from_numpy(energies).to(device),
        cell=arrays.get("cell"),
        image=header.get("image", "nearest"),
    )


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a model file, without loading the arrays into a model."""
    return _read(Path(path))[0]


def checked_device(device: torch.device | str) -> torch.device:
    """The device, if it is there; raises :class:`~nyff.errors.InputError` with those that are."""
    present = ["cpu"]
    present += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        present.append("mps")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"unknown device {str(device)!r}; this machine has {', '.join(present)}") from None
    index = f"{found.type}:{found.index or 0}" if found.type == "cuda" else found.type
    if index not in present:
        raise InputError(f"there is no device {str(device)!r} here; this machine has {', '.join(present)}")
    if found.type == "mps":
        raise InputError("device 'mps' has no float64, which the kernel sums need; use cpu")
    return found


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the model {path}: {error.strerror}; give the path of a .nyff file") from error
    header = _parse_header(path, data)
    try:
        arrays = load_arrays(data)
    except SafetensorError as error:
        raise FileFormatError(f"{path} is cut off or damaged ({error}); get a fresh copy") from error
    m, pairs, atoms = _shape(path, arrays)
    if arrays.get("numbers", np.empty(0)).shape != (atoms,) or pairs != atoms * (atoms - 1) // 2:
        raise FileFormatError(f"{path} is damaged: {atoms} atoms, {m} structures and {pairs} pairs do not fit together")
    return header, arrays


def _parse_header(path: Path, data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    if not data:
        raise FileFormatError(f"{path} is empty; get a fresh copy of the model")
    text = data[8 : 8 + size]
    if not text.startswith(b"{"):
        raise FileFormatError(f"{path} is not a nyff model (no safetensors header); train one with `nyff train`")
    if len(text) < size:
        raise FileFormatError(f"{path} is cut off inside its header; get a fresh copy")
    try:
        header = json.loads(json.loads(text)["__metadata__"]["nyff"])
    except (ValueError, KeyError, TypeError):
        raise FileFormatError(
            f"{path} is a safetensors file but not a nyff model; train one with `nyff train`"
        ) from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError(f"{path} is a safetensors file but not a nyff model; train one with `nyff train`")
    version = header.get("format_version")
    if not isinstance(version, int) or version < 1 or header.get("units") != UNITS:
        raise FileFormatError(f"{path} was altered or is damaged: format version {version!r}; get a fresh copy")
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"{path} has format version {version}, this nyff reads up to {FORMAT_VERSION}; upgrade nyff"
        )
    return header


def _shape(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[int, int, int]:
    try:
        m, pairs = arrays["descriptors"].shape
        _, atoms = arrays["permutations"].shape
        if arrays["coefficients"].shape != (m, pairs):
            raise ValueError
        if "cell" in arrays and arrays["cell"].shape != (3, 3):
            raise ValueError
        if "energy_coefficients" in arrays and arrays["energy_coefficients"].shape != (m,):
            raise ValueError
        for name in {"descriptors", "coefficients", "energy_coefficients", "cell"} & set(arrays):
            if arrays[name].dtype != np.float64:
                raise ValueError
    except (KeyError, ValueError):
        raise FileFormatError(
            f"{path} is damaged: it lacks arrays or they have the wrong shape; get a fresh copy"
        ) from None
    return m, pairs, atoms

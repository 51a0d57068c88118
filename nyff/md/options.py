"""What a simulation is told, checked once and written into its folder."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from nyff.errors import FileFormatError, InputError
from nyff.files import atomic_write

ENSEMBLES = ("nve", "langevin", "nose-hoover")
TRAJECTORIES = ("extxyz", "traj")
_MOST_STEPS = 1e12  # a thousand steps a second for thirty years
_FEMTOSECONDS = {"": 1.0, "fs": 1.0, "ps": 1e3, "ns": 1e6, "us": 1e9, "µs": 1e9}


def parse_time(text: str | float, name: str = "time") -> float:
    """Read a time such as ``"10ps"``, ``"500 fs"`` or ``"0.2ns"`` as femtoseconds; plain numbers are fs already.

    Raises :class:`~nyff.errors.InputError` for other text and for times that are not positive and finite.
    """
    if isinstance(text, str):
        match = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([a-zµ]*)\s*", text)
        try:
            assert match is not None
            value = float(match[1]) * _FEMTOSECONDS[match[2]]
        except (AssertionError, KeyError, ValueError):
            raise InputError(
                f"cannot read {name} {text!r}; write a number and fs, ps, ns or us, for example 10ps"
            ) from None
    else:
        value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"{name} must be positive, got {text!r}; write for example 10ps")
    return value


@dataclass(frozen=True)
class MDOptions:
    """Everything that decides a simulation besides the model and the start structure.

    Times are in fs, the temperature in K, the friction in 1/fs; intervals are counted in steps. Raises
    :class:`~nyff.errors.InputError` when a value makes no sense.
    """

    ensemble: str
    temperature: float
    timestep: float
    time: float
    seed: int
    friction: float
    thermostat_time: float
    keep_momenta: bool
    trajectory: str
    frame_interval: int
    log_interval: int
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        _one_of("ensemble", self.ensemble, ENSEMBLES)
        _one_of("trajectory", self.trajectory, TRAJECTORIES)
        for name in ("timestep", "time", "friction", "thermostat_time", "frame_interval", "log_interval"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name} must be positive, got {value}")
        for name in ("temperature", "checkpoint_seconds", "seed"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise InputError(f"{name} must be zero or more, got {value}")
        if self.ensemble != "nve" and self.temperature == 0:
            raise InputError(
                f"temperature must be positive with ensemble {self.ensemble!r}, got 0; take ensemble 'nve'"
            )
        if not 1e-3 <= self.timestep <= 5:
            raise InputError(
                f"timestep must be 0.001 to 5 fs, got {self.timestep:g} fs; 0.5 fs suits molecules with hydrogen"
            )
        if self.time / self.timestep > _MOST_STEPS:
            raise InputError(f"{self.time:g} fs in steps of {self.timestep:g} fs will never end; write a shorter time")
        if self.steps < 1:
            raise InputError(
                f"time must be at least one timestep, got {self.time:g} fs with a timestep of {self.timestep:g} fs; "
                "write the unit, for example 10ps"
            )

    @property
    def steps(self) -> int:
        """The number of steps: the time over the time step, rounded."""
        return round(self.time / self.timestep)


def write_config(path: Path, options: MDOptions, **more: Any) -> None:
    """Write ``options`` under ``md`` and whatever else describes the run as YAML."""
    with atomic_write(path) as temporary:
        text = yaml.safe_dump({**more, "md": asdict(options)}, sort_keys=False, allow_unicode=True)
        temporary.write_text(text, encoding="utf-8")


def read_config(path: Path) -> tuple[MDOptions, dict[str, Any]]:
    """Read back what :func:`write_config` wrote: the options and the rest.

    Raises :class:`~nyff.errors.FileFormatError` when the file is missing or does not say exactly what is needed.
    """
    remedy = "is this the folder of a simulation made by nyff?"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        given = content.pop("md")
        unknown = set(given) ^ {field.name for field in fields(MDOptions)}
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {error.strerror}; {remedy}") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError):
        raise FileFormatError(f"{path} does not describe a simulation; {remedy}") from None
    if unknown:
        raise FileFormatError(f"{path}: md.{sorted(unknown)[0]} is unknown or missing; {remedy}")
    try:
        return MDOptions(**given), content
    except TypeError as error:
        raise FileFormatError(f"{path}: md has a value of the wrong type ({error}); {remedy}") from None


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"unknown {name} {value!r}; known are {', '.join(known)}")

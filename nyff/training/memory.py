"""How much memory there is, and sizes as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from nyff.errors import InputError

_UNITS = {"": 1, "B": 1, "K": 1e3, "KB": 1e3, "KIB": 2**10, "M": 1e6, "MB": 1e6, "MIB": 2**20}
_UNITS |= {"G": 1e9, "GB": 1e9, "GIB": 2**30, "T": 1e12, "TB": 1e12, "TIB": 2**40}

SHARE = 0.7
"""Share of the free memory that nyff takes unless told otherwise: the rest is for the caller and the system."""


def parse_bytes(size: str | int | float) -> int:
    """``"4GB"``, ``"512 MiB"`` or a number of bytes as bytes."""
    if isinstance(size, (int, float)):
        value = float(size)
    else:
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-zA-Z]*)\s*", str(size))
        if match is None or match[2].upper() not in _UNITS:
            raise InputError(
                f"cannot read the memory limit {size!r}; write a number with a unit, for example 4GB or 512MiB"
            )
        value = float(match[1]) * _UNITS[match[2].upper()]
    if not 0 < value < float("inf"):
        raise InputError(f"the memory limit must be positive, got {size!r}; for example 4GB")
    return int(value)


def format_bytes(size: float) -> str:
    """Bytes as people read them."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{int(size)} B"


def available_bytes(device: torch.device | str = "cpu") -> int:
    """Free memory: on a CPU the least of what the system and the control groups (containers, batch queues) leave."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [limit for limit in (_system_bytes(), *_cgroup_bytes()) if limit is not None]
    return min(limits) if limits else 4 * 10**9


def memory_limit(max_memory: str | int | float | None, device: torch.device | str = "cpu") -> int:
    """The limit in bytes: as given, or a share of what is free."""
    if max_memory is not None:
        return parse_bytes(max_memory)
    return int(SHARE * available_bytes(device))


def _system_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_bytes() -> list[int]:
    """What each enclosing control group leaves; version 2 first, then version 1."""
    found = []
    root = Path("/sys/fs/cgroup")
    groups: list[tuple[Path, str, str]] = [(root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            group = root / path.lstrip("/")
            groups += [(g, "memory.max", "memory.current") for g in (group, *group.parents) if g.is_relative_to(root)]
        elif "memory" in controllers.split(","):
            group = root / "memory" / path.lstrip("/")
            groups.append((group, "memory.limit_in_bytes", "memory.usage_in_bytes"))
    for group, limit, usage in groups:
        try:
            most, used = int((group / limit).read_text()), int((group / usage).read_text())
        except (OSError, ValueError):
            continue
        if most < 2**60:
            found.append(max(most - used, 0))
    return found

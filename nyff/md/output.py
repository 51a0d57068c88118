"""The files a simulation grows: a CSV log and a trajectory, which can be cut back to an earlier moment.

A simulation that was killed has written past its last checkpoint. Both files tell where they are
(:meth:`~Growing.mark`), the checkpoint keeps it, and opening with that mark cuts off everything after it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from nyff.errors import FileFormatError, InputError
from nyff.files import atomic_write


def open_trajectory(path: Path, atoms: Atoms, mark: list[int] | None = None) -> ExtxyzTrajectory | AseTrajectory:
    """A new trajectory of ``atoms``, or the one at ``path`` continued after ``mark``; the format is that of the name.

    Raises :class:`~nyff.errors.InputError` for another name, a file that exists or a folder that cannot be written.
    """
    if path.suffix == ".traj":
        return AseTrajectory(path, mark)
    if path.suffix in (".xyz", ".extxyz"):
        return ExtxyzTrajectory(path, atoms, mark)
    raise InputError(f"cannot tell the format of trajectory {path}; its name must end in .extxyz, .xyz or .traj")


def _create(path: Path) -> None:
    try:
        path.open("xb").close()
    except FileExistsError:
        raise InputError(f"{path} exists already and is never overwritten; choose another name or remove it") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place for it") from None


def labelled(atoms: Atoms, results: Mapping[str, Any], **info: Any) -> Atoms:
    """A copy of ``atoms`` that owns energy (eV) and forces (eV/Å) and carries nothing else but momenta and ``info``."""
    momenta = atoms.get_momenta() if atoms.has("momenta") else None
    frame = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc, momenta=momenta)
    if atoms.has("masses"):
        frame.set_masses(atoms.get_masses())
    frame.info.update(info)
    frame.calc = frozen_results(frame, results)
    return frame


def frozen_results(atoms: Atoms, results: Mapping[str, Any]) -> SinglePointCalculator:
    """A calculator that knows energy (eV) and forces (eV/Å) of ``atoms`` as it is now, and nothing else."""
    known = SinglePointCalculator(atoms, energy=results["energy"], forces=results["forces"])
    known.name = "nyff"
    return known


class Growing(ABC):
    """A file that is appended to, flushed after every addition, and can be cut back to a mark."""

    @abstractmethod
    def mark(self) -> list[int]:
        """Where the file ends now."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class TextFile(Growing):
    """A text file; its mark is the size in bytes."""

    def __init__(self, path: Path, mark: list[int] | None = None) -> None:
        if mark is None:
            _create(path)
            self._file = path.open("w", encoding="utf-8", newline="\n")
            return
        try:
            size = path.stat().st_size
        except OSError as error:
            raise FileFormatError(f"cannot continue {path}: {error.strerror}; the run folder is not complete") from None
        if size < mark[0]:
            raise FileFormatError(
                f"{path} has {size} bytes, {mark[0]} when its checkpoint was written; restore the file"
            )
        self._file = path.open("r+", encoding="utf-8", newline="\n")
        self._file.truncate(mark[0])
        self._file.seek(0, 2)

    def mark(self) -> list[int]:
        self._file.flush()
        os.fsync(self._file.fileno())
        return [self._file.tell()]

    def close(self) -> None:
        self._file.close()


class CsvLog(TextFile):
    """Rows of numbers under names that carry their units. One row is one moment."""

    def __init__(self, path: Path, columns: Mapping[str, str], mark: list[int] | None = None) -> None:
        super().__init__(path, mark)
        self._formats = dict(columns)
        if mark is None:
            self._file.write(",".join(self._formats) + "\n")
            self._file.flush()

    def write(self, row: Mapping[str, float]) -> None:
        """Add one row; it must have exactly the columns."""
        self._file.write(",".join(format(row[name], how) for name, how in self._formats.items()) + "\n")
        self._file.flush()


class ExtxyzFormat:
    """Frames as extended XYZ text: positions, momenta if there are any, forces and energy, in ASE's units.

    Made here rather than by ASE because a frame then takes 50 µs instead of 700; ASE reads it back.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._names = [name for name in ("positions", "momenta") if name in atoms.arrays]
        columns = "".join([":momenta:R:3" if "momenta" in self._names else "", ":forces:R:3"])
        ends = ["\n"] * len(atoms)
        if atoms.has("masses"):
            columns += ":masses:R:1"
            ends = [f" {mass:16.8f}\n" for mass in atoms.get_masses()]
        cell = " ".join(repr(float(x)) for x in atoms.cell.array.ravel())
        lattice = f'Lattice="{cell}" ' if atoms.cell.any() else ""
        pbc = " ".join("FT"[int(flag)] for flag in atoms.pbc)
        self._head = f'{len(atoms)}\n{lattice}Properties=species:S:1:pos:R:3{columns} %s pbc="{pbc}"\n'
        numbers = " %16.8f" * 3 * (len(self._names) + 1)
        self._body = "".join(
            f"{symbol:<2}{numbers}{end}" for symbol, end in zip(atoms.get_chemical_symbols(), ends, strict=True)
        )

    def frame(self, atoms: Atoms, results: Mapping[str, Any], **info: int | float) -> str:
        """One frame: the structure and momenta of ``atoms``, results with energy (eV) and forces (eV/Å), ``info``."""
        values = np.hstack([*(atoms.arrays[name] for name in self._names), results["forces"]])
        comment = " ".join(f"{name}={value!r}" for name, value in {**info, "energy": results["energy"]}.items())
        return self._head % comment + self._body % tuple(values.ravel().tolist())


class ExtxyzTrajectory(TextFile):
    """Extended XYZ, one frame after the other."""

    def __init__(self, path: Path, atoms: Atoms, mark: list[int] | None = None) -> None:
        super().__init__(path, mark)
        self._format = ExtxyzFormat(atoms)

    def write(self, atoms: Atoms, results: Mapping[str, Any], **info: int | float) -> None:
        """Add a frame, see :meth:`ExtxyzFormat.frame`."""
        self._file.write(self._format.frame(atoms, results, **info))
        self._file.flush()


class AseTrajectory(Growing):
    """ASE's binary ``.traj``; its mark is the number of frames and the size in bytes."""

    def __init__(self, path: Path, mark: list[int] | None = None) -> None:
        self._path = path
        self._frames = 0
        if mark is None:
            _create(path)
        else:
            self._frames = mark[0]
            self._cut(mark)
        self._file = Trajectory(str(path), "a" if self._frames else "w")

    def _cut(self, mark: list[int]) -> None:
        try:
            with Trajectory(str(self._path), "r") as old:
                if [len(old), self._path.stat().st_size] == mark:
                    return
                frames = [old[index] for index in range(mark[0])]
        except (OSError, IndexError, ValueError) as error:
            raise FileFormatError(
                f"cannot continue {self._path} after frame {mark[0]}: {error}; restore the file"
            ) from None
        with atomic_write(self._path) as temporary, Trajectory(str(temporary), "w") as new:
            for frame in frames:
                new.write(frame)

    def write(self, atoms: Atoms, results: Mapping[str, Any], **info: int | float) -> None:
        """Add a frame, see :meth:`ExtxyzFormat.frame`."""
        self._file.write(labelled(atoms, results, **info))
        self._frames += 1

    def mark(self) -> list[int]:
        return [self._frames, self._path.stat().st_size]

    def close(self) -> None:
        self._file.close()

"""Harmonic vibrations from the analytic Hessian: frequencies, zero-point energy, thermochemistry, modes to look at.

Translations and rotations are projected out of the Hessian, so that exactly 3N − 6 vibrations remain (3N − 5 for a
linear molecule, 3N − 3 in a cell), whatever force is left on the atoms. One Hessian costs a few force calls, where
finite differences take 6N of them and lose digits.

| symbol | here |
|---|---|
| H, m | ``hessian`` [3·atoms, 3·atoms] eV/Å², ``atoms.get_masses()`` |
| ν | ``frequencies`` [modes] cm⁻¹, an imaginary one as a negative number |
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms, units
from ase.io import write
from ase.thermochemistry import HarmonicThermo, IdealGasThermo
from ase.vibrations.data import VibrationsData

from nyff.calculator import NyffCalculator
from nyff.errors import InputError
from nyff.files import atomic_write, new_folder
from nyff.md.limits import START_REMEDY, Watch
from nyff.md.output import frozen_results
from nyff.md.rigid import rigid_motions

if TYPE_CHECKING:
    from nyff.model.force_field import ForceField

# Below this the harmonic approximation says little: such modes are internal rotations or ring puckers.
_SOFT = 100.0
# Atoms that a symmetry puts on each other may miss by this much, in Å: what relaxing to 0.01 eV/Å leaves.
_SAME_PLACE = 0.05


@dataclass(frozen=True)
class Thermochemistry:
    """Ideal gas of rigid rotors and harmonic oscillators at one temperature (K) and pressure (Pa); energies in eV.

    Internal energy, enthalpy and Gibbs energy include the potential energy of the minimum. A crystal has only its
    vibrations: its enthalpy is the internal energy, and its Gibbs energy the Helmholtz energy.
    """

    temperature_kelvin: float
    pressure_pascal: float
    symmetry_number: int
    zero_point_energy_ev: float
    internal_energy_ev: float
    enthalpy_ev: float
    entropy_ev_per_kelvin: float
    gibbs_energy_ev: float

    def to_dict(self) -> dict[str, float]:
        """As plain values, with the units in the names."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class VibrationsResult:
    """Harmonic vibrations of a structure at a stationary point.

    ``atoms`` is the structure, ``energy`` its potential energy (eV), ``fmax`` the largest force left on an atom (eV/Å),
    ``hessian`` what the model gave (eV/Å²). ``frequencies`` [modes] in cm⁻¹ are in ascending order, imaginary ones as
    negative numbers; ``modes`` [modes, atoms, 3] the displacements that go with them, in amu^−½: times the square roots
    of the masses they are unit vectors. ``symmetry_number`` is what was found among the model's permutations.
    ``hints`` are sentences worth reading.
    """

    atoms: Atoms
    energy: float
    fmax: float
    hessian: np.ndarray
    frequencies: np.ndarray
    modes: np.ndarray
    geometry: Literal["linear", "nonlinear", "periodic"]
    symmetry_number: int
    hints: list[str]

    @property
    def n_imaginary(self) -> int:
        """Directions in which the energy falls: 0 at a minimum, 1 at a transition state."""
        return int((self.frequencies < 0).sum())

    @property
    def energies(self) -> np.ndarray:
        """ħω of the modes [modes] in eV, imaginary ones as imaginary numbers, as ASE has them."""
        found: np.ndarray = self.frequencies * units.invcm
        return np.where(found < 0, 1j * np.abs(found), found)

    @property
    def zero_point_energy(self) -> float:
        """Half the sum of ħω over the real modes, in eV."""
        return float(self.energies.real.sum() / 2)

    @property
    def data(self) -> VibrationsData:
        """ASE's own object, for everything ASE does with vibrations; it holds the projected Hessian."""
        masses = np.repeat(self.atoms.get_masses(), 3)
        q = rigid_motions(self.atoms, self.atoms.get_masses())
        weighted = self.hessian / np.sqrt(np.outer(masses, masses))
        inside = np.eye(len(masses)) - q @ q.T
        projected = (inside @ weighted @ inside) * np.sqrt(np.outer(masses, masses))
        return VibrationsData.from_2d(self.atoms, (projected + projected.T) / 2)

    def thermochemistry(
        self,
        temperature: float = 298.15,
        pressure: float = 101325.0,
        *,
        symmetry_number: int | None = None,
        spin: float = 0.0,
        ignore_imaginary: bool = False,
    ) -> Thermochemistry:
        """Thermodynamic functions at ``temperature`` in K and ``pressure`` in Pa, by :mod:`ase.thermochemistry`.

        ``symmetry_number`` replaces the one found; ``spin`` is the total spin (0.5 for one unpaired electron).
        Imaginary modes are refused, because the structure then is no minimum, or left out with ``ignore_imaginary``.
        """
        for name, value in (("temperature", temperature), ("pressure", pressure)):
            if not (0 < value < float("inf")):
                raise InputError(f"{name} must be positive, got {value}")
        if self.n_imaginary and not ignore_imaginary:
            raise InputError(
                f"the structure is no minimum: {_imaginary(self.frequencies)}; relax it further or push it along that "
                "mode, or leave such modes out with ignore_imaginary=True (a transition state)"
            )
        number = self.symmetry_number if symmetry_number is None else symmetry_number
        if number < 1:
            raise InputError(f"symmetry_number must be at least 1, got {number}")
        with warnings.catch_warnings():
            # ASE warns of the imaginary modes that were just allowed.
            warnings.simplefilter("ignore", UserWarning)
            state = self._state(temperature, pressure, number, spin, ignore_imaginary)
        plain = {name: float(value) for name, value in state.items()}
        return Thermochemistry(temperature, pressure, number, self.zero_point_energy, **plain)

    def _state(
        self, temperature: float, pressure: float, number: int, spin: float, ignore_imaginary: bool
    ) -> dict[str, float]:
        energies = self.energies.tolist()
        if self.geometry == "periodic":
            crystal = HarmonicThermo(energies, self.energy, ignore_imag_modes=ignore_imaginary)
            inside = crystal.get_internal_energy(temperature, verbose=False)
            return {
                "internal_energy_ev": inside,
                "enthalpy_ev": inside,
                "entropy_ev_per_kelvin": crystal.get_entropy(temperature, verbose=False),
                "gibbs_energy_ev": crystal.get_helmholtz_energy(temperature, verbose=False),
            }
        gas = IdealGasThermo(
            energies,
            self.geometry,
            potentialenergy=self.energy,
            atoms=self.atoms,
            symmetrynumber=number,
            spin=spin,
            ignore_imag_modes=ignore_imaginary,
        )
        return {
            "internal_energy_ev": gas.get_internal_energy(temperature, verbose=False),
            "enthalpy_ev": gas.get_enthalpy(temperature, verbose=False),
            "entropy_ev_per_kelvin": gas.get_entropy(temperature, pressure, verbose=False),
            "gibbs_energy_ev": gas.get_gibbs_energy(temperature, pressure, verbose=False),
        }

    def animation(self, mode: int, *, amplitude: float = 0.4, frames: int = 24) -> list[Atoms]:
        """One swing of mode ``mode`` as ``frames`` structures; ``amplitude`` is what the fastest atom moves, in Å."""
        if not -len(self.frequencies) <= mode < len(self.frequencies):
            raise InputError(f"there is no mode {mode}; the {len(self.frequencies)} modes count from 0")
        if frames < 2 or not amplitude > 0:
            raise InputError(f"an animation needs 2 frames and a positive amplitude, got {frames} and {amplitude}")
        swing = self.modes[mode] * (amplitude / np.linalg.norm(self.modes[mode], axis=1).max())
        images = []
        for phase in np.arange(frames) * (2 * np.pi / frames):
            positions = self.atoms.positions + np.sin(phase) * swing
            image = Atoms(self.atoms.numbers, positions, cell=self.atoms.cell, pbc=self.atoms.pbc)
            image.info["frequency_invcm"] = float(self.frequencies[mode])
            images.append(image)
        return images

    def write_modes(
        self, folder: str | Path, modes: Sequence[int] | None = None, *, amplitude: float = 0.4, frames: int = 24
    ) -> list[Path]:
        """Write :meth:`animation` of ``modes`` (default: all) as extended XYZ, one file each, into a new folder.

        Files are called by number and frequency, such as ``mode_07_1043cm-1.extxyz``, an imaginary one
        ``mode_00_120icm-1.extxyz``. Returns them in order.
        """
        chosen = range(len(self.frequencies)) if modes is None else modes
        animations = [self.animation(mode, amplitude=amplitude, frames=frames) for mode in chosen]
        folder = new_folder(folder, "folder")
        digits = len(str(len(self.frequencies) - 1))
        files = []
        for mode, images in zip(chosen, animations, strict=True):
            frequency = float(self.frequencies[mode])
            value = f"{abs(frequency):.0f}{'i' if frequency < 0 else ''}"
            name = f"mode_{mode % len(self.frequencies):0{digits}d}_{value}cm-1.extxyz"
            with atomic_write(folder / name) as temporary:
                write(temporary, images, format="extxyz")
            files.append(folder / name)
        return files


def vibrations(
    model: ForceField | str | Path, atoms: Atoms, *, fmax: float = 0.01, device: str | None = None
) -> VibrationsResult:
    """Frequencies and modes of ``atoms``, which must be at a stationary point of ``model``.

    ``fmax`` is the largest force on an atom, in eV/Å, at which a structure counts as stationary. Masses are those of
    ``atoms``, so isotopes can be set with ``atoms.set_masses``.

    Raises :class:`~nyff.errors.InputError` for a structure that is not stationary (relax it first), far from what the
    model knows, or with constraints.
    """
    if not fmax > 0:
        raise InputError(f"fmax must be positive, got {fmax}; 0.01 eV/Å is usual")
    if atoms.constraints:
        raise InputError("the structure has constraints, with which modes are not those of the molecule; remove them")
    calculator = NyffCalculator(model, device)
    calculator.check_atoms(atoms)
    problem = Watch(calculator.model).distances(atoms.positions)
    if problem is not None:
        raise InputError(f"the structure is far from the training data: {problem}. {START_REMEDY}")
    still = atoms.copy()
    calculator.calculate(still)
    results = calculator.results
    largest = float(np.sqrt((results["forces"] ** 2).sum(1).max()))
    if largest > fmax:
        raise InputError(
            f"the structure is not at a stationary point: the largest force on an atom is {largest:.2g} eV/Å, at most "
            f"{fmax:g} is wanted; relax it first (nyff relax, or nyff.md.relax.relax with fmax={fmax / 10:g})"
        )
    hessian = calculator.get_hessian(still)
    still.calc = frozen_results(still, results)
    periodic = bool(still.pbc.any())
    frequencies, modes, rigid = normal_modes(still, hessian)
    geometry: Literal["linear", "nonlinear", "periodic"]
    geometry = "periodic" if periodic else "linear" if rigid == 5 else "nonlinear"
    number = 1 if periodic else count_rotations(still, calculator.model.permutations)
    return VibrationsResult(
        atoms=still,
        energy=results["energy"],
        fmax=largest,
        hessian=hessian,
        frequencies=frequencies,
        modes=modes,
        geometry=geometry,
        symmetry_number=number,
        hints=_hints(frequencies),
    )


def normal_modes(atoms: Atoms, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Frequencies [modes] in cm⁻¹, modes [modes, atoms, 3] and the number of rigid motions projected out.

    ``hessian`` [3·atoms, 3·atoms] in eV/Å², from any source. E. B. Wilson, J. C. Decius, P. C. Cross, Molecular
    Vibrations (1955), chapter 2.
    """
    masses = atoms.get_masses()
    if not (masses > 0).all():
        raise InputError("an atom has no mass; give masses with atoms.set_masses")
    root = np.sqrt(np.repeat(masses, 3))
    rigid = rigid_motions(atoms, masses)
    internal = np.linalg.qr(np.hstack([rigid, np.eye(len(root))]))[0][:, rigid.shape[1] :]
    squares, vectors = np.linalg.eigh(internal.T @ (hessian / np.outer(root, root)) @ internal)
    # In ASE's units of time, length, mass and energy ω² = k/m holds without a factor.
    energies = np.sign(squares) * np.sqrt(np.abs(squares)) * (units._hbar * units.J * units.second)
    modes = ((internal @ vectors) / root[:, None]).T.reshape(len(squares), -1, 3)
    return energies / units.invcm, modes, rigid.shape[1]


def count_rotations(atoms: Atoms, permutations: np.ndarray) -> int:
    """The symmetry number: permutations of equal atoms [symmetries, atoms] that a proper rotation brings about.

    Correct as far as ``permutations`` are the molecule's full group; a linear molecule has 2 if it can be reversed.
    """
    centred = atoms.positions - np.average(atoms.positions, axis=0, weights=atoms.get_masses())
    masses = atoms.get_masses()
    count = 0
    for permutation in permutations:
        moved = centred[permutation]
        if np.abs(masses[permutation] - masses).max() > 1e-6:
            continue
        u, _, vt = np.linalg.svd(moved.T @ centred)
        u[:, -1] *= np.sign(np.linalg.det(u @ vt))
        if np.linalg.norm(moved @ (u @ vt) - centred, axis=1).max() < _SAME_PLACE:
            count += 1
    return max(1, count)


def _hints(frequencies: np.ndarray) -> list[str]:
    hints = []
    if (frequencies < 0).any():
        hints.append(
            f"{_imaginary(frequencies)}: this is no minimum of the model; relax it further, or push it along that mode "
            "and relax again"
        )
    soft = int(((frequencies > 0) & (frequencies < _SOFT)).sum())
    if soft:
        hints.append(
            f"{soft} mode{'s are' if soft > 1 else ' is'} below {_SOFT:.0f} cm⁻¹, where the harmonic approximation is "
            "poor: entropy and Gibbs energy lean on them"
        )
    return hints


def _imaginary(frequencies: np.ndarray) -> str:
    found = -frequencies[frequencies < 0]
    listed = ", ".join(f"{value:.0f}i" for value in found[:4]) + (", …" if len(found) > 4 else "")
    return f"{len(found)} imaginary mode{'s' if len(found) > 1 else ''} ({listed} cm⁻¹)"


def summary(result: VibrationsResult, thermochemistry: Thermochemistry | None = None) -> dict[str, Any]:
    """Everything but the arrays of displacements, JSON-able, with units in the names."""
    return {
        "energy_ev": result.energy,
        "fmax_ev_per_ang": result.fmax,
        "geometry": result.geometry,
        "frequencies_invcm": result.frequencies.tolist(),
        "n_imaginary": result.n_imaginary,
        "zero_point_energy_ev": result.zero_point_energy,
        "symmetry_number": result.symmetry_number,
        "thermochemistry": None if thermochemistry is None else thermochemistry.to_dict(),
        "hints": result.hints,
    }

"""Make the small molecular-dynamics samples on which the tests of permutational symmetry run.

Each molecule is embedded from its list of bonds, relaxed with GFN2-xTB and run at 500 K with Langevin dynamics, as
the molecules of MD17 were. Evenly spaced frames go to ``tests/kernel/data/<name>.npz``: ``numbers`` [atoms]
and ``positions`` [frames, atoms, 3] in Å (float32: the tests need shapes, not energies). Needs the ``xtb`` extra.

    OMP_NUM_THREADS=1 python scripts/make_symmetry_fixtures.py paracetamol
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS
from scipy.optimize import minimize
from tblite.ase import TBLite

# name: (elements, bonds, picoseconds); ``4~5`` is a hydrogen bond of the start structure
MOLECULES: dict[str, tuple[str, str, float]] = {
    # The keto form, as in MD17: two aldehyde groups on a CH2.
    "malonaldehyde": ("C3 O2 H4", "0-1 1-2 0-3 2-4 0-5 1-6 1-7 2-8", 40.0),
    # The enol form with its intramolecular hydrogen bond: the proton H5 goes between O3 and O4.
    "malonaldehyde_enol": ("C3 O2 H4", "0-1 1-2 0-3 2-4 3-5 4~5 0-6 1-7 2-8", 40.0),
    "benzene": ("C6 H6", "0-1 1-2 2-3 3-4 4-5 5-0 0-6 1-7 2-8 3-9 4-10 5-11", 10.0),
    "naphthalene": (
        "C10 H8",
        "0-1 1-2 2-3 3-4 4-5 5-0 4-6 6-7 7-8 8-9 9-5 0-10 1-11 2-12 3-13 6-14 7-15 8-16 9-17",
        10.0,
    ),
    "paracetamol": (
        "C8 N1 O2 H9",
        "0-1 1-2 2-3 3-4 4-5 5-0 0-8 8-6 6-9 6-7 3-10 1-11 2-12 4-13 5-14 8-15 10-16 7-17 7-18 7-19",
        40.0,
    ),
    "salicylic_acid": (
        "C7 O3 H6",
        "0-1 1-2 2-3 3-4 4-5 5-0 0-6 6-7 6-8 1-9 2-10 3-11 4-12 5-13 8-14 9-15",
        20.0,
    ),
}


def parse(elements: str, bonds: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atomic numbers [atoms], bonds [bonds, 2] and hydrogen bonds [contacts, 2] of one entry of the table."""

    def pairs(mark: str) -> np.ndarray:
        found = [[int(end) for end in bond.split(mark)] for bond in bonds.split() if mark in bond]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    return Atoms("".join(elements.split())).numbers, pairs("-"), pairs("~")


def embed(numbers: np.ndarray, bonds: np.ndarray, contacts: np.ndarray, seed: int) -> Atoms:
    """A crude structure with these bonds: bonded pairs at their covalent distance, all others pushed apart."""
    n_atoms = len(numbers)
    ideal = covalent_radii[numbers][:, None] + covalent_radii[numbers][None, :]
    bonded = np.zeros((n_atoms, n_atoms), dtype=bool)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = True
    second = (bonded.astype(int) @ bonded.astype(int) > 0) & ~bonded
    lower = np.tril_indices(n_atoms, -1)
    is_bond, is_second = bonded[lower], second[lower]
    target = np.where(is_bond, ideal[lower], np.where(is_second, 1.65 * ideal[lower], 2.6))

    for i, j in contacts:
        row = (lower[0] == max(i, j)) & (lower[1] == min(i, j))
        target[row], is_bond[row] = 1.7, True

    def strain(flat: np.ndarray) -> tuple[float, np.ndarray]:
        positions = flat.reshape(-1, 3)
        vectors = positions[lower[0]] - positions[lower[1]]
        lengths = np.linalg.norm(vectors, axis=1)
        error = lengths - target
        error[~is_bond] = np.minimum(error[~is_bond], 0.0)
        slopes = (2.0 * error / lengths)[:, None] * vectors
        gradient = np.zeros_like(positions)
        np.add.at(gradient, lower[0], slopes)
        np.add.at(gradient, lower[1], -slopes)
        gradient[:, 2] += 0.1 * positions[:, 2]  # rings come out flat
        return float(error @ error + 0.05 * positions[:, 2] @ positions[:, 2]), gradient.ravel()

    rng = np.random.default_rng(seed)
    trials = [minimize(strain, 2.0 * rng.normal(size=3 * n_atoms), jac=True, method="L-BFGS-B") for _ in range(40)]
    best = min(trials, key=lambda trial: trial.fun)
    return Atoms(numbers=numbers, positions=best.x.reshape(-1, 3))


def check_bonds(atoms: Atoms, bonds: np.ndarray) -> None:
    """Refuse a structure that relaxed into another molecule."""
    lengths = atoms.get_all_distances()
    radii = covalent_radii[atoms.numbers]
    found = {(i, j) for i, j in zip(*np.nonzero(lengths < 1.25 * (radii[:, None] + radii)), strict=True) if i < j}
    wanted = {(min(i, j), max(i, j)) for i, j in bonds.tolist()}
    if found != wanted:
        raise SystemExit(f"relaxed into other bonds: {sorted(found ^ wanted)}; try another --seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MOLECULES), help=f"any of {', '.join(MOLECULES)}")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=500.0, help="K")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parents[1] / "tests/kernel/data")
    options = parser.parse_args()
    for name in options.names:
        elements, bond_text, picoseconds = MOLECULES[name]
        numbers, bonds, contacts = parse(elements, bond_text)
        atoms = embed(numbers, bonds, contacts, options.seed)
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        BFGS(atoms, logfile=None).run(fmax=0.02, steps=500)
        check_bonds(atoms, bonds)
        rng = np.random.default_rng(options.seed)
        MaxwellBoltzmannDistribution(atoms, temperature_K=options.temperature, rng=rng)
        dynamics = Langevin(atoms, 1.0 * units.fs, temperature_K=options.temperature, friction=0.01 / units.fs, rng=rng)
        started = time.perf_counter()
        dynamics.run(2000)
        stride = int(picoseconds * 1000 / options.frames)
        frames = []
        for _ in range(options.frames):
            dynamics.run(stride)
            frames.append(atoms.get_positions() - atoms.get_center_of_mass())
        options.output.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            options.output / f"{name}.npz", numbers=numbers, positions=np.array(frames, dtype=np.float32)
        )
        print(f"{name}: {options.frames} frames in {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()

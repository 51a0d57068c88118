"""Make the bundled data set: ethanol at GFN2-xTB, sampled by Langevin dynamics at 500 K.

    python scripts/make_ethanol.py [-o nyff/data/ethanol.npz] [--workers 2]

Needs the extra ``nyff[xtb]`` and takes about a quarter of an hour on one core. Independent trajectories start in turn
from the trans and from a gauche conformer of the O-H group. Every 20 fs a Metropolis step turns the O-H group by a
random angle, which samples the same ensemble and leaves no memory of the conformer between stored structures. Positions
are rounded to single precision first and labelled afterwards, each from a fresh guess, so that the stored labels belong
exactly to the stored positions. The structures are shuffled: the first n of the file are as good a sample as any other.
The same seed gives the same file on the same machine and libraries; elsewhere the trajectories part ways after some
picoseconds, as chaotic ones do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.geometry import get_dihedrals

METHOD = "GFN2-xTB"
ACCURACY = 0.05  # tblite's multiplier of its thresholds for the labels, 1.0 is its default
TEMPERATURE_K = 500.0
TIMESTEP_FS = 1.0
FRICTION_PER_FS = 0.03
EQUILIBRATION_FS = 1000.0
STRIDE_FS = 120.0
TURN_EVERY_FS = 20.0
TRAJECTORIES = 20
PER_TRAJECTORY = 100


def ethanol(gauche: bool) -> Atoms:
    """Relaxed ethanol, atoms ordered C C O H(O) H..., trans or gauche about C-O."""
    from ase.build import molecule
    from ase.optimize import BFGS
    from tblite.ase import TBLite

    atoms = molecule("CH3CH2OH")
    order = [
        *np.flatnonzero(atoms.numbers == 6),
        *np.flatnonzero(atoms.numbers == 8),
        *np.flatnonzero(atoms.numbers == 1),
    ]
    atoms = atoms[order]
    oxygen, hydroxyl = 2, 3 + int(np.argmin(atoms.get_distances(2, range(3, 9))))
    atoms = atoms[[0, 1, 2, hydroxyl, *(i for i in range(3, 9) if i != hydroxyl)]]
    near, far = sorted((0, 1), key=lambda c: atoms.get_distance(c, oxygen))
    atoms = atoms[[far, near, *range(2, 9)]]
    atoms.set_dihedral(0, 1, 2, 3, 60.0 if gauche else 180.0, indices=[3])
    atoms.calc = TBLite(method=METHOD, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=200)
    return atoms


def trajectory(index: int, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions [count, 9, 3] in Å (single precision) and times [count] in fs of one Langevin trajectory."""
    from ase.md.langevin import Langevin

    rng = np.random.default_rng([seed, index])
    atoms = ethanol(gauche=index % 2 == 1)
    spread = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE_K)
    atoms.set_momenta(rng.standard_normal((9, 3)) * spread[:, None])
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=TEMPERATURE_K,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,  # the molecule may drift, it is centred when stored
        rng=rng,
    )
    steps = round(TURN_EVERY_FS / TIMESTEP_FS)
    for _ in range(round(EQUILIBRATION_FS / TURN_EVERY_FS)):
        dynamics.run(steps)
        turn_hydroxyl(atoms, rng)
    positions, times = [], []
    for k in range(count):
        for _ in range(round(STRIDE_FS / TURN_EVERY_FS)):
            turn_hydroxyl(atoms, rng)
            dynamics.run(steps)
        positions.append((atoms.positions - atoms.positions.mean(axis=0)).astype(np.float32))
        times.append(EQUILIBRATION_FS + (k + 1) * STRIDE_FS)
    return np.array(positions), np.array(times)


def turn_hydroxyl(atoms: Atoms, rng: np.random.Generator) -> None:
    """One Metropolis step: the O-H bond turns about C-O by a random angle, or stays."""
    before, energy = atoms.positions.copy(), atoms.get_potential_energy()
    atoms.rotate_dihedral(0, 1, 2, 3, rng.uniform(0.0, 360.0), indices=[3])
    if rng.random() >= np.exp((energy - atoms.get_potential_energy()) / (units.kB * TEMPERATURE_K)):
        atoms.positions[:] = before


def label(numbers: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies [frames] in eV and forces [frames, 9, 3] in eV/Å, each structure from a fresh guess."""
    from tblite.ase import TBLite

    energies, forces = [], []
    for frame in positions.astype(np.float64):
        atoms = Atoms(numbers, frame, calculator=TBLite(method=METHOD, accuracy=ACCURACY, verbosity=0))
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    return np.array(energies), np.array(forces)


def sample(index: int, seed: int, count: int) -> dict[str, np.ndarray]:
    """One trajectory with its labels."""
    numbers = ethanol(gauche=False).numbers
    positions, times = trajectory(index, seed, count)
    energies, forces = label(numbers, positions)
    print(f"trajectory {index}: {count} structures, mean energy {energies.mean():.4f} eV", flush=True)
    return {
        "z": numbers.astype(np.int64),
        "R": positions,
        "E": energies,
        "F": forces.astype(np.float32),
        "trajectory": np.full(count, index, dtype=np.uint8),
        "time_fs": times.astype(np.float32),
    }


def statistics(data: dict[str, np.ndarray]) -> dict[str, float]:
    """How well sampled: autocorrelation at one stride within trajectories, conformers, and spread."""
    positions = data["R"].astype(float)
    hydroxyl = np.radians(_dihedral(positions, (0, 1, 2, 3)))
    methyl_hydrogen = 3 + int(np.argsort(np.linalg.norm(positions[0, 3:] - positions[0, 0], axis=1))[0])
    methyl = np.radians(_dihedral(positions, (methyl_hydrogen, 0, 1, 2)))
    order = np.lexsort((data["time_fs"], data["trajectory"]))
    same = np.diff(data["trajectory"][order]) == 0

    def lag_one(x: np.ndarray) -> float:
        x = (x - x.mean())[order]
        return float(np.mean((x[:-1] * x[1:].conj())[same]).real / np.mean(np.abs(x) ** 2))

    trans = np.cos(hydroxyl) < -0.5
    return {
        "energy_autocorrelation_one_stride": round(lag_one(data["E"]), 4),
        "force_autocorrelation_one_stride": round(float(np.mean([lag_one(f) for f in data["F"].reshape(-1, 27).T])), 4),
        "hydroxyl_cos_autocorrelation_one_stride": round(lag_one(np.cos(hydroxyl)), 4),
        "methyl_phase_autocorrelation_one_stride": round(lag_one(np.exp(3j * methyl)), 4),
        "share_trans": round(float(trans.mean()), 4),
        "share_gauche_plus": round(float((~trans & (np.sin(hydroxyl) > 0)).mean()), 4),
        "share_gauche_minus": round(float((~trans & (np.sin(hydroxyl) < 0)).mean()), 4),
        "conformer_changes_between_strides": int(np.sum((np.diff(trans[order]) != 0) & same)),
        "energy_std_ev": round(float(data["E"].std()), 4),
        "force_component_rms_ev_per_ang": round(float(np.sqrt(np.mean(data["F"].astype(float) ** 2))), 4),
    }


def _dihedral(positions: np.ndarray, atoms: tuple[int, ...]) -> np.ndarray:
    """Torsion angle [frames] in degrees."""
    a, b, c, d = (positions[:, i] for i in atoms)
    return get_dihedrals(b - a, c - b, d - c)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[1] / "nyff" / "data" / "ethanol.npz"
    parser.add_argument("-o", "--output", type=Path, default=default)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trajectories", type=int, default=TRAJECTORIES)
    parser.add_argument("--per-trajectory", type=int, default=PER_TRAJECTORY)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    work = partial(sample, seed=options.seed, count=options.per_trajectory)
    with ProcessPoolExecutor(options.workers) as pool:
        parts = list(pool.map(work, range(options.trajectories)))
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "z"}
    shuffled = np.random.default_rng(options.seed).permutation(len(data["E"]))
    data = {"z": parts[0]["z"], **{name: value[shuffled] for name, value in data.items()}}

    provenance = {
        "molecule": "ethanol",
        "method": METHOD,
        "method_doi": "10.1021/acs.jctc.8b01176",
        "software": f"tblite {version('tblite')} through ASE {version('ase')}",
        "accuracy": ACCURACY,
        "sampling": f"Langevin dynamics with Metropolis turns of the O-H group, {options.trajectories} trajectories",
        "temperature_K": TEMPERATURE_K,
        "timestep_fs": TIMESTEP_FS,
        "friction_per_fs": FRICTION_PER_FS,
        "equilibration_fs": EQUILIBRATION_FS,
        "turn_every_fs": TURN_EVERY_FS,
        "stride_fs": STRIDE_FS,
        "seed": options.seed,
        "date": date.today().isoformat(),
        "script": "scripts/make_ethanol.py",
        "statistics": statistics(data),
    }
    digest = hashlib.md5()
    for name in ("z", "R", "E", "F"):  # sGDML's digest of the raw buffers, so that its tools can check the file as well
        digest.update(hashlib.md5(np.ascontiguousarray(data[name]).tobytes()).digest())
    np.savez_compressed(
        options.output,
        type="d",
        name="ethanol",
        theory=METHOD,
        e_unit="eV",
        r_unit="Ang",
        md5=np.array(digest.hexdigest().encode()),
        provenance=json.dumps(provenance),
        **data,
    )
    print(json.dumps(provenance, indent=2))
    print(f"{options.output}: {len(data['E'])} structures, {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()

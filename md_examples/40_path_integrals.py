"""Path integrals with i-PI: how much wider is an O-H bond when its hydrogen is a quantum particle?

At 300 K a classical O-H bond hardly moves, because its vibration (3600 cm^-1) costs seventeen times kT; in truth its
zero-point motion is far wider. Path integrals show it: the atoms become rings of beads, and one call of the force
field evaluates all beads of a step.

Trains a force field, writes two i-PI inputs (one bead: classical; 32 beads: quantum), runs them, and draws the two
distributions of the bond length beside the harmonic theory. Needs i-PI: pip install nyff[ipi]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
from ase.io import iread
from ase.optimize import BFGS
from matplotlib.figure import Figure

import nyff
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.ipi.writer import write_input
from nyff.units import KB

CI = os.environ.get("CI") == "true"
N_TRAIN, BEADS, PICOSECONDS = (100, 16, 0.4) if CI else (300, 32, 5.0)
TEMPERATURE, TIMESTEP, OXYGEN, HYDROGEN = 300.0, 0.5, 2, 3
HBAR = 0.6582119569  # eV fs
DALTON = 103.6426966  # eV fs²/Å²


def i_pi() -> str:
    """i-PI's program, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("i-pi")
    program = str(beside) if beside.exists() else shutil.which("i-pi")
    if program is None:
        sys.exit("this example needs i-PI: pip install nyff[ipi]")
    return program


def bond_lengths(beads: int, picoseconds: float) -> np.ndarray:
    """Write the input, run i-PI in its folder, and read the O-H distances of all beads and frames."""
    folder = Path(f"path-integral-{beads}")
    shutil.rmtree(folder, ignore_errors=True)
    options = InputOptions(nbeads=beads, temperature=TEMPERATURE, time=1000 * picoseconds, timestep=TIMESTEP, seed=1)
    write_input("start.xyz", Parameters(model="ethanol.nyff"), folder, options)
    with (folder / "i-pi.log").open("w") as log:
        subprocess.run([i_pi(), "input.xml"], cwd=folder, stdout=log, stderr=log, check=True)
    lengths = []
    for file in sorted(folder.glob("simulation.pos_*.xyz")):
        frames = [frame.get_distance(OXYGEN, HYDROGEN) for frame in iread(str(file))]
        lengths.append(frames[len(frames) // 5 :])  # the first fifth is the way to equilibrium
    return np.array(lengths)


data = nyff.datasets.ethanol()
result = nyff.fit(data, n_train=N_TRAIN, lengthscale=10.0, seed=0)
print(f"force field: error of {1000 * result.metrics['force_mae_ev_per_ang']:.0f} meV/Å on structures it has not seen")
result.model.save("ethanol.nyff")
atoms = ase.Atoms(data.numbers, data.positions[np.argmin(data.energies)])
atoms.calc = nyff.NyffCalculator(result.model)
BFGS(atoms, logfile=None).run(fmax=1e-3)
atoms.write("start.xyz")

# Harmonic theory: the stiffness of the bond from the model's second derivatives along it.
hessian = result.model.hessian(atoms.positions[None])[0].reshape(9, 3, 9, 3)
masses = atoms.get_masses() * DALTON
reduced = 1 / (1 / masses[OXYGEN] + 1 / masses[HYDROGEN])
along = np.zeros((9, 3))
direction = atoms.positions[HYDROGEN] - atoms.positions[OXYGEN]
direction /= np.linalg.norm(direction)
along[HYDROGEN], along[OXYGEN] = direction * reduced / masses[HYDROGEN], -direction * reduced / masses[OXYGEN]
stiffness = np.einsum("ia,iajb,jb->", along, hessian, along)
omega = np.sqrt(stiffness / reduced)
kt = KB * TEMPERATURE
sigma = {
    "classical": np.sqrt(kt / stiffness),
    "quantum": np.sqrt(HBAR / (2 * reduced * omega) / np.tanh(HBAR * omega / (2 * kt))),
}
print(f"O-H stretch: {omega / (2 * np.pi * 2.99792458e-5):.0f} cm^-1 in the harmonic picture")

figure = Figure(figsize=(6.4, 4.0), layout="constrained")
axes = figure.subplots()
widths = {}
# One bead is one sample of the bond a step, a ring is many: the classical run is longer to make up for it.
for kind, beads, length, colour in (
    ("classical", 1, 3 * PICOSECONDS, "tab:orange"),
    ("quantum", BEADS, PICOSECONDS, "tab:blue"),
):
    lengths = bond_lengths(beads, length)
    widths[kind] = lengths.std()
    print(
        f"{kind:>9}, {beads:2d} bead{'s' if beads > 1 else ' '}: O-H bond {lengths.mean():.4f} ± {widths[kind]:.4f} Å "
        f"(harmonic theory: ± {sigma[kind]:.4f} Å)"
    )
    axes.hist(lengths.ravel(), bins=40, density=True, color=colour, alpha=0.45, label=f"{kind}, {beads} bead(s)")
    r = np.linspace(0.7, 1.3, 400)
    centre = lengths.mean()
    normal = np.exp(-((r - centre) ** 2) / (2 * sigma[kind] ** 2)) / (sigma[kind] * np.sqrt(2 * np.pi))
    axes.plot(r, normal, color=colour, label=f"{kind}, harmonic theory")
print(f"the quantum bond is {widths['quantum'] / widths['classical']:.1f} times as wide")
axes.set(xlabel="O-H distance (Å)", ylabel="density (1/Å)", title=f"Ethanol at {TEMPERATURE:g} K")
axes.legend()
figure.savefig("path_integrals.png", dpi=150)
print("picture: path_integrals.png")

"""Ethanol's hydroxyl torsion: the energy along the H–O–C–C angle beside GFN2-xTB itself.

Ends with a picture of the two conformers, trans (180°) and gauche (60°), and the barrier between them, for a rigid turn
of the hydroxyl group from the relaxed structure. The model learnt from molecular dynamics at 500 K and saw none of
these structures.
"""

import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms

import nyff
from nyff.md.relax import relax

CI = bool(os.environ.get("CI"))
ANGLES = np.arange(30, 331, 30 if CI else 10)

data = nyff.datasets.ethanol()
model = nyff.fit(data, 200 if CI else 500, lengthscale=20.0).model
atoms = Atoms(numbers=data.numbers, positions=data.positions[data.energies.argmin()])
atoms = relax(model, atoms).atoms

hydroxyl = min(range(3, 9), key=lambda h: atoms.get_distance(h, 2))
scan = []
for angle in ANGLES:
    turned = atoms.copy()
    turned.set_dihedral(hydroxyl, 2, 1, 0, angle, indices=[hydroxyl])
    scan.append(turned)
energies, _ = model.predict(np.array([turned.positions for turned in scan]))
profiles = {"nyff": energies}
try:
    from tblite.ase import TBLite

    profiles["GFN2-xTB"] = np.array([TBLite(method="GFN2-xTB", verbosity=0).get_potential_energy(a) for a in scan])
except ImportError:
    print("tblite is not installed: no reference curve (pip install 'nyff[xtb]')")

figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
for (name, values), style in zip(profiles.items(), ("o-", "x--"), strict=False):
    profiles[name] = 1000 * (values - values[np.argmin(abs(ANGLES - 180))])
    axes.plot(ANGLES, profiles[name], style, label=name)
print("angle (degrees) " + "".join(f"{name + ' (meV)':>16}" for name in profiles))
for i, angle in enumerate(ANGLES):
    print(f"{angle:15d} " + "".join(f"{values[i]:16.1f}" for values in profiles.values()))
axes.set_xlabel("H–O–C–C angle (degrees)")
axes.set_ylabel("energy above trans (meV)")
axes.legend()
figure.savefig("torsion.png", dpi=150)
print("picture: torsion.png")

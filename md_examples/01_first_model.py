"""A first model: train on 200 structures of ethanol, look at the errors, save, load, predict a thousand at once.

Ends with the learning curve: the error falls with every doubling of the training set.
"""

import os
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import nyff

SIZES = [25, 50, 100] if os.environ.get("CI") else [25, 50, 100, 200, 400]

data = nyff.datasets.ethanol()
errors = []
for n in SIZES:
    result = nyff.fit(data, n, lengthscale=20.0, seed=1)
    errors.append(1000 * result.metrics["force_mae_ev_per_ang"])
    print(f"{n:4d} structures: force MAE {errors[-1]:5.1f} meV/Å, trained in {result.solution.seconds:.1f} s")

result.model.save("ethanol.nyff")
model = nyff.load("ethanol.nyff")
started = time.perf_counter()
energies, forces = model.predict(data.positions[:1000])
print(
    f"1000 predictions in {time.perf_counter() - started:.2f} s, energies {energies.min():.2f} to {energies.max():.2f} eV"
)

figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
axes.loglog(SIZES, errors, "o-")
axes.set_xlabel("training structures")
axes.set_ylabel("force MAE (meV/Å)")
figure.savefig("learning_curve.png", dpi=150)
print("picture: learning_curve.png")

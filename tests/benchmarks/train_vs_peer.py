"""Training time and errors beside sGDML, which runs in an interpreter of its own; one table on standard output.

Both train on the first n structures with the same kernel, length scale, regularisation and permutations (those sGDML
found), on the same number of threads, one after the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import nyff
from nyff.training.evaluate import evaluate
from nyff.units import KCAL_PER_MOL

KCAL = 1 / KCAL_PER_MOL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--peer", required=True, help="interpreter that has sgdml")
    parser.add_argument("--peer-script", required=True)
    parser.add_argument("--peer-solver", default="analytic")
    parser.add_argument("-n", type=int, nargs="+", default=[200, 500])
    parser.add_argument("--lengthscale", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    train = nyff.read_dataset(arguments.train, units="kcal/mol")
    test = nyff.read_dataset(arguments.test, units="kcal/mol")[:200]
    print(f"threads {torch.get_num_threads()}, times in s, force MAE in kcal/mol/Å")
    for n in arguments.n:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "peer.npz"
            command = [arguments.peer, arguments.peer_script, arguments.train, arguments.test, "-n", str(n)]
            command += [
                "--sig",
                str(arguments.lengthscale),
                "--solver",
                arguments.peer_solver,
                "--model-out",
                str(path),
            ]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peer = json.loads(output.strip().splitlines()[-1])
            with np.load(path, allow_pickle=False) as model:
                permutations, beta = model["perms"], model["R_d_desc_alpha"]
                order = np.argsort(model["idxs_train"])
                std = float(model["std"])
            seconds = []
            for _ in range(arguments.repeats):
                started = time.perf_counter()
                result = nyff.fit(train[:n], n, lengthscale=float(arguments.lengthscale), permutations=permutations)
                seconds.append(time.perf_counter() - started)
            direct = nyff.fit(
                train[:n], n, lengthscale=float(arguments.lengthscale), permutations=permutations, solver="cholesky"
            )
            mae = evaluate(result.model, test).metrics["force_mae_ev_per_ang"] * KCAL
            # sGDML orders pairs as nyff does; its β is for forces in kcal/mol/Å over their standard deviation.
            ours = direct.model.coefficients.numpy() * direct.model.scale * KCAL
            theirs = beta[order] * std
            agreement = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            print(
                f"n={n}: sGDML ({peer['solver']}) {peer['train_s']:.2f} + {peer['create_task_s']:.2f} to find permutations, "
                f"nyff ({result.plan.solver}) {min(seconds):.2f} (median {np.median(seconds):.2f}); "
                f"ratio {peer['train_s'] / np.median(seconds):.1f}; force MAE {peer['force_mae']:.4f} and {mae:.4f}; "
                f"relative difference of β {agreement:.1e}",
                flush=True,
            )
            try:
                from nyff.model.sgdml import read_sgdml_model
            except ImportError:
                continue
            reference = read_sgdml_model(path).predict(test.positions)[1]
            difference = direct.model.predict(test.positions)[1] - reference
            print(
                f"      forces on {len(test)} structures: relative difference {norm(difference) / norm(reference):.1e}"
            )


def norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


if __name__ == "__main__":
    main()

"""Make tests/model/data/sgdml_*.npz: small models trained by sGDML itself, and what its NumPy predictor makes of them.

Runs in an environment of its own, with sgdml 1.0.3 and NumPy below 2.4, from the folder of the checkout:

    python scripts/make_sgdml_fixture.py

Structures are the bundled ethanol. Four models: with the integration constant, with energy constraints (`alphas_E`), in
a rectangular cell with atoms wrapped into it, and in a skewed cell small enough for images to matter, in bohr and
millihartree. Cells are made up: what is compared is arithmetic, not chemistry.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
from sgdml.predict import GDMLPredict
from sgdml.train import GDMLTrain
from sgdml.utils import io

BOHR, HARTREE, KCAL_PER_MOL = 0.5291772105638411, 27.211386024367243, 0.04336410390059322
N_TRAIN, N_TEST = 12, 6
RECTANGULAR = np.diag([5.5, 7.0, 8.0])
SKEWED = np.array([[6.0, 0.0, 0.0], [4.5, 4.5, 0.0], [2.0, -3.0, 6.5]])
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "constraint": {"use_E_cstr": True},
    "cell": {"cell": RECTANGULAR},
    "skewed": {"cell": SKEWED, "units": ("millihartree", "bohr")},
}


def dataset(source: Any, cell: np.ndarray | None, units: tuple[str, str]) -> dict[str, Any]:
    """The bundled structures as sGDML's data set, with atoms wrapped into the cell if there is one."""
    energy = {"kcal/mol": KCAL_PER_MOL, "millihartree": 1e-3 * HARTREE}[units[0]]
    length = {"Ang": 1.0, "bohr": BOHR}[units[1]]
    positions = source["R"]
    if cell is not None:
        fractional = positions @ np.linalg.inv(cell)
        positions = (fractional - np.floor(fractional)) @ cell
    made = {
        "type": np.array("d"),
        "name": np.array("ethanol"),
        "theory": np.array("GFN2-xTB"),
        "z": source["z"],
        "R": positions / length,
        "E": source["E"] / energy,
        "F": source["F"] / energy * length,
        "e_unit": np.array(units[0]),
        "r_unit": np.array(units[1]),
    }
    if cell is not None:
        made["lattice"] = np.ascontiguousarray(cell.T) / length
    made["md5"] = io.dataset_md5(made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("tests/model/data"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    trainer = GDMLTrain(max_processes=1, use_torch=False)
    with np.load("nyff/data/ethanol.npz") as bundled:
        # Single precision in, single precision all the way through: sGDML keeps the type it is given.
        source = {key: bundled[key].astype(int if key == "z" else float) for key in ("z", "R", "E", "F")}
    for name, options in CASES.items():
        np.random.seed(0)  # noqa: NPY002
        options = dict(options)
        data = dataset(source, options.pop("cell", None), options.pop("units", ("kcal/mol", "Ang")))
        task = trainer.create_task(data, N_TRAIN, data, 5, 10, lam=1e-10, **options)
        model = trainer.train(task)
        predictor = GDMLPredict(model, max_processes=1, use_torch=False)
        held_out = np.setdiff1d(np.arange(len(data["R"])), np.concatenate([model["idxs_train"], model["idxs_valid"]]))
        positions = data["R"][held_out[:N_TEST]]
        energies, forces = predictor.predict(positions.reshape(N_TEST, -1))
        np.savez_compressed(folder / f"sgdml_{name}.npz", **model)
        np.savez_compressed(
            folder / f"sgdml_{name}_reference.npz", R=positions, E=energies, F=forces.reshape(positions.shape)
        )


if __name__ == "__main__":
    main()

"""sGDML's model files: models that sGDML 1.0.3 trained, and what its NumPy predictor says about them.

The fixtures are made by scripts/make_sgdml_fixture.py with the package itself.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import nyff
from nyff.errors import FileFormatError, InputError
from nyff.model.force_field import ForceField
from nyff.model.sgdml import is_sgdml_model, read_sgdml_model, read_sgdml_provenance, write_sgdml_model
from nyff.units import parse_units

DATA = Path(__file__).parent / "data"
CASES = ("plain", "constraint", "cell", "skewed")


def reference(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, energies and forces in eV and Å."""
    units = parse_units("millihartree,bohr" if name == "skewed" else "kcal/mol,Ang")
    with np.load(DATA / f"sgdml_{name}_reference.npz") as stored:
        return stored["R"] * units.length, stored["E"] * units.energy, stored["F"] * units.force


def entries(name: str = "plain") -> dict[str, np.ndarray]:
    """The numbers and words of a fixture, without its Python objects."""
    with np.load(DATA / f"sgdml_{name}.npz", allow_pickle=False) as stored:
        kept = [key for key in stored.files if key not in ("f_err", "e_err", "md5_test")]
        return {key: stored[key] for key in kept}


def close(model: ForceField, energies: np.ndarray, expected: np.ndarray) -> bool:
    """To 1e-8 of their spread; where energy coefficients of millions cancel, to the rounding of that sum."""
    allowed = 1e-8 * np.ptp(expected)
    if model.energy_coefficients is not None:
        terms = float(model.energy_coefficients.abs().sum()) * len(model.permutations)
        allowed = max(allowed, 4e-16 * model.scale * terms)
        assert allowed < 1e-9 * np.abs(expected).max()
    return bool(np.abs(energies - expected).max() < allowed)


def altered(path: Path, name: str = "plain", **changes: object) -> Path:
    """A copy of a fixture with entries replaced, or left out where None."""
    content = {**entries(name), **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def as_sgdml_does(path: Path, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies and forces by the package's own formulas and arrays, one term after the other (its predict.py)."""
    with np.load(path, allow_pickle=False) as m:
        sig, s = float(m["sig"]), len(m["perms"])
        x_train, beta_train = m["R_desc"].T, m["R_d_desc_alpha"]
        order = m["tril_perms_lin"].reshape(-1, s)
        lattice = m["lattice"] if "lattice" in m.files else None
        alphas_e = m["alphas_E"] if "alphas_E" in m.files else np.zeros(len(x_train))
        std, c = float(m["std"]), float(m["c"])
    i, j = np.tril_indices(positions.shape[1], -1)
    energies, forces = [], []
    for r in positions:
        delta = r[i] - r[j]
        if lattice is not None:
            delta = delta - (lattice @ np.rint(np.linalg.inv(lattice) @ delta.T)).T
        x = 1 / np.linalg.norm(delta, axis=1)
        energy, field = 0.0, np.zeros_like(x)
        for p in range(s):
            pi = order[:, p] - p * len(x)
            diff, beta = x - x_train[:, pi], beta_train[:, pi]
            n = np.sqrt(5) * np.linalg.norm(diff, axis=1)
            b = 5 / (3 * sig**3) * np.exp(-n / sig)
            dot = (diff * beta).sum(1)
            value = (1 + n / sig + n**2 / (3 * sig**2)) * np.exp(-n / sig)
            energy += (b * (sig + n) * dot + alphas_e * value).sum()
            field += ((b * 5 / sig * dot + alphas_e * b * (sig + n)) @ diff) - (b * (sig + n)) @ beta
        force = np.zeros_like(r)
        pull = field[:, None] * delta * x[:, None] ** 3
        np.add.at(force, i, -pull)
        np.add.at(force, j, pull)
        energies.append(c + std * energy)
        forces.append(std * force)
    return np.array(energies), np.array(forces)


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_those_of_sgdml(name):
    positions, energies, forces = reference(name)
    model = nyff.load(DATA / f"sgdml_{name}.npz")
    found_energies, found_forces = model.predict(positions)
    assert close(model, found_energies, energies)
    assert np.abs(found_forces - forces).max() < 1e-10 * np.abs(forces).max()


def test_formulas_of_this_test_are_those_of_sgdml():
    for name in CASES:
        with np.load(DATA / f"sgdml_{name}_reference.npz") as stored:
            energies, forces = as_sgdml_does(DATA / f"sgdml_{name}.npz", stored["R"])
            assert np.abs(energies - stored["E"]).max() < 1e-9 * np.abs(stored["E"]).max()
            assert np.abs(forces - stored["F"]).max() < 1e-10 * np.abs(stored["F"]).max()


def test_images_in_a_skewed_cell_are_those_it_was_trained_with():
    model = nyff.load(DATA / "sgdml_skewed.npz")
    positions, _, forces = reference("skewed")
    assert model.image == "rounded"
    assert nyff.load(DATA / "sgdml_cell.npz").image == "nearest"
    nearest = replace(model, image="nearest").predict(positions)[1]
    assert np.abs(nearest - forces).max() > 1e-2 * np.abs(forces).max()


def test_what_the_file_tells_is_kept():
    model = nyff.load(DATA / "sgdml_plain.npz")
    known = model.metadata["sgdml"]
    assert known == json.loads(json.dumps(known))
    assert known == read_sgdml_provenance(DATA / "sgdml_plain.npz")
    assert (known["code_version"], known["solver_name"], known["sig"], known["lam"]) == ("1.0.3", "analytic", 10, 1e-10)
    assert known["idxs_train"] == entries()["idxs_train"].tolist()
    assert len(known["md5_train"]) == 32
    assert model.n_train == 12
    assert len(model.permutations) == 6
    training = model.metadata["training"]
    assert (training["dataset"], training["solver"], training["status"]) == ("ethanol", "sGDML analytic", "converged")
    assert training["regularization"] == 1e-10
    assert training["dataset_source"] == {"theory": "GFN2-xTB"}
    distances = model.metadata["domain"]
    assert 0.8 < min(distances["min_distance"]) < 1.1
    assert np.all(np.array(distances["max_distance"]) >= distances["min_distance"])


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name, tmp_path):
    model = nyff.load(DATA / f"sgdml_{name}.npz")
    model.save(tmp_path / "model.nyff")
    write_sgdml_model(nyff.load(tmp_path / "model.nyff"), tmp_path / "back.npz")
    original = entries(name)
    with np.load(tmp_path / "back.npz", allow_pickle=False) as stored:
        # alphas_F serves to continue a solve only.
        for key in set(original) - {"alphas_F", "code_version", "perms", "tril_perms_lin"}:
            if original[key].dtype.kind == "f":
                np.testing.assert_allclose(stored[key], original[key], rtol=1e-14)
            else:
                assert np.array_equal(stored[key], original[key]), key
            assert stored[key].dtype.kind == original[key].dtype.kind
            assert stored[key].shape == original[key].shape
    positions, energies, forces = reference(name)
    again = nyff.load(tmp_path / "back.npz")
    assert again.image == model.image
    assert close(again, again.predict(positions)[0], energies)
    assert np.abs(again.predict(positions)[1] - forces).max() < 1e-10 * np.abs(forces).max()


@pytest.mark.parametrize("units", ["kcal/mol", "eV", "millihartree,bohr"])
def test_export_predicts_the_same_by_sgdmls_formulas(small_fit, ethanol, tmp_path, units):
    model = small_fit.model
    if "bohr" in units:
        # Its length scale has to be whole in 1/bohr.
        model = replace(model, lengthscale=5 / parse_units(units).length)
    positions = ethanol.positions[100:110]
    path = tmp_path / "exported.npz"
    write_sgdml_model(model, path, units)
    unit = parse_units(units)
    energies, forces = as_sgdml_does(path, positions / unit.length)
    expected_energies, expected_forces = model.predict(positions)
    assert np.abs(energies * unit.energy - expected_energies).max() < 1e-8 * np.ptp(expected_energies)
    assert np.abs(forces * unit.force - expected_forces).max() < 1e-8 * np.abs(expected_forces).max()


def test_export_has_what_the_command_line_of_sgdml_prints(small_fit, tmp_path):
    path = tmp_path / "exported.npz"
    write_sgdml_model(small_fit.model, path)
    with np.load(path, allow_pickle=True) as stored:
        content = dict(stored)
    assert content["sig"].dtype.kind == "i"
    assert f"{content['sig']:<d} {content['lam']:<.0e} {int(content['n_test'])}" == "10 1e-10 0"
    assert set(content["f_err"].item()) == set(content["e_err"].item()) == {"mae", "rmse"}
    assert content["md5_test"].item() is None
    assert len(content["idxs_train"]) == content["R_desc"].shape[1] == small_fit.model.n_train
    # The names that i-PI's <ffsgdml> has a translation for.
    assert (str(content["e_unit"]), str(content["r_unit"])) == ("kcal/mol", "Ang")
    assert str(content["type"]) == "m"


def test_models_the_format_cannot_express_are_refused(small_fit, tmp_path):
    def refused(match: str, **changes: object) -> None:
        with pytest.raises(InputError, match=match):
            write_sgdml_model(replace(small_fit.model, **changes), tmp_path / "model.npz")

    refused("its kernel is matern72, sGDML has matern52 only; keep it as .nyff", kernel="matern72")
    refused("its descriptor is distances to the power −0.5", descriptor_power=0.5)
    refused(r"whole length scales only, this model has 7.5 1/angstrom.*such as lengthscale=8", lengthscale=7.5)
    slab = np.array([[8.0, 0, 0], [0, 8, 0], [0, 0, 0]])
    refused("periodic in some directions only", cell=slab)
    skewed = np.array([[6.0, 0, 0], [4.5, 4.5, 0], [2, -3, 6.5]])
    refused(r"its skewed cell are up to 4.\d Å apart.* sure of the nearest image up to \d.\d Å only", cell=skewed)
    assert not list(tmp_path.iterdir())
    # In a skewed cell that is large enough, rounding is exact.
    write_sgdml_model(replace(small_fit.model, cell=3 * skewed), tmp_path / "model.npz")
    with pytest.raises(InputError, match=r"model\.npz exists already"):
        write_sgdml_model(small_fit.model, tmp_path / "model.npz")
    with pytest.raises(InputError, match=r"an sGDML model is an .npz file, got .*model.nyff"):
        write_sgdml_model(small_fit.model, tmp_path / "model.nyff")


def test_units_are_never_guessed(tmp_path):
    path = altered(tmp_path / "model.npz", e_unit=None, r_unit=None)
    with pytest.raises(InputError, match="does not say its units; pass them"):
        nyff.load(path)
    expected = nyff.load(DATA / "sgdml_plain.npz")
    positions, _, forces = reference("plain")
    assert np.abs(nyff.load(path, units="kcal/mol").predict(positions)[1] - forces).max() < 1e-9
    half = nyff.load(path, units="eV").predict(positions)[1]
    assert np.abs(half * expected.scale / float(entries()["std"]) - forces).max() < 1e-9
    with pytest.raises(InputError, match=r"units='eV.*' contradicts"):
        nyff.load(DATA / "sgdml_plain.npz", units="eV")
    expected.save(tmp_path / "model.nyff")
    with pytest.raises(InputError, match="is no sGDML model; nyff's own models are in eV and Å"):
        nyff.load(tmp_path / "model.nyff", units="eV")


def test_flattened_entries_are_folded(tmp_path):
    plain = {key: value.ravel() for key, value in entries("constraint").items() if value.dtype.kind in "iuf"}
    positions, energies, _ = reference("constraint")
    model = nyff.load(altered(tmp_path / "flat.npz", "constraint", **plain))
    assert close(model, model.predict(positions)[0], energies)


def test_older_models_lack_some_entries(tmp_path):
    """0.4 wrote no `lam` and no `alphas_F`; the scale is one where `std` is missing."""
    few = dict.fromkeys(("lam", "alphas_F", "solver_name", "idxs_valid", "md5_valid", "use_E", "std"))
    model = nyff.load(altered(tmp_path / "old.npz", **few, code_version=np.array("0.4.0"), use_cprsn=np.array(True)))
    now = nyff.load(DATA / "sgdml_plain.npz")
    positions, _, forces = reference("plain")
    ratio = now.scale / model.scale
    assert ratio == pytest.approx(float(entries()["std"]))
    assert np.abs(model.predict(positions)[1] * ratio - forces).max() < 1e-9 * np.abs(forces).max()


@pytest.mark.parametrize("feature", ["interact_cut_off", "use_descriptor", "entity_ids"])
def test_features_that_cannot_be_honoured_are_refused_by_name(feature, tmp_path):
    with pytest.raises(InputError, match=f"uses `{feature}`, .* which nyff does not have"):
        nyff.load(altered(tmp_path / "model.npz", **{feature: np.array([5.0])}))
    # None, which sGDML 0.4.10 keeps as a Python object, means that the feature was not used.
    nyff.load(altered(tmp_path / "unused.npz", **{feature: np.array(None)}))


def test_models_that_had_not_converged_are_pointed_out(tmp_path, caplog):
    state = {"solver_name": np.array("cg"), "solver_tol": np.array(1e-4), "norm_y_train": np.array(50.0)}
    nyff.load(altered(tmp_path / "good.npz", **state, solver_resid=np.array(4e-3)))
    assert not caplog.records
    model = nyff.load(altered(tmp_path / "bad.npz", **state, solver_resid=np.array(0.5)))
    assert "saved before its solver had converged (relative residual 1.0e-02)" in caplog.text
    assert model.metadata["training"]["status"] == "not converged"


def test_damaged_models_are_refused(tmp_path):
    def refused(match: str, name: str = "plain", **changes: object) -> None:
        with pytest.raises(FileFormatError, match=match):
            nyff.load(altered(tmp_path / "model.npz", name, **changes))

    good = entries()
    nans = good["R_d_desc_alpha"].copy()
    nans[3, 4] = np.nan
    refused("`R_d_desc_alpha` .* not finite", R_d_desc_alpha=nans)
    refused(r"`R_d_desc_alpha` .* has shape \[11, 36\], wanted \[12, 36\]", R_d_desc_alpha=nans[:11])
    refused(r"`R_desc` .* has shape \[12, 36\], wanted \[36, 'any'\]", R_desc=good["R_desc"].T)
    refused("lacks c, perms: it is damaged", c=None, perms=None)
    refused("must hold numbers", sig=np.array("ten"))
    refused("`perms` and `tril_perms_lin` .* do not belong together", tril_perms_lin=good["tril_perms_lin"][::-1])
    turn = next(row for row in good["perms"] if not np.array_equal(row[row], np.arange(9)))
    refused("is not a group: the inverse", perms=np.stack([np.arange(9), turn]))
    swapped = good["perms"].copy()
    swapped[1] = [2, 1, 0, 3, 4, 5, 6, 7, 8]
    refused("only atoms of one element may be exchanged", perms=swapped)
    refused("the cell is singular", "cell", lattice=np.ones((3, 3)))
    refused("the lattice repeats every", "cell", lattice=np.eye(3) * 0.7)
    refused("alphas_E", "constraint", alphas_E=np.zeros(5))
    whole = (DATA / "sgdml_plain.npz").read_bytes()
    for size in (10, 3000, len(whole) - 5):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match=r"truncated|damaged"):
            nyff.load(tmp_path / "cut.npz")


def test_other_archives_are_refused(ethanol, tmp_path):
    from nyff.data.io import write_dataset

    write_dataset(ethanol[:3], tmp_path / "data.npz")
    with pytest.raises(FileFormatError, match="is an sGDML data set, not a model"):
        nyff.load(tmp_path / "data.npz")
    np.savez(tmp_path / "rmd17.npz", coords=np.zeros(3), forces=np.zeros(3), nuclear_charges=np.zeros(1))
    with pytest.raises(FileFormatError, match="is a data set, not a model"):
        nyff.load(tmp_path / "rmd17.npz")
    with pytest.raises(FileFormatError, match="is an sGDML training task"):
        nyff.load(altered(tmp_path / "task.npz", type=np.array("t")))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FileFormatError, match="no sGDML model"):
        nyff.load(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"cannot read the model .*nothing.npz"):
        read_sgdml_model(tmp_path / "nothing.npz")
    assert is_sgdml_model(DATA / "sgdml_plain.npz")
    assert not is_sgdml_model(tmp_path / "data.npz")
    assert not is_sgdml_model(tmp_path / "nothing.npz")


class Hostile:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("key", ["f_err", "interact_cut_off", "md5_test", "R_desc", "sig", "type", "e_unit", "lam"])
def test_hostile_objects_do_not_run(key, tmp_path):
    trace = tmp_path / "trace"
    evil = np.empty((), dtype=object)
    evil[()] = Hostile(trace)
    path = altered(tmp_path / "model.npz", **{key: evil})
    if key in ("f_err", "interact_cut_off", "md5_test", "lam"):
        assert isinstance(nyff.load(path), ForceField)
    else:
        with pytest.raises(InputError):
            nyff.load(path)
    assert not trace.exists()
    # It would have run: this is what opening with pickle does.
    with np.load(path, allow_pickle=True) as stored:
        stored[key]
    assert trace.exists()


def test_calculator_takes_sgdml_files():
    positions, energies, forces = reference("plain")
    atoms = Atoms(numbers=entries()["z"], positions=positions[0])
    atoms.calc = nyff.NyffCalculator(DATA / "sgdml_plain.npz")
    assert atoms.get_potential_energy() == pytest.approx(energies[0], abs=1e-7)
    assert np.abs(atoms.get_forces() - forces[0]).max() < 1e-9


def test_hessian_of_a_model_with_energy_coefficients():
    model = nyff.load(DATA / "sgdml_constraint.npz")
    positions = reference("constraint")[0][:1]
    step = np.zeros_like(positions)
    step[0, 2, 1] = 1e-4
    forward, backward = (model.predict(positions + sign * step)[1].ravel() for sign in (1, -1))
    expected = (backward - forward) / 2e-4
    found = model.hessian(positions)[0, 7]
    assert np.abs(found - expected).max() < 1e-6 * np.abs(found).max()

"""Every format into every other, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nyff
from nyff.errors import InputError
from nyff.model.convert import convert, is_model

SGDML = Path(__file__).parent / "data" / "sgdml_plain.npz"


@pytest.fixture
def data(ethanol: nyff.Dataset, tmp_path: Path) -> Path:
    from nyff.data.io import write_dataset

    path = tmp_path / "data.extxyz"
    write_dataset(ethanol[:5], path)
    return path


def test_data_sets(data, tmp_path, ethanol):
    done = convert(data, tmp_path / "data.npz")
    assert str(done) == f"data set of 5 structures: {data} -> {tmp_path / 'data.npz'}"
    convert(tmp_path / "data.npz", tmp_path / "again.extxyz")
    again = nyff.read_dataset(tmp_path / "again.extxyz")
    for name in ("positions", "forces", "energies"):
        assert np.array_equal(getattr(again, name), getattr(ethanol[:5], name))


def test_units_of_data_sets(data, tmp_path, ethanol):
    """sGDML ignores units when it compares a model with data: both must be in the same."""
    import ase.units

    convert(data, tmp_path / "data.npz", to_units="kcal/mol")
    with np.load(tmp_path / "data.npz") as stored:
        assert (str(stored["e_unit"]), str(stored["r_unit"])) == ("kcal/mol", "Ang")
        expected = ethanol.forces[:5] / (ase.units.kcal / ase.units.mol)
        np.testing.assert_allclose(stored["F"], expected, rtol=1e-14)
        assert stored["F_max"] == stored["F"].max()
    # Its md5 is that of the numbers in it, or reading would refuse it.
    again = nyff.read_dataset(tmp_path / "data.npz")
    np.testing.assert_allclose(again.energies, ethanol.energies[:5], rtol=1e-14)
    with pytest.raises(InputError, match=r"\.xyz files are in eV and Å, got units='kcal/mol'"):
        convert(data, tmp_path / "data.xyz", to_units="kcal/mol")


def test_models(tmp_path):
    done = convert(SGDML, tmp_path / "model.nyff")
    assert (done.kind, done.count) == ("model", 12)
    convert(tmp_path / "model.nyff", tmp_path / "model.npz", to_units="eV")
    first, last = nyff.load(SGDML), nyff.load(tmp_path / "model.npz")
    assert last.metadata["sgdml"]["units"] == "eV,Ang"
    assert last.scale == pytest.approx(first.scale, rel=1e-14)
    assert is_model(SGDML)
    assert is_model(tmp_path / "model.nyff")


def test_what_makes_no_sense_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"is a data set and .*model\.nyff would be a model; train one"):
        convert(data, tmp_path / "model.nyff")
    with pytest.raises(InputError, match=r"is a model; write it as \.nyff or \.npz \(sGDML's\), not model\.xyz"):
        convert(SGDML, tmp_path / "model.xyz")
    with pytest.raises(InputError, match="there is no file"):
        convert(tmp_path / "nothing", tmp_path / "model.nyff")
    with pytest.raises(InputError, match="nyff's own models are in eV and Å"):
        convert(SGDML, tmp_path / "model.nyff", to_units="kcal/mol")
    convert(SGDML, tmp_path / "model.nyff")
    with pytest.raises(InputError, match=r"model\.nyff exists already"):
        convert(SGDML, tmp_path / "model.nyff")
    convert(SGDML, tmp_path / "model.nyff", overwrite=True)
    assert not is_model(data)
    assert not is_model(tmp_path)

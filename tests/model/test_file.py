from __future__ import annotations

import json
import os

import numpy as np
import pytest
import safetensors.numpy

import nyff
from nyff.errors import FileFormatError, InputError


@pytest.fixture(scope="module")
def model(small_fit):
    return small_fit.model


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "model.nyff")
    return tmp_path / "model.nyff"


def test_round_trip_is_exact(model, path, ethanol):
    again = nyff.load(path)
    assert again.checksum == model.checksum
    for a, b in zip(again.predict(ethanol.positions[:3]), model.predict(ethanol.positions[:3]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.metadata == model.metadata


def test_same_model_same_bytes(path, tmp_path):
    nyff.load(path).save(tmp_path / "again.nyff")
    assert (tmp_path / "again.nyff").read_bytes() == path.read_bytes()


def test_the_file_can_be_read_without_nyff(path, model):
    arrays = safetensors.numpy.load_file(path)
    assert arrays["descriptors"].shape == (60, 36)
    with safetensors.safe_open(path, framework="np") as stream:
        header = json.loads(stream.metadata()["nyff"])
    assert header["kernel"] == "matern52"
    assert header["units"] == {"energy": "eV", "length": "angstrom", "force": "eV/angstrom"}


def test_truncated_files_are_refused(path):
    whole = path.read_bytes()
    for size in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="cut off|empty|not a nyff model"):
            nyff.load(path)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_altered_files_are_refused(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="altered"):
        nyff.load(path)


def test_an_altered_header_is_refused(path):
    content = path.read_bytes()
    assert content.count(b'lengthscale\\": 10.0') == 1
    path.write_bytes(content.replace(b'lengthscale\\": 10.0', b'lengthscale\\": 11.0'))
    with pytest.raises(FileFormatError, match="altered after it was written"):
        nyff.load(path)


def test_foreign_and_newer_files_are_refused(path, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"weights": np.zeros(3)}, foreign)
    with pytest.raises(FileFormatError, match="a safetensors file but not a nyff model"):
        nyff.load(foreign)
    (tmp_path / "text").write_text("hello, this is not a model at all")
    with pytest.raises(FileFormatError, match="not a nyff model"):
        nyff.load(tmp_path / "text")
    path.write_bytes(path.read_bytes().replace(b'format_version\\": 1', b'format_version\\": 9'))
    with pytest.raises(FileFormatError, match="format version 9, this nyff reads up to 1; upgrade nyff"):
        nyff.load(path)


def test_missing_files_folders_and_devices_are_refused(path, tmp_path):
    with pytest.raises(InputError, match="cannot read the model .*No such file"):
        nyff.load(tmp_path / "nothing.nyff")
    with pytest.raises(InputError, match="there is no device 'cuda:77' here; this machine has cpu"):
        nyff.load(path, device="cuda:77")
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        nyff.load(path, device="gpu")


def test_no_altered_byte_of_the_header_gets_through(path):
    """Every byte in turn: refused in words, or (in the padding) without any consequence."""
    content = path.read_bytes()
    whole = nyff.load(path).checksum
    size = int.from_bytes(content[:8], "little")
    for place in range(8, 8 + size, 3):
        damaged = bytearray(content)
        damaged[place] = ord("x") if damaged[place] != ord("x") else ord("y")
        path.write_bytes(damaged)
        try:
            assert nyff.load(path).checksum == whole
        except FileFormatError as error:
            assert "altered" in str(error) or "damaged" in str(error) or "not a nyff model" in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(model, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        model.save(tmp_path / "model.nyff")


def test_saving_into_a_missing_folder_leaves_nothing(model, tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        model.save(tmp_path / "missing" / "model.nyff")
    assert list(tmp_path.iterdir()) == []

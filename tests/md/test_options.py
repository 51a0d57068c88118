from __future__ import annotations

import pytest
import yaml

from nyff.errors import FileFormatError, InputError
from nyff.md.options import MDOptions, parse_time, read_config, write_config

GOOD = {
    "ensemble": "langevin",
    "temperature": 300.0,
    "timestep": 0.5,
    "time": 1000.0,
    "seed": 0,
    "friction": 0.01,
    "thermostat_time": 50.0,
    "keep_momenta": False,
    "trajectory": "extxyz",
    "frame_interval": 20,
    "log_interval": 10,
    "checkpoint_seconds": 30.0,
}


@pytest.mark.parametrize(
    ("text", "femtoseconds"),
    [
        ("10ps", 1e4),
        ("500fs", 500.0),
        ("2ns", 2e6),
        ("0.5 fs", 0.5),
        (" 1e1 ps ", 1e4),
        ("1us", 1e9),
        ("1µs", 1e9),
        ("7", 7.0),
        (0.25, 0.25),
        (3, 3.0),
    ],
)
def test_times_are_read_in_femtoseconds(text, femtoseconds):
    assert parse_time(text) == pytest.approx(femtoseconds, rel=1e-15)


@pytest.mark.parametrize("text", ["", "ps", "10 parsec", "1.2.3ps", "ten ps", "10PS", "1 0 ps", "nan", "10ps5"])
def test_other_text_is_no_time(text):
    with pytest.raises(InputError, match=r"cannot read timestep .*; write a number and fs, ps, ns or us, for example"):
        parse_time(text, "timestep")


@pytest.mark.parametrize("value", ["0ps", "-1ps", 0, -0.5, float("inf"), float("nan")])
def test_a_time_is_positive_and_finite(value):
    with pytest.raises(InputError, match="time must be positive, got"):
        parse_time(value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ensemble": "npt"}, "unknown ensemble 'npt'; known are nve, langevin, nose-hoover"),
        ({"trajectory": "dcd"}, "unknown trajectory 'dcd'; known are extxyz, traj"),
        ({"temperature": -1.0}, "temperature must be zero or more, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be zero or more, got nan"),
        ({"temperature": 0.0}, "temperature must be positive with ensemble 'langevin', got 0"),
        ({"friction": 0.0}, "friction must be positive, got 0.0"),
        ({"frame_interval": 0}, "frame_interval must be positive, got 0"),
        ({"seed": -1}, "seed must be zero or more, got -1"),
        ({"time": 0.2}, "time must be at least one timestep, got 0.2 fs with a timestep of 0.5 fs; write the unit"),
        ({"timestep": 20.0}, "timestep must be 0.001 to 5 fs, got 20 fs"),
    ],
)
def test_options_that_cannot_work_are_refused(change, text):
    with pytest.raises(InputError, match=text):
        MDOptions(**{**GOOD, **change})


def test_steps_are_time_over_timestep():
    assert MDOptions(**{**GOOD, "time": 1e4, "timestep": 0.1}).steps == 100_000


def test_config_round_trip(tmp_path):
    options = MDOptions(**GOOD)
    write_config(tmp_path / "config.yaml", options, nyff="1.2", limits={"force": 3.0})
    again, rest = read_config(tmp_path / "config.yaml")
    assert again == options
    assert rest == {"nyff": "1.2", "limits": {"force": 3.0}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[", "does not describe a simulation"),
        ("model: x", "does not describe a simulation"),
        ("", "does not describe a simulation"),
        (yaml.safe_dump({"md": {**GOOD, "presure": 1.0}}), "md.presure is unknown or missing"),
        (yaml.safe_dump({"md": {k: v for k, v in GOOD.items() if k != "seed"}}), "md.seed is unknown or missing"),
        (yaml.safe_dump({"md": {**GOOD, "friction": "high"}}), "md has a value of the wrong type"),
    ],
)
def test_a_config_that_is_not_one_is_refused(tmp_path, content, text):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(FileFormatError, match=text):
        read_config(tmp_path / "config.yaml")


def test_a_missing_config_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"cannot read .*config.yaml: No such file.*is this the folder"):
        read_config(tmp_path / "config.yaml")

"""``nyff precond`` as a user meets it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from nyff.cli.main import main
from nyff.data.io import write_dataset
from nyff.kernel.group import write_permutations


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """``run(...)`` -> exit code, standard output, standard error of ``nyff precond`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nyff", "precond", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def data(tmp_path_factory, ethanol, ethanol_permutations) -> Path:
    """60 structures of ethanol as extended XYZ and as rMD17 would have them, and the group in a file."""
    folder = tmp_path_factory.mktemp("precond")
    write_dataset(ethanol[:60], folder / "ethanol.xyz")
    small, kcal = ethanol[:60], 23.060548
    np.savez(
        folder / "rmd17_ethanol.npz",
        nuclear_charges=small.numbers,
        coords=small.positions,
        energies=small.energies * kcal,
        forces=small.forces * kcal,
    )
    write_permutations(folder / "group.txt", ethanol_permutations)
    return folder


def test_results_are_as_agreed(run, data, tmp_path):
    code, out, _ = run(
        data / "ethanol.xyz", *("-n", 12, "--lengthscale", 10, "--regularization", 1e-10, "--tolerance", 1e-4),
        *("--columns", "60,90", "--methods", "default,leverage,none", "--seed", 0, "--max-iterations", 900),
        *("--permutations", data / "group.txt", "--json", "r.json", "--csv", "r.csv", "--plot", "r.png"),
    )  # fmt: skip
    assert code == 0
    results = json.loads(Path("r.json").read_text())["results"]
    assert [(r["method"], r["columns"]) for r in results] == [
        *(("default", 60), ("default", 90), ("leverage", 60), ("leverage", 90), ("none", 0)),
    ]
    for r in results:
        assert (r["n"], r["permutations"]) == (324, 6)
        assert r["preconditioner_bytes"] <= 8 * r["n"] * r["columns"]
        assert r["converged"] == (r["true_relative_residual"] <= 1e-4)
        assert r["build_s"] >= 0
        assert r["solve_s"] > 0
    assert [r["converged"] for r in results] == [True, True, True, True, False]
    with Path("r.csv").open() as stream:
        assert [int(r["iterations"]) for r in csv.DictReader(stream)] == [r["iterations"] for r in results]
    assert Path("r.png").stat().st_size > 5000
    assert Path("r.data.csv").exists()
    assert "default" in out
    assert "wrote r.json" in out


def test_a_unit_of_energy_cancels(run, data):
    options = ("-n", 10, "--columns", 60, "--methods", "cholesky", "--permutations", "none", "--json")
    assert run(data / "ethanol.xyz", *options, "ev.json")[0] == 0
    assert run(data / "rmd17_ethanol.npz", *options, "unknown.json")[0] == 0
    ev, unknown = (json.loads(Path(f"{name}.json").read_text())["results"][0] for name in ("ev", "unknown"))
    # Not to the step: the last digits of the labels differ, and hundreds of steps amplify them.
    assert ev["iterations"] == pytest.approx(unknown["iterations"], rel=0.1)


@pytest.mark.parametrize("preset", [*(f"figure-{letter}" for letter in "abcdefghi"), "residual", "paper-table"])
def test_presets_run_on_small_data(run, data, preset):
    options = ["-n", 8, "--permutations", data / "group.txt", "--max-iterations", 300, "-o", "out"]
    if preset != "figure-d":
        options += ["--columns", "50,70"]
    code, out, err = run(data / "ethanol.xyz", "--preset", preset, *options)
    assert (code, err) == (0, "")
    made = {path.name for path in Path("out").iterdir()}
    assert made >= {
        f"{preset}.pdf",
        f"{preset}.png",
        f"{preset}.data.csv",
        "results.json",
        "results.csv",
        "history.csv",
    }
    assert f"wrote out/{preset}.png" in out
    if preset == "paper-table":
        assert "table.csv" in made


def test_presets_are_listed(run):
    code, out, _ = run("--preset", "list")
    assert code == 0
    assert "figure-d     ridge leverage scores" in out


def test_a_run_is_resumed_but_never_overwritten(run, data):
    options = ["-n", 10, "--columns", 60, "--permutations", data / "group.txt", "-o", "out"]
    assert run(data / "ethanol.xyz", *options, "--methods", "uniform")[0] == 0
    code, _, err = run(data / "ethanol.xyz", *options, "--methods", "uniform,cholesky")
    assert code == 2
    assert "output folder out exists already and is never overwritten" in err
    code, out, _ = run(data / "ethanol.xyz", *options, "--methods", "uniform,cholesky", "--resume")
    assert code == 0
    assert "  cholesky  " in out
    assert "  uniform  " not in out
    results = json.loads(Path("out/results.json").read_text())["results"]
    assert [r["method"] for r in results] == ["uniform", "cholesky"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no data given; name a file with labelled structures, or bundled:ethanol"),
        (("bundled:ethanol", "--methods", "magic"), "unknown method 'magic'; known are default, none"),
        (
            ("bundled:ethanol", "--columns", "many"),
            "--columns must be positive integers or paper, joined by commas, got 'many'",
        ),
        (("bundled:ethanol", "-n", "0"), "--n-train must be integers of at least 2 joined by commas, got '0'"),
        (("bundled:ethanol", "--preset", "z"), "unknown preset 'z'; known are figure-a"),
        (("bundled:ethanol", "--plot", "x.bmp"), "cannot draw x.bmp"),
        (("bundled:ethanol", "-n", "99999", "--permutations", "none"), "the data set has 2000 structures"),
        (
            ("bundled:ethanol", "-n", 50, "--permutations", "none", "--methods", "spectral", "--max-memory", "1MB"),
            "spectral needs the full matrix of 1050 unknowns",
        ),
    ],
)
def test_mistakes_take_a_line(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_an_interruption_says_what_is_kept(run, data, monkeypatch):
    import nyff.training.study as study

    plain = study.Store.add

    def add(self, *arguments):
        plain(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(study.Store, "add", add)
    options = ("-n", 10, "--columns", 60, "--permutations", "none", "--methods", "uniform,cholesky", "--json", "r.json")
    code, _, err = run(data / "ethanol.xyz", *options)
    assert code == 130
    assert "interrupted; 1 results are in r.json" in err
    assert len(json.loads(Path("r.json").read_text())["results"]) == 1

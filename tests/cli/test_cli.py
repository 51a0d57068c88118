"""The command line as a user meets it: whole commands in a fresh process or through the same entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nyff
from nyff.cli.main import main
from nyff.data.io import write_dataset


@pytest.fixture
def run(capsys, monkeypatch):
    """``run("train", ...)`` -> exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nyff", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ethanol) -> Path:
    """A folder with data, test data and the run of a small model."""
    folder = tmp_path_factory.mktemp("cli")
    write_dataset(ethanol[:120], folder / "data.xyz")
    write_dataset(ethanol[500:520], folder / "test.npz")
    return folder


@pytest.fixture(scope="module")
def model(folder, small_fit) -> Path:
    small_fit.model.save(folder / "model.nyff")
    return folder / "model.nyff"


def test_help_lists_the_verbs_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['nyff', '--help']\n"
        "from nyff.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'ase', 'numpy', 'matplotlib'} & set(sys.modules), 'heavy imports'\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for verb in ("demo", "train", "test", "info", "md", "relax", "vib", "ipi", "convert", "report", "precond"):
        assert verb in out


def test_python_m_nyff_is_the_command():
    out = subprocess.run([sys.executable, "-m", "nyff", "--version"], capture_output=True, text=True, check=True).stdout
    assert out == f"nyff {nyff.__version__}\n"


def test_train_test_info_relax_md(run, folder):
    arguments = ["--lengthscale", 10, "--permutations", "none", "-n", 60, "--seed", 1]
    code, out, _ = run("train", folder / "data.xyz", *arguments, "-o", folder / "run")
    assert code == 0
    assert "forces: MAE" in out
    assert "meV/Å" in out
    assert "1620 unknowns" in out
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert (folder / "run" / "report.html").stat().st_size > 10_000

    code, out, _ = run("test", folder / "run" / "model.nyff", folder / "test.npz", "--json")
    tested = json.loads(out)
    assert tested["n_test"] == 20
    assert tested["force_mae_ev_per_ang"] == pytest.approx(metrics["force_mae_ev_per_ang"], rel=0.5)

    code, out, _ = run("info", folder / "run" / "model.nyff")
    assert "C2H6O, 9 atoms" in out
    code, out, _ = run("info", folder / "run")
    assert "training run" in out
    code, out, _ = run("info", folder / "data.xyz")
    assert "120" in out

    code, out, _ = run("relax", folder / "run" / "model.nyff", folder / "data.xyz", "-o", folder / "relaxed.xyz")
    assert code == 0
    assert "converged in" in out
    code, out, _ = run("vib", folder / "run" / "model.nyff", folder / "relaxed.xyz", "--modes", folder / "modes")
    assert code == 0
    assert "zero-point energy" in out
    assert len(list((folder / "modes").iterdir())) == 21
    code, out, _ = run("convert", folder / "run" / "model.nyff", folder / "sgdml.npz")
    assert code == 0
    code, out, _ = run("info", folder / "sgdml.npz")
    assert "C2H6O, 9 atoms" in out
    md = ["--ensemble", "nve", "--time", "5fs", "-o", folder / "md"]
    code, out, _ = run("md", folder / "run" / "model.nyff", folder / "relaxed.xyz", *md)
    assert code == 0
    assert "10 steps" in out
    code, out, _ = run("md", "--resume", folder / "md", "--time", "10fs")
    assert "20 steps" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "no data given"),
        (["train", "missing.xyz"], "missing.xyz"),
        (["train", "DATA", "-n", "500"], "`n_train` is 500 but the data set has 120"),
        (["train", "DATA", "-n", "20", "--units", "furlong"], "unknown unit of energy 'furlong'"),
        (["train", "DATA", "-n", "20", "--max-memory", "1kB"], "raise --max-memory"),
        (["train", "DATA", "-n", "20", "--device", "cuda:9"], "there is no device 'cuda:9' here"),
        (["train", "DATA", "-n", "20", "-o", "FOLDER"], "exists already and is never overwritten"),
        (["train", "DATA", "-n", "20", "-o", "/proc/nothing/run"], "cannot create run folder"),
        (["train", "--resume", "FOLDER"], "is no training run"),
        (["train", "DATA", "--resume", "FOLDER"], "--resume takes data, size and folder from the run"),
        (["test", "MODEL", "MODEL"], "model.nyff"),
        (["test", "DATA", "DATA"], "not a nyff model"),
        (["md", "MODEL"], "give a model and a start structure"),
        (["md", "MODEL", "WATER"], "has 3 atoms, the model is for 9"),
        (["relax", "MODEL", "missing.xyz"], "there is no structure file missing.xyz"),
        (["info", "missing.nyff"], "there is no missing.nyff"),
        (["info", "BROKEN"], "config.yaml or metrics.json is damaged"),
        (["relax", "MODEL", "DATA", "-o", "relaxed.foo"], "cannot write a structure to relaxed.foo; end its name"),
        (["relax", "MODEL", "DATA", "-o", "relaxed"], "cannot write a structure to relaxed; end its name"),
        (["train", "DATA", "-n", "many"], "Invalid value for '-n'.*; see nyff train --help"),
        (["train", "DATA", "--bogus"], "No such option.*--bogus.*; see nyff train --help"),
        (["trian"], "No such command 'trian'.*; see nyff --help"),
        (["train", "DATA", "-n", "20", "--seed", "-1"], "`seed` must be an integer of at least 0, got -1"),
        (["train", "DATA", "-n", "20", "--columns", "²"], "`columns` must be a positive integer.*got '²'"),
        (["train", "DATA", "-n", "20", "--lengthscale", "1e-300", "--permutations", "none"], "not positive definite"),
        (["md", "MODEL", "DATA", "--timestep", "1e-300"], "timestep must be 0.001 to 5 fs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_two_lines_and_exit_code_2(run, folder, model, tmp_path, monkeypatch, arguments, message):
    import re

    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0 0.76 0.59\nH 0 -0.76 0.59\n")
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "config.yaml").write_text("settings: 1")
    names = {
        "BROKEN": folder / "broken",
        "DATA": folder / "data.xyz",
        "FOLDER": folder,
        "MODEL": model,
        "WATER": tmp_path / "water.xyz",
    }
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*[names.get(a, a) for a in arguments])
    assert code == 2
    assert re.search(message, err), err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("nyff: error:")]
    assert len(errors) == 1
    assert {p.name for p in tmp_path.iterdir()} <= {"water.xyz"}, "nothing may be left behind"


def test_debug_shows_the_traceback(folder):
    command = [sys.executable, "-m", "nyff", "info", "missing.nyff", "--debug"]
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert process.returncode != 0
    assert "Traceback" in process.stderr


def test_a_full_disk_is_one_line(run, folder, monkeypatch):
    import errno

    import nyff.training.run

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere/model.nyff")

    monkeypatch.setattr(nyff.training.run, "_write_results", full)
    arguments = ["-n", 20, "--lengthscale", 10, "--permutations", "none", "-o", folder / "full"]
    code, _, err = run("train", folder / "data.xyz", *arguments)
    assert code == 2
    assert "nyff: error: the system refused to read or write (somewhere/model.nyff): No space left on device" in err
    assert (folder / "full" / "config.yaml").exists(), "the run can be resumed"


def test_no_arguments_show_the_help(run):
    code, out, _ = run()
    assert code == 0
    assert "demo" in out

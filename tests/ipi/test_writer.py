"""What the writer writes, read back as XML; and the command line around it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.io import read
from typer.testing import CliRunner

import nyff
from nyff.cli.main import app
from nyff.ipi.instanton import crossover_temperature
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.ipi.writer import write_input


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_fit, ethanol):
    folder = tmp_path_factory.mktemp("model")
    small_fit.model.save(folder / "m.nyff")
    lowest = int(np.argmin(ethanol.energies))
    ase.Atoms(ethanol.numbers, ethanol.positions[lowest]).write(folder / "s.xyz")
    return folder


def written(files, folder, parameters=None, **options):
    given = Parameters().updated({"model": str(files / "m.nyff"), **(parameters or {})})
    result = write_input(files / "s.xyz", given, folder, InputOptions(**options))
    return ElementTree.parse(result.input).getroot(), result


def text(root, path):
    found = root.find(path)
    assert found is not None, path
    return found.text.strip()


@pytest.mark.parametrize("mode", ["direct", "unix", "inet", "shm"])
def test_a_molecule_s_input_has_no_traps(files, tmp_path, mode, small_fit):
    root, result = written(files, tmp_path / "run", mode=mode, nbeads=24, seed=11, temperature=250.0, time=5000.0)
    field = root.find("ffdirect" if mode == "direct" else "ffsocket")
    assert field.attrib["pbc"] == "false"
    assert field.attrib.get("threaded") is None
    assert text(field, "batch_size") == "24"
    assert text(root, "total_steps") == "20000"
    assert text(root, "prng/seed") == "11"
    assert text(root, "system/ensemble/temperature") == "250"
    assert root.find("system/initialize").attrib["nbeads"] == "24"
    energy, _ = small_fit.model.predict(read(files / "s.xyz").positions[None])
    assert float(text(field, "offset")) == pytest.approx(energy[0] / 27.211386024367243, abs=1e-9)
    assert f"model: {files / 'm.nyff'}" in text(field, "parameters")
    lines = result.start.read_text().splitlines()
    assert re.match(r"# CELL\(abcABC\): 100\.0 100\.0 100\.0 90 90 90 cell\{angstrom\} positions\{angstrom\}", lines[1])
    np.testing.assert_allclose(
        [[float(x) for x in line.split()[1:]] for line in lines[2:]], read(files / "s.xyz").positions, atol=1e-9
    )
    if mode != "direct":
        assert field.attrib["mode"] == mode
        assert text(field, "exit_on_disconnect") == "False"


def test_every_block_has_a_comment_above(files, tmp_path):
    _, result = written(files, tmp_path / "run", thermostat="gle")
    lines = [line.strip() for line in result.input.read_text().splitlines() if line.strip()]
    blocks = ("simulation", "prng", "output", "ffdirect", "system", "initialize", "forces", "ensemble", "motion")
    for block in (*(f"<{name}" for name in blocks), "<thermostat"):
        index = next(i for i, line in enumerate(lines) if line.startswith(block))
        assert lines[index - 1].endswith("-->"), block


@pytest.mark.parametrize(("time", "stride", "frames"), [(3.0, "1", "1"), (999.0, "1", "20"), (5000.0, "4", "20")])
def test_short_runs_print_every_step_and_long_ones_enough(files, tmp_path, time, stride, frames):
    root, _ = written(files, tmp_path / "run", time=time)
    assert root.find("output/properties").attrib["stride"] == stride
    assert root.find("output/trajectory").attrib["stride"] == frames


def test_the_commands_say_where_to_connect(files, tmp_path):
    assert written(files, tmp_path / "a")[1].commands == ("i-pi input.xml",)
    model = files / "m.nyff"
    commands = {mode: written(files, tmp_path / mode, mode=mode)[1].commands[1] for mode in ("unix", "inet", "shm")}
    assert commands == {
        "unix": f"nyff ipi --unix -a nyff-unix --model {model}",
        "inet": f"nyff ipi -a localhost -p 31415 --model {model}",
        "shm": f"nyff ipi --shm -a nyff-shm --model {model}",
    }


def test_a_contraction_has_a_field_of_its_own_for_every_number_of_beads(files, tmp_path):
    """One direct field shared by 32 and by 8 beads could not fill its batches, and i-PI would wait forever."""
    root, _ = written(files, tmp_path / "run", nbeads=32, contract=8, reference=str(files / "m.nyff"))
    sizes = {field.attrib["name"]: text(field, "batch_size") for field in root.findall("ffdirect")}
    assert sizes == {"nyff": "8", "reference-contracted": "8", "reference": "32"}
    forces = [(f.attrib["forcefield"], f.attrib.get("nbeads"), f.attrib.get("weight")) for f in root.iter("force")]
    assert forces == [("nyff", "8", None), ("reference", None, None), ("reference-contracted", "8", "-1.0")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nbeads": 0}, "wanted at least one bead"),
        ({"temperature": 0.0}, "a positive temperature"),
        ({"time": 0.1}, "a time of at least one time step"),
        ({"thermostat": "nh"}, "thermostat must be one of pile_l, pile_g, gle, got 'nh'"),
        ({"mode": "tcp"}, "mode must be one of direct, unix, inet, shm"),
        ({"motion": "npt"}, "motion must be one of nvt, nve, remd, geop, instanton"),
        ({"motion": "remd"}, "pass --temperatures 300,350,410"),
        ({"motion": "geop"}, "a geometry optimisation has one bead, got 32"),
        ({"contract": 32}, "--contract must be 1 to 31 for 32 beads, got 32"),
        ({"contract": 4, "motion": "remd", "temperatures": (300.0, 400.0)}, "is for nvt and nve, not for remd"),
        ({"reference": "b.nyff"}, "pass --contract as well"),
    ],
)
def test_what_cannot_run_is_refused(options, words):
    with pytest.raises(nyff.InputError, match=re.escape(words)):
        InputOptions(**options)


def test_nothing_is_overwritten_and_no_path_breaks_i_pi(files, tmp_path):
    written(files, tmp_path / "run")
    with pytest.raises(nyff.InputError, match=r"start.xyz|input.xml exists already and is never overwritten"):
        written(files, tmp_path / "run")
    odd = tmp_path / "a,b"
    odd.mkdir()
    (odd / "m.nyff").write_bytes((files / "m.nyff").read_bytes())
    with pytest.raises(nyff.InputError, match=r"i-PI cannot be told the path .*a,b/m\.nyff"):
        written(files, tmp_path / "odd", {"model": str(odd / "m.nyff")})
    with pytest.raises(nyff.InputError, match=r"structure 'no\.xyz' does not exist"):
        write_input("no.xyz", Parameters(model=str(files / "m.nyff")), tmp_path / "none")


def test_the_crossover_temperature_of_a_parabola():
    """One unit mass on an inverted parabola of 1000i cm^-1: T_c = 1.4388·1000/2π K."""
    k = (1000 * 4.556335252912e-06) ** 2
    matrix = np.diag([-k, 4 * k, 9 * k])
    assert crossover_temperature(matrix, np.array([1.0])) == pytest.approx(1.438777 * 1000 / (2 * np.pi), rel=1e-5)
    with pytest.raises(nyff.InputError, match=r"unstable here are 2000i, 1000i \(cm\^-1\)"):
        crossover_temperature(np.diag([-k, -4 * k, 9 * k]), np.array([1.0]))


def test_the_command_prints_the_plug_in_s_path():
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("i-PI is not installed (pip install nyff[ipi])")
    result = CliRunner().invoke(app, ["ipi", "--pes-path"])
    path = Path(result.stdout.strip())
    assert path.name == "nyff_ipi_pes.py"
    from ipi.pes import load_pes

    assert load_pes("custom", path).__name__ == "NyffDriver"


def test_the_command_writes_an_input(files, tmp_path):
    line = f"--write-input {files / 's.xyz'} --model {files / 'm.nyff'} -o {tmp_path / 'run'} --mode inet -p 31234"
    line += " --nbeads 4 --temperature 310 --thermostat pile_g --time 0.5ps --seed 3"
    result = CliRunner().invoke(app, ["ipi", *line.split()])
    assert result.exit_code == 0, result.output
    assert "i-pi input.xml" in result.stdout
    root = ElementTree.parse(tmp_path / "run" / "input.xml").getroot()
    assert text(root, "total_steps") == "2000"
    assert text(root, "ffsocket/port") == "31234"
    assert root.find("system/motion/dynamics/thermostat").attrib["mode"] == "pile_g"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-u", "-m", "m.nyff"], "a UNIX socket needs a name; pass -a"),
        (["-u", "-a", "x", "-m", "nothing.nyff"], "cannot read the model nothing.nyff"),
        (["--write-input", "s.xyz"], "no model given; pass --model FILE"),
        (["--write-input", "s.xyz", "--temperatures", "a,b"], "--temperatures must be numbers joined by commas"),
        (["--write-input", "s.xyz", "-m", "m.nyff", "--time", "1 day"], "cannot read time '1 day'"),
    ],
)
def test_the_command_s_mistakes_are_named(files, monkeypatch, flags, words):
    monkeypatch.chdir(files)
    result = CliRunner().invoke(app, ["ipi", *flags])
    assert isinstance(result.exception, nyff.NyffError)
    assert words in str(result.exception)


def test_the_client_with_a_model_and_a_template_imports_neither_i_pi_nor_ase(files):
    code = """
import sys
from nyff.cli.main import app
from nyff.errors import SimulationError
try:
    app("ipi -u -a nobody-listens --connect-timeout 0 -m m.nyff -t s.xyz".split())
except SimulationError as error:
    assert "no server at /tmp/ipi_nobody-listens" in str(error)
    print(sorted({"ipi", "ase", "scipy", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=files)
    assert done.stdout == "[]\n", done.stderr

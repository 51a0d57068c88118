"""The page as a whole: self-contained, well-formed, escaped, deterministic, and honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf

from nyff.errors import FileFormatError, InputError
from nyff.report import render_report, write_report, write_training_report

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def all_values(attributes: list[tuple[str, str, str]], *names: str) -> list[str]:
    return [value for _, name, value in attributes if name in names]


def test_it_needs_nothing_from_outside(page):
    reader = Reader(page)
    assert not {"link", "iframe", "object", "embed", "audio", "video"} & set(reader.tags)
    references = all_values(reader.attributes, "src", "href", "xlink:href", "data", "srcset", "action")
    assert references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
    assert not re.search(r"https?:|//[\w-]+\.|@import|file:", page)
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_ids_are_unique_and_every_reference_has_its_target(page):
    reader = Reader(page)
    ids = Counter(all_values(reader.attributes, "id"))
    assert max(ids.values()) == 1
    wanted = {value[1:] for value in all_values(reader.attributes, "href", "xlink:href") if value.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids)


def test_the_same_folder_gives_the_same_bytes(run, copy, page, tmp_path):
    again = shutil.copytree(copy, tmp_path / "elsewhere" / run.name)
    assert render_report(again) == page


def test_matplotlib_is_left_as_it_was(run, copy):
    for name in ("test_predictions.npz", "relaxed.xyz"):
        (copy / name).unlink()
    before = dict(mpl.rcParams)
    with mpl.rc_context({"lines.linewidth": 7.5, "font.size": 33}):
        styled = render_report(copy)
        assert mpl.rcParams["lines.linewidth"] == 7.5
    assert dict(mpl.rcParams) == before
    assert Gcf.get_all_fig_managers() == []
    assert styled == render_report(copy)


def test_it_contains_the_numbers(run, page, predictions):
    text = Reader(page).text
    error = np.abs(predictions["forces"] - predictions["reference_forces"])
    mae = error.mean()
    assert json.loads((run / "metrics.json").read_text())["force_mae_ev_per_ang"] == pytest.approx(mae, rel=1e-12)
    assert f"{1e3 * mae:.3g} meV/Å" in text
    assert f"({mae * 23.060548:.3g} kcal/mol/Å)" in text
    energy = np.abs(predictions["energies"] - predictions["reference_energies"]).mean()
    assert f"Energy MAE {1e3 * energy:.3g} meV" in text
    assert f"{energy * 23.060548:.3g} kcal/mol" in text
    typical = np.sqrt((predictions["reference_forces"] ** 2).mean())
    assert f"{100 * mae / typical:.2g} % of the RMS force" in text
    assert "learned from 50 structures" in text
    assert "C₂H₆O, 9 atoms" in text
    assert "50 to train, 50 to validate, 50 to test" in text
    for wanted in ("Matérn 5/2", "1 permutation", "10, as asked", "Nosé–Hoover chain", "data.xyz"):
        assert wanted in text
    for figure in ("convergence", "parity", "tails", "by-atom", "worst-5", "molecule", "md"):
        assert f'id="{figure}-' in page


def test_the_commands_name_the_files_of_the_run_and_are_quoted(page):
    reader = Reader(page)
    assert "nyff md 'my run/model.nyff' 'my run/relaxed.xyz' --ensemble langevin" in reader.text
    assert "nyff.NyffCalculator('my run/model.nyff')" in reader.text


def test_the_python_examples_run(run, page, monkeypatch, capsys, ethanol):
    monkeypatch.chdir(run.parent)
    blocks = [block for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL) if block.startswith("import")]
    assert len(blocks) == 2
    for block in blocks:
        code = block.replace("&#39;", "'").replace("&gt;", ">")
        names: dict[str, object] = {"positions": ethanol.positions[:2]}
        exec(compile(code, "report", "exec"), names)
    assert names["forces"].shape == (2, 9, 3)
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(ethanol.energies.mean(), abs=2)


def test_what_users_write_is_escaped(copy):
    evil = '<script>alert("x")</script>'
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["hints"] = [evil]
    metrics["plan"]["reason"] = evil
    (copy / "metrics.json").write_text(json.dumps(metrics))
    config = (copy / "config.yaml").read_text()
    name = "<img src=x onerror=alert(1)>.xyz"
    (copy / "config.yaml").write_text(re.sub(r"- .*data\.xyz", f"- '/home/me/{name}'", config))
    for unused in ("md", "test_predictions.npz"):
        shutil.rmtree(copy / unused) if unused == "md" else (copy / unused).unlink()
    folder = copy.rename(copy.with_name("a'\"<b>&"))
    page = render_report(folder)
    reader = Reader(page)
    assert reader.tags["script"] == 1
    assert reader.tags["img"] == 0
    assert reader.tags["b"] == Reader(page.replace(evil, "")).tags["b"]
    assert reader.text.count(evil) == 2
    assert name in reader.text
    assert "/home/me" not in page


MISSING = {
    "test_predictions.npz": "test predictions",
    "convergence.csv": "convergence history",
    "model.nyff": "a model",
    "metrics.json": "errors and cost",
    "md": "a simulation",
    "relaxed.xyz": "a relaxed structure",
}


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize("kept", [None, "test_predictions.npz", "model.nyff", "metrics.json"])
def test_a_run_with_almost_nothing_still_reports(copy, kept):
    for name in {*MISSING, "solution.npz", "config.yaml"} - {kept}:
        remove(copy / name)
    text = Reader(render_report(copy)).text
    for name, words in MISSING.items():
        assert (words in text.split("Not in the folder")[1]) == (name != kept)
    assert "50 to train" in text
    if kept != "metrics.json":
        assert "not complete" in text


def test_a_part_that_is_missing_takes_only_its_section_along(copy):
    for name in ("test_predictions.npz", "md", "relaxed.xyz"):
        remove(copy / name)
    page = render_report(copy)
    assert 'id="accuracy"' not in page
    assert 'id="md"' not in page
    assert 'id="training"' in page
    assert "molecule.xyz stands for a structure with the atoms C C O H H H H H H" in Reader(page).text


def test_forces_without_energies(copy):
    with np.load(copy / "test_predictions.npz") as archive:
        arrays = {name: archive[name][:5] if name != "numbers" else archive[name] for name in archive}
    del arrays["reference_energies"]
    np.savez(copy / "test_predictions.npz", **arrays)
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps({k: v for k, v in metrics.items() if not k.startswith("energy")}))
    remove(copy / "md")
    text = Reader(render_report(copy)).text
    assert "The data have no energies" in text
    assert "Energy MAE" not in text
    assert "The 5 structures with the largest error" in text


def test_one_test_structure(copy):
    with np.load(copy / "test_predictions.npz") as archive:
        arrays = {name: archive[name][:1] if name != "numbers" else archive[name] for name in archive}
    np.savez(copy / "test_predictions.npz", **arrays)
    remove(copy / "md")
    assert "All errors are on the 1 test structures" in Reader(render_report(copy)).text


def test_a_direct_solve_has_no_iterations_to_show(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["solver"] = metrics["plan"]["solver"] = "cholesky"
    (copy / "metrics.json").write_text(json.dumps(metrics))
    (copy / "convergence.csv").write_text("iteration,relative_residual,seconds\n1,1e-11,0.5\n")
    for name in ("test_predictions.npz", "md"):
        remove(copy / name)
    text = Reader(render_report(copy)).text
    assert "solved directly" in text
    assert "exact factorisation" in text


def test_a_length_scale_that_was_chosen(copy):
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("lengthscale: 10.0", "lengthscale: null"))
    rows = "5,0.05\n10,0.04\n80,0.9\n2.5,0.3\n"
    (copy / "lengthscale_scan.csv").write_text("lengthscale,force_mae_ev_per_ang\n" + rows)
    for name in ("test_predictions.npz", "md"):
        remove(copy / name)
    page = render_report(copy)
    assert "10, the best of 4" in Reader(page).text
    assert "chosen: 10" in Reader(page).text
    assert 'id="scan-' in page


def test_a_simulation_reports_on_its_own(run, copy):
    (copy / "md" / "summary.json").write_text(json.dumps({"steps_per_second": 200.0}))
    page = render_report(copy / "md")
    text = Reader(page).text
    assert "Simulation report" in text
    assert "0.06 ps of 0.06 ps, 120 steps" in text
    assert "Dynamics 200 steps/s 8.64 ns a day" in text  # 200 · 86400 · 0.5 fs
    rows = np.genfromtxt(run / "md" / "md.csv", delimiter=",", names=True)
    slope = np.polyfit(rows["time_fs"] / 1000, rows["conserved_ev"], 1)[0] / 9
    assert f"{1e6 * slope:.3g}".replace("-", "−") in text
    assert "conserved" in text


def test_a_simulation_that_stopped_says_so_first(copy):
    (copy / "md" / "final.xyz").rename(copy / "md" / "last_good.xyz")
    text = Reader(render_report(copy / "md")).text
    assert 0 < text.find("The simulation stopped after 0.06 ps") < text.find("Ensemble")


def test_a_simulation_without_a_row_is_no_simulation(copy):
    header = (copy / "md" / "md.csv").read_text().splitlines()[0]
    (copy / "md" / "md.csv").write_text(header + "\n")
    (copy / "test_predictions.npz").unlink()
    assert 'id="md"' not in render_report(copy)


def test_writing(copy, page, tmp_path):
    for name in ("test_predictions.npz", "md"):
        remove(copy / name)
    path = write_training_report(copy)
    assert path == copy / "report.html"
    assert write_report(copy, tmp_path / "other.html").read_bytes() == path.read_bytes()
    assert len(page) < 3e6


def test_other_folders_are_refused(tmp_path, copy):
    with pytest.raises(InputError, match=r"is not a run folder.*give the folder that `nyff train -o`"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a training run.*give the folder of `nyff train -o`"):
        write_training_report(copy / "md")


@pytest.mark.parametrize(
    "name",
    [
        "metrics.json",
        "split.json",
        "config.yaml",
        "convergence.csv",
        "test_predictions.npz",
        "relaxed.xyz",
        "md/md.csv",
        "md/summary.json",
    ],
)
def test_damaged_files_are_named(copy, name):
    (copy / name).write_bytes(b"[1, \x00 {{\n3,4\n")
    with pytest.raises(FileFormatError, match=re.escape(Path(name).name)):
        render_report(copy)


def test_a_relaxed_structure_of_something_else_is_refused(copy):
    (copy / "relaxed.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    with pytest.raises(FileFormatError, match="another molecule than the model's"):
        render_report(copy)


def test_predictions_that_do_not_fit_together_are_refused(copy, predictions):
    np.savez(copy / "test_predictions.npz", **{**predictions, "frames": predictions["frames"][:3]})
    with pytest.raises(FileFormatError, match="do not fit together"):
        render_report(copy)

"""The comparison's figures: every preset draws, with axes and units, and its numbers are those of the results."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from nyff.errors import InputError
from nyff.report.precond import draw
from nyff.report.precond_figures import steps_figure
from nyff.report.precond_scaling import best_columns_figure, choices_figure, power_law_figure
from nyff.report.precond_style import LOOKS, medians
from nyff.report.precond_table import paper_table
from nyff.training.compare import AUTOMATIC, method_names
from nyff.training.presets import PRESETS, REFERENCES
from nyff.training.rule import PAPER, paper_columns
from nyff.training.study import Store

TOLERANCE = 1e-4


def row(method: str = "leverage", columns: int = 100, n: int = 15_741, **values) -> dict:
    """One result as a Store keeps it."""
    given = {
        "molecule": "ethanol",
        "formula": "C2H6O",
        "method": method,
        "form": "shifted",
        "n_train": n // 27,
        "n": n,
        "permutations": 6,
        "columns": columns,
        "seed": 0,
        "rank": columns,
        "iterations": max(2, round(n * (max(columns, 1) / 80) ** -1.2)),
        "converged": True,
        "status": "converged",
        "true_relative_residual": 9e-5,
        "preconditioner_bytes": 8 * n * columns,
        "peak_build_bytes": 9 * n * columns,
        "build_products": 0,
        "build_s": 1e-5 * columns**2,
        "solve_s": 900.0 / max(columns, 1),
    }
    return {**given, **values}


def history(method: str, columns: int, seed: int = 0) -> list[dict]:
    label = {"molecule": "ethanol", "n": 15_741, "method": method, "columns": columns, "seed": seed}
    return [
        {**label, "iteration": i, "relative_residual": math.exp(-i / columns * 10), "seconds": 0.01 * i}
        for i in range(columns)
    ]


@pytest.fixture
def store() -> Store:
    """What a run of any preset could leave: two molecules, three sizes, every method, an automatic choice, tables."""
    counts = [157, 400, 768, paper_columns(15_741)]
    results = [
        row(method, k, n, molecule=molecule, formula=formula, seed=seed, n_train=n // 27)
        for molecule, formula in (("ethanol", "C2H6O"), ("uracil", "C4H4N2O2"))
        for n in ((3_996, 15_741) if molecule == "ethanol" else (15_741,))
        for method in ("leverage", "default", "spectral")
        for k in counts
        for seed in (0, 1)
    ]
    results += [
        row("none", 0, iterations=78_705, converged=False, status="iteration limit", rank=0),
        row(AUTOMATIC, 512, solve_s=2.0),
    ]
    spectrum = [
        {
            "molecule": "ethanol",
            "n": 40,
            "method": m,
            "columns": k,
            "seed": 0,
            "index": i + 1,
            "eigenvalue": 10.0 ** (-i / 4),
        }
        for m, k in (("none", 0), ("spectral", 5), ("leverage", 5), ("spectral", 20))
        for i in range(40)
    ]
    scores = [
        {
            "molecule": "ethanol", "n": 54, "regularization": ridge, "structure": s, "atom": a, "symbol": "CCOHHHHHH"[a],
            "axis": axis, "score": 1 / (1 + ridge * 1e8 * (1 + a + s)),
        }
        for ridge in (1e-6, 1e-9)
        for s in range(2)
        for a in range(9)
        for axis in "xyz"
    ]  # fmt: skip
    return Store(
        settings={"tolerance": TOLERANCE},
        results=results,
        history=[r for method in ("default", "leverage") for r in history(method, 768)],
        tables={"spectrum": spectrum, "scores": scores},
    )


@pytest.mark.parametrize("preset", [*PRESETS, None])
def test_every_preset_draws_labelled_axes_and_writes_its_numbers(store, tmp_path, preset):
    drawn = draw(store, preset)
    axes = [ax for ax in drawn.figure.axes if ax.get_label() != "<colorbar>"]
    for ax in axes:
        if preset not in ("figure-g", "paper-table"):  # molecules stand on the x axis of these
            assert ax.get_xlabel()
        assert ax.get_ylabel() or ax is not axes[0]
    picture, table = drawn.save(tmp_path / "figure.png")
    assert picture.stat().st_size > 5000
    assert table == tmp_path / "figure.data.csv"
    with table.open() as stream:
        assert len(list(csv.DictReader(stream))) == len(drawn.data) > 0


@pytest.mark.parametrize("suffix", [".pdf", ".png", ".svg"])
def test_pictures_are_the_same_every_time(store, tmp_path, suffix):
    one, two = (draw(store, "residual").save(tmp_path / f"{name}{suffix}")[0] for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_other_formats_are_refused(store, tmp_path):
    with pytest.raises(InputError, match=r"cannot draw figure.bmp: the suffix must be one of .pdf, .png, .svg"):
        draw(store, "figure-a").save(tmp_path / "figure.bmp")


def test_every_method_has_its_look():
    assert set(method_names()) <= set(LOOKS)
    seen = [LOOKS[name] for name in method_names()]
    assert len(set(seen)) == len(seen)


def test_medians_are_over_seeds():
    rows = [row(columns=100, seed=s, iterations=i) for s, i in enumerate((5, 9, 100))] + [row(columns=50, iterations=7)]
    low, high = medians(rows, lambda r: r["iterations"])
    assert (low["columns"], low["median"], low["seeds"]) == (50, 7, 1)
    assert (high["median"], high["lowest"], high["highest"], high["seeds"]) == (9, 5, 100, 3)


def test_steps_carry_the_lines_n_and_a_tenth_of_it(store):
    ax = steps_figure([r for r in store.results if r["n"] == 15_741 and r["molecule"] == "ethanol"]).figure.axes[0]
    flat = {line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1}
    assert {15_741, 0.1 * 15_741} <= flat


def test_the_power_law_is_fitted_where_it_holds():
    """Points near full rank, which converge at once, don't bend it."""
    rows = [row(columns=k) for k in (100, 200, 400, 800)] + [row(columns=12_000, iterations=2)]
    fits = [r for r in power_law_figure(rows, by="n").data if r["n"] == "fit"]
    assert [r["columns"] for r in fits] == ["m = 1.2"]
    assert float(fits[0]["median"].removeprefix("khat = ")) == pytest.approx(80, rel=0.02)


def test_choices_are_relative_to_the_best_of_the_sweep(store):
    data = choices_figure(store.results).data
    (rule,) = [r for r in data if r["choice"] == "rule of thumb" and r["n"] == 15_741 and r["molecule"] == "ethanol"]
    sweep = {k: 1e-5 * k**2 + 900 / k for k in (157, 400, 768, paper_columns(15_741))}
    assert rule["relative"] == pytest.approx(sweep[paper_columns(15_741)] / min(sweep.values()))
    (automatic,) = [r for r in data if r["choice"] == AUTOMATIC]
    assert automatic["seconds"] == pytest.approx(1e-5 * 512**2 + 2.0)


def test_the_best_k_follows_the_rule_to_ten_million(store):
    data = best_columns_figure(store.results).data
    paper = [r for r in data if r["curve"].startswith("paper")]
    assert max(r["n"] for r in paper) == pytest.approx(1e7)
    for r in paper:
        assert r["k"] == pytest.approx(min(PAPER.best_columns(r["n"]), r["n"]))
    measured = [r for r in data if r["curve"] == "ethanol, leverage: fastest measured" and r["n"] == 15_741]
    assert measured[0]["k"] == 400


def test_the_table_stands_beside_the_paper():
    reference = REFERENCES["C2H6O"]
    rows = [row("default", 768, n_train=583, seed=s, iterations=i) for s, i in enumerate((90, 70, 80))]
    (line,) = paper_table(rows)
    assert (line["steps"], line["fewest"], line["most"], line["seeds"]) == (80, 70, 90, 3)
    assert (line["paper_leverage"], line["paper_spectral"], line["goal"]) == (379, 240, 100)
    assert line["paper_leverage"] == reference.leverage
    # Another size is not the paper's run.
    (other,) = paper_table([row("default", 768, n_train=200)])
    assert other["paper_leverage"] == other["goal"] == ""


@pytest.mark.parametrize("preset", ["figure-a", "figure-b", "figure-d", "figure-g", "residual"])
def test_nothing_to_draw_is_said(preset):
    with pytest.raises(InputError, match="there are no results to draw"):
        draw(Store(settings={"tolerance": TOLERANCE}), preset)


def test_references_are_the_published_numbers():
    path = Path(__file__).resolve().parents[3] / "shared" / "reference" / "paper_cg_steps.csv"
    if not path.exists():
        pytest.skip("the paper's results are not beside the checkout (../shared/reference)")
    with path.open() as stream:
        published = {(r["molecule"], r["k"]): r for r in csv.DictReader(stream) if r["series"] == "coarse"}
    names = {"toluene": "C6H5CH3", "azobenzene": "azobenzene_new"}
    for reference in REFERENCES.values():
        line = published[names.get(reference.molecule, reference.molecule), str(reference.columns)]
        for name in ("n_train", "uniform", "leverage", "cholesky", "spectral"):
            assert int(line[name]) == getattr(reference, name)

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from nyff.errors import FileFormatError, InputError, MemoryLimitError
from nyff.linalg.preconditioner.make import METHODS, make_preconditioner
from nyff.training.compare import AUTOMATIC, Case, Listener, Refusal, Result, cases, compare, method_names
from nyff.training.presets import PRESETS, REFERENCES, find_preset
from nyff.training.problem import build_problem
from nyff.training.rule import PAPER, PowerLaw, fit_power_law, paper_columns
from nyff.training.settings import Settings
from nyff.training.spectra import dense_matrix, preconditioned_spectrum, ridge_leverage_scores
from nyff.training.study import Hooks, Request, Store, molecule_names, read_table, run_study

SETTINGS = Settings(lengthscale=10.0)
CONTRACT = {
    *("method", "n", "permutations", "columns", "iterations", "converged", "true_relative_residual"),
    *("preconditioner_bytes", "peak_build_bytes", "build_s", "solve_s"),
}


@pytest.fixture(scope="module")
def problem(ethanol, ethanol_permutations):
    return build_problem(ethanol[:14], ethanol_permutations, SETTINGS, 10.0, float("inf"))


@pytest.fixture
def group(tmp_path, ethanol_permutations) -> Settings:
    """Settings with the symmetry found once."""
    return Settings(lengthscale=10.0, permutations=ethanol_permutations.tolist())


class TestCases:
    def test_combinations_that_differ_come_once(self):
        made = cases(["default", "spectral", "none"], [10, 20], [0, 1])
        assert made == [
            Case("default", 10, 0),
            Case("default", 10, 1),
            Case("default", 20, 0),
            Case("default", 20, 1),
            Case("spectral", 10, 0),
            Case("spectral", 20, 0),
            Case("none", 0, 0),
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((["ichol"], [10], [0], "shifted"), "unknown method 'ichol'; known are default, none, uniform"),
            ((["none"], [10], [0], "best"), "unknown form 'best' of a preconditioner; known are shifted, woodbury"),
            ((["uniform"], [0], [0], "shifted"), "the number of columns must be at least 1, got 0"),
        ],
    )
    def test_mistakes_are_named(self, arguments, message):
        methods, columns, seeds, form = arguments
        with pytest.raises(InputError, match=message):
            cases(methods, columns, seeds, form=form)


class TestCompare:
    def test_every_method_solves_the_problem(self, problem):
        """Against a dense solve: the true residual it reports belongs to the matrix that the problem states."""
        todo = cases(method_names(), [80], [0])
        steps: dict[str, list[int]] = {}
        listener = Listener(step=lambda case, record: steps.setdefault(case.method, []).append(record.iteration))
        results = {}
        for result in compare(problem, todo, max_iterations=600, listener=listener):
            assert isinstance(result, Result)
            results[result.method] = result
        assert list(results) == method_names()
        for name, result in results.items():
            assert result.n == 14 * 27
            assert result.permutations == 6
            assert result.iterations >= steps[name][-1]
            assert result.preconditioner_bytes <= 8 * result.n * result.columns
            assert result.converged == (result.true_relative_residual <= 1e-4)
            assert result.build_products == 0
        assert all(result.converged for name, result in results.items() if METHODS.get(name, METHODS["auto"]).sized)
        assert results["default"].iterations < results["spectral"].iterations < results["leverage"].iterations

    def test_iterations_count_products(self, problem, monkeypatch):
        operator, count = problem.operator, []
        plain = type(operator).matvec
        monkeypatch.setattr(type(operator), "matvec", lambda self, v: (count.append(1), plain(self, v))[1])
        (result,) = compare(problem, [Case("uniform", 60)])
        # One product comes before, so that no method pays for filling the kernel's cache.
        assert len(count) - 1 == result.iterations

    def test_what_does_not_fit_is_refused_and_the_rest_goes_on(self, problem):
        refused, done = compare(problem, cases(["spectral", "uniform"], [20], [0]), max_bytes=700_000)
        assert isinstance(refused, Refusal)
        assert "spectral needs the full matrix of 294 unknowns" in refused.reason
        assert isinstance(done, Result)
        assert done.method == "uniform"

    def test_a_shared_decomposition_counts_in_every_result(self, problem):
        small, large = compare(problem, cases(["spectral"], [30, 90], [0]))
        assert isinstance(small, Result)
        assert isinstance(large, Result)
        assert (small.rank, large.rank) == (30, 90)
        assert small.iterations > large.iterations
        assert small.peak_build_bytes >= 8 * 294 * 294

    def test_the_solution_does_not_depend_on_the_method(self, problem):
        """Same system: two preconditioners that stop at 1e-9 agree where the matrix is not singular."""
        history = [
            next(iter(compare(problem, [Case(name, 120)], regularization=1e-6, tolerance=1e-8))).history
            for name in ("leverage", "default")
        ]
        assert all(h[0].relative_residual == 1.0 for h in history)
        assert all(h[-1].relative_residual <= 1e-8 for h in history)


class TestRule:
    def test_the_rule_is_the_minimum_of_the_cost(self):
        law = PowerLaw(1.3, 80.0)
        n = 20_000
        k = np.geomspace(10, n, 200_000)
        cost = law.relative_steps(k) * n * n**2 + n * k**2
        assert law.best_columns(n) == pytest.approx(k[cost.argmin()], rel=1e-3)

    def test_the_papers_columns(self):
        assert paper_columns(15_750) == round((100 * 15_750**2 / 2) ** (1 / 3))
        assert paper_columns(20) == 20
        assert PAPER.best_columns(1e6) == pytest.approx((100 * 1e12 / 2) ** (1 / 3))

    def test_a_power_law_is_recovered(self):
        k = np.array([50, 100, 400, 1000])
        fitted = fit_power_law(k, (k / 70.0) ** -1.2)
        assert (fitted.slope, fitted.scale) == (pytest.approx(1.2), pytest.approx(70.0))

    def test_what_is_no_power_law_is_refused(self):
        with pytest.raises(InputError, match="at least two different numbers of columns, got 1"):
            fit_power_law([10, 10], [1.0, 2.0])
        with pytest.raises(InputError, match="do not fall with the number of columns"):
            fit_power_law([10, 20], [1.0, 2.0])


class TestSpectra:
    def test_spectrum_against_the_nonsymmetric_product(self, problem):
        matrix = dense_matrix(problem, float("inf"))
        shifted = matrix + 1e-7 * torch.eye(len(matrix), dtype=torch.float64)
        built = make_preconditioner("leverage", problem.operator, 1e-7, 60, n=problem.n, form="woodbury")
        theirs = np.sort(np.linalg.eigvals(built.apply(shifted).numpy()).real)[::-1]
        np.testing.assert_allclose(preconditioned_spectrum(matrix, 1e-7, built).numpy(), theirs, rtol=1e-4)
        bare = preconditioned_spectrum(matrix, 1e-7).numpy()
        np.testing.assert_allclose(bare, np.linalg.eigvalsh(shifted.numpy())[::-1], rtol=1e-6)

    def test_leverage_scores_against_a_dense_cartesian_solve(self, problem):
        kernel = problem.operator.kernel.to_dense()
        eye = torch.eye(len(kernel), dtype=torch.float64)
        scores = ridge_leverage_scores(problem, dense_matrix(problem, float("inf")), [1e-4, 1e-6])
        assert scores.shape == (2, 14, 9, 3)
        for shift, found in zip([1e-4, 1e-6], scores, strict=True):
            expected = torch.linalg.solve(kernel + shift * eye, kernel).diagonal()
            torch.testing.assert_close(found.reshape(-1), expected, rtol=0, atol=1e-7)

    def test_beyond_the_limit_it_is_refused(self, problem):
        with pytest.raises(MemoryLimitError, match="the spectrum of 294 unknowns needs 2.77 MB, the limit is 1 MB"):
            dense_matrix(problem, 1e6)


class TestPresets:
    def test_every_figure_has_one(self):
        names = {f"figure-{letter}" for letter in "abcdefghi"} | {"residual", "paper-table"}
        assert set(PRESETS) == names
        assert find_preset("C") is PRESETS["figure-c"]
        with pytest.raises(InputError, match="unknown preset 'figure-z'; known are figure-a"):
            find_preset("figure-z")

    @pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
    def test_methods_exist(self, preset):
        assert set(preset.methods) <= set(method_names())

    def test_the_papers_runs(self, ethanol):
        request = Request(SETTINGS, find_preset("paper-table"))
        reference = REFERENCES[ethanol.formula]
        assert request.sizes(ethanol) == [583]
        assert request.counts(ethanol, 27 * 583) == [768]
        assert (reference.leverage, reference.spectral) == (379, 240)
        assert request.all_seeds == (0, 1, 2)

    def test_sizes_grow_where_the_figure_wants_it(self, ethanol):
        assert Request(SETTINGS, find_preset("e"), n_train=(80,)).sizes(ethanol) == [10, 20, 40, 80]
        assert Request(SETTINGS, find_preset("e"), n_train=(30, 60)).sizes(ethanol) == [30, 60]
        assert Request(SETTINGS, find_preset("a")).sizes(ethanol) == [583]
        assert Request(SETTINGS, find_preset("b")).sizes(ethanol) == [58]

    def test_choices_of_k_are_part_of_the_sweep(self, ethanol):
        counts = Request(SETTINGS, find_preset("g"), columns=(50,)).counts(ethanol, 15_741)
        assert counts == [50, 157, paper_columns(15_741)]


class TestStudy:
    def request(self, settings: Settings, **options) -> Request:
        given = {"methods": ("uniform", "spectral"), "columns": (40, 90), "n_train": (12,), **options}
        return Request(settings, **given)

    def store(self, folder, request: Request) -> Store:
        return Store(request.identity(), folder / "results.json", folder / "results.csv", folder / "history.csv")

    def test_files_hold_what_the_contract_says(self, ethanol, group, tmp_path):
        request = self.request(group)
        store = self.store(tmp_path, request)
        run_study([ethanol], request, store)
        content = json.loads((tmp_path / "results.json").read_text())
        assert len(content["results"]) == 4
        for row in content["results"]:
            assert set(row) >= CONTRACT
            assert row["n"] == 12 * 27
            assert row["permutations"] == 6
        with (tmp_path / "results.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert [row["iterations"] for row in rows] == [str(row["iterations"]) for row in content["results"]]
        history = read_table(tmp_path / "history.csv")
        last = [row for row in history if (row["method"], row["columns"]) == ("spectral", 90)][-1]
        assert last["relative_residual"] <= 1e-4

    def test_an_interruption_keeps_results_and_resuming_does_the_rest(self, ethanol, group, tmp_path):
        request = self.request(group)
        store = self.store(tmp_path, request)

        def interrupt(row: dict) -> None:
            if len(store.results) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_study([ethanol], request, store, Hooks(result=interrupt))
        left = json.loads((tmp_path / "results.json").read_text())["results"]
        assert len(left) == 3
        again = self.store(tmp_path, request)
        again.load()
        done: list[dict] = []
        run_study([ethanol], request, again, Hooks(result=done.append))
        assert [(row["method"], row["columns"]) for row in done] == [("spectral", 90)]
        assert again.results[:3] == left
        assert {(row["method"], row["columns"]) for row in read_table(tmp_path / "history.csv")} == {
            ("uniform", 40),
            ("uniform", 90),
            ("spectral", 40),
            ("spectral", 90),
        }

    def test_results_of_other_settings_are_not_joined(self, ethanol, group, tmp_path):
        request = self.request(group, columns=(60,), methods=("uniform",))
        run_study([ethanol], request, self.store(tmp_path, request))
        other = self.request(replace(group, regularization=1e-8))
        with pytest.raises(InputError, match="was made with regularization = 1e-10, now it is 1e-08"):
            self.store(tmp_path, other).load()

    def test_a_damaged_file_is_named(self, group, tmp_path):
        (tmp_path / "results.json").write_text('{"results": [')
        with pytest.raises(FileFormatError, match="cannot read .* as results of a comparison"):
            self.store(tmp_path, self.request(group)).load()

    def test_seeds_draw_other_columns_and_stratified_samples(self, ethanol, group):
        first = Store()
        run_study([ethanol], self.request(group, methods=("uniform",), columns=(60,), seeds=(0, 1)), first)
        assert [row["seed"] for row in first.results] == [0, 1]
        drawn = Store()
        options = {"methods": ("spectral",), "columns": (60,), "seeds": (0, 1), "split": "stratified"}
        run_study([ethanol], self.request(group, **options), drawn)
        assert [row["seed"] for row in drawn.results] == [0, 1]
        assert drawn.results[0]["true_relative_residual"] != drawn.results[1]["true_relative_residual"]

    def test_refusals_are_kept_beside_results(self, ethanol, group):
        store = Store()
        refused: list[dict] = []
        request = self.request(replace(group, max_memory="700kB"), columns=(20,), n_train=(14,))
        run_study([ethanol], request, store, Hooks(refused=refused.append))
        assert [row["method"] for row in store.results] == ["uniform"]
        assert refused == store.refused
        assert "spectral needs the full matrix" in refused[0]["reason"]

    def test_the_automatic_choice_is_one_of_the_ways(self, ethanol, group):
        store = Store()
        run_study([ethanol], Request(group, find_preset("i"), columns=(60,), n_train=(12,)), store)
        automatic = [row for row in store.results if row["method"] == AUTOMATIC]
        assert len(automatic) == 1
        assert automatic[0]["converged"]

    def test_spectra_and_scores_are_tables(self, ethanol, group):
        store = Store()
        run_study([ethanol], Request(group, find_preset("b"), columns=(50,), n_train=(8,)), store)
        run_study([ethanol], Request(group, find_preset("d"), n_train=(8,)), store)
        methods = {row["method"] for row in store.tables["spectrum"]}
        assert methods == {"none", *find_preset("b").methods}
        assert len(store.tables["spectrum"]) == 5 * 8 * 21
        assert len(store.tables["scores"]) == 8 * 8 * 9 * 3

    def test_molecules_have_short_names_of_their_own(self, ethanol):
        files = [replace(ethanol, name=name) for name in ("rmd17_ethanol_train_01.npz", "mine.xyz")]
        assert molecule_names(files) == ["ethanol", "mine"]
        assert molecule_names([ethanol, ethanol]) == ["ethanol (1)", "ethanol (2)"]

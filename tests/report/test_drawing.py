"""Pictures, figures and numbers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation

from nyff.report import figures, text
from nyff.report.molecule import Picture, superpose
from nyff.report.svg import ACCENT, INK, embed, style
from nyff.report.whole import make_whole


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0.0, 3, "0"),
        (43.0127, 3, "43.0"),
        (0.99951, 3, "1.00"),
        (-12.345, 3, "−12.3"),
        (1234.5, 3, "1\u202f230"),
        (0.000123456, 3, "0.000123"),
        (1e-10, 2, "1.0\u202f×\u202f10⁻¹⁰"),
        (-2.5e7, 2, "−2.5\u202f×\u202f10⁷"),
        (999999, 2, "1.0\u202f×\u202f10⁶"),
        (float("nan"), 3, "not finite"),
    ],
)
def test_numbers_have_the_digits_asked_for(value, digits, expected):
    assert text.number(value, digits) == expected


def test_words():
    assert text.subscripts("C10H22") == "C₁₀H₂₂"
    assert text.count(1234567) == "1\u202f234\u202f567"
    assert [text.duration(s) for s in (0.5, 90, 600, 10800)] == ["0.500 s", "90.0 s", "10.0 min", "3.00 h"]
    assert text.force(0.0433641039) == "43.4 meV/Å (1.00 kcal/mol/Å)"


def test_superposition_is_the_least_squares_rotation():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(6, 3))
    moved = Rotation.random(random_state=2).apply(reference) + [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=(6, 3))
    got = superpose(moved, reference)
    centred = moved - moved.mean(0)
    best, _ = Rotation.align_vectors(reference - reference.mean(0), centred)
    np.testing.assert_allclose(got, best.apply(centred) + reference.mean(0), atol=1e-10)


def test_a_mirror_image_is_not_turned_into_the_molecule():
    reference = np.random.default_rng(3).normal(size=(5, 3))
    assert np.abs(superpose(reference * [1, 1, -1], reference) - reference).max() > 0.1


@pytest.mark.parametrize("name", ["H2O", "CO", "C6H6", "CH3CH2OH", "C2H2", "CH4"])
def test_pictures_keep_shape_and_handedness_and_hide_no_atom(name):
    atoms = molecule(name)
    turned = Picture.of(atoms.numbers, atoms.positions).positions
    centred = atoms.positions - atoms.positions.mean(0)
    np.testing.assert_allclose(superpose(turned, centred), centred, atol=1e-9)
    i, j = np.tril_indices(len(atoms), -1)
    assert np.linalg.norm(turned[i, :2] - turned[j, :2], axis=1).min() > 0.3


def test_bonds_are_those_of_most_structures(ethanol):
    picture = Picture.of(ethanol.numbers, ethanol.positions[:50])
    assert set(picture.bonds) == {(0, 1), (1, 2), (2, 3), (1, 4), (1, 5), (0, 6), (0, 7), (0, 8)}
    twisted = picture.with_structure(ethanol.positions[7] + 5.0)
    assert twisted.bonds == picture.bonds
    i, j = np.tril_indices(9, -1)
    lengths = np.linalg.norm(ethanol.positions[7, i] - ethanol.positions[7, j], axis=1)
    np.testing.assert_allclose(np.linalg.norm(twisted.positions[i] - twisted.positions[j], axis=1), lengths)


def test_what_a_skewed_cell_has_cut_is_made_whole(ethanol, small_fit):
    cell = np.array([[9.0, 0.0, 0.0], [4.0, 8.0, 0.0], [1.0, 3.0, 8.5]])
    whole = ethanol.positions[:20]
    inside = (whole @ np.linalg.inv(cell)) % 1.0 @ cell
    i, j = np.tril_indices(9, -1)

    def lengths(positions):
        return np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)

    assert np.abs(lengths(inside) - lengths(whole)).max() > 3
    periodic = replace(small_fit.model, cell=cell)
    np.testing.assert_allclose(lengths(make_whole(periodic, inside)), lengths(whole), atol=1e-9)
    np.testing.assert_allclose(lengths(make_whole(periodic, inside[0])[None]), lengths(whole[:1]), atol=1e-9)
    np.testing.assert_array_equal(make_whole(small_fit.model, inside), inside)
    np.testing.assert_array_equal(make_whole(None, inside), inside)


def test_labels_name_every_atom_and_colours_follow_values():
    atoms = molecule("CH3CH2OH")
    picture = Picture.of(atoms.numbers, atoms.positions)
    with style():
        canvas = picture.figure(np.arange(9.0), label="error (meV/Å)", ring=2)
        svg = str(embed(canvas, "x", "picture"))
    labels = re.findall(r">([A-Z][a-z]?\d+)</text>", svg)
    assert sorted(labels) == sorted(f"{s}{i}" for i, s in enumerate(atoms.get_chemical_symbols()))
    fills = {patch.get_facecolor() for patch in canvas.axes[0].patches if patch.get_facecolor()[3] > 0}
    assert len(fills) == 9


def test_embedded_figures_follow_the_theme_and_large_ones_become_pixels():
    with style():
        canvas = figures.figure(2, 2)
        ax = canvas.subplots()
        ax.plot([0, 1], [0, 1], color=ACCENT)
        svg = str(embed(canvas, "small", 'a "quoted" <line>'))
        assert 'aria-label="a &#34;quoted&#34; &lt;line&gt;"' in svg
        assert "var(--accent)" in svg
        assert ACCENT not in svg
        assert INK not in svg
        assert "DejaVu" not in svg
        x = np.random.default_rng(0).normal(size=(2, 300, 60))
        ax.plot(x[0], x[1])
        assert str(embed(canvas, "large", "noise")).startswith('<img class="raster"')


def test_parity_shows_errors_in_the_unit_asked_for():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3, 3))
    y = x + 0.01
    with style():
        canvas = figures.figure()
        ax = canvas.subplots()
        figures.parity(ax, x, y, quantity="force component", unit="eV/Å", errors_in=("meV/Å", 1e3))
        note = ax.texts[0].get_text()
    assert "MAE 10.0 meV/Å" in note
    assert "RMSE 10.0 meV/Å" in note
    unexplained = 1e-4 / x.var()
    assert f"1 − R² = {text.number(unexplained, 2)}" in note
    assert ax.collections[0].get_array().sum() == x.size
    assert ax.get_xlim() == ax.get_ylim()


def test_shares_above_fall_from_one_to_one_over_n():
    errors = np.random.default_rng(0).normal(size=5000)
    with style():
        ax = figures.figure().subplots()
        figures.error_distribution(ax, errors, unit="meV", what="structures")
    size, share = ax.lines[0].get_data()
    for s, p in zip(size[::40], share[::40], strict=True):
        assert p == pytest.approx((np.abs(errors) >= s).mean())
    assert share[-1] == pytest.approx(1 / 5000)
    assert size[-1] == np.abs(errors).max()


def test_long_traces_keep_their_peaks():
    rng = np.random.default_rng(0)
    time, kelvin = np.arange(50_000) * 5.0, rng.normal(300, 10, size=50_000)
    kelvin[31_415], kelvin[27_182] = 900.0, 1.0
    with style():
        ax = figures.figure().subplots()
        figures.temperature_trace(ax, time, kelvin, target=300)
    x, y = ax.lines[0].get_data()
    assert len(x) < 2000
    assert (y.max(), y.min()) == (900.0, 1.0)
    assert (np.diff(x) > 0).all()
    assert (x[0], x[-1]) == (0.0, time[-1] / 1000)
    assert x[y.argmax()] == pytest.approx(31_415 * 5e-3)


def test_degenerate_values_draw():
    with style():
        canvas = figures.figure()
        axes = canvas.subplots(2, 3).ravel()
        figures.parity(axes[0], np.zeros(5), np.zeros(5), quantity="energy", unit="eV")
        figures.residuals(axes[1], np.zeros(5), np.zeros(5), quantity="energy", unit="eV", error_unit="meV")
        figures.error_distribution(axes[2], np.zeros(5), unit="meV", what="structures")
        figures.temperature_trace(axes[3], [0.0], [0.0])
        figures.energy_traces(axes[4], [0.0, 1.0], {"total": [1.0, 1.0]})
        figures.lengthscale_scan(axes[5], [1.0, 10.0, 100.0], [5.0, 0.1, 9.0], chosen=10.0)
        assert "all errors are zero" in embed(canvas, "x", "degenerate")

"""Comparisons with a name: the paper's figures A to I, its table, and the residual as it falls.

S. Blücher, K.-R. Müller, S. Chmiela, J. Chem. Theory Comput. 19, 4619 (2023), doi 10.1021/acs.jctc.2c01304. What a
preset leaves open (molecules, sizes, seeds) is the caller's; what it sets can be overridden.
"""

from __future__ import annotations

from dataclasses import dataclass

from nyff.errors import InputError

UNKNOWNS = 15_750
"""3NM of most of the paper's runs."""

DENSE_UNKNOWNS = 1_575
"""3NM of the paper's spectra."""


@dataclass(frozen=True)
class Preset:
    """What to run. ``shares`` are k/n of the columns; ``sizes`` the shares of the largest training set to repeat it at.

    ``kind``: ``"solves"`` only compares; ``"choices"`` adds the ways to choose k (1 % of n, the paper's rule,
    automatic); ``"spectrum"`` and ``"scores"`` need all of K and take small training sets.
    """

    name: str
    summary: str
    methods: tuple[str, ...] = ()
    form: str = "woodbury"
    shares: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)
    kind: str = "solves"
    unknowns: int = UNKNOWNS
    sizes: tuple[float, ...] = (1.0,)


_SWEEP = (0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15)
_GROWTH = (0.125, 0.25, 0.5, 1.0)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "figure-a",
            "steps against k/n for several methods",
            ("uniform", "leverage", "cholesky", "spectral"),
            shares=_SWEEP,
        ),
        Preset(
            "figure-b",
            "spectrum of P⁻¹(K + λI) for growing k",
            ("spectral", "leverage", "cholesky", "uniform"),
            shares=(0.1, 0.25, 0.4, 0.6),
            kind="spectrum",
            unknowns=DENSE_UNKNOWNS,
        ),
        Preset(
            "figure-c",
            "columns by leverage score: sampled, largest, smallest",
            ("leverage", "leverage-top", "leverage-bottom"),
            shares=_SWEEP,
        ),
        Preset("figure-d", "ridge leverage scores, sorted and by atom", kind="scores", unknowns=DENSE_UNKNOWNS),
        Preset(
            "figure-e",
            "steps/n against k for growing n, with the power law",
            ("leverage",),
            shares=_SWEEP,
            sizes=_GROWTH,
        ),
        Preset("figure-f", "steps/n against k for several molecules, with the power law", ("leverage",), shares=_SWEEP),
        Preset(
            "figure-g",
            "run time of three ways to choose k, relative to the best",
            ("default",),
            shares=_SWEEP,
            kind="choices",
        ),
        Preset(
            "figure-h",
            "the best k/n against n: rule, fit, measured",
            ("leverage", "default"),
            shares=_SWEEP,
            sizes=_GROWTH,
        ),
        Preset("figure-i", "run time against k with the chosen k", ("default",), shares=_SWEEP, kind="choices"),
        Preset(
            "residual",
            "residual against iteration and seconds",
            ("default", "rpcholesky", "leverage", "cholesky"),
            form="shifted",
            shares=(768 / UNKNOWNS,),
        ),
        Preset(
            "paper-table",
            "steps at the paper's n and k beside the paper's",
            ("default",),
            form="shifted",
            seeds=(0, 1, 2),
        ),
    )
}


def find_preset(name: str) -> Preset:
    """By name, or by the letter of its figure. Raises :class:`~nyff.errors.InputError`."""
    key = name.lower()
    preset = PRESETS.get(key) or PRESETS.get(f"figure-{key}")
    if preset is None:
        raise InputError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return preset


@dataclass(frozen=True)
class Reference:
    """The paper's CG steps at n ≈ 15,750 and k columns, and the steps that nyff's default is to stay below."""

    molecule: str
    n_train: int
    columns: int
    uniform: int
    leverage: int
    cholesky: int
    spectral: int
    goal: int


REFERENCES = {
    "C2H6O": Reference("ethanol", 583, 768, 384, 379, 422, 240, 100),
    "C4H4N2O2": Reference("uracil", 437, 768, 593, 587, 611, 413, 200),
    "C7H8": Reference("toluene", 350, 768, 1059, 1059, 1085, 734, 300),
    "C9H8O4": Reference("aspirin", 250, 768, 5667, 5732, 5493, 3313, 700),
    "C12H10N2": Reference("azobenzene", 218, 767, 1324, 1312, 1446, 878, 400),
}
"""Measured values from the raw results published with the paper, by chemical formula."""

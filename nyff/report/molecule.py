"""Pictures of molecules: balls and sticks with atom indices, in element colours or coloured by a quantity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray

from nyff.data.dataset import symbols
from nyff.kernel.graph import bond_graph
from nyff.report.svg import INK, SECOND

Floats = NDArray[np.float64]

ERROR_COLOURS = LinearSegmentedColormap.from_list("nyff-error", ["#f4f1ea", "#f5d08a", "#ea8b3a", "#c2361f", "#6d0f22"])
_BOND_WIDTH = 0.16
_MARGIN = 0.25
_MOST_LABELS = 90
_LARGEST = 0.85  # inches per Å


@dataclass(frozen=True, eq=False)
class Picture:
    """A molecule as seen by a camera along z: ``positions`` [atoms, 3] in Å, already turned."""

    numbers: NDArray[np.int64]
    positions: Floats
    bonds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, numbers: NDArray[np.int64], structures: ArrayLike, shown: int = 0) -> Picture:
        """The molecule turned so that few atoms hide others; bonds are those of half of ``structures`` or more."""
        r = np.asarray(structures, dtype=np.float64).reshape(-1, len(numbers), 3)
        most = int(np.clip(1_500_000 // len(numbers) ** 2, 1, 100))
        sample = r[:: -(-len(r) // most)]
        typical = np.median(np.linalg.norm(sample[:, :, None] - sample[:, None], axis=-1), axis=0)
        bonds = tuple(sorted((min(edge), max(edge)) for edge in bond_graph(numbers, typical).edges))
        return cls(numbers, _tilted(_broadside(r[shown])), bonds)

    def with_structure(self, positions: ArrayLike) -> Picture:
        """Another structure of the same molecule, turned to look like this one as much as it can."""
        return replace(self, positions=_tilted(superpose(np.asarray(positions, dtype=np.float64), self.positions)))

    @cached_property
    def radii(self) -> Floats:
        """Radius [atoms] of each ball in Å: covalent radii, evened out so that hydrogens can carry a label."""
        from ase.data import covalent_radii

        radii: Floats = 0.26 + 0.22 * covalent_radii[self.numbers]
        return radii

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in Å, margins included."""
        low, high = self._box
        return float(high[0] - low[0]), float(high[1] - low[1])

    @property
    def _box(self) -> tuple[Floats, Floats]:
        flat, radii = self.positions[:, :2], self.radii[:, None] + _MARGIN
        return (flat - radii).min(0), (flat + radii).max(0)

    def figure(
        self,
        values: ArrayLike | None = None,
        *,
        label: str = "",
        most: float | None = None,
        ring: int | None = None,
        width: float = 4.8,
        height: float = 3.8,
        colorbar: bool = True,
    ) -> Figure:
        """A picture within ``width`` × ``height`` inches; ``values`` [atoms] colour the balls, on a scale to ``most``.

        ``label`` names the scale with its unit; ``ring`` is an atom to be ringed.
        """
        across, up = self.extent
        bar = 0.75 if values is not None and colorbar else 0.0
        scale = min((width - bar) / across, height / up, _LARGEST)
        canvas = Figure((across * scale + bar, up * scale))
        share = across * scale / canvas.get_figwidth()
        ax = canvas.add_axes((0, 0, share, 1))
        norm = Normalize(0, most if most is not None else float(np.max(values)) if values is not None else 1)
        self.draw(ax, None if values is None else ERROR_COLOURS(norm(np.asarray(values))), ring=ring, scale=scale)
        if bar:
            room = canvas.add_axes((share + 0.1 / canvas.get_figwidth(), 0.08, 0.12 / canvas.get_figwidth(), 0.84))
            drawn = canvas.colorbar(ScalarMappable(norm, ERROR_COLOURS), cax=room)
            drawn.outline.set_linewidth(0.5)
            room.set_ylabel(label, fontsize=9)
            room.grid(False)
        return canvas

    def draw(self, ax: Axes, colours: ArrayLike | None = None, *, ring: int | None = None, scale: float = 0.5) -> None:
        """Draw into ``ax`` at ``scale`` inches per Å; ``colours`` [atoms, 3 or 4] instead of the elements' colours."""
        from ase.data.colors import jmol_colors

        fill = jmol_colors[self.numbers] if colours is None else np.asarray(colours)[:, :3]
        point = 72 * scale
        thick = _BOND_WIDTH * point
        for bond in self.bonds:
            (a, b), middle = self.positions[list(bond), :2], self._middle(bond)
            # Below both of its balls: a bond towards the viewer must not cover a label.
            depth = float(self.positions[list(bond), 2].min())
            ax.plot(*np.stack([a, b]).T, color=INK, linewidth=thick + 1.6, zorder=depth - 2e-3)
            for atom, end in zip(bond, (a, b), strict=True):
                half = np.stack([end, middle]).T
                ax.plot(*half, color=tuple(fill[atom]), linewidth=thick, solid_capstyle="butt", zorder=depth - 1e-3)
        names = symbols(self.numbers) if len(self.numbers) <= _MOST_LABELS else None
        for atom, (x, y, z) in enumerate(self.positions):
            radius = float(self.radii[atom])
            if atom == ring:
                ax.add_patch(Circle((x, y), radius + 0.13, facecolor="none", edgecolor=SECOND, linewidth=2, zorder=z))
            ball = Circle((x, y), radius, facecolor=tuple(fill[atom]), edgecolor=INK, linewidth=0.9, zorder=z + 1e-3)
            ax.add_patch(ball)
            if names is not None:
                dark = np.dot(to_rgb(tuple(fill[atom])), (0.299, 0.587, 0.114)) < 0.52
                text = f"{names[atom]}{atom}"
                size = min(10.0, 1.45 * radius * point / max(2.0, 0.62 * len(text) + 0.5))
                ax.text(
                    x, y, text, ha="center", va="center_baseline", fontsize=size, zorder=z + radius,
                    color="#ffffff" if dark else "#101418",
                )  # fmt: skip
        low, high = self._box
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        ax.axis("off")

    def _middle(self, bond: tuple[int, int]) -> Floats:
        """The point [2] halfway between the surfaces of the two balls of a bond, as seen by the camera."""
        a, b = self.positions[list(bond)]
        ra, rb = self.radii[list(bond)]
        length = max(float(np.linalg.norm(b - a)), 1e-9)
        middle: Floats = (a + (b - a) * (0.5 + 0.5 * (ra - rb) / length))[:2]
        return middle


def superpose(positions: Floats, reference: Floats) -> Floats:
    """``positions`` [atoms, 3] moved and turned onto ``reference`` by least squares.

    W. Kabsch, Acta Cryst. A 32, 922 (1976), doi:10.1107/S0567739476001873.
    """
    centred, target = positions - positions.mean(0), reference - reference.mean(0)
    u, _, vt = np.linalg.svd(centred.T @ target)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    turned: Floats = centred @ (u @ vt) + reference.mean(0)
    return turned


def _broadside(positions: Floats) -> Floats:
    """Turned so that the two longest principal axes lie in the picture."""
    centred = positions - positions.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    axes[2] = np.cross(axes[0], axes[1])
    turned = centred @ axes.T
    # The sign of a principal axis is arbitrary: the outermost atom goes left.
    if turned[np.abs(turned[:, 0]).argmax(), 0] > 0:
        turned = turned * np.array([-1, 1, -1])
    return turned


def _tilted(start: Floats) -> Floats:
    """``start`` [atoms, 3] tilted so that no atom stands behind another, as far as that can be had.

    A symmetric molecule hides half of its atoms when seen along its axes.
    """
    i, j = np.tril_indices(len(start), -1)
    best, lowest = start, np.inf
    for about_x in np.radians(np.arange(-50, 51, 5)):
        for about_y in np.radians(np.arange(-30, 31, 5)):
            turned = start @ _rotation(about_x, about_y)
            apart = ((turned[i, :2] - turned[j, :2]) ** 2).sum(1)
            cost = np.exp(-apart / 0.5).sum() + 0.3 * (1 - np.cos(about_x)) + 0.3 * (1 - np.cos(about_y))
            if cost < lowest - 1e-9:
                best, lowest = turned, cost
    return best


def _rotation(about_x: float, about_y: float) -> Floats:
    cx, sx, cy, sy = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
    return np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])

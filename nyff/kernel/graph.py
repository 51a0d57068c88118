"""The bond graph of a molecule, agreed on by all its structures, and the order in which a search visits its atoms."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Star = tuple[int, int, int, int]
"""An atom and three of its neighbours."""

BOND = 1.3
"""Atoms closer than this many sums of covalent radii are bonded."""


def bond_graph(numbers: NDArray[np.int64], typical: NDArray[np.float64]) -> nx.Graph:
    """Graph of the bonds: atoms as nodes with their atomic number ``z``, edges where ``typical`` distances are short.

    ``typical`` [atoms, atoms] in Å are medians over the structures, so a bond is one that half of them have.
    """
    from ase.data import covalent_radii

    radii = covalent_radii[numbers]
    close = typical < BOND * (radii[:, None] + radii[None, :])
    graph = nx.Graph()
    graph.add_nodes_from((atom, {"z": int(z)}) for atom, z in enumerate(numbers))
    graph.add_edges_from((int(i), int(j)) for i, j in zip(*np.nonzero(np.tril(close, -1)), strict=True))
    return graph


def visiting_order(graph: nx.Graph) -> list[int]:
    """Atoms from the centre of each fragment outwards, those with a single bond last and beside their siblings.

    Fixing the skeleton first leaves local motions (a methyl rotor) to the end of a search, and lets every atom be
    placed next to one that is placed already.
    """
    distances = bond_distances(graph)
    farthest = np.where(np.isfinite(distances), distances, 0.0).max(axis=1)
    order: list[int] = []
    for fragment in sorted(nx.connected_components(graph), key=lambda atoms: (-len(atoms), min(atoms))):
        part = graph.subgraph(fragment)
        skeleton = part.subgraph([atom for atom in part if part.degree[atom] > 1] or [min(part)])
        start = min(skeleton, key=lambda atom: (farthest[atom], atom))
        seen = [start]
        for atom in seen:
            seen.extend(sorted(set(skeleton[atom]) - set(seen)))
        leaves = [leaf for atom in seen for leaf in sorted(set(part[atom]) - set(skeleton))]
        order += seen + leaves
    return order


def stars(graph: nx.Graph, most: int = 6) -> list[Star]:
    """Every atom with three of its neighbours: (centre, a, b, c); centres with more than ``most`` are left out."""
    found: list[Star] = []
    for centre in graph:
        neighbours = sorted(graph[centre])
        if len(neighbours) <= most:
            found += [(centre, a, b, c) for a, b, c in combinations(neighbours, 3)]
    return found


def bond_distances(graph: nx.Graph) -> NDArray[np.float64]:
    """Number of bonds [atoms, atoms] between two atoms, infinite between fragments."""
    from scipy.sparse.csgraph import shortest_path

    adjacency = nx.to_scipy_sparse_array(graph, nodelist=range(len(graph)), dtype=np.int8, weight=None)
    return np.asarray(shortest_path(adjacency, unweighted=True), dtype=np.float64)


def counting_pairs(graph: nx.Graph, reach: int) -> NDArray[np.bool_]:
    """Pairs [atoms, atoms] at most ``reach`` bonds apart or in different fragments."""
    distances = bond_distances(graph)
    return np.asarray((distances <= reach) | np.isinf(distances))

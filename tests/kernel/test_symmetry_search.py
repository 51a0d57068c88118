"""The parts of the search for symmetry against independent oracles: networkx, scipy, brute force."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from nyff.kernel.automorphism import bond_relation, generators
from nyff.kernel.evidence import QUANTILES, Evidence, overlap, quantiles
from nyff.kernel.graph import bond_distances, bond_graph, stars, visiting_order
from nyff.kernel.group import generate_group
from nyff.kernel.matching import inverse_distances, match, mismatch


@st.composite
def coloured_graphs(draw: st.DrawFn) -> nx.Graph:
    n_atoms = draw(st.integers(1, 7))
    graph = nx.Graph()
    graph.add_nodes_from((atom, {"z": draw(st.sampled_from([1, 6]))}) for atom in range(n_atoms))
    pairs = [(i, j) for i in range(n_atoms) for j in range(i)]
    graph.add_edges_from(pair for pair in pairs if draw(st.booleans()))
    return graph


@settings(deadline=None, max_examples=80)
@given(coloured_graphs())
def test_automorphisms_are_those_of_networkx(graph: nx.Graph) -> None:
    matcher = nx.isomorphism.GraphMatcher(graph, graph, node_match=lambda a, b: a["z"] == b["z"])
    expected = {tuple(mapping[atom] for atom in range(len(graph))) for mapping in matcher.isomorphisms_iter()}
    found = generators(visiting_order(graph), [bond_relation(graph)])
    assert found.complete
    assert found.order == len(expected)
    group = generate_group(np.array(found.permutations), len(graph))
    assert group is not None
    assert set(map(tuple, group.tolist())) == expected


def test_the_order_of_a_huge_group_needs_no_list() -> None:
    star = nx.star_graph(40)
    nx.set_node_attributes(star, 1, "z")
    found = generators(visiting_order(star), [bond_relation(star)])
    assert found.complete
    assert found.order == math.factorial(40)


def test_budgets_end_a_search() -> None:
    # Strongly regular graphs are hard: all atoms look alike however far one looks.
    graph = nx.paley_graph(29).to_undirected()
    nx.set_node_attributes(graph, 6, "z")
    full = generators(visiting_order(graph), [bond_relation(graph)])
    assert full.complete
    assert full.order == 29 * 14
    for limits in ({"one_search": 10}, {"all_searches": 50}):
        short = generators(visiting_order(graph), [bond_relation(graph)], **limits)
        assert not short.complete
        assert short.order < full.order


def test_the_graph_of_ethanol() -> None:
    atoms = molecule("CH3CH2OH")
    graph = bond_graph(atoms.numbers.astype(np.int64), atoms.get_all_distances())
    assert nx.is_tree(graph)
    degrees = dict(graph.degree)
    assert sorted(degrees.values()) == [1] * 6 + [2, 4, 4]
    order = visiting_order(graph)
    assert sorted(order) == list(range(9))
    assert [degrees[atom] for atom in order[3:]] == [1] * 6
    assert len(stars(graph)) == 4 + 4  # two carbon atoms with four neighbours each
    distances = bond_distances(graph)
    expected = dict(nx.all_pairs_shortest_path_length(graph))
    assert all(distances[i, j] == expected[i][j] for i in graph for j in graph)


def test_fragments_are_infinitely_many_bonds_apart() -> None:
    graph = nx.Graph([(0, 1), (2, 3)])
    nx.set_node_attributes(graph, 1, "z")
    assert np.isinf(bond_distances(graph)[:2, 2:]).all()
    assert sorted(visiting_order(graph)) == [0, 1, 2, 3]


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_overlap_of_gaussians(shift: float) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=4000), shift + rng.normal(size=4000)
    exact = 2.0 * norm.cdf(-shift / 2.0)
    assert overlap(quantiles(first), quantiles(second)) == pytest.approx(exact, abs=0.1)


def test_overlap_at_the_ends() -> None:
    rng = np.random.default_rng(1)
    near, far = rng.normal(1.1, 0.03, 50), rng.normal(2.1, 0.1, 50)
    assert overlap(quantiles(near), quantiles(far)) == 0.0
    assert overlap(quantiles(near), quantiles(near)) == 1.0
    # Without any spread the resolution decides.
    assert overlap(quantiles(np.array([1.0])), quantiles(np.array([1.0 + 1e-9]))) == 1.0
    assert overlap(quantiles(np.array([1.0])), quantiles(np.array([1.2]))) == 0.0
    both = np.concatenate([near, far])  # half of the time each
    assert overlap(quantiles(both), quantiles(far)) == pytest.approx(0.5, abs=0.1)
    assert quantiles(np.zeros((7, 2, 3))).shape == (2, 3, QUANTILES)


def test_handedness_changes_sign_with_order_and_mirror() -> None:
    atoms = molecule("CH4")
    rng = np.random.default_rng(2)
    positions = atoms.positions + 0.05 * rng.normal(size=(60, 5, 3))
    numbers = atoms.numbers.astype(np.int64)
    evidence, mirrored = Evidence(numbers, positions), Evidence(numbers, positions * [1, 1, -1])
    arms = positions[:, 1:4] - positions[:, :1]
    arms /= np.linalg.norm(arms, axis=-1, keepdims=True)
    exact = np.einsum("fi,fi->f", np.cross(arms[:, 0], arms[:, 1]), arms[:, 2])
    value = evidence.handedness(0, 1, 2, 3)
    assert np.median(value) == pytest.approx(np.median(exact), abs=0.02)
    assert abs(np.median(exact)) == pytest.approx(4.0 / 3.0 / np.sqrt(3.0), abs=0.05)  # of a tetrahedron
    assert overlap(value, evidence.handedness(0, 2, 3, 1)) == 1.0
    assert overlap(value, evidence.handedness(0, 2, 1, 3)) == 0.0
    assert overlap(value, -mirrored.handedness(0, 1, 2, 3)) > 0.8
    np.testing.assert_allclose(evidence.distances, mirrored.distances, atol=1e-6)


@pytest.mark.parametrize("kind", ["swap", "three-cycle", "any"])
def test_matching_finds_every_permutation(kind: str) -> None:
    # An assignment applied the wrong way round recovers swaps but no three-cycle: that is the trap.
    rng = np.random.default_rng(3)
    numbers = np.array([6, 6, 6, 1, 1, 1, 1, 8])
    for _ in range(30):
        first = rng.uniform(-2.0, 2.0, size=(8, 3))
        permutation = np.arange(8)
        if kind == "swap":
            permutation[[3, 5]] = [5, 3]
        elif kind == "three-cycle":
            permutation[[3, 4, 5]] = [4, 5, 3]
        else:
            permutation[:3] = rng.permutation(3)
            permutation[3:7] = 3 + rng.permutation(4)
        second = first[permutation] + 1e-3 * rng.normal(size=(8, 3))
        a, b = inverse_distances(first), inverse_distances(second)
        found = match(a, b, numbers)
        assert (numbers[found] == numbers).all()
        np.testing.assert_array_equal(found, permutation)
        assert mismatch(a, b, found) < 0.1


def test_matching_is_no_worse_than_doing_nothing() -> None:
    rng = np.random.default_rng(4)
    numbers = np.array([8, 1, 1, 8, 1, 1])
    for _ in range(20):
        a, b = (inverse_distances(rng.uniform(-2, 2, size=(6, 3))) for _ in range(2))
        assert mismatch(a, b, match(a, b, numbers)) <= mismatch(a, b, np.arange(6))

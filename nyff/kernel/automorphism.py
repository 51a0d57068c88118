"""Generators of the automorphism group of a molecule, without ever listing the group.

A chain of stabilisers (Sims): for each atom b in turn, with all atoms before it held fixed, find for every possible
image of b *one* automorphism that takes it there. At most N(N−1)/2 automorphisms generate the whole group, and its
order is the product of the orbit lengths, even where the group itself has millions of members. Every single search is
depth-first, places atoms next to placed ones and tries the identity first, so its automorphisms move few atoms; and it
has a budget of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Images = Callable[[int, list[int], list[int], NDArray[np.bool_]], Iterator[int]]
"""``images(atom, mapped, their_images, free)``: the atoms that may stand for ``atom``, the best first."""


@dataclass(frozen=True)
class Generators:
    """Generators [generators, atoms], the order of their group, and whether every search ran to its end."""

    permutations: list[NDArray[np.int64]]
    order: int
    complete: bool


@dataclass
class _Budget:
    """Steps left, one for each atom that a search tries to place."""

    one_search: int
    all_searches: int


def generators(
    order: Sequence[int], relations: Sequence[Images], one_search: int = 5_000, all_searches: int = 20_000
) -> Generators:
    """Automorphisms under any of ``relations``, tried in turn, of the atoms visited in ``order``.

    A search is given up after placing ``one_search`` atoms, everything after ``all_searches``: local motions, which
    come first, are found all the same.
    """
    budget = _Budget(one_search, all_searches)
    n_atoms = len(order)
    found: list[NDArray[np.int64]] = []
    orbits: list[int] = []
    complete = True
    reach = [_identity_reach(order, relation) for relation in relations]
    for level in reversed(range(n_atoms)):
        base, fixed = order[level], list(order[:level])
        free = np.ones(n_atoms, dtype=bool)
        free[fixed] = False
        usable = [relation for relation, deepest in zip(relations, reach, strict=True) if level <= deepest]
        allowed = [set(relation(base, fixed, fixed, free)) for relation in usable]
        orbit = _orbit(base, found)
        hopeless: set[int] = set()
        for image in sorted(set().union(*allowed)):
            if image in orbit or image in hopeless:
                continue
            for relation, images in zip(usable, allowed, strict=True):
                permutation, ended = _extend(order, level, image, relation, budget) if image in images else (None, True)
                complete &= ended
                if permutation is not None:
                    found.append(permutation)
                    orbit = _orbit(base, found)
                    break
            else:  # then no image that known automorphisms turn into this one can succeed either
                hopeless |= _orbit(image, found)
        orbits.append(len(orbit))
    return Generators(found[::-1], math.prod(orbits), complete)


def _identity_reach(order: Sequence[int], relation: Images) -> int:
    """How many of the first atoms may stay where they are: all, unless the relation compares mirror images."""
    for level, atom in enumerate(order):
        fixed = list(order[:level])
        free = np.ones(len(order), dtype=bool)
        free[fixed] = False
        if atom not in relation(atom, fixed, fixed, free):
            return level
    return len(order)


def _orbit(atom: int, permutations: Sequence[NDArray[np.int64]]) -> set[int]:
    orbit, edge = {atom}, [atom]
    while edge:
        edge = sorted({int(p[a]) for p in permutations for a in edge} - orbit)
        orbit.update(edge)
    return orbit


def _extend(
    order: Sequence[int], level: int, image: int, relation: Images, budget: _Budget
) -> tuple[NDArray[np.int64] | None, bool]:
    """An automorphism that fixes ``order[:level]`` and takes ``order[level]`` to ``image``; and if the search ended."""
    n_atoms = len(order)
    placed = [*order[:level], image]
    free = np.ones(n_atoms, dtype=bool)
    free[placed] = False
    stack: list[Iterator[int]] = []
    steps = min(budget.one_search, budget.all_searches)
    while len(placed) < n_atoms:
        depth = len(placed)
        if len(stack) < depth - level:
            stack.append(relation(order[depth], list(order[:depth]), list(placed), free.copy()))
        choice = next(stack[-1], None)
        steps -= 1
        budget.all_searches -= 1
        if steps < 0:
            return None, False
        if choice is not None:
            placed.append(choice)
            free[choice] = False
            continue
        stack.pop()
        if not stack:
            return None, True
        free[placed.pop()] = True
    permutation = np.empty(n_atoms, dtype=np.int64)
    permutation[list(order)] = placed
    return permutation, True


def bond_relation(graph: nx.Graph) -> Images:
    """Automorphisms of the bond graph: equal elements, equal bonds."""
    n_atoms = len(graph)
    bonded = np.zeros((n_atoms, n_atoms), dtype=bool)
    for i, j in graph.edges:
        bonded[i, j] = bonded[j, i] = True
    # Colours that automorphisms keep (Weisfeiler and Leman) leave few images to try.
    colours = np.array([graph.nodes[atom]["z"] for atom in range(n_atoms)])
    for _ in range(n_atoms):
        keys = [(colours[atom], *sorted(colours[bonded[atom]])) for atom in range(n_atoms)]
        names = {key: k for k, key in enumerate(sorted(set(keys)))}
        refined = np.array([names[key] for key in keys])
        if len(names) == len(set(colours.tolist())):
            break
        colours = refined

    def images(atom: int, mapped: list[int], there: list[int], free: NDArray[np.bool_]) -> Iterator[int]:
        candidates = np.flatnonzero(free & (colours == colours[atom]))
        same = bonded[candidates][:, there] == bonded[atom, mapped]
        yield from sorted(candidates[same.all(axis=1)].tolist(), key=lambda other: (other != atom, other))

    return images

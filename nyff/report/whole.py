"""Molecules that a periodic cell has cut, made whole again for pictures and bond lengths."""

from __future__ import annotations

import networkx as nx
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from nyff.kernel.cell import MinimumImage
from nyff.kernel.graph import bond_graph
from nyff.model.force_field import ForceField


def make_whole(model: ForceField | None, structures: ArrayLike) -> NDArray[np.float64]:
    """``structures`` [..., atoms, 3] Å with every atom at the image next to the atoms it is bonded to.

    Fragments without a bond between them go to the images nearest to atom 0. Without a periodic model nothing moves.
    """
    r = np.array(structures, dtype=np.float64)
    if model is None or model.cell is None:
        return r
    fold = MinimumImage(model.cell, model.image)

    def arrows(to: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
        nearest: NDArray[np.float64] = fold(torch.from_numpy(to - start)).numpy()
        return nearest

    frames = r.reshape(-1, model.n_atoms, 3)
    sample = frames[:: -(-len(frames) // max(1, 1_000_000 // model.n_atoms**2))]
    typical = np.median(np.linalg.norm(arrows(sample[:, :, None], sample[:, None]), axis=-1), axis=0)
    graph = bond_graph(model.numbers, typical)
    for fragment in nx.connected_components(graph):
        root = min(fragment)
        frames[:, root] = frames[:, 0] + arrows(frames[:, root], frames[:, 0])
        for parent, child in nx.bfs_edges(graph, root):
            frames[:, child] = frames[:, parent] + arrows(frames[:, child], frames[:, parent])
    return frames.reshape(r.shape)

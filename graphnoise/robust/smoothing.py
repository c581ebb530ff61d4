"""Smoothed features of several radii: rows of S^h X scaled to length 1, computed in blocks of columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.graph import Graph
from graphnoise.nn.features import compact
from graphnoise.propagation import propagate
from graphnoise.resources import check_memory

Floats = NDArray[np.float64]
# Entries of a block of columns: 256 MB in float32.
BLOCK_ENTRIES = 2**26
# Norms below which a row counts as zero.
MIN_NORM = 1e-12


class SmoothedFeatures:
    """The matrices D_h^-1 S^h X, with D_h the norms of the rows of S^h X; only the rows of some nodes are stored.

    Args:
        x: Features, float32, shape [num_nodes, num_features].
        looped: The graph with self-loops, normalised: S.
        hops: The exponents h, increasing.
        nodes: Positions of the nodes whose rows are stored.

    Attributes:
        rows: The rows of these nodes for each h, each float32, shape [num_rows, num_features].
    """

    def __init__(self, x: Tensor, looped: Graph, hops: Sequence[int], nodes: Tensor) -> None:
        self.x, self.looped, self.hops = x, looped, tuple(hops)
        num_nodes, width = x.shape
        check_memory("smoothed features of the labelled nodes", 4.0 * len(self.hops) * len(nodes) * width)
        self.rows = [torch.empty(len(nodes), width) for _ in self.hops]
        squares = torch.zeros(len(self.hops), num_nodes, dtype=torch.float64)
        size = max(BLOCK_ENTRIES // max(num_nodes, 1), 16)
        for first in range(0, width, size):
            block, done = x[:, first : first + size].contiguous(), 0
            for k, hop in enumerate(self.hops):
                block, done = propagate(looped, block, alpha=1.0, num_steps=hop - done).y, hop
                self.rows[k][:, first : first + size] = block[nodes]
                squares[k] += block.double().square().sum(1)
        self.norms = squares.sqrt_()
        for rows, norms in zip(self.rows, self.norms, strict=True):
            rows /= norms[nodes].clamp(min=MIN_NORM).unsqueeze(1)

    def scores(self, coefficients: Floats) -> Floats:
        """Return the sum over h of D_h^-1 S^h X B_h for all nodes, shape [num_nodes, num_classes].

        Args:
            coefficients: The matrices B_h, shape [number of hops, num_features, num_classes].
        """
        features, total = compact(self.x), torch.zeros(self.x.shape[0], coefficients.shape[2])
        for hop, norms, weights in zip(self.hops, self.norms, coefficients, strict=True):
            projected = features @ torch.from_numpy(weights).float()
            total += propagate(self.looped, projected, alpha=1.0, num_steps=hop).y / norms.clamp(
                min=MIN_NORM
            ).unsqueeze(1)
        return total.double().numpy()

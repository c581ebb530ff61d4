"""Graphs of awkward shapes, dense formulas, and the one tolerance that tests use."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}


def assert_close(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    """Raise unless the entries agree to a multiple of the largest expected magnitude; NaN agrees with nothing."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if not actual.numel():
        return
    limit = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    gap = float((actual.detach().double() - expected.detach().double()).abs().max())
    scale = max(float(expected.detach().double().abs().max()), 1.0)
    assert gap <= limit * scale, f"differs by {gap:.3g} where {limit * scale:.3g} is allowed"


def graphs() -> dict[str, tuple[Tensor, int]]:
    """Return arcs and numbers of nodes: a hub, isolated nodes, self-loops, repeated arcs, no arcs, one node."""
    g = torch.Generator().manual_seed(7)
    random = torch.randint(0, 23, (2, 90), generator=g)
    hub = torch.stack([torch.arange(1, 40), torch.zeros(39, dtype=torch.long)])
    return {
        "directed with repeats and self-loops": (random, 25),
        "undirected": (torch.cat([random, random.flip(0)], dim=1), 23),
        "hub": (torch.cat([hub, hub.flip(0)], dim=1), 41),
        "no arcs": (torch.empty(2, 0, dtype=torch.long), 5),
        "one node": (torch.tensor([[0], [0]]), 1),
    }


def dense(edge_index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Tensor:
    """Return A with A[i, j] the total weight of the arcs from j to i, by a loop."""
    A = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    for k, (j, i) in enumerate(edge_index.t().tolist()):
        A[i, j] += 1.0 if weight is None else float(weight[k])
    return A


def normalised(A: Tensor, kind: str) -> Tensor:
    """Return the normalised matrix, with 1 / 0 = 0."""
    rows, columns = A.sum(1), A.sum(0)
    inverse = torch.where(rows > 0, 1 / rows, torch.zeros_like(rows))
    if kind == "row":
        return inverse.diag() @ A
    if kind == "col":
        return A @ torch.where(columns > 0, 1 / columns, torch.zeros_like(columns)).diag()
    return inverse.sqrt().diag() @ A @ inverse.sqrt().diag()

"""Influence contradiction: how much nodes of other labels influence a labelled node."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from graphnoise.graph import Graph
from graphnoise.propagation import propagate


def influence_contradictions(
    matrix: Graph, y: Tensor, num_classes: int, *, alpha: float, per_class: bool = True, tol: float = 1e-12
) -> Tensor:
    r"""Return Σ_{c ≠ y_i} mean_{k: y_k = c} T_ik of the labelled nodes i, with T = (1 - alpha) (I - alpha S)^-1.

    T is not computed: one column per class is propagated. A class without nodes adds nothing.

    Args:
        matrix: The normalised graph with self-loops, S.
        y: Class positions, -1 where a node has no label, shape [n].
        num_classes: Number of classes.
        alpha: Weight of the neighbours, below 1.
        per_class: Whether nodes of a class are averaged; else they are added.
        tol: Change in a step, relative to the largest entry of the indicators, at which propagation ends.

    Returns:
        Contradictions of the labelled nodes, in the order of the nodes, float64, shape [num_labelled].

    Example:
        >>> import torch
        >>> arcs = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> looped = Graph.from_edge_index(arcs).with_self_loops().normalise("row")
        >>> influence_contradictions(looped, torch.tensor([0, -1, 1]), 2, alpha=0.5).round(decimals=3)
        tensor([0.0510, 0.0510], dtype=torch.float64)

    Source:
        ICGNN, "influence contradiction score", arXiv 2601.17469.
    """
    labelled = y >= 0
    indicators = F.one_hot(y.clamp(min=0), num_classes).double() * labelled[:, None]
    if per_class:
        indicators /= indicators.sum(0).clamp(min=1.0)
    tol *= float(indicators.max())
    received = propagate(matrix, indicators, alpha=alpha, num_steps=100_000, tol=tol).y[labelled]
    return received.scatter_(1, y[labelled][:, None], 0.0).sum(1)

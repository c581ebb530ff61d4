"""The labels that ERASE trains on: propagated, from prototypes, and both fused."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import _check
from ..graph import Graph
from ..propagation import propagate

SCOPES = ("train", "full")


def denoise(
    graph: Graph,
    y: Tensor,
    train: Tensor,
    num_classes: int | None = None,
    *,
    alpha: float,
    num_steps: int,
    scope: str = "train",
    mode: str = "lazy",
    normalisation: str = "col",
    clamp: bool = False,
) -> Tensor:
    r"""Propagate the given labels before training (structural denoising).

    With Y the one-hot given labels of the training nodes (rows of other nodes are 0) and S the normalised graph,

        lazy:     Y <- alpha · S Y + (1 - alpha) · Y       restart:  Y <- alpha · S Y + (1 - alpha) · Y0

    `alpha` is the weight of the **neighbours**: ERASE's published .6 is the node's own weight, so `alpha=.4` here.

    Args:
        graph: The graph, not normalised.
        y: Given labels, shape [num_nodes]; read at the training nodes only.
        train: Training nodes, a Boolean mask or positions.
        num_classes: Number of classes; by default one more than the largest given label.
        alpha: Weight of the neighbours, in [0, 1].
        num_steps: Number of steps.
        scope: "train" (only edges between training nodes, as ERASE's code: few on public splits) or "full".
        mode: "lazy" (no restart, as ERASE's code on small graphs) or "restart".
        normalisation: "col" (as ERASE's code on small graphs), "sym" or "row".
        clamp: Whether every step ends by a clamp to [0, 1].

    Returns:
        Soft labels, float32, shape [num_nodes, num_classes]; with scope "train" zero outside the training nodes.

    Raises:
        InputError: An argument out of its range; no training node; a label out of range.

    Example:
        >>> path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        >>> denoise(path, torch.tensor([0, 1, 1]), torch.tensor([0, 1]), alpha=0.4, num_steps=1).tolist()
        [[0.6000000238418579, 0.4000000059604645], [0.4000000059604645, 0.6000000238418579], [0.0, 0.0]]

    Source:
        Chen et al., "ERASE: Error-Resilient Representation Learning on Graphs for Label Noise Tolerance", CIKM 2024,
        structural denoising.
    """
    if not isinstance(graph, Graph):
        _check.fail("graph", "a Graph (Graph.from_edge_index makes one)", type(graph).__name__)
    keep = _check.mask("train", train, graph.num_nodes).to(graph.device)
    if not bool(keep.any()):
        _check.fail("train", "at least one node", "none")
    values = _check.tensor("y", y)
    if values.dim() != 1 or values.numel() != graph.num_nodes:
        _check.fail("y", f"{graph.num_nodes} labels, one a node", f"shape {tuple(values.shape)}")
    given = _check.labels("y", values.to(graph.device)[keep], num_classes)
    classes = int(given.max()) + 1 if num_classes is None else _check.integer("num_classes", num_classes, 1)
    start = torch.zeros(graph.num_nodes, classes, dtype=torch.float32, device=graph.device)
    start[keep] = F.one_hot(given, classes).float()
    if _check.choice("scope", scope, SCOPES) == "train":
        graph = between(graph, keep)
    settings = {"alpha": alpha, "num_steps": num_steps, "mode": mode, "normalisation": normalisation}
    return propagate(graph, start, clamp=(0.0, 1.0) if clamp else None, **settings).y  # type: ignore[arg-type]


def between(graph: Graph, nodes: Tensor) -> Graph:
    """Return the graph with only the arcs of which both ends are in the Boolean mask `nodes`."""
    edges = graph.edge_index
    inside = nodes[edges[0]] & nodes[edges[1]]
    weight = None if graph.weight is None else graph.weight[inside]
    return Graph.from_edge_index(edges[:, inside], graph.num_nodes, weight)


def class_means(z: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Return the mean embedding of each class (its prototype), shape [num_classes, width]; zeros for an empty class.

    Args:
        z: Embeddings of the labelled nodes, shape [num_train, width].
        y: Their classes, int64, shape [num_train].
        num_classes: Number of classes.

    Raises:
        InputError: A shape that does not fit, or a class out of range.

    Example:
        >>> class_means(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 0]), 2).tolist()
        [[2.0, 0.0], [0.0, 0.0]]

    Source:
        ERASE (CIKM 2024), prototype pseudo-labels.
    """
    if z.dim() != 2:
        _check.fail("z", "shape [num_nodes, width]", f"shape {tuple(z.shape)}")
    labels = _check.labels("y", y, num_classes, size=z.shape[0])
    sums = z.new_zeros(num_classes, z.shape[1]).index_add_(0, labels, z)
    return sums / torch.bincount(labels, minlength=num_classes).clamp(min=1).unsqueeze(1)


def prototype_labels(z: Tensor, prototypes: Tensor) -> Tensor:
    """Return |cos(z_i, mu_c)| for every node and prototype, shape [num_nodes, num_classes]; 0 for a zero vector.

    Args:
        z: Embeddings, shape [num_nodes, width].
        prototypes: The prototype of each class, shape [num_classes, width].

    Raises:
        InputError: The widths differ.

    Example:
        >>> prototype_labels(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist()
        [[1.0, 0.0], [0.0, 0.0]]

    Source:
        ERASE (CIKM 2024), prototype pseudo-labels.
    """
    if z.dim() != 2 or prototypes.dim() != 2 or z.shape[1] != prototypes.shape[1]:
        got = f"shapes {tuple(z.shape)} and {tuple(prototypes.shape)}"
        _check.fail("prototypes", "a matrix as wide as the embeddings", got)
    # Cosines from one product and the norms: no normalised copy of the embeddings is made.
    norm = z.norm(dim=1).clamp(min=1e-12)
    return (z @ F.normalize(prototypes, dim=1).t()).abs_().div_(norm.unsqueeze(1))


def fuse(propagated: Tensor, prototype: Tensor, *, beta: float, softmax: bool = True) -> Tensor:
    """Return beta · propagated + (1 - beta) · prototype, with a softmax over each row unless `softmax` is False.

    Args:
        propagated: Propagated labels, shape [num_nodes, num_classes].
        prototype: Prototype labels, of the same shape.
        beta: Weight of the propagated labels, in [0, 1].
        softmax: Whether rows become distributions.

    Raises:
        InputError: beta out of range, or shapes that differ.

    Example:
        >>> fuse(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), beta=0.5).tolist()
        [[0.5, 0.5]]

    Source:
        ERASE (CIKM 2024), semantic labels.
    """
    weight = _check.rate("beta", beta)
    if propagated.shape != prototype.shape:
        _check.fail("prototype", f"shape {tuple(propagated.shape)}, as propagated", f"shape {tuple(prototype.shape)}")
    mixed = torch.lerp(prototype, propagated, weight)
    return mixed.softmax(1) if softmax else mixed

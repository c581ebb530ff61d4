"""Soft labels of ERASE: propagated given labels, cosines to class prototypes, and their mixture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.graph import Graph
from graphnoise.labels import MAX_ENTRIES, check_entries, class_positions
from graphnoise.propagation import propagate
from graphnoise.typing import GraphLike, LabelsLike

SCOPES = ("train", "full")
# Deviation of the log-scores that counts as one unit where classes are held to their sizes, and steps that this takes.
SIZE_SPREAD = 1.0
SIZE_STEPS = 10


def denoise(
    graph: GraphLike,
    y: LabelsLike,
    train: LabelsLike,
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
        graph: Anything `gn.as_graph` takes, not normalised.
        y: Given labels, shape [num_nodes]; read at the training nodes only.
        train: Training nodes, a Boolean mask or positions.
        num_classes: Number of classes; by default one more than the largest given label.
        alpha: Weight of the neighbours, in [0, 1].
        num_steps: Number of steps.
        scope: "train" (only edges between training nodes, as ERASE's code: few on public splits) or "full".
        mode: "lazy" (no restart, as ERASE's code on small graphs) or "restart".
        normalisation: "col" (as ERASE's code on small graphs), "sym" or "row".
        clamp: Whether every step ends with a clamp to [0, 1].

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
    graph = as_graph(graph)
    n = graph.num_nodes
    mask = checks.mask("train", train, n).to(graph.device)
    if not bool(mask.any()):
        checks.fail("train", "at least one node", "none")
    labels = class_positions(y, num_classes, nodes=mask.nonzero().view(-1), size=n).to(graph.device)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    check_entries("num_classes", n, classes)
    checks.choice("scope", scope, SCOPES)
    checks.flag("clamp", clamp)
    return _denoise(
        graph,
        labels,
        mask,
        classes,
        alpha=alpha,
        num_steps=num_steps,
        scope=scope,
        mode=mode,
        normalisation=normalisation,
        clamp=clamp,
    )


def _denoise(
    graph: Graph,
    labels: Tensor,
    mask: Tensor,
    num_classes: int,
    *,
    alpha: float,
    num_steps: int,
    scope: str,
    mode: str,
    normalisation: str,
    clamp: bool,
) -> Tensor:
    """Propagate the labels of the nodes in the Boolean mask."""
    start = torch.zeros(graph.num_nodes, num_classes, dtype=torch.float32, device=graph.device)
    start[mask] = F.one_hot(labels, num_classes).float()
    if scope == "train":
        graph = subgraph(graph, mask)
    return propagate(
        graph,
        start,
        alpha=alpha,
        num_steps=num_steps,
        mode=mode,
        normalisation=normalisation,
        clamp=(0.0, 1.0) if clamp else None,
    ).y


def subgraph(graph: Graph, mask: Tensor) -> Graph:
    """Return the graph with all nodes, and only the arcs of which both ends are in the Boolean mask."""
    edge_index = graph.edge_index
    inside = mask[edge_index[0]] & mask[edge_index[1]]
    weight = None if graph.weight is None else graph.weight[inside]
    return Graph._from_arcs(edge_index[:, inside], graph.num_nodes, weight, graph.names)


def class_means(z: Tensor, y: LabelsLike, num_classes: int) -> Tensor:
    """Return the mean embedding of each class (its prototype), shape [num_classes, width]; zeros for an empty class.

    Args:
        z: Embeddings of the labelled nodes, shape [num_train, width].
        y: Their classes, int64, shape [num_train].
        num_classes: Number of classes.

    Raises:
        InputError: A shape or type that does not fit, a class out of range, or embeddings without a finite mean.

    Example:
        >>> class_means(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 0]), 2).tolist()
        [[2.0, 0.0], [0.0, 0.0]]

    Source:
        ERASE (CIKM 2024), prototype pseudo-labels.
    """
    z = _matrix("z", z)
    num_classes = checks.integer("num_classes", num_classes, 1, MAX_ENTRIES)
    labels = class_positions(y, num_classes, size=z.shape[0]).to(z.device)
    return _finite("z", _class_means(z, labels, num_classes), "embeddings with a finite mean in each class")


def _class_means(z: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    sums = z.new_zeros(num_classes, z.shape[1]).index_add_(0, labels, z)
    counts = z.new_zeros(num_classes).index_add_(0, labels, z.new_ones(()).expand(labels.numel()))
    return sums / counts.clamp(min=1).unsqueeze(1)


def prototype_labels(z: Tensor, prototypes: Tensor) -> Tensor:
    """Return |cos(z_i, mu_c)| for every node and prototype, shape [num_nodes, num_classes]; 0 for a zero vector.

    Args:
        z: Embeddings, shape [num_nodes, width].
        prototypes: The prototype of each class, shape [num_classes, width].

    Raises:
        InputError: The widths or types differ, or a row is not finite or has no finite norm.

    Example:
        >>> prototype_labels(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist()
        [[1.0, 0.0], [0.0, 0.0]]

    Source:
        ERASE (CIKM 2024), prototype pseudo-labels.
    """
    z, prototypes = _matrix("z", z), _matrix("prototypes", prototypes)
    if z.shape[1] != prototypes.shape[1] or z.dtype != prototypes.dtype or z.device != prototypes.device:
        got = f"shape {tuple(prototypes.shape)} of type {prototypes.dtype} on {prototypes.device}"
        expected = f"a matrix as wide as the embeddings ({z.shape[1]}), of type {z.dtype} on {z.device}"
        checks.fail("prototypes", expected, got)
    norm = _finite("z", z.norm(dim=1), "rows with a finite norm")
    _finite("prototypes", prototypes.norm(dim=1), "rows with a finite norm")
    return _prototype_labels(z, norm, prototypes)


def _prototype_labels(z: Tensor, norm: Tensor, prototypes: Tensor) -> Tensor:
    # Cosines from one product and the norms, without a normalised copy of the embeddings.
    return (z @ F.normalize(prototypes, dim=1).t()).abs_().div_(norm.clamp(min=1e-12).unsqueeze(1))


def fuse(propagated: Tensor, prototype: Tensor, *, beta: float, softmax: bool = True) -> Tensor:
    """Return beta · propagated + (1 - beta) · prototype, with a softmax over each row unless `softmax` is False.

    Args:
        propagated: Propagated labels, shape [num_nodes, num_classes].
        prototype: Prototype labels, of the same shape.
        beta: Weight of the propagated labels, in [0, 1].
        softmax: Whether each row is turned into a distribution.

    Raises:
        InputError: Beta out of range, shapes or types that differ, or labels that are not finite.

    Example:
        >>> fuse(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), beta=0.5).tolist()
        [[0.5, 0.5]]

    Source:
        ERASE (CIKM 2024), semantic labels.
    """
    beta, softmax = checks.rate("beta", beta), checks.flag("softmax", softmax)
    propagated, prototype = _matrix("propagated", propagated), _matrix("prototype", prototype)
    if (propagated.shape, propagated.dtype, propagated.device) != (prototype.shape, prototype.dtype, prototype.device):
        expected = f"shape {tuple(propagated.shape)} of type {propagated.dtype} on {propagated.device}, as propagated"
        got = f"shape {tuple(prototype.shape)} of type {prototype.dtype} on {prototype.device}"
        checks.fail("prototype", expected, got)
    _finite("propagated", propagated, "finite labels")
    _finite("prototype", prototype, "finite labels")
    mixed = _fuse(propagated, prototype, beta, softmax=False)
    _finite("prototype", mixed, "labels whose mean with propagated is finite")
    return mixed.softmax(1) if softmax else mixed


def _fuse(propagated: Tensor, prototype: Tensor, beta: float, *, softmax: bool) -> Tensor:
    mixed = torch.lerp(prototype, propagated, beta)
    return mixed.softmax(1) if softmax else mixed


def _balance(scores: Tensor, shares: Tensor) -> Tensor:
    """Return log-scores plus an offset for each class, so that the expected sizes of the classes are given shares.

        sum_i softmax_c(log s_ic + b_c) = n · shares_c

    with log-scores centred by row and divided by `SIZE_SPREAD` of their deviation, and b found by `SIZE_STEPS` steps of
    Sinkhorn's iteration.

    Args:
        scores: Scores of at least 0, shape [num_nodes, num_classes].
        shares: Shares of the classes, above 0, shape [num_classes].

    Source:
        Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", NIPS 2013, section 4.
    """
    logits = scores.clamp(min=1e-12).log_()
    logits -= logits.mean(1, keepdim=True)
    logits /= (SIZE_SPREAD * logits.square().mean().sqrt()).clamp(min=1e-12)
    target = (shares / shares.sum()).log()
    for _ in range(SIZE_STEPS):
        logits += target - logits.softmax(1).mean(0).clamp(min=1e-9).log()
    return logits


def _matrix(name: str, value: Tensor) -> Tensor:
    """Return a floating-point matrix; finiteness is checked on what is computed from it."""
    matrix = checks.tensor(name, value)
    if matrix.dim() != 2 or not matrix.is_floating_point():
        expected = "a floating-point matrix, one row per node or class"
        checks.fail(name, expected, f"shape {tuple(matrix.shape)} of type {matrix.dtype}")
    return matrix


def _finite(name: str, value: Tensor, expected: str) -> Tensor:
    if not bool(torch.isfinite(value).all()):
        checks.fail(name, expected, f"{int((~torch.isfinite(value)).sum())} NaN or infinite values")
    return value

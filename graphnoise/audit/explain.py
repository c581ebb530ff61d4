"""Suspected labels with suggestions, and the reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphnoise.audit.posterior import LabelPosterior
from graphnoise.graph import Graph
from graphnoise.typing import Floats, Ints


def suspected(credibility: Floats, fdr: float) -> int:
    """Return the size of the largest set of the least credible labels of which an expected share `fdr` is right.

    Args:
        credibility: P(given label is right), ascending.
        fdr: Bound of the mean credibility of the set, from 0 to 1.

    Example:
        >>> suspected(np.array([0.0, 0.1, 0.2, 0.9]), 0.1)
        3

    Source:
        Newton et al., "Detecting differential gene expression with a semiparametric hierarchical mixture method", 2004,
        section 4: the posterior expected false-discovery rate.
    """
    means = credibility.cumsum() / np.arange(1, len(credibility) + 1)
    # Means of an ascending sequence ascend, but for rounding.
    return int(np.searchsorted(np.maximum.accumulate(means), fdr + 1e-12, side="right"))


def suggestions(posterior: LabelPosterior, nodes: Ints) -> tuple[Ints, Floats]:
    """Return the most probable class other than the given one of each node, and its probability."""
    chances = posterior.probability[nodes].copy()
    given = posterior.given[nodes]
    labelled = np.flatnonzero(given >= 0)
    chances[labelled, given[labelled]] = -1
    best = chances.argmax(1)
    return best, posterior.probability[nodes, best]


def neighbours(graph: Graph, node: int) -> Ints:
    """Return the distinct neighbours of a node, without itself, ascending."""
    first, last = int(graph.rowptr[node]), int(graph.rowptr[node + 1])
    ends: Ints = np.unique(graph.col[first:last].cpu().numpy())
    others: Ints = ends[ends != node]
    return others


def reasons(graph: Graph, posterior: LabelPosterior, nodes: Ints, suggested: Ints, labels: Ints) -> list[str]:
    """Return for each node what its neighbours' labels and the prediction say, in words.

    Args:
        graph: The graph, with both directions of each edge.
        posterior: Posterior of all nodes.
        nodes: Positions of the nodes to explain.
        suggested: Position of the class suggested for each of them.
        labels: Current labels of all nodes, -1 for none, shape [n].
    """
    names, texts = posterior.classes, []
    for node, best in zip(nodes.tolist(), suggested.tolist(), strict=True):
        known = labels[neighbours(graph, node)]
        known = known[known >= 0]
        agree = int((known == best).sum())
        if len(known):
            text = (
                f"{agree} of {len(known)} neighbour{'s' * (len(known) > 1)} say{'s' * (len(known) == 1)} {names[best]}"
            )
        else:
            text = "no labelled neighbour"
        top = int(posterior.prior[node].argmax())
        chance = two_digits(posterior.prior[node, top])
        texts.append(
            f"{text}; prediction without its label: {names[top]} ({chance}); given: {given_name(posterior, node)}"
        )
    return texts


def given_name(posterior: LabelPosterior, node: int) -> str:
    """Return the name of a node's given class, "none" where it has none."""
    return str(posterior.classes[posterior.given[node]]) if posterior.given[node] >= 0 else "none"


def two_digits(probability: float) -> str:
    """Return a probability with two digits, without the zero before the point.

    Example:
        >>> two_digits(0.834), two_digits(0.997), two_digits(0.0)
        ('.83', '>.99', '0')
    """
    if probability in (0, 1):
        return f"{probability:g}"
    return ">.99" if probability >= 0.995 else "<.01" if probability < 0.005 else f"{probability:.2f}"[1:]


def node_names(names: Sequence[Any] | None, nodes: Ints) -> list[Any]:
    """Return the caller's names of nodes, their positions where there are none."""
    return nodes.tolist() if names is None else [names[i] for i in nodes.tolist()]

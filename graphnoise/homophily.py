"""Homophily of noisy labels, and the warning where a graph has none."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from graphnoise.graph import Graph

# Homophily below which, by two standard errors, estimators warn. On homophilous graphs (.7 to .8 without noise) half of
# all labels, drawn anew at random, leave about .2.
MIN_HOMOPHILY = 0.1


class HeterophilyWarning(UserWarning):
    """Given labels of neighbours hardly agree."""


def label_homophily(graph: Graph, nodes: Tensor, given: Tensor, num_classes: int) -> tuple[float, float] | None:
    r"""Return the homophily of given labels, and its standard error; None without an arc between labelled nodes.

        (h - c) / (1 - c)

    with h the share of arcs with equal labels at both ends and c the one expected by chance, the sum over classes of
    the products of the shares of both ends (Cohen's kappa; the assortativity coefficient). It is 1 where neighbours
    always agree and 0 by chance. Wrong labels lower it too: redrawn ones at rate r, about by the factor (1 - r)².

    Args:
        graph: The graph; self-loops are not counted.
        nodes: Positions of the labelled nodes, shape [num_labelled].
        given: Their labels, -1 for none, int64, shape [num_labelled].
        num_classes: Number of classes.

    Source:
        Newman, "Mixing patterns in networks", 2003, equation 2; the error: Cohen, "A Coefficient of Agreement for
        Nominal Scales", 1960, with one observation per pair of nodes.
    """
    y = torch.full((graph.num_nodes,), -1, dtype=torch.int64, device=graph.device)
    y[nodes] = given
    row, col = graph.edge_index
    counted = (y[row] >= 0) & (y[col] >= 0) & (row != col)
    row, col = row[counted], col[counted]
    if not len(row):
        return None
    pairs = len(torch.unique(torch.minimum(row, col) * graph.num_nodes + torch.maximum(row, col)))
    first, second = (torch.bincount(y[ends], minlength=num_classes).double() / len(row) for ends in (row, col))
    same, chance = float((y[row] == y[col]).double().mean()), float(first @ second)
    if chance > 1 - 1e-9:
        return None
    return (same - chance) / (1 - chance), math.sqrt(same * (1 - same) / pairs) / (1 - chance)


def warn_of_heterophily(name: str, homophily: tuple[float, float] | None, stacklevel: int) -> None:
    """Warn where the homophily of given labels is small beyond doubt."""
    if homophily is not None and homophily[0] + 2 * homophily[1] < MIN_HOMOPHILY:
        warnings.warn(
            f"{name}: given labels of neighbours agree by {homophily[0]:.2f} ± {2 * homophily[1]:.2f} beyond chance "
            "(1: always, 0: by chance), and it takes neighbours to be alike: features alone may do better",
            HeterophilyWarning,
            stacklevel=stacklevel,
        )

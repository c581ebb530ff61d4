"""Precision, recall and F1 of a cluster against its true members."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from torch import Tensor

from graphnoise import checks
from graphnoise.typing import SeedsLike


class Scores(NamedTuple):
    """Precision, recall and their harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def precision_recall_f1(nodes: SeedsLike, members: SeedsLike) -> Scores:
    r"""Return precision, recall and F1 of `nodes` against the true `members`.

        precision = |nodes ∩ members| / |nodes|,  recall = |nodes ∩ members| / |members|,
        F1 = 2 |nodes ∩ members| / (|nodes| + |members|)

    No nodes give 0 throughout.

    Args:
        nodes: The cluster: distinct positions or names, or a mask [n] of Booleans.
        members: The true members, at least one node, in either form.

    Raises:
        InputError: No members, a node that comes twice, or no set of nodes.

    Example:
        >>> precision_recall_f1([0, 1, 2, 3], [2, 3, 4, 5, 6, 7])
        Scores(precision=0.5, recall=0.333..., f1=0.4)
    """
    cluster, truth = _distinct("nodes", nodes), _distinct("members", members)
    if not truth:
        checks.fail("members", "at least one node", "none")
    common = len(cluster & truth)
    precision = common / len(cluster) if cluster else 0.0
    return Scores(precision, common / len(truth), 2 * common / (len(cluster) + len(truth)))


def _distinct(name: str, nodes: Any) -> set[Hashable]:
    if isinstance(nodes, Tensor):
        nodes = checks.tensor(name, nodes).detach().cpu().numpy()
    if isinstance(nodes, np.ndarray):
        if nodes.ndim != 1:
            checks.fail(name, "a one-dimensional array", f"shape {nodes.shape}")
        nodes = (np.flatnonzero(nodes) if nodes.dtype.kind == "b" else nodes).tolist()
    if isinstance(nodes, str | bytes) or issparse(nodes):
        checks.fail(name, "several nodes", type(nodes).__name__)
    try:
        listed = list(nodes)
        distinct = set(listed)
    except TypeError:
        checks.fail(name, "several nodes", type(nodes).__name__)
    if len(distinct) != len(listed):
        checks.fail(name, "distinct nodes", f"{len(listed) - len(distinct)} that repeat")
    return distinct

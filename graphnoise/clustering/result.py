"""Results of diffusions and clusterings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.typing import Floats, Ints


def named(nodes: Ints, names: Sequence[Any] | None) -> Ints | list[Any]:
    """Return nodes by name where the graph has names, otherwise by position."""
    return nodes if names is None else [names[i] for i in nodes]


@dataclass(frozen=True, eq=False)
class Diffusion:
    """The result of a diffusion from seeds, over the nodes that it touched.

    Attributes:
        touched: Positions of the nodes that were touched, ascending, int64, shape [t]; `support` is the cluster.
        values: What the diffusion computes at each of them (potentials, probabilities), at least 0, shape [t].
        residual: Mass that is left at each of them, shape [t]; in flow diffusion all mass at the node.
        degree: Degree of each of them in the whole graph, without labels, shape [t].
        converged: Whether the stopping rule of the method holds everywhere.
        status: "converged", "max_pushes" (stopped by the bound), "exhausted" (more mass than the nodes that can be
            reached can hold: there is no solution) or "overflow" (values beyond float64).
        pushes: Number of pushes.
        arcs: Number of arcs that were read.
        names: The caller's names of the nodes in `touched`, or None where the graph has no names.
        backend: The tier that ran.
        statistics: Numbers that the method reports, such as its largest excess.
        method: "flow", "pagerank", "l1_pagerank", "heat_kernel", "crd", "laca", or "".
    """

    touched: Ints
    values: Floats
    residual: Floats
    degree: Floats
    converged: bool
    status: str
    pushes: int
    arcs: int
    names: list[Any] | None = None
    backend: str = ""
    statistics: dict[str, float] = field(default_factory=dict)
    method: str = ""

    @property
    def support(self) -> Ints:
        """Positions of the nodes with a value above 0, ascending."""
        return self.touched[self.values > 0]

    @property
    def members(self) -> Ints | list[Any]:
        """The nodes of `support` by name where the graph has names, otherwise by position."""
        if self.names is None:
            return self.support
        return [name for name, value in zip(self.names, self.values.tolist(), strict=True) if value > 0]

    @property
    def ranking(self) -> Ints:
        """Positions of the nodes of `support`, those of largest value first; of equal ones the first."""
        order = np.argsort(-self.values, kind="stable")
        return self.touched[order[: len(self.support)]]

    def best(self, k: int) -> Ints | list[Any]:
        """Return the first k of `ranking`, all where there are fewer, by name where the graph has names.

        Raises:
            InputError: k is not an integer of at least 1.
        """
        nodes = self.ranking[: checks.integer("k", k, 1)]
        if self.names is None:
            return nodes
        return [self.names[i] for i in np.searchsorted(self.touched, nodes)]

    def dense(self, num_nodes: int) -> Floats:
        """Return the values as an array of length `num_nodes`."""
        out = np.zeros(num_nodes)
        out[self.touched] = self.values
        return out


@dataclass(frozen=True, eq=False)
class Cluster:
    """A set of nodes with its conductance.

    Attributes:
        nodes: Positions of the members, ascending, int64.
        conductance: Weight of the arcs that leave over the smaller of the two volumes; 1 where that volume is 0.
        order: Nodes in the order of a sweep, int64, or None where there was no sweep.
        profile: Conductance of each prefix of `order`, float64, or None.
        names: The caller's names of `nodes`, or None where the graph has no names.
        statistics: Numbers that the method reports.
    """

    nodes: Ints
    conductance: float
    order: Ints | None = None
    profile: Floats | None = None
    names: list[Any] | None = None
    statistics: dict[str, float] = field(default_factory=dict)

    @property
    def members(self) -> Ints | list[Any]:
        """The nodes by name where the graph has names, otherwise by position."""
        return self.nodes if self.names is None else self.names

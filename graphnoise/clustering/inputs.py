"""Checks of seeds, sets of nodes, masses and labels, the arguments of local clustering methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.local import LabelLookup, NodeLabels
from graphnoise.typing import Bytes, Floats, FloatsLike, Ints, MembershipLike, SeedsLike


def check_seeds(graph: UndirectedGraph, seeds: SeedsLike, mass: FloatsLike | None = None) -> tuple[Ints, Floats]:
    """Return the positions of seeds, ascending, and the mass of each.

    Args:
        graph: The graph.
        seeds: A node, several nodes (list, array, set), a mask [n] of Booleans, or {node: mass}; nodes by their names
            where the graph has names.
        mass: The mass of all seeds together, in equal parts; or the mass of each, in the order of `seeds`. By default 1
            together. None with {node: mass}.

    Raises:
        InputError: No seeds, a seed that is no node or comes twice, or a mass that is not a finite number above 0.

    Example:
        >>> from graphnoise.clustering import as_undirected
        >>> path = as_undirected([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> [part.tolist() for part in check_seeds(path, [2, 0])]
        [[0, 2], [0.5, 0.5]]
    """
    masses: Any = mass
    if isinstance(seeds, Mapping):
        if mass is not None:
            checks.fail("mass", "None with seeds {node: mass}", repr(mass))
        nodes, masses = check_nodes(graph, list(seeds)), list(seeds.values())
    else:
        nodes = check_nodes(graph, seeds)
    if len(nodes) == 0:
        checks.fail("seeds", "at least one node", "none")
    try:
        dims = np.ndim(masses)
    except ValueError:
        # Lists of different lengths.
        dims = 2
    if masses is None or dims == 0:
        total = 1.0 if masses is None else check_mass(masses)
        return np.sort(nodes), np.full(len(nodes), total / len(nodes))
    if dims != 1 or len(masses) != len(nodes):
        got = f"{len(masses)} of them" if dims == 1 else "nested ones"
        checks.fail("mass", f"one number, or {len(nodes)}, one per seed", got)
    values = np.array([check_mass(value) for value in masses])
    if not math.isfinite(sum(values.tolist())):
        checks.fail("mass", "a finite sum", "a sum beyond float64")
    order = np.argsort(nodes)
    return nodes[order], values[order]


def check_mass(mass: Any) -> float:
    """Return a mass as a finite float above 0."""
    number = mass.item() if isinstance(mass, Tensor | np.ndarray | np.generic) else mass
    number = checks.real("mass", number, 0.0, expected="a finite number above 0")
    if number == 0:
        checks.fail("mass", "a finite number above 0", 0)
    return number


def check_nodes(graph: UndirectedGraph, nodes: SeedsLike, name: str = "seeds") -> Ints:
    """Return the positions of distinct nodes, in their order: a node, several, or a mask [n] of Booleans.

    Raises:
        InputError: A node that the graph does not have, or that comes twice.
    """
    if graph.position is not None:
        positions = _positions_of_names(graph.position, nodes, name)
    else:
        positions = _positions(graph.num_nodes, nodes, name)
    if len(positions) > 1:
        ordered = np.sort(positions)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        if repeated.size:
            node = f"{graph.names[repeated[0]]!r}" if graph.names else f"{repeated[0]}"
            checks.fail(name, "distinct nodes", f"{node} twice")
    return positions


def check_members(graph: UndirectedGraph, nodes: SeedsLike) -> Ints:
    """Return the positions of the nodes of a set, ascending, of which there is at least one."""
    members = np.sort(check_nodes(graph, nodes, "nodes"))
    if len(members) == 0:
        checks.fail("nodes", "at least one node", "none")
    return members


def _positions_of_names(position: dict[Any, int], nodes: Any, name: str) -> Ints:
    if isinstance(nodes, np.ndarray | Tensor):
        if str(nodes.dtype).removeprefix("torch.") == "bool" and nodes.shape == (len(position),):
            return np.flatnonzero(np.asarray(nodes))
        nodes = nodes.tolist()
    if (isinstance(nodes, Hashable) and _is_name(position, nodes)) or isinstance(nodes, str | bytes):
        nodes = [nodes]
    try:
        names = list(nodes)
    except TypeError:
        names = [nodes]
    for node in names:
        if not _is_name(position, node):
            checks.fail(name, "names of nodes of the graph", repr(node))
    return np.array([position[node] for node in names], dtype=np.int64)


def _is_name(position: dict[Any, int], node: Any) -> bool:
    try:
        return node in position
    except TypeError:
        # A tuple that holds a list is hashable by type alone.
        return False


def _positions(num_nodes: int, nodes: Any, name: str) -> Ints:
    if isinstance(nodes, set | frozenset | range) or (hasattr(nodes, "keys") and not hasattr(nodes, "dtype")):
        nodes = list(nodes)
    try:
        array = np.asarray(nodes)
    except (TypeError, ValueError, RuntimeError):
        array = np.asarray(None)
    if array.ndim == 1 and array.size == 0:
        return np.empty(0, dtype=np.int64)
    expected = f"positions of nodes from 0 to {num_nodes - 1}"
    if array.ndim > 1 or array.dtype.kind not in "biu":
        checks.fail(name, expected, repr(nodes) if array.ndim == 0 else f"shape {array.shape} of type {array.dtype}")
    if array.dtype.kind == "b":
        if array.shape != (num_nodes,):
            checks.fail(name, f"{expected}, or a mask of {num_nodes} Booleans", f"Booleans of shape {array.shape}")
        return np.flatnonzero(array)
    array = array.reshape(-1)
    outside = (array < 0) | (array >= num_nodes)
    if outside.any():
        checks.fail(name, expected, int(array[outside][0]))
    return array.astype(np.int64)


def check_labels(graph: UndirectedGraph, labels: MembershipLike | None) -> NodeLabels:
    """Return noisy labels 0/1 as bytes, shape [n], or as a callable that is called for touched nodes only.

    Arrays of Booleans and bytes share memory with the result.

    Args:
        graph: The graph.
        labels: 0, 1 or a Boolean for each node (array, tensor, list); {node: label} with label 0 elsewhere; a callable
            that takes an int64 array of positions (where the graph has names: a list of names) and returns as many
            labels; or None.

    Raises:
        InputError: A wrong length, or a label that is neither 0 nor 1.

    Example:
        >>> from graphnoise.clustering import as_undirected
        >>> path = as_undirected([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> check_labels(path, [True, False, True]), check_labels(path, {1: 1})
        (array([1, 0, 1], dtype=uint8), array([0, 1, 0], dtype=uint8))
    """
    if labels is None:
        return None
    n = graph.num_nodes
    if isinstance(labels, Mapping):
        nodes = check_nodes(graph, list(labels), "labels")
        out = np.zeros(n, dtype=np.uint8)
        out[nodes] = _bits(list(labels.values()), len(nodes))
        return out
    if isinstance(labels, Tensor):
        labels = checks.tensor("labels", labels)
        labels = (labels.float() if labels.is_floating_point() else labels).detach().cpu().numpy()
    if isinstance(labels, np.ndarray | list | tuple):
        return _bits(labels, n)
    if not callable(labels):
        checks.fail("labels", "an array, {node: label}, a callable or None", type(labels).__name__)
    return _checked_lookup(graph, labels)


def check_weighting(
    graph: UndirectedGraph, labels: MembershipLike | None, label_eps: object
) -> tuple[NodeLabels, float]:
    """Return labels and the factor of arcs between different labels; None and 1 where labels have no effect."""
    factor = checks.real("label_eps", label_eps, 0.0, 1.0)
    checked = check_labels(graph, labels)
    return (None, 1.0) if checked is None or factor == 1 else (checked, factor)


def with_seed_labels(labels: NodeLabels, seeds: Ints) -> NodeLabels:
    """Return checked labels that are 1 at the seeds."""
    if labels is None:
        return None
    if isinstance(labels, np.ndarray):
        out = labels.copy()
        out[seeds] = 1
        return out
    return lambda nodes: np.where(np.isin(nodes, seeds), np.uint8(1), labels(nodes))


def labels_at(labels: Bytes | LabelLookup, nodes: Ints) -> Bytes:
    """Return checked labels of some nodes."""
    return labels[nodes] if isinstance(labels, np.ndarray) else labels(nodes)


def _checked_lookup(graph: UndirectedGraph, labels: Callable[[Any], Any]) -> LabelLookup:
    def lookup(nodes: Ints) -> Bytes:
        nodes = np.asarray(nodes, dtype=np.int64)
        try:
            values = labels(nodes if graph.names is None else graph.named(nodes))
        except Exception as error:
            error.add_note(f"raised by the callable `labels`, called with {len(nodes)} nodes")
            raise
        return _bits(values, len(nodes))

    return lookup


def _bits(values: Any, size: int) -> Bytes:
    """Return labels as bytes of 0 and 1; Booleans and bytes share memory."""
    try:
        array = np.asarray(checks.tensor("labels", values).detach().cpu() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        checks.fail("labels", "0, 1 or Booleans", f"values of type {array.dtype}")
    if array.shape != (size,):
        checks.fail("labels", f"{size} labels, one per node", f"shape {array.shape}")
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).view(np.uint8)
    bad = ~((array == 0) | (array == 1)) if array.dtype != np.uint8 else array > 1
    if bad.any():
        where = int(bad.argmax())
        checks.fail("labels", "0 or 1 at every node", f"{array[where]} at position {where}")
    return np.ascontiguousarray(array, dtype=np.uint8)

"""Checks of seeds, sets of nodes, masses and labels, the arguments of local clustering methods."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.kernels.local import LabelLookup, NodeLabels
from graphnoise.readers import are_integers_out_of_order
from graphnoise.typing import Bytes, Floats, FloatsLike, Ints, MembershipLike, SeedsLike


@dataclass(frozen=True, eq=False)
class PartialLabels:
    """Labels of some nodes.

    Attributes:
        values: 0 or 1, and UNLABELLED at the others, uint8, shape [n].
    """

    values: Bytes


UNLABELLED = 2
# What `check_labels` returns.
CheckedLabels: TypeAlias = NodeLabels | PartialLabels


def check_seeds(graph: UndirectedGraph, seeds: SeedsLike, mass: FloatsLike | None = None) -> tuple[Ints, Floats]:
    """Return the positions of seeds, ascending, and the mass of each.

    Args:
        graph: The graph.
        seeds: A node, several nodes (list, array, set, Series), a mask [n] of Booleans, or {node: mass}; nodes by their
            names where the graph has names. A node that comes twice, as from a join, is one seed.
        mass: The mass of all seeds together, in equal parts; or the mass of each, in the order of `seeds`, which adds
            up where a node comes twice. By default 1 together. None with {node: mass}.

    Raises:
        InputError: No seeds, a seed that is no node, or a mass that is not a finite number above 0.

    Example:
        >>> from graphnoise.clustering import as_undirected
        >>> path = as_undirected([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> [part.tolist() for part in check_seeds(path, [2, 0, 2])]
        [[0, 2], [0.5, 0.5]]
    """
    masses: Any = mass
    if isinstance(seeds, Mapping):
        if mass is not None:
            checks.fail("mass", "None with seeds {node: mass}", repr(mass))
        given, masses = positions_of(graph, list(seeds)), list(seeds.values())
    else:
        given = positions_of(graph, seeds)
    if len(given) == 0:
        checks.fail("seeds", "at least one node", "none")
    try:
        dims = np.ndim(masses)
    except ValueError:
        # Lists of different lengths.
        dims = 2
    order = np.argsort(given, kind="stable")
    nodes = given[order]
    # Where each node begins.
    first = np.flatnonzero(np.concatenate([[True], nodes[1:] != nodes[:-1]])) if len(nodes) > 1 else np.zeros(1, int)
    if masses is None or dims == 0:
        total = 1.0 if masses is None else check_mass(masses)
        return nodes[first], np.full(len(first), total / len(first))
    if dims != 1 or len(masses) != len(given):
        got = f"{len(masses)} of them" if dims == 1 else "nested ones"
        checks.fail("mass", f"one number, or {len(given)}, one per seed", got)
    values = np.array([check_mass(value) for value in masses])
    if not math.isfinite(sum(values.tolist())):
        checks.fail("mass", "a finite sum", "a sum beyond float64")
    return nodes[first], np.add.reduceat(values[order], first)


def check_mass(mass: Any) -> float:
    """Return a mass as a finite float above 0."""
    arrays = isinstance(mass, Tensor | np.ndarray | np.generic)
    number = mass.item() if arrays and int(np.prod(mass.shape)) == 1 else mass
    number = checks.real("mass", number, 0.0, expected="a finite number above 0")
    if number == 0:
        checks.fail("mass", "a finite number above 0", 0)
    return number


def check_nodes(graph: UndirectedGraph, nodes: SeedsLike, name: str = "seeds") -> Ints:
    """Return the positions of nodes in their order, each once: of a node, of several, or of a mask [n] of Booleans.

    Raises:
        InputError: A node that the graph does not have.
    """
    positions = positions_of(graph, nodes, name)
    if len(positions) < 2:
        return positions
    return positions[np.sort(np.unique(positions, return_index=True)[1])]


def positions_of(graph: UndirectedGraph, nodes: SeedsLike, name: str = "seeds") -> Ints:
    """Return the position of each of some nodes, which may come twice.

    Raises:
        InputError: A node that the graph does not have.
    """
    if _is_series(nodes):
        # A Boolean one tells which nodes of its index are meant.
        nodes = nodes.index[nodes].to_numpy() if nodes.dtype == bool else nodes.to_numpy()
    if graph.position is not None:
        return _positions_of_names(graph, graph.position, nodes, name)
    return _positions(graph.num_nodes, nodes, name)


def check_order(graph: UndirectedGraph, name: str, got: str, *, by_node: bool = True) -> None:
    """Refuse an array [n] where nodes have integer names that do not ascend, whose order it may have instead.

    With `by_node` the message names the forms by node name, which the caller then has to take.
    """
    if graph.names is not None and are_integers_out_of_order(graph.names):
        forms = (
            "a mapping or a Series by node name, since names are integers that do not ascend "
            "(dict(zip(graph, values)) for values in the order of the nodes of a NetworkX graph)"
        )
        checks.fail(name, forms if by_node else "a graph whose integer names ascend, if it has them", got)


def check_members(graph: UndirectedGraph, nodes: SeedsLike) -> Ints:
    """Return the positions of the nodes of a set, ascending, of which there is at least one."""
    members = np.sort(check_nodes(graph, nodes, "nodes"))
    if len(members) == 0:
        checks.fail("nodes", "at least one node", "none")
    return members


def _is_series(values: Any) -> TypeGuard[Any]:
    """Return whether values are a pandas Series, which is aligned by its index."""
    return hasattr(values, "to_numpy") and hasattr(values, "index") and hasattr(values, "dtype")


def _positions_of_names(graph: UndirectedGraph, position: dict[Any, int], nodes: Any, name: str) -> Ints:
    if isinstance(nodes, list) and nodes and all(isinstance(node, bool | np.bool_) for node in nodes):
        nodes = np.array(nodes)
    if isinstance(nodes, np.ndarray | Tensor):
        if str(nodes.dtype).removeprefix("torch.") == "bool" and not any(isinstance(key, bool) for key in position):
            # True and False are equal to the names 1 and 0.
            if nodes.shape != (len(position),):
                got = f"Booleans of shape {tuple(nodes.shape)}"
                checks.fail(name, f"names of nodes of the graph, or a mask of {len(position)} Booleans", got)
            check_order(graph, name, "a mask")
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


def check_labels(
    graph: UndirectedGraph, labels: MembershipLike | None, *, by_position: bool = False, when_read: bool = False
) -> CheckedLabels:
    """Return noisy labels 0/1 as bytes, shape [n], or as a callable that is called for touched nodes only.

    Arrays of Booleans and bytes share memory with the result.

    Args:
        graph: The graph.
        labels: 0, 1 or a Boolean for each node (array, tensor, list), with -1, NaN or None where there is no label;
            {node: label}, or a pandas Series with nodes as index, of some nodes; a callable that takes an int64 array
            of positions (where the graph has names: a list of names) and returns as many labels; or None.
        by_position: Whether an array is known to be in the order of the nodes, whatever their names.
        when_read: Whether an array becomes a callable, which reads and checks the labels of some nodes.

    Returns:
        Labels as the kernels take them, or `PartialLabels` where nodes have none. A callable made from an array returns
        UNLABELLED for these.

    Raises:
        InputError: A wrong length, a label that is neither 0 nor 1, or an array where nodes have integer names that do
            not ascend.

    Example:
        >>> from graphnoise.clustering import as_undirected
        >>> path = as_undirected([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> check_labels(path, [True, False, True]), check_labels(path, {1: 1, 2: 0}).values
        (array([1, 0, 1], dtype=uint8), array([2, 1, 0], dtype=uint8))
    """
    if labels is None:
        return None
    n = graph.num_nodes
    if _is_series(labels):
        return _labels_by_node(graph, labels.index.to_numpy(), labels.to_numpy())
    if isinstance(labels, Mapping):
        return _labels_by_node(graph, list(labels), list(labels.values()))
    if isinstance(labels, Tensor):
        labels = checks.tensor("labels", labels)
        labels = (labels.float() if labels.is_floating_point() else labels).detach().cpu().numpy()
    if isinstance(labels, np.ndarray | list | tuple):
        if not by_position:
            check_order(graph, "labels", "an array")
        if when_read and type(labels) is np.ndarray and labels.shape == (n,):
            return functools.partial(_read_array, labels)
        return _some_bits(labels, n)
    if not callable(labels):
        checks.fail("labels", "an array, {node: label}, a callable or None", type(labels).__name__)
    return _checked_lookup(graph, labels)


def _labels_by_node(graph: UndirectedGraph, nodes: Any, values: Any) -> Bytes | PartialLabels:
    positions = positions_of(graph, nodes, "labels")
    if len(np.unique(positions)) < len(positions):
        checks.fail("labels", "one label per node", "a node twice")
    some = _some_bits(values, len(positions))
    out = np.full(graph.num_nodes, UNLABELLED, dtype=np.uint8)
    out[positions] = some.values if isinstance(some, PartialLabels) else some
    return PartialLabels(out) if (out == UNLABELLED).any() else out


def check_weighting(
    graph: UndirectedGraph, labels: MembershipLike | None, label_eps: object
) -> tuple[CheckedLabels, float]:
    """Return labels and the factor of arcs between different labels; None and 1 where labels have no effect."""
    factor = checks.real("label_eps", label_eps, 0.0, 1.0)
    checked = check_labels(graph, labels)
    return (None, 1.0) if checked is None or factor == 1 else (checked, factor)


def with_seed_labels(labels: CheckedLabels, seeds: Ints) -> CheckedLabels:
    """Return checked labels that are 1 at the seeds."""
    if labels is None:
        return None
    if isinstance(labels, PartialLabels):
        return PartialLabels(cast(Bytes, with_seed_labels(labels.values, seeds)))
    if isinstance(labels, np.ndarray):
        out = labels.copy()
        out[seeds] = 1
        return out
    return lambda nodes: np.where(np.isin(nodes, seeds), np.uint8(1), labels(nodes))


def for_kernels(graph: UndirectedGraph, labels: CheckedLabels, label_eps: float) -> tuple[UndirectedGraph, NodeLabels]:
    """Return a graph and labels of all nodes that give arcs the weights of labels of some nodes.

    An arc weighs `label_eps` times its weight where its ends have different labels. An unlabelled end has none, so that
    the arc keeps its weight.
    """
    if not isinstance(labels, PartialLabels):
        return graph, labels
    values = labels.values
    # UNLABELLED and another one have a larger sum.
    differ = np.repeat(values, np.diff(graph.rowptr)) + values[graph.col] == 1
    weight = np.where(differ, label_eps, 1.0) * (1.0 if graph.weight is None else graph.weight)
    # Labels that are all 1, as those of seeds: degrees are then sums of these weights, and sinks stay.
    parts = graph.rowptr, graph.col, weight, graph.degree, graph.volume, graph.names, graph.position
    return UndirectedGraph.unchecked(*parts), np.ones(graph.num_nodes, dtype=np.uint8)


def labels_at(labels: Bytes | LabelLookup | PartialLabels, nodes: Ints) -> Bytes:
    """Return checked labels of some nodes, UNLABELLED where they have none."""
    if isinstance(labels, PartialLabels):
        labels = labels.values
    return labels[nodes] if isinstance(labels, np.ndarray) else labels(nodes)


def _read_array(labels: NDArray[Any], nodes: Ints) -> Bytes:
    some = _some_bits(labels[nodes], len(nodes), nodes)
    return some.values if isinstance(some, PartialLabels) else some


def _checked_lookup(graph: UndirectedGraph, labels: Callable[[Any], Any]) -> LabelLookup:
    def lookup(nodes: Ints) -> Bytes:
        nodes = np.asarray(nodes, dtype=np.int64)
        try:
            values = labels(nodes if graph.names is None else graph.named(nodes))
        except Exception as error:
            error.add_note(f"raised by the callable `labels`, called with {len(nodes)} nodes")
            raise
        return _bits(values, len(nodes), nodes)

    return lookup


def _some_bits(values: Any, size: int, nodes: Ints | None = None) -> Bytes | PartialLabels:
    """Return labels as bytes; -1, NaN, None and masked entries are no labels."""
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values)
    except ValueError:
        checks.fail("labels", f"{size} labels, one per node", "lists of different lengths")
    if array.shape != (size,):
        checks.fail("labels", f"{size} labels, one per node", f"shape {array.shape}")
    if array.dtype == object:
        # pandas has a missing value of its own, which equals nothing and differs from nothing.
        missing = np.array([v is None or type(v).__name__ == "NAType" or v != v for v in array], dtype=bool)
        array = np.asarray([0 if none else v for v, none in zip(array, missing, strict=True)])
    elif array.dtype.kind in "if":
        missing = np.isnan(array) | (array == -1)
    else:
        return _bits(array, size, nodes)
    if not missing.any():
        return _bits(array, size, nodes)
    if array.dtype.kind in "if":
        array = np.where(missing, 0, array)
    return PartialLabels(np.where(missing, np.uint8(UNLABELLED), _bits(array, size, nodes)))


def _bits(values: Any, size: int, nodes: Ints | None = None) -> Bytes:
    """Return labels, of some nodes or of all, as bytes of 0 and 1; Booleans and bytes share memory."""
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
        position = where if nodes is None else nodes[where]
        checks.fail("labels", "0 or 1 at every node", f"{array[where]} at position {position}")
    return np.ascontiguousarray(array, dtype=np.uint8)

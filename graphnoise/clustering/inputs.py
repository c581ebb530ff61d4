"""What local methods are given: graphs (see `reading`), seeds and labels."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.clustering.reading import MOST, UndirectedGraph, as_undirected
from graphnoise.clustering.result import Floats, Ints

__all__ = ["MOST", "Ask", "Bytes", "UndirectedGraph", "as_undirected", "labels", "positions", "seeds"]

Bytes = NDArray[np.uint8]
Ask = Callable[[Ints], Bytes]  # labels of nodes, asked only for those that are touched


def seeds(graph: UndirectedGraph, seeds: Any, mass: Any = None) -> tuple[Ints, Floats]:
    """Return the positions of seeds, ascending, and the mass of each.

    Args:
        graph: What `as_undirected` returned.
        seeds: A node, several nodes (list, array, set), a mask [n] of Booleans, or {node: mass}; nodes by their names
            where the graph has names.
        mass: The mass of all seeds together, in equal parts; or the mass of each, in the order of `seeds`. By default 1
            together. None with {node: mass}.

    Raises:
        InputError: No seeds, a seed that is no node or comes twice, or a mass that is not a finite number above 0.

    Example:
        >>> path = as_undirected([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> [part.tolist() for part in seeds(path, [2, 0])], [part.tolist() for part in seeds(path, {1: 3.0})]
        ([[0, 2], [0.5, 0.5]], [[1], [3.0]])
    """
    given: Any = mass
    if isinstance(seeds, Mapping):
        if mass is not None:
            checks.fail("mass", "None with seeds {node: mass}", repr(mass))
        nodes, given = positions(graph, list(seeds)), list(seeds.values())
    else:
        nodes = positions(graph, seeds)
    if len(nodes) == 0:
        checks.fail("seeds", "at least one node", "none")
    try:
        dims = np.ndim(given)
    except ValueError:  # lists of different lengths
        dims = 2
    if given is None or dims == 0:
        total = 1.0 if given is None else mass_of(given)
        return np.sort(nodes), np.full(len(nodes), total / len(nodes))
    if dims != 1 or len(given) != len(nodes):
        got = f"{len(given)} of them" if dims == 1 else "nested ones"
        checks.fail("mass", f"one number, or {len(nodes)}, one a seed", got)
    masses = np.array([mass_of(value) for value in given])
    if not math.isfinite(sum(masses.tolist())):
        checks.fail("mass", "a finite sum", "a sum beyond float64")
    order = np.argsort(nodes)
    return nodes[order], masses[order]


def mass_of(value: Any) -> float:
    """Return a mass as a finite float above 0."""
    value = value.item() if isinstance(value, Tensor | np.ndarray | np.generic) else value
    number = checks.real("mass", value, 0.0, expected="a finite number above 0")
    if number == 0:
        checks.fail("mass", "a finite number above 0", 0)
    return number


def positions(graph: UndirectedGraph, nodes: Any, name: str = "seeds") -> Ints:
    """Return the positions of distinct nodes, in the order given: a node, several, or a mask [n] of Booleans.

    Raises:
        InputError: A node that the graph does not have, or that comes twice.
    """
    if graph.position is not None:
        found = _positions_of_names(graph.position, nodes, name)
    else:
        found = _positions(graph.num_nodes, nodes, name)
    if len(found) > 1:
        ordered = np.sort(found)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if twice.size:
            called = twice[0] if graph.names is None else graph.names[twice[0]]
            checks.fail(name, "distinct nodes", f"{called!r} twice" if graph.names else f"{called} twice")
    return found


def _positions_of_names(position: dict[Any, int], nodes: Any, name: str) -> Ints:
    if isinstance(nodes, np.ndarray | Tensor):
        if str(nodes.dtype).removeprefix("torch.") == "bool" and nodes.shape == (len(position),):
            return np.flatnonzero(np.asarray(nodes))
        nodes = nodes.tolist()
    if (isinstance(nodes, Hashable) and _known(position, nodes)) or isinstance(nodes, str | bytes):
        nodes = [nodes]
    try:
        listed = list(nodes)
    except TypeError:
        listed = [nodes]
    for node in listed:
        if not _known(position, node):
            checks.fail(name, "names of nodes of the graph", repr(node))
    return np.array([position[node] for node in listed], dtype=np.int64)


def _known(position: dict[Any, int], node: Any) -> bool:
    try:
        return node in position
    except TypeError:  # a tuple with a list inside
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
    wanted = f"positions of nodes from 0 to {num_nodes - 1}"
    if array.ndim > 1 or array.dtype.kind not in "biu":
        checks.fail(name, wanted, repr(nodes) if array.ndim == 0 else f"shape {array.shape} of type {array.dtype}")
    if array.dtype.kind == "b":
        if array.shape != (num_nodes,):
            checks.fail(name, f"{wanted}, or a mask of {num_nodes} Booleans", f"Booleans of shape {array.shape}")
        return np.flatnonzero(array)
    array = array.reshape(-1)
    outside = (array < 0) | (array >= num_nodes)
    if outside.any():
        checks.fail(name, wanted, int(array[outside][0]))
    return array.astype(np.int64)


_checked: dict[int, weakref.ref[Bytes]] = {}  # arrays that `labels` returned, which need no second look


def labels(graph: UndirectedGraph, labels: Any) -> Bytes | Ask | None:
    """Return noisy labels 0/1 as bytes, shape [n], or as a callable that is asked for nodes that are touched only.

    An array of Booleans, and an array that this function returned, take no time; others are read once, O(n).

    Args:
        graph: What `as_undirected` returned.
        labels: 0, 1 or a Boolean for each node (array, tensor, list); {node: label} with label 0 elsewhere; a callable
            that takes an int64 array of positions (where the graph has names: a list of names) and returns as many
            labels; or None.

    Raises:
        InputError: A wrong length, or a label that is neither 0 nor 1.

    Example:
        >>> path = as_undirected([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> labels(path, [True, False, True]), labels(path, {1: 1}), labels(path, lambda nodes: nodes == 2)([0, 2])
        (array([1, 0, 1], dtype=uint8), array([0, 1, 0], dtype=uint8), array([0, 1], dtype=uint8))
    """
    if labels is None:
        return None
    n = graph.num_nodes
    if isinstance(labels, Mapping):
        nodes = positions(graph, list(labels), "labels")
        out = np.zeros(n, dtype=np.uint8)
        out[nodes] = _bits(list(labels.values()), len(nodes))
        return _remember(out)
    if isinstance(labels, Tensor):
        labels = (labels.float() if labels.is_floating_point() else labels).detach().cpu().numpy()
    if isinstance(labels, np.ndarray | list | tuple):
        known = _checked.get(id(labels))
        found = None if known is None else known()
        if found is not None and found is labels and len(found) == n and not found.flags.writeable:
            return found
        return _remember(_bits(labels, n))
    if not callable(labels):
        checks.fail("labels", "an array, {node: label}, a callable or None", type(labels).__name__)
    return _asking(graph, labels)


def _asking(graph: UndirectedGraph, ask: Callable[[Any], Any]) -> Ask:
    def asked(nodes: Ints) -> Bytes:
        nodes = np.asarray(nodes, dtype=np.int64)
        try:
            answer = ask(nodes if graph.names is None else graph.named(nodes))
        except Exception as error:
            error.add_note(f"raised by the callable `labels`, asked for {len(nodes)} nodes")
            raise
        return _bits(answer, len(nodes))

    return asked


def _bits(values: Any, size: int) -> Bytes:
    """Return labels as bytes of 0 and 1; Booleans and bytes share memory."""
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        checks.fail("labels", "0, 1 or Booleans", f"values of type {array.dtype}")
    if array.shape != (size,):
        checks.fail("labels", f"{size} labels, one a node", f"shape {array.shape}")
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).view(np.uint8)
    bad = ~((array == 0) | (array == 1)) if array.dtype != np.uint8 else array > 1
    if bad.any():
        where = int(bad.argmax())
        checks.fail("labels", "0 or 1 at every node", f"{array[where]} at position {where}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def _remember(array: Bytes) -> Bytes:
    """Mark an array as checked, for as long as it lives and nobody may write to it."""
    out = array.view()
    out.flags.writeable = False
    place = id(out)
    _checked[place] = weakref.ref(out, lambda _: _checked.pop(place, None))
    return out

"""A graph with classes as clusters to find, by the name of a data set or of a planted partition."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from graphnoise import checks, datasets
from graphnoise.checks import InputError
from graphnoise.clustering import UndirectedGraph, as_undirected
from graphnoise.graph import Graph

_PLANTED = re.compile(r"planted\((.*)\)")
_ARGUMENTS = {"n": int, "block": int, "p": float, "q": float, "seed": int}
_WORDS = "planted(n=NODES,block=SIZE,p=INSIDE,q=OUTSIDE,seed=SEED)"


@dataclass(frozen=True, eq=False)
class Problem:
    """What the trials of a data set share.

    Attributes:
        name: As the user gave it.
        graph: The graph.
        y: Class of each node, shape [n]; -1 where it is unknown.
        x: Attributes of the nodes, a matrix in CSR where few are non-zero, or None.
        digest: Hash of all that.
    """

    name: str
    graph: UndirectedGraph
    y: NDArray[np.int64]
    x: Any
    digest: str

    @property
    def classes(self) -> list[int]:
        """The classes that have nodes with neighbours."""
        found: list[int] = np.unique(self.y[(self.y >= 0) & (self.graph.degree > 0)]).tolist()
        return found


@functools.lru_cache(maxsize=2)
def load(name: str, root: str | None = None) -> Problem:
    """Return a data set, or a planted partition `planted(n=10000,block=500,p=0.03,q=0.002,seed=0)`, once a process.

    Raises:
        InputError: The name is unknown, or the arguments of `planted` are.
        DataError: The data cannot be had.
    """
    try:
        data = _planted(name) if name.startswith("planted") else datasets.load(name, root)
        graph = Graph.from_data(data)
        y = checks.tensor("data.y", data.y).long()
        if y.shape != (graph.num_nodes,):
            checks.fail("data.y", f"{graph.num_nodes} labels, one a node", f"shape {tuple(y.shape)}")
        local = as_undirected(graph)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    x = _attributes(data.x) if isinstance(data.x, torch.Tensor) else None
    stored = () if x is None else (x.indptr, x.indices, x.data) if scipy.sparse.issparse(x) else (x,)
    state = hashlib.blake2b(digest_size=16)
    for array in (local.rowptr, local.col, y.numpy(), *stored):
        state.update(f"{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return Problem(name, local, y.numpy(), x, state.hexdigest())


def _attributes(x: torch.Tensor) -> Any:
    dense = x.numpy()
    return scipy.sparse.csr_array(dense) if np.count_nonzero(dense) < 0.2 * dense.size else dense


def _planted(name: str) -> Data:
    found = _PLANTED.fullmatch(name.replace(" ", ""))
    if found is None:
        checks.fail("dataset", _WORDS, repr(name))
    values: dict[str, Any] = {"seed": 0}
    for part in found[1].split(","):
        key, _, text = part.partition("=")
        checks.choice("dataset", key, _ARGUMENTS)
        try:
            values[key] = _ARGUMENTS[key](text)
        except ValueError:
            checks.fail(f"dataset: {key}", f"a number ({_ARGUMENTS[key].__name__})", repr(text))
    if missing := [key for key in _ARGUMENTS if key not in values]:
        checks.fail("dataset", _WORDS, f"none for {', '.join(missing)}")
    n = checks.integer("dataset: n", values["n"], 1, 10_000_000)
    block = checks.integer("dataset: block", values["block"], 1, n)
    sizes = [block] * (n // block) + [n % block] * (n % block > 0)
    return datasets.planted_partition(sizes, values["p"], values["q"], seed=values["seed"])

"""Graphs for the speed of local clustering, and the peers that it is measured beside."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from graphnoise.bench.speed.cases import SIZES, Case, build
from graphnoise.clustering import Diffusion, UndirectedGraph, as_undirected
from graphnoise.datasets.synthetic import planted_partition

BLOCK = 500  # nodes of a block of "blocks"
CLUSTER = 200  # nodes of the cluster of "cluster"
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """A case of approximate PageRank.

    Attributes:
        graph: "arxiv" (169,343 nodes and 2.33 M arcs, power law) or "blocks" (a million nodes in blocks of 500).
        alpha: Probability to return, of the lazy walk.
        eps: Residual for each unit of degree.
        seeds: Runs of a sample, each from a node of its own.
    """

    graph: str
    alpha: float
    eps: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.graph}, alpha {self.alpha:g}, eps {self.eps:g}"


WALKS = (
    Walk("arxiv", 0.15, 1e-4, 200),
    Walk("arxiv", 0.15, 1e-5, 50),
    Walk("arxiv", 0.05, 1e-6, 3),
    Walk("blocks", 0.15, 1e-4, 200),
    Walk("blocks", 0.15, 1e-5, 50),
    Walk("blocks", 0.05, 1e-6, 3),
)


def graph(name: str, scale: float, seed: int) -> UndirectedGraph:
    """Draw a graph; `scale` multiplies its nodes and arcs."""
    if name == "arxiv":
        nodes, arcs = (max(int(scale * size), 64) for size in SIZES["arxiv"])
        return as_undirected(build(Case(nodes, arcs // 2 * 2), seed).edge_index)
    blocks = max(int(scale * 1_000_000) // BLOCK, 2)
    n = blocks * BLOCK
    data = planted_partition([BLOCK] * blocks, 0.02, 10 / n, seed=seed)
    return as_undirected(torch.as_tensor(data.edge_index))


def cluster(nodes: int, seed: int) -> UndirectedGraph:
    """Return a graph whose first 200 nodes are a cluster (p = .1) that is the same in any size; q = 2 / nodes."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((CLUSTER, CLUSTER)) < 0.1, 1).nonzero()
    far = np.random.default_rng([seed, nodes]).integers(0, nodes, (2, nodes), dtype=np.int32)
    keep = (far[0] != far[1]) & (far.min(0) >= 0) & ~((far < CLUSTER).all(0))
    ends = np.concatenate([np.array(upper, dtype=np.int32), far[:, keep]], axis=1)
    both = np.concatenate([ends, ends[::-1]], axis=1)
    ones = np.ones(both.shape[1], dtype=np.float32)
    matrix = scipy.sparse.csr_array((ones, (both[0], both[1])), shape=(nodes, nodes))
    matrix.sum_duplicates()
    return as_undirected(matrix, weight=False)


def seeds(read: UndirectedGraph, count: int, seed: int) -> NDArray[np.int64]:
    """Draw nodes that have neighbours."""
    return np.random.default_rng(seed).choice(np.flatnonzero(read.degree > 0), count).astype(np.int64)


def walk_matrix(read: UndirectedGraph) -> scipy.sparse.csr_array:
    """Return A D⁻¹ as SciPy's CSR matrix; the graph has no weights."""
    n = read.num_nodes
    return scipy.sparse.csr_array((1 / np.maximum(read.degree[read.col], 1), read.col, read.rowptr), shape=(n, n))


def exact(matrix: scipy.sparse.csr_array, seed: int, alpha: float, tol: float = 1e-13) -> Vector:
    """Return the personalised PageRank vector of the lazy walk, by power iteration over the whole graph."""
    start = np.zeros(matrix.shape[0])
    start[seed] = alpha
    p, share = start.copy(), 1.0
    while share > tol:
        p = start + (1 - alpha) / 2 * (p + matrix @ p)
        share *= 1 - alpha
    return p


def gap(read: UndirectedGraph, matrix: scipy.sparse.csr_array, found: Diffusion, seed: int, walk: Walk) -> float:
    """Return the largest residual for each unit of degree in parts of eps: below 1 the bound on the error holds.

    Raises:
        ValueError: The residual is not that of the values, or negative: the result is wrong.
    """
    n, alpha = read.num_nodes, walk.alpha
    p, r = found.dense(n), np.zeros(n)
    r[found.touched] = found.residual
    start = np.zeros(n)
    start[seed] = 1.0
    wanted = start - (p - (1 - alpha) / 2 * (p + matrix @ p)) / alpha
    if not np.allclose(wanted, r, rtol=0, atol=1e-12) or (r < 0).any() or (p < 0).any():
        raise ValueError(f"approximate_pagerank from {seed}: the residual is not that of the values")
    return float((r[found.touched] / read.degree[found.touched]).max() / walk.eps)


Run = Callable[[list[int], float, float], list[tuple[int, NDArray[np.int64], Vector]]]


@dataclass(frozen=True)
class Peer:
    """Another package's push.

    Attributes:
        name: The function.
        needs: What must be importable.
        prepare: Takes a graph; returns a run over seeds with alpha and eps, one thread, that gives (seed, node, value).
    """

    name: str
    needs: tuple[str, ...]
    prepare: Callable[[UndirectedGraph], Run]

    def missing(self) -> str | None:
        """Return why it takes no part, or None."""
        for module in self.needs:
            try:
                importlib.import_module(module)
            except Exception as error:  # a package that is broken here fails in its own way
                return f"needs {module} ({type(error).__name__})"
        return None


def _pyg(read: UndirectedGraph) -> Run:
    from torch_geometric.utils import get_ppr

    row = np.repeat(np.arange(read.num_nodes), np.diff(read.rowptr))
    edge_index = torch.from_numpy(np.stack([row, read.col.astype(np.int64)]))
    importlib.import_module("numba").set_num_threads(1)

    def run(seeds: list[int], alpha: float, eps: float) -> list[tuple[int, NDArray[np.int64], Vector]]:
        ordinary = 2 * alpha / (1 + alpha)  # of the walk that does not stand still
        ends, values = get_ppr(edge_index, ordinary, eps, torch.tensor(seeds), read.num_nodes)
        sizes = torch.bincount(torch.searchsorted(torch.tensor(sorted(seeds)), ends[0]), minlength=len(seeds)).tolist()
        parts = zip(ends[1].split(sizes), values.double().split(sizes), strict=True)
        return [(v, node.numpy(), value.numpy()) for v, (node, value) in zip(sorted(seeds), parts, strict=True)]

    return run


def _lgc(read: UndirectedGraph) -> Run:
    package = importlib.import_module("localgraphclustering")
    n = read.num_nodes
    matrix = scipy.sparse.csr_matrix((np.ones(len(read.col)), read.col, read.rowptr), shape=(n, n))
    made = package.GraphLocal.from_sparse_adjacency(matrix)
    settings = {"method": "acl", "normalize": False, "iterations": 2**31}

    def run(seeds: list[int], alpha: float, eps: float) -> list[tuple[int, NDArray[np.int64], Vector]]:
        return [(v, *package.approximate_PageRank(made, [v], alpha=alpha, rho=eps, **settings)) for v in seeds]

    return run


PEERS = (
    Peer("PyG get_ppr", ("numba",), _pyg),
    Peer("localgraphclustering", ("localgraphclustering",), _lgc),
)


def error(truth: Vector, nodes: NDArray[np.int64], values: Vector, read: UndirectedGraph) -> float:
    """Return the largest error for each unit of degree."""
    gap = truth.copy()
    gap[nodes] -= values
    return float((np.abs(gap) / np.maximum(read.degree, 1)).max())

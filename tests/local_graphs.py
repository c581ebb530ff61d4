"""Graphs for the tests of local clustering, and the dense oracles of its diffusions."""

import numpy as np
import scipy.linalg
from scipy.optimize import minimize

from graphnoise.clustering import as_undirected

BACKENDS = ["native", "reference"]


def random_graph(seed, n, share=0.2, weighted=True, loops=True):
    """A dense symmetric matrix."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) < share, 0 if loops else 1).astype(float)
    if weighted:
        upper *= rng.uniform(0.1, 3, (n, n))
    return upper + np.triu(upper, 1).T


def planted(n=5000, size=250, inside=0.08, outside=0.001, seed=0):
    """Blocks of a size; arcs drawn with replacement, those that repeat taken once. Also the first block."""
    rng = np.random.default_rng(seed)
    within = int(inside * size * (size - 1) / 2)
    block = size * np.repeat(np.arange(n // size), within)
    near = rng.integers(0, size, (2, len(block))) + block
    far = rng.integers(0, n, (2, int(outside * n * n / 2)))
    ends = np.concatenate([near, far], axis=1)
    ends = ends[:, ends[0] != ends[1]]
    ends = np.unique(np.sort(ends, axis=0), axis=1)
    return as_undirected(np.concatenate([ends, ends[::-1]], axis=1)), np.arange(size)


def f1(result, truth):
    return 2 * len(np.intersect1d(result, truth)) / (len(result) + len(truth))


def labelled(dense, labels, eps, seeds):
    """The matrix whose arcs weigh eps of their weight between different labels; seeds have label 1."""
    labels = np.array(labels)
    labels[seeds] = 1
    return np.where(labels[:, None] == labels, dense, eps * dense)


def lazy_walk(dense):
    """(I + A D⁻¹) / 2, and the degrees; a node without arcs stays where it is."""
    d = dense.sum(0)
    P = np.divide(dense, d, out=np.eye(len(dense)), where=d > 0)
    return (np.eye(len(dense)) + P) / 2, d


def pagerank(dense, s, alpha):
    """The solution of p = alpha s + (1 - alpha) W p."""
    W, _ = lazy_walk(dense)
    return alpha * np.linalg.solve(np.eye(len(dense)) - (1 - alpha) * W, s)


def heat(dense, s, t):
    """e^(-t (I - A D⁻¹)) s."""
    W, _ = lazy_walk(dense)
    return scipy.linalg.expm(t * 2 * (W - np.eye(len(dense)))) @ s


def flow_dual(dense, source, sinks, q=2.0):
    """The minimiser x ≥ 0 of 1/q Σ w |x_u - x_v|^q + x'(T - Δ), by a general solver."""
    u, v = np.triu(dense, 1).nonzero()
    w = dense[u, v]

    def value(x):
        gap = x[u] - x[v]
        slope = w * np.sign(gap) * np.abs(gap) ** (q - 1)
        grad = sinks - source
        grad = grad + np.bincount(u, slope, len(x)) - np.bincount(v, slope, len(x))
        return (w * np.abs(gap) ** q).sum() / q + x @ (sinks - source), grad

    options = {"maxiter": 100_000, "maxfun": 1_000_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 50}
    start = np.full(len(source), 0.1)
    return minimize(value, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start), options=options).x

"""Random graphs with known labels: stochastic block models, degree-corrected ones, and power-law graphs.

All are undirected and simple, sampled without an array of nodes × nodes, and determined by the seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from graphnoise.checks import fail, generator, integer, rate, real, tensor
from graphnoise.datasets.raw import both_directions, split_masks, unique
from graphnoise.datasets.sampling import arc_keys, draw_distinct, draw_ends, propensities, triangle
from graphnoise.resources import check_memory

Array = np.ndarray[Any, Any]
Seed = int | np.random.Generator
# Rounds of drawing edges in place of repeated ones.
MAX_ROUNDS = 64
# So that a pair of nodes is one int64.
MAX_NODES = 2**31


def planted_partition(
    block_sizes: Sequence[int],
    p_in: float,
    p_out: float,
    *,
    seed: Seed = 0,
    num_features: int = 0,
    separation: float = 1.0,
    split: tuple[int, int, int] | None = None,
) -> Data:
    r"""Return a planted partition: P(edge u, v) = `p_in` within a block and `p_out` between blocks, independently.

    Args:
        block_sizes: Nodes of each block; block b is class b, and nodes are numbered block after block.
        p_in: Probability of an edge between two nodes of one block.
        p_out: Probability of an edge between nodes of two blocks.
        seed: An integer, or a NumPy generator.
        num_features: Width F of `x` [N, F]; 0 for no features. \(x_v = \mu_{y_v} + \varepsilon_v\) with
            \(\mu_c \sim N(0, s^2 I)\), \(\varepsilon_v \sim N(0, I)\), s = `separation`.
        separation: Standard deviation of the class means, in units of that of the noise.
        split: Training nodes per class, validation nodes and test nodes; without it, no masks.

    Returns:
        `Data` with `edge_index`, `y`, `num_classes`, `num_nodes`, and, optionally, `x` and masks.

    Raises:
        InputError: A size, a probability or the split is impossible, or the graph is larger than the memory.

    Source:
        Condon and Karp, Algorithms for Graph Partitioning on the Planted Partition Model (2001).

    Example:
        >>> data = planted_partition([50, 50], p_in=1.0, p_out=0.0)
        >>> data.edge_index.shape[1] == 2 * 50 * 49, data.is_undirected(), data.num_classes
        (True, True, 2)
    """
    count = len(_sizes(block_sizes, num_features))
    inside, outside = rate("p_in", p_in), rate("p_out", p_out)
    probs = np.full((count, count), outside)
    np.fill_diagonal(probs, inside)
    return stochastic_block_model(
        block_sizes, probs, seed=seed, num_features=num_features, separation=separation, split=split
    )


def stochastic_block_model(
    block_sizes: Sequence[int],
    edge_probs: Any,
    *,
    seed: Seed = 0,
    num_features: int = 0,
    separation: float = 1.0,
    split: tuple[int, int, int] | None = None,
) -> Data:
    """Return a stochastic block model: P(edge u, v) = `edge_probs[b(u), b(v)]`, independently for every pair.

    The number of edges of each pair of blocks is binomial, and the edges are distinct pairs drawn uniformly: the exact
    model, in time O(arcs log arcs).

    Args:
        block_sizes: Nodes of each of the C blocks; block b is class b, and nodes are numbered block after block.
        edge_probs: Symmetric [C, C] probabilities.
        seed: An integer, or a NumPy generator.
        num_features: As in `planted_partition`.
        separation: As in `planted_partition`.
        split: As in `planted_partition`.

    Raises:
        InputError: A size is not positive, or `edge_probs` is not a symmetric matrix of probabilities, one row a block.

    Source:
        Holland, Laskey and Leinhardt, Stochastic Blockmodels: First Steps (1983).

    Example:
        >>> data = stochastic_block_model([3, 2], [[0, 1], [1, 0]])
        >>> data.edge_index.tolist()
        [[0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4], [3, 4, 3, 4, 3, 4, 0, 1, 2, 0, 1, 2]]
    """
    sizes, rng = _sizes(block_sizes, num_features), generator(seed)
    probs = _symmetric("edge_probs", edge_probs, len(sizes))
    if bool((probs > 1).any()):
        fail("edge_probs", "probabilities", f"{probs.max():g}")
    first, second = np.triu_indices(len(sizes))
    inside = first == second
    pairs = np.where(inside, sizes[first] * (sizes[first] - 1) // 2, sizes[first] * sizes[second])
    _check_size(int(sizes.sum()), float(pairs @ probs[first, second]))
    counts = rng.binomial(pairs, probs[first, second])
    keys = draw_distinct(rng, pairs, counts)
    block = np.repeat(np.arange(len(pairs)), counts)
    position = keys - (np.cumsum(pairs) - pairs)[block]
    row, col = np.divmod(position, sizes[second[block]])
    within = inside[block]
    row[within], col[within] = triangle(position[within])
    starts = np.cumsum(sizes) - sizes
    row += starts[first[block]]
    col += starts[second[block]]
    return _planted(rng, sizes, row, col, num_features, separation, split)


def degree_corrected(
    block_sizes: Sequence[int],
    edge_counts: Any,
    *,
    exponent: float = 2.5,
    seed: Seed = 0,
    num_features: int = 0,
    separation: float = 1.0,
    split: tuple[int, int, int] | None = None,
) -> Data:
    r"""Return a degree-corrected block model with power-law propensities.

    Edges between u and v are Poisson with mean \(\lambda_{uv} = \theta_u \theta_v\, m_{rs}\) between blocks r and s,
    and \(\theta_u \theta_v\, 2 m_{rr}\) within one, where \(\theta\) sums to 1 over each block; repeats count once and
    self-loops are dropped, so that P(edge u, v) = \(1 - e^{-\lambda_{uv}}\). The realised number is therefore somewhat
    below \(m\).

    Args:
        block_sizes: Nodes of each of the C blocks; block b is class b, and nodes are numbered block after block.
        edge_counts: Symmetric [C, C]; m[r, s] is the expected number of edges between blocks r and s before repeats and
            self-loops are dropped, m[r, r] of those within block r.
        exponent: Of the power law of \(\theta\), above 2.
        seed: An integer, or a NumPy generator.
        num_features: As in `planted_partition`.
        separation: As in `planted_partition`.
        split: As in `planted_partition`.

    Raises:
        InputError: A size, a count or the exponent is impossible.

    Source:
        Karrer and Newman, Stochastic Blockmodels and Community Structure in Networks (2011), for the model.

    Example:
        >>> data = degree_corrected([500, 500], [[2000, 100], [100, 2000]], seed=1)
        >>> same = data.y[data.edge_index[0]] == data.y[data.edge_index[1]]
        >>> 3000 < data.edge_index.shape[1] / 2 < 4100, bool(same.float().mean() > 0.9)
        (True, True)
    """
    sizes, rng = _sizes(block_sizes, num_features), generator(seed)
    means = _symmetric("edge_counts", edge_counts, len(sizes))
    _check_size(int(sizes.sum()), float(np.triu(means).sum()))
    starts = np.cumsum(sizes) - sizes
    theta = [propensities(size, exponent, m, rng) for size, m in zip(sizes.tolist(), np.diag(means), strict=True)]
    keys = []
    for r, s in zip(*np.triu_indices(len(sizes)), strict=True):
        count = int(rng.poisson(means[r, s]))
        row, col = draw_ends(rng, theta[r], count) + starts[r], draw_ends(rng, theta[s], count) + starts[s]
        rng.shuffle(col)
        keys.append(arc_keys(row, col, int(sizes.sum())))
    row, col = np.divmod(unique(np.concatenate(keys)), sizes.sum())
    return _planted(rng, sizes, row, col, num_features, separation, split)


def power_law(num_nodes: int, num_arcs: int, exponent: float = 2.5, *, seed: Seed = 0) -> Data:
    r"""Return a graph with exactly `num_arcs` arcs and power-law degrees, without labels.

    Edges are drawn one after another, both ends with P(v) = \(\theta_v\); self-loops and repeats are drawn again. Where
    edges are few against the pairs of nodes this is the model of Chung and Lu with expected degrees `num_arcs`
    \(\theta_v\).

    Args:
        num_nodes: N.
        num_arcs: Arcs, twice the number of edges; even.
        exponent: Of the degrees' power law, above 2.
        seed: An integer, or a NumPy generator.

    Raises:
        InputError: An argument is impossible, or so many arcs cannot be placed with such a heavy tail.

    Source:
        Chung and Lu, Connected Components in Random Graphs with Given Expected Degree Sequences (2002).

    Example:
        >>> data = power_law(1000, 8000, seed=1)
        >>> data.edge_index.shape[1], data.is_undirected(), data.has_self_loops()
        (8000, True, False)
    """
    n, rng = integer("num_nodes", num_nodes, 2, MAX_NODES), generator(seed)
    num_arcs = integer("num_arcs", num_arcs, 0, n * (n - 1))
    _check_size(n, num_arcs / 2)
    if num_arcs % 2:
        fail("num_arcs", "an even number, two arcs per edge", num_arcs)
    theta, keys = propensities(n, exponent, num_arcs / 2, rng), np.empty(0, dtype=np.int64)
    for _ in range(MAX_ROUNDS):
        if not (missing := num_arcs // 2 - len(keys)):
            break
        row, col = draw_ends(rng, theta, missing), draw_ends(rng, theta, missing)
        rng.shuffle(col)
        keys = unique(np.concatenate([keys, np.sort(arc_keys(row, col, n))]))
    if 2 * len(keys) < num_arcs:
        fail("num_arcs", f"few enough arcs for {n} nodes and exponent {exponent:g}", num_arcs)
    return Data(edge_index=both_directions(keys, n), num_nodes=n)


def _sizes(block_sizes: Sequence[int], num_features: int) -> Array:
    if isinstance(block_sizes, str | bytes) or not isinstance(block_sizes, Iterable):
        fail("block_sizes", "a list of numbers of nodes", repr(block_sizes))
    sizes = [integer(f"block_sizes[{index}]", size, 1) for index, size in enumerate(block_sizes)]
    if not sizes:
        fail("block_sizes", "at least one block", "none")
    n = integer("sum of block_sizes", sum(sizes), 1, MAX_NODES)
    check_memory(f"{len(sizes)} × {len(sizes)} probabilities", 48.0 * len(sizes) ** 2)
    width = integer("num_features", num_features, 0)
    check_memory(f"{width} features of {n} nodes", 12.0 * n * width)
    return np.array(sizes, dtype=np.int64)


def _check_size(num_nodes: int, edges: float) -> None:
    """Raise `InputError` where keys, arcs and the arrays between them are larger than the memory."""
    check_memory(f"a graph of {num_nodes} nodes and {edges:.3g} edges", 40.0 * num_nodes + 100.0 * edges)


def _symmetric(name: str, value: Any, count: int) -> Array:
    matrix = tensor(name, value).detach().cpu().double().numpy()
    if matrix.shape != (count, count):
        fail(name, f"shape {(count, count)}, one row a block", f"shape {matrix.shape}")
    if not bool(np.isfinite(matrix).all()) or bool((matrix < 0).any()):
        fail(name, "finite numbers of at least 0", f"values from {matrix.min()} to {matrix.max()}")
    if not bool((matrix == matrix.T).all()):
        fail(name, "a symmetric matrix", "an asymmetric one")
    return matrix


def _planted(
    rng: np.random.Generator,
    sizes: Array,
    row: Array,
    col: Array,
    num_features: int,
    separation: float,
    split: tuple[int, int, int] | None,
) -> Data:
    n, count = int(sizes.sum()), len(sizes)
    width, separation = num_features, real("separation", separation, 0.0, 1e30)
    if split is not None and (not isinstance(split, Sequence) or isinstance(split, str) or len(split) != 3):
        fail("split", "three numbers: training nodes per class, validation nodes, test nodes", repr(split))
    y = np.repeat(np.arange(count), sizes)
    data = Data(edge_index=both_directions(arc_keys(row, col, n), n), y=torch.from_numpy(y), num_nodes=n)
    data.num_classes = count
    if width:
        means = separation * rng.standard_normal((count, width), dtype=np.float32)
        data.x = torch.from_numpy(means[y] + rng.standard_normal((n, width), dtype=np.float32))
    if split is not None:
        per_class, num_val, num_test = split
        draw = int(rng.integers(1 << 32))
        data.update(split_masks(data.y, train_per_class=per_class, num_val=num_val, num_test=num_test, seed=draw))
    return data

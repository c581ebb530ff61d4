"""Noise in binary labels: membership of a cluster, and positives of implicit feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import brentq

from graphnoise import checks
from graphnoise.noise.noisy_labels import Floats, Ints, NoisyLabels, Seed, round_half_up
from graphnoise.noise.transition import Transition
from graphnoise.resources import check_memory
from graphnoise.typing import LabelsLike


def flip_membership(
    members: LabelsLike | Mapping[Any, Any],
    num_nodes: int | None = None,
    *,
    a1: float,
    a0: float,
    seed: Seed = 0,
    exact: bool = False,
) -> NoisyLabels:
    """Return noisy 0/1 membership labels: a1 = P(label 1 | inside), a0 = P(label 0 | outside).

    Args:
        members: The cluster, a Boolean mask [n] (of class c: `y == c`), positions, or whether each node is inside by
            name, {node: True or False}; the noisy labels are then by name as well.
        num_nodes: N, needed with positions.
        a1: Accuracy inside.
        a0: Accuracy outside.
        seed: Seed of the draws.
        exact: Whether the numbers of flips are the expected ones, rounded, as in `Transition.corrupt`.

    Raises:
        InputError: Positions without or outside `num_nodes`, a mask of another length, a1 or a0 outside
            [0, 1].

    Example:
        >>> flip_membership([0, 1], 6, a1=0.5, a0=0.75, seed=2, exact=True).flipped.int()
        tensor([0, 1, 1, 0, 0, 0], dtype=torch.int32)

    Source:
        Back de Luca, Fountoulakis and Yang, "Local graph clustering with noisy labels", ICLR 2024, section 2.
    """
    if isinstance(members, Mapping):
        values = np.array(list(members.values()))
        if values.shape != (len(members),) or not np.isin(values, (0, 1)).all():
            checks.fail("members", "True or False for each node", repr(members)[:80])
        noisy = flip_membership(values.astype(bool), a1=a1, a0=a0, seed=seed, exact=exact)
        by_name = [dict(zip(members, part.tolist(), strict=True)) for part in (noisy.y, noisy.flipped)]
        return NoisyLabels(by_name[0], by_name[1], noisy.rate)
    inside = checks.tensor("members", members)
    if num_nodes is None:
        if inside.dtype != torch.bool or inside.dim() != 1:
            checks.fail("num_nodes", "the number of nodes, unless members is a Boolean mask", None)
        num_nodes = inside.numel()
    num_nodes = checks.integer("num_nodes", num_nodes, 0)
    check_memory("labels of num_nodes", 40.0 * min(num_nodes, 1 << 62))
    y = checks.mask("members", inside, num_nodes).long()
    a1, a0 = checks.rate("a1", a1), checks.rate("a0", a0)
    noise = Transition([[a0, 1 - a0], [1 - a1, a1]])
    # An array for an array, a tensor otherwise.
    return noise.corrupt(y.numpy() if isinstance(members, np.ndarray) else y, seed=seed, exact=exact)


def label_f1(a1: float, a0: float, k: int, n: int) -> float:
    """Return the F1 of the nodes with label 1 as the cluster: 2 a1 k / (k + a1 k + (1 - a0)(n - k)).

    It is the ratio of expectations, for a cluster of k among n nodes.

    Raises:
        InputError: a1 or a0 is outside [0, 1], or k is not from 1 to n.

    Example:
        >>> round(label_f1(0.9, 0.9, k=500, n=10_000), 3)
        0.474

    Source:
        By counting: of k members a1 k have label 1, of the n - k others (1 - a0) (n - k).
    """
    a1, a0 = checks.rate("a1", a1), checks.rate("a0", a0)
    n = checks.integer("n", n, 1)
    k = checks.integer("k", k, 1, n)
    return 2 * a1 * k / (k + a1 * k + (1 - a0) * (n - k))


@dataclass(frozen=True, eq=False)
class NoisyInteractions:
    """Interactions after noise, with the added and the hidden pairs.

    Attributes:
        matrix: Users × items in CSR: the positives without the hidden ones, with the added ones (value 1).
        added: False positives [2, k], rows users and items, in order of user, then item.
        hidden: False negatives [2, k], in the same form.
        false_positive_rate: Added pairs over positives before noise; 0.0 without positives.
        false_negative_rate: Hidden pairs over positives before noise; 0.0 without positives.
    """

    matrix: Any
    added: Ints
    hidden: Ints
    false_positive_rate: float
    false_negative_rate: float


def flip_interactions(
    matrix: Any,
    false_positive_rate: float,
    false_negative_rate: float = 0.0,
    popularity: float = 0.0,
    seed: Seed = 0,
    hidden_popularity: float = 0.0,
    exclude: Any = None,
) -> NoisyInteractions:
    """Add unobserved pairs as positives and hide observed ones; never the same pair, never twice.

    With P positives (stored, non-zero), round_half_up(false_positive_rate × P) of the free cells are added and
    round_half_up(false_negative_rate × P) of the positives hidden, each drawn sequentially without
    replacement in proportion to (1 + positives of the item)^power. Memory grows with P, not with users ×
    items.

    Args:
        matrix: Users × items, any SciPy sparse format; it is not changed.
        false_positive_rate: Added pairs as a share of the positives.
        false_negative_rate: Hidden positives as a share of the positives.
        popularity: The power for added pairs; 0 is uniform, 1 prefers popular items in proportion.
        seed: Seed of the draws.
        hidden_popularity: The power for hidden pairs; below 0 rare items lose more.
        exclude: Sparse matrix of the same shape whose stored pairs are never added, such as held-out positives.

    Raises:
        InputError: Not a sparse matrix, values that are not finite, a rate outside [0, 1], a power
            outside [-10, 10], too few free cells, or `exclude` of another shape.

    Example:
        >>> clicks = sp.csr_array(np.eye(4))
        >>> noisy = flip_interactions(clicks, 0.5, 0.25, seed=1)
        >>> noisy.added.shape[1], noisy.hidden.shape[1], noisy.matrix.nnz
        (2, 1, 5)

    Source:
        Added pairs as in Wu et al., "Self-supervised graph learning for recommendation", SIGIR 2021;
        hidden ones as in Ding et al., "Simplify and robustify negative sampling", NeurIPS 2020.
    """
    if not sp.issparse(matrix) or matrix.ndim != 2:
        checks.fail("matrix", "a SciPy sparse matrix, users × items", type(matrix).__name__)
    try:
        checks.check_format(matrix.tocsr())
    except ValueError as error:
        checks.fail("matrix", "a valid SciPy sparse matrix", error)
    add = checks.rate("false_positive_rate", false_positive_rate)
    hide = checks.rate("false_negative_rate", false_negative_rate)
    power = checks.real("popularity", popularity, -10.0, 10.0)
    hidden_power = checks.real("hidden_popularity", hidden_popularity, -10.0, 10.0)
    rng = checks.generator(seed)
    clean = sp.csr_array(matrix, copy=True)
    clean.sum_duplicates()
    checks.finite("matrix", clean.data)
    clean.eliminate_zeros()
    (num_users, num_items), positives = clean.shape, int(clean.nnz)
    users = np.repeat(np.arange(num_users, dtype=np.int64), np.diff(clean.indptr))
    items: Ints = clean.indices.astype(np.int64)
    counts = np.bincount(items, minlength=num_items)
    num_added, num_hidden = round_half_up(add * positives), round_half_up(hide * positives)
    # Item-major, so that the cells of an item are contiguous.
    cells = items * num_users + users
    if exclude is not None:
        if not sp.issparse(exclude) or exclude.shape != clean.shape:
            checks.fail("exclude", f"a sparse matrix of shape {clean.shape}", getattr(exclude, "shape", type(exclude)))
        other = sp.coo_array(exclude)
        cells = np.concatenate([cells, other.coords[1].astype(np.int64) * num_users + other.coords[0]])
    cells.sort()
    cells = cells[np.diff(cells, prepend=-1) > 0]
    free = num_users * num_items - cells.size
    if num_added > free:
        checks.fail("false_positive_rate", f"at most {free} added pairs, the free cells", num_added)

    left = num_users - np.bincount(cells // max(num_users, 1), minlength=num_items)
    new = _free_cells(cells, left, _weights(counts, power), num_added, rng)
    races = rng.exponential(size=positives) / _weights(counts, hidden_power)[items]
    removed = np.sort(np.argsort(races)[:num_hidden])
    kept = np.ones(positives, dtype=bool)
    kept[removed] = False
    new_items, new_users = np.divmod(new, max(num_users, 1))
    order = np.lexsort((new_items, new_users))
    added = np.stack([new_users[order], new_items[order]])
    data = np.concatenate([clean.data[kept], np.ones(num_added, dtype=clean.dtype)])
    where = np.concatenate([users[kept], added[0]]), np.concatenate([items[kept], added[1]])
    build = sp.csr_array if isinstance(matrix, sp.sparray) else sp.csr_matrix
    noisy = build((data, where), shape=clean.shape)
    noisy.sort_indices()
    hidden = np.stack([users[removed], items[removed]])
    total = max(positives, 1)
    return NoisyInteractions(noisy, added, hidden, num_added / total, num_hidden / total)


def _weights(counts: Ints, power: float) -> Floats:
    """The weight of each item: (1 + its positives)^power."""
    weights: Floats = np.asarray((counts + 1.0) ** power, dtype=np.float64)
    return weights


def _free_cells(cells: Ints, free: Ints, weights: Floats, size: int, rng: np.random.Generator) -> Ints:
    """Draw `size` cells outside the sorted `cells`, without replacement, by the weights of their items.

    The r-th free cell is r + (number of taken cells before it), so that only ranks of free cells are drawn.
    """
    if weights.size == 0 or np.ptp(weights) == 0:
        ranks = rng.choice(int(free.sum()), size, replace=False, shuffle=False) if size else cells[:0]
    else:
        starts = free.cumsum() - free
        picks = _counts_by_weight(free, weights, size, rng)
        drawn = [starts[i] + rng.choice(free[i], picks[i], replace=False, shuffle=False) for i in picks.nonzero()[0]]
        ranks = np.concatenate([cells[:0], *drawn])
    taken_before: Ints = np.searchsorted(cells - np.arange(cells.size), ranks, side="right")
    return ranks + taken_before


def _counts_by_weight(free: Ints, weights: Floats, size: int, rng: np.random.Generator) -> Ints:
    """Return the number of cells per item in `size` sequential draws without replacement, by weight.

    Every cell has an exponential arrival time at the rate of its item, and the first `size` arrivals are drawn. Only
    arrivals before a time t are generated, with t such that slightly more than `size` are expected.
    """
    weights = weights / weights.max()
    goal = size + 10 * np.sqrt(size) + 10
    time = np.inf
    if goal < free.sum():

        def excess(log_time: float) -> float:
            return float((free * -np.expm1(-weights * np.exp(log_time))).sum() - goal)

        time = np.exp(brentq(excess, -50.0, 700.0))
    while True:
        finished = -np.expm1(-weights * time)
        runners = np.repeat(np.arange(free.size), rng.binomial(free, finished))
        if runners.size >= size:
            break
        time *= 2
    races = -np.log1p(-rng.random(runners.size) * finished[runners]) / weights[runners]
    counts: Ints = np.bincount(runners[np.argsort(races)[:size]], minlength=free.size)
    return counts

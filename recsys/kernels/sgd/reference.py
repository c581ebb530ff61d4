"""NumPy reference of the steps, sequential in float64, for the same draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recsys.kernels.negatives import Alias, Known
from recsys.kernels.negatives.reference import STRIDE, below, candidates, words
from recsys.kernels.sgd import Blocks, Rates, balanced_blocks, pairs_of


@dataclass
class Tables:
    """The parameters, float64 and unpadded; see `recsys.kernels.sgd.Factors`."""

    user: NDArray[np.float64]
    item: NDArray[np.float64]
    bias: NDArray[np.float64]
    flip_user: NDArray[np.float64] | None = None
    flip_item: NDArray[np.float64] | None = None


def slopes(rule: str, R: float, N: float, G: float, H: float, rate: float) -> tuple[float, float, float, float]:
    """Return the derivatives by R_ui, R_uj, G_ui, G_uj."""
    p, n = expit(R), expit(N)
    if rule == "bpr":
        gain = expit(N - R)
        return gain, -gain, 0.0, 0.0
    if rule == "bpo":
        return 1 - p, -n, 0.0, 0.0
    g, h = (rate, rate) if rule == "nbpo-constant" else (expit(G), expit(H))
    return (1 - g) * (1 - p), h * (1 - n) - n, -g * p, (1 - h) * n


def step(rule: str, t: Tables, r: Rates, u: int, i: int, j: int) -> bool:
    """Take one step in place; return whether the positive scored higher before it."""
    R, N = t.user[u] @ t.item[i] + t.bias[i], t.user[u] @ t.item[j] + t.bias[j]
    pairs = [(t.user, t.item, (r.user, r.positive, r.negative))]
    G = H = 0.0
    if rule == "nbpo":
        assert t.flip_user is not None
        assert t.flip_item is not None
        G, H = t.flip_user[u] @ t.flip_item[i], t.flip_user[u] @ t.flip_item[j]
        pairs.append((t.flip_user, t.flip_item, (r.flip, r.flip, r.flip)))
    by = slopes(rule, R, N, G, H, r.flip_rate)
    for k, (left, right, l2) in enumerate(pairs):
        user, pos, neg, up, down = left[u].copy(), right[i].copy(), right[j].copy(), by[2 * k], by[2 * k + 1]
        left[u] += r.step * (up * pos + down * neg - l2[0] * user)
        right[i] += r.step * (up * user - l2[1] * pos)
        right[j] += r.step * (down * user - l2[2] * neg)
    t.bias[i] += r.step * (by[0] - r.bias * t.bias[i])
    t.bias[j] += r.step * (by[1] - r.bias * t.bias[j])
    return bool(R > N)


def walk(
    rule: str,
    t: Tables,
    r: Rates,
    known: Known,
    pairs: Any,
    items: Any,
    table: Alias | None,
    key: int,
    draws: int,
    tries: int,
) -> tuple[int, int]:
    """Take `draws` steps on pairs [n, 2] with negatives among `items`; return how many were correct, and skipped."""
    columns = (None, None) if table is None else (table.columns["keep"], table.columns["other"])
    correct = skipped = 0
    for d in range(draws):
        counter = np.arange(STRIDE, dtype=np.uint64) + np.uint64(d * STRIDE)
        drawn = words(key, counter)
        u, i = (int(x) for x in pairs[below(drawn[:1], len(pairs))[0]])
        row = known.col[known.rowptr[u] : known.rowptr[u + 1]]
        free = [j for j in items[candidates(drawn[1 : 1 + tries], len(items), *columns)] if j not in row]
        if not free:
            skipped += 1
            continue
        correct += step(rule, t, r, u, i, int(free[0]))
    return correct, skipped


def by_blocks(
    rule: str, t: Tables, r: Rates, blocks: Blocks, rng: np.random.Generator, key: int, each: int, tries: int
) -> tuple[int, int]:
    """Take the steps of `recsys.kernels.sgd.by_blocks`, cell by cell."""
    size, every = blocks.count, pairs_of(blocks.known)
    block, counts = balanced_blocks(blocks.degree, size, rng), np.zeros(2, int)
    for number in range(size * size):
        turn, user_block = divmod(number, size)
        item_block = (user_block + turn) % size
        users = blocks.user[blocks.user_start[user_block] : blocks.user_start[user_block + 1]]
        rows = [every[blocks.known.rowptr[user] : blocks.known.rowptr[user + 1]] for user in users]
        pairs = np.concatenate([every[:0], *rows])
        pairs, items = pairs[block[pairs[:, 1]] == item_block], np.flatnonzero(block == item_block)
        if len(pairs) and len(items):
            table = None if blocks.weight is None else Alias.of(blocks.weight[items])
            cell = int(words(key, np.array([user_block * size + item_block], np.uint64))[0])
            counts += walk(rule, t, r, blocks.known, pairs, items, table, cell, len(pairs) * each, tries)
    return int(counts[0]), int(counts[1])

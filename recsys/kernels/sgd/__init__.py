"""Epochs of stochastic gradient steps on factors, one triple (u, i, j) per step.

A step draws a pair (u, i) uniformly from the known pairs and a negative j from the sampler's distribution (uniform or
an alias table), rejects a j that u has (up to `attempts` draws, then the step is skipped and counted), and updates the
rows of u, i and j by the derivatives at their old values, with L2 of these rows:

    x <- x + step (d objective / d x - decay x)

`lock_free` updates from all threads without locks (Hogwild): the draws are the same at any number of threads, but
conflicting updates may be lost, so results are repeatable on one thread only. `by_blocks` divides users and items into
`BLOCKS` blocks each of nearly equal degree (fewer if a block would have less than `MIN_BLOCK` items); in each of as
many rounds every user block is paired with another item block, which also supplies the negatives. No two tasks of a
round share a row, so results are bit-identical at any number of threads and with any instruction set. Items are
assigned to new blocks in each epoch, so that over epochs every pair of items can meet.

Source: Recht et al., Hogwild!, NeurIPS 2011; Gemulla et al., Large-scale matrix factorization with distributed
stochastic gradient descent, KDD 2011 (blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, read_only
from graphnoise.kernels import _native as common
from graphnoise.resources import native_threads
from recsys.kernels import _native
from recsys.kernels.negatives import Alias, Known

Floats = NDArray[np.float32]
RULES = {"bpr": 0, "bpo": 1, "nbpo": 2, "nbpo-constant": 3}
BLOCKS = 8
# Items in a block at least.
MIN_BLOCK = 16
# Minimum number of steps per chunk of pairs.
MIN_CHUNK = 1 << 16
# Floats per vector register; rows of factors are padded to a multiple.
LANES = 16
# Pairs that are read at a time.
CHUNK = 1 << 20
# Pairs that `by_blocks` copies at a time, if one round has no more: 1 GiB.
MAX_GROUPED = 1 << 27


def aligned(rows: int, width: int) -> Floats:
    """Return zeros [rows, width] in float32 that begin at a multiple of 64 bytes."""
    memory = np.zeros(rows * width + LANES, np.float32)
    offset = (-memory.ctypes.data % 64) // 4
    return memory[offset : offset + rows * width].reshape(rows, width)


def padded(values: Any) -> Floats:
    """Return a copy with rows padded by zeros to a multiple of 16 floats, aligned to 64 bytes."""
    rows, width = values.shape
    out = aligned(rows, -(-width // LANES) * LANES)
    out[:, :width] = values
    return out


@dataclass
class Factors:
    """The parameters, float32: rows from `padded`; the bias of items and NBPO's flip factors may be None."""

    user: Floats
    item: Floats
    bias: Floats | None = None
    flip_user: Floats | None = None
    flip_item: Floats | None = None


@dataclass(frozen=True)
class Rates:
    """Step size; L2 of user, positive and negative rows, of biases and flip factors; the constant flip rate."""

    step: float
    user: float
    positive: float
    negative: float
    bias: float = 0.0
    flip: float = 0.0
    flip_rate: float = 0.0


@dataclass(frozen=True)
class Count:
    """Steps of an epoch: drawn, skipped (no negative), and correct (the positive scored higher before the step)."""

    drawn: int
    correct: int
    skipped: int


def instruction_sets() -> list[str]:
    """Return the instruction sets of this build that the processor supports, the widest first."""
    return _native.instruction_sets()


def _selected(name: str | None) -> str:
    """Return a checked instruction set; None is that of all kernels (see `graphnoise.kernels`)."""
    if name is None:
        return common.instruction_set()
    return choice("instruction_set", name, instruction_sets())


def _setting(
    rule: str,
    factors: Factors,
    rates: Rates,
    known: Known,
    key: int,
    attempts: int,
    num_threads: int,
    instruction_set: str | None,
) -> Any:
    setting = _native.Setting()
    choice("rule", rule, RULES)
    setting.set = _selected(instruction_set)
    setting.threads = native_threads(num_threads)
    setting.rule, setting.attempts, setting.key = RULES[rule], attempts, key
    width = factors.user.shape[1]
    for name in ("user", "item", "flip_user", "flip_item"):
        table = getattr(factors, name)
        if table is None:
            if rule == "nbpo" or not name.startswith("flip"):
                fail(name, "factors", "none")
        elif (
            table.dtype != np.float32
            or not table.flags.c_contiguous
            or table.ctypes.data % 64
            or table.shape != (known.num_users if name.endswith("user") else known.num_items, width)
            or width % LANES
        ):
            got = f"{table.dtype} of shape {table.shape}"
            fail(name, f"float32 rows of {width} values from `padded`, as many as `known` has", got)
        setattr(setting, name, 0 if table is None else table.ctypes.data)
    setting.blocks = width // LANES
    bias = factors.bias
    if bias is not None and (bias.dtype != np.float32 or bias.shape != (known.num_items,) or bias.strides != (4,)):
        fail("bias", f"{known.num_items} contiguous float32 values", f"{bias.dtype} of shape {bias.shape}")
    setting.bias = 0 if bias is None else bias.ctypes.data
    setting.step, setting.decay_user, setting.decay_positive = rates.step, rates.user, rates.positive
    setting.decay_negative, setting.decay_bias = rates.negative, rates.bias
    setting.decay_flip, setting.flip_rate = rates.flip, rates.flip_rate
    setting.rowptr, setting.col, setting.bits, setting.words = known.address
    return setting


def pairs_of(known: Known) -> NDArray[np.int32]:
    """Return all known pairs (user, item), int32 [pairs, 2], by user."""
    out = np.empty((len(known.col), 2), np.int32)
    out[:, 0] = np.repeat(np.arange(known.num_users, dtype=np.int32), np.diff(known.rowptr))
    out[:, 1] = known.col
    return out


def lock_free(
    rule: str,
    factors: Factors,
    rates: Rates,
    known: Known,
    pairs: NDArray[np.int32],
    table: Alias | None,
    key: int,
    *,
    each: int = 1,
    attempts: int = 16,
    num_threads: int = 1,
    instruction_set: str | None = None,
    chunks: int | None = None,
) -> Count:
    """Take `each` steps per known pair of `pairs_of(known)`; all threads write without locks.

    Pairs are divided into chunks, by default `BLOCKS` if they are large enough, with proportional numbers of steps:
    threads then update rows of different users. Results are repeatable on one thread only.
    """
    setting = _setting(rule, factors, rates, known, key, attempts, num_threads, instruction_set)
    pairs = read_only("pairs", pairs, np.int32, (None, 2))
    if len(pairs) and (pairs.min() < 0 or (pairs.max(0) >= (known.num_users, known.num_items)).any()):
        fail("pairs", f"users below {known.num_users} and items below {known.num_items}", "others")
    if table is not None and len(table.weight) != known.num_items:
        fail("table", f"weights of {known.num_items} items", len(table.weight))
    drawn = len(pairs) * each
    correct, skipped = _native.epoch_lock_free(
        setting,
        pairs.ctypes.data,
        len(pairs),
        0 if table is None else table.columns.ctypes.data,
        known.num_items,
        each,
        max(1, min(BLOCKS, drawn // MIN_CHUNK)) if chunks is None else chunks,
    )
    return Count(drawn, correct, skipped)


class Blocks:
    """The schedule of `by_blocks`: users in blocks of nearly equal degree. Pairs stay where they are.

    Args:
        known: The known pairs.
        weight: Weights of negatives, float64 [items], or None for uniform ones.
        rng: Generator of the assignment to blocks.
    """

    def __init__(self, known: Known, weight: NDArray[np.float64] | None, rng: np.random.Generator) -> None:
        if weight is not None and len(weight) != known.num_items:
            fail("weight", f"{known.num_items} weights, one per item", len(weight))
        self.known = known
        self.weight = weight
        self.count = max(1, min(BLOCKS, known.num_items // MIN_BLOCK))
        block = balanced_blocks(np.diff(known.rowptr), self.count, rng)
        self.user = np.argsort(block, kind="stable").astype(np.int32)
        self.user_start = np.concatenate([[0], np.cumsum(np.bincount(block, minlength=self.count))])
        self.degree = np.zeros(known.num_items, np.int64)
        for begin in range(0, len(known.col), CHUNK):
            self.degree += np.bincount(known.col[begin : begin + CHUNK], minlength=known.num_items)
        self.table = np.empty(known.num_items, np.uint64)


def by_blocks(
    rule: str,
    factors: Factors,
    rates: Rates,
    blocks: Blocks,
    rng: np.random.Generator,
    key: int,
    *,
    each: int = 1,
    attempts: int = 16,
    num_threads: int = 1,
    instruction_set: str | None = None,
    distributed: bool = False,
) -> Count:
    """Take `each` steps per known pair; the result is bit-identical at any number of threads.

    With `distributed`, the processes of the default group of torch.distributed share the user blocks. All call this
    with the same arguments and have the same parameters at the end, those of one process.
    """
    known = blocks.known
    setting = _setting(rule, factors, rates, known, key, attempts, num_threads, instruction_set)
    item_block = balanced_blocks(blocks.degree, blocks.count, rng).astype(np.int32)
    item = np.argsort(item_block, kind="stable").astype(np.int32)
    item_start = np.concatenate([[0], np.cumsum(np.bincount(item_block, minlength=blocks.count))])
    weight = None if blocks.weight is None else np.ascontiguousarray(blocks.weight[item])
    at_once = max(1, min(blocks.count, MAX_GROUPED * blocks.count // max(len(known.col), 1)))

    def rounds(begin: int, end: int, first: int, last: int) -> NDArray[np.int64]:
        """Take the steps of some rounds and user blocks; return how many were correct, and skipped."""
        correct_and_skipped = _native.epoch_blocks(
            setting, blocks.count, blocks.user.ctypes.data, blocks.user_start.ctypes.data,
            item.ctypes.data, item_start.ctypes.data, item_block.ctypes.data,
            0 if weight is None else weight.ctypes.data, blocks.table.ctypes.data, each,
            begin, end, first, last, at_once,
        )  # fmt: skip
        return np.array(correct_and_skipped)

    if distributed:
        from recsys.kernels.sgd import strata

        user_tables, item_tables = (
            [table for table in tables if table is not None]
            for tables in ((factors.user, factors.flip_user), (factors.item, factors.bias, factors.flip_item))
        )
        starts = blocks.user, blocks.user_start, item, item_start
        correct, skipped = strata.take_rounds(rounds, user_tables, item_tables, *starts)
    else:
        correct, skipped = rounds(0, blocks.count, 0, blocks.count)
    return Count(len(known.col) * each, int(correct), int(skipped))


def balanced_blocks(degree: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a block per row: of every `count` rows of similar degree, each block gets one, at random."""
    order = np.argsort(-degree, kind="stable")
    rows = -(-len(order) // count)
    assigned = rng.permuted(np.tile(np.arange(count), (rows, 1)), axis=1).ravel()[: len(order)]
    block = np.empty(len(order), np.int64)
    block[order] = assigned
    return block


def sigmoids(x: Floats, instruction_set: str | None = None) -> Floats:
    """Return 1 / (1 + e^-x) as computed in the steps, with an error below 2e-7."""
    out = np.empty_like(x)
    _native.sigmoids(_selected(instruction_set), x.ctypes.data, x.size, out.ctypes.data)
    return out

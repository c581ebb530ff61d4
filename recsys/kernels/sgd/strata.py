"""Rounds of blocks by several processes: the strata of distributed SGD, with an exchange of items after each round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from graphnoise.process_group import peers

Ints = NDArray[Any]


def take_rounds(
    rounds: Callable[[int, int, int, int], Ints],
    user_tables: list[NDArray[Any]],
    item_tables: list[NDArray[Any]],
    users: Ints,
    user_start: Ints,
    items: Ints,
    item_start: Ints,
) -> Ints:
    """Take all rounds, each process those of its user blocks; return the sums of what `rounds` returns.

    Args:
        rounds: Takes the steps of rounds [begin, end) and of user blocks [first, last).
        user_tables: Parameters by user; all processes have those of all users at the end.
        item_tables: Parameters by item; all processes have those of all items after each round.
        users: Users by block.
        user_start: Where each block begins.
        items: Items by block.
        item_start: Where each block begins.

    Source: Gemulla et al., Large-scale matrix factorization with distributed stochastic gradient descent, KDD 2011.
    """
    rank, ranks, count = dist.get_rank(), dist.get_world_size(), len(user_start) - 1
    ends = [k * count // ranks for k in range(ranks + 1)]
    owner = np.searchsorted(ends, np.arange(count), side="right") - 1

    def share(tables: list[NDArray[Any]], rows: Ints, source: int) -> None:
        for table in tables:
            values = torch.from_numpy(np.ascontiguousarray(table[rows]))
            with peers():
                dist.broadcast(values, source)
            if source != rank:
                table[rows] = values.numpy()

    total = np.zeros(2, np.int64)
    for number in range(count):
        total += rounds(number, number + 1, ends[rank], ends[rank + 1])
        for block in range(count):
            other = (block + number) % count
            share(item_tables, items[item_start[other] : item_start[other + 1]], int(owner[block]))
    for block in range(count):
        share(user_tables, users[user_start[block] : user_start[block + 1]], int(owner[block]))
    summed = torch.from_numpy(total)
    with peers():
        dist.all_reduce(summed)
    return summed.numpy()

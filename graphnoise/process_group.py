"""Processes of torch.distributed: agreement on arguments, shares of a batch, and sums of gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from graphnoise import checks
from graphnoise.errors import DataError, GraphnoiseError


@contextmanager
def peers() -> Iterator[None]:
    """Turn the error of a communication whose other end is gone into one line."""
    try:
        yield
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise DataError(f"a process of the group ended ({line}); start all again") from error


def need_group(name: str) -> None:
    """Raise `InputError`, of the argument of this name, unless there is a process group."""
    if not dist.is_available() or not dist.is_initialized():
        expected = 'a process group (torch.distributed.init_process_group("gloo"), under torchrun)'
        checks.fail(name, expected, "none")


def gathered(value: Any) -> list[Any]:
    """Return the values of all processes, in their order."""
    found: list[Any] = [None] * dist.get_world_size()
    with peers():
        dist.all_gather_object(found, value)
    return found


def agree(described: object) -> None:
    """Raise `InputError` on all processes unless they describe their arguments alike."""
    mine = repr(described)
    others = [rank for rank, other in enumerate(gathered(mine)) if other != mine]
    if others:
        checks.fail("arguments", "the same data and settings on every process", f"others on {others}")


@contextmanager
def checking(name: str, shared: bool = True) -> Iterator[None]:
    """Raise an error on all processes where a block raises one on some of them, so that no process waits for another.

    Args:
        name: The argument that needs a process group.
        shared: Whether there are other processes.
    """
    if not shared:
        yield
        return
    need_group(name)
    own: GraphnoiseError | None = None
    try:
        yield
    except GraphnoiseError as error:
        own = error
    found = gathered(own and str(own))
    if own is not None:
        raise own
    for rank, message in enumerate(found):
        if message is not None:
            checks.fail("arguments", "valid ones on every process", f"on process {rank}: {message}")


def private_generator(common: torch.Generator) -> torch.Generator:
    """Return a generator of this process alone, from one that all processes have in the same state."""
    seed = int(torch.randint(2**62, (), generator=common, device=common.device))
    return torch.Generator(common.device).manual_seed(seed + dist.get_rank())


class Share(NamedTuple):
    """The part of a batch that this process computes: its nodes, at least one, and the size of each part."""

    nodes: Tensor
    sizes: list[int]

    @classmethod
    def of(cls, nodes: Tensor) -> Share:
        """Return this process's share; of fewer nodes than processes, some have one that does not count."""
        parts = torch.tensor_split(nodes, dist.get_world_size())
        own = parts[dist.get_rank()]
        return cls(own if len(own) else nodes[:1], [len(part) for part in parts])

    def gather(self, values: Tensor) -> Tensor:
        """Return the rows of all processes, of which those of this one carry gradients."""
        rank = dist.get_rank()
        values = values[: self.sizes[rank]]
        padded = values.new_zeros(max(self.sizes), *values.shape[1:])
        padded[: len(values)] = values.detach()
        parts = [torch.empty_like(padded) for _ in self.sizes]
        with peers():
            dist.all_gather(parts, padded)
        rows = [part[:size] for part, size in zip(parts, self.sizes, strict=True)]
        return torch.cat([*rows[:rank], values, *rows[rank + 1 :]])


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their sums over the processes, each of which has those of its own rows."""
    trained = [p for p in parameters if p.grad is not None]
    if not trained:
        return
    flat = torch.cat([p.grad.reshape(-1) for p in trained if p.grad is not None])
    with peers():
        dist.all_reduce(flat)
    for p, part in zip(trained, torch.split(flat, [p.numel() for p in trained]), strict=True):
        p.grad = part.view_as(p).clone()

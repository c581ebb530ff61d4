"""Threads and memory: thread counts, contexts that limit the threads of a block, available memory."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import psutil
import torch
from threadpoolctl import ThreadpoolController

from graphnoise.checks import integer

MAX_THREADS = 1024


def cpu_count() -> int:
    """Return the number of cores that this process may use (affinity and container limits included)."""
    # sklearn imports joblib as well, but most callers of this module need neither.
    import joblib

    return int(joblib.cpu_count())


def thread_count(num_threads: object, name: str = "num_threads") -> int:
    """Return a number of threads; 0 is one per core.

    Raises:
        InputError: The number is not an integer from 0 to 1024.

    Example:
        >>> thread_count(2), thread_count(0) >= 1
        (2, True)
    """
    return integer(name, num_threads, 0, MAX_THREADS) or cpu_count()


def available_memory() -> int:
    """Return how many bytes can be allocated without swapping."""
    return int(psutil.virtual_memory().available)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run a block with this number of torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Run a block with this number of threads in torch and in the BLAS and OpenMP libraries that are loaded."""
    with torch_threads(count), _pools().limit(limits=count):
        yield


@functools.cache
def _pools() -> ThreadpoolController:
    """Return the thread pools of the libraries loaded so far; the search takes milliseconds."""
    return ThreadpoolController()

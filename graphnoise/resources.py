"""Threads, memory and devices: thread counts and limits, torch's modes, available memory, available devices."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import torch
from threadpoolctl import ThreadpoolController

from graphnoise.checks import fail, integer

MAX_THREADS = 1024
# Bytes below which the available memory is not looked up.
_MIN_CHECKED = 1 << 24
_forked = False
# How many blocks of `one_blas_thread` run, and the limit of the first of them.
_blas_lock, _blas_blocks = threading.Lock(), 0
_blas_limit: Any = None


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


def check_memory(what: str, size: float, limit: float | None = None) -> None:
    """Raise `InputError` before an allocation that exceeds the available memory.

    Args:
        what: What needs the memory, for the message.
        size: Bytes to allocate.
        limit: Bytes allowed; None is nine tenths of the available memory.

    Raises:
        InputError: The size is above the limit; the message has both.

    Example:
        >>> check_memory("EASE of 200000 items", 2 * 8 * 200_000**2, limit=8 * 2**30)
        Traceback (most recent call last):
        graphnoise.errors.InputError: EASE of 200000 items: expected to need at most 8.0 GiB of memory, got 596.0 GiB
    """
    if limit is None and size < _MIN_CHECKED:
        return
    allowed = 0.9 * available_memory() if limit is None else limit
    if size > allowed:
        fail(what, f"to need at most {allowed / 2**30:.1f} GiB of memory", f"{size / 2**30:.1f} GiB")


def byte_count(name: str, value: object) -> int:
    """Return a number of bytes, given as a number or with a unit.

    Raises:
        InputError: The value is no such number, or it is negative.

    Example:
        >>> byte_count("memory", "4GB"), byte_count("memory", "1 MiB"), byte_count("memory", 512)
        (4000000000, 1048576, 512)
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError:
        size = -1
    if size < 0 or isinstance(value, bool):
        fail(name, "a number of bytes, such as 4000000000 or '4GB'", repr(value))
    return size


def native_threads(count: int | None = None) -> int:
    """Return the number of threads of a compiled kernel: `count` or torch's, and 1 in a forked process.

    A fork has no thread of its parent's OpenMP pool, which would be waited for.
    """
    if _forked:
        return 1
    return torch.get_num_threads() if count is None else count


def _after_fork() -> None:
    global _forked
    _forked = True
    # Torch's operators share the pool.
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run a block with one thread in BLAS, so that sums are the same at any number of threads.

    The limit is that of the process: it ends with the last of the blocks that run at once in several threads.
    """
    global _blas_blocks, _blas_limit
    with _blas_lock:
        if _blas_blocks == 0:
            _blas_limit = _pools().limit(limits=1, user_api="blas")
        _blas_blocks += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_blocks -= 1
            if _blas_blocks == 0:
                _blas_limit.restore_original_limits()


@functools.cache
def _pools() -> ThreadpoolController:
    """Return the thread pools of the libraries loaded so far; the search takes milliseconds."""
    return ThreadpoolController()


@contextlib.contextmanager
def default_modes(num_threads: int) -> Iterator[None]:
    """Switch off inference mode, autocast, default device and type of the caller, and set the number of threads."""
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(limit_threads(thread_count(num_threads)))
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        yield


def read_device(device: object) -> torch.device | None:
    """Return an available device, or None for that of the data."""
    if device is None:
        return None
    if not isinstance(device, str | torch.device):
        fail("device", "'cpu', 'cuda' or a torch.device", repr(device))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        fail("device", "'cpu', 'cuda' or a torch.device", repr(device))
    if chosen.type not in ("cpu", "cuda"):
        fail("device", "'cpu' or 'cuda'", repr(str(chosen)))
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        got = f"{str(chosen)!r}, and torch sees {torch.cuda.device_count()} GPUs"
        fail("device", "a device of this machine", got)
    return chosen

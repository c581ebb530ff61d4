"""Propagation within a bound on memory: blocks of columns, and values on the disk where one column is too much."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks, stored
from graphnoise.errors import DataError
from graphnoise.graph import Graph
from graphnoise.io import atomic_write, reading
from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.propagate import PropagationSettings, cpu
from graphnoise.resources import available_memory

DTYPES = {torch.float32: "<f4", torch.float64: "<f8"}
# Bytes per node that normalisation needs at its peak, and what stays of it, with a margin: the arrays have 20 or 24.
PEAK, KEPT = 40, 32
# Arrays of values that steps read and write: the source, and the values before and after.
ARRAYS = 3
# Bytes that a chunk of arcs or entries takes.
CHUNK_BYTES = 1 << 26


def align_steps(
    extend: Callable[[int], None], state: Callable[[], tuple[int, float]], settings: PropagationSettings
) -> tuple[int, float]:
    """Let blocks of columns take as many steps as the one that takes the most; return steps and the largest change.

    Args:
        extend: Called with a number of steps that all blocks are to take at least.
        state: Returns the most steps that a block took, and the largest last change of all blocks.
        settings: Settings of the propagation.
    """
    steps, change = state()
    while settings.tol is not None:
        extend(steps)
        _, change = state()
        if steps == settings.num_steps or not settings.tol < change < math.inf:
            break
        steps += 1
    return steps, change


def check_bound(graph: Graph, y: Tensor, memory: int, out: Path | None) -> int:
    """Return how many bytes are needed beside values and normalisation; `InputError` where the bound is too small."""
    # Columns of graphs in memory are copied, with padding.
    fixed = CHUNK_BYTES + (0 if graph.stored else graph.num_nodes * 8 + graph.num_arcs * 4)
    fixed += y.numel() * y.element_size() if out is None else 0
    least = fixed + PEAK * graph.num_nodes
    if memory < least:
        expected = f"at least {least / 1e9:.2f} GB for {graph.num_nodes} nodes"
        checks.fail("memory", expected + (" (less with out=)" if out is None else ""), f"{memory / 1e9:.2f} GB")
    return fixed


def content_hash(described: object, *arrays: Tensor | None) -> str:
    """Return a hash of the text of an object and of the values of arrays, of which a part is read at a time."""
    state = hashlib.blake2b(repr(described).encode(), digest_size=16)
    for array in arrays:
        for begin in range(0, 0 if array is None else len(array), stored.CHUNK):
            assert array is not None
            state.update(array[begin : begin + stored.CHUNK].detach().contiguous().numpy().tobytes())
    return state.hexdigest()


class BlockPropagation:
    """Blocks of columns of one propagation, and the array that they are collected in.

    Args:
        graph: The graph, with the normalisation to propagate over already chosen.
        y: Values, float32 or float64, contiguous or not, shape [num_nodes, width] or [num_nodes].
        mask: Rows of y that count, or None.
        settings: Settings of the propagation.
        memory: Bytes that may be allocated.
        out: File for the result, or None to return it in memory.
        progress: Called with the numbers of blocks done and of all blocks.
    """

    def __init__(
        self,
        graph: Graph,
        y: Tensor,
        mask: Tensor | None,
        settings: PropagationSettings,
        memory: int,
        out: Path | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self.shape, y = tuple(y.shape), y.unsqueeze(1) if y.dim() == 1 else y
        self.graph, self.y, self.mask, self.settings = graph, y, mask, settings
        self.out, self.progress = out, progress
        self.folder = Path(tempfile.gettempdir()) if out is None else Path(os.path.realpath(out)).parent
        n, width, size = *y.shape, y.element_size()
        fixed = check_bound(graph, self.y, memory, out)
        column = ARRAYS * n * size
        # A single column is summed in another order than one of several.
        narrowest = min(width, 2)
        fits = (memory - fixed - KEPT * n) // column
        self.on_disk = fits < narrowest
        if self.on_disk:
            # Pages of mapped files are the operating system's; blocks that it can keep are read once.
            fits = max(available_memory() // 2 // column, narrowest)
        self.width = min(fits, width)

    def run(self) -> tuple[Tensor, int, float]:
        """Propagate all blocks; return values, steps and residual, as if they had been propagated together."""
        tol = self.settings.tol
        begins = range(0, self.y.shape[1], self.width)
        result = _Result(self.out, self.shape, self.y.dtype, self._key)
        with closing(result), tempfile.TemporaryDirectory(dir=self.folder, prefix=".propagate.") as scratch:
            arcs = self._arcs(Path(scratch))
            buffers = [self._array(Path(scratch)) for _ in range(ARRAYS)]
            for begin in begins:
                if begin not in result.blocks:
                    self._propagate(arcs, buffers, begin, tol, 0, result)
                self.progress(begin // self.width + 1, len(begins))

            def extend(steps: int) -> None:
                for begin in begins:
                    if result.blocks[begin][0] < steps:
                        self._propagate(arcs, buffers, begin, math.inf, steps, result)
                        self.progress(begin // self.width + 1, len(begins))

            def state() -> tuple[int, float]:
                steps, changes = zip(*result.blocks.values(), strict=True)
                return max(steps), math.nan if any(map(math.isnan, changes)) else max(changes)

            steps, residual = align_steps(extend, state, self.settings)
            return result.finish(failed=math.isnan(residual)), steps, residual

    def _propagate(
        self, arcs: Arcs, buffers: list[Tensor], begin: int, tol: float | None, min_steps: int, result: _Result
    ) -> None:
        result.forget(begin)
        part = self.y[:, begin : begin + self.width]
        shape = len(part), max(part.shape[1], min(self.width, 2))
        values, *pair = (buffer[: math.prod(shape)].view(shape) for buffer in buffers)
        for row in range(0, len(part), stored.CHUNK):
            rows = slice(row, row + stored.CHUNK)
            values[rows, : part.shape[1]] = part[rows]
            values[rows, part.shape[1] :] = 0.0
            # Rows that do not count are not read, and may hold anything.
            if self.mask is not None:
                values[rows][~self.mask[rows]] = 0.0
        alpha, num_steps, lazy, clamp, _ = self.settings
        new, steps, residual = cpu.run(
            arcs,
            values if lazy else None,
            None if lazy else values,
            mask=None,
            alpha=alpha,
            beta=1 - alpha,
            num_steps=num_steps,
            clamp=clamp,
            tol=tol,
            buffers=(pair[0], pair[1]),
            min_steps=min_steps,
        )
        result.write(begin, new[:, : part.shape[1]], steps, residual)

    def _array(self, scratch: Path) -> Tensor:
        """Return an array for a block of values, in memory or mapped."""
        length = self.y.shape[0] * self.width
        if not self.on_disk:
            return torch.empty(length, dtype=self.y.dtype)
        return torch.from_numpy(_scratch_array(scratch, length, DTYPES[self.y.dtype]))

    def _arcs(self, scratch: Path) -> Arcs:
        """Return the matrix; where its arcs have values, they are written to a file."""
        graph, dtype = self.graph, self.y.dtype
        if not graph.stored:
            return graph.arcs(dtype)
        if (scaled := graph.scaled_arcs(dtype)) is not None:
            return scaled
        value = _scratch_array(scratch, graph.num_arcs, DTYPES[dtype])
        left, right = graph.left, graph.right
        for begin in range(0, graph.num_arcs, stored.CHUNK):
            arcs = slice(begin, begin + stored.CHUNK)
            part = torch.ones(len(graph.col[arcs])) if graph.weight is None else graph.weight[arcs]
            part = part.double()
            if left is not None:
                part = part * left[graph.rows_between(begin, begin + stored.CHUNK)]
            if right is not None:
                part = part * right[graph.col[arcs]]
            value[arcs] = part.to(dtype).numpy()
        return Arcs(graph.rowptr, graph.col, torch.from_numpy(value))

    def _key(self) -> str:
        """Return a hash of all that determines the result, and of the width of the blocks."""
        graph = self.graph
        described = self.settings, graph.normalisation, self.width, self.shape, self.y.dtype
        arrays = graph.rowptr, graph.col, graph.weight, graph.left, graph.right
        return content_hash(described, self.y, self.mask, *arrays)


class _Result:
    """The collected columns, in memory or in a file beside which a second one lists the finished blocks."""

    def __init__(
        self, path: Path | None, shape: tuple[int, ...], dtype: torch.dtype, make_key: Callable[[], str]
    ) -> None:
        # Steps and last change of each finished block, by its first column.
        self.path, self.blocks = path, dict[int, tuple[int, float]]()
        if path is None:
            self.values = torch.empty(shape, dtype=dtype).view(shape[0], -1)
            return
        _check_absent(path)
        target = Path(os.path.realpath(path))
        self.partial, self.state = (target.with_name(f".{target.name}.partial{end}") for end in ("", ".json"))
        self.lock = _locked(path, self.partial)
        try:
            self.key = make_key()
            if self._resumable():
                self.array = np.lib.format.open_memmap(self.partial, "r+")
            else:
                self.blocks.clear()
                # It must never list blocks of values that are overwritten.
                self.state.unlink(missing_ok=True)
                self.array = np.lib.format.open_memmap(self.partial, "w+", DTYPES[dtype], shape)
                # A full disk would end the process at a write to mapped memory.
                with self.partial.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, self.partial.stat().st_size)
                self._save()
        except OSError as error:
            self.partial.unlink(missing_ok=True)
            self.lock.close()
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
        except BaseException:
            self.lock.close()
            raise
        self.values = torch.from_numpy(self.array).view(shape[0], -1)

    def close(self) -> None:
        """Let other processes write the file."""
        if self.path is not None:
            self.lock.close()

    def _resumable(self) -> bool:
        if not self.state.is_file() or not self.partial.is_file():
            return False
        with reading(self.state):
            state = json.loads(self.state.read_text())
            self.blocks |= {
                int(begin): (int(taken), float(change)) for begin, (taken, change) in state["blocks"].items()
            }
            return bool(state["key"] == self.key)

    def _save(self) -> None:
        with atomic_write(self.state) as file:
            file.write(json.dumps({"key": self.key, "blocks": self.blocks}).encode())

    def forget(self, begin: int) -> None:
        """Note that the columns of a block are about to change."""
        if self.blocks.pop(begin, None) is not None and self.path is not None:
            self._save()

    def write(self, begin: int, values: Tensor, steps: int, residual: float) -> None:
        """Store a block."""
        self.values[:, begin : begin + values.shape[1]] = values
        self.blocks[begin] = steps, residual
        if self.path is not None:
            self.array.flush()
            self._save()

    def finish(self, failed: bool) -> Tensor:
        """Return the values, from the file under its name, unless they are not finite."""
        if self.path is None:
            return self.values
        self.state.unlink()
        if failed:
            self.partial.unlink()
            return self.values
        os.replace(self.partial, os.path.realpath(self.path))
        return stored.tensor_of(np.load(self.path, mmap_mode="r"))


def _check_absent(path: Path) -> None:
    if path.exists():
        raise DataError(f"{path}: expected a file that does not exist yet, got one that does")


def _locked(path: Path, partial: Path) -> BinaryIO:
    """Open a file that other processes then cannot open in this way."""
    try:
        file = partial.open("ab")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have renamed it in between.
        if not (partial.exists() and os.path.samestat(os.fstat(file.fileno()), partial.stat())):
            raise BlockingIOError
    except OSError as error:
        file.close()
        raise DataError(f"{path}: cannot be written (another process writes it)") from error
    return file


def _scratch_array(folder: Path, length: int, dtype: str) -> np.ndarray[Any, Any]:
    """Return an array in a file that vanishes with it."""
    size = max(length, 1) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "r+", shape=(max(length, 1),))[:length]
    except OSError as error:
        raise DataError(f"{folder.parent}: no space for {size / 1e9:.1f} GB ({error.strerror or error})") from error

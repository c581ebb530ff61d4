"""Where the cells of a benchmark run: processes of this machine, workers of Dask, or job arrays of Slurm."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from graphnoise import checks, resources
from graphnoise.bench import slurm
from graphnoise.bench.runner import Config, Engine, Run, Store, Summary, run_cells
from graphnoise.errors import DataError, GraphnoiseError

FORMS = "local, dask://HOST:PORT or slurm[:OPTION=VALUE,…]"
# Seconds to reach a scheduler.
PATIENCE = 10


@contextlib.contextmanager
def opened(text: str) -> Iterator[Engine]:
    """Yield what runs cells in the place that a text names; it is called as `run_cells`, `jobs` may be None.

    Args:
        text: "local" (`jobs`: processes, by default one for each core), "dask://HOST:PORT", the address of a scheduler
            (`jobs`: the least number of workers to keep busy), or "slurm:…", see `slurm.Settings`.

    Raises:
        InputError: It is none of these, or what it needs is not installed.
        DataError: There is no such scheduler, or it was lost.

    Example:
        >>> with opened("local") as engine:
        ...     engine([], dict, Store("runs"), jobs=1).total
        0
    """
    scheme, _, address = text.partition("://")
    if text == "local":
        yield _local
    elif text.partition(":")[0] == "slurm":
        yield functools.partial(slurm.run_arrays, settings=slurm.Settings.parse(text))
    elif scheme == "dask" and all(address.rpartition(":")[::2]) and address.rpartition(":")[2].isdigit():
        with _dask(address) as engine:
            yield engine
    else:
        checks.fail("executor", FORMS, repr(text))


def _local(cells: Sequence[Config], run: Run, store: Store, *, jobs: int | None = None, **options: Any) -> Summary:
    return run_cells(cells, run, store, jobs=resources.cpu_count() if jobs is None else jobs, **options)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Engine]:
    checks.package("executor", "distributed", "cluster")
    from distributed import Client, KilledWorker

    try:
        client = Client(f"tcp://{address}", timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise DataError(f"dask://{address}: cannot connect to a Dask scheduler ({error})") from error
    with client:
        threads = client.nthreads()
        if any(count > 1 for count in threads.values()):
            # Threads of one process would share its limit of threads, and the peak of its memory.
            checks.fail(
                "executor", "workers of one thread (dask worker --nthreads 1)", f"{max(threads.values())} threads"
            )

        def engine(
            cells: Sequence[Config], run: Run, store: Store, *, jobs: int | None = None, **options: Any
        ) -> Summary:
            try:
                # Two calls for one cell are two calls, also if the first one was lost.
                pool = client.get_executor(pure=False)
                workers = max(1, len(threads)) if jobs is None else jobs
                return run_cells(cells, run, store, executor=pool, jobs=workers, lost=(KilledWorker,), **options)
            except GraphnoiseError:
                raise
            except (OSError, RuntimeError, ImportError, CancelledError) as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                more = "what was recorded stays: run the same command again to go on"
                raise DataError(f"{store.folder}: lost the Dask cluster {address} ({reason}); {more}") from error

        yield engine

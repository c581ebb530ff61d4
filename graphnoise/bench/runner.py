"""Running cells into a `Store`: in parallel, resumable after any interruption, shared by several commands."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal, ParamSpec, Self, TypeVar

from graphnoise.bench.store import MAX_LEASE, Store, cell_key
from graphnoise.checks import fail, integer, real
from graphnoise.errors import STOPS, DataError, GraphnoiseError, InputError

__all__ = ["Failure", "Store", "Summary", "cell_key", "run_cells"]

Config = Mapping[str, Any]
Run = Callable[[Config], Mapping[str, Any]]
Outcome = tuple[Literal["done", "elsewhere", "failed", "held"], str]
# What is called as `run_cells`.
Engine = Callable[..., "Summary"]
P = ParamSpec("P")
T = TypeVar("T")
# Seconds between the lines that say who runs the cells that are missing.
REMINDER = 10.0
# A cell that lost its worker so often is taken to be the reason.
MAX_LOST = 3


@dataclass(frozen=True)
class Failure:
    """A cell that raised an error: it has no record, and the next run tries it again."""

    config: Config
    message: str


@dataclass(frozen=True)
class Summary:
    """Counts of cells run here, recorded before, recorded by others meanwhile, and failed.

    `remarks` are lines for the user: damaged cells and cells of other versions in the folder.
    """

    total: int
    done: int
    skipped: int
    elsewhere: int
    failed: tuple[Failure, ...]
    seconds: float
    remarks: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every cell of the grid has its record."""
        return not self.failed


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, GraphnoiseError) else f"{type(error).__name__}: {text}"


class _Uninterrupted:
    """Delays Ctrl-C in the main thread, the only one that it interrupts, until the block ends or pauses.

    So for SIGTERM and SIGHUP, where a handler in Python is there for them, as on the command line.
    """

    def __init__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in STOPS} if main else {}
        self._usual = {number: handler for number, handler in handlers.items() if callable(handler)}
        self._caught: int | None = None

    def _catch(self, number: int, frame: object) -> None:
        self._caught = number

    def __enter__(self) -> Self:
        for number in self._usual:
            signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        if self._caught is not None:
            caught, self._caught = self._caught, None
            signal.raise_signal(caught)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


def _work(run: Run, store: Store, key: str, config: Config, lease: float) -> Outcome:
    """Claim a cell just before running it, in whatever process or thread this is; record it; release the claim."""
    # The claim and its thread are freed before Ctrl-C may arrive again: in a destructor Python would ignore it.
    with _Uninterrupted() as uninterrupted:
        return _run_claimed(uninterrupted, run, store, key, config, lease)


def _run_claimed(
    uninterrupted: _Uninterrupted, run: Run, store: Store, key: str, config: Config, lease: float
) -> Outcome:
    claim = store.claim(key, lease)
    if claim is None:
        return "held" if store.read(key) is None else "elsewhere", ""
    with claim:
        try:
            with uninterrupted.pause():
                # A copy, since `run` may change it.
                result = run(copy.deepcopy(config))
        except Exception as error:
            return "failed", _one_line(error)
        try:
            store.write(key, config, result)
        except InputError as error:
            return "failed", _one_line(error)
    return "done", ""


class _Here(Executor):
    """Runs each call in the caller's thread, where an interruption stops it as usual."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextlib.contextmanager
def _masked() -> Iterator[None]:
    """Let processes that start in the block never see Ctrl-C and the like: they inherit the mask."""
    # The mask alone is not enough: a thread of torch may receive the signal.
    with _Uninterrupted():
        if sys.platform == "win32":
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawned(ProcessPoolExecutor):
    """A pool whose workers never see Ctrl-C, not even while they start: this command ends them."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with _masked():
            return super().submit(fn, *args, **kwargs)


def _start_worker(parent: Connection) -> None:
    """Let this worker end when the parent closes its end of the pipe or dies."""
    # Nothing is ever sent, so `poll` returns when the other end is closed.
    threading.Thread(target=lambda: (parent.poll(None), os._exit(1)), daemon=True).start()


@contextlib.contextmanager
def _workers(store: Store, jobs: int) -> Iterator[Executor]:
    """Open the default executor; if an error ends the block, workers end at once."""
    if jobs == 1:
        yield _Here()
        return
    # A forked torch may hang on locks of its threads.
    context = multiprocessing.get_context("spawn")
    # Half a pool would leak semaphores.
    with _masked():
        worker_end, our_end = context.Pipe(duplex=False)
        pool = _Spawned(jobs, context, _start_worker, (worker_end,))
    with worker_end, our_end:
        try:
            yield pool
        except BaseException:
            our_end.close()
            pool.shutdown(cancel_futures=True)
            # Workers that end at once leave their claims.
            with contextlib.suppress(DataError):
                store.sweep()
            raise
        pool.shutdown()


def _outcomes(
    cells: Mapping[str, Config],
    run: Run,
    store: Store,
    pool: Executor,
    window: int,
    lease: float,
    lost: tuple[type[Exception], ...],
    on_wait: Callable[[str], object],
) -> Generator[tuple[str, Outcome], None, None]:
    """Yield each cell once it is finished, here or elsewhere; those that others hold are polled."""
    waiting, held = deque(cells), deque[str]()
    running: dict[Future[Outcome], str] = {}
    losses = Counter[str]()
    pause, due, remind = 0.02, 0.0, 0.0
    try:
        while waiting or running or held:
            while waiting and len(running) < window:
                key = waiting.popleft()
                running[pool.submit(_work, run, store, key, cells[key], lease)] = key
            patience = max(due - time.monotonic(), 0.0)
            if not running:
                time.sleep(patience)
            for future in wait(running, patience if held else None, FIRST_COMPLETED).done:
                key = running.pop(future)
                try:
                    outcome = future.result()
                except lost as error:
                    losses[key] += 1
                    # Its claim lapses, as that of a cell that died elsewhere.
                    outcome = ("failed", _one_line(error)) if losses[key] == MAX_LOST else ("held", "")
                if outcome[0] == "held":
                    held.append(key)
                else:
                    yield key, outcome
            if held and time.monotonic() >= due:
                before = len(held)
                for key in [held.popleft() for _ in range(before)]:
                    if store.read(key) is not None:
                        yield key, ("elsewhere", "")
                    else:
                        (held if store.held(key, lease) else waiting).append(key)
                pause = min(2 * pause, 1.0) if len(held) == before else 0.02
                due = time.monotonic() + pause
                if held and not running and not waiting and due > remind:
                    remind = due + REMINDER
                    on_wait(_wait_line(store, held))
    finally:
        for future in running:
            future.cancel()


def _wait_line(store: Store, held: Sequence[str]) -> str:
    """Return a line about the cells that others hold, with the one that was claimed first."""
    claims = [claim for key in held if (claim := store.holder(key)) is not None]
    machine, since = min(claims, key=lambda claim: claim[1], default=("another machine", time.time()))
    others = len({name for name, _ in claims}) - 1
    more = f" and {others} others" if others > 0 else ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    return f"waiting for {len(held)} cells held by {machine}{more} since {when}"


def run_cells(
    cells: Sequence[Config],
    run: Run,
    store: Store,
    *,
    executor: Executor | None = None,
    jobs: int = 1,
    lease: float = 60.0,
    lost: tuple[type[Exception], ...] = (),
    on_done: Callable[[Config, int, int], object] | None = None,
    on_wait: Callable[[str], object] = lambda line: None,
) -> Summary:
    """Run every cell that has no record yet, and return when the whole grid is recorded (failed cells aside).

    A worker claims the cell that it is about to run, so several of these commands, on one machine or on several that
    share the folder, fill one grid and run no cell twice. While others still run cells this waits, and takes over what
    they abandon. Stopped in any way, the same call continues: what is recorded stays.

    Args:
        cells: Configurations, each with everything that determines its outcome; repeated ones count once.
        run: Returns the result of a configuration, a mapping of JSON's types; deterministic. With worker processes it
            is a function of a module. If it raises, the summary says so, and the other cells run.
        store: Where the records are.
        executor: Where cells run; by default this thread for one job, otherwise `jobs` spawned processes. It is not
            shut down, and cells that it has begun continue in it after an error or Ctrl-C here.
        jobs: Worker processes; with an executor, the least number of workers to keep busy.
        lease: Seconds without renewal after which a claim may be taken over. A thread renews the claim, so `run` may
            take longer, but may not hold the interpreter's lock for longer.
        lost: Errors by which the executor says that a cell's worker died, while others work on. The cell is tried again
            once its claim lapsed; it fails after three such errors.
        on_done: Called in this thread after each finished cell, with its configuration, the number of cells that need
            no more work in this run, failed ones included, and the number of all cells.
        on_wait: Called every ten seconds while others hold all cells that are left, with a line that says who.

    Raises:
        InputError: A configuration is not JSON, `run` cannot be sent to workers, an argument is wrong.
        DataError: The folder cannot be read or written, or a worker process was killed.
        KeyboardInterrupt: Passed on at once; claims are released.

    Example:
        >>> import tempfile
        >>> cells = [{"method": "double", "seed": seed} for seed in range(3)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = run_cells(cells[:2], lambda config: {"value": 2 * config["seed"]}, Store(folder))
        ...     again = run_cells(cells, lambda config: {"value": 2 * config["seed"]}, Store(folder))
        >>> (first.done, first.skipped), (again.done, again.skipped)
        ((2, 0), (1, 2))
    """
    jobs, lease = integer("jobs", jobs, 1), real("lease", lease, 0.1, MAX_LEASE)
    if executor is None and jobs > 1:
        try:
            ForkingPickler.dumps(run)
        except Exception as cause:
            fail("run", "a function of a module, which worker processes can import", f"{run!r} ({cause})")
    grid = {cell_key(config, f"cells[{place}]"): dict(config) for place, config in enumerate(cells)}
    began, remarks = time.monotonic(), tuple(store.remarks())
    missing = {key: config for key, config in grid.items() if store.read(key) is None}
    if missing:
        store.sweep()
    counts = Counter(skipped=len(grid) - len(missing))
    failures: dict[str, Failure] = {}
    workers = _workers(store, max(1, min(jobs, len(missing))))
    with contextlib.nullcontext(executor) if executor else workers as pool:
        # Two cells a worker keep it busy; a longer queue gains nothing, as a cell is claimed when it begins.
        window = 1 if isinstance(pool, _Here) else 2 * max(jobs, getattr(pool, "_max_workers", 1))
        with contextlib.closing(_outcomes(missing, run, store, pool, window, lease, lost, on_wait)) as outcomes:
            try:
                for key, (outcome, error) in outcomes:
                    counts[outcome] += 1
                    if outcome == "failed":
                        failures[key] = Failure(grid[key], error)
                    if on_done is not None:
                        on_done(grid[key], counts.total(), len(grid))
            except BrokenExecutor as error:
                recorded = sum(store.read(key) is not None for key in grid)
                raise DataError(
                    f"{store.folder}: a worker process ended early (killed, out of memory, unable to start); "
                    f"{recorded} of {len(grid)} cells are recorded: run the same command again to go on"
                ) from error
    failed = tuple(failures[key] for key in grid if key in failures)
    done, skipped, elsewhere = counts["done"], counts["skipped"], counts["elsewhere"]
    return Summary(len(grid), done, skipped, elsewhere, failed, time.monotonic() - began, remarks)

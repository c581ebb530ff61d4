"""Cells run by job arrays of Slurm: their tasks fill a store on a shared folder, and this command waits for them."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphnoise import checks
from graphnoise.bench import options, runner
from graphnoise.bench.runner import Config, Failure, Run, Store, Summary, cell_key
from graphnoise.errors import DataError, InputError

# Options of sbatch that are handed on.
TEXTS = ("partition", "mem", "account", "qos", "constraint", "gres", "nodelist", "exclude")
# Seconds between looks at the folder and the queue: the first, and the longest.
POLL = (1.0, 10.0)
INSTALL = "slurm-client on Debian and Ubuntu, or a login node of the cluster"


@dataclass(frozen=True)
class Settings:
    """Options of `--executor slurm:…`.

    Attributes:
        tasks: Array tasks of a round, each with its share of the cells; 0: four for each that may run at once.
        running: Tasks that run at once, at most.
        array: Tasks of one array, at most; 0: MaxArraySize of the cluster. Several arrays run one after another.
        cpus: CPUs and processes of a task.
        time: Minutes that a task may take.
        sbatch: Options of sbatch by name (`TEXTS`).
    """

    tasks: int = 0
    running: int = 32
    array: int = 0
    cpus: int = 1
    time: int = 60
    sbatch: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Read `slurm` or `slurm:OPTION=VALUE,…`; `InputError` if an option is unknown or out of its range.

        Example:
            >>> Settings.parse("slurm:running=8,mem=4G").running
            8
        """
        spec = options.parse("executor", text)
        checks.choice("executor", spec.name, ("slurm",))
        least = {"tasks": 1, "running": 1, "array": 1, "cpus": 1, "time": 3}
        for key in spec.options:
            checks.choice("executor: slurm", key, (*least, *TEXTS))
        numbers = {
            key: checks.integer(f"executor: {key}", spec.options[key], low)
            for key, low in least.items()
            if key in spec.options
        }
        return cls(**numbers, sbatch={key: str(spec.options[key]) for key in TEXTS if key in spec.options})


def _call(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        raise DataError(f"{command[0]}: {reason}") from error


class Arrays:
    """The job arrays that one command submits; all have one name, by which they are found and cancelled."""

    def __init__(self, store: Store, settings: Settings) -> None:
        submitit = checks.package("executor", "submitit", "cluster")
        for program in ("sbatch", "srun", "squeue", "scancel", "scontrol"):
            if shutil.which(program) is None:
                raise InputError(f"executor: slurm needs the program {program}: {INSTALL}")
        self._submitit, self._settings = submitit, settings
        self.name = f"graphnoise-{secrets.token_hex(4)}"
        self.folder = store.folder / "slurm" / self.name

    def submit(self, call: Callable[[Any], Any], shares: Sequence[Any]) -> list[Any]:
        """Submit a task for each share, in arrays that run one after another, and return submitit's jobs."""
        settings = self._settings
        longest = settings.array or int(re.findall(r"MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config"))[0])
        executor = self._submitit.SlurmExecutor(self.folder)
        executor.update_parameters(
            job_name=self.name,
            time=settings.time,
            cpus_per_task=settings.cpus,
            # Since Slurm 22.05 srun does not take it from sbatch.
            srun_args=[f"--cpus-per-task={settings.cpus}"],
            array_parallelism=settings.running,
            **(settings.sbatch or {}),
        )
        jobs: list[Any] = []
        for first in range(0, len(shares), longest):
            if jobs:
                # The limit of tasks that run at once is one of an array.
                executor.update_parameters(dependency=f"afterany:{jobs[-1].job_id.partition('_')[0]}")
            try:
                # Submitit prints what it raises.
                with self._environment(), contextlib.redirect_stderr(io.StringIO()):
                    jobs += executor.map_array(call, shares[first : first + longest])
            except (self._submitit.core.utils.FailedJobError, RuntimeError) as error:
                raise DataError(f"sbatch: {' '.join(str(error).split())}") from error
        return jobs

    @contextlib.contextmanager
    def _environment(self) -> Iterator[None]:
        """Remove the variables of the job that this command may itself be, but keep what the user has set."""
        kept = {key: text for key, text in os.environ.items() if key == "SLURM_CONF" or key.startswith("SBATCH_")}
        with self._submitit.helpers.clean_env(), self._submitit.core.utils.environment_variables(**kept):
            yield

    def states(self) -> Counter[str]:
        """Return how many tasks are in each state of the queue; `DataError` if the controller does not answer."""
        lines = _call("squeue", "--noheader", "--array", f"--name={self.name}", "--format=%T (%r)")
        return Counter(lines.splitlines())

    def cancel(self) -> str:
        """Cancel all tasks that have not ended, and return a line that says so, or why it was not possible."""
        try:
            _call("scancel", "--quiet", f"--name={self.name}")
        except DataError as error:
            return f"{error}; to cancel the jobs: scancel --name={self.name}"
        return f"cancelled what was left of the Slurm jobs {self.name}"


def run_share(cells: Sequence[Config], run: Run, store: Store, jobs: int, lease: float) -> list[tuple[str, str]]:
    """Run the cells of one array task, and return key and message of those that failed."""
    from submitit import JobEnvironment

    reason = "the task was cancelled"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt(reason)

    def time_is_up(*_: object) -> None:
        nonlocal reason
        reason = "the time of the task is up, see the option time"
        signal.raise_signal(signal.SIGTERM)

    # Submitit ignores the first of these, by which Slurm cancels, and raises an error in the cell at the second, which
    # comes before the time is up. As Ctrl-C, both release the claims.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(getattr(signal, f"SIG{JobEnvironment.USR_SIG}"), time_is_up)
    summary = runner.run_cells(cells, run, store, jobs=jobs, lease=lease)
    return [(cell_key(failure.config), failure.message) for failure in summary.failed]


def run_arrays(
    cells: Sequence[Config],
    run: Run,
    store: Store,
    *,
    settings: Settings,
    jobs: int | None = None,
    lease: float = 60.0,
    on_done: Callable[[Config, int, int], object] | None = None,
    on_wait: Callable[[str], object] = lambda line: None,
) -> Summary:
    """Run cells as `runner.run_cells` does, by job arrays. The folder of the store and Python are shared by all nodes.

    Cells that are missing when all tasks have ended are submitted again, as long as a round records any. Ctrl-C and
    errors cancel the tasks. Logs are in the folder "slurm" of the store until all cells are recorded.

    Raises:
        InputError: As of `runner.run_cells`; Slurm or submitit is not installed; `jobs` is given.
        DataError: A job cannot be submitted, or a round ended without any new cell.
    """
    if jobs is not None:
        checks.fail("jobs", "none with slurm (the option is cpus: slurm:cpus=4)", jobs)
    grid = {cell_key(config, f"cells[{place}]"): dict(config) for place, config in enumerate(cells)}
    began, remarks = time.monotonic(), tuple(store.remarks())
    missing = {key: config for key, config in grid.items() if store.read(key) is None}
    skipped, failures = len(grid) - len(missing), dict[str, Failure]()
    arrays = Arrays(store, settings)
    call = functools.partial(run_share, run=run, store=store, jobs=settings.cpus, lease=lease)
    try:
        while missing:
            before, count = len(missing), min(settings.tasks or 4 * settings.running, len(missing))
            configs = list(missing.values())
            tasks = arrays.submit(call, [configs[first::count] for first in range(count)])
            for key, message in _finished(arrays, tasks, store, missing, on_wait):
                config = missing.pop(key)
                if message is not None:
                    failures[key] = Failure(config, message)
                if on_done is not None:
                    on_done(config, len(grid) - len(missing), len(grid))
            if len(missing) == before:
                recorded = len(grid) - len(missing) - len(failures)
                raise DataError(
                    f"{store.folder}: {count} tasks of Slurm ended without a new cell{_reason(tasks)}; {recorded} of "
                    f"{len(grid)} cells are recorded; logs are in {arrays.folder}"
                )
            if missing:
                on_wait(f"tasks of Slurm ended early; {len(missing)} cells that are missing are submitted again")
    except BaseException as error:
        line = arrays.cancel()
        if isinstance(error, KeyboardInterrupt):
            on_wait(line)
        raise
    if not failures:
        # Tasks whose cells others have recorded.
        arrays.cancel()
        shutil.rmtree(arrays.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            arrays.folder.parent.rmdir()
    failed = tuple(failures[key] for key in grid if key in failures)
    done = len(grid) - skipped - len(failed)
    return Summary(len(grid), done, skipped, 0, failed, time.monotonic() - began, remarks)


def _finished(
    arrays: Arrays, tasks: Sequence[Any], store: Store, missing: Mapping[str, Config], on_wait: Callable[[str], object]
) -> Iterator[tuple[str, str | None]]:
    """Yield cells that are missing as tasks record them, with None, or fail, with a message, until all tasks ended."""
    pause, remind, unread, over = POLL[0], time.monotonic() + runner.REMINDER, list(tasks), False
    while missing and not over:
        time.sleep(pause)
        pause = min(1.5 * pause, POLL[1])
        try:
            # Before the folder is read: what a task has recorded when it ends is seen.
            states = arrays.states()
        except DataError as error:
            # The controller may be starting again.
            states = Counter({str(error): 1})
        over = not states
        if over:
            # It writes into the folder, so that a network file system does not show what it remembers.
            store.sweep()
        present = set(os.listdir(store.folder))
        for key in [key for key in missing if store.path(key).name in present and store.read(key) is not None]:
            remind = time.monotonic() + runner.REMINDER
            yield key, None
        for task in [task for task in unread if task.paths.result_pickle.exists()]:
            unread.remove(task)
            if task.exception() is None:
                yield from ((key, message) for key, message in task.result() if key in missing)
        if states and missing and time.monotonic() > remind:
            remind = time.monotonic() + runner.REMINDER
            said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            on_wait(f"{len(missing)} cells are missing; tasks of {arrays.name}: {said}")


def _reason(tasks: Sequence[Any]) -> str:
    """Return the last line of an error of one of the tasks, in parentheses."""
    for task in tasks:
        error = task.paths.stderr
        text = error.read_text(errors="replace") if error.exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # What srun says after these only repeats that it failed.
        own = [line for line in lines if not line.startswith(("srun:", "submitit "))] or lines
        if own:
            return f" ({own[-1][:300]})"
    return ""

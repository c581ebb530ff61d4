"""Job arrays of Slurm: what is submitted, submitted again and cancelled; programs of Slurm are stand-ins here."""

import os
import re
import signal
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from grids import files, logged, uninterrupted

from graphnoise.bench import runner, slurm
from graphnoise.bench.executors import opened
from graphnoise.bench.store import cell_key
from graphnoise.errors import DataError, InputError

pytest.importorskip("submitit")
# `sbatch` numbers the scripts that it gets; with a file "run" it runs their tasks, one after another.
SBATCH = """#!/bin/bash
n=$(($(ls {0}/scripts | wc -l) + 1))
cp "$1" {0}/scripts/$n
if [ -e {0}/fail ]; then echo "sbatch: error: Invalid partition" >&2; exit 1; fi
echo "Submitted batch job $n"
[ -e {0}/run ] || exit 0
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
(
    touch {0}/queue
    export SLURM_ARRAY_JOB_ID=$n SLURM_JOB_ID=$n
    for task in $(seq 0 $last); do SLURM_ARRAY_TASK_ID=$task bash {0}/scripts/$n; done
    rm {0}/queue
) >{0}/log 2>&1 </dev/null &
"""
# Options come before the command; --output and --error have their value in the next word.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done
exec "$@"
"""
PROGRAMS = {
    "sbatch": SBATCH,
    "srun": SRUN,
    "squeue": "#!/bin/bash\n[ ! -e {0}/queue ] || echo 'RUNNING (None)'\n",
    "scancel": '#!/bin/bash\necho "$@" >> {0}/cancelled\n',
    "scontrol": "#!/bin/bash\necho 'MaxArraySize            = 6'\n",
}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for the programs of Slurm, first on the path."""
    folder = tmp_path / "slurm"
    (folder / "scripts").mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text.replace("{0}", str(folder)))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


class Arrays:
    """In place of `slurm.Arrays`: each task runs its first cells at once, and dies where there are more."""

    def __init__(self, survive, log):
        self.name, self.survive, self.log = "jobs", survive, log
        self.folder = log.parent / "logs"
        self.folder.mkdir()
        self.shares, self.cancelled, self.queue = [], 0, []

    def submit(self, call, shares):
        self.shares.append(shares)
        return [self.task(call.keywords, share) for share in shares]

    def task(self, options, share):
        summary = runner.run_cells(share[: self.survive], options["run"], options["store"])
        result, error = self.folder / f"{len(list(self.folder.iterdir()))}.pkl", self.folder / "error"
        if len(share) <= self.survive:
            result.touch()
        else:
            error.write_text("Traceback\nMemoryError: no memory\nsrun: error: task 0: Exited\n\n")
        failed = [(cell_key(failure.config), failure.message) for failure in summary.failed]
        paths = SimpleNamespace(result_pickle=result, stderr=error)
        return SimpleNamespace(paths=paths, exception=lambda: None, result=lambda: failed)

    def states(self):
        state = self.queue.pop(0) if self.queue else Counter()
        if isinstance(state, Exception):
            raise state
        return state

    def cancel(self):
        self.cancelled += 1
        return "cancelled"


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    """Return a function that puts stand-ins in the place of arrays."""
    monkeypatch.setattr(slurm, "POLL", (0.001, 0.001))

    def use(survive):
        made = Arrays(survive, tmp_path / "log")
        monkeypatch.setattr(slurm, "Arrays", lambda store, settings: made)
        return made

    return use


def run(helpers, store, cells, tasks=4, **options):
    options = {"run": helpers.work} | options
    return slurm.run_arrays(cells, options.pop("run"), store, settings=slurm.Settings(tasks=tasks), **options)


def test_what_is_missing_is_submitted_again_while_rounds_record_something(helpers, store, tmp_path, arrays):
    made, log, seen, said = arrays(2), tmp_path / "log", [], []
    cells = helpers.cells(20)
    runner.run_cells(cells[:3], helpers.work, store)
    progress = {"on_done": lambda *progress: seen.append(progress), "on_wait": said.append}
    summary = run(helpers, store, [*cells, cells[7]], run=partial(helpers.work, log=log), **progress)
    assert (summary.total, summary.done, summary.skipped, summary.complete) == (20, 17, 3, True)
    assert logged(log) == list(range(3, 20))
    assert files(store) == uninterrupted(helpers, tmp_path, 20)
    assert [[len(share) for share in round] for round in made.shares] == [[5, 4, 4, 4], [3, 2, 2, 2], [1]]
    assert [counts for _, *counts in seen] == [[finished, 20] for finished in range(4, 21)]
    assert said == [f"tasks of Slurm ended early; {n} cells that are missing are submitted again" for n in (9, 1)]
    assert not made.folder.exists()


def test_a_round_without_a_new_cell_ends_the_command(helpers, store, arrays):
    made = arrays(0)
    says = (
        r"2 tasks of Slurm ended without a new cell \(MemoryError: no memory\); 0 of 5 cells are recorded; logs are in "
    )
    with pytest.raises(DataError, match=says + re.escape(str(made.folder))):
        run(helpers, store, helpers.cells(5), tasks=2)
    assert (len(made.shares), made.cancelled) == (1, 1)


def test_cells_that_fail_are_reported_and_not_submitted_again(helpers, store, arrays):
    def fails(config):
        return helpers.work(config) if config["seed"] % 3 else 1 / 0

    made = arrays(3)
    summary = run(helpers, store, helpers.cells(8), run=fails)
    assert [failure.config["seed"] for failure in summary.failed] == [0, 3, 6]
    assert {failure.message for failure in summary.failed} == {"ZeroDivisionError: division by zero"}
    assert (summary.done, len(made.shares), made.folder.exists()) == (5, 1, True)


def test_ctrl_c_cancels_the_jobs(helpers, store, arrays):
    def interrupt(*_):
        raise KeyboardInterrupt

    made, said = arrays(9), []
    with pytest.raises(KeyboardInterrupt):
        run(helpers, store, helpers.cells(8), on_done=interrupt, on_wait=said.append)
    assert (made.cancelled, said) == (1, ["cancelled"])


def test_a_controller_that_does_not_answer_is_asked_again(helpers, store, arrays, monkeypatch):
    monkeypatch.setattr(runner, "REMINDER", 0.0)
    made, said = arrays(1), []
    made.queue = [DataError("squeue: Unable to contact slurm controller"), Counter({"PENDING (Priority)": 3})]
    summary = run(helpers, store, helpers.cells(8), on_wait=said.append)
    assert summary.done == 8
    assert said[0].endswith("4 cells are missing; tasks of jobs: 1 squeue: Unable to contact slurm controller")
    assert said[1].endswith("tasks of jobs: 3 PENDING (Priority)")


def test_nothing_is_submitted_where_nothing_is_missing(helpers, store, arrays):
    made = arrays(1)
    runner.run_cells(helpers.cells(3), helpers.work, store)
    assert run(helpers, store, helpers.cells(3)).skipped == 3
    assert made.shares == []


def scripts(programs):
    texts = [(programs / "scripts" / str(number)).read_text() for number in (1, 2, 3)]
    return [dict(re.findall(r"^#SBATCH --([^=\n]+)=(.*)$", text, re.MULTILINE)) for text in texts]


def test_arrays_keep_to_the_limits_and_run_one_after_another(store, programs, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    settings = slurm.Settings.parse("slurm:running=4,partition=short,mem=2G,cpus=2,time=90,account=me")
    made = slurm.Arrays(store, settings)
    jobs = made.submit(partial(int), [str(number) for number in range(14)])
    assert [job.job_id for job in jobs] == [f"{array}_{k}" for array, n in ((1, 6), (2, 6), (3, 2)) for k in range(n)]
    parameters = scripts(programs)
    assert [each["array"] for each in parameters] == ["0-5%4", "0-5%4", "0-1%2"]
    assert [each.get("dependency") for each in parameters] == [None, "afterany:1", "afterany:2"]
    for each in parameters:
        wanted = {"job-name": made.name, "partition": "short", "mem": "2G", "cpus-per-task": "2", "time": "90"}
        assert each.items() >= (wanted | {"account": "me"}).items()
    assert os.environ["SLURM_JOB_ID"] == "7"
    (programs / "queue").touch()
    assert made.states() == {"RUNNING (None)": 1}
    assert made.cancel() == f"cancelled what was left of the Slurm jobs {made.name}"
    assert (programs / "cancelled").read_text() == f"--quiet --name={made.name}\n"
    (programs / "scancel").write_text("#!/bin/bash\necho 'scancel: error: no controller' >&2; exit 1\n")
    assert made.cancel() == f"scancel: scancel: error: no controller; to cancel the jobs: scancel --name={made.name}"


def test_an_array_is_as_long_as_is_asked(store, programs):
    made = slurm.Arrays(store, slurm.Settings(array=3, running=9))
    made.submit(int, [str(number) for number in range(9)])
    assert [each["array"] for each in scripts(programs)] == ["0-2%3"] * 3


def test_a_refused_job_is_one_error(helpers, store, programs, capfd):
    (programs / "fail").touch()
    with pytest.raises(DataError, match=r"^sbatch: sbatch: error: Invalid partition$"):
        run(helpers, store, helpers.cells(2))
    assert capfd.readouterr() == ("", "")


def test_tasks_run_as_processes_with_submitit(helpers, store, programs, tmp_path, monkeypatch):
    (programs / "run").touch()
    monkeypatch.setenv("PYTHONPATH", str(Path(helpers.__file__).parent))
    monkeypatch.setattr(slurm, "POLL", (0.5, 0.5))
    with opened("slurm:tasks=2") as engine:
        summary = engine(helpers.cells(6), partial(helpers.work, log=str(tmp_path / "log")), store)
    assert (summary.done, logged(tmp_path / "log")) == (6, list(range(6)))
    assert files(store) == uninterrupted(helpers, tmp_path, 6)
    assert not (store.folder / "slurm").exists()


@pytest.mark.parametrize(("number", "why"), [(signal.SIGTERM, "was cancelled"), (signal.SIGUSR2, "time .* is up")])
def test_a_task_that_has_to_end_frees_its_claim(store, number, why):
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR2)}
    cells = [{"seed": 0}, {"seed": 1}]

    def ends_the_task(config):
        if config["seed"]:
            signal.raise_signal(number)
        return {}

    try:
        with pytest.raises(KeyboardInterrupt, match=why):
            slurm.run_share(cells, ends_the_task, store, 1, 60.0)
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert (len(store.keys()), store.held(cell_key(cells[1]))) == (1, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slurm:tasks=0", "executor: tasks: expected an integer of at least 1, got 0"),
        ("slurm:time=2:00", "executor: time: expected an integer of at least 3, got '2:00'"),
        ("slurm:task=3", "executor: slurm: expected one of .*did you mean 'tasks'"),
        ("slurm:partition", "executor: expected slurm:KEY=VALUE"),
        ("slurm:", "executor: expected slurm:KEY=VALUE"),
    ],
)
def test_bad_options(text, says):
    with pytest.raises(InputError, match=says), opened(text):
        pass


def test_jobs_is_an_option_of_slurm(helpers, store):
    with pytest.raises(InputError, match=r"jobs: expected none with slurm .*cpus.*, got 2"):
        run(helpers, store, helpers.cells(1), jobs=2)


def test_where_slurm_is_not_installed_the_error_says_what_to_install(helpers, store, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="executor: slurm needs the program sbatch: slurm-client on Debian"):
        run(helpers, store, helpers.cells(1))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        InputError, match=r"executor: expected submitit, which is not installed \(pip install 'graphnoise\[cluster\]'"
    ):
        run(helpers, store, helpers.cells(1))

"""Speed and memory of matrix factorisation on mapped interactions."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.sparse as sp
from rich.console import RenderableType
from rich.text import Text

from graphnoise import checks
from graphnoise.bench.grid import integer, integers, option
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.bench.speed.out_of_core import gigabytes, own_memory
from graphnoise.resources import cpu_count
from recsys.interactions import Interactions
from recsys.models.mf import MatrixFactorization

# Pairs of a part.
PART = 1 << 23
# Training in memory is compared up to as many pairs.
MAX_COMPARED = 10**7
NOTE = (
    "own: memory that was allocated at its peak, mapped files apart; in the mode deterministic; small cases are\n"
    "compared with the same in memory, bit for bit"
)


class MappedOptions(Options):
    """Options of `graphnoise bench speed mapped-clicks`."""

    pairs: Annotated[tuple[int, ...], integers(1, 2**31 - 1)] = option((10**7, 10**8), "Known pairs.")
    each: Annotated[int, integer(1, 10**6)] = option(500, "Pairs of a user.")
    items: Annotated[int, integer(1, 10**8)] = option(200_000, "Items.")
    factors: Annotated[int, integer(1, 65_536)] = option(64, "Length of the vectors.")
    epochs: Annotated[int, integer(1, 1000)] = option(1, "Epochs.")
    threads: Annotated[tuple[int, ...], integers(1, 1024)] = option((cpu_count(),), "Numbers of threads.")
    folder: str = option("build", "Folder for the files; they are removed.", unrecorded=True)


class MappedClicks(Operation):
    """Matrix factorisation on mapped interactions."""

    name, options = "mapped-clicks", MappedOptions
    help = "Time matrix factorisation on interactions that are mapped from files, and measure its memory."

    def measure(self, case: Case, options: MappedOptions, record: Record, say: Say) -> None:
        """Write interactions, train on them, and compare small ones with training in memory."""
        parent = checks.path("folder", options.folder)
        parent.mkdir(parents=True, exist_ok=True)
        if case["items"] < case["each"]:
            raise NotMeasurableError(f"{case['each']} pairs of a user need as many items")
        need = 8 * case["pairs"]
        if shutil.disk_usage(parent).free < need:
            raise NotMeasurableError(f"{case['pairs']:,} pairs need {need / 1e9:.0f} GB of disk")
        harness.set_threads(case["threads"])
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            self._measure(case, options.seed, record, say, Path(folder) / "clicks")

    def _measure(self, case: Case, seed: int, record: Record, say: Say, folder: Path) -> None:
        def write() -> None:
            Interactions.build(folder, parts(case, seed))

        def read() -> Interactions:
            return Interactions.open(folder)

        for name, call in (("write", write), ("open", read)):
            say(name)
            began = time.perf_counter()
            with own_memory() as own:
                call()
            record[name] = {"seconds": time.perf_counter() - began, **own}
        clicks, seconds = read(), list[float]()
        record |= {"users": clicks.num_users, "pairs": len(clicks)}
        say("training")
        began = time.perf_counter()
        with own_memory() as own:
            model = self._trained(case, seed, clicks, seconds)
        record["train"] = {"seconds": time.perf_counter() - began, "epochs": seconds, **own}
        if len(clicks) <= MAX_COMPARED:
            whole = self._trained(case, seed, Interactions(sp.csr_array(clicks.matrix.copy())), [])
            if not np.array_equal(model.item_factors, whole.item_factors):
                raise VerificationError("expected the factors of training in memory, bit for bit, got others")

    def _trained(self, case: Case, seed: int, clicks: Interactions, seconds: list[float]) -> MatrixFactorization:
        how = {"iterations": case["epochs"], "num_threads": case["threads"], "random_state": seed}
        model = MatrixFactorization(case["factors"], "bpr", mode="deterministic", **how)
        return model.fit(clicks, False, lambda epoch, taken, correct, skipped: seconds.append(taken))

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table of all sizes."""
        yield Text(NOTE, style="dim")
        yield tables.table(TABLE, records)
        yield from tables.notes(records)


def parts(case: Case, seed: int) -> Iterator[Interactions]:
    """Yield interactions of consecutive users: of each an item, at random, of each of as many stretches of items."""
    rng, each = np.random.default_rng(seed), case["each"]
    users, stretch = max(1, case["pairs"] // each), case["items"] // each
    rows = max(1, PART // each)
    for begin in range(0, users, rows):
        count = min(rows, users - begin)
        columns = rng.integers(0, stretch, (count, each), np.int32) + (np.arange(each) * stretch).astype(np.int32)
        indptr = np.arange(count + 1, dtype=np.int32) * each
        ones = np.ones(columns.size, np.float32)
        yield Interactions(sp.csr_array((ones, columns.ravel(), indptr), shape=(count, case["items"])))


TABLE: tables.Cells = {
    "pairs": lambda r: f"{r['pairs']:,}",
    "users": lambda r: f"{r['users']:,}",
    "items": lambda r: f"{r['case']['items']:,}",
    "factors": lambda r: r["case"]["factors"],
    "threads": lambda r: r["case"]["threads"],
    "write": lambda r: tables.time(r["write"]["seconds"]),
    "own, writing": lambda r: gigabytes(r["write"]["own"]),
    "open": lambda r: tables.time(r["open"]["seconds"]),
    "epoch": lambda r: tables.time(min(r["train"]["epochs"])),
    "own, training": lambda r: gigabytes(r["train"]["own"]),
}

"""What is timed: matrices of a given size, and who runs on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from graphnoise.checks import fail, integer
from recsys.models.initialisation import initial_parameters
from recsys.models.mf import MatrixFactorization
from recsys.models.minibatch import Minibatch
from recsys.models.native_training import NativeTraining
from recsys.samplers import Popularity, Sampler, Uniform

Epoch = Callable[[], tuple[float, int]]  # runs an epoch; returns its seconds and the samples that were drawn

# Name: objective, mode, sampler. All draw from popularity and skip what is known, as `implicit` does, unless it is
# said.
RUNS: dict[str, tuple[str, str, str]] = {
    "bpr, lock-free": ("bpr", "lock-free", "popularity"),
    "bpr, deterministic": ("bpr", "deterministic", "popularity"),
    "bpo, lock-free": ("bpo", "lock-free", "popularity"),
    "nbpo, lock-free": ("nbpo", "lock-free", "popularity"),
    "nbpo, deterministic": ("nbpo", "deterministic", "popularity"),
    "bpr, lock-free, uniform": ("bpr", "lock-free", "uniform"),
    "bpr, deterministic, uniform": ("bpr", "deterministic", "uniform"),
    "bpr, minibatch": ("bpr", "minibatch", "popularity"),
    "bpr, minibatch, dns of 10": ("bpr", "minibatch", "dns"),
}
DRAWS = ("uniform, verified", "popularity, verified")
PEER = "implicit"


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        users: rows of the matrix.
        items: columns.
        interactions: known pairs.
        factors: length of the vectors.
        threads: threads of everybody.
        seed: of the matrix and of training.
        runs: names in `RUNS`.
    """

    users: int = 6_040
    items: int = 3_706
    interactions: int = 1_040_000
    factors: int = 64
    threads: int = 1
    seed: int = 0
    runs: tuple[str, ...] = tuple(RUNS)

    def __post_init__(self) -> None:
        for name in ("users", "items", "interactions", "factors", "threads"):
            integer(name, getattr(self, name), 1)
        integer("seed", self.seed, 0)
        for run in self.runs:
            if run not in RUNS:
                fail("run", f"one of {'; '.join(RUNS)}", repr(run))
        if self.interactions > self.users * self.items // 2:
            fail("interactions", f"at most half of the {self.users} × {self.items} pairs", self.interactions)


def to_dict(case: Case) -> dict[str, Any]:
    """Return a case in JSON's types."""
    return {**asdict(case), "runs": list(case.runs)}


def from_dict(given: dict[str, Any]) -> Case:
    """Return the case that `to_dict` gave."""
    return Case(**{**given, "runs": tuple(given["runs"])})


def matrix(case: Case) -> Any:
    """Return distinct pairs: items by a power law, users log-normal. At the default size, near MovieLens-1M's shape.

    Example:
        >>> matrix(Case(50, 40, 300)).nnz
        300
    """
    rng = np.random.default_rng(case.seed)
    by_item = 1 / (np.arange(case.items) + 20.0) ** 0.9
    by_user = rng.lognormal(0, 1, case.users)
    keys = np.zeros(0, np.int64)
    while len(keys) < case.interactions:
        users = rng.choice(case.users, case.interactions, p=by_user / by_user.sum())
        items = rng.choice(case.items, case.interactions, p=by_item / by_item.sum())
        keys = np.unique(np.concatenate([keys, users * case.items + items]))
    keys = np.sort(rng.choice(keys, case.interactions, replace=False))
    ones = np.ones(case.interactions, np.float32)
    return sp.csr_array((ones, (keys // case.items, keys % case.items)), shape=(case.users, case.items))


def _sampler(name: str) -> Any:
    given = {"popularity": {"name": "popularity", "on_known": "skip"}, "dns": {"name": "dns", "candidates": 10}}
    return given.get(name, name)


def ours(name: str, case: Case, given: Any) -> Epoch:
    """Return a run of this package, ready for its first epoch; an epoch takes what `fit` takes for one."""
    objective, mode, sampler = RUNS[name]
    model = MatrixFactorization(
        case.factors, objective, _sampler(sampler), mode=mode, num_threads=case.threads, random_state=case.seed,
        batch_size=4096, extra_regularization=0.01,
    )  # fmt: skip
    rng = np.random.default_rng(case.seed)
    model.sampler.num_threads = case.threads
    model.sampler.fit(given)
    users, items = given.shape
    first = initial_parameters(users, items, case.factors, model.objective.logits, model.init, True, "float32", rng)
    made = (model.sampler.known, first, model.objective, model.sampler, model.plan(), rng)
    training = Minibatch(*made) if mode == "minibatch" else NativeTraining(mode, *made)
    epochs = iter(range(1 << 30))

    def run() -> tuple[float, int]:
        number = next(epochs)
        began = time.perf_counter()
        count = training.epoch(number)
        return time.perf_counter() - began, count.drawn

    return run


def peer(case: Case, given: Any) -> Epoch:
    """Return BPR of `implicit`, with verification; its own callback tells the seconds, which leaves out its set-up."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=case.factors, learning_rate=0.05, regularization=0.01, iterations=1, num_threads=case.threads,
        random_state=case.seed, verify_negative_samples=True,
    )  # fmt: skip
    held = sp.csr_matrix(given)
    seconds: list[float] = []

    def run() -> tuple[float, int]:
        model.fit(held, show_progress=False, callback=lambda epoch, taken, correct, skipped: seconds.append(taken))
        return seconds[-1], given.nnz

    return run


def draws(name: str, case: Case, given: Any) -> Epoch:
    """Return a sampler alone: two million users drawn at random, four negatives each."""
    kind: Sampler = (Uniform if name.startswith("uniform") else Popularity)(num_threads=case.threads).fit(given)
    rng = np.random.default_rng(case.seed)
    users = rng.integers(0, case.users, 2_000_000).astype(np.int32)

    def run() -> tuple[float, int]:
        began = time.perf_counter()
        found = kind.sample(users, 4, rng)
        return time.perf_counter() - began, found.size

    return run


def ranking(case: Case) -> tuple[Callable[[], float], tuple[int, int]]:
    """Return a run that ranks all items for many users, and how many of both: 10,000 and 50,000 at the default size."""
    users, items = min(10_000, 2 * case.users), min(50_000, 14 * case.items)
    rng = np.random.default_rng(case.seed)
    model = MatrixFactorization(case.factors, num_threads=case.threads)
    model.num_users, model.num_items = users, items
    model.user_factors = rng.normal(size=(users, case.factors)).astype(np.float32)
    model.item_factors = rng.normal(size=(items, case.factors)).astype(np.float32)
    model.item_biases = rng.normal(size=items).astype(np.float32)
    known = sp.random_array((users, items), density=0.002, format="csr", rng=rng, dtype=np.float32)

    def run() -> float:
        began = time.perf_counter()
        model.recommend(np.arange(users), known, N=min(100, items))
        return time.perf_counter() - began

    return run, (users, items)


def contenders(case: Case, given: Any) -> dict[str, Epoch]:
    """Return all that is timed, by name; the peer first, where it is installed."""
    found: dict[str, Epoch] = {}
    if has_peer():
        found[PEER] = peer(case, given)
    for name in case.runs:
        found[name] = ours(name, case, given)
    for name in DRAWS:
        found[name] = draws(name, case, given)
    return found


def has_peer() -> bool:
    """Return whether `implicit` is installed."""
    try:
        import implicit.cpu.bpr  # noqa: F401
    except ImportError:
        return False
    return True

"""Speed of matrix factorisation beside `implicit`, of samplers and of ranking."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
from rich.console import RenderableType
from rich.text import Text
from threadpoolctl import threadpool_limits

from graphnoise.bench.grid import integer, integers, option
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options, Record
from graphnoise.checks import choice, fail
from graphnoise.resources import cpu_count
from recsys.evaluation import evaluate
from recsys.kernels import sgd
from recsys.kernels.negatives import Alias, Known
from recsys.kernels.sgd import reference
from recsys.models.initialisation import initial_parameters
from recsys.models.mf import MatrixFactorization
from recsys.models.minibatch import Minibatch
from recsys.models.native_training import NativeTraining
from recsys.samplers import Popularity, Sampler, Uniform
from recsys.simulation import low_rank
from recsys.splits import ratio

# Objective, mode and sampler of each run; known pairs are skipped, as `implicit` does.
RUNS: dict[str, tuple[str, str, Any]] = {
    f"{objective}, {mode}": (objective, mode, {"name": "popularity", "on_known": "skip"})
    for objective, mode in (
        ("bpr", "lock-free"),
        ("bpr", "deterministic"),
        ("bpo", "lock-free"),
        ("nbpo", "lock-free"),
        ("nbpo", "deterministic"),
        ("bpr", "minibatch"),
    )
}
RUNS |= {f"bpr, {mode}, uniform": ("bpr", mode, "uniform") for mode in ("lock-free", "deterministic")}
RUNS["bpr, minibatch, dns of 10"] = ("bpr", "minibatch", {"name": "dns", "candidates": 10})
SAMPLERS: dict[str, type[Sampler]] = {"uniform, verified": Uniform, "popularity, verified": Popularity}
BASELINE = "implicit"
# Of factors after an epoch, against float64; and how much lower NDCG@20 may be, relative, beside the noise of seeds.
TOLERANCE, MAX_LOSS = 1e-4, 0.01
QUALITY = {"learning_rate": 0.02, "regularization": 0.01, "iterations": 25}
THREE = functools.partial(tables.quartiles, form="{:.3g}".format)
NOTE = (
    "million samples a second, median and quartiles over rounds; over implicit: within each round. Draws that\n"
    "are skipped count, as implicit counts them. The last rows are samplers alone, draws that are verified"
)


class RecommendOptions(Options):
    """Options of `graphnoise bench speed recommend`."""

    users: Annotated[int, integer(1, 10**9)] = option(6_040, "Rows of the matrix.")
    items: Annotated[int, integer(1, 10**9)] = option(3_706, "Columns.")
    interactions: Annotated[int, integer(1, 10**10)] = option(1_040_000, "Known pairs.")
    factors: Annotated[int, integer(1, 65_536)] = option(64, "Length of the vectors.")
    threads: Annotated[tuple[int, ...], integers(1, 1024)] = option(
        tuple(sorted({1, min(2, cpu_count())})), "Numbers of threads."
    )
    run: str | None = option(None, "Runs, separated by semicolons. (default: all)")
    quality_seeds: Annotated[int, integer(0, 1000)] = option(
        5, "Seeds of the check of quality; 0: none.", protocol=True
    )


def draw_matrix(case: Case) -> Any:
    """Return distinct pairs: items by a power law, users log-normal. At the default size, near MovieLens-1M's shape."""
    rng, count, shape = np.random.default_rng(case["seed"]), case["interactions"], (case["users"], case["items"])
    by_user: Any
    by_item, by_user = 1 / (np.arange(shape[1]) + 20.0) ** 0.9, rng.lognormal(0, 1, shape[0])
    keys = np.zeros(0, np.int64)
    while len(keys) < count:
        users = rng.choice(shape[0], count, p=by_user / by_user.sum())
        items = rng.choice(shape[1], count, p=by_item / by_item.sum())
        keys = np.unique(np.concatenate([keys, users * shape[1] + items]))
    ends = np.divmod(np.sort(rng.choice(keys, count, replace=False)), shape[1])
    return sp.csr_array((np.ones(count, np.float32), ends), shape=shape)


def library(name: str, case: Case, matrix: Any) -> Callable[[int], int]:
    """Return an epoch of this package, as `fit` takes it; it returns the number of samples."""
    objective, mode, sampler = RUNS[name]
    how = {"mode": mode, "num_threads": case["threads"], "batch_size": 4096, "extra_regularization": 0.01}
    model = MatrixFactorization(case["factors"], objective, sampler, **how)
    loss, negatives = model.objective_and_sampler()
    rng, numbers, logits = np.random.default_rng(case["seed"]), itertools.count(), loss.logits
    negatives.num_threads = case["threads"]
    negatives.fit(matrix)
    users, items = matrix.shape
    first = initial_parameters(users, items, case["factors"], logits, model.init, True, "float32", rng)
    parts = (negatives.known, first, loss, negatives, model.plan(), rng)
    training = Minibatch(*parts) if mode == "minibatch" else NativeTraining(mode, *parts)
    return lambda _: training.epoch(next(numbers)).drawn


def implicit(factors: int, **how: Any) -> Any:
    """Return BPR of `implicit`, with verification."""
    module = import_module("implicit.cpu.bpr")
    return module.BayesianPersonalizedRanking(factors, verify_negative_samples=True, **how)


def timed_runs(case: Case, matrix: Any) -> dict[str, tuple[TimedRun, int]]:
    """Return all that is timed, with the number of samples of a call."""
    runs: dict[str, tuple[TimedRun, int]] = {}
    threads, seed = case["threads"], case["seed"]
    if find_spec("implicit"):
        how = {"learning_rate": 0.05, "regularization": 0.01, "iterations": 1, "num_threads": threads}
        other, held, seconds = implicit(case["factors"], random_state=seed, **how), sp.csr_matrix(matrix), list[float]()

        def fit(_: int) -> float:
            # Its own seconds per epoch leave out its set-up.
            other.fit(held, show_progress=False, callback=lambda epoch, taken, correct, skipped: seconds.append(taken))
            return seconds[-1]

        runs[BASELINE] = TimedRun(BASELINE, fit, self_timed=True), matrix.nnz
    for name in case["runs"]:
        runs[name] = TimedRun(name, library(name, case, matrix)), matrix.nnz
    rng, known = np.random.default_rng(seed), Known.of(matrix)
    users = rng.integers(0, matrix.shape[0], 2_000_000).astype(np.int32)
    for name, kind in SAMPLERS.items():
        sampler = kind(num_threads=threads).fit(matrix)
        items = sampler.sample(users[:10_000], 4, rng)
        if known.has(users[:10_000], np.maximum(items, 0))[items >= 0].any():
            raise VerificationError(f"{name}: expected no negative that is known, got some")
        run = functools.partial(lambda sampler, _: sampler.sample(users, 4, rng), sampler)
        runs[name] = TimedRun(name, run), 4 * len(users)
    return runs


def ranking(case: Case) -> tuple[TimedRun, dict[str, int]]:
    """Return a run that ranks all items for many users: 50,000 for 10,000 at the default size."""
    users, items, factors = min(10_000, 2 * case["users"]), min(50_000, 14 * case["items"]), case["factors"]
    rng, model = np.random.default_rng(case["seed"]), MatrixFactorization(factors, num_threads=case["threads"])
    model.num_users, model.num_items = users, items
    shapes = ((users, factors), (items, factors), (items,))
    tables = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    model.user_factors, model.item_factors, model.item_biases = tables
    known = sp.random_array((users, items), density=0.002, format="csr", rng=rng, dtype=np.float32)
    run = functools.partial(model.recommend, np.arange(users), known, N=min(100, items))
    return TimedRun("ranking", lambda _: run()), {"users": users, "items": items}


@functools.cache
def verify_steps() -> float:
    """Compare each rule with the steps in NumPy on a small matrix; return the largest gap of a factor."""
    rng, worst = np.random.default_rng(0), 0.0
    matrix = sp.csr_array((rng.random((60, 45)) < 0.2).astype(np.float32))
    known, rates = Known.of(matrix), sgd.Rates(0.05, 0.01, 0.02, 0.03, 0.04, 0.05, 0.3)
    weight: Any = np.bincount(matrix.indices, minlength=45) + 1.0
    pairs, table = sgd.pairs_of(known), Alias.of(weight)
    for rule, mode in itertools.product(sgd.RULES, ("lock-free", "deterministic")):
        first: list[Any] = [rng.normal(0, 0.3, (rows, 24)).astype(np.float32) for rows in (60, 45, 60, 45)]
        user, item, *flips = map(sgd.padded, first)
        factors = sgd.Factors(user, item, np.zeros(45, np.float32), *flips)
        exact = reference.Tables(*(x.astype(float) for x in (*first[:2], np.zeros(45), *first[2:])))
        if mode == "lock-free":
            count = sgd.lock_free(rule, factors, rates, known, pairs, table, 7, attempts=3)
            expected = reference.walk(rule, exact, rates, known, pairs, np.arange(45), table, 7, matrix.nnz, 3)
        else:
            blocks = sgd.Blocks(known, weight, np.random.default_rng(1))
            count = sgd.by_blocks(rule, factors, rates, blocks, np.random.default_rng(2), 7, attempts=3, num_threads=2)
            expected = reference.by_blocks(rule, exact, rates, blocks, np.random.default_rng(2), 7, 1, 3)
        counts, names = (count.correct, count.skipped), ("user", "item")
        gap = max(float(np.abs(getattr(factors, name)[:, :24] - getattr(exact, name)).max()) for name in names)
        if counts != expected or not gap <= TOLERANCE:
            wanted = f"expected the reference's steps within {TOLERANCE:g} and {expected}"
            raise VerificationError(f"{rule}, {mode}: {wanted}, got {gap:.2g} and {counts}")
        worst = max(worst, gap)
    return worst


@functools.cache
def verify_quality(seeds: int) -> dict[str, list[float]]:
    """Train the baseline and this package alike on simulated data; return held-out NDCG@20 by name and seed."""
    split = ratio(low_rank(4000, 1500, density=0.04, seed=1).interactions, validation=0.0, test=0.2, seed=0)
    train, test = split.train.matrix, split.test.matrix
    values: dict[str, list[float]] = {name: [] for name in (BASELINE, "lock-free", "deterministic")}
    if not find_spec("implicit"):
        return {}
    for seed, name in itertools.product(range(seeds), values):
        how: dict[str, Any] = {"random_state": seed, "num_threads": 1, **QUALITY}
        if name == BASELINE:
            other = implicit(64, **how)
            with threadpool_limits(1, "blas"):
                other.fit(sp.csr_matrix(train), show_progress=False)
            model: Any = _Scores(other)
        else:
            sampler = {"name": "popularity", "on_known": "skip"}
            model = MatrixFactorization(64, "bpr", sampler, mode=name, **how).fit(train, False)
        values[name].append(evaluate(model, train, test, ["ndcg@20"], num_threads=1)["ndcg@20"])
    for name in ("lock-free", "deterministic"):
        compare_quality(name, np.array(values[name]), np.array(values[BASELINE]))
    return values


class _Scores:
    def __init__(self, model: Any) -> None:
        self._model = model

    def scores(self, userids: Any) -> Any:
        return np.asarray(self._model.user_factors[userids] @ self._model.item_factors.T)


def compare_quality(name: str, values: Any, baseline: Any) -> None:
    """Refuse a mean that is lower than the baseline's by more than 1 % and two standard errors."""
    n, mean = len(values), float(baseline.mean())
    error = np.sqrt((values.var(ddof=1) + baseline.var(ddof=1)) / n) if n > 1 else MAX_LOSS * mean
    least = (1 - MAX_LOSS) * mean - 2 * error
    if not values.mean() >= least:
        raise VerificationError(f"bpr, {name}: expected NDCG@20 of at least {least:.4f}, got {values.mean():.4f}")


class Recommend(Operation):
    """Matrix factorisation, samplers and ranking."""

    name, subject, options, packages = "recommend", "recommenders", RecommendOptions, (BASELINE,)
    help = "Time matrix factorisation beside implicit: samples per second at equal work; samplers alone; ranking."

    def cases(self, options: RecommendOptions) -> list[Case]:
        """Return a case per number of threads."""
        pairs, runs = options.users * options.items, [*RUNS]
        if options.run is not None:
            runs = [choice("run", name.strip(), RUNS) for name in options.run.split(";")]
        if options.interactions > pairs // 2:
            fail("interactions", f"at most half of the {pairs:,} pairs", options.interactions)
        cases = super().cases(options)
        for case in cases:
            del case["run"]
        return [case | {"runs": runs, "seed": options.seed} for case in cases]

    def measure(self, case: Case, options: RecommendOptions, say: Say) -> Record:
        """Verify steps, negatives and quality, then time a round of epochs of all."""
        say("verifying")
        checks: Record = {"steps": verify_steps()}
        checks["ndcg@20"] = verify_quality(options.quality_seeds) if options.quality_seeds else {}
        matrix = draw_matrix(case)
        runs, (rank, sizes) = timed_runs(case, matrix), ranking(case)
        # `implicit` asks for one thread of BLAS.
        with threadpool_limits(1, "blas"):
            times = harness.interleave([*(run for run, _ in runs.values()), rank], options.rounds, options.seed, say)
        samples = {name: times[name]["samples"] for name in runs}
        others = [name for name in case["runs"] if BASELINE in runs]
        return {
            "checks": checks,
            "times": times,
            "rates": {name: harness.quartiles([runs[name][1] / s for s in samples[name]]) for name in runs},
            "ratio": {name: harness.ratio(samples[BASELINE], samples[name]) for name in others},
            "ranking": sizes,
            "notes": {} if BASELINE in runs else {BASELINE: "is not installed"},
        }

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table per record: samples per second, beside the baseline; then what was checked."""
        for record in records:
            case = record["case"]
            words = [f"{case['users']:,} users × {case['items']:,} items, {case['interactions']:,} pairs"]
            words += [f"{case['factors']} factors", tables.plural(case["threads"], "thread")]
            yield headline(", ".join(words))
            names = sorted(record["rates"], key=[BASELINE, *RUNS, *SAMPLERS].index)
            rows = [[name, THREE(record["rates"][name], factor=1e-6),
                     THREE(record["ratio"][name]) if name in record["ratio"] else ""] for name in names]  # fmt: skip
            yield tables.table(["", "million/s", "over implicit"], rows)
            size, seconds = record["ranking"], record["times"]["ranking"]["seconds"]
            text = f"{size['users']:,} users × {size['items']:,} items ranked, the best 100: "
            yield Text(text) + THREE(seconds) + " s"
            quality = {name: float(np.mean(values)) for name, values in record["checks"]["ndcg@20"].items()}
            if BASELINE in quality:
                parts = [f"{name} {value:.4f}" for name, value in quality.items()]
                yield Text(f"NDCG@20 at equal epochs on simulated data: {', '.join(parts)}", style="dim")
            yield from tables.notes([record])
        yield Text(NOTE, style="dim")

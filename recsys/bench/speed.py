"""Speed of matrix factorisation beside `implicit`, of samplers and of ranking."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import scipy.sparse as sp
from rich.console import RenderableType
from rich.text import Text
from threadpoolctl import threadpool_limits

from graphnoise.bench.grid import integer, integers, option
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import NotMeasurableError, Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.checks import choice, fail
from graphnoise.resources import cpu_count
from recsys.evaluation import evaluate
from recsys.kernels import sgd
from recsys.kernels.negatives import Alias, Known
from recsys.kernels.sgd import reference
from recsys.models.mf import MatrixFactorization
from recsys.samplers import Popularity, Sampler, Uniform
from recsys.simulation import low_rank
from recsys.splits import ratio

# Sampler by objective and mode; known pairs are skipped, as `implicit` does.
SKIP: dict[str, Any] = {"name": "popularity", "on_known": "skip"}
RUNS: dict[str, Any] = {
    "bpr, lock-free": SKIP,
    "bpr, deterministic": SKIP,
    "bpo, lock-free": SKIP,
    "nbpo, lock-free": SKIP,
    "nbpo, deterministic": SKIP,
    "bpr, minibatch": SKIP,
    "bpr, lock-free, uniform": "uniform",
    "bpr, deterministic, uniform": "uniform",
    "bpr, minibatch, dns of 10": {"name": "dns", "candidates": 10},
}
SAMPLERS: dict[str, type[Sampler]] = {"uniform, verified": Uniform, "popularity, verified": Popularity}
BASELINE = "implicit"
# Of a sampler, in a call.
DRAWS = 8_000_000
# Of factors after an epoch, against float64; and how much lower NDCG@20 may be, relative, beside the noise of seeds.
TOLERANCE, MAX_LOSS = 1e-4, 0.01
# Those of `implicit` are set to the same.
STEPS = {"learning_rate": 0.05, "regularization": 0.01, "learning_rate_decay": 1.0, "num_negatives": 1}
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


def library(name: str, case: Case) -> MatrixFactorization:
    """Return the model of a run, of one epoch."""
    objective, mode = name.split(", ")[:2]
    how = {"iterations": 1, "random_state": case["seed"], "num_threads": case["threads"], "batch_size": 4096, **STEPS}
    return MatrixFactorization(case["factors"], objective, RUNS[name], mode=mode, **how)


def implicit(factors: int, **how: Any) -> Any:
    """Return BPR of `implicit`, with verification; raises `NotMeasurableError` if it is not installed."""
    if not find_spec(BASELINE):
        raise NotMeasurableError("is not installed")
    module = import_module("implicit.cpu.bpr")
    return module.BayesianPersonalizedRanking(factors, verify_negative_samples=True, **how)


def epochs(name: str, model: Any, matrix: Any) -> TimedRun:
    """Return epochs by a model's own seconds, which leave out its set-up."""
    user_items, seconds = sp.csr_matrix(matrix), list[float]()

    def fit(_: int) -> float:
        model.fit(user_items, show_progress=False, callback=lambda epoch, taken, *counts: seconds.append(taken))
        return seconds.pop()

    return TimedRun(name, fit, self_timed=True)


def sampler_runs(case: Case, matrix: Any) -> list[TimedRun]:
    """Return samplers alone: four negatives for each of many users, none of them known."""
    rng, known = np.random.default_rng(case["seed"]), Known.of(matrix)
    users, runs = rng.integers(0, matrix.shape[0], DRAWS // 4).astype(np.int32), []
    for name, kind in SAMPLERS.items():
        sampler = kind(num_threads=case["threads"]).fit(matrix)
        items = sampler.sample(users[:10_000], 4, rng)
        if known.has(users[:10_000], np.maximum(items, 0))[items >= 0].any():
            raise VerificationError(f"{name}: expected no negative that is known, got some")
        runs.append(TimedRun(name, functools.partial(lambda sampler, _: sampler.sample(users, 4, rng), sampler)))
    return runs


def ranking(case: Case) -> tuple[TimedRun, dict[str, int]]:
    """Return a run that ranks all items for many users: 50,000 for 10,000 at the default size."""
    users, items, factors = min(10_000, 2 * case["users"]), min(50_000, 14 * case["items"]), case["factors"]
    rng, model = np.random.default_rng(case["seed"]), MatrixFactorization(factors, num_threads=case["threads"])
    model.num_users, model.num_items = users, items
    model.user_factors, model.item_factors, model.item_biases = (
        rng.normal(size=shape).astype(np.float32) for shape in ((users, factors), (items, factors), (items,))
    )
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
    blocks = sgd.Blocks(known, weight, rng)
    for rule, mode in itertools.product(sgd.RULES, ("lock-free", "deterministic")):
        first: list[Any] = [rng.normal(0, 0.3, (rows, 24)).astype(np.float32) for rows in (60, 45, 60, 45)]
        user, item, *flips = map(sgd.padded, first)
        factors = sgd.Factors(user, item, np.zeros(45, np.float32), *flips)
        exact = reference.Tables(*(x.astype(float) for x in (*first[:2], np.zeros(45), *first[2:])))
        if mode == "lock-free":
            count = sgd.lock_free(rule, factors, rates, known, pairs, table, 7, attempts=3)
            expected = reference.walk(rule, exact, rates, known, pairs, np.arange(45), table, 7, matrix.nnz, 3)
        else:
            count = sgd.by_blocks(rule, factors, rates, blocks, np.random.default_rng(2), 7, attempts=3, num_threads=2)
            expected = reference.by_blocks(rule, exact, rates, blocks, np.random.default_rng(2), 7, 1, 3)
        gap = max(
            float(np.abs(getattr(factors, name)[:, :24] - getattr(exact, name)).max()) for name in ("user", "item")
        )
        if (count.correct, count.skipped) != expected or not gap <= TOLERANCE:
            wanted = f"expected the reference's steps within {TOLERANCE:g} and {expected}"
            raise VerificationError(f"{rule}, {mode}: {wanted}, got {gap:.2g} and {count.correct, count.skipped}")
        worst = max(worst, gap)
    return worst


@functools.cache
def verify_quality(seeds: int) -> dict[str, list[float]]:
    """Train the baseline and this package alike on simulated data; return held-out NDCG@20 by name and seed."""
    split = ratio(low_rank(4000, 1500, density=0.04, seed=1).interactions, validation=0.0, test=0.2, seed=0)
    train, test = split.train.matrix, split.test.matrix
    values: dict[str, list[float]] = {name: [] for name in (BASELINE, "lock-free", "deterministic")}
    for seed, name in itertools.product(range(seeds), values):
        how: dict[str, Any] = {"random_state": seed, "num_threads": 1, **QUALITY}
        model: Any
        if name == BASELINE:
            with threadpool_limits(1, "blas"):
                fitted = implicit(64, **how)
                fitted.fit(sp.csr_matrix(train), show_progress=False)
            model = SimpleNamespace(scores=lambda users, f=fitted: f.user_factors[users] @ f.item_factors.T)
        else:
            model = MatrixFactorization(64, "bpr", SKIP, mode=name, **STEPS | how).fit(train, False)
        values[name].append(evaluate(model, train, test, ["ndcg@20"], num_threads=1)["ndcg@20"])
    for name in ("lock-free", "deterministic"):
        compare_quality(name, np.array(values[name]), np.array(values[BASELINE]))
    return values


def compare_quality(name: str, values: Any, baseline: Any) -> None:
    """Refuse a mean that is lower than the baseline's by more than 1 % and two standard errors."""
    n, mean = len(values), float(baseline.mean())
    error = np.sqrt((values.var(ddof=1) + baseline.var(ddof=1)) / n) if n > 1 else MAX_LOSS * mean
    least = (1 - MAX_LOSS) * mean - 2 * error
    if not values.mean() >= least:
        raise VerificationError(f"bpr, {name}: expected NDCG@20 of at least {least:.4f}, got {values.mean():.4f}")


class Recommend(Operation):
    """Matrix factorisation, samplers and ranking."""

    name, options, packages = "recommend", RecommendOptions, (BASELINE,)
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

    def measure(self, case: Case, options: RecommendOptions, record: Record, say: Say) -> None:
        """Verify steps, negatives and quality, then time a round of epochs of all."""
        say("verifying")
        quality = options.quality_seeds if find_spec(BASELINE) else 0
        record["checks"] = {"steps": verify_steps(), "ndcg@20": verify_quality(quality) if quality else {}}
        matrix, names = draw_matrix(case), case["runs"]
        samplers, (rank, record["ranking"]) = sampler_runs(case, matrix), ranking(case)

        def baseline() -> dict[str, TimedRun]:
            how = {"learning_rate": 0.05, "regularization": 0.01, "iterations": 1, "num_threads": case["threads"]}
            model = implicit(case["factors"], random_state=case["seed"], **how)
            return {"": epochs(BASELINE, model, matrix)}

        # `implicit` asks for one thread of BLAS.
        with threadpool_limits(1, "blas"):
            runs = harness.baseline(BASELINE, baseline, record)
            runs += [epochs(name, library(name, case), matrix) for name in names]
            times = harness.interleave([*runs, *samplers, rank], options.rounds, options.seed, say)
        record["times"] = times
        counts = {run.name: matrix.nnz for run in runs} | {run.name: DRAWS for run in samplers}
        record["rates"] = {k: harness.quartiles(harness.per_second(times, k, count)) for k, count in counts.items()}
        faster = names if BASELINE in times else []
        record["ratio"] = {k: harness.ratio(times[BASELINE]["samples"], times[k]["samples"]) for k in faster}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table per record: samples per second, beside the baseline; then what was checked."""
        for record in records:
            case = record["case"]
            words = [f"{case['users']:,} users × {case['items']:,} items, {case['interactions']:,} pairs"]
            words += [f"{case['factors']} factors", tables.plural(case["threads"], "thread")]
            words.append(f"{record['environment'].get('instruction_set') or 'unknown'} code")
            yield headline(", ".join(words))
            names = sorted(record["rates"], key=[BASELINE, *RUNS, *SAMPLERS].index)
            yield tables.table(TABLE, [(record, name) for name in names])
            size, seconds = record["ranking"], record["times"]["ranking"]["seconds"]
            text = f"{size['users']:,} users × {size['items']:,} items ranked, the best 100: "
            yield Text(text) + THREE(seconds) + " s"
            quality = [f"{name} {np.mean(values):.4f}" for name, values in record["checks"]["ndcg@20"].items()]
            if quality:
                yield Text(f"NDCG@20 at equal epochs on simulated data: {', '.join(quality)}", style="dim")
            yield from tables.notes([record])
        yield Text(NOTE, style="dim")


TABLE: tables.Cells = {
    "": lambda row: row[1],
    "million/s": lambda row: THREE(row[0]["rates"][row[1]], factor=1e-6),
    "over implicit": lambda row: THREE(row[0]["ratio"][row[1]]) if row[1] in row[0]["ratio"] else "",
}

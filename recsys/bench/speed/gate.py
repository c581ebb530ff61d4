"""What may be timed: only what takes the steps that it should, and learns as well as the peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from graphnoise.errors import GraphnoiseError
from recsys.bench.speed.cases import PEER, has_peer
from recsys.evaluation import evaluate
from recsys.kernels import sgd
from recsys.kernels.negatives import Alias, Known, draw
from recsys.kernels.sgd import Blocks, Factors, Rates, padded
from recsys.kernels.sgd import reference as sgd_reference
from recsys.models.mf import MatrixFactorization
from recsys.simulation import low_rank
from recsys.splits import ratio

TOLERANCE = 1e-4  # of factors after an epoch, against float64
QUALITY = 0.01  # relative: how much lower NDCG@20 may be than the peer's, beside the noise of the seeds
EPOCHS = 25
RATE, L2 = 0.02, 0.01


class GateError(GraphnoiseError):
    """An operation does not do what it should, so its time means nothing."""


def steps() -> float:
    """Hold each rule and schedule against the steps in NumPy on a small matrix; return the largest gap.

    Raises:
        GateError: a factor differs by more than `TOLERANCE`, a count differs, or two threads change a bit of blocks.
    """
    rng = np.random.default_rng(0)
    given = sp.csr_array((rng.random((60, 45)) < 0.2).astype(np.float32))
    known, rates = Known.of(given), Rates(0.05, 0.01, 0.02, 0.03, 0.04, 0.05, 0.3)
    weight: Any = np.bincount(given.indices, minlength=45) + 1.0
    pairs, worst = sgd.pairs_of(known), 0.0
    for rule in sgd.RULES:
        first: list[Any] = [rng.normal(0, 0.3, (rows, 24)).astype(np.float32) for rows in (60, 45, 60, 45)]

        def made(first: Any = first) -> Factors:
            user, item, left, right = (padded(x) for x in first)
            return Factors(user, item, np.zeros(45, np.float32), left, right)

        for name in ("lock-free", "deterministic"):
            tables = sgd_reference.Tables(*(x.astype(float) for x in (*first[:2], np.zeros(45), *first[2:])))
            ends = []
            for threads in (1, 2) if name == "deterministic" else (1,):
                factors = made()
                if name == "lock-free":
                    count = sgd.lock_free(rule, factors, rates, known, pairs, Alias.of(weight), 7, attempts=3)
                else:
                    schedule = Blocks(known, weight, np.random.default_rng(1))
                    count = sgd.by_blocks(
                        rule, factors, rates, schedule, np.random.default_rng(2), 7, attempts=3, num_threads=threads
                    )
                ends.append((factors, (count.correct, count.skipped)))
            if name == "lock-free":
                want = sgd_reference.walk(
                    rule, tables, rates, known, pairs, np.arange(45), Alias.of(weight), 7, given.nnz, 3
                )
            else:
                want = sgd_reference.by_blocks(rule, tables, rates, schedule, np.random.default_rng(2), 7, 1, 3)
            factors, got = ends[0]
            gap = max(
                float(np.abs(factors.user[:, :24] - tables.user).max()),
                float(np.abs(factors.item[:, :24] - tables.item).max()),
            )
            if got != want or not gap <= TOLERANCE:
                raise GateError(
                    f"{rule}, {name}: expected the reference's steps within {TOLERANCE:g}, got {gap:.2g} and {got}"
                )
            if any(not np.array_equal(factors.user, other.user) for other, _ in ends):
                raise GateError(f"{rule}, {name}: expected the same bits at 1 and 2 threads, got others")
            worst = max(worst, gap)
    return worst


def negatives(known: Known, seed: int) -> int:
    """Draw verified negatives of all users; return how many.

    Raises:
        GateError: one is known, or the tiers differ.
    """
    users = np.tile(np.arange(known.num_users, dtype=np.int32), 20)
    count = np.bincount(known.col, minlength=known.num_items).astype(float)
    for table in (None, Alias.of(count)):
        found = draw(known, users, 5, seed, table=table)
        if known.has(users, np.maximum(found, 0))[found >= 0].any():
            raise GateError("negatives: expected none that is known, got some")
        if not np.array_equal(found[:2000], draw(known, users[:2000], 5, seed, table=table, backend="reference")):
            raise GateError("negatives: expected the reference's draws, got others")
    return 2 * 5 * len(users)


class _Vectors:
    def __init__(self, model: Any) -> None:
        self._model = model

    def scores(self, userids: Any) -> Any:
        return np.asarray(self._model.user_factors[userids] @ self._model.item_factors.T)


def quality(seeds: int = 5, num_threads: int = 1) -> dict[str, list[float]]:
    """Train the peer and this package alike on planted data; return NDCG@20 on held-out likes, by name and seed.

    The same law of negatives, start, learning rate, L2 and number of epochs.

    Raises:
        GateError: a mean is lower than the peer's by more than `QUALITY` and the noise of the seeds.
    """
    world = low_rank(4000, 1500, density=0.04, seed=1)
    split = ratio(world.interactions, validation=0.0, test=0.2, seed=0)
    train, test = split.train.matrix, split.test.matrix
    found: dict[str, list[float]] = {}

    def keep(name: str, model: Any) -> None:
        found.setdefault(name, []).append(evaluate(model, train, test, ["ndcg@20"], num_threads=1)["ndcg@20"])

    for seed in range(seeds):
        if has_peer():
            from implicit.cpu.bpr import BayesianPersonalizedRanking

            peer = BayesianPersonalizedRanking(
                64, RATE, L2, iterations=EPOCHS, num_threads=num_threads, random_state=seed
            )
            with threadpool_limits(1, "blas"):
                peer.fit(sp.csr_matrix(train), show_progress=False)
            keep(PEER, _Vectors(peer))
        sampler = {"name": "popularity", "on_known": "skip"}
        for mode in ("lock-free", "deterministic"):
            keep(
                mode,
                MatrixFactorization(64, "bpr", sampler, RATE, L2, EPOCHS, num_threads, seed, mode).fit(train, False),
            )
    if PEER in found:
        for mode in ("lock-free", "deterministic"):
            _compare(mode, np.array(found[mode]), np.array(found[PEER]))
    return found


def _compare(mode: str, own: Any, peer: Any) -> None:
    """Refuse a mean that is lower than the peer's by more than `QUALITY` and two standard errors."""
    error = np.sqrt((own.var(ddof=1) + peer.var(ddof=1)) / len(own)) if len(own) > 1 else QUALITY * peer.mean()
    least = (1 - QUALITY) * peer.mean() - 2 * error
    if not own.mean() >= least:
        raise GateError(f"bpr, {mode}: expected NDCG@20 of at least {least:.4f}, got {own.mean():.4f}")

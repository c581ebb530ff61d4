"""Samplers that trade the hardness of a negative against the probability that it is a false negative."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit

from graphnoise.checks import integer, real
from graphnoise.resources import check_memory
from recsys.samplers.base import Ints, Sampler
from recsys.samplers.hard import DNS, pick

# Candidates that are scored at once.
MAX_CANDIDATES = 1 << 20


class AHNS(DNS):
    r"""Adaptive hardness: of N uniform draws the one nearest to a target that falls as the positive's score rises.

    argmin_j |R_uj - beta (R_ui + alpha)^(power + 1)|; with power below -1 a weak positive gets hard negatives and a
    strong one easy ones. R_ui + alpha is clipped at 1e-3 from below, where the published rule is undefined.

    Args:
        candidates: N.
        alpha: Shift of the positive's score.
        beta: Scale of the target.
        power: p.
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = AHNS().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[1, 1], [0, 0]]

    Source: Lai et al., Adaptive hardness negative sampling for collaborative filtering, AAAI 2024, equation 8.
    """

    name = "ahns"
    needs_items = True

    def __init__(
        self,
        candidates: int = 32,
        alpha: float = 1.0,
        beta: float = 0.1,
        power: float = -2.0,
        *,
        verify: bool = True,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(candidates, verify=verify, attempts=attempts, num_threads=num_threads)
        self.alpha, self.beta, self.power = real("alpha", alpha), real("beta", beta), real("power", power)

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        candidates, scores = self._scored_candidates(users, k, rng)
        positive = self._scores(users, items[:, None])[:, :, None].astype(np.float64)
        target = self.beta * np.maximum(positive + self.alpha, 1e-3) ** (self.power + 1)
        return pick(candidates, np.abs(scores - target).argmin(-1))


class BNS(DNS):
    r"""Bayesian negative sampling: of N uniform draws the one with the least expected risk.

    With F the share of a user's items that score below j (estimated on `reference` uniform items) and t = n_j / users
    the probability that j is a like, the probability of a true negative is
    unbias = (1 - F)(1 - t) / (1 - F - t + 2 F t), and the pick is argmin info · (1 - (1 + weight) unbias) with
    info = 1 - s(R_ui - R_uj), the size of the step.

    Args:
        candidates: N.
        weight: Weight lambda of a true negative, at least 0.
        reference: Number of items on which F is estimated.
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = BNS().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[5, 5], [5, 5]]

    Source: Liu and Wang, Bayesian negative sampling for recommendation, ICDE 2023, section III.
    """

    name = "bns"
    needs_items = True

    def __init__(
        self,
        candidates: int = 5,
        weight: float = 5.0,
        reference: int = 100,
        *,
        verify: bool = True,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(candidates, verify=verify, attempts=attempts, num_threads=num_threads)
        self.weight, self.reference = real("weight", weight, 0.0), integer("reference", reference, 1)
        self._like: NDArray[np.float64] = np.zeros(0)

    def _prepare(self, matrix: sp.csr_array) -> None:
        self._like = np.bincount(matrix.indices, minlength=matrix.shape[1]) / max(matrix.shape[0], 1)

    @staticmethod
    def unbias(F: Any, like: Any) -> Any:
        """Return the probability of a true negative; 1/2 if both signals contradict each other completely."""
        true, false = (1 - F) * (1 - like), F * like
        return np.divide(true, true + false, out=np.full(np.shape(true), 0.5), where=true + false > 0)

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        candidates, scores = self._scored_candidates(users, k, rng)
        reference = np.sort(self._scores(users, self._uniform(users, self.reference, rng)), axis=1)
        flat = scores.reshape(len(users), -1)
        F = (reference[:, None, :] < flat[:, :, None]).mean(-1).reshape(scores.shape)
        info = expit(scores - self._scores(users, items[:, None])[:, :, None])
        risk = info * (1 - (1 + self.weight) * self.unbias(F, self._like[np.maximum(candidates, 0)]))
        return pick(candidates, risk.argmin(-1))


class _MemorySampler(Sampler):
    """A sampler with a table of items per user, recomputed by `epoch`."""

    needs_scores = True

    def _prepare(self, matrix: sp.csr_array) -> None:
        self._memory: Ints | None = None

    def _rows(self, rng: np.random.Generator) -> Ints:
        if self._memory is None:
            self.epoch(0, rng)
        assert self._memory is not None
        return self._memory

    def _user_batches(self, width: int) -> list[Ints]:
        """Return all users in batches with a bounded number of candidates."""
        count = self.known.num_users
        parts = min(max(1, count * width // MAX_CANDIDATES), max(1, count))
        return np.array_split(np.arange(count, dtype=np.int32), parts)


class SRNS(_MemorySampler):
    r"""Simplify and robustify: hard negatives with a varying score; the high score of a false negative is stable.

    Each user has a fixed pool of uniform candidates with their s(R) of the last `history` epochs, and a memory of
    `size` of them. In each epoch `size` further candidates join the memory, and `size` of all are kept, drawn without
    replacement by softmax(R / temperature). A draw is the item of the memory with the largest s(R_uj - R_ui) + a std_j,
    with std over the history and a = alpha min(1, epoch / warm_up). alpha = 0 selects the highest score in memory.

    Args:
        size: Size of the memory, and number of candidates that join it per epoch.
        alpha: Weight of the standard deviation.
        temperature: Temperature of the softmax.
        pool: Candidates per user.
        history: Epochs of the standard deviation, at least 2.
        warm_up: Epochs until a is alpha.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = SRNS().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[5, 5], [5, 5]]

    Source: Ding et al., Simplify and robustify negative sampling for implicit collaborative filtering, NeurIPS 2020.
    """

    name = "srns"
    needs_items = True

    def __init__(
        self,
        size: int = 20,
        alpha: float = 1.0,
        temperature: float = 1.0,
        pool: int = 200,
        history: int = 5,
        warm_up: int = 10,
        *,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(attempts=attempts, num_threads=num_threads)
        self.size, self.pool = integer("size", size, 1), integer("pool", pool, 1)
        self.alpha, self.temperature = real("alpha", alpha, 0.0), real("temperature", temperature, 1e-6)
        self.history, self.warm_up = integer("history", history, 2), integer("warm_up", warm_up, 1)

    def _prepare(self, matrix: sp.csr_array) -> None:
        super()._prepare(matrix)
        self._candidates: Ints = np.zeros((0, 0), np.int32)
        self._past: list[NDArray[np.float32]] = []
        self._epoch = 0

    def epoch(self, number: int, rng: np.random.Generator) -> None:
        """Score the pools, and update the memory."""
        users = np.arange(self.known.num_users, dtype=np.int32)
        each = (12.0 + 4 * self.history) * self.pool + 40.0 * self.size
        check_memory(f"pool and memory of {len(users)} users", each * len(users))
        if not len(self._candidates):
            self._candidates = self._uniform(users, self.pool, rng)
        scores = np.concatenate([self._scores(part, self._candidates[part]) for part in self._user_batches(self.pool)])
        self._past = [*self._past[1 - self.history :], expit(scores).astype(np.float32)]
        shape = (len(users), self.size)
        old = self._memory if self._memory is not None else rng.integers(0, self.pool, shape, dtype=np.int32)
        both = np.concatenate([old, rng.integers(0, self.pool, shape, dtype=np.int32)], axis=1)
        # The largest of score + Gumbel noise are a draw by softmax without replacement.
        perturbed = np.take_along_axis(scores, both.astype(np.int64), axis=1) / self.temperature + rng.gumbel(
            size=both.shape
        )
        selected = np.argsort(-perturbed, axis=1, kind="stable")[:, : self.size]
        self._memory, self._epoch = np.take_along_axis(both, selected, axis=1), number

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        places = self._rows(rng)[users].astype(np.int64)
        candidates = np.take_along_axis(self._candidates[users], places, axis=1)
        gain = expit(self._scores(users, candidates) - self._scores(users, items[:, None]))
        weight = self.alpha * min(1.0, self._epoch / self.warm_up)
        if weight > 0 and len(self._past) > 1:
            past = np.stack([np.take_along_axis(scores[users], places, axis=1) for scores in self._past])
            gain = gain + weight * past.std(axis=0)
        gain = np.where(candidates < 0, -np.inf, gain)
        # The k best; if the memory is smaller than k, they repeat.
        best = np.argsort(-gain, axis=1, kind="stable")[:, : min(k, self.size)]
        chosen = np.take_along_axis(candidates, best, axis=1)
        return np.ascontiguousarray(np.resize(chosen.T, (k, len(users))).T)


class AdaSIR(_MemorySampler):
    r"""Importance resampling: a pool per user, drawn by softmax(score - log q) from uniform candidates.

    In each epoch `candidates` uniform draws per user are resampled, with replacement, by softmax(R / temperature), into
    `pool` items; each entry of the old pool is replaced with probability 1/2. A draw is a random entry of the pool.

    Args:
        candidates: Draws that are resampled.
        pool: Size of the pool.
        temperature: Temperature of the softmax.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = AdaSIR().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[1, 5], [5, 5]]

    Source: Chen et al., Learning recommenders for implicit feedback with importance resampling, WWW 2022.
    """

    name = "adasir"

    def __init__(
        self,
        candidates: int = 200,
        pool: int = 50,
        temperature: float = 1.0,
        *,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(attempts=attempts, num_threads=num_threads)
        self.candidates, self.pool = integer("candidates", candidates, 1), integer("pool", pool, 1)
        self.temperature = real("temperature", temperature, 1e-6)

    def epoch(self, number: int, rng: np.random.Generator) -> None:
        """Resample half of each pool."""
        check_memory(f"pools of {self.known.num_users} users", 16.0 * self.known.num_users * self.pool)
        fresh = []
        for users in self._user_batches(self.candidates):
            candidates = self._uniform(users, self.candidates, rng)
            scores = self._scores(users, candidates) / self.temperature
            scores = np.where(candidates < 0, 0.0, scores)
            mass = np.cumsum(np.exp(scores - scores.max(1, keepdims=True)), axis=1)
            target = rng.random((len(users), self.pool)) * mass[:, -1:]
            # Rows ascend and are shifted by 1 each, so that one search over their concatenation finds all positions.
            shift = np.arange(len(users))[:, None]
            rows = (mass / mass[:, -1:] + shift).ravel()
            place = np.searchsorted(rows, (target / mass[:, -1:] + shift).ravel(), side="right").reshape(target.shape)
            place = np.minimum(place - shift * self.candidates, self.candidates - 1)
            fresh.append(np.take_along_axis(candidates, place, axis=1))
        new = np.concatenate(fresh)
        if self._memory is not None:
            new = np.where(rng.random(new.shape) < 0.5, new, self._memory)
        self._memory = new

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        rows = self._rows(rng)[users]
        return np.take_along_axis(rows, rng.integers(0, self.pool, (len(users), k)), axis=1)


class InBatch(Sampler):
    r"""In-batch negatives: the positives of other users in the same batch, q_j ~ n_j.

    A known positive of the user is redrawn up to `attempts` times; then the result is -1. For the objective "softmax",
    `probabilities` returns q for the logQ correction.

    Args:
        verify: Reject known positives.
        attempts: Draws before -1.

    Example:
        >>> sampler = InBatch().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[1, 1], [0, 0]]

    Source: Yi et al., Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys 2019.
    """

    name = "in-batch"
    needs_items = True

    def __init__(self, *, verify: bool = True, attempts: int = 16) -> None:
        super().__init__(verify=verify, attempts=attempts)
        self._distribution: NDArray[np.float64] = np.zeros(0)

    def _prepare(self, matrix: sp.csr_array) -> None:
        count = np.bincount(matrix.indices, minlength=matrix.shape[1])
        self._distribution = count / max(count.sum(), 1)

    def probabilities(self) -> NDArray[np.float64]:
        """Return q_j, the share of an item among all positives, float64 [items]."""
        return self._distribution

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        out = items[rng.integers(0, len(items), (len(users), k))]
        if not self.verify:
            return out
        wrong = self.known.has(users, out)
        for _ in range(1, self.attempts):
            if not wrong.any():
                break
            out[wrong] = items[rng.integers(0, len(items), int(wrong.sum()))]
            wrong = self.known.has(users, out)
        return np.where(wrong, -1, out).astype(np.int32)

"""Hard-negative samplers; high-scoring negatives are more often false negatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, integer, real
from recsys.samplers.base import Ints, Sampler


def pick(candidates: Ints, index: NDArray[np.int64]) -> Ints:
    """Return one of the candidates [..., n] per position [...]."""
    return np.take_along_axis(candidates, index[..., None], axis=-1)[..., 0]


class DNS(Sampler):
    r"""Dynamic negative sampling: of `candidates` uniform draws, the one with the highest score.

    Args:
        candidates: N.
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = DNS().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[5, 5], [5, 5]]

    Source: Zhang et al., Optimizing top-n collaborative filtering via dynamic negative item sampling, SIGIR 2013.
    """

    name = "dns"
    needs_scores = True

    def __init__(self, candidates: int = 10, *, verify: bool = True, attempts: int = 16, num_threads: int = 1) -> None:
        super().__init__(verify=verify, attempts=attempts, num_threads=num_threads)
        self.candidates = integer("candidates", candidates, 1)

    def _scored_candidates(self, users: Ints, k: int, rng: np.random.Generator) -> tuple[Ints, NDArray[Any]]:
        """Return candidates and their scores, [B, k, candidates]."""
        candidates = self._uniform(users, k * self.candidates, rng)
        shape = (len(users), k, self.candidates)
        return candidates.reshape(shape), self._scores(users, candidates).reshape(shape)

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        candidates, scores = self._scored_candidates(users, k, rng)
        return pick(candidates, scores.argmax(-1))


class DNSMN(DNS):
    r"""DNS(M, N): the M highest of N uniform draws; a larger M softens the hardest one. There are two readings.

    Args:
        top: M, at most `candidates`. M = 1 is DNS, M = N is uniform.
        candidates: N.
        reading: "one": one of the M at random, for each negative (as in the code of AHNS). "all": all M are the
            negatives of a positive, so that `sample` requires k = M (as in the authors' code).
        verify: Reject known positives.
        attempts: Draws before the exact one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = DNSMN().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[5, 5], [5, 5]]

    Source: Shi et al., On the theories behind hard negative sampling for recommendation, WWW 2023, section 4.
    """

    name = "dns-mn"

    def __init__(
        self,
        top: int = 2,
        candidates: int = 200,
        reading: str = "one",
        *,
        verify: bool = True,
        attempts: int = 16,
        num_threads: int = 1,
    ) -> None:
        super().__init__(candidates, verify=verify, attempts=attempts, num_threads=num_threads)
        self.top = integer("top", top, 1, self.candidates)
        self.reading = choice("reading", reading, ("one", "all"))

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        if self.reading == "all" and k != self.top:
            fail("k", f"{self.top} negatives, which the reading 'all' of DNS(M, N) gives", k)
        candidates, scores = self._scored_candidates(users, 1 if self.reading == "all" else k, rng)
        best = np.argsort(-scores, axis=-1, kind="stable")[..., : self.top]
        if self.reading == "all":
            return np.ascontiguousarray(np.take_along_axis(candidates, best, axis=-1)[:, 0])
        chosen = rng.integers(0, self.top, best.shape[:2])
        return pick(candidates, np.take_along_axis(best, chosen[..., None], axis=-1)[..., 0])


class WARP(Sampler):
    r"""WARP: uniform draws until one scores above the positive's score less 1; at most `tries`.

    A drawn known positive counts as a try. `weights` then holds log(max(1, floor((N - 1) / tries taken))), at most 10,
    per negative: few tries indicate a low rank of the positive. The result is -1 if no try succeeds. For the objective
    "warp".

    Args:
        tries: T.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = WARP().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> sampler = sampler.bind(lambda users, items: items / 6)
        >>> sampler.sample([0, 1], 2, rng=0, items=[0, 1]).tolist()
        [[5, 2], [3, 5]]

    Source: Weston, Bengio and Usunier, IJCAI 2011, section 3; the cap and the counting as in LightFM.
    """

    name = "warp"
    needs_scores = True
    needs_items = True

    def __init__(self, tries: int = 10, *, num_threads: int = 1) -> None:
        super().__init__(num_threads=num_threads)
        self.tries = integer("tries", tries, 1)

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        candidates = self._uniform(users, k * self.tries, rng, redraw=False)
        shape = (len(users), k, self.tries)
        margin = self._scores(users, items[:, None])[:, :, None] - 1
        violates = (self._scores(users, candidates).reshape(shape) > margin) & (candidates.reshape(shape) >= 0)
        first = violates.argmax(-1)
        ranks = np.floor((self.known.num_items - 1) / (first + 1))
        self.weights = np.minimum(np.log(np.maximum(1.0, ranks)), 10.0)
        return np.where(violates.any(-1), pick(candidates.reshape(shape), first), -1).astype(np.int32)


class AOBPR(Sampler):
    r"""Adaptive oversampling: the r-th item along one factor of the user, r ~ e^(-r / scale).

    Factor f is drawn with probability ~ |U_uf| sd_f, with sd_f the standard deviation of V_.f, and items are ranked by
    sign(U_uf) V_.f. Items are ranked again in each epoch and after N log N draws. A known positive is redrawn, and
    replaced by a uniform draw after `attempts` draws.

    Args:
        scale: Mean lambda, in ranks.
        attempts: Draws before the uniform one.
        num_threads: Threads; 0 is one per core.

    Example:
        >>> sampler = AOBPR().fit(sp.csr_array([[1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]]))
        >>> factors = np.ones((2, 1)), np.arange(6.0)[:, None]
        >>> sampler = sampler.bind(lambda users, items: items, lambda: factors)
        >>> sampler.epoch(0, np.random.default_rng(0))
        >>> sampler.sample([0, 1], 2, rng=0).tolist()
        [[1, 5], [4, 4]]

    Source: Rendle and Freudenthaler, Improving pairwise learning for item recommendation from implicit feedback,
        WSDM 2014, section 5.
    """

    name = "aobpr"
    needs_scores = True

    def __init__(self, scale: float = 200.0, *, attempts: int = 16, num_threads: int = 1) -> None:
        super().__init__(attempts=attempts, num_threads=num_threads)
        self.scale = real("scale", scale, 1e-3)
        self._order: NDArray[Any] | None = None
        self._spread: NDArray[Any] = np.zeros(0)
        self._left = 0

    def _prepare(self, matrix: sp.csr_array) -> None:
        # The order of another model's items is not valid.
        self._order = None

    def epoch(self, number: int, rng: np.random.Generator) -> None:
        """Rank the items again before the next draw."""
        self._order = None

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        if self._factors is None:
            fail("sampler", "the factors of a model, sampler.bind(scorer, factors), which 'aobpr' needs", "none")
        vectors, table = self._factors()
        count = len(table)
        if self._order is None or self._left <= 0:
            self._order = np.argsort(-table, axis=0, kind="stable").astype(np.int32)
            self._spread, self._left = table.std(axis=0), int(count * max(1.0, np.log(count)))
        self._left -= len(users) * k
        factors = vectors[users]
        mass = np.cumsum(np.abs(factors) * self._spread + 1e-30, axis=1)
        out = np.full((len(users), k), -1, np.int32)
        pending = np.ones(out.shape, bool)
        for _ in range(self.attempts):
            row = np.flatnonzero(pending.any(1))
            if not len(row):
                break
            target = rng.random((len(row), k)) * mass[row, -1:]
            factor = np.minimum((target[:, :, None] >= mass[row, None, :]).sum(-1), table.shape[1] - 1)
            rank = self._ranks(rng, (len(row), k), count)
            descending = np.take_along_axis(factors[row], factor, axis=1) < 0
            drawn = self._order[np.where(descending, count - 1 - rank, rank), factor]
            accepted = pending[row] & ~(self.known.has(users[row], drawn) & self.verify)
            out[row] = np.where(accepted, drawn, out[row])
            pending[row] &= ~accepted
        return np.where(pending, self._uniform(users, k, rng), out).astype(np.int32)

    def _ranks(self, rng: np.random.Generator, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
        """Draw ranks below `count` with probability ~ e^(-r / scale)."""
        total = -np.expm1(-count / self.scale)
        ranks = np.floor(-self.scale * np.log1p(-rng.random(shape) * total)).astype(np.int64)
        return np.asarray(np.minimum(ranks, count - 1))

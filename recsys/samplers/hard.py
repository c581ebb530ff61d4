"""Laws that look for negatives with high scores. Such a negative more often is a like that was not voted.

Source: named at each class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise.checks import choice, fail, integer, real
from recsys.samplers.base import Ints, Sampler


def pick(candidates: Ints, place: NDArray[np.int64]) -> Ints:
    """Return the candidates [..., n] at a place each [...]."""
    return np.take_along_axis(candidates, place[..., None], axis=-1)[..., 0]


class DNS(Sampler):
    r"""Dynamic negative sampling: of `candidates` uniform draws, the one with the highest score.

    Args:
        candidates: N.
        verify: Refuse known positives.
        attempts: Draws before the exact one.
        num_threads: Threads, 0 for all cores.

    Source: Zhang et al., Optimizing top-n collaborative filtering via dynamic negative item sampling, SIGIR 2013.
    """

    name = "dns"
    needs_scores = True

    def __init__(self, candidates: int = 10, *, verify: bool = True, attempts: int = 16, num_threads: int = 1) -> None:
        super().__init__(verify=verify, attempts=attempts, num_threads=num_threads)
        self.candidates = integer("candidates", candidates, 1)

    def _drawn(self, users: Ints, k: int, rng: np.random.Generator) -> tuple[Ints, NDArray[Any]]:
        """Return candidates and their scores, [B, k, candidates]."""
        found = self._uniform(users, k * self.candidates, rng)
        shape = (len(users), k, self.candidates)
        return found.reshape(shape), self._scores(users, found).reshape(shape)

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        found, scores = self._drawn(users, k, rng)
        return pick(found, scores.argmax(-1))


class DNSMN(DNS):
    r"""DNS(M, N): the M highest of N uniform draws; a larger M dilutes the hardest one. There are two readings.

    Args:
        top: M, at most `candidates`. M = 1 is DNS, M = N is uniform.
        candidates: N.
        reading: "one": one of the M at random, for each negative (as in the code of AHNS). "all": all M are the
            negatives of a positive, so that `sample` must be asked for k = M (as in the authors' code).
        verify: Refuse known positives.
        attempts: Draws before the exact one.
        num_threads: Threads, 0 for all cores.

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
        found, scores = self._drawn(users, 1 if self.reading == "all" else k, rng)
        best = np.argsort(-scores, axis=-1, kind="stable")[..., : self.top]
        if self.reading == "all":
            return np.ascontiguousarray(np.take_along_axis(found, best, axis=-1)[:, 0])
        chosen = rng.integers(0, self.top, best.shape[:2])
        return pick(found, np.take_along_axis(best, chosen[..., None], axis=-1)[..., 0])


class WARP(Sampler):
    r"""WARP: uniform draws until one scores above the positive's score less 1; at most `tries`.

    A known positive that is drawn counts as a try. `weights` then holds log(max(1, floor((N - 1) / tries taken))), at
    most 10, for each negative: found soon, the positive stands low. None found gives -1. It belongs to the objective
    "warp".

    Args:
        tries: T.
        num_threads: Threads, 0 for all cores.

    Source: Weston, Bengio and Usunier, IJCAI 2011, section 3; the cap and the way of counting as in LightFM.
    """

    name = "warp"
    needs_scores = True
    needs_items = True

    def __init__(self, tries: int = 10, *, num_threads: int = 1) -> None:
        super().__init__(num_threads=num_threads)
        self.tries = integer("tries", tries, 1)

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        assert items is not None
        found = self._uniform(users, k * self.tries, rng, redraw=False)
        shape = (len(users), k, self.tries)
        bar = self._scores(users, items[:, None])[:, :, None] - 1
        violates = (self._scores(users, found).reshape(shape) > bar) & (found.reshape(shape) >= 0)
        first = violates.argmax(-1)
        ranks = np.floor((self.known.num_items - 1) / (first + 1))
        self.weights = np.minimum(np.log(np.maximum(1.0, ranks)), 10.0)
        return np.where(violates.any(-1), pick(found.reshape(shape), first), -1).astype(np.int32)


class AOBPR(Sampler):
    r"""Adaptive oversampling: the r-th item along one factor of the user, r ~ e^(-r / scale).

    Factor f is drawn with probability ~ |U_uf| sd_f, with sd_f the standard deviation of V_.f, and items are ranked by
    sign(U_uf) V_.f. Items are ranked anew at each epoch and after N log N draws. A known positive is drawn again, and
    after `attempts` draws replaced by a uniform one.

    Args:
        scale: lambda, in ranks.
        attempts: Draws by the law.
        num_threads: Threads, 0 for all cores.

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

    def _prepare(self, matrix: Any) -> None:
        # Of another model's items.
        self._order = None

    def epoch(self, number: int, rng: np.random.Generator) -> None:
        """Rank the items anew before the next draw."""
        self._order = None

    def _draw(self, users: Ints, k: int, rng: np.random.Generator, items: Ints | None) -> Ints:
        if self._factors is None:
            fail("sampler", "the factors of a model, sampler.bind(scorer, factors), which 'aobpr' looks at", "none")
        vectors, table = self._factors()
        count = len(table)
        if self._order is None or self._left <= 0:
            self._order = np.argsort(-table, axis=0, kind="stable").astype(np.int32)
            self._spread, self._left = table.std(axis=0), int(count * max(1.0, np.log(count)))
        self._left -= len(users) * k
        own = vectors[users]
        mass = np.cumsum(np.abs(own) * self._spread + 1e-30, axis=1)
        out = np.full((len(users), k), -1, np.int32)
        open_ = np.ones(out.shape, bool)
        for _ in range(self.attempts):
            row = np.flatnonzero(open_.any(1))
            if not len(row):
                break
            aim = rng.random((len(row), k)) * mass[row, -1:]
            factor = np.minimum((aim[:, :, None] >= mass[row, None, :]).sum(-1), table.shape[1] - 1)
            rank = self._ranks(rng, (len(row), k), count)
            falls = np.take_along_axis(own[row], factor, axis=1) < 0
            drawn = self._order[np.where(falls, count - 1 - rank, rank), factor]
            fresh = open_[row] & ~(self.known.has(users[row], drawn) & self.verify)
            out[row] = np.where(fresh, drawn, out[row])
            open_[row] &= ~fresh
        return np.where(open_, self._uniform(users, k, rng), out).astype(np.int32)

    def _ranks(self, rng: np.random.Generator, shape: tuple[int, int], count: int) -> NDArray[np.int64]:
        """Draw ranks below `count` with probability ~ e^(-r / scale)."""
        most = -np.expm1(-count / self.scale)
        found = np.floor(-self.scale * np.log1p(-rng.random(shape) * most)).astype(np.int64)
        return np.asarray(np.minimum(found, count - 1))

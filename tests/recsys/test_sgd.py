"""Single steps in C++ against the same steps in NumPy: every rule, every instruction set, both schedules."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise.errors import InputError
from recsys.kernels import sgd
from recsys.kernels.negatives import Alias, Known
from recsys.kernels.negatives.reference import words
from recsys.kernels.sgd import (
    Blocks,
    Factors,
    Rates,
    by_blocks,
    instruction_sets,
    lock_free,
    padded,
    pairs_of,
    sigmoids,
)
from recsys.kernels.sgd import reference as sgd_reference
from recsys.kernels.sgd.reference import Tables

X = sp.random_array((37, 53), density=0.15, format="csr", rng=2).sign()
KNOWN = Known.of(X)
COUNT = np.bincount(X.indices, minlength=53) + 1.0
RATES = Rates(0.05, 0.01, 0.02, 0.03, 0.04, 0.05, 0.3)


def both(width):
    rng = np.random.default_rng(width)
    user, item, left, right = (rng.normal(0, 0.3, (rows, width)).astype(np.float32) for rows in (37, 53, 37, 53))
    tables = Tables(*(np.array(x, float) for x in (user, item, np.zeros(53), left, right)))
    return Factors(padded(user), padded(item), np.zeros(53, np.float32), padded(left), padded(right)), tables


def gap(factors, tables):
    names = ("user", "item", "flip_user", "flip_item")
    assert all(not getattr(factors, n)[:, tables.user.shape[1] :].any() for n in names), "padding stays 0"
    found = [getattr(factors, n)[:, : tables.user.shape[1]] - getattr(tables, n) for n in names]
    return max(float(np.abs(d).max()) for d in [*found, factors.bias - tables.bias])


@pytest.mark.parametrize("rule", sorted(sgd.RULES))
@pytest.mark.parametrize("width", [5, 16, 40, 64, 128])
@pytest.mark.parametrize("which", instruction_sets())
def test_steps_without_locks_are_those_of_the_reference(rule, width, which):
    factors, tables = both(width)
    table = Alias.of(COUNT)
    got = lock_free(rule, factors, RATES, KNOWN, pairs_of(KNOWN), table, 77, attempts=3, instruction_set=which)
    want = sgd_reference.walk(
        rule, tables, RATES, KNOWN, pairs_of(KNOWN), np.arange(53), table, 77, X.nnz, 3
    )  # fmt: skip
    assert (got.correct, got.skipped) == want
    assert gap(factors, tables) < 2e-5


def test_chunks_of_pairs_get_steps_in_proportion_to_their_size():
    factors, tables = both(16)
    got = lock_free("bpr", factors, RATES, KNOWN, pairs_of(KNOWN), None, 5, each=3, attempts=2, chunks=3)
    want, ends = np.zeros(2, int), np.arange(4) * X.nnz // 3
    for k in range(3):
        pairs, key = pairs_of(KNOWN)[ends[k] : ends[k + 1]], int(words(5, np.array([k], np.uint64))[0])
        want += sgd_reference.walk("bpr", tables, RATES, KNOWN, pairs, np.arange(53), None, key, 3 * len(pairs), 2)
    assert (got.drawn, got.correct, got.skipped) == (3 * X.nnz, *want)
    assert gap(factors, tables) < 2e-5


@pytest.mark.parametrize("rule", sorted(sgd.RULES))
@pytest.mark.parametrize("weight", [None, COUNT])
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_are_those_of_the_reference(rule, weight, threads):
    factors, tables = both(20)
    schedule = Blocks(KNOWN, weight, np.random.default_rng(4))
    got = by_blocks(
        rule, factors, RATES, schedule, np.random.default_rng(5), 9, each=2, attempts=2, num_threads=threads
    )
    want = sgd_reference.by_blocks(rule, tables, RATES, schedule, np.random.default_rng(5), 9, 2, 2)
    assert (got.drawn, got.correct, got.skipped) == (2 * X.nnz, *want)
    assert gap(factors, tables) < 2e-5


@pytest.mark.parametrize("rule", sorted(sgd.RULES))
@pytest.mark.parametrize("width", [24, 64])
def test_no_bit_depends_on_the_instruction_set(rule, width):
    found = []
    for which in instruction_sets():
        factors, _ = both(width)
        by_blocks(
            rule, factors, RATES, Blocks(KNOWN, COUNT, np.random.default_rng(4)), np.random.default_rng(5), 9,
            each=20, instruction_set=which,
        )  # fmt: skip
        found.append([factors.user, factors.item, factors.bias, factors.flip_user, factors.flip_item])
    assert all(np.array_equal(x, y) for other in found[1:] for x, y in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", ["baseline", "v9"])
def test_the_environment_names_the_instruction_set(name):
    code = "from recsys.kernels import sgd; print(sgd._selected(None))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"GRAPHNOISE_ISA": name}
    )
    assert run.stdout == "baseline\n" if name == "baseline" else "GRAPHNOISE_ISA: expected one of" in run.stderr


@pytest.mark.parametrize(("items", "count"), [(5, 1), (40, 2), (128, 8), (3000, 8)])
def test_blocks_of_items_are_not_too_small_to_draw_from(items, count):
    assert Blocks(Known.of(sp.csr_array(np.ones((9, items)))), None, np.random.default_rng(0)).count == count


def test_every_pair_is_in_one_block_and_blocks_are_of_like_degree():
    rng = np.random.default_rng(0)
    M = Known.of(sp.csr_array((rng.random((400, 300)) < 0.6 * rng.random((400, 1)) ** 4 + 0.01).astype(np.float32)))
    schedule = Blocks(M, None, rng)
    assert sorted(schedule.user.tolist()) == list(range(400))
    sizes = np.add.reduceat(np.diff(M.rowptr)[schedule.user], schedule.user_start[:-1])
    assert sizes.max() < 1.1 * sizes.min()


@pytest.mark.parametrize("pairs", [1, X.nnz // 2])
def test_no_bit_depends_on_how_many_pairs_are_copied_at_a_time(pairs, monkeypatch):
    found = []
    for most in (pairs, sgd.MAX_GROUPED):
        monkeypatch.setattr(sgd, "MAX_GROUPED", most)
        factors, _ = both(24)
        schedule = Blocks(KNOWN, COUNT, np.random.default_rng(4))
        count = by_blocks("nbpo", factors, RATES, schedule, np.random.default_rng(5), 9, num_threads=2)
        found.append([count, factors.user.tobytes(), factors.item.tobytes(), factors.bias.tobytes()])
    assert found[0] == found[1]


def test_more_threads_take_the_same_draws():
    """Without locks the factors may differ, the counts of skipped draws may not."""
    counts = []
    for threads in (1, 2):
        factors, _ = both(16)
        counts.append(
            lock_free(
                "bpr", factors, RATES, KNOWN, pairs_of(KNOWN), None, 5,
                each=200, attempts=1, num_threads=threads, chunks=4,
            )
        )  # fmt: skip
    assert counts[0].skipped == counts[1].skipped > 0


@pytest.mark.parametrize("which", instruction_sets())
def test_the_sigmoid_is_within_its_bound(which):
    x = np.concatenate([np.linspace(-90, 90, 2_000_001), [0, 1e4, -1e4, 1e38, -1e38, np.inf, -np.inf]]).astype(
        np.float32
    )
    exact = 1 / (1 + np.exp(-np.clip(x.astype(np.float64), -700, 700)))
    assert np.abs(sigmoids(x, which) - exact).max() < 2e-7
    assert np.isnan(sigmoids(np.array([np.nan], np.float32), which)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": np.zeros((37, 16), np.float64)}, "user: expected float32 rows"),
        ({"item": np.zeros((53, 32), np.float32)}, "item: expected float32 rows"),
        ({"flip_user": None}, "flip_user: expected factors"),
    ],
)
def test_bad_factors_are_refused(change, words):
    factors, _ = both(16)
    for name, value in change.items():
        setattr(factors, name, value)
    with pytest.raises(InputError, match=words):
        lock_free("nbpo", factors, RATES, KNOWN, pairs_of(KNOWN), None, 0)

"""Ranges, the search over them, and the methods that are searched."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import InputError
from graphnoise.bench import options, registry
from recsys.bench import methods
from recsys.bench.search import choice, integer, log_real, real, search

UNIT = st.floats(0, 1, exclude_max=True)


@given(UNIT)
def test_values_lie_in_their_range(u):
    assert 0.5 <= log_real(0.5, 8)(u) <= 8
    assert real(2, 3, zero=0.3)(u) == 0 if u < 0.3 else 2 <= real(2, 3, zero=0.3)(u) <= 3
    assert (integer(5, 900, none=0.2)(u) is None) == (u >= 0.8)
    assert integer(5, 900)(u) in range(5, 901)
    assert choice("a", "b", "c")(u) == "abc"[int(3 * u)]
    # Evenly by logarithm.
    assert log_real(1e-2, 1e2)(0.5) == 1.0
    assert [integer(1, 100)(u) for u in (0, 0.5, 1 - 1e-9)] == [1, 10, 100]


def run(trials, seed, score):
    seen = []
    best = search({"x": real(0, 1), "y": real(0, 1)}, trials, seed, lambda p: seen.append(p) or score(p))
    return best, seen


def distance(p):
    return -math.hypot(p["x"] - 0.2, p["y"] - 0.9)


@pytest.mark.parametrize("trials", [1, 2, 7, 20])
def test_every_search_uses_its_budget_and_returns_its_best(trials):
    best, seen = run(trials, [3], distance)
    assert len(seen) == trials
    assert best == int(np.argmax([distance(p) for p in seen]))
    # The first of equal ones.
    assert run(trials, [0], lambda p: 1.0)[0] == 0


def test_a_seed_determines_the_search():
    assert run(12, [4, 1], distance)[1] == run(12, [4, 1], distance)[1]
    assert run(12, [4, 1], distance)[1] != run(12, [5, 1], distance)[1]


def test_later_trials_are_closer_to_the_best():
    ratios = []
    for seed in range(20):
        gaps = [-distance(p) for p in run(40, [seed], distance)[1]]
        ratios.append(np.mean(gaps[20:]) / np.mean(gaps[:20]))
    assert np.mean(ratios) < 0.75


def test_failed_trials_count_and_are_never_best():
    best, seen = run(10, [0], lambda p: None if p["x"] < 0.5 else distance(p))
    assert len(seen) == 10
    assert seen[best]["x"] >= 0.5
    assert run(10, [0], lambda p: None)[0] is None


def test_ctrl_c_ends_the_search():
    def interrupted(parameters):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(10, [0], interrupted)


def test_without_a_space_there_is_one_trial():
    seen = []
    assert search({}, 50, [0], lambda p: seen.append(p) or 1.0) == 0
    assert seen == [{}]


def test_a_search_starts_where_it_is_told():
    seen = []
    space = {"x": real(0, 1), "k": integer(5, 1000, none=0.2), "way": choice("a", "b"), "z": log_real(0.1, 9, zero=0.2)}
    for start in ({"x": 0.25, "k": 200, "way": "b", "z": 0.0}, {"x": 1.0, "k": None, "way": "a", "z": 9.0}):
        seen.clear()
        search(space, 5, [0], lambda p: seen.append(p) or 1.0, start)
        assert seen[0] == start
        assert len(seen) == 5


@given(UNIT)
def test_every_value_has_its_place(u):
    for values in (real(2, 3, zero=0.3), log_real(0.5, 8), integer(5, 900, none=0.2), choice("a", "b", "c")):
        assert values(values.place(values(u))) == values(u)
    assert [integer(5, 900).place(x) for x in (None, 4, 901, "5", True)] == [None] * 5
    assert [integer(5, 900, none=0.2)(integer(5, 900, none=0.2).place(x)) for x in (5, 900, None)] == [5, 900, None]


@pytest.mark.parametrize("name", registry.names("recommenders"))
def test_every_search_starts_at_the_defaults(name):
    method = registry.load("recommenders", name)
    start = method.start({})
    assert start.keys() == method.space.keys()
    assert all(values(values.place(start[key])) == start[key] for key, values in method.space.items())
    if method.plain and name not in ("bpr", "itemknn-plain", "popularity"):
        defaults = type(method.model({}, 0))()
        assert all(getattr(defaults, key) == value for key, value in start.items())


@pytest.mark.parametrize("name", registry.names("recommenders"))
def test_every_corner_of_every_space_is_a_model(name):
    method = registry.load("recommenders", name)
    for u in (0.0, 0.5, 1 - 1e-9):
        model = method.model({key: values(u) for key, values in method.space.items()}, seed=3)
        assert hasattr(model, "scores")


def parse(text):
    return methods.parse(options.parse("method", text))


def test_names_set_hyper_parameters():
    fixed = {"low_pass": 0, "core": "neighbourhood"}
    assert parse("linear:low_pass=0,core=neighbourhood") == (methods.LINEAR, fixed)
    method, fixed = parse("itemknn:neighbours=none")
    assert fixed == {"neighbours": None}
    assert set(method.searched(fixed)) == {"shrinkage"}
    assert methods.NBPO_OFFICIAL.model({"num_negatives": 3}, 0).num_negatives == 3
    assert methods.NBPO_CONSTANT.model({"flip_rate": 0.5, "factors": 4}, 0).objective_and_sampler()[0].flip_rate == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ease:regularization=-1", "ease: regularization: expected a number of at least"),
        ("popularity:x=1", "method popularity: expected no hyper-parameter"),
    ],
)
def test_bad_names_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)

"""Ranges and the search: what every place means, equal budgets, the same draws again."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import InputError
from recsys.bench import methods
from recsys.bench.spaces import One, Real, Whole, search

PLACES = st.floats(0, 1, exclude_max=True)


@given(PLACES)
def test_values_lie_in_their_range(place):
    assert 0.5 <= Real(0.5, 8, log=True).at(place) <= 8
    assert Real(2, 3, zero=0.3).at(place) == 0 if place < 0.3 else 2 <= Real(2, 3, zero=0.3).at(place) <= 3
    assert (Whole(5, 900, none=0.2).at(place) is None) == (place >= 0.8)
    assert Whole(5, 900).at(place) in range(5, 901)
    assert One("a", "b", "c").at(place) == "abc"[int(3 * place)]


def test_logarithms_are_even():
    assert Real(1e-2, 1e2, log=True).at(0.5) == 1.0
    assert [Whole(1, 100).at(p) for p in (0, 0.5, 1 - 1e-9)] == [1, 10, 100]


def run(trials, seed, score):
    seen = []
    best = search({"x": Real(0, 1), "y": Real(0, 1)}, trials, seed, lambda p: seen.append(p) or score(p))
    return best, seen


def distance(p):
    return -math.hypot(p["x"] - 0.2, p["y"] - 0.9)


@pytest.mark.parametrize("trials", [1, 2, 7, 20])
def test_every_search_uses_its_budget_and_returns_its_best(trials):
    best, seen = run(trials, [3], distance)
    assert len(seen) == trials
    assert best == int(np.argmax([distance(p) for p in seen]))


def test_a_seed_is_a_search():
    assert run(12, [4, 1], distance)[1] == run(12, [4, 1], distance)[1]
    assert run(12, [4, 1], distance)[1] != run(12, [5, 1], distance)[1]


def test_later_trials_look_around_the_best():
    gaps = []
    for seed in range(20):
        seen = run(40, [seed], distance)[1]
        half = [np.mean([-distance(p) for p in part]) for part in (seen[:20], seen[20:])]
        gaps.append(half[1] / half[0])
    assert np.mean(gaps) < 0.75


def test_failed_trials_count_and_are_never_best():
    best, seen = run(10, [0], lambda p: None if p["x"] < 0.5 else distance(p))
    assert len(seen) == 10
    assert seen[best]["x"] >= 0.5
    assert run(10, [0], lambda p: None)[0] is None


def test_without_a_space_there_is_one_trial():
    seen = []
    assert search({}, 50, [0], lambda p: seen.append(p) or 1.0) == 0
    assert seen == [{}]


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_corner_of_every_space_is_a_model(name):
    space = methods.space(name, {})
    for place in (0.0, 0.5, 1 - 1e-9):
        model = methods.build(name, {key: one.at(place) for key, one in space.items()}, seed=3)
        assert hasattr(model, "scores")


def test_names_set_hyper_parameters():
    assert methods.create("linear:low_pass=0,core=neighbourhood") == (
        "linear",
        {"low_pass": 0, "core": "neighbourhood"},
    )
    assert methods.create("itemknn:neighbours=none") == ("itemknn", {"neighbours": None})
    assert set(methods.space("itemknn", {"neighbours": None})) == {"shrinkage"}
    assert methods.build("nbpo-official", {"num_negatives": 3}, 0).num_negatives == 3
    assert methods.build("nbpo-constant", {"flip_rate": 0.5, "factors": 4}, 0).objective.flip_rate == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("itemknnn", "method: expected one of .*did you mean 'itemknn'"),
        ("ease:lambda=3", "method ease: expected one of regularization"),
        ("ease:regularization", "method ease: expected PARAMETER=VALUE"),
        ("ease:regularization=-1", "ease: regularization: expected a number of at least"),
        ("ease:regularization=1,regularization=2", "method ease: expected one value of regularization"),
        ("popularity:x=1", "method popularity: expected no hyper-parameters"),
    ],
)
def test_bad_names_are_said(text, message):
    with pytest.raises(InputError, match=message):
        methods.create(text)

"""Robust training of matrix factorization: contract of the methods on pairs, conventions, bad input."""

import functools

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import recsys
from graphnoise.checks import InputError
from graphnoise.robust import methods
from recsys.models.robust import RobustFactorization

METHODS = [name for name in methods.names() if not methods.load(name).needs_graph]


@functools.cache
def clicks():
    """Users and items in three blocks, with half of the pairs inside a block and a few outside."""
    rng = np.random.default_rng(0)
    blocks = np.kron(np.eye(3), np.ones((20, 15)))
    return sp.csr_array((rng.random(blocks.shape) < np.where(blocks > 0, 0.5, 0.03)).astype(np.float32))


@functools.cache
def fitted(name):
    return factorization(name).fit(clicks(), show_progress=False)


def factorization(name):
    # The rate is estimated by features of nodes otherwise; after a short warm-up hardly a click passes the threshold.
    settings = {"rate": 0.1} if "rate" in methods.load(name).defaults() else {}
    method = methods.create_method(name, **settings, **({"warm_up": 0.8} if name == "truncated-gce" else {}))
    return RobustFactorization(method, 8, iterations=40, batch_size=512)


def inside(model):
    """Return the share of recommended items that lie in the user's block."""
    users = np.arange(60)
    items, _ = model.recommend(users, clicks(), N=5)
    return float((items // 15 == users[:, None] // 20).mean())


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


def test_recommendations_are_of_the_block(name):
    # ELR holds on to what is learned first: that most pairs are no clicks. By chance it would be a third.
    least = 0.45 if name == "elr" else min(0.6, inside(fitted("ce")) - 0.1)
    assert inside(fitted(name)) > least


def test_the_same_seed_gives_the_same_vectors(name):
    again = factorization(name).fit(clicks(), show_progress=False)
    assert np.array_equal(again.user_factors, fitted(name).user_factors)


def test_vectors_are_finite_and_saved(name, tmp_path):
    model = fitted(name)
    assert all(np.isfinite(getattr(model, key)).all() for key in ("user_factors", "item_factors", "item_biases"))
    assert all(np.isfinite(model.history["loss"]))


def test_the_first_dimensions_of_nested_dropout_serve_alone():
    settings = {"factors": 8, "iterations": 60, "batch_size": 512}
    nested = methods.create_method("nested-dropout", scale=3.0)
    both = methods.create_method("nested-co-teaching", scale=3.0, rate=0.1)
    plain, first, second = (RobustFactorization(m, **settings).fit(clicks(), False) for m in ("ce", nested, both))
    assert min(inside(first.truncated(2)), inside(second.truncated(2))) > inside(plain.truncated(2)) + 0.1
    assert np.array_equal(first.truncated(8).user_factors, first.user_factors)
    # Of two networks, the mean of both scores.
    assert second.user_factors.shape == (60, 16)
    assert second.truncated(2).item_factors.shape == (45, 4)
    expected = first.user_factors[:, :2] @ first.item_factors[:, :2].T + first.item_biases
    np.testing.assert_allclose(first.truncated(2).scores(np.arange(60)), expected, rtol=1e-5)
    with pytest.raises(InputError, match="width: expected an integer from 1 to 8"):
        first.truncated(9)


def test_modes_of_the_caller_do_not_matter():
    expected = RobustFactorization("gce", 4, iterations=2).fit(clicks(), show_progress=False).user_factors
    for mode in (torch.inference_mode(), torch.device("meta"), torch.autocast("cpu")):
        with mode:
            found = RobustFactorization("gce", 4, iterations=2).fit(clicks(), show_progress=False)
        np.testing.assert_array_equal(found.user_factors, expected)


def test_drawn_pairs_are_no_clicks_and_come_once():
    users, items, labels = RobustFactorization("ce", num_negatives=3)._pairs(clicks())
    pairs = users * 45 + items
    dense = clicks().toarray().ravel()
    assert len(np.unique(pairs)) == len(pairs)
    assert np.array_equal(dense[pairs], labels)


def test_bad_input():
    with pytest.raises(InputError, match="method: expected one of"):
        RobustFactorization("cee")
    with pytest.raises(InputError, match="num_negatives: expected an integer"):
        RobustFactorization(num_negatives=0)
    one = sp.csr_array(([1.0], ([0], [0])), shape=(10**6, 10**6))
    with pytest.raises(InputError, match=r"^RobustFactorization of 10+ users × 10+ items: expected .* got 854\.5 GiB"):
        RobustFactorization("ce", 1 << 14).fit(one)
    assert recsys.RobustFactorization is RobustFactorization


def test_methods_that_read_arcs_are_refused():
    with pytest.raises(InputError, match="method: expected a method that needs no graph"):
        RobustFactorization(_Arcs())

    with pytest.raises(InputError, match="rate: expected a number where there is no graph to estimate it by, got None"):
        RobustFactorization("co-teaching").fit(clicks(), show_progress=False)


class _Arcs(methods.load("ce")):
    needs_graph = True

"""SLIM by both solvers: against scikit-learn item by item, against EASE, and the optimality conditions."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet

from graphnoise import InputError
from recsys import EASE, SLIM
from recsys.models import gram

SOLVERS = ("cd", "admm")


@pytest.fixture
def clicks():
    dense = np.random.default_rng(8).random((60, 23)) < 0.25
    # An item without users.
    dense[:, 5] = False
    return sp.csr_array(dense.astype(np.float32))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize(("l1", "l2"), [(0.5, 2.0), (2.0, 1.0), (0.05, 20.0)])
def test_every_item_is_an_elastic_net(clicks, monkeypatch, solver, nonnegative, l1, l2):
    monkeypatch.setattr("recsys.models.slim.TOLERANCE", 1e-9)
    X = clicks.toarray().astype(np.float64)
    model = SLIM(l1, l2, nonnegative, solver, iterations=5000).fit(clicks)
    assert (model.weights.diagonal() == 0).all()
    for item in (0, 5, 22):
        rest = np.delete(np.arange(23), item)
        net = ElasticNet(
            alpha=(l1 + l2) / 60,
            l1_ratio=l1 / (l1 + l2),
            positive=nonnegative,
            fit_intercept=False,
            tol=1e-10,
            max_iter=10**5,
        ).fit(X[:, rest], X[:, item])
        found = model.weights.toarray()[:, item]
        np.testing.assert_allclose(found[rest], net.coef_, atol=1e-5)
    assert model.weights.nnz < 22 * 22
    assert (model.weights.data >= 0).all() == nonnegative or l1 == 2.0


def test_admm_without_sparsity_and_signs_is_ease(clicks, monkeypatch):
    monkeypatch.setattr("recsys.models.slim.TOLERANCE", 1e-8)
    found = SLIM(0.0, 3.0, nonnegative=False, solver="admm", iterations=2000).fit(clicks)
    np.testing.assert_allclose(found.weights.toarray(), EASE(3.0).fit(clicks).weights, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.floats(0.05, 3), st.floats(0.5, 30))
def test_solvers_agree(seed, l1, l2):
    clicks = sp.csr_array((np.random.default_rng(seed).random((30, 12)) < 0.3).astype(np.float32))
    if not clicks.nnz:
        return
    one, two = (SLIM(l1, l2, solver=solver, iterations=3000).fit(clicks).weights.toarray() for solver in SOLVERS)
    np.testing.assert_allclose(one, two, atol=5e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_single_precision_is_enough(clicks, monkeypatch, solver):
    double = SLIM(0.3, 2.0, solver=solver).fit(clicks).weights.toarray()
    monkeypatch.setattr(gram, "SMALL", 5)
    model = SLIM(0.3, 2.0, solver=solver)
    assert model.memory_needed(clicks) == 4 * 23**2 * (1 if solver == "cd" else 6)
    np.testing.assert_allclose(model.fit(clicks).weights.toarray(), double, atol=1e-3)


def test_weights_that_are_all_zero_converge():
    # A warning would be an error.
    assert SLIM(solver="admm").fit(sp.csr_array(np.eye(4, 3))).weights.nnz == 0
    assert SLIM(solver="admm").fit(sp.csr_array([[1, 0, 1, 1]])).weights.nnz == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_items_that_do_not_converge_are_counted(clicks, solver):
    with pytest.warns(ConvergenceWarning, match=r"SLIM: \d+ of 23 items did not converge in 1 iterations"):
        SLIM(0.05, 0.1, solver=solver, iterations=1).fit(clicks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1_regularization": -1}, "l1_regularization: expected a number of at least 0"),
        ({"l1_regularization": 0}, "l1_regularization: expected a positive number with the solver 'cd', got 0"),
        ({"l2_regularization": 0}, "l2_regularization: expected a number of at least 1e-12"),
        ({"nonnegative": 1}, "nonnegative: expected True or False"),
        ({"solver": "sgd"}, "solver: expected one of admm, cd, got 'sgd'"),
        ({"iterations": 0}, "iterations: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        SLIM(**options)

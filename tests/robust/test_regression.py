"""Regression on smoothed features: the evidence, leave-one-out, and the forms in kernels and in features agree."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct, WhiteKernel

from graphnoise import InputError
from graphnoise.robust import regression
from graphnoise.robust.regression import Regression, fit_weights, negative_log_evidence


def problem(n=30, widths=(4, 4), classes=3, seed=0):
    """Rows of unit length that tell classes apart, one array per kernel, and class indicators, some wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    rows = [rng.normal(size=(classes, width))[labels] + rng.normal(size=(n, width)) for width in widths]
    rows = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in rows]
    return rows, np.eye(classes)[np.where(rng.random(n) < 0.2, rng.integers(0, classes, n), labels)]


def grams(rows):
    return np.stack([x.astype(float) @ x.astype(float).T for x in rows])


def test_the_gradient_of_the_evidence_is_that_of_autograd():
    rows, targets = problem()
    parameters, residuals = np.array([-1.0, 0.5, -0.7]), targets - targets.mean(0)
    value, gradient = negative_log_evidence(parameters, grams(rows), residuals)
    logs = torch.tensor(parameters, requires_grad=True)
    K = sum(w * torch.from_numpy(k) for w, k in zip(logs.exp(), grams(rows), strict=False))
    K = K + logs[-1].exp() * torch.eye(len(targets), dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(targets)).double(), K)
    expected = -normal.log_prob(torch.from_numpy(residuals.T)).sum()
    expected.backward()
    constant = 0.5 * residuals.size * np.log(2 * np.pi)
    assert value + constant == pytest.approx(float(expected.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, logs.grad, rtol=1e-10)


@pytest.fixture
def theirs():
    """scikit-learn's regression with the kernel w x·x' + σ², at w = .4 and σ² = .3."""
    kernel = 0.4 * DotProduct(0.0, "fixed") + WhiteKernel(0.3)
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)


def test_the_evidence_is_that_of_scikit_learn(theirs):
    rows, targets = problem(widths=(4,))
    residuals = targets - targets.mean(0)
    theirs.fit(rows[0].astype(float), residuals)
    value, gradient = negative_log_evidence(np.log([0.4, 0.3]), grams(rows), residuals)
    expected, slope = theirs.log_marginal_likelihood(theirs.kernel_.theta, eval_gradient=True)
    assert -value - 0.5 * residuals.size * np.log(2 * np.pi) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(-gradient, slope, rtol=1e-8)


@pytest.mark.parametrize("max_exact", [30, 1])
def test_predictions_are_those_of_scikit_learn(theirs, max_exact):
    rows, targets = problem(widths=(4,))
    theirs.fit(rows[0].astype(float), targets - targets.mean(0))
    fresh = np.random.default_rng(5).normal(size=(7, 4))
    fit = Regression(rows, max_exact).fit(np.array([0.4, 0.3]), targets)
    np.testing.assert_allclose(fresh @ fit.coefficients[0] + fit.mean, theirs.predict(fresh) + targets.mean(0))


def test_the_weights_are_where_no_other_has_more_evidence():
    rows, targets = problem(n=60)
    weights = fit_weights(grams(rows), targets)
    arguments = (grams(rows), targets - targets.mean(0))
    best, gradient = negative_log_evidence(np.log(weights), *arguments)
    assert np.abs(gradient).max() < 0.01 * abs(best)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert negative_log_evidence(np.log(weights) + rng.normal(0, 1, 3), *arguments)[0] > best - 1e-3
    np.testing.assert_allclose(fit_weights(grams(rows), targets, weights), weights, rtol=0.1)


def test_weights_stay_in_their_bounds():
    rows, _ = problem()
    # Targets without noise have no greatest evidence, and those of a single class no use for features.
    for values in (grams(rows)[0], np.ones((30, 2))):
        logs = np.log(fit_weights(grams(rows), values, np.full(3, 1e9)))
        low, high = np.array([regression.WEIGHT_BOUNDS] * 2 + [regression.NOISE_BOUNDS]).T
        assert (logs >= low - 1e-9).all()
        assert (logs <= high + 1e-9).all()


@pytest.mark.parametrize("max_exact", [30, 1])
def test_held_out_predictions_are_those_without_the_row(max_exact):
    rows, targets = problem()
    weights = np.array([0.5, 1.5, 0.2])
    fit = Regression(rows, max_exact).fit(weights, targets)
    wide = np.hstack([np.sqrt(w) * x.astype(float) for w, x in zip(weights, rows, strict=False)])
    for i in range(len(targets)):
        others = np.arange(len(targets)) != i
        # The mean stays that of all rows.
        K = wide[others] @ wide[others].T + weights[-1] * np.eye(others.sum())
        expected = fit.mean + wide[i] @ wide[others].T @ np.linalg.solve(K, targets[others] - fit.mean)
        np.testing.assert_allclose(fit.held_out[i], expected, rtol=1e-9, atol=1e-11)


def close(first, second, rows, tolerance):
    """Held-out predictions and those of the rows agree."""
    assert np.abs(first.held_out - second.held_out).max() < tolerance
    scores = [sum(x @ part for x, part in zip(rows, fit.coefficients, strict=True)) for fit in (first, second)]
    assert np.abs(scores[0] - scores[1]).max() < tolerance


@pytest.mark.parametrize("widths", [(5, 5), (80, 80)])
def test_the_form_in_features_equals_the_form_in_kernels(widths):
    rows, targets = problem(n=40, widths=widths)
    weights = np.array([3.0, 0.7, 0.05])
    exact, features = (Regression(rows, limit).fit(weights, targets) for limit in (40, 1))
    close(exact, features, rows, 1e-8)
    np.testing.assert_allclose(exact.coefficients, features.coefficients, atol=1e-8)


def test_projected_features_equal_the_kernel_where_rows_span_few_dimensions():
    """The span, 20 dimensions of 700, is that of the landmarks: what is lost is the rounding of float32."""
    (low,), targets = problem(n=900, widths=(20,))
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(700, 20)))[0]
    rows = [(low @ basis.T).astype(np.float32)]
    exact, projected = (Regression(rows, limit) for limit in (900, 1))
    assert projected.features.shape[1] < 700
    close(exact.fit(np.array([2.0, 0.1]), targets), projected.fit(np.array([2.0, 0.1]), targets), rows, 1e-5)


def test_projections_are_exact_on_the_landmarks(monkeypatch):
    monkeypatch.setattr(regression, "RANK", 6)
    rows, _ = problem(n=11, widths=(9,))
    landmarks = rows[0][::2].astype(float)
    projected = landmarks @ regression._projection(rows[0])
    np.testing.assert_allclose(projected @ projected.T, landmarks @ landmarks.T, atol=1e-6)


def test_rows_that_repeat_are_no_error():
    rows, targets = problem(n=10)
    rows = [np.repeat(x[:1], 10, axis=0) for x in rows]
    weights = fit_weights(grams(rows), targets)
    for limit in (10, 1):
        held_out = Regression(rows, limit).fit(weights, targets).held_out
        assert np.isfinite(held_out).all()


def test_kernels_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr("graphnoise.resources.available_memory", lambda: 2**24)
    rows = [np.zeros((2000, 3), np.float32)]
    with pytest.raises(InputError, match=r"^kernels of the labelled nodes: expected to need at most"):
        Regression(rows, 2000)
    Regression(rows, 1999)

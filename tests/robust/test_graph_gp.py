"""The parts of GraphGP by their definitions, and the fitted estimator: what it reads, repeats and recovers."""

import numpy as np
import pytest
import torch
from estimators import altered
from scipy.optimize import check_grad
from threadpoolctl import threadpool_limits

from graphnoise import datasets, noise
from graphnoise.noise import LabelNoise
from graphnoise.robust import GraphGP, graph_gp
from graphnoise.robust.graph_gp import HOPS, Scores


def same(first, second):
    """Two fitted models are equal, bit for bit."""
    names = ("labelled_", "posterior_", "weights_", "mixture_", "_coefficients", "_intercept")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    pairs += [(first.transition_.matrix, second.transition_.matrix)]
    pairs += [(first.transition_margin_, second.transition_margin_)]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_class_means_are_without_the_node_itself():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(12, 5)).astype(np.float32) for _ in HOPS]
    rows = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]
    targets = rng.dirichlet(np.ones(3), 12)
    scores, x = graph_gp._class_means(rows, HOPS, targets), rows[1].astype(float)
    for i in range(12):
        others = np.arange(12) != i
        sums = x[others].T @ targets[others]
        expected = x[i] @ sums / np.linalg.norm(sums, axis=0) / np.linalg.norm(x[i])
        np.testing.assert_allclose(scores.held_out[i], expected, atol=1e-6)
    means = x.T @ targets
    np.testing.assert_allclose(scores.coefficients[1], means / np.linalg.norm(means, axis=0))
    assert not scores.coefficients[[0, 2, 3, 4]].any()


def test_a_class_of_one_node_has_no_other_mean():
    rows = [np.eye(4, dtype=np.float32)]
    held_out = graph_gp._class_means(rows, (2,), np.eye(4)[[0, 1, 1, 1], :2]).held_out
    np.testing.assert_allclose(held_out, 0, atol=1e-6)


def scores(seed=0, n=200, classes=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    given = np.where(rng.random(n) < 0.3, rng.integers(0, classes, n), truth)
    helpful, noise_only = np.eye(classes)[truth] + rng.normal(0, 0.3, (n, classes)), rng.normal(size=(n, classes))
    parts = [Scores(rng.normal(size=(2, 4, classes)), rng.normal(size=classes), part) for part in (helpful, noise_only)]
    return parts, noise.symmetric(classes, 0.2).matrix.numpy(), given


def test_the_gradient_of_the_mixture_is_that_of_differences(monkeypatch):
    seen, real = [], graph_gp.minimize

    def kept(objective, *arguments, **options):
        seen.append(objective)
        return real(objective, *arguments, **options)

    monkeypatch.setattr(graph_gp, "minimize", kept)
    graph_gp._mixed(*scores())
    (objective,) = seen
    for start in ([0.0, 0.0], [1.5, -0.7], [-3.0, 2.0]):
        assert check_grad(lambda p: objective(p)[0], lambda p: objective(p)[1], np.array(start)) < 1e-4


def test_the_mixture_is_of_what_explains_the_labels():
    parts, transition, given = scores()
    weights, mixture = graph_gp._mixed(parts, transition, given)
    assert weights[0] > 3 * weights[1]
    scaled = [weight / part.spread for weight, part in zip(weights, parts, strict=True)]
    for name in ("coefficients", "intercept", "held_out"):
        expected = scaled[0] * getattr(parts[0], name) + scaled[1] * getattr(parts[1], name)
        np.testing.assert_allclose(getattr(mixture, name), expected)


def test_the_gain_over_chance_is_in_the_likelihood_of_given_labels():
    parts, transition, given = scores()
    chances = np.exp(parts[0].held_out) / np.exp(parts[0].held_out).sum(1, keepdims=True)
    likelihood = np.log((chances @ transition)[np.arange(200), given]).sum()
    chance = np.log(np.bincount(given)[given] / 200).sum()
    assert graph_gp._gain_over_chance(parts[0], transition, given) == pytest.approx(likelihood - chance)
    equal = np.tile(np.bincount(given) / 200, (3, 1))
    assert graph_gp._gain_over_chance(parts[0], equal, given) == pytest.approx(0, abs=1e-9)


def test_only_given_labels_are_read(planted):
    labelled = planted.train_mask | planted.val_mask
    hidden = altered(planted, y=torch.where(labelled, planted.y, -1))
    del hidden.y_true
    first, second = GraphGP().fit(planted), GraphGP().fit(hidden)
    assert same(first, second)
    assert torch.equal(first.predict_proba(planted), second.predict_proba(hidden))
    unread = altered(planted, y=torch.where(planted.train_mask, planted.y, (planted.y + 1) % 3))
    first, second = (GraphGP(val_labels=False).fit(data) for data in (planted, unread))
    assert same(first, second)
    assert first.labelled_.tolist() == planted.train_mask.nonzero().view(-1).tolist()


def test_fits_and_thread_counts_give_the_same_bits():
    """At a size where products of matrices are divided between threads."""
    data = datasets.planted_partition([200] * 4, 0.05, 0.01, num_features=300, split=(100, 100, 300), seed=0)
    data = LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(data)
    expected = GraphGP().fit(data)
    probabilities = expected.predict_proba(data)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with threadpool_limits(count):
                model = GraphGP().fit(data)
                assert same(model, expected)
                assert torch.equal(model.predict_proba(data), probabilities)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("max_exact", [5000, 1])
def test_probabilities_and_posteriors_are_distributions(max_exact, planted):
    model = GraphGP(max_exact=max_exact).fit(planted)
    probabilities = model.predict_proba(planted)
    assert probabilities.shape == (120, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(120, dtype=torch.float64))
    np.testing.assert_allclose(model.posterior_.sum(1), 1)
    assert model.posterior_.shape == (len(model.labelled_), 3)
    assert model.score(planted) > 0.95
    matrix = model.transition_.matrix
    assert (matrix.argmax(1) == torch.arange(3)).all()


def test_a_known_transition_is_used_as_it_is(planted):
    known = noise.symmetric(3, 0.25)
    model = GraphGP(transition=known).fit(planted)
    assert torch.equal(model.transition_.matrix, known.matrix)
    assert model.transition_margin_ == np.inf
    assert model.score(planted) > 0.95


def test_a_subset_of_the_nodes_can_serve_for_the_evidence(planted, monkeypatch):
    monkeypatch.setattr(graph_gp, "MAX_EVIDENCE", 35)
    models = [GraphGP(seed=seed).fit(planted) for seed in (0, 0, 1)]
    assert same(models[0], models[1])
    assert not same(models[0], models[2])
    assert [model.score(planted) > 0.95 for model in models] == [True] * 3


@pytest.mark.parametrize("name", ["cora", "amazon-photo"])
@pytest.mark.parametrize(("kind", "rate"), [("symmetric", 0.1), ("symmetric", 0.4), ("pair", 0.1), ("pair", 0.4)])
def test_the_transition_matrix_is_recovered(name, kind, rate, graph):
    data = graph(name)
    model = GraphGP().fit(LabelNoise(kind, rate, splits=("train", "val"), seed=0)(data))
    expected = getattr(noise, kind)(data.num_classes, rate).matrix
    assert (model.transition_.matrix - expected).abs().mean() <= 0.05


def test_seeds_change_little(graph):
    noisy = LabelNoise("symmetric", 0.4, splits=("train", "val"), seed=0)(graph("cora"))
    accuracies = [GraphGP(seed=seed).fit(noisy).score(noisy) for seed in range(5)]
    assert max(accuracies) - min(accuracies) <= 0.01

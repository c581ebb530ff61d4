"""Out-of-fold probabilities: what a prediction may depend on, the folds, and a caller's own model."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from graphnoise import InputError, as_graph, datasets
from graphnoise.audit import crossfit, out_of_fold
from graphnoise.nn.features import row_normalised, smoothed
from graphnoise.noise import symmetric

DATA = datasets.planted_partition([30, 30, 30], 0.25, 0.02, num_features=8, seed=0)
GRAPH, X = as_graph(DATA), DATA.x
Y = symmetric(3, 0.2).corrupt(DATA.y, seed=1).y
FOLDS = np.arange(90) % 4
MODELS = ("sgc", "gcn", "gat")


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch):
    """Networks on graphs this small need no more."""
    monkeypatch.setattr(out_of_fold, "EPOCHS", 30)


@pytest.mark.parametrize("model", [*MODELS, "mlp"])
def test_a_label_changes_nothing_in_its_own_prediction(model):
    first = crossfit(GRAPH, Y, X, model=model, folds=FOLDS)
    for node in (0, 41, 89):
        changed = Y.clone()
        changed[node] = (changed[node] + 1) % 3
        second = crossfit(GRAPH, changed, X, model=model, folds=FOLDS)
        np.testing.assert_array_equal(first[node], second[node])
        # So it is for all of its fold; the others have learnt from it.
        np.testing.assert_array_equal(first[node % 4 :: 4], second[node % 4 :: 4])
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("model", MODELS)
def test_probabilities_predict_the_true_classes_at_any_thread_count(model):
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with threadpool_limits(count):
                found.append(crossfit(GRAPH, Y, X, model=model, seed=3))
    finally:
        torch.set_num_threads(threads)
    first, second = found
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float64
    np.testing.assert_allclose(first.sum(1), 1, atol=1e-6)
    assert (first.argmax(1) == DATA.y.numpy()).mean() > 0.9
    assert not np.array_equal(first, crossfit(GRAPH, Y, X, model=model, seed=4))


def test_a_perceptron_reads_no_graph():
    other = as_graph(datasets.planted_partition([30, 30, 30], 0.1, 0.1, num_features=8, seed=5))
    first, second = (crossfit(graph, Y, X, model="mlp", folds=FOLDS) for graph in (GRAPH, other))
    np.testing.assert_array_equal(first, second)
    assert (first.argmax(1) == DATA.y.numpy()).mean() > 0.6


def test_sgc_is_logistic_regression_on_smoothed_features_of_the_other_folds():
    y = torch.where(torch.arange(90) % 9 == 5, -1, Y)
    found = crossfit(GRAPH, y, X, folds=FOLDS)
    inputs = smoothed(row_normalised(X), GRAPH.with_self_loops().normalise(), 2).numpy()
    means = []
    for fold in range(4):
        seen = (y.numpy() >= 0) & (fold != FOLDS)
        p = LogisticRegression(max_iter=1000).fit(inputs[seen], y.numpy()[seen]).predict_proba(inputs)
        held_out = (y.numpy() >= 0) & (fold == FOLDS)
        np.testing.assert_allclose(found[held_out], p[held_out], atol=1e-6)
        means.append(p[y.numpy() < 0])
    np.testing.assert_allclose(found[y.numpy() < 0], np.mean(means, axis=0), atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_a_directed_graph_is_made_symmetric(model):
    arcs = DATA.edge_index[:, DATA.edge_index[0] < DATA.edge_index[1]]
    found = crossfit(arcs, Y, X, model=model, folds=FOLDS)
    np.testing.assert_allclose(found, crossfit(GRAPH, Y, X, model=model, folds=FOLDS), atol=1e-5)


def test_folds_divide_each_class_and_all_nodes_evenly():
    codes = np.repeat([0, 1, 2, -1], [17, 3, 1, 6])
    fold = out_of_fold._folds(5, codes, 0)
    assert (fold[codes < 0] == -1).all()
    for group in (codes >= 0, codes == 0, codes == 1, codes == 2):
        counts = np.bincount(fold[group], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, out_of_fold._folds(5, codes, 1))
    assert sorted(out_of_fold._folds(5, np.array([0, 1, 1]), 0)) == [0, 1, 2]


def test_a_class_that_only_a_fold_has_gets_probability_0_there():
    y = Y.clone()
    y[7] = 3
    for model in MODELS:
        p = crossfit(GRAPH, y, X, model=model)
        assert p.shape == (90, 4)
        assert p[7, 3] < 0.1
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    two = crossfit([[0, 1, 2], [1, 2, 0]], ["a", "b", "b"], np.eye(3))
    assert two[0].tolist() == [0, 1]


def test_a_function_gets_the_labels_of_other_folds_only():
    y, calls = torch.where(torch.arange(90) % 10 == 0, -1, Y), []

    def constant(nodes, labels):
        calls.append((nodes.copy(), labels.copy()))
        labels[:] = 0
        return np.full((90, 3), [0.5, 0.25, 0.25])

    p = crossfit(GRAPH, y, X, model=constant, folds=FOLDS)
    np.testing.assert_array_equal(p, np.full((90, 3), [0.5, 0.25, 0.25]))
    assert len(calls) == 4
    for fold, (nodes, labels) in enumerate(calls):
        seen = (y.numpy() >= 0) & (fold != FOLDS)
        assert nodes.tolist() == np.flatnonzero(seen).tolist()
        np.testing.assert_array_equal(labels, np.where(seen, y.numpy(), -1))


def test_wide_features_are_projected_to_their_principal_directions(monkeypatch):
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(60, 9)), (rng.random((60, 40)) < 0.05).astype(float)):
        monkeypatch.setattr(out_of_fold, "MAX_ENTRIES", 10)
        monkeypatch.setattr(out_of_fold, "DIRECTIONS", 4)
        narrow = out_of_fold._narrowed(torch.tensor(x, dtype=torch.float32)).numpy()
        assert narrow.shape == (60, 4)
        # As much of the squares as the first singular values hold, nearly.
        best = (np.linalg.svd(x, compute_uv=False)[:4] ** 2).sum()
        assert 0.97 * best <= (narrow**2).sum() <= 1.0001 * best
    monkeypatch.setattr(out_of_fold, "DIRECTIONS", 40)
    assert out_of_fold._narrowed(X) is X


BAD = {
    "model": ({"model": "svm"}, "model: expected one of gat, gcn, mlp, sgc, got 'svm'"),
    "one fold": ({"folds": 1}, "folds: expected an integer of at least 2"),
    "lengths": ({"folds": [0, 1]}, "folds: expected an integer, or 90 integers, one per node"),
    "fractions": ({"folds": np.full(90, 0.5)}, "folds: expected an integer, or 90 integers"),
    "below 0": ({"folds": FOLDS - 1}, "folds: expected a fold of at least 0"),
    "one of all": ({"folds": np.zeros(90, dtype=int)}, "folds: expected labelled nodes in at least two folds"),
    "a label": ({"y": [0] + [-1] * 89}, "folds: expected labelled nodes in at least two folds, got 1 labelled"),
    "rows": ({"x": X[1:]}, "x: expected 90 rows, one per node, got 89"),
    "no features": ({"x": X[:, :0]}, "x: expected at least one node and one feature"),
    "NaN": ({"x": X * np.nan}, "x: expected finite numbers"),
    "shape": ({"model": lambda nodes, y: np.ones((90, 1))}, "probabilities of model: expected 3 columns"),
    "rows of a model": ({"model": lambda nodes, y: np.eye(3)}, "probabilities of model: expected 90 rows"),
    "sums": ({"model": lambda nodes, y: np.ones((90, 3))}, "probabilities of model: expected rows that sum to 1"),
    "nothing": ({"model": lambda nodes, y: None}, "probabilities of model: expected"),
    "seed": ({"seed": -1}, "seed: expected an integer"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message):
        crossfit(**{"graph": GRAPH, "y": Y, "x": X, "folds": FOLDS} | changes)

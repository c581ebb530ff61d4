"""Pictures: what is drawn, as data of the artists."""

import sys

import numpy as np
import pandas
import pytest
import torch
from audit.audits import audit, data, named, noisy
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve
from statsmodels.stats.proportion import proportion_confint

import graphnoise as gn
from graphnoise import InputError, plot
from graphnoise.audit.drawings import shown_neighbours


@pytest.fixture
def ax():
    return Figure().subplots()


def test_accuracy_draws_means_and_t_intervals_in_the_order_of_the_rates(ax):
    values = np.array([[0.6, 0.7, 0.8], [0.9, 0.9, 0.9]])
    assert plot.accuracy([0.4, 0.0], {"a": values, "b": [0.5, 0.7]}, ax) is ax
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.0, 90.0], [0.4, 70.0]])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [70.0, 50.0])
    half = 4.302653 * 10 / np.sqrt(3)
    band = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [70 - half, 70 + half], rtol=1e-6)


def test_confusion_counts_what_scikit_learn_counts(ax):
    true, given = data().y.numpy(), noisy().numpy().copy()
    given[5] = -1
    plot.confusion(true, given, ax=ax)
    expected = confusion_matrix(np.delete(true, 5), np.delete(given, 5))
    assert [int(text.get_text()) for text in ax.texts] == expected.ravel().tolist()
    np.testing.assert_allclose(ax.images[0].get_array(), expected / expected.sum(1, keepdims=True))


def test_transition_has_the_names_and_intervals_of_an_audit(ax):
    result = named()
    plot.transition(result, ax=ax)
    np.testing.assert_allclose(ax.images[0].get_array(), result.estimate.transition)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ant", "bee", "cat"]
    assert all("\n" in text.get_text() for text in ax.texts)


def test_reliability_has_the_points_of_scikit_learn_and_the_intervals_of_statsmodels(ax):
    rng = np.random.default_rng(0)
    stated = rng.random(200)
    right = rng.random(200) < stated
    plot.reliability(stated, right, bins=5, ax=ax)
    share, mean = calibration_curve(right, stated, n_bins=5)
    points, bars = ax.collections
    np.testing.assert_allclose(points.get_offsets(), np.c_[mean, share])
    counts = np.histogram(stated, 5, (0, 1))[0]
    low, high = proportion_confint(share * counts, counts, method="wilson")
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], np.c_[low, high], atol=1e-6)


def test_detection_is_the_curve_of_scikit_learn_up_to_the_last_wrong_label(ax):
    rng = np.random.default_rng(1)
    wrong = rng.random(80) < 0.3
    scores = np.round(rng.random(80), 1)
    plot.detection({"a": np.r_[scores, np.nan]}, np.r_[wrong, True], ax)
    precision, recall, _ = precision_recall_curve(wrong, -scores)
    end = np.flatnonzero(recall == 1)[-1]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), 100 * np.c_[recall, precision][end:-1][::-1])
    assert ax.lines[1].get_ydata()[0] == pytest.approx(100 * wrong.mean())


def test_growth_draws_rounds_masses_and_candidates():
    graph = gn.Graph.from_data(data())
    truth = (data().y == 0).numpy()
    labels = gn.noise.flip_membership(data().y == 0, a1=0.9, a0=0.9, seed=0).y
    axes = Figure().subplots(1, 3)
    grown = gn.clustering.grow_cluster(graph, 0, labels, a1=0.9, a0=0.9)
    plot.growth(grown, truth, axes[0])
    inside, members, _, cluster = axes[0].lines
    assert inside.get_ydata().tolist() == [len(nodes) for nodes in grown.path]
    assert members.get_ydata().tolist() == [int(truth[nodes].sum()) for nodes in grown.path]
    assert cluster.get_ydata() == [len(grown.nodes)]
    found = {mass: gn.clustering.flow_diffusion(graph, 0, mass) for mass in (300.0, 60.0)}
    plot.growth(found, ax=axes[1])
    assert axes[1].lines[0].get_xdata().tolist() == [60, 300]
    assert axes[1].lines[0].get_ydata().tolist() == [len(found[mass].support) for mass in (60.0, 300.0)]
    model = gn.clustering.LocalCluster(method="flow").fit(graph, 0, labels, a1=0.9, a0=0.9)
    plot.growth(model, truth, axes[2])
    sizes = sorted(size for line in axes[2].lines[:-2] for size in line.get_ydata())
    assert sizes == sorted(candidate.size for candidate in model.path_)


def test_a_neighbourhood_has_a_circle_for_each_node_and_a_ring_for_each_suspicion(ax):
    result = audit()
    node = int(result.suspects().index[0])
    plot.neighbourhood(result, node, ax)
    ends, _ = shown_neighbours(result, node)
    doubts = 1 - result.credibility[[*ends, node]]
    assert len(ax.texts) == len(ends) + 1
    assert len(ax.patches) == len(ends) + 1 + (doubts >= 0.05).sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.accuracy([0.1], {"a": [[0.1], [0.2]]}), r"accuracies\['a'\]: expected shape \[1\]"),
        (lambda: plot.accuracy([0.1], {"a": [1.5]}), r"accuracies\['a'\]: expected values in \[0, 1\]"),
        (lambda: plot.accuracy([0.1], {}), "accuracies: expected"),
        (lambda: plot.confusion([0, 1], [0]), "y_given: expected 2 labels, got 1"),
        (lambda: plot.confusion([0, 1], [0, 1], ["a"]), "classes: expected a list of 2 names or more.*, got 1"),
        (lambda: plot.transition([[0.5, 0.6]]), "matrix: expected"),
        (lambda: plot.reliability([0.5], [True, False]), "right: expected"),
        (lambda: plot.detection([0.5, 0.6], [False, False]), "wrong: expected at least one wrong label"),
        (lambda: plot.growth({1.0: [7]}, torch.tensor([True])), "truth: expected a mask of all nodes"),
        (lambda: plot.reliability([0.5, 0.7], [0, 2]), "right: expected Booleans, got other values"),
        (lambda: plot.growth({1.0: [True, False]}), "clusters: expected distinct positions of nodes, got Booleans"),
        (lambda: plot.growth({1.0: [0, 0]}), "clusters: expected distinct positions of nodes, got positions that"),
        (lambda: plot.growth({}), "clusters: expected at least one cluster"),
        (lambda: plot.neighbourhood(audit(), 10**9), "node: expected"),
        (lambda: plot.growth({1.0: [0]}, ax="here"), "ax: expected axes of matplotlib, got str"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_zeros_and_ones_are_no_positions(ax):
    plot.reliability([0.2, 0.8], [0, 1], bins=2, ax=ax)
    assert ax.collections[0].get_offsets()[:, 1].tolist() == [0, 1]


def test_names_of_classes_may_be_an_index_of_pandas(ax):
    plot.confusion([0, 1], [0, 1], pandas.Index(["cat", "dog"]), ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "dog"]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'graphnoise\[plots\]'"):
        plot.accuracy([0.1], {"a": [0.5]})

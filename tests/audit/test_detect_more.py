"""Detectors by votes, nearest nodes, embeddings and histories of training, and confident learning."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint
from torch_geometric.data import Data

from graphnoise import InputError, as_graph, datasets, noise
from graphnoise.audit import detect
from graphnoise.noise.confident import RULES
from graphnoise.robust import detection

DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, seed=0)
Y = noise.symmetric(3, 0.2).corrupt(DATA.y, seed=1).y
ONE = np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.6])
P, GIVEN = np.stack([ONE, 1 - ONE], 1), np.array([0, 0, 0, 1, 1, 1])


def test_confident_joint():
    assert noise.confident_joint(P, GIVEN).tolist() == [[2, 1], [0, 2]]
    # The confusion matrix of the most probable classes, which is not meant, counts the last node.
    assert ((P.argmax(1) == 0) & (GIVEN == 1)).tolist() == [False] * 5 + [True]
    flagged = {rule: noise.confident_errors(P, GIVEN, rule).tolist() for rule in RULES}
    third = [False, False, True, False, False, False]
    assert flagged == dict.fromkeys(RULES, third)


def test_confident_learning_by_noise_rate_is_not_the_off_diagonal():
    # Class 1 has one sure node and many that count for neither class: the joint, scaled, has more wrong labels.
    p0 = np.r_[np.full(8, 0.95), np.full(2, 0.05), [0.02], np.full(9, 0.5), [0.97]]
    p, y = np.stack([p0, 1 - p0], 1), np.r_[np.zeros(10, dtype=int), np.ones(11, dtype=int)]
    joint = noise.confident_joint(p, y)
    off, rate = (noise.confident_errors(p, y, rule) for rule in ("off_diagonal", "noise_rate"))
    assert off.sum() == joint.sum() - np.trace(joint)
    assert rate[y == 1].sum() == round(11 * joint[1, 0] / joint[1].sum())
    assert rate.sum() > off.sum()
    assert rate[20]
    assert off[20]


@given(st.integers(0, 10**6), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_rules_of_confident_learning_hold(seed, classes):
    rng = np.random.default_rng(seed)
    p, y = rng.dirichlet(np.ones(classes), 40), np.r_[np.arange(classes), rng.integers(0, classes, 40 - classes)]
    found = {rule: noise.confident_errors(p, y, rule) for rule in RULES}
    np.testing.assert_array_equal(found["both"], found["noise_rate"] & found["class"])
    joint = noise.confident_joint(p, y)
    assert found["off_diagonal"].sum() == joint.sum() - np.trace(joint)
    missing = np.where(rng.random(40) < 0.3, -1, y)
    missing[:classes] = np.arange(classes)
    some = noise.confident_errors(p, missing)
    np.testing.assert_array_equal(some[missing >= 0], noise.confident_errors(p[missing >= 0], missing[missing >= 0]))
    assert not some[missing < 0].any()


def test_adjusted_margins_are_above_one_half_on_the_diagonal_only():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(3), 200), np.r_[0, 1, 2, rng.integers(0, 3, 197)]
    thresholds = np.array([p[y == k, k].mean() for k in range(3)])
    adjusted = p - thresholds
    margin = adjusted[np.arange(200), y] - np.where(np.eye(3, dtype=bool)[y], -np.inf, adjusted).max(1)
    np.testing.assert_allclose(detect.adjusted_margin(p, y), np.clip((margin + 1) / 2, 0, 1))


def test_ensemble_disagreement():
    def models(*votes):
        return [np.eye(4)[vote] for vote in votes]

    y = np.array([0, 0, 0, 1, 2, 3])
    wrong_way = models(*[[1, 0, 1, 1, 2, 3]] * 3)
    assert (1 - detect.disagreement(y, *wrong_way))[:2].tolist() == [1.0, 0.0]
    spread = models([0, 0, 1, 1, 2, 3], [0, 0, 2, 1, 2, 3], [0, 0, 3, 1, 2, 3])
    g = 1 - detect.disagreement(y, *spread)
    # None votes for the label: 1 - v[y], which is not meant, would be 1.
    assert g[2] == pytest.approx((1 / 3 + 1) / 2)
    np.testing.assert_allclose(detect.vote_shares(*spread)[2], [0, 1 / 3, 1 / 3, 1 / 3])


def test_a_model_that_knows_nothing_votes_for_no_class():
    # Voting for the first class, it would find every other label wrong.
    np.testing.assert_array_equal(detect.disagreement([0, 1], np.full((2, 2), 0.5)), 0.5)
    np.testing.assert_allclose(detect.vote_shares([[0.4, 0.4, 0.2]], [[0.0, 1.0, 0.0]]), [[0.25, 0.75, 0.0]])


def test_nodes_without_neighbours_are_like_no_other_in_the_structure():
    arcs = as_graph(Data(edge_index=DATA.edge_index, num_nodes=130))
    y = np.r_[Y.numpy(), np.arange(10) % 3]
    credibility = detect.neighbour_credibility(arcs, y)
    np.testing.assert_array_equal(credibility[120:], 0.5)
    weights = torch.ones(DATA.edge_index.shape[1])
    weights[(DATA.edge_index == 0).any(0)] = 0.0
    weighted = Data(edge_index=DATA.edge_index, edge_weight=weights, num_nodes=120)
    assert detect.neighbour_credibility(weighted, Y)[0] == 0.5


def test_strata_have_wilson_intervals():
    rng = np.random.default_rng(0)
    credibility = rng.random(300)
    wrong = rng.random(300) > credibility
    rows = detect.strata(credibility, wrong)
    assert sum(row["count"] for row in rows) == 300
    for row in rows:
        inside = (1 - credibility >= row["low"]) & (1 - credibility < row["high"])
        assert (row["count"], row["wrong"]) == (inside.sum(), (inside & wrong).sum())
        np.testing.assert_allclose(
            (row["from"], row["to"]), proportion_confint(row["wrong"], row["count"], method="wilson"), atol=1e-9
        )
    assert [row["low"] for row in detect.strata([1.0, 0.0], [False, True])] == [0.0, 0.8]


@pytest.mark.parametrize("view", ["features", "structure", "both"])
def test_credible_labels_are_those_of_nearest_nodes(view):
    values = detect.neighbour_credibility(DATA, Y, DATA.x, view=view)
    wrong = (DATA.y != Y).numpy()
    assert roc_auc_score(wrong, 1 - values) > 0.9
    if view == "both":
        each = [detect.neighbour_credibility(DATA, Y, DATA.x, view=one) for one in ("features", "structure")]
        np.testing.assert_allclose(values, np.mean(each, axis=0))
        np.testing.assert_array_equal(detect.neighbour_credibility(DATA, Y, DATA.x), values)
    if view == "structure":
        np.testing.assert_array_equal(detect.neighbour_credibility(DATA, Y), values)


def test_noise_that_has_spread_is_credible():
    noisy = noise.tree_propagated(DATA.edge_index, DATA.y, 0.34, seed=0, seed_share=0.0)
    static = noise.symmetric(3, 0.3).corrupt(DATA.y, seed=0, exact=True)
    spread, alone = (
        detect.neighbour_credibility(DATA, one.y, view="structure")[one.flipped.numpy()] for one in (noisy, static)
    )
    assert spread.mean() > 0.8 > 0.4 > alone.mean()


def test_linear_separation_finds_nodes_unlike_others():
    rng = np.random.default_rng(0)
    wrong = np.arange(300) % 5 == 0
    z = rng.normal(size=(300, 4)) + 6.0 * wrong[:, None]
    # The loss tells the extreme tenth alone; all others are in the middle.
    own = np.where(np.arange(300) % 10 < 2, np.where(wrong, 0.02, 0.98), rng.uniform(0.45, 0.55, 300))
    p = np.stack([own, 1 - own], 1)
    scores = detection.high_losses(-np.log(own))
    credibility = detect.linear_separation(z, p, np.zeros(300, dtype=int))
    middle = np.arange(300) % 10 >= 2
    assert roc_auc_score(wrong[middle], -credibility[middle]) == 1.0
    assert roc_auc_score(wrong[middle], scores[middle]) < 0.7
    equal = detect.linear_separation(z, np.full((300, 2), 0.5), np.zeros(300, dtype=int))
    np.testing.assert_array_equal(equal, 1.0)
    with pytest.raises(InputError, match="embeddings: expected 300 rows"):
        detect.linear_separation(z[1:], p, np.zeros(300))


def test_histories_are_read_for_labelled_nodes():
    rng = np.random.default_rng(0)
    history = rng.dirichlet(np.ones(3), (8, 40))
    y = np.where(np.arange(40) % 4 == 0, -1, np.arange(40) % 3)
    rows = y >= 0
    changes = np.mean([detection.divergences(history[t], history[t - 1])[rows] for t in (3, 4, 5, 6, 7)], axis=0)
    np.testing.assert_allclose(detect.oscillation(history, y), 1 - detection.high_losses(changes))
    np.testing.assert_array_equal(detect.oscillation(history[:1], y), 1.0)
    g, _ = detection.confidence_falls(history[0][rows], history[-1][rows], y[rows])
    np.testing.assert_allclose(detect.confidence_drop(history[0], history[-1], y), 1 - g)
    curves = [detection.overlaps(p.argmax(1)[rows], y[rows], 3) for p in history]
    expected = [detection.onset(curve) for curve in np.stack(curves, 1)]
    np.testing.assert_array_equal(detect.class_onset(torch.from_numpy(history), y), expected)


def test_rounding_is_no_change_of_the_prediction():
    logits = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(detect.oscillation((1e-7 * logits).softmax(2), np.arange(30) % 3), 1.0)
    # Small changes that are no rounding are found.
    still = np.full((40, 2), 0.5)
    moved = still + np.where(np.arange(40) < 8, 5e-4, 1e-5)[:, None] * [1, -1]
    np.testing.assert_allclose(detect.oscillation([still, moved], np.arange(40) % 2), np.arange(40) >= 8, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.confident_errors(P, GIVEN, "rate"), "rule: expected one of"),
        (lambda: noise.confident_errors(P, GIVEN * 0), "noisy: expected a label of every class"),
        (lambda: detect.disagreement(GIVEN), "probabilities: expected at least one matrix"),
        (lambda: detect.disagreement(GIVEN, P, P[:, :1] * 0 + 1), "probabilities: expected at least one matrix, all"),
        (lambda: detect.strata([0.5], [True], bins=0), "bins: expected an integer"),
        (lambda: detect.strata([1.5], [True]), r"credibility: expected numbers in \[0, 1\]"),
        (lambda: detect.oscillation(3, GIVEN), "history: expected probabilities of at least one epoch"),
        (lambda: detect.class_onset([], GIVEN), "history: expected probabilities"),
        (lambda: detect.oscillation([P, np.eye(3)[[0] * 6]], GIVEN), "history: expected probabilities of one shape"),
        (lambda: detect.confidence_drop(P, np.eye(3)[[0] * 6], GIVEN), r"after: expected probabilities of shape"),
        (lambda: detect.oscillation([P, P * np.nan], GIVEN), r"history\[1\]: expected finite numbers"),
        (lambda: detect.class_onset([P, P[1:]], GIVEN), r"history\[1\]: expected 6 rows, one per label, got 5"),
        (lambda: detect.confidence_drop(2 * P, P, GIVEN), "before: expected rows that sum to 1"),
        (lambda: detect.confidence_drop(P, 2 * P, GIVEN), "after: expected rows that sum to 1"),
        (lambda: detect.neighbour_credibility(as_graph(DATA), Y, view="both"), "x: expected features"),
        (lambda: detect.neighbour_credibility(DATA, Y, DATA.x[1:]), "x: expected 120 rows"),
        (lambda: detect.neighbour_credibility(DATA, Y, num_neighbours=0), "num_neighbours: expected an integer"),
        (lambda: detect.neighbour_credibility(DATA, Y, view="text"), "view: expected one of"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()

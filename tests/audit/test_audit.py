from dataclasses import replace

import numpy as np
import pandas
import pytest
import scipy.sparse as sp
import torch
from audit.audits import NAMES, audit, data, named, noisy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta

import graphnoise as gn
from graphnoise import InputError
from graphnoise.audit import LabelPosterior, correct
from graphnoise.audit.estimates import Interval, NoiseEstimate, morans_i, noise_estimate, noise_kind
from graphnoise.audit.explain import reasons, suspected


def posterior(credibility, classes=2):
    """Two or more classes, all nodes given class 0 with these credibilities."""
    credibility = np.asarray(credibility, dtype=float)
    rest = np.repeat((1 - credibility)[:, None] / (classes - 1), classes - 1, axis=1)
    probability = np.c_[credibility, rest]
    matrix = gn.noise.symmetric(classes, 0.1)
    return LabelPosterior(
        probability, probability, matrix, probability.mean(0), np.arange(classes), np.zeros(len(rest), dtype=int)
    )


@given(arrays(float, st.integers(0, 30), elements=st.floats(0, 1)), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_suspects_are_the_largest_set_with_this_mean(values, fdr):
    values = np.sort(values)
    fitting = [k for k in range(len(values) + 1) if k == 0 or values[:k].mean() <= fdr]
    near = any(abs(values[:k].mean() - fdr) < 1e-9 for k in range(1, len(values) + 1))
    assert near or suspected(values, fdr) == max(fitting)


def test_suspects_and_their_order():
    frame = audit().suspects(0.1)
    wrong = (noisy() != data().y).numpy()
    assert frame["credibility"].is_monotonic_increasing
    assert frame["credibility"].mean() <= 0.1
    assert list(frame["node"]) == list(frame.index)
    # Drawn errors are known: nearly all suspects are wrong, and their suggestions are right.
    assert wrong[frame.index].mean() > 0.8
    assert wrong[frame.index].sum() > 0.8 * wrong.sum()
    sure = frame[frame["probability"] > 0.9]
    assert (sure["suggested"].to_numpy(int) == data().y[sure.index].numpy()).mean() > 0.9
    assert len(audit().suspects(0.0)) <= len(frame) <= len(audit().suspects(0.5))
    assert len(audit().suspects(1.0)) == 120


def test_suggestions_abstain():
    frame = audit().suspects(1.0, min_probability=0.7)
    assert (frame["suggested"].isna() == (frame["probability"] < 0.7)).all()
    assert frame["suggested"].isna().any()
    assert frame["suggested"].notna().any()
    assert (frame["suggested"] != frame["given"]).all()
    assert audit().suspects(1.0, min_probability=0.0)["suggested"].notna().all()


def test_review_finds_most_in_expectation():
    frame = audit().review(30)
    assert len(frame) == 30
    assert list(frame["node"]) == list(audit().to_frame()["node"][:30])
    best = np.sort(1 - audit().posterior.credibility)[::-1][:30]
    assert np.allclose(frame["expected_wrong"], best.cumsum())
    assert len(audit().review(0)) == 0
    assert len(audit().review(10**6)) == 120


def test_equal_credibilities_are_in_the_order_of_positions():
    made = replace(audit().posterior, probability=np.full((120, 3), 1 / 3))
    assert list(gn.Audit(data(), noisy(), posterior=made).review(120)["node"]) == list(range(120))


def test_reasons_in_words():
    graph = gn.as_graph([[0, 0, 0, 1, 2, 3, 3], [1, 2, 3, 0, 0, 0, 3]])
    made = posterior([0.17, 0.9, 0.9, 0.9])
    made = replace(made, classes=np.array(["Nets", "Theory"], dtype=object))
    texts = reasons(graph, made, np.array([0, 3]), np.array([1, 1]), np.array([0, 1, 1, -1]))
    assert texts[0] == "2 of 2 neighbours say Theory; prediction without its label: Theory (.83); given: Nets"
    assert texts[1] == "0 of 1 neighbour says Theory; prediction without its label: Nets (.90); given: Nets"
    alone = reasons(gn.as_graph([[0], [1]], num_nodes=4), made, np.array([3]), np.array([1]), np.zeros(4, dtype=int))
    assert alone[0].startswith("no labelled neighbour; prediction")


def test_estimates_are_near_the_drawn_noise():
    for kind, word in (("symmetric", "symmetric"), ("pair", "pairs: ")):
        result, rate = audit(kind, 0.2), float((noisy(kind, 0.2) != data().y).double().mean())
        assert result.test.p_value < 0.05
        assert abs(result.estimate.rate.value - rate) < 0.05
        assert result.estimate.rate.low < rate < result.estimate.rate.high
        assert result.kind.startswith(word)
        truth = gn.noise.from_counts(
            torch.bincount(data().y * 3 + noisy(kind, 0.2), minlength=9).reshape(3, 3)
        ).matrix.numpy()
        frame = result.transition
        assert list(frame.columns) == ["true", "given", "probability", "low", "high"]
        assert ((frame["low"] <= frame["probability"]) & (frame["probability"] <= frame["high"])).all()
        assert np.mean((frame["low"] <= truth.ravel() + 1e-3) & (truth.ravel() <= frame["high"])) > 0.8
        sums = frame.groupby("true")["probability"].sum()
        assert np.allclose(sums, 1)


def test_clean_labels_show_no_noise():
    result = audit("symmetric", 0.0)
    assert result.test.p_value > 0.05
    assert result.kind.startswith("none found")
    assert result.estimate.rate.value < 0.03
    assert "no sign that labels are wrong" in result.report()


def test_interval_of_the_rate_where_classes_are_known_is_that_of_a_binomial():
    # 200 nodes of two classes, predictions beyond doubt, 40 labels wrong.
    true = np.repeat([0, 1], 100)
    given = np.where(np.arange(200) % 5 == 0, 1 - true, true)
    prior = np.where(np.eye(2)[true] > 0, 1 - 1e-12, 1e-12)
    made = LabelPosterior(np.eye(2)[true], prior, gn.noise.symmetric(2, 0.2), np.full(2, 0.5), np.arange(2), given)
    rate = noise_estimate(made, np.full(200, -1)).rate
    assert rate.value == pytest.approx(0.2)
    low, high = beta.ppf([0.025, 0.975], 41, 161)
    assert (rate.low, rate.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_kinds_in_words():
    def kind(matrix, width=0.02):
        matrix = np.asarray(matrix)
        estimate = NoiseEstimate(Interval(0.1, 0, 1), matrix, matrix - width, matrix + width)
        return noise_kind(estimate, np.ones(len(matrix)), ["a", "b", "c"][: len(matrix)])

    assert kind(gn.noise.symmetric(3, 0.3).matrix).startswith("symmetric")
    assert kind(gn.noise.pair(3, 0.3).matrix) == "pairs: a → b (0.30), b → c (0.30), c → a (0.30)"
    assert kind([[1, 0, 0], [0.05, 0.9, 0.05], [0.25, 0.25, 0.5]]) == (
        "class-dependent: most in c (0.50 wrong), b (0.10 wrong), a (0.00 wrong)"
    )
    assert kind([[0.9, 0.1], [0.1, 0.9]]).startswith("symmetric")
    assert kind([[1, 0], [0.4, 0.6]]).startswith("class-dependent")


def test_morans_i_by_its_definition():
    rng = np.random.default_rng(0)
    made = replace(posterior(rng.random(12)), given=np.where(np.arange(12) == 5, -1, 0))
    dense = np.triu(rng.random((12, 12)) < 0.4, 1) * rng.random((12, 12))
    weights = dense + dense.T
    graph = gn.as_graph(torch.from_numpy(weights).to_sparse())
    rest = np.delete(np.arange(12), 5)
    z = (1 - made.probability[rest, 0]) - (1 - made.probability[rest, 0]).mean()
    w = weights[np.ix_(rest, rest)]
    assert morans_i(graph, made) == pytest.approx(11 / w.sum() * (z @ w @ z) / (z @ z))
    assert morans_i(gn.as_graph([[0], [0]], num_nodes=12), made) is None
    assert morans_i(graph, posterior(np.full(12, 0.5))) is None


def test_clumps_are_told():
    # A path of twenty nodes: the first half is wrong.
    ends = torch.arange(19)
    graph = torch.stack([torch.cat([ends, ends + 1]), torch.cat([ends + 1, ends])])
    made = posterior(np.r_[np.full(10, 0.001), np.full(10, 0.999)])
    assert morans_i(gn.as_graph(graph), made) > 0.8
    assert abs(audit().morans_i) < 0.2


def test_names_of_nodes_and_classes():
    result = named()
    frame = result.to_frame()
    assert len(frame) == 109
    assert set(frame["given"]) <= set(NAMES)
    assert all(node == f"n{i}" for i, node in frame["node"].items())
    assert np.isnan(result.credibility[::11]).all()
    assert result.names[7] == "n7"
    corrected = result.corrected()
    assert corrected.dtype == object
    assert corrected[0] is None
    assert (corrected == NAMES[data().y.numpy()]).sum() > (result.posterior.given == data().y.numpy()).sum()
    assert any(frame["why"].str.contains("neighbours say"))
    assert (frame["why"] != "").sum() == frame["in_suspects"].sum() == len(result.suspects())


def test_report():
    text = audit("pair", 0.25).report(0.05)
    assert "120 of 120 nodes are labelled, 3 classes" in text
    assert "some labels are wrong" in text
    assert "5 % are expected to be right" in text


@pytest.mark.parametrize("how", ["drop", "reweight", "soften", "replace"])
def test_corrections(how):
    result = audit()
    suspects = result.suspects().index
    for source in (result, result.posterior):
        y, weights = correct(source, how)
        assert weights.dtype == torch.float64
        assert weights.shape == (120,)
        if how == "soften":
            assert torch.equal(y, torch.from_numpy(result.posterior.probability))
            assert (weights == 1).all()
            continue
        kept = np.setdiff1d(np.arange(120), suspects)
        assert torch.equal(y[kept], noisy()[kept])
        if how == "reweight":
            assert np.allclose(weights, result.posterior.credibility)
            continue
        assert (weights[kept] == 1).all()
        assert ((y[suspects] >= 0) == (weights[suspects] == 1)).all()
        right = (y[suspects] == data().y[suspects]).double().mean()
        assert (right > 0.8) if how == "replace" else (y[suspects] == -1).all()


def test_same_seed_same_result():
    first, second = audit(), gn.Audit(data(), noisy())
    pandas.testing.assert_frame_equal(first.to_frame(), second.to_frame())
    pandas.testing.assert_frame_equal(first.transition, second.transition)
    assert first.test == second.test


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gn.Audit(data(), [0] * 120), "at least two classes"),
        (lambda: gn.Audit(data(), [-1] * 120), "at least one labelled node"),
        (lambda: gn.Audit(data(), [float("nan")] * 120), "at least one labelled node"),
        (lambda: gn.Audit(data(), [""] * 120), "at least one labelled node"),
        (lambda: gn.Audit(data(), noisy()[:5]), "120 labels, one per node"),
        (lambda: gn.Audit(data(), noisy(), data().x[:5]), "x: expected 120 rows"),
        (lambda: gn.Audit(data(), noisy(), data().x * float("nan")), "finite"),
        (lambda: gn.Audit(data(), noisy(), data().x.double() * 1e300), "x: expected features of at most"),
        (lambda: gn.audit.label_posterior(data(), noisy(), data().x[:, :0]), "x: expected at least one node and one"),
        (lambda: gn.Audit(None, noisy(), data().x), "graph: expected"),
        (lambda: gn.Audit(data(), noisy(), seed=-1), "seed"),
        (lambda: gn.Audit(data(), noisy(), posterior=3), "posterior: expected a LabelPosterior, got int"),
        (lambda: audit().suspects(1.5), "fdr: expected a rate"),
        (lambda: audit().suspects(0.1, -1), "min_probability"),
        (lambda: audit().review(-1), "count"),
        (lambda: correct(audit(), "erase"), "how: expected one of"),
        (lambda: correct(3), "audit: expected a gn.Audit or a LabelPosterior, got int"),
    ],
)
def test_odd_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_features_of_a_sparse_matrix_and_directed_graphs():
    dense = gn.audit.label_posterior(data(), noisy(), data().x).probability
    sparse = gn.audit.label_posterior(data(), noisy(), data().x.to_sparse_csr()).probability
    of_data = data().clone()
    of_data.x = sp.csc_array(data().x.numpy())
    assert (gn.Audit(of_data, noisy()).posterior.probability == dense).all()
    for detect in (gn.audit.detect.posterior, gn.audit.detect.graph_gp, gn.audit.crossfit):
        assert (detect(data(), noisy(), of_data.x) == detect(data(), noisy(), data().x)).all()
    of_data.x.indices[0] = 500
    with pytest.raises(InputError, match="x: expected a valid SciPy sparse matrix, got one whose indices"):
        gn.audit.label_posterior(data(), noisy(), of_data.x)
    # One arc per edge, with no warning.
    once = data().edge_index[:, data().edge_index[0] < data().edge_index[1]]
    directed = gn.audit.label_posterior(once, noisy(), data().x).probability
    assert (sparse == dense).all()
    assert (directed == dense).all()


def test_all_of_the_audit_of_a_directed_graph_is_that_of_the_undirected_one():
    once = data().edge_index[:, data().edge_index[0] < data().edge_index[1]]
    directed, both = gn.Audit(once, noisy(), data().x), audit()
    pandas.testing.assert_frame_equal(directed.suspects(), both.suspects())
    assert directed.morans_i == pytest.approx(both.morans_i)
    assert directed.test == both.test
    for detect in (gn.audit.detect.graph_gp, gn.audit.detect.posterior):
        assert (detect(once, noisy(), data().x) == detect(data(), noisy(), data().x)).all()


@pytest.mark.parametrize("x", [torch.ones(100, 1), torch.randn(100, 1, generator=torch.Generator().manual_seed(1))])
def test_features_that_say_nothing_are_not_used(x):
    clean = gn.datasets.planted_partition([50, 50], 0.2, 0.02, num_features=0, seed=1)
    with pytest.warns(UserWarning, match="features are not used"):
        result = gn.Audit(gn.as_graph(clean), clean.y, x)
    assert (result.posterior.probability == gn.Audit(gn.as_graph(clean), clean.y).posterior.probability).all()
    assert result.test.p_value > 0.05
    assert result.estimate.rate.value < 0.05


def test_posteriors_of_ones_own():
    made = audit().posterior
    same = gn.Audit(data(), noisy(), posterior=made)
    pandas.testing.assert_frame_equal(same.suspects(), audit().suspects())
    for change, message in (
        ({"probability": made.probability * 0.9}, "posterior.probability: expected rows that sum to 1"),
        ({"prior": made.prior[:, :2]}, "posterior.prior: expected 3 columns, one per class"),
        ({"prior": made.prior[:7]}, "posterior.prior: expected 120 rows"),
        ({"probability": np.full_like(made.probability, np.nan)}, "finite"),
        ({"transition": gn.noise.identity(2)}, "posterior.transition: expected a matrix of 3 classes"),
        ({"given": data().y.numpy()}, "posterior: expected one of the labels y"),
    ):
        with pytest.raises(InputError, match=message):
            gn.Audit(data(), noisy(), posterior=replace(made, **change))


def test_a_graph_without_edges_and_more_classes_than_can_be_learned():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.repeat(np.eye(3), 20, axis=0) + 0.1 * rng.standard_normal((60, 3)))
    y = np.repeat([0, 1, 2], 20)
    y[[3, 30]] = 2, 0
    result = gn.Audit(gn.Graph.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), 60), y, x)
    assert result.morans_i is None
    assert list(result.suspects()["why"].str.startswith("no labelled neighbour")) == [True] * len(result.suspects())
    # Each node has a class of its own: nothing can be learned, and nothing is claimed.
    with pytest.warns(UserWarning, match="features are not used"):
        alone = gn.Audit(data(), np.where(np.arange(120) % 12 == 0, np.arange(120), -1))
    assert alone.test.p_value > 0.05
    assert np.isfinite(alone.posterior.probability).all()

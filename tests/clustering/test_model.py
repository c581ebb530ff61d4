import functools
import math

import networkx
import numpy as np
import pytest
from sklearn.base import clone

from graphnoise import Graph, InputError, datasets, noise
from graphnoise.clustering import (
    LocalCluster,
    approximate_pagerank,
    as_undirected,
    capacity_releasing,
    conductance,
    flow_diffusion,
    heat_kernel,
    l1_pagerank,
    precision_recall_f1,
    predict_membership,
)

BLOCK = 500
PATH = [[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]


@functools.cache
def planted(p):
    data = datasets.planted_partition([BLOCK] * 20, p, 0.002, seed=31)
    return as_undirected(Graph.from_data(data)), data.y.numpy()


def trial(p, a1, a0, number):
    graph, y = planted(p)
    rng = np.random.default_rng([37, number, int(1000 * p), int(100 * a1), int(100 * a0)])
    inside = y == rng.integers(20)
    seed = int(rng.choice(np.flatnonzero(inside)))
    labels = np.where(inside, rng.random(len(y)) < a1, rng.random(len(y)) >= a0).astype(np.uint8)
    return graph, inside, seed, labels


@functools.cache
def caves():
    """Eight cliques of 10 nodes in a ring, and labels that are right but for three nodes."""
    graph = networkx.connected_caveman_graph(8, 10)
    labels = (np.arange(80) // 10 == 3).astype(int)
    labels[[33, 5, 71]] ^= 1
    return as_undirected(graph), labels


def f1(model, inside):
    return precision_recall_f1(model.nodes_, inside).f1


@pytest.mark.parametrize(("sink", "rounding"), [("degree", "sweep"), ("unit", "sweep"), ("degree", "support")])
@pytest.mark.parametrize(("p", "a1", "a0", "least"), [(0.03, 0.9, 0.9, 0.8), (0.05, 0.8, 0.9, 0.8)])
def test_f1_is_close_to_that_of_the_best_mass(p, a1, a0, least, sink, rounding):
    known, result = [], []
    for number in range(6):
        graph, inside, seed, labels = trial(p, a1, a0, number)
        # Which the seed overrules.
        labels[seed] = 0
        model = LocalCluster(sink=sink, rounding=rounding).fit(graph, [seed], labels=labels, a1=a1, a0=a0)
        result.append(f1(model, inside))
        assert model.weighted_
        masses = [
            multiple * (BLOCK if sink == "unit" else graph.degree[inside].sum()) for multiple in (0.8, 1.1, 1.5, 2, 3)
        ]
        runs = [flow_diffusion(graph, seed, mass, labels, 0.05, sink, 1e-2) for mass in masses]
        known.append(max(precision_recall_f1(run.support, inside).f1 for run in runs))
    assert np.mean(result) > np.mean(known) - 0.05
    assert np.mean(result) > least


@pytest.mark.parametrize("method", ["flow", "pagerank", "l1_pagerank", "heat_kernel", "crd"])
@pytest.mark.parametrize("rounding", ["sweep", "support"])
def test_every_method_finds_a_clear_cluster(method, rounding):
    graph, labels = caves()
    model = LocalCluster(method, rounding=rounding).fit(graph, 34, labels)
    result = precision_recall_f1(model.nodes_, range(30, 40))
    assert result.recall >= 0.9
    # A support has a margin.
    assert result.precision > (0.3 if rounding == "support" else 0.9)
    assert model.arcs_ == sum(one.arcs for one in model.path_) > 0
    assert model.pushes_ == sum(one.pushes for one in model.path_) > 0
    assert math.isnan(model.mass_) == (method == "crd")
    assert model.converged_ == model.diffusion_.converged
    assert np.array_equal(model.scores_, model.diffusion_.dense(80)[model.nodes_])
    assert model.conductance_ == pytest.approx(
        conductance(graph, model.nodes_, labels=np.where(np.arange(80) == 34, 1, labels), label_eps=model.label_eps_)
    )


@pytest.mark.parametrize(
    ("method", "options", "function", "arguments"),
    [
        ("flow", {"sink": "unit", "tol": 0.05, "p": 2.5}, flow_diffusion, {"mass": 25.0}),
        ("pagerank", {"alpha": 0.3}, approximate_pagerank, {"eps": 0.1 / 25}),
        ("l1_pagerank", {"alpha": 0.3, "tol": 0.05}, l1_pagerank, {"rho": 0.1 / 25}),
        ("heat_kernel", {"t": 4.0}, heat_kernel, {"eps": 0.1 / 25}),
        ("crd", {"height": 4}, capacity_releasing, {}),
    ],
)
def test_options_are_those_of_the_diffusion(method, options, function, arguments):
    graph, labels = caves()
    masses = None if method == "crd" else [25.0]
    for pushes in (10**6, 7):
        model = LocalCluster(method, label_eps=0.3, masses=masses, max_pushes=pushes, **options).fit(graph, 34, labels)
        expected = function(graph, 34, labels=labels, label_eps=0.3, max_pushes=pushes, **options, **arguments)
        for name in ("touched", "values", "residual", "status", "pushes"):
            np.testing.assert_array_equal(getattr(model.diffusion_, name), getattr(expected, name))
    assert (expected.status, model.converged_) == ("max_pushes", False)


def test_the_selected_candidate_has_the_greatest_surprise_or_the_least_conductance():
    graph, _, seed, labels = trial(0.05, 0.8, 0.9, 0)
    for choice in ("surprise", "conductance"):
        model = LocalCluster(selection=choice, masses=[300.0, 3e3, 3e4, 6e4]).fit(graph, seed, labels, 0.8, 0.9)
        assert [one.mass for one in model.path_] == [300.0, 3e3, 3e4, 6e4]
        scores = [one.surprise if choice == "surprise" else -one.conductance for one in model.path_]
        selected = model.path_[int(np.argmax(scores))]
        assert (selected.mass, selected.label_eps, selected.size) == (model.mass_, model.label_eps_, len(model.nodes_))
        assert (selected.conductance, selected.surprise) == (model.conductance_, model.surprise_)
        assert [one.label_eps for one in model.path_] == sorted((one.label_eps for one in model.path_), reverse=True)


def test_surprise_is_negative_where_fewer_arcs_are_inside_than_expected():
    # The mass stays at the seed, which has one of six arc ends and no arc inside.
    model = LocalCluster(masses=[0.5], rounding="support").fit(PATH, 0)
    assert model.nodes_.tolist() == [0]
    assert model.surprise_ == pytest.approx(3 * math.log(1 - 1 / 36))


def test_surprise_equals_its_formula():
    graph, labels = caves()
    model = LocalCluster().fit(graph, 34, labels)
    dense = networkx.to_numpy_array(networkx.connected_caveman_graph(8, 10))
    q = (dense[np.ix_(model.nodes_, model.nodes_)].sum() - 2 * (len(model.nodes_) - 1)) / dense.sum()
    expected = (dense[model.nodes_].sum() / dense.sum()) ** 2
    divergence = q * math.log(q / expected) + (1 - q) * math.log((1 - q) / (1 - expected))
    assert model.surprise_ == pytest.approx(dense.sum() / 2 * divergence)


def test_no_labels_inaccurate_labels_and_label_eps_1_are_the_same():
    graph, labels = caves()
    plain = LocalCluster("flow").fit(graph, 34)
    for model, reason in (
        (plain, "no labels"),
        (LocalCluster(label_eps=1.0).fit(graph, 34, labels), "label_eps is 1"),
        (LocalCluster("flow").fit(graph, 34, labels, a1=0.5, a0=0.5), "labels say too little"),
    ):
        assert (model.weighted_, model.label_eps_) == (False, 1.0)
        assert reason in model.reason_
        assert model.path_ == plain.path_
        assert np.array_equal(model.nodes_, plain.nodes_)
    used = LocalCluster(label_eps=0.2).fit(graph, 34, labels)
    assert (used.weighted_, used.label_eps_, used.reason_) == (True, 0.2, "label_eps was given")
    unknown = LocalCluster("flow").fit(graph, 34, labels)
    assert (unknown.weighted_, unknown.label_eps_) == (True, 0.05)
    assert "a1 and a0 were not given" in unknown.reason_
    informed = LocalCluster("flow").fit(graph, 34, labels, 0.9, 0.95)
    assert "neighbours of a member" in informed.reason_


def test_labels_may_come_in_any_form():
    graph, labels = caves()
    target = LocalCluster("flow").fit(graph, 34, labels, 0.9, 0.9)
    for same in (labels.astype(bool), lambda nodes: labels[nodes], dict(enumerate(labels.tolist()))):
        assert LocalCluster("flow").fit(graph, 34, same, 0.9, 0.9).path_ == target.path_
    before = labels.copy()
    labels[34] = 0
    assert LocalCluster("flow").fit(graph, 34, labels, 0.9, 0.9).path_ == target.path_
    assert labels[34] == 0, "the caller's labels stay as they are"
    labels[:] = before


def test_a_membership_has_its_accuracies():
    graph, _ = caves()
    x = np.random.default_rng(0).normal(size=(80, 4)) + 4 * (np.arange(80) // 10 == 3)[:, None]
    labels = predict_membership(x, range(30, 36), range(50, 56))
    model = LocalCluster("flow").fit(graph, 34, labels)
    assert "neighbours of a member" in model.reason_
    assert f1(model, range(30, 40)) > 0.9
    noise = predict_membership(np.random.default_rng(0).normal(size=(80, 4)), range(30, 33), range(50, 53))
    assert not LocalCluster("flow").fit(graph, 34, noise).weighted_


def test_names_are_returned_and_accepted_for_labels():
    graph = networkx.relabel_nodes(networkx.connected_caveman_graph(8, 10), lambda i: f"n{i:02}")
    unnamed, labels = caves()
    target = LocalCluster("flow").fit(unnamed, [34, 36], labels, 0.9, 0.9)
    named = {f"n{i:02}": int(label) for i, label in enumerate(labels)}
    for observed in (named, lambda names: [named[name] for name in names]):
        model = LocalCluster("flow").fit(graph, ["n34", "n36"], observed, 0.9, 0.9)
        assert model.members_ == [f"n{i:02}" for i in target.nodes_]
        assert model.path_ == target.path_
        assert model.predict(["n34", "n00"]).tolist() == [True, False]
    assert np.array_equal(target.members_, target.nodes_)
    assert target.predict([34, 0]).tolist() == [True, False]


def test_seeds_may_have_different_shares_of_the_mass():
    graph, _ = caves()
    equal = LocalCluster().fit(graph, [34, 36])
    assert LocalCluster().fit(graph, {36: 5.0, 34: 5.0}).path_ == equal.path_
    assert LocalCluster().fit(graph, {36: 5.0, 34: 1.0}).path_ != equal.path_
    mask = np.zeros(80, dtype=bool)
    mask[[34, 36]] = True
    assert LocalCluster().fit(graph, mask).path_ == equal.path_


@pytest.mark.parametrize("how", ["mqi", "simple_local"])
def test_improvement_never_raises_the_conductance(how):
    graph, _, seed, labels = trial(0.05, 0.8, 0.9, 1)
    plain = LocalCluster("flow").fit(graph, seed, labels, 0.8, 0.9)
    better = LocalCluster(improve=how).fit(graph, seed, labels, 0.8, 0.9)
    assert better.conductance_ < plain.conductance_
    assert better.path_ == plain.path_
    assert len(better.scores_) == len(better.nodes_)


def test_the_grid_ends_before_a_large_graph_does():
    data = datasets.planted_partition([50] * 600, 0.3, 1e-4, seed=0)
    model = LocalCluster().fit(data, 5)
    assert f1(model, range(50)) > 0.9
    assert len(model.path_) == 16
    assert all(one.volume < 0.25 * data.edge_index.shape[1] for one in model.path_)


@pytest.mark.parametrize("method", ["flow", "pagerank", "l1_pagerank", "heat_kernel", "crd"])
def test_degenerate_graphs_give_a_cluster(method):
    for graph, seeds in (
        # A seed without neighbours.
        ([[1, 2], [2, 1]], 0),
        ([[1, 2], [2, 1]], 1),
        # More mass than the component holds.
        ([[0, 1, 2, 3], [1, 0, 3, 2]], 0),
        (PATH, [0, 1, 2, 3]),
        # Loops alone.
        ([[0, 0], [0, 0]], 0),
        (networkx.star_graph(30), 0),
        (networkx.star_graph(30), 7),
        (networkx.complete_graph(12), 3),
        (networkx.empty_graph(3), 1),
    ):
        for rounding in ("sweep", "support"):
            for labels in (None, lambda nodes: np.zeros(len(nodes))):
                model = LocalCluster(method, rounding=rounding, improve="mqi").fit(graph, seeds, labels)
                assert len(model.nodes_) > 0
                assert 0 <= model.conductance_ <= 1
                assert np.isfinite(model.scores_).all()
                assert np.isfinite(model.surprise_)


def test_it_is_a_scikit_learn_estimator():
    model = LocalCluster("heat_kernel", t=5.0, masses=[10.0, 20.0])
    assert model.get_params()["t"] == 5.0
    other = clone(model).set_params(t=7.0, method="pagerank")
    assert (other.t, other.method, other.masses) == (7.0, "pagerank", [10.0, 20.0])
    assert "LocalCluster(" in repr(other)
    graph, _ = caves()
    assert other.fit(graph, 34) is other
    assert [one.mass for one in other.path_] == [10.0, 20.0]
    with pytest.raises(InputError, match="method: expected one of"):
        other.set_params(method="flo").fit(graph, 34)


def test_fitted_attributes_do_not_exist_before_fit():
    model = LocalCluster()
    with pytest.raises(AttributeError, match="expected a fitted model"):
        model.nodes_  # noqa: B018
    with pytest.raises(InputError, match="expected a fitted model"):
        model.predict(0)
    assert not hasattr(model, "members_")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "flows"}, r"method: expected one of auto, crd, flow, .* \(did you mean 'flow'\?\)"),
        ({"sink": "square"}, "sink: expected one of degree, unit"),
        ({"rounding": None}, "rounding: expected one of"),
        ({"selection": "best"}, "selection: expected one of"),
        ({"improve": "crd"}, "improve: expected one of mqi, simple_local"),
        ({"label_eps": 1.5}, r'label_eps: expected a number in \[0, 1\], or "auto"'),
        ({"label_eps": "small"}, r'label_eps: expected a number in \[0, 1\], or "auto"'),
        ({"masses": []}, "masses: expected numbers above 0, ascending"),
        ({"masses": [2.0, 1.0]}, "masses: expected numbers above 0, ascending"),
        ({"masses": [1.0, 1.0]}, "masses: expected numbers above 0, ascending"),
        ({"masses": [0.0, 1.0]}, "masses: expected numbers above 0, ascending"),
        ({"masses": [1.0, math.nan]}, "masses: expected finite numbers"),
        ({"masses": "all"}, "masses: expected"),
        ({"masses": [1.0], "method": "crd"}, "masses: expected None with method"),
        ({"alpha": 1.0, "method": "pagerank"}, "alpha: expected"),
        ({"t": 0.0, "method": "heat_kernel"}, "t: expected"),
        ({"p": 1.0}, "p: expected"),
        ({"tol": 0.0}, "tol: expected"),
        ({"height": 0, "method": "crd"}, "height: expected"),
        ({"max_pushes": 0}, "max_pushes: expected"),
    ],
)
def test_bad_settings_are_named_in_the_constructor(settings, message):
    with pytest.raises(InputError, match=message):
        LocalCluster(**settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a1": 0.9, "a0": 0.9}, "a1: expected None without labels, got 0.9"),
        ({"a0": 0.9}, "a0: expected None without labels"),
        ({"labels": [0, 1, 0, 1], "a1": 0.9}, "a0: expected a number, since a1 is one"),
        ({"labels": [0, 1, 0, 1], "a0": 0.9}, "a1: expected a number, since a0 is one"),
        ({"labels": [0, 1, 0, 1], "a1": 1.9, "a0": 0.9}, "a1: expected a rate"),
        ({"labels": [0, 1, 0, 1], "a1": 0.9, "a0": "high"}, "a0: expected a rate"),
        ({"labels": [0, 1]}, "labels: expected 4 labels"),
        ({"labels": [0, 1, 2, 1]}, "labels: expected 0 or 1"),
        ({"seeds": []}, "seeds: expected at least one node"),
        ({"seeds": 4}, "seeds: expected positions"),
        ({"seeds": {0: -1.0}}, "mass: expected a finite number above 0"),
        ({"graph": "path"}, "graph: expected"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        LocalCluster().fit(**{"graph": PATH, "seeds": 0} | arguments)


def few_inside_a_block():
    """Blocks of 200 nodes, in the first of which a node and its neighbours are inside, and noisy labels."""
    graph = as_undirected(Graph.from_data(datasets.planted_partition([200] * 5, 0.1, 0.002, seed=0)))
    inside = np.zeros(1000, dtype=bool)
    inside[[0, *graph.col[: graph.rowptr[1]]]] = True
    return graph, noise.flip_membership(inside, a1=0.9, a0=0.95, seed=0).y


@pytest.mark.parametrize(
    "form", [lambda y: y, lambda y: lambda nodes: y[nodes], lambda y: {v: y[v] for v in range(900)}]
)
def test_candidates_whose_labels_say_that_they_are_another_set_are_refused(form):
    graph, labels = few_inside_a_block()
    settings, y = {"method": "flow", "label_eps": 0.9}, labels
    # By surprise the block is best.
    assert len(LocalCluster(**settings).fit(graph, 0, form(y)).nodes_) > 190
    model = LocalCluster(**settings).fit(graph, 0, form(y), a1=0.9, a0=0.95)
    refused = [candidate for candidate in model.path_ if candidate.refused]
    assert refused
    assert all(candidate.size > 190 and candidate.share < 0.25 for candidate in refused)
    assert len(model.nodes_) < 100
    best = max((c for c in model.path_ if not c.refused), key=lambda c: c.surprise)
    assert (best.size, best.share) == (len(model.nodes_), pytest.approx(y[model.nodes_].mean()))
    assert all(math.isnan(c.share) and not c.refused for c in LocalCluster(**settings).fit(graph, 0, form(y)).path_)


def test_a_warning_where_every_candidate_is_refused():
    graph, labels = few_inside_a_block()
    model = LocalCluster("flow", label_eps=0.9, masses=[5000.0, 5500.0])
    with pytest.warns(UserWarning, match=r"share of label 1 near 0.9 \(a1\), got none; the one selected has 0.2"):
        model.fit(graph, 0, labels, a1=0.9, a0=0.95)
    assert [candidate.refused for candidate in model.path_] == [True] * len(model.path_)
    assert len(model.nodes_) == max(model.path_, key=lambda candidate: candidate.share).size
    assert 0 in model.nodes_

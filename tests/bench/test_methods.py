import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from torch_geometric.data import Data

from graphnoise import InputError
from graphnoise.bench import registry
from graphnoise.bench.methods.problem import Instance, Trial
from graphnoise.propagation import propagate

LINEAR = ("lp", "centroid", "sgc", "sgc-tv", "lpc", "ggp")
NETWORKS = ("mlp", "gcn", "gat")
TRAINED = ("ce", "forward", "co-teaching", "icgnn")
NAMES = (*LINEAR, *NETWORKS, "gcn-tv", *TRAINED)


def create(name, settings=None):
    return registry.create("node_methods", name, settings)[0]


def planted(seed=0, classes=3, size=40, width=60):
    """Three blocks with dense edges inside, and features of which each class has its own."""
    g = torch.Generator().manual_seed(seed)
    n = classes * size
    y = torch.arange(n) % classes
    upper = torch.rand(n, n, generator=g).triu(1)
    p = torch.where(y.unsqueeze(0) == y.unsqueeze(1), 0.2, 0.02)
    arcs = ((upper > 0) & (upper < p)).nonzero().t()
    own = (torch.arange(width) % classes == y.unsqueeze(1)).float()
    x = (torch.rand(n, width, generator=g) < 0.02 + 0.15 * own).float()
    order = torch.randperm(n, generator=g)
    masks = {}
    for name, nodes in zip(("train", "val", "test"), order.split([30, 30, n - 60]), strict=True):
        masks[f"{name}_mask"] = torch.zeros(n, dtype=torch.bool).index_fill(0, nodes, True)
    return Instance(Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], dim=1), y=y, **masks))


def trial(instance, seed=0, **more):
    problem = instance.problem
    return Trial(problem, torch.where(problem.train_mask | problem.val_mask, instance.truth, -1), seed, **more)


@pytest.fixture(scope="module")
def instance():
    return planted()


def tensors(value):
    """Yield the tensors inside lists, dictionaries and objects of this package."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)
    elif type(value).__module__.startswith("graphnoise."):
        yield from tensors(vars(value))


def test_the_truth_is_out_of_reach(instance):
    """No tensor that a method can reach holds the true labels: neither by name nor by value."""
    reached = trial(instance)
    reachable = list(tensors([reached.problem, reached.y]))
    assert len(reachable) > 5
    for tensor in reachable:
        assert tensor.shape != instance.truth.shape or not torch.equal(tensor.long(), instance.truth)
    assert not hasattr(reached.problem, "truth")


@pytest.mark.parametrize("name", [*NAMES, "erase"])
def test_methods_change_nothing_that_cells_share(name, instance):
    method = create(name, {} if name in LINEAR else {"epochs": 2})
    method.fit_predict(trial(instance))
    before = {id(tensor): (tensor, tensor._version, tensor.clone()) for tensor in tensors(instance)}
    labels = trial(instance)
    observed = labels.y.clone()
    method.fit_predict(labels)
    assert torch.equal(labels.y, observed)
    for tensor, version, copy in before.values():
        assert tensor._version == version
        assert torch.equal(tensor.to_dense(), copy.to_dense())


@pytest.mark.parametrize("name", NAMES)
def test_methods_learn_planted_classes_and_only_the_seed_matters_if_anything(name, instance):
    method, scores, problem = create(name), [], instance.problem
    for state, seed in ((0, 5), (1, 5), (0, 6)):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            scores.append(method.fit_predict(trial(instance, seed=seed)))
    assert scores[0].shape == (problem.num_nodes, problem.num_classes)
    right = (scores[0].argmax(1) == instance.truth)[problem.test_mask].float().mean()
    assert right > 0.75, f"{float(right):.2f} of the test nodes"
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2]) is not method.stochastic


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_report_each_epoch_and_stop_by_patience(name, instance):
    seen = []
    reported = trial(instance, report=lambda loss, predicted: seen.append((loss, predicted.shape)))
    create(name, {"epochs": 60, "patience": 10}).fit_predict(reported)
    assert 10 < len(seen) <= 60
    assert all(shape == instance.problem.train.shape for _, shape in seen)
    assert seen[-1][0] < seen[0][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_noise_emptied_is_no_error(name, instance):
    one_class = trial(instance)
    one_class.y = torch.where(one_class.y >= 0, 1, one_class.y)
    scores = create(name).fit_predict(one_class)
    assert torch.isfinite(scores).all()
    assert (scores.argmax(1) == 1)[instance.problem.train].all()


def given(instance, val_labels):
    """Positions and labels of the training nodes, and of the validation nodes if asked for, as arrays."""
    problem = instance.problem
    nodes = torch.cat([problem.train, problem.val]) if val_labels else problem.train
    return nodes.numpy(), trial(instance).y[nodes].numpy()


@pytest.mark.parametrize(
    ("name", "options", "val_labels"),
    [("sgc", {}, False), ("sgc", {"val_labels": True}, True), ("sgc-tv", {}, True), ("lpc", {"share": 1.0}, True)],
)
def test_sgc_is_logistic_regression_on_the_given_labels(name, options, val_labels, instance):
    """No class has more than all that arrives, so that lpc with share=1 changes no label."""
    x, (nodes, labels) = instance.problem.smoothed(2).numpy(), given(instance, val_labels)
    expected = LogisticRegression(max_iter=1000).fit(x[nodes], labels).predict_proba(x)
    assert create(name, options).fit_predict(trial(instance)).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("val_labels", [True, False])
def test_centroid_ranks_classes_by_the_cosine_to_their_mean(val_labels, instance):
    x, (nodes, labels) = instance.problem.smoothed(2).numpy(), given(instance, val_labels)
    cosines = cosine_similarity(x, np.stack([x[nodes][labels == c].mean(0) for c in range(3)]))
    scores = create("centroid", {"val_labels": val_labels}).fit_predict(trial(instance)).numpy()
    assert scores == pytest.approx(np.exp(cosines) / np.exp(cosines).sum(1, keepdims=True), abs=1e-6)


def test_centroid_gives_no_class_to_nodes_without_features(instance):
    data, (ends, neighbours) = instance.data.clone(), instance.problem.graph.edge_index
    data.x = data.x.index_fill(0, torch.cat([torch.tensor([0]), neighbours[ends == 0]]), 0.0)
    scores = create("centroid", {"hops": 1}).fit_predict(trial(Instance(data)))
    assert (scores[0] == 0).all()
    assert scores.sum(1) == pytest.approx((scores != 0).any(1).float())
    assert (scores != 0).any()


def test_lpc_corrects_labels_by_propagation_of_the_others(instance):
    """The labels are those of the definition: one propagation for each labelled node, its own label left out."""
    noisy, problem = trial(instance), instance.problem
    labelled = (noisy.y >= 0).nonzero().view(-1)
    wrong = labelled[::4]
    noisy.y[wrong] = (noisy.y[wrong] + 1) % 3
    nodes, corrected = create("lpc").labels(noisy)
    assert nodes.tolist() == torch.cat([problem.train, problem.val]).tolist()
    for node, label in zip(nodes.tolist(), corrected.tolist(), strict=True):
        start = torch.zeros(problem.num_nodes, 3)
        others = labelled[labelled != node]
        start[others, noisy.y[others]] = 1.0
        arrived = propagate(problem.graph, start, alpha=0.9, num_steps=50).y[node]
        best = int(arrived.argmax())
        assert label == (best if arrived[best] > 0.5 * arrived.sum() else noisy.y[node])
    # One node of another class, of which the others' propagation makes the same.
    noisy.y[labelled] = 0
    noisy.y[problem.train[0]] = 1
    assert (create("lpc").fit_predict(noisy).argmax(1) == 0).all()


def test_lpc_makes_more_labels_right(instance):
    noisy = trial(instance)
    wrong = (noisy.y >= 0).nonzero().view(-1)[::4]
    noisy.y[wrong] = (noisy.y[wrong] + 1) % 3
    nodes, corrected = create("lpc").labels(noisy)
    right = instance.truth[nodes]
    assert (corrected == right).sum() > (noisy.y[nodes] == right).sum()


def test_val_labels_are_read_where_asked_for_alone(instance):
    """Without them a network selects by them; with them it runs all epochs."""
    for name, options in (
        ("sgc", {}),
        ("centroid", {}),
        ("lpc", {}),
        ("ggp", {}),
        ("gcn", {"epochs": 3}),
        ("mlp", {"epochs": 3}),
    ):
        scores = {}
        for val_labels in (True, False):
            noisy = trial(instance)
            noisy.y[instance.problem.val] = (noisy.y[instance.problem.val] + 1) % 3
            method = create(name, {**options, "val_labels": val_labels})
            scores[val_labels] = [method.fit_predict(changed) for changed in (trial(instance), noisy)]
        assert not torch.equal(*scores[True])
        if name in LINEAR:
            assert torch.equal(*scores[False])
    seen = []
    reported = trial(instance, report=lambda loss, predicted: seen.append(predicted.shape))
    create("gcn-tv", {"epochs": 50, "patience": 1}).fit_predict(reported)
    assert seen == [instance.problem.train.shape] * 50


@pytest.mark.parametrize("name", ["centroid", "sgc-tv", "lpc", "ggp"])
def test_a_class_without_given_labels_is_not_predicted(name, instance):
    noisy = trial(instance)
    noisy.y[noisy.y == 2] = 0
    scores = create(name).fit_predict(noisy)
    assert (scores[:, 2] == 0).all()
    assert set(scores.argmax(1).tolist()) == {0, 1}


def test_unknown_names_suggest_the_nearest():
    assert set(NAMES) <= set(registry.names("node_methods"))
    with pytest.raises(InputError, match="did you mean 'gcn'"):
        create("gnc")
    with pytest.raises(InputError, match=r"hyper-parameter of gcn: .*did you mean 'hidden'"):
        create("gcn", {"hiden": 3})
    with pytest.raises(InputError, match=r"gat.dropout: expected a number in \[0, 0.99\], got 1.5"):
        create("gat", {"dropout": 1.5})
    for name in ("sgc", "gcn", "centroid", "lpc", "ggp"):
        with pytest.raises(InputError, match="val_labels: expected True or False, got 1"):
            create(name, {"val_labels": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(119, 2)}, "data.x: expected 120 rows"),
        ({"val_mask": lambda i: i.problem.val_mask | i.problem.train_mask}, "data: expected splits without a node"),
        ({"test_mask": lambda i: i.problem.test_mask | i.problem.train_mask}, "data: expected splits without a node"),
        ({"val_mask": lambda i: i.problem.val_mask | i.problem.test_mask}, "data: expected splits without a node"),
        ({"edge_weight": torch.ones(3)}, "data.edge_weight: expected none"),
        ({"x": torch.full((120, 60), torch.nan)}, "data.x: expected finite numbers"),
        ({"edge_index": torch.tensor([[0], [120]])}, "edge_index: expected node positions from 0 to 119"),
        ({"y": torch.full((120,), -1)}, "data.y: expected a label for every node of train_mask"),
        ({"y": torch.zeros(7, dtype=torch.long)}, "data.y: expected 120 labels"),
        ({"val_mask": torch.ones(5, dtype=torch.bool)}, "data.val_mask: expected a mask of 120 entries"),
        (
            {"train_mask": lambda i: i.problem.train_mask & (i.truth == 0)},
            "data.train_mask: expected training nodes of every class",
        ),
        ({"test_mask": torch.zeros(120, dtype=torch.bool)}, "data.test_mask: expected at least one node"),
    ],
)
def test_data_that_are_not_valid_are_named(change, message, instance):
    p = instance.problem
    fields = {"x": p.x, "edge_index": p.graph.edge_index, "y": instance.truth}
    fields |= {f"{s}_mask": getattr(p, f"{s}_mask") for s in ("train", "val", "test")}
    change = {key: value(instance) if callable(value) else value for key, value in change.items()}
    with pytest.raises(InputError, match=message):
        Instance(Data(**(fields | change), num_nodes=120))

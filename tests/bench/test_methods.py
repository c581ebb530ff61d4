import pytest
import torch
from torch_geometric.data import Data

from graphnoise import InputError
from graphnoise.bench import registry
from graphnoise.bench.methods.problem import Instance, Trial

NAMES = ("lp", "sgc", "mlp", "gcn", "gat")


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
    method = create(name, {} if name in ("lp", "sgc") else {"epochs": 2})
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


@pytest.mark.parametrize("name", ["mlp", "gcn", "gat"])
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


def test_unknown_names_suggest_the_nearest():
    assert set(NAMES) <= set(registry.names("node_methods"))
    with pytest.raises(InputError, match="did you mean 'gcn'"):
        create("gcnn")
    with pytest.raises(InputError, match=r"hyper-parameter of gcn: .*did you mean 'hidden'"):
        create("gcn", {"hiden": 3})
    with pytest.raises(InputError, match=r"gat.dropout: expected a number in \[0, 0.99\], got 1.5"):
        create("gat", {"dropout": 1.5})


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

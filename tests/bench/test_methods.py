import pytest
import torch
from torch_geometric.data import Data

from graphnoise import InputError
from graphnoise.bench.methods import create, registry
from graphnoise.bench.problem import Problem, Task

NAMES = ("lp", "sgc", "mlp", "gcn", "gat")


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
    return Problem(Data(x=x, edge_index=torch.cat([arcs, arcs.flip(0)], dim=1), y=y, **masks))


def task(problem, seed=0, **more):
    seen = problem.train_mask | problem.val_mask
    return Task(problem, torch.where(seen, problem.truth, torch.tensor(-1)), seed, **more)


@pytest.fixture(scope="module")
def problem():
    return planted()


@pytest.mark.parametrize("name", NAMES)
def test_every_method_learns_planted_classes(name, problem):
    scores = create(name)[0].fit_predict(task(problem))
    assert scores.shape == (problem.num_nodes, problem.num_classes)
    right = (scores.argmax(1) == problem.truth)[problem.test_mask].float().mean()
    assert right > 0.75, f"{float(right):.2f} of the test nodes"


@pytest.mark.parametrize("name", NAMES)
def test_only_given_labels_matter(name, problem):
    """Other labels on nodes outside training and validation leave every score bit-identical: none is ever read."""
    other = planted()
    other.truth = torch.where(other.test_mask, (other.truth + 1) % 3, other.truth)
    method = create(name)[0]
    assert torch.equal(method.fit_predict(task(problem)), method.fit_predict(task(other)))


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_scores_whatever_the_global_generator(name, problem):
    scores = []
    for state in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(state)
            scores.append(create(name)[0].fit_predict(task(problem, seed=5)))
    assert torch.equal(*scores)


@pytest.mark.parametrize("name", NAMES)
def test_stochastic_says_whether_the_seed_matters(name, problem):
    method = create(name)[0]
    a, b = (method.fit_predict(task(problem, seed=seed)) for seed in (1, 2))
    assert torch.equal(a, b) is not method.stochastic


@pytest.mark.parametrize("name", ["mlp", "gcn", "gat"])
def test_networks_report_each_epoch_and_stop_by_patience(name, problem):
    seen = []
    settings = {"epochs": 60, "patience": 10}
    create(name, settings)[0].fit_predict(
        task(problem, report=lambda loss, predicted: seen.append((loss, predicted.shape)))
    )
    assert 10 < len(seen) <= 60
    assert all(shape == problem.train.shape for _, shape in seen)
    assert seen[-1][0] < seen[0][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_class_that_noise_emptied_is_no_error(name, problem):
    t = task(problem)
    t.y = torch.where(t.y >= 0, 1, t.y)
    scores = create(name)[0].fit_predict(t)
    assert torch.isfinite(scores).all()
    assert (scores.argmax(1) == 1)[problem.train].all()


def test_unknown_names_suggest_the_nearest():
    assert set(NAMES) <= set(registry())
    with pytest.raises(InputError, match="did you mean 'gcn'"):
        create("gcnn")
    with pytest.raises(InputError, match=r"hyper-parameter of gcn: .*did you mean 'hidden'"):
        create("gcn", {"hiden": 3})
    with pytest.raises(InputError, match=r"gat.dropout: expected a number in \[0, 0.99\], got 1.5"):
        create("gat", {"dropout": 1.5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "data: expected a Data with x"),
        ({"x": torch.full((120, 60), torch.nan)}, "data.x: expected finite numbers"),
        ({"edge_index": torch.tensor([[0], [120]])}, "edge_index: expected node positions from 0 to 119"),
        ({"y": torch.full((120,), -1)}, "data.y: expected labels of at least 0"),
        ({"y": torch.zeros(7, dtype=torch.long)}, "data.y: expected 120 labels"),
        ({"val_mask": torch.ones(5, dtype=torch.bool)}, "data.val_mask: expected a mask of 120 entries"),
        ({"train_mask": torch.arange(120) == 0}, "data.train_mask: expected training nodes of every class"),
        ({"test_mask": torch.zeros(120, dtype=torch.bool)}, "data.test_mask: expected at least one node"),
    ],
)
def test_data_that_are_not_valid_are_named(change, message, problem):
    p = problem
    fields = {"x": p.x, "edge_index": p.graph.edge_index, "y": p.truth}
    fields |= {f"{s}_mask": getattr(p, f"{s}_mask") for s in ("train", "val", "test")}
    with pytest.raises(InputError, match=message):
        Problem(Data(**(fields | change), num_nodes=120))

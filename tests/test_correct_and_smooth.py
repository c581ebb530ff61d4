import pytest
import torch
import torch_geometric.nn
from oracles import assert_close, graphs

from graphnoise import CorrectAndSmooth, Graph, InputError

GRAPHS = graphs()
ARGUMENTS = (20, 0.9, 10, 0.7)


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(3)


def inputs(name, draw):
    edge_index, n = GRAPHS[name]
    y_soft = torch.rand(n, 4, generator=draw).softmax(1)
    mask = torch.rand(n, generator=draw) < 0.4
    mask[0] = True
    return edge_index, y_soft, torch.randint(0, 4, (n,), generator=draw), mask


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("autoscale", [False, True])
@pytest.mark.parametrize("labels", ["classes", "column", "soft"])
def test_it_equals_torch_geometric(name, weighted, autoscale, labels, draw):
    edge_index, y_soft, classes, mask = inputs(name, draw)
    y_true = {
        "classes": classes[mask],
        "column": classes[mask].unsqueeze(1),
        "soft": torch.rand(int(mask.sum()), 4, generator=draw),
    }[labels]
    weight = torch.rand(edge_index.shape[1], generator=draw) / 4 if weighted else None
    theirs = torch_geometric.nn.CorrectAndSmooth(*ARGUMENTS, autoscale, 0.6)
    ours = CorrectAndSmooth(*ARGUMENTS, autoscale, 0.6)
    before = y_soft.clone()
    for step in ("correct", "smooth", "forward"):
        expected = getattr(theirs, step)(y_soft, y_true, mask, edge_index, weight)
        assert_close(getattr(ours, step)(y_soft, y_true, mask, edge_index, weight), expected, 1e-5)
    assert torch.equal(y_soft, before)
    if not weighted:
        graph = Graph.from_edge_index(edge_index, len(y_soft))
        assert torch.equal(ours(y_soft, y_true, mask, graph), ours(y_soft, y_true, mask, edge_index))


@pytest.mark.parametrize("autoscale", [False, True])
def test_positions_have_labels_in_their_order(autoscale, draw):
    edge_index, y_soft, classes, mask = inputs("undirected", draw)
    nodes = mask.nonzero().view(-1)
    nodes = nodes[torch.randperm(len(nodes), generator=draw)]
    model = CorrectAndSmooth(*ARGUMENTS, autoscale)
    expected = model(y_soft, classes[mask], mask, edge_index)
    assert torch.equal(model(y_soft, classes[nodes], nodes, edge_index), expected)
    theirs = torch_geometric.nn.CorrectAndSmooth(*ARGUMENTS, autoscale)
    assert_close(expected, theirs(y_soft, classes[nodes], nodes, edge_index), 1e-5)


def test_without_an_error_nothing_is_corrected(draw):
    """Where torch_geometric divides 0 by 0."""
    edge_index, y_soft, _, mask = inputs("hub", draw)
    assert torch.equal(CorrectAndSmooth(*ARGUMENTS).correct(y_soft, y_soft[mask], mask, edge_index), y_soft)


def test_float64_weights_give_float64(draw):
    edge_index, y_soft, classes, mask = inputs("undirected", draw)
    weight = torch.rand(edge_index.shape[1], generator=draw).double() / 4
    arguments = (y_soft, classes[mask], mask, edge_index, weight)
    theirs, ours = torch_geometric.nn.CorrectAndSmooth(*ARGUMENTS)(*arguments), CorrectAndSmooth(*ARGUMENTS)(*arguments)
    assert ours.dtype == theirs.dtype == torch.float64
    assert_close(ours, theirs, 1e-6)
    # A type that torch_geometric does not take with a fixed scale.
    assert CorrectAndSmooth(*ARGUMENTS, autoscale=False)(*arguments).dtype == torch.float64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_soft": torch.ones(3)}, "y_soft: expected 2 dimensions"),
        ({"y_soft": torch.full((3, 2), torch.nan)}, "y_soft: expected finite numbers"),
        ({"y_true": torch.tensor([0])}, "y_true: expected 2 labels"),
        ({"y_true": torch.tensor([0, 2])}, "y_true: expected labels from 0 to 1, got 2"),
        ({"y_true": torch.tensor([0, -1])}, "y_true: expected a label for every node"),
        ({"y_true": torch.ones(2, 3)}, r"y_true: expected shape \[2\] or \[2, 2\], one row per node of mask"),
        ({"mask": torch.zeros(3, dtype=torch.bool)}, "mask: expected at least one node"),
        ({"mask": torch.ones(4, dtype=torch.bool)}, "mask: expected a mask of 3 entries"),
        ({"mask": torch.tensor([0, 3])}, "mask: expected positions from 0 to 2"),
        ({"edge_index": torch.tensor([[0], [3]])}, "edge_index: expected node positions from 0 to 2"),
    ],
)
def test_bad_inputs_are_named(changes, message):
    arguments = {
        "y_soft": torch.full((3, 2), 0.5),
        "y_true": torch.tensor([0, 1]),
        "mask": torch.tensor([True, False, True]),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
    }
    for step in ("correct", "smooth", "forward"):
        with pytest.raises(InputError, match=message):
            getattr(CorrectAndSmooth(*ARGUMENTS), step)(**arguments | changes)


def test_bad_parameters_are_named():
    names = ("num_correction_layers", "correction_alpha", "num_smoothing_layers", "smoothing_alpha", "autoscale")
    good = dict(zip(names, (*ARGUMENTS, True), strict=True))
    for name in names:
        with pytest.raises(InputError, match=rf"^{name}: "):
            CorrectAndSmooth(**good | {name: -1})
    with pytest.raises(InputError, match=r"^scale: expected a finite number"):
        CorrectAndSmooth(*ARGUMENTS, scale=torch.inf)
    assert repr(CorrectAndSmooth(*ARGUMENTS)) == "CorrectAndSmooth(20, 0.9, 10, 0.7, autoscale=True, scale=1.0)"

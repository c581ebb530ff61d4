"""D-GNN: noise matrix from anchors, backward correction, the default network."""

import pytest
import torch
from torch.nn import functional as F

from graphnoise import datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.d_gnn import DGNN, GIN, _backward_corrected, anchor_transition
from graphnoise.robust.training import View

T = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.6, 0.4], [0.2, 0.2, 0.6]])


def noisy():
    data = datasets.planted_partition([30, 30], 0.3, 0.03, num_features=6, split=(10, 10, 10), seed=0)
    return noise.LabelNoise("pair", 0.3, splits=("train", "val"), seed=0)(data)


def test_corrected_loss_is_unbiased():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    by_label = torch.stack([_backward_corrected(logits, torch.full((5,), k), T) for k in range(3)], 1)
    assert torch.allclose(by_label @ T.t(), -F.log_softmax(logits, 1), atol=1e-5)


def test_no_noise_is_cross_entropy_and_a_singular_matrix_is_finite():
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    plain = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(_backward_corrected(logits, labels, torch.eye(3)), plain)
    assert bool(torch.isfinite(_backward_corrected(logits, labels, torch.full((3, 3), 1 / 3))).all())


def test_anchors_are_at_the_percentile_and_not_the_outlier():
    # Class 0 has one outlier, above the 97th percentile.
    p = torch.linspace(0.0, 0.8, 100)
    p[99] = 1.0
    estimated = anchor_transition(torch.stack([p, 1 - p], 1), 97.0)
    assert estimated[0].tolist() == pytest.approx([float(p[96]), 1 - float(p[96])])
    assert float(anchor_transition(torch.stack([p, 1 - p], 1), 100.0)[0, 0]) == 1.0


def test_matrix_is_estimated_once_after_the_warm_up_without_dropout():
    seen = []
    model = RobustGNN(DGNN(warmup=0.5), epochs=10, hidden=8)
    model.fit(noisy(), callbacks=[lambda run: seen.append(run.method.transition.clone())])
    assert all(torch.equal(matrix, torch.eye(2)) for matrix in seen[:5])
    assert all(torch.equal(matrix, seen[5]) for matrix in seen[5:])
    assert not torch.equal(seen[5], torch.eye(2))
    assert torch.allclose(seen[5].sum(1), torch.ones(2))
    assert model.best_epoch_ > 5


def test_default_network_is_a_gin_and_users_may_bring_another():
    from torch_geometric.nn import GCN

    assert RobustGNN("d-gnn", epochs=2).fit(noisy()).networks_[0].name == "GIN"
    assert RobustGNN("d-gnn", model=GCN(6, 4, 2, 2), epochs=2).fit(noisy()).networks_[0].name == "GCN"


@pytest.mark.parametrize("weighted", [False, True])
def test_gin_is_that_of_torch_geometric(weighted):
    from torch_geometric.nn import MLP, GINConv

    generator = torch.Generator().manual_seed(0)
    network = GIN(5, 4, 3, generator=generator)
    convs = [GINConv(MLP([inputs, 4, outputs], norm=None)) for inputs, outputs in ((5, 4), (4, 3))]
    for layer, conv in zip(network.layers, convs, strict=True):
        first, second = conv.nn.lins
        first.weight.data, first.bias.data = layer.first.weight.data.t(), torch.randn(4, generator=generator)
        layer.bias.data = first.bias.data
        second.weight.data, second.bias.data = layer.second.weight.data.t(), layer.second.bias.data
    x, adjacency = torch.rand(8, 5, generator=generator), torch.rand(8, 8, generator=generator).triu(1) > 0.6
    edge_index = (adjacency | adjacency.t()).nonzero().t()
    view = View(x, edge_index, torch.ones(edge_index.shape[1]) if weighted else None)
    expected = convs[1](F.relu(convs[0](x, edge_index)), edge_index)
    assert torch.allclose(network(view.features, view)[0], expected, atol=1e-5)


def test_initial_weights_come_from_the_seed():
    state = torch.random.get_rng_state()
    first, second = (DGNN().default_network(4, 3, 2, 0.5, torch.Generator().manual_seed(k)) for k in (0, 0))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))

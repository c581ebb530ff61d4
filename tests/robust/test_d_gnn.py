"""D-GNN: the default network; the correction is tested with that of `Backward`."""

import pytest
import torch
from torch.nn import functional as F

from graphnoise import datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.d_gnn import DGNN, GIN
from graphnoise.robust.training import View


def noisy():
    data = datasets.planted_partition([30, 30], 0.3, 0.03, num_features=6, split=(10, 10, 10), seed=0)
    return noise.LabelNoise("pair", 0.3, splits=("train", "val"), seed=0)(data)


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

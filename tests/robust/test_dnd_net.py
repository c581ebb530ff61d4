"""DnD-NeT: the network on propagated features, weights of labels, pseudo-labels."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch_geometric.nn import APPNP, GCN
from training_steps import DATA, LABELLED, VIEW, context, step

from graphnoise import datasets
from graphnoise.robust import RobustGNN, methods
from graphnoise.robust.methods.dnd_net import reliable_labels
from graphnoise.robust.training import SmoothedMLP, View


def test_the_network_is_a_perceptron_on_propagated_features():
    network = SmoothedMLP(4, 6, 3, num_steps=3, alpha=0.8, generator=torch.Generator().manual_seed(0))
    logits, embedding = network(VIEW.features, VIEW)
    x = F.normalize(APPNP(3, 0.2)(VIEW.x, VIEW.edge_index))
    hidden = (x @ network.first.weight + network.first.bias).relu()
    torch.testing.assert_close(embedding, hidden)
    torch.testing.assert_close(logits, hidden @ network.last.weight + network.last.bias)
    weight = torch.rand(VIEW.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
    weighted = View(VIEW.x, VIEW.edge_index, weight)
    x = F.normalize(APPNP(3, 0.2)(VIEW.x, VIEW.edge_index, weight))
    torch.testing.assert_close(weighted.smoothed(3, 0.8), x)
    assert VIEW.smoothed(3, 0.8) is VIEW.smoothed(3, 0.8)
    assert not torch.equal(VIEW.smoothed(3, 0.8), VIEW.smoothed(2, 0.8))


def test_a_method_may_name_its_network_and_a_model_overrides_it():
    data = datasets.planted_partition([20, 20], 0.3, 0.05, num_features=4, split=(5, 5, 20), seed=0)
    fitted = RobustGNN("dnd-net", epochs=1, hidden=5).fit(data)
    assert isinstance(fitted.networks_[0].module, SmoothedMLP)
    assert fitted.networks_[0].module.first.weight.shape == (4, 5)
    assert isinstance(RobustGNN("dnd-net", epochs=1, model=GCN(4, 5, 2, 2)).fit(data).networks_[0].module, GCN)


def test_labels_are_weighted_by_the_predictions_of_the_neighbourhood():
    at = context(epoch=50)
    method = methods.create_method("dnd-net")
    method.setup(at)
    method.start_epoch(at)
    p = at.networks[0](VIEW).logits.softmax(1).double().numpy()
    adjacency = np.eye(60)
    adjacency[tuple(DATA.edge_index.numpy())] = 1
    scale = adjacency.sum(1) ** -0.5
    q = scale[:, None] * adjacency * scale @ p
    q /= q.sum(1, keepdims=True)
    np.testing.assert_allclose(method.weights(step(at)), q[LABELLED, at.given], rtol=1e-5)


def test_pseudo_labels_are_trained_on_where_a_node_and_its_neighbourhood_are_sure():
    at = context(epoch=50, logits=4.0 * F.one_hot(DATA.y, 3).float() + context().networks[0](VIEW).logits)
    method = methods.create_method("dnd-net", threshold=0.7, pseudo_weight=2.0)
    method.setup(at)
    method.start_epoch(at)
    logits = at.networks[0](VIEW).logits
    expected = reliable_labels(logits.softmax(1), method.agreed, 0.7)
    nodes = (expected >= 0) & ~torch.isin(torch.arange(60), LABELLED)
    assert 5 < int(nodes.sum()) < 52
    torch.testing.assert_close(method.terms(step(at)), 2 * F.cross_entropy(logits[nodes], expected[nodes]))
    sure = methods.create_method("dnd-net", threshold=1.0)
    sure.setup(at)
    sure.start_epoch(at)
    assert sure.terms(step(at)) == 0.0


def test_the_warm_up_is_cross_entropy():
    at = context(epoch=14)
    method = methods.create_method("dnd-net")
    method.setup(at)
    method.start_epoch(at)
    assert method.weights(step(at)).tolist() == pytest.approx([1.0] * 8)
    assert method.terms(step(at)) == 0.0

"""Community preservation."""

import torch
from sklearn.metrics import adjusted_rand_score
from torch.nn import functional as F

from graphnoise import datasets
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.community import CommunityPreservation, communities
from graphnoise.robust.training import Batch, Output, Step, View


def planted():
    return datasets.planted_partition([30, 30, 30], 0.4, 0.02, num_features=4, split=(5, 5, 10), seed=0)


def test_communities_are_those_of_the_graph():
    data = planted()
    graph = View(data.x, data.edge_index).graph
    found = communities(graph, 3, seed=0, width=3)
    assert adjusted_rand_score(data.y, found) > 0.9
    assert torch.equal(found, communities(graph, 3, seed=0, width=3))


def test_no_label_is_read_for_communities():
    data = planted()
    models = []
    for labels in (data.y, (data.y + 1) % 3):
        changed = data.clone()
        changed.y = labels
        models.append(RobustGNN("cp", epochs=1, hidden=4).fit(changed))
    assert torch.equal(models[0].method_.community, models[1].method_.community)


def test_term_is_cross_entropy_of_communities_on_all_nodes():
    data = planted()
    model = RobustGNN("cp", epochs=1, hidden=4).fit(data)
    method, context = model.method_, model._context
    output = context.evaluate()
    n = len(data.y)
    batch = Batch(context.full, torch.arange(n), context.labelled, torch.arange(len(context.labelled)))
    term = method.terms(Step(context, batch, [output]))
    logits = output.embedding @ method.head.weight + method.head.bias
    assert torch.allclose(term, 0.2 * F.cross_entropy(logits, method.community))


def test_graphs_of_few_nodes_and_without_edges():
    none = torch.empty(2, 0, dtype=torch.int64)
    for n in (1, 2, 5):
        found = communities(View(torch.ones(n, 1), none).graph, 8, seed=0)
        assert found.shape == (n,)
        assert int(found.max()) < 8


def test_network_and_head_are_trained_by_the_term():
    method = CommunityPreservation(coefficient=1.0)
    model = RobustGNN(method, epochs=2, hidden=4).fit(planted())
    output = model._context.networks[0](model._context.full)
    batch = Batch(model._context.full, torch.arange(90), model._context.labelled, torch.arange(15))
    model.method_.terms(Step(model._context, batch, [Output(*output)])).backward()
    assert model.method_.head.weight.grad.abs().max() > 0
    assert next(model.networks_[0].parameters()).grad.abs().max() > 0


def test_a_complete_graph_has_one_community_without_warnings():
    view = View(torch.ones(20, 1), torch.ones(20, 20).nonzero().t().contiguous())
    assert len(communities(view.graph, 8, seed=0)) == 20

"""UnionNET against its formulas: support sets, class probabilities, the three parts of the loss."""

import pytest
import torch
from torch.nn import functional as F
from training_steps import DATA, LABELLED, VIEW, context, step

from graphnoise.checks import InputError
from graphnoise.graph import Graph
from graphnoise.robust import methods
from graphnoise.robust.methods.unionnet import class_probabilities, support_sets


def supports(edge_index, num_nodes, labelled, count, **settings):
    graph = Graph.from_edge_index(torch.as_tensor(edge_index), num_nodes).with_self_loops()
    settings = {"num_walks": 200, "length": 4} | settings
    generator = torch.Generator().manual_seed(0)
    return support_sets(graph, torch.tensor(labelled), count, generator=generator, **settings)


def test_walks_find_near_labelled_nodes_but_not_the_node_itself():
    # A path of 9 nodes, and a node alone.
    path = torch.tensor([[i, i + 1] for i in range(8)]).T
    arcs = torch.cat([path, path.flip(0)], 1)
    found = supports(arcs, 10, [9, 0, 3, 1, 8], 2)
    assert found[0].tolist() == [-1, -1]
    # From node 0 the nearest labelled node is 1, then 3; from 3 it is 1, then 0.
    assert found[1:3].tolist() == [[3, 2], [3, 1]]
    # Node 3 is five steps from node 8.
    assert found[4].tolist() == [-1, -1]


def test_every_labelled_node_has_supports_wherever_it_stands():
    found = supports(DATA.edge_index, 60, LABELLED.tolist(), 3)
    assert found.shape == (8, 3)
    assert (found >= 0).all()
    assert not (found == torch.arange(8)[:, None]).any()
    chunks = supports(DATA.edge_index, 60, LABELLED.tolist(), 3)
    assert torch.equal(found, chunks)


def test_chunks_are_joined(monkeypatch):
    monkeypatch.setattr("graphnoise.robust.methods.unionnet.CHUNK", 3)
    found = supports(DATA.edge_index, 60, LABELLED.tolist(), 7, num_walks=3000)
    assert [sorted(row) for row in found.tolist()] == [[j for j in range(8) if j != i] for i in range(8)]


def test_probabilities_of_all_labelled_nodes_are_weighted_votes():
    h = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    y, found = (
        torch.tensor([0, 1, 2, 1, 0]),
        torch.tensor([[1, 2, 3], [0, 4, -1], [4, -1, -1], [-1, -1, -1], [2, 3, 0]]),
    )
    p = class_probabilities(h, found, y, 3)
    for i in range(5):
        votes = torch.zeros(3)
        for j in found[i][found[i] >= 0]:
            votes[y[j]] += torch.exp(h[i] @ h[j])
        expected = votes / votes.sum() if votes.sum() > 0 else F.one_hot(y[i], 3)
        torch.testing.assert_close(p[i], expected.float())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_weights_each_label_and_its_correction(alpha):
    given = torch.tensor([0, 0, 1, 2, 2, 0, 1, 2])
    logits = context().networks[0](VIEW).logits.clone().requires_grad_()
    at = context(given=given, logits=logits, epoch=50)
    method = methods.create_method("unionnet", alpha=alpha, beta=2.0)
    method.setup(at)
    method.start_epoch(at)
    seen = step(at)
    losses = method.loss(seen, method.targets(seen).detach())
    p, log_f = method.probabilities, logits[LABELLED].log_softmax(1)
    confidence, corrected = p.max(1)
    rows = torch.arange(8)
    expected = -(1 - alpha) * p[rows, given] * log_f[rows, given] - alpha * confidence * log_f[rows, corrected]
    torch.testing.assert_close(losses, expected)
    assert (corrected != given).any()
    gradient = torch.autograd.grad(losses.sum(), logits, retain_graph=True)[0][LABELLED]
    assert (gradient.abs().sum(1) > 0).all() or alpha < 1
    prior, mean = torch.tensor([3, 2, 3]) / 8, log_f.exp().mean(0)
    torch.testing.assert_close(method.terms(seen), 2.0 * (prior * (prior / mean).log()).sum())


def test_the_warm_up_is_cross_entropy():
    at = context(epoch=9)
    method = methods.create_method("unionnet")
    method.setup(at)
    method.start_epoch(at)
    assert torch.equal(method.targets(step(at)), F.one_hot(at.given, 3).float())
    assert method.terms(step(at)) == 0.0


@pytest.mark.parametrize(
    ("name", "setting"),
    [("unionnet", "num_supports"), ("unionnet", "num_walks"), ("nrgnn", "negatives"), ("rtgnn", "negatives")],
)
def test_counts_that_no_memory_holds_are_refused(name, setting):
    with pytest.raises(InputError, match=f"{setting}: expected an integer from 1 to 10000"):
        methods.create_method(name, **{setting: 10**9})

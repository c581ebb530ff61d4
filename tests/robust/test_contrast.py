"""CGNN and CRGNN: contrastive loss, correction of labels, selection of agreeing views, consistency of spaces."""

import math

import pytest
import torch
from torch.nn import functional as F
from training_steps import DATA, LABELLED, VIEW, context, draw, step

from graphnoise import datasets, noise
from graphnoise.graph import Graph
from graphnoise.robust import RobustGNN, methods
from graphnoise.robust.methods.cgnn import neighbour_shares
from graphnoise.robust.methods.contrast import info_nce
from graphnoise.robust.methods.crgnn import drawn_neighbours, space_consistency
from graphnoise.robust.training import Output, View


def test_info_nce_has_the_other_rows_as_negatives_in_both_directions():
    first, second = draw(4, 3), draw(4, 3, seed=1)
    cosine = F.cosine_similarity(first[:, None], second[None], dim=2)
    expected = 0.0
    for scores in (cosine, cosine.T):
        for i in range(4):
            expected -= math.log(math.exp(scores[i, i] / 0.5) / sum(math.exp(s / 0.5) for s in scores[i])) / 8
    assert float(info_nce(first, second, 0.5)) == pytest.approx(expected, rel=1e-5)
    # Lower where the views agree, and finite for rows of zeros.
    assert info_nce(first, first, 0.5) < info_nce(first, first.roll(1, 0), 0.5)
    assert math.isfinite(info_nce(torch.zeros(2, 3), torch.zeros(2, 3), 0.5))


def test_shares_of_classes_among_neighbours():
    shares = neighbour_shares(DATA.edge_index, DATA.y, 3)
    source, target = DATA.edge_index
    for i in range(60):
        near = DATA.y[source[target == i]]
        torch.testing.assert_close(shares[i], torch.bincount(near, minlength=3) / len(near))
    loops = torch.tensor([[0, 1, 0], [0, 0, 1]])
    assert neighbour_shares(loops, torch.tensor([0, 1, 0]), 2).tolist() == [[0, 1], [1, 0], [0, 0]]


def corrected(agreement, epoch=60):
    """Labels that CGNN trains on: node 0 has neighbours predicted 1, 1, 1, 1, 2; node 6 has none."""
    star = torch.tensor([[1, 2, 3, 4, 5], [0] * 5])
    view = View(torch.zeros(7, 2), torch.cat([star, star.flip(0)], 1))
    logits = F.one_hot(torch.tensor([0, 1, 1, 1, 1, 2, 0]), 3).float()
    at = context(view, labelled=torch.tensor([6, 0, 5]), given=torch.tensor([2, 2, 0]), logits=logits)
    method = methods.create_method("cgnn", agreement=agreement)
    method.setup(at)
    at.epoch = epoch
    method.end_epoch(at)
    return method.targets(step(at)).tolist()


def test_training_labels_are_corrected_where_neighbours_agree():
    # Node 5 has one neighbour, predicted as it is labelled.
    assert corrected(0.8) == [2, 1, 0]
    assert corrected(0.81) == [2, 2, 0]
    assert corrected(0.0) == [2, 1, 0]
    assert corrected(0.8, epoch=49) == [2, 2, 0]


def test_corrections_reach_the_training_labels_of_a_run():
    data = datasets.planted_partition([40, 40, 40], 0.2, 0.01, num_features=8, split=(10, 30, 60), seed=0)
    noisy = noise.LabelNoise("symmetric", 0.3, splits=("train",), seed=0)(data)
    labels = []
    fitted = RobustGNN("cgnn", epochs=30, val_labels="none").fit(
        noisy, callbacks=[lambda run: labels.append(run.method.labels.clone())]
    )
    nodes = noisy.train_mask.nonzero().view(-1)
    assert torch.equal(labels[0], noisy.y[nodes])
    right = [(y == data.y[nodes]).sum() for y in (labels[0], labels[-1])]
    assert right[1] > right[0]
    assert torch.equal(fitted.method_.labels, labels[-1])


def test_contrast_trains_the_network():
    weight = torch.ones(60, 5, requires_grad=True)
    at = context(embedding=draw(60, 5) * weight)
    method = methods.create_method("cgnn", contrast=2.0, block=10)
    method.setup(at)
    term = method.terms(step(at))
    assert 0 < term.item() < 2 * 2 * math.log(10)
    assert torch.autograd.grad(term, weight)[0].abs().sum() > 0


def crgnn_step(network=0, **settings):
    first = Output(draw(60, 3, seed=2).requires_grad_(), draw(60, 5, seed=3).requires_grad_())
    second = Output(draw(60, 3, seed=4).requires_grad_(), draw(60, 5, seed=5).requires_grad_())
    at = context()
    method = methods.create_method("crgnn", **settings)
    method.setup(at)
    at.generator.manual_seed(5)
    return method, step(at, outputs=[first, second], network=network)


def test_nodes_count_where_both_views_agree():
    method, seen = crgnn_step()
    agree = [int(seen.outputs[0].logits[i].argmax() == seen.outputs[1].logits[i].argmax()) for i in LABELLED]
    assert method.select(seen).int().tolist() == agree
    assert 0 < sum(agree) < 8
    method, other = crgnn_step(network=1)
    assert torch.equal(method.select(seen), method.select(other))
    assert method.terms(other) == 0.0


def test_the_third_term_is_there_and_trains_both_spaces():
    terms = {}
    for beta in (0.0, 1.0):
        method, seen = crgnn_step(alpha=0.2, beta=beta, block=60)
        terms[beta] = method.terms(seen)
    outputs = seen.outputs
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    z = [method.projection(output.embedding[rows]) for output in outputs]
    p = [output.logits[rows].softmax(1) for output in outputs]
    consistency = space_consistency(*p, *z, 0.5)
    assert consistency.item() > 0.01
    torch.testing.assert_close(terms[1.0] - terms[0.0], consistency)
    for leaf in (outputs[0].logits, outputs[1].embedding):
        assert torch.autograd.grad(consistency, leaf, retain_graph=True)[0].abs().sum() > 0


def test_consistency_is_a_divergence_of_rows():
    p, q, z, w = (draw(4, 3, seed=k).softmax(1) for k in range(4))
    classes = torch.stack([(p[i] @ q.T / 0.5).softmax(0) for i in range(4)])
    contrast = torch.stack([(F.cosine_similarity(z[i][None], w) / 0.5).softmax(0) for i in range(4)])
    expected = (classes * (classes / contrast).log()).sum(1).mean()
    torch.testing.assert_close(space_consistency(p, q, z, w, 0.5), expected)


def test_drawn_neighbours_are_neighbours_all_alike():
    graph = Graph.from_edge_index(torch.tensor([[1, 2], [0, 0]]), 4).with_self_loops()
    rows = torch.tensor([0, 3]).repeat(3000)
    drawn = drawn_neighbours(graph, rows, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[::2], minlength=4)
    assert counts[3] == 0
    assert (counts[:3] > 900).all()
    assert (drawn[1::2] == 3).all()


def test_all_arcs_of_a_view_may_be_missing():
    seen = VIEW.drop_arcs(1.0, torch.Generator().manual_seed(0))
    assert seen.edge_index.shape == (2, 0)
    assert seen.graph.num_arcs == 60


@pytest.mark.parametrize("method", ["cgnn", "crgnn"])
def test_a_directed_graph_is_warned_of_once(method):
    data = datasets.planted_partition([30, 30], 0.2, 0.02, num_features=4, split=(10, 20, 20), seed=0)
    data.edge_index = data.edge_index[:, data.edge_index[0] < data.edge_index[1]]
    with pytest.warns(UserWarning, match="directed graph") as caught:
        RobustGNN(method, epochs=3).fit(data)
    assert len(caught) == 1

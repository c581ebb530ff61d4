"""Curricula: pacing, difficulties against dense formulas, and what the two networks learn from."""

import networkx
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import context_of, step_of

from graphnoise import Graph, InputError, datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods import create_method
from graphnoise.robust.methods.curriculum import TSS, CLNode, class_betweenness, pace
from graphnoise.robust.training import Output

DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=1.5, split=(10, 30, 60), seed=0)
NOISY = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(DATA)
KARATE = torch.tensor(list(networkx.karate_club_graph().to_directed().edges)).t().contiguous()


def test_pacing():
    values = [[round(pace(kind, 0.25, t / 4), 4) for t in (0, 1, 2, 4, 9)] for kind in ("linear", "root", "geometric")]
    assert values[0] == [0.25, 0.4375, 0.625, 1.0, 1.0]
    np.testing.assert_allclose(values[1], [0.25, (0.0625 + 0.9375 / 4) ** 0.5, (0.53125) ** 0.5, 1, 1], atol=1e-4)
    np.testing.assert_allclose(values[2], [0.25, 0.25**0.75, 0.5, 1, 1], atol=1e-4)


def random_output(num_nodes=34, classes=3):
    generator = torch.Generator().manual_seed(0)
    logits, embedding = (torch.randn(num_nodes, width, generator=generator) for width in (classes, 5))
    return Output(logits, embedding)


def test_clnode_difficulty_is_its_formula():
    given = torch.arange(12) % 3
    context, output = context_of(given, arcs=KARATE, num_nodes=34), random_output()
    method = CLNode(weight=0.7)
    method.setup(context)
    method.judge(context, output)
    classes = output.logits.argmax(1)
    classes[:12] = given
    graph = networkx.karate_club_graph()
    h = F.normalize(output.embedding)
    centres = torch.stack([h[:12][given == c].mean(0) for c in range(3)])
    for u in range(12):
        around = torch.bincount(classes[[u, *graph[u]]], minlength=3).double()
        p = around / around.sum()
        entropy = -sum(float(v * v.log()) for v in p if v > 0)
        products = (centres @ h[u]).exp()
        expected = entropy + 0.7 * float(products.max() / products[given[u]])
        assert float(method.difficulty[u]) == pytest.approx(expected, abs=1e-5)


def test_clnode_does_not_read_validation_labels():
    given = torch.arange(12) % 3
    found = []
    for val_given in ([0, 0, 0], [1, 2, 1]):
        context = context_of(given, arcs=KARATE, num_nodes=34, val=[12, 13, 14], val_given=val_given)
        method = CLNode()
        method.setup(context)
        method.judge(context, random_output())
        found.append(method.difficulty)
    assert torch.equal(*found)


def betweenness(S, nodes, given, teleport):
    """The definition, with a dense inverse."""
    n, m = len(S), len(nodes)
    ranks = teleport * np.linalg.inv(np.eye(n) - (1 - teleport) * S)
    out = np.zeros(m)
    for i, node in enumerate(nodes):
        for u, start in enumerate(nodes):
            for v, end in enumerate(nodes):
                if i not in (u, v) and given[u] != given[v] and ranks[start, end] > 1e-12:
                    out[i] += ranks[start, node] * ranks[node, end] / ranks[start, end]
    return out / (m * (m - 1))


@pytest.mark.parametrize("kind", ["undirected", "directed", "in two parts"])
def test_class_betweenness_is_its_definition(kind):
    arcs = KARATE if kind != "directed" else KARATE[:, ::3]
    if kind == "in two parts":
        arcs = torch.cat([KARATE, KARATE + 34], 1)
    graph = Graph.from_edge_index(arcs, int(arcs.max()) + 1).with_self_loops().normalise("sym")
    nodes, given = torch.arange(0, graph.num_nodes, 3), torch.arange(len(range(0, graph.num_nodes, 3))) % 3
    found = class_betweenness(graph, nodes, given, teleport=0.3, num_steps=200)
    expected = betweenness(graph.to_dense().double().numpy(), nodes.numpy(), given.numpy(), 0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


def test_class_betweenness_of_many_labels_uses_a_sample_of_ends():
    data = datasets.planted_partition([200, 200], 0.1, 0.01, num_features=2, seed=0)
    graph = Graph.from_edge_index(data.edge_index, 400).with_self_loops().normalise("sym")
    arguments = graph, torch.arange(400), data.y
    whole = class_betweenness(*arguments)
    part = class_betweenness(*arguments, max_ends=100, generator=torch.Generator().manual_seed(0))
    assert np.corrcoef(whole, part)[0, 1] > 0.9
    assert not torch.equal(whole, part)


def test_labels_of_one_class_have_no_betweenness():
    graph = Graph.from_edge_index(KARATE).with_self_loops().normalise("sym")
    assert not class_betweenness(graph, torch.arange(5), torch.zeros(5, dtype=torch.long)).any()


def test_tss_trains_on_easy_nodes_that_are_predicted_and_loses_no_class():
    given = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    context = context_of(given, epoch=30)
    method = TSS(warm_up=0.15, first=0.5, length=10)
    method.setup(context)
    method.difficulty.copy_(torch.tensor([0.1, 0.2, 0.3, 0.9, 0.1, 0.2, 0.8, 0.9, 0.7, 0.6]))
    logits = 3.0 * F.one_hot(given, 3)
    logits[[1, 8, 9]] = torch.tensor([0.0, 3.0, 0.0])
    method.judge(context, Output(logits, logits))
    # The five easiest are 0, 1, 2, 4 and 5, of which 1 is predicted otherwise; class 2 keeps its easiest node.
    assert method.select(step_of(context, logits)).nonzero().view(-1).tolist() == [0, 2, 4, 5, 9]
    context.epoch = 40
    assert method.select(step_of(context, logits)).nonzero().view(-1).tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    context.epoch = 29
    assert method.select(step_of(context, logits)) is None


@pytest.mark.parametrize("kind", [CLNode, TSS])
def test_the_first_network_judges_at_its_best_epoch_and_stays_as_it_is(kind):
    """The field's benchmark keeps an alias of the weights, so that the last epoch judges."""
    judged, seen = [], []

    class Watched(kind):
        def judge(self, context, output):
            super().judge(context, output)
            judged.append((context.epoch, self.difficulty.clone(), self.usable.clone()))

    def watch(run):
        right = run.context.evaluate(0).logits[run.context.val].argmax(1) == run.context.val_given
        first, second = ([p.clone() for p in network.parameters()] for network in run.context.networks)
        seen.append((float(right.double().mean()), first, second))

    fitted = RobustGNN(Watched(warm_up=0.5, length=10), epochs=40, hidden=16, seed=1).fit(NOISY, callbacks=[watch])
    accuracies = [row[0] for row in seen[:20]]
    best = max(t for t, value in enumerate(accuracies, 1) if value == max(accuracies))
    assert judged[-1][0] == best
    assert torch.equal(fitted.method_.difficulty, judged[-1][1])
    assert torch.equal(fitted.method_.usable, judged[-1][2])
    assert fitted.best_epoch_ > 20
    # Each network is trained in its own epochs only.
    assert all(torch.equal(a, b) for a, b in zip(seen[19][1], seen[39][1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seen[0][2], seen[19][2], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[19][2], seen[39][2], strict=True))


def test_bad_settings_are_named():
    for settings, message in (
        ({"warm_up": 0}, "warm_up: expected a number in"),
        ({"pacing": "linar"}, "pacing: expected one of geometric, linear, root"),
        ({"first": 0}, "first: expected a number in"),
    ):
        with pytest.raises(InputError, match=message):
            create_method("clnode", **settings)

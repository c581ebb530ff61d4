"""Views with weights, pairs of nodes, learned links, and the methods that use them, against dense computations."""

import copy

import pytest
import torch
from torch.nn import functional as F

from graphnoise import datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.edges import LearnedLinks, nearest, pair_products, reconstruction
from graphnoise.robust.methods.nrgnn import NRGNN
from graphnoise.robust.methods.pi_gnn import PIGNN
from graphnoise.robust.methods.rtgnn import RTGNN, divergence, govern
from graphnoise.robust.training import GCN, Batch, Context, Network, Output, Step, View


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def small_view(seed=0, n=9, width=4):
    x = torch.rand(n, width, generator=rng(seed))
    adjacency = (torch.rand(n, n, generator=rng(seed + 1)) < 0.3).triu(1)
    return View(x, (adjacency | adjacency.t()).nonzero().t().contiguous())


def small_context(view, epochs=10, epoch=0, num_networks=1, classes=3):
    def network(k):
        return Network(GCN(view.x.shape[1], 5, classes, dropout=0.0, generator=rng(k)), classes)

    networks, none = [network(k) for k in range(num_networks)], torch.empty(0, dtype=torch.int64)
    given = torch.tensor([0, 1, 2])
    return Context(view, torch.tensor([1, 3, 6]), given, classes, epochs, networks, rng(7), none, none, epoch)


def whole(context):
    return Batch(context.full, torch.arange(context.full.num_nodes), context.labelled, torch.arange(3))


def dense(view):
    """D^-1/2 (A + I) D^-1/2 of a view's weighted arcs, row = target."""
    n = view.num_nodes
    matrix = torch.zeros(n, n, dtype=view.edge_weight.dtype)
    matrix = matrix.index_put((view.edge_index[1], view.edge_index[0]), view.edge_weight, accumulate=True)
    matrix = matrix + torch.eye(n)
    scale = matrix.sum(1) ** -0.5
    return scale[:, None] * matrix * scale


def test_default_network_reads_weights_with_the_gradient_of_a_dense_computation():
    view = small_view()
    weight = torch.rand(view.edge_index.shape[1], generator=rng(3)).requires_grad_()
    model = GCN(4, 5, 3, generator=rng(4))
    weighted = view.with_arcs(view.edge_index, weight)
    logits, _ = model(view.features, weighted)
    s = dense(weighted)
    first, second = model.layers
    expected = s @ F.relu(s @ view.x @ first.linear.weight + first.bias) @ second.linear.weight + second.bias
    assert torch.allclose(logits, expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits.square().sum(), weight)
    (known,) = torch.autograd.grad(expected.square().sum(), weight)
    assert torch.allclose(gradient, known, atol=1e-4)
    assert gradient.abs().max() > 1e-3


def test_weights_of_one_are_no_weights():
    view = small_view()
    loop = torch.tensor([[2], [2]])
    view = view.with_arcs(torch.cat([view.edge_index, loop], 1))
    model = GCN(4, 5, 3, generator=rng(4))
    weighted = view.with_arcs(view.edge_index, torch.ones(view.edge_index.shape[1]))
    assert torch.allclose(model(view.features, view)[0], model(view.features, weighted)[0], atol=1e-5)


def test_products_of_pairs_and_their_gradient():
    h = torch.randn(6, 3, generator=rng(), requires_grad=True)
    pairs = torch.tensor([[0, 5, 2, 2, 0], [1, 0, 3, 2, 1]])
    out = pair_products(h, pairs)
    expected = (h[pairs[0]] * h[pairs[1]]).sum(1)
    assert torch.allclose(out, expected)
    factor = torch.arange(5.0)
    assert torch.allclose(*(torch.autograd.grad((v * factor).sum(), h)[0] for v in (out, expected)))
    assert pair_products(h, pairs[:, :0]).shape == (0,)


def test_non_edges_are_drawn_uniformly_from_pairs_without_an_arc():
    view = small_view(n=6)
    view = view.with_arcs(torch.tensor([[0, 2, 3], [1, 1, 3]]))
    assert view.edges.tolist() == [[0, 1], [1, 2]]
    drawn = view.non_edges(20_000, rng())
    keys, counts = torch.unique(drawn.sort(0).values.t(), dim=0, return_counts=True)
    assert len(keys) == 15 - 2
    assert not bool(view.joined(drawn).any())
    assert int(counts.min()) > 0.85 * int(counts.max())
    empty = view.with_arcs(torch.empty(2, 0, dtype=torch.int64))
    assert bool((empty.non_edges(50, rng()).diff(dim=0) != 0).all())


@pytest.mark.parametrize("width", [3, 40])
def test_nearest_are_the_largest_cosines_without_neighbours(width, monkeypatch):
    # Blocks of two queries.
    monkeypatch.setattr("graphnoise.robust.methods.edges.BLOCK", 10)
    x = torch.randn(12, width, generator=rng())
    if width == 40:
        # Sparse features.
        x = torch.where(torch.rand(x.shape, generator=rng(1)) < 0.08, x.abs(), 0.0)
    view = View(x, torch.tensor([[0, 6], [6, 0]]))
    queries, candidates = torch.arange(5), torch.arange(6, 11)
    cosine = F.normalize(x) @ F.normalize(x).t()
    expected = set()
    for i in queries.tolist():
        best = sorted(candidates.tolist(), key=lambda j: -float(cosine[i, j]))[:3]
        expected |= {(i, j) for j in best if cosine[i, j] > 0 and (i, j) != (0, 6)}
    assert {tuple(pair) for pair in nearest(view, queries, candidates, 3).t().tolist()} == expected
    assert nearest(view, queries, candidates[:0], 3).shape == (2, 0)


def test_links_below_the_cut_are_left_out_and_arcs_keep_weight_one():
    context = small_context(small_view())
    links = torch.tensor([[0, 2, 4, 5], [1, 3, 6, 6]])
    edges = LearnedLinks(context, links, 4, 0.0)
    weights = edges(context.full)[0].edge_weight[context.full.edge_index.shape[1] :].detach()
    positive = weights[: len(weights) // 2]
    edges.cut = float(positive.median())
    view, h = edges(context.full)
    arcs = context.full.edge_index.shape[1]
    assert torch.equal(view.edge_weight[:arcs], torch.ones(arcs))
    kept = view.edge_index[:, arcs:]
    products = (h @ h.t())[kept[0], kept[1]]
    assert 0 < kept.shape[1] < 8
    assert torch.allclose(view.edge_weight[arcs:], products)
    assert bool((products > edges.cut).all())
    # Both directions.
    assert {tuple(p) for p in kept.t().tolist()} == {tuple(p) for p in kept.flip(0).t().tolist()}


def test_links_of_a_batch_and_of_another_graph():
    context = small_context(small_view())
    edges = LearnedLinks(context, torch.tensor([[0, 2], [1, 3]]), 4, 0.0)
    nodes = torch.tensor([3, 5, 2])
    empty = torch.empty(2, 0, dtype=torch.int64)
    view, _ = edges(View(context.full.x[nodes], empty), nodes)
    assert {tuple(p) for p in view.edge_index.t().tolist()} <= {(2, 0), (0, 2)}
    other, _ = edges(View(context.full.x + 1, empty))
    assert other.edge_index.shape == (2, 0)


def test_reconstruction_is_the_formula_of_the_paper():
    view = small_view(n=7)
    h = torch.randn(7, 3, generator=rng())
    drawn = view.non_edges(7 * 4 // 2, rng(5))
    w = (h @ h.t()).relu()
    edges = view.edges
    total = ((1 - w[edges[0], edges[1]]) ** 2).sum() + (w[drawn[0], drawn[1]] ** 2).sum()
    expected = 7 * total / (edges.shape[1] + drawn.shape[1])
    assert torch.allclose(reconstruction(view, h, 4, rng(5)), expected)


@pytest.mark.parametrize("kind", [NRGNN, RTGNN])
def test_cross_entropy_trains_the_edge_predictor(kind):
    """Learned weights are not detached: without reconstruction the edge predictor still has a gradient."""
    view = small_view()
    context = small_context(view, num_networks=2)
    method = kind(alpha=0.0, cut=0.0)
    method.setup(context)
    assert method.edges.links.shape[1] > 0
    outputs = method.forward(context, whole(context))
    losses = sum(F.cross_entropy(output.logits[context.labelled], context.given) for output in outputs)
    parameter = method.edges.encoder.layers[1].linear.weight
    (gradient,) = torch.autograd.grad(losses, parameter)

    def value(shift):
        changed = copy.deepcopy(method.edges)
        with torch.no_grad():
            changed.encoder.layers[1].linear.weight.add_(shift)
            linked, _ = changed(view)
            return sum(
                float(F.cross_entropy(network(linked).logits[context.labelled].double(), context.given))
                for network in context.networks
            )

    direction = gradient / gradient.norm()
    step = 1e-2
    slope = (value(step * direction) - value(-step * direction)) / (2 * step)
    assert gradient.norm() > 1e-4
    assert slope == pytest.approx(float(gradient.norm()), rel=0.05)


def test_pseudo_labels_are_those_of_the_best_miner_so_far():
    view = small_view()
    context = small_context(view, num_networks=2)
    context.val, context.val_given = torch.tensor([0, 2]), torch.tensor([0, 1])
    method = NRGNN(confidence=0.0)
    method.setup(context)
    method.end_epoch(context)
    first, accuracy = method.pseudo.clone(), float(method.best_accuracy)
    assert not bool(method.mined[context.labelled].any())
    assert bool(method.mined[context.unlabelled].all())
    method.best_accuracy.fill_(2.0)
    with torch.no_grad():
        context.networks[1].module.layers[1].bias.add_(torch.tensor([3.0, 0.0, 0.0]))
    method.end_epoch(context)
    assert torch.equal(method.pseudo, first)
    method.best_accuracy.fill_(min(accuracy, 0.0))
    method.end_epoch(context)
    assert not torch.equal(method.pseudo, first)


def test_loss_of_nrgnn():
    context = small_context(small_view(), num_networks=2)
    method = NRGNN(alpha=0.5, beta=2.0)
    method.setup(context)
    outputs = method.forward(context, whole(context))
    rebuilt = method._reconstruction.detach()
    method.mined[[0, 4]] = True
    method.pseudo[[0, 4]] = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8]])
    term = method.terms(Step(context, whole(context), outputs, 0))
    logs = outputs[0].logits.log_softmax(1)[[0, 4]]
    expected = 0.5 * rebuilt - 2.0 * (method.pseudo[[0, 4]] * logs).sum(1).mean()
    assert torch.allclose(term, expected)
    assert method.terms(Step(context, whole(context), outputs, 1)) == 0.0


def test_labels_are_kept_corrected_or_weighted_down():
    given = torch.tensor([0, 0, 0, 0, 0, 1])
    sure, unsure, other = [0.0, 6.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 6.0]
    kept = [4.0, 0.0, 0.0]
    first = torch.tensor([kept, kept, sure, unsure, other, sure])
    second = torch.tensor([kept, kept, sure, unsure, sure, sure])
    progress = 0.9
    labels, weights = govern(first, second, given, progress, 0.1)
    # Three losses are small; the fourth, of the unsure node, is below the mean as well.
    losses = F.cross_entropy(first, given, reduction="none") + F.cross_entropy(second, given, reduction="none")
    assert (losses < losses.mean()).tolist() == [True, True, False, True, False, True]
    assert labels.tolist() == [0, 0, 1, 0, 0, 1]
    joint = float(torch.tensor(sure).softmax(0)[1] ** 2)
    assert weights.tolist() == pytest.approx([1, 1, joint**0.05, 1, 0.1, 1])
    # In the first epoch all labels are kept.
    assert govern(first, second, given, 0.0, 0.1).weights.tolist() == [1.0] * 6


def test_correction_needs_more_confidence_early():
    given = torch.tensor([0, 0, 0, 1])
    logits = torch.tensor([[5.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, 5.0]])
    joint = float(logits[2].softmax(0)[1] ** 2)
    # The bound 1 - (1 - 1/4) t falls to the joint confidence at this share of the epochs.
    turn = (1 - joint) / 0.75
    assert 0.26 < turn < 0.9
    before, after = (govern(logits, logits, given, t, 0.1) for t in (turn - 0.01, turn + 0.01))
    assert before.labels.tolist() == [0, 0, 0, 1]
    assert after.labels.tolist() == [0, 0, 1, 1]
    # Disagreeing networks correct nothing.
    assert govern(logits, logits.flip(1), given, 0.99, 0.1).labels.tolist() == given.tolist()


def test_loss_of_rtgnn():
    context = small_context(small_view(), num_networks=2)
    method = RTGNN(alpha=0.5, coefficient=0.3, threshold=0.5)
    method.setup(context)
    batch = whole(context)
    outputs = method.forward(context, batch)
    view, rebuilt = method._step
    sharp = [Output(output.logits.detach() * torch.linspace(0, 9, 9)[:, None], output.embedding) for output in outputs]
    sharp[1] = Output(sharp[0].logits * 0.9, sharp[1].embedding)
    term = method.terms(Step(context, batch, sharp, 0))
    p, q = (output.logits.softmax(1) for output in sharp)

    def kl(a, b):
        return (a * (a / b).log()).sum(1)

    sure = [i for i in context.unlabelled.tolist() if float(p[i].max() * q[i].max()) > 0.25]
    assert 0 < len(sure) < len(context.unlabelled)
    pseudo = -(p[sure].amax(1).log().mean() + q[sure].amax(1).log().mean())
    between = sum((kl(p[rows], q[rows]) + kl(q[rows], p[rows])).mean() for rows in (context.labelled, sure))
    within = 0.0
    for i in context.labelled.tolist():
        into = (view.edge_index[1] == i).nonzero().view(-1)
        share = view.edge_weight[into] / view.edge_weight[into].sum()
        for r in (p, q):
            within = within + (share * kl(r[view.edge_index[0, into]], r[i].expand(len(into), -1))).sum() / 3
    expected = 0.5 * rebuilt + pseudo + 0.3 * (between + within)
    assert torch.allclose(term, expected, atol=1e-5)


def test_divergence_is_that_from_the_second_argument():
    a, b = torch.randn(2, 3, 4, generator=rng())
    p, q = a.softmax(1), b.softmax(1)
    assert torch.allclose(divergence(a, b), (q * (q / p).log()).sum(1), atol=1e-6)


@pytest.mark.parametrize("epoch", [4, 5])
def test_pairs_are_weighted_by_confidence_in_the_second_half(epoch):
    context = small_context(small_view(), epoch=epoch)
    method = PIGNN(coefficient=0.7)
    method.setup(context)
    batch = whole(context)
    outputs = method.forward(context, batch)
    second = method._outputs
    state = context.generator.get_state()
    term = method.terms(Step(context, batch, outputs))
    context.generator.set_state(state)
    edges, f = context.full.edges, outputs[0].logits
    others = context.full.non_edges(edges.shape[1], context.generator)
    expected = 0.0
    for pairs, truth in ((edges, 1.0), (others, 0.0)):
        own, other = ((z[pairs[0]] * z[pairs[1]]).sum(1) for z in (f, second))
        wanted = torch.full_like(own, truth)
        confidence = (1 - (wanted - other.detach().sigmoid()).abs()) if epoch == 5 else torch.ones_like(own)
        first = F.binary_cross_entropy_with_logits(own, wanted, reduction="none")
        expected = expected + (0.7 * confidence * first).mean() / 2
        expected = expected + F.binary_cross_entropy_with_logits(other, wanted) / 2
    assert torch.allclose(term, expected, atol=1e-6)
    # Confidences do not train the second network.
    half = torch.autograd.grad(term, method.second.layers[1].bias, retain_graph=True)[0]
    assert torch.allclose(half, torch.autograd.grad(expected, method.second.layers[1].bias)[0], atol=1e-6)


@pytest.mark.parametrize("name", ["nrgnn", "rtgnn", "pi-gnn"])
def test_fitted_models_are_copied_and_predict_on_graphs_without_links(name):
    data = datasets.planted_partition([20, 20], 0.3, 0.05, num_features=6, split=(5, 5, 10), seed=0)
    noisy = noise.LabelNoise("symmetric", 0.2, splits=("train", "val"), seed=0)(data)
    model = RobustGNN(name, epochs=3, hidden=8).fit(noisy)
    model.method_ = copy.deepcopy(model.method_)
    # No edges, and a graph of another size.
    lone = noisy.clone()
    lone.edge_index = lone.edge_index[:, :0]
    for graph in (lone, noisy.subgraph(torch.arange(0, 40, 2))):
        assert bool(torch.isfinite(model.predict_proba(graph)).all())
    assert all(torch.isfinite(torch.tensor(RobustGNN(name, epochs=3, hidden=8).fit(lone).history_["loss"])))

"""Confident learning, self-training, GNN Cleaner and R2LP against their definitions."""

import networkx
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import context_of, step_of

from graphnoise import Graph, InputError, datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods import create_method
from graphnoise.robust.methods.correction import R2LP, ConfidentLearning, GNNCleaner, SelfTraining, pruned
from graphnoise.robust.training import Output

DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=1.5, split=(20, 20, 40), seed=0)
NOISY = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(DATA)
KARATE = torch.tensor(list(networkx.karate_club_graph().to_directed().edges)).t().contiguous()


def with_outputs(context, logits, embedding=None):
    output = Output(logits, logits if embedding is None else embedding)
    context.evaluate = lambda k=0: output
    return context


def test_rules_of_pruning():
    # Thresholds: 0.6 for each class. Of the five labelled 0 two are confidently of class 1: Q_01 = 5 · 2 / 5.
    p = np.array([0.9, 0.8, 0.7, 0.2, 0.4, 0.1, 0.1, 0.1, 0.8, 0.9])
    given = np.array([0] * 5 + [1] * 5)
    both = np.stack([p, 1 - p], 1)
    kept, weights = pruned(both, given, "noise_rate")
    assert (~kept).nonzero().view(-1).tolist() == [3, 4, 8, 9]
    np.testing.assert_allclose(weights, [5 / 3, 5 / 3])
    for rule in ("class", "both"):
        assert torch.equal(pruned(both, given, rule)[0], kept)


def test_rules_differ_with_three_classes():
    rng = np.random.default_rng(0)
    given = np.arange(60) % 3
    p = rng.dirichlet(np.ones(3), 60) + 0.5 * np.eye(3)[given]
    p /= p.sum(1, keepdims=True)
    masks = {rule: ~pruned(p, given, rule)[0] for rule in ("noise_rate", "class", "both")}
    assert torch.equal(masks["both"], masks["noise_rate"] & masks["class"])
    assert not torch.equal(masks["noise_rate"], masks["class"])
    joint = noise.confident_joint(p, given)
    for i in range(3):
        wrong = round(20 * (1 - joint[i, i] / joint[i].sum()))
        assert int(masks["class"][given == i].sum()) == wrong


def test_a_class_of_which_all_labels_look_wrong_keeps_one():
    p = np.array([[0.9, 0.1]] * 6 + [[0.95, 0.05], [0.92, 0.08]])
    kept, weights = pruned(p, np.array([0] * 6 + [1] * 2), "noise_rate")
    assert kept[6:].tolist() == [False, True]
    assert bool(torch.isfinite(weights).all())


def test_confident_learning_leaves_out_wrong_labels():
    method = RobustGNN("confident-learning", epochs=1).fit(NOISY).method_
    wrong = (NOISY.y != NOISY.y_true)[NOISY.train_mask]
    assert float((~method.kept)[wrong].double().mean()) > 0.7
    assert float((~method.kept)[~wrong].double().mean()) < 0.2


def test_few_labels_are_all_kept():
    method = ConfidentLearning()
    method.setup(context_of([0, 0, 0, 1]))
    assert method.kept.all()
    assert method.class_weights.tolist() == [1.0] * 4


def test_self_training_takes_as_many_of_each_class():
    logits = torch.zeros(20, 2)
    logits[:, 0] = torch.linspace(-4, 6, 20)
    context = with_outputs(context_of([0, 1], num_nodes=20, epoch=20), logits)
    method = SelfTraining(per_class=3, every=10, threshold=0.5)
    method.setup(context)
    method.start_epoch(context)
    # Round 2: six of each class; nodes 0 and 1 are labelled.
    assert method.pseudo.tolist() == [-1, -1, *[1] * 6, *[-1] * 6, *[0] * 6]
    step = step_of(context, logits)
    at = method.pseudo >= 0
    torch.testing.assert_close(method.terms(step), F.cross_entropy(logits[at], method.pseudo[at]))
    context.epoch = 15
    method.pseudo.fill_(-1)
    method.start_epoch(context)
    assert method.terms(step) == 0.0


def test_self_training_without_a_sure_node_adds_none():
    context = with_outputs(context_of([0, 1], num_nodes=9, epoch=10), torch.zeros(9, 2))
    method = SelfTraining(every=10, threshold=0.9)
    method.setup(context)
    method.start_epoch(context)
    assert (method.pseudo == -1).all()


def cleaner():
    """Two cliques of five with one wrong label, node 4."""
    arcs = [(i + o, j + o) for o in (0, 5) for i in range(5) for j in range(5) if i != j]
    given = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    context = context_of(given, arcs=torch.tensor(arcs).t(), epoch=5)
    with_outputs(context, torch.zeros(10, 2), torch.ones(10, 3))
    method = GNNCleaner(warm_up=0.025)
    method.setup(context)
    method.start_epoch(context)
    return method, context


def test_gnn_cleaner_corrects_what_neighbours_contradict():
    method, context = cleaner()
    assert method.clean.nonzero().view(-1).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    step = step_of(context, torch.zeros(10, 2))
    targets = method.targets(step)
    assert torch.equal(targets[method.clean], step.one_hot[method.clean])
    # At first, half of each.
    torch.testing.assert_close(targets[4], 0.5 * step.one_hot[4] + 0.5 * method.propagated[4])


def test_gnn_cleaner_propagates_over_similarities():
    method, context = cleaner()
    # Node 4 is like no other.
    embedding = torch.eye(10)[:, :3].clone()
    embedding[:] = torch.tensor([1.0, 0, 0])
    embedding[4] = torch.tensor([0, 1.0, 0])
    with_outputs(context, torch.zeros(10, 2), embedding)
    method.start_epoch(context)
    assert method.clean.all()
    torch.testing.assert_close(method.propagated[4], torch.tensor([0.0, 1.0]))


def test_gnn_cleaner_learns_the_share_by_the_loss_of_clean_labels_after_a_step():
    """The gradient is that of an actual step of a linear last layer, by automatic differentiation."""
    method, context = cleaner()
    generator = torch.Generator().manual_seed(0)
    h, weight = torch.randn(10, 3, generator=generator), torch.randn(3, 2, generator=generator)
    logits = h @ weight
    step = step_of(context, logits)
    step.outputs[0] = Output(logits, h)
    method.terms(step).backward()
    shares = method.share(step).detach().requires_grad_()
    targets = shares * step.one_hot + (1 - shares) * method.propagated
    bad, clean = ~method.clean, method.clean
    slope = h[bad].T @ (logits[bad].softmax(1) - targets[bad])
    rate = 1e-4
    after = F.cross_entropy(h[clean] @ (weight - rate * slope), context.given[clean])
    (effect,) = torch.autograd.grad(after, shares)
    share = method.share(step)
    expected = torch.autograd.grad((share * effect / rate)[bad].mean(), method.coefficients)[0]
    torch.testing.assert_close(method.coefficients.grad, expected, rtol=1e-2, atol=1e-4)


def test_r2lp_reconstructs_as_the_dense_formula():
    graph = Graph.from_edge_index(KARATE).with_self_loops().normalise("sym")
    h = F.normalize(torch.randn(34, 5, generator=torch.Generator().manual_seed(0)))
    y = torch.rand(34, 3, generator=torch.Generator().manual_seed(1))
    method = R2LP(ridge=0.3, edges=0.7, hops=3)
    S, H = graph.to_dense().double(), h.double()
    unit = float((H.T @ H).diagonal().mean())
    b1, b2 = 0.3 * unit, 0.7 * unit
    powers = (S + S @ S + S @ S @ S) / 3
    Z = (H @ H.T + b2 * powers) @ torch.linalg.inv(H @ H.T + (b1 + b2) * torch.eye(34))
    torch.testing.assert_close(method.reconstructed(graph, h, y).double(), Z @ y.double(), atol=1e-4, rtol=1e-4)


def test_the_pool_of_r2lp_never_starts_empty_grows_and_corrects():
    given = torch.tensor([0] * 10 + [1] * 10)
    given[[3, 15]] = torch.tensor([1, 0])
    h = F.one_hot(torch.tensor([0] * 10 + [1] * 10), 2).float() + 0.01
    context = with_outputs(context_of(given, epoch=2), h, h)
    method = R2LP(warm_up=0.01, every=1, rounds=10)
    method.setup(context)
    sizes = []
    for epoch in range(2, 13):
        context.epoch = epoch
        method.start_epoch(context)
        sizes.append(int(method.pool.sum()))
    assert sizes[:4] == [10, 15, 18, 19]
    assert sizes[-1] == 20
    assert method.labels.tolist() == [0] * 10 + [1] * 10


def test_r2lp_reads_training_labels_only():
    """The field's benchmark trains on the labels of half of all nodes."""
    data = NOISY.clone()
    data.y = torch.where(data.train_mask, data.y, (data.y + 1) % 3)
    del data.val_mask
    other = NOISY.clone()
    del other.val_mask
    first, second = (RobustGNN(R2LP(warm_up=0.2, every=3), epochs=25, hidden=16).fit(d) for d in (data, other))
    assert len(first.method_.labels) == int(data.train_mask.sum())
    assert torch.equal(first.predict_proba(data), second.predict_proba(data))
    assert not torch.equal(first.method_.labels, first._context.given)


def test_bad_settings_are_named():
    for name, settings, message in (
        ("confident-learning", {"prune": "all"}, "prune: expected one of"),
        ("self-training", {"threshold": 2}, "threshold: expected a rate in"),
        ("gnn-cleaner", {"num_steps": 0}, "num_steps: expected an integer from 1 to 1000"),
        ("r2lp", {"ridge": 0}, "ridge: expected a number of at least"),
    ):
        with pytest.raises(InputError, match=message):
            create_method(name, **settings)

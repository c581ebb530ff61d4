"""Methods of losses, of transition matrices, ELR and nested dropout: their formulas and their state."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from graphnoise import datasets, noise
from graphnoise.checks import InputError
from graphnoise.robust import RobustGNN, losses, methods
from graphnoise.robust.methods.losses import ELR, GCE, TruncatedGCE
from graphnoise.robust.methods.nested_dropout import NestedDropout, width_probabilities
from graphnoise.robust.methods.transitions import Backward, Forward, SModel, TRevision
from graphnoise.robust.training import Batch, Context, Network, Output, Step, View

T = noise.Transition([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.1, 0.6]])
GIVEN = torch.tensor([0, 1, 2, 2, 0, 1])
# Eight nodes: six labelled, two for validation.
LOGITS = torch.from_numpy(2 * np.random.default_rng(0).normal(size=(8, 3)))


class Fixed(torch.nn.Module):
    """A network whose outputs are set, and which is only asked without dropout."""

    def __init__(self, logits=LOGITS):
        super().__init__()
        self.logits, self.weight = logits, torch.nn.Parameter(torch.zeros(1))

    def forward(self, view, generator=None, transform=None):
        assert generator is None
        return Output(self.logits, self.logits)


def context(network=None, epochs=20, val=(0, 1), given=GIVEN, classes=3):
    generator = torch.Generator().manual_seed(0)
    nodes, labels = torch.tensor([6, 7])[: len(val)], torch.tensor(val, dtype=torch.long)
    labelled = torch.arange(len(given))
    return Context(None, labelled, given, classes, epochs, [network or Fixed()], generator, nodes, labels)


def step(state, logits=None):
    """A step for all labelled nodes, with logits that take gradients."""
    logits = (LOGITS if logits is None else logits).clone().requires_grad_()
    rows = torch.arange(len(state.given))
    return Step(state, Batch(None, torch.arange(len(logits)), rows, rows), [Output(logits, logits)])


def ready(method, state, epoch=0):
    """The method, set up, at the start of an epoch."""
    method.setup(state)
    state.epoch = epoch
    method.start_epoch(state)
    return method


def planted(kind="pair", rate=0.4, classes=3):
    data = datasets.planted_partition(
        [200] * classes, 0.05, 0.005, num_features=16, separation=3.0, split=(100, 60, 200), seed=0
    )
    return noise.LabelNoise(kind, rate, splits=("train", "val"), seed=0, exact=True)(data)


PRESETS = {
    "bootstrap-hard": (losses.hard_bootstrapping, {"beta": 0.6}),
    "bootstrap-soft": (losses.soft_bootstrapping, {"beta": 0.6}),
    "focal": (losses.focal, {"gamma": 3.0}),
    "gce": (losses.gce, {"q": 0.2}),
    "label-smoothing": (losses.label_smoothing, {"smoothing": 0.3}),
    "mae": (losses.mae, {}),
    "nce": (losses.nce, {}),
    "nce-mae": (lambda *a, **k: losses.active_passive(*a, active="nce", passive="mae", **k), {"beta": 3.0}),
    "nce-rce": (lambda *a, **k: losses.active_passive(*a, active="nce", passive="rce", **k), {"alpha": 3.0}),
    "nfl-rce": (lambda *a, **k: losses.active_passive(*a, active="nfl", passive="rce", **k), {"alpha": 3.0}),
    "phuber": (losses.phuber, {"tau": 3.0}),
    "rce": (losses.rce, {"clip": 0.01}),
    "sce": (losses.sce, {"alpha": 2.0, "beta": 0.2}),
    "taylor": (losses.taylor, {"order": 5}),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_train_with_their_loss_and_settings(name):
    function, settings = PRESETS[name]
    now = step(context())
    for options in ({}, settings):
        method = methods.create_method(name, **options)
        values = method.loss(now, method.targets(now))
        torch.testing.assert_close(values, function(now.logits, GIVEN, reduction="none", **options))
        assert options.items() <= method.settings().items()
    soft = LOGITS[:6].softmax(1)
    torch.testing.assert_close(method.loss(now, soft), function(now.logits, soft, reduction="none", **settings))


def test_settings_of_presets_are_checked():
    assert repr(GCE(q=0.5)) == "GCE(q=0.5)"
    for call, message in (
        (lambda: GCE(q=2), "q: expected a rate"),
        (lambda: GCE(colour=1), "setting of GCE: expected one of q, got 'colour'"),
        (lambda: methods.create_method("nce-rce", active="nfl"), "setting of nce-rce: expected one of alpha, beta"),
        (lambda: TruncatedGCE(threshold=-1), "threshold: expected a rate"),
        (lambda: ELR(lam=-1), "lam: expected a number of at least 0"),
        (lambda: SModel(0.0), "noise_rate: expected a number in"),
        (lambda: Forward(warm_up=1.0), "warm_up: expected a number in"),
        (lambda: Forward(percentile=101), "percentile: expected a number in"),
        (lambda: Forward(torch.eye(3) * 0.9), "transition: matrix: expected rows that sum to 1, got 0.9"),
        (lambda: Forward("symmetric"), "transition: expected"),
        (lambda: TRevision(revise_from=2), "revise_from: expected a rate"),
        (lambda: NestedDropout(0.0), "scale: expected a number in"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_truncated_gce_leaves_out_improbable_labels_after_the_warm_up():
    network = Fixed()
    state = context(network, epochs=100)
    method = ready(TruncatedGCE(threshold=0.5, warm_up=0.07, interval=3), state, epoch=6)
    now = step(state)
    assert bool(method.select(now).all())
    torch.testing.assert_close(method.loss(now, GIVEN), losses.gce(now.logits, GIVEN, reduction="none"))
    state.epoch = 7
    method.start_epoch(state)
    probable = LOGITS[:6].softmax(1)[range(6), GIVEN] > 0.5
    assert bool(probable.any())
    assert not bool(probable.all())
    assert torch.equal(method.select(now), probable)
    # The next choice is three epochs later; one that leaves none keeps all.
    network.logits = F.one_hot((torch.cat([GIVEN, GIVEN[:2]]) + 1) % 3, 3) * 9.0
    for epoch, kept in ((8, probable), (9, probable), (10, torch.ones(6, dtype=torch.bool))):
        state.epoch = epoch
        method.start_epoch(state)
        assert torch.equal(method.select(now), kept)


def test_elr_updates_its_memory_before_use():
    state = context(given=torch.tensor([0]), classes=2)
    method = ready(ELR(), state)
    now = step(state, torch.zeros(1, 2))
    for value in (0.205590, -0.189966):
        total = method.loss(now, now.given).mean() + method.terms(now)
        assert abs(total.item() - value) < 1e-6


def test_elr_gradient_is_that_of_a_constant_memory():
    state = context(given=torch.tensor([0]), classes=2)
    method = ready(ELR(beta=1.0), state)
    method.memory[:] = torch.tensor([[0.6, 0.1]])
    now = step(state, torch.tensor([[0.8, 0.2]]).log())
    (gradient,) = torch.autograd.grad(method.terms(now), now.output.logits)
    torch.testing.assert_close(gradient, torch.tensor([[-0.48, 0.48]]))
    assert torch.equal(method.memory, torch.tensor([[0.6, 0.1]]))


def test_elr_without_weight_is_cross_entropy_and_evaluation_leaves_its_memory():
    data = planted()
    plain, fitted = (RobustGNN(method, epochs=10, seed=3).fit(data) for method in ("ce", ELR(lam=0.0)))
    assert torch.equal(plain.predict_proba(data), fitted.predict_proba(data))
    memory = fitted.method_.memory.clone()
    assert memory.shape == (int(data.train_mask.sum()), 3)
    assert 0 < float(memory.sum(1).min()) <= float(memory.sum(1).max()) < 1
    fitted.predict_proba(data)
    assert torch.equal(fitted.method_.memory, memory)


def test_elr_reads_the_rows_of_a_batch():
    state = context()
    method = ready(ELR(beta=0.0), state)
    logits = LOGITS[:2].float()
    method.terms(
        Step(state, Batch(None, torch.arange(2), torch.arange(2), torch.tensor([4, 1])), [Output(logits, logits)])
    )
    torch.testing.assert_close(
        method.memory[[4, 1]].double(), LOGITS[:2].softmax(1).clamp(1e-4, 1 - 1e-4), atol=1e-4, rtol=0
    )
    assert not method.memory[[0, 2, 3, 5]].any()


def test_the_transition_is_estimated_in_the_best_epoch_of_the_warm_up():
    network = Fixed()
    state = context(network, epochs=10)
    method = ready(Forward(warm_up=0.3, percentile=None), state)
    now = step(state)
    better, worse = LOGITS.clone(), LOGITS.clone()
    # Validation labels are 0 and 1.
    better[6:], worse[6:] = torch.tensor([[3.0, 0, 0], [0, 3.0, 0]]), torch.tensor([[0, 3.0, 0], [3.0, 0, 0]])
    for epoch, logits in enumerate((LOGITS, better, worse)):
        method.start_epoch(state)
        assert torch.equal(method.loss(now, GIVEN), F.cross_entropy(now.logits, GIVEN, reduction="none"))
        network.logits, state.epoch = logits, epoch + 1
        network.weight.data.fill_(epoch + 1.0)
        state.forget()
        method.end_epoch(state)
        assert not method.ready(state)
    expected = noise.anchor_points(better.softmax(1), None).transition
    torch.testing.assert_close(method.transition, expected.matrix)
    assert method.noise_rate == pytest.approx(expected.expected_rate())
    assert float(network.weight.detach()) == 3
    method.start_epoch(state)
    assert method.ready(state)
    # Training goes on from the best weights.
    assert float(network.weight.detach()) == 2
    network.weight.data.fill_(5.0)
    torch.testing.assert_close(method.loss(now, GIVEN), losses.forward_correction(now.logits, GIVEN, expected, "none"))
    # The estimate is kept.
    network.logits = LOGITS
    state.forget()
    method.end_epoch(state)
    torch.testing.assert_close(method.transition, expected.matrix)
    method.start_epoch(state)
    assert float(network.weight.detach()) == 5


def test_anchors_are_at_a_percentile_of_all_nodes():
    # The most certain node of class 0 is an outlier.
    p = torch.full((200, 2), 0.5, dtype=torch.float64)
    p[:100, 0], p[100:, 0], p[0, 0] = 0.8, 0.3, 0.999
    p[:, 1] = 1 - p[:, 0]
    state = context(Fixed(p.log()), val=())
    method = ready(Forward(), state)
    method.end_epoch(state)
    torch.testing.assert_close(method.transition, torch.tensor([[0.8, 0.2], [0.3, 0.7]]).double())


def test_without_validation_labels_the_last_epoch_of_the_warm_up_counts():
    network = Fixed()
    state = context(network, val=())
    method = ready(Forward(percentile=None), state)
    for logits in (LOGITS, LOGITS.flip(0) * 0.5):
        network.logits = logits
        state.forget()
        method.end_epoch(state)
    torch.testing.assert_close(
        method.transition, noise.anchor_points(network.logits.softmax(1), None).transition.matrix
    )


@pytest.mark.parametrize(("kind", "function"), [(Forward, "forward_correction"), (Backward, "backward_correction")])
def test_a_known_transition_needs_no_warm_up(kind, function):
    for known in (T, T.matrix, T.matrix.float().numpy()):
        state = context()
        method = ready(kind(known), state)
        now = step(state)
        assert method.ready(state)
        torch.testing.assert_close(
            method.loss(now, GIVEN), getattr(losses, function)(now.logits, GIVEN, T, "none"), rtol=1e-5, atol=1e-5
        )
        method.end_epoch(state)
        torch.testing.assert_close(method.transition, T.matrix, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="transition: expected 3 classes, as the labelled nodes have, got 2"):
        kind(noise.identity(2)).setup(context())
    with pytest.raises(InputError, match="transition: expected a matrix that can produce all given labels"):
        kind(torch.tensor([[1.0, 0.0, 0.0]]).repeat(3, 1)).setup(context())


def test_forward_correction_without_noise_trains_as_cross_entropy():
    data = planted()
    plain, fitted = (RobustGNN(m, epochs=20, seed=3).fit(data) for m in ("ce", Forward(noise.identity(3))))
    # A mean over nodes and classes would be a third of the loss.
    assert fitted.history_["loss"] == pytest.approx(plain.history_["loss"], rel=1e-3)
    torch.testing.assert_close(plain.predict_proba(data), fitted.predict_proba(data), rtol=0, atol=1e-2)


def test_a_singular_transition_trains_backward():
    state = context()
    method = ready(Backward(noise.symmetric(3, 2 / 3)), state)
    now = step(state)
    values = method.loss(now, GIVEN)
    # All labels say the same: the loss is the mean over the classes.
    torch.testing.assert_close(values, -now.logits.log_softmax(1).mean(1))


@pytest.mark.parametrize("name", ["forward", "t-revision"])
def test_a_transition_is_estimated_on_a_graph(name):
    data = planted()
    fitted = RobustGNN(name, seed=1, epochs=100).fit(data)
    error = (fitted.method_.transition - noise.pair(3, 0.4).matrix).abs().sum(1).mean()
    # Without noise it would be 0.8.
    assert float(error) < 0.6
    assert abs(fitted.method_.noise_rate - 0.4) < 0.15
    assert fitted.best_epoch_ > 25


def test_a_wrong_known_rate_is_kept():
    fitted = RobustGNN(Forward(noise.symmetric(3, 0.1)), seed=1, epochs=60).fit(planted("symmetric", 0.3))
    assert fitted.method_.noise_rate == pytest.approx(0.1)
    assert fitted.score(planted("symmetric", 0.3)) > 0.8


def test_t_revision_weights_cross_entropy_and_revises_rows():
    state = context(epochs=10)
    method = ready(TRevision(T, revise_from=0.5, revision=0.5), state)
    p, rows = LOGITS[:6].softmax(1), torch.arange(6)
    weights = p[rows, GIVEN] / (p @ T.matrix)[rows, GIVEN]
    now = step(state)
    values = method.loss(now, GIVEN)
    torch.testing.assert_close(values, -weights * p[rows, GIVEN].log())
    assert torch.autograd.grad(values.sum(), method.change, allow_unused=True)[0] is None
    state.epoch = 5
    torch.testing.assert_close(method.loss(now, GIVEN), values)
    method.change.data = torch.tensor([[0.4, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, -0.4, 1.2]]).double()
    # The second row of T has no change, which it would have if columns were divided by the sums of rows.
    revised = torch.tensor([[0.9, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.0, 1.2]]).double()
    revised /= revised.sum(1, keepdim=True)
    torch.testing.assert_close(method.revised(), revised, rtol=0, atol=1e-7)
    values = method.loss(now, GIVEN)
    weights = (p[rows, GIVEN] / (p @ revised)[rows, GIVEN]).detach()
    torch.testing.assert_close(values, -weights * p[rows, GIVEN].log(), rtol=1e-6, atol=1e-6)
    # Weights are constants for the network, and train the change of T.
    gradients = torch.autograd.grad(values.sum(), (now.output.logits, method.change))
    plain = (weights * F.cross_entropy(now.output.logits[:6], GIVEN, reduction="none")).sum()
    torch.testing.assert_close(gradients[0], torch.autograd.grad(plain, now.output.logits)[0], rtol=1e-5, atol=1e-6)
    assert float(gradients[1].abs().max()) > 0.01
    state.epoch = 6
    method.end_epoch(state)
    torch.testing.assert_close(method.transition, revised, rtol=0, atol=1e-7)


def test_t_revision_reports_what_it_learned():
    data = planted()
    fitted = RobustGNN("t-revision", epochs=40, seed=1, val_labels="none").fit(data)
    moved = (fitted.method_.transition - fitted.method_.estimate).abs().max()
    assert 1e-4 < float(moved) < 0.1


def test_s_model_is_finite_at_a_learning_rate_without_reason():
    fitted = RobustGNN("s-model", epochs=4, lr=1e6).fit(planted())
    assert all(torch.tensor(fitted.history_["loss"]).isfinite())


def test_s_model_starts_at_symmetric_noise_and_learns_a_transition():
    state = context()
    method = ready(SModel(0.3), state)
    now = step(state)
    torch.testing.assert_close(method.transition, noise.symmetric(3, 0.3).matrix)
    torch.testing.assert_close(
        method.loss(now, GIVEN), losses.forward_correction(now.logits, GIVEN, noise.symmetric(3, 0.3), "none")
    )
    (gradient,) = torch.autograd.grad(method.loss(now, GIVEN).sum(), method.scores)
    assert float(gradient.abs().max()) > 0.1
    fitted = RobustGNN(SModel(0.3), seed=1, epochs=20, val_labels="none").fit(planted())
    learned = fitted.method_.transition
    torch.testing.assert_close(learned.sum(1), torch.ones(3).double())
    assert float((learned - noise.symmetric(3, 0.3).matrix).abs().max()) > 0.02
    assert torch.equal(learned, fitted.method_.scores.detach().softmax(1))


def test_widths_have_the_probabilities_of_the_paper():
    kept = width_probabilities(4, 2.0).flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(kept, torch.tensor([1, 0.38696, 0.09738, 0.01442]).double(), rtol=0, atol=1e-5)
    assert width_probabilities(512, 1e-3)[0] == 1


def toy_view(n=30, width=5):
    generator = torch.Generator().manual_seed(0)
    arcs = torch.randint(0, n, (2, 80), generator=generator)
    return View(torch.rand(n, width, generator=generator), torch.cat([arcs, arcs.flip(0)], 1))


class Twice(torch.nn.Module):
    """Two calls of one layer, the second of which is the last."""

    def __init__(self):
        super().__init__()
        self.first, self.shared = torch.nn.Linear(5, 5), torch.nn.Linear(5, 5)

    def forward(self, x, edge_index):
        return self.shared(self.shared(self.first(x)).sigmoid())


class Last:
    """A network whose logits are the sum of the embedding."""

    def __call__(self, view, generator=None, transform=None):
        z = torch.tensor([[0.0, 4.0, 3.0, -9.0, 0.0], [0.0, 0.0, 0.0, 0.0, 9.0]]).repeat(4, 1)
        z = z if transform is None else transform(z)
        return Output(torch.stack([z.sum(1), torch.full((8,), 3.5), torch.zeros(8)], 1), z)


def user_models():
    from torch_geometric.nn import GCN, GraphSAGE

    return {"gcn": lambda: GCN(5, 8, 2, 5), "sage": lambda: GraphSAGE(5, 8, 3, 5), "twice": Twice}


@pytest.mark.parametrize("kind", ["gcn", "sage", "twice"])
def test_the_last_layer_of_a_module_reads_what_is_left_of_the_embedding(kind):
    torch.manual_seed(0)
    network, view = Network(user_models()[kind](), 5), toy_view()
    masked = network(view, None, lambda z: z * (torch.arange(z.shape[1]) < 2))
    plain = network(view)
    assert torch.equal(masked.embedding[:, :2], plain.embedding[:, :2])
    assert not masked.embedding[:, 2:].any()
    assert not torch.allclose(masked.logits, plain.logits)
    last = network.module.shared if kind == "twice" else network.module.convs[-1]
    by_hand = last(masked.embedding) if kind == "twice" else last(masked.embedding, view.edge_index)
    torch.testing.assert_close(masked.logits, by_hand)
    assert torch.equal(network(view).logits, plain.logits)


def test_a_module_without_layers_has_no_embedding_to_transform():
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(5, 5))

        def forward(self, x, edge_index):
            return x @ self.weight

    with pytest.raises(InputError, match=r"model: expected a layer of torch_geometric or torch\.nn\.Linear"):
        Network(Bare(), 5)(toy_view(), None, lambda z: z)


def test_nested_dropout_draws_one_width_per_step():
    state = context(Last(), val=())
    method = ready(NestedDropout(scale=2.5), state)
    widths = []
    for _ in range(400):
        (output,) = method.forward(state, Batch(None, torch.arange(8), torch.arange(6), torch.arange(6)))
        kept = (output.embedding != 0).any(0) | torch.tensor([True, False, False, False, False])
        widths.append(int(kept.nonzero().max()) + 1)
        # One width for all nodes: the last dimension of row 1 is there with that of all others.
        assert torch.equal(output.embedding[::2], output.embedding[:1].repeat(4, 1))
    counts = np.bincount(widths, minlength=6)[1:] / 400
    np.testing.assert_allclose(counts, width_probabilities(5, 2.5), atol=0.08)
    # Without validation labels all dimensions count.
    method.end_epoch(state)
    assert int(method.width) == 5


def test_nested_dropout_chooses_the_smallest_width_of_the_best_accuracy():
    # Widths 2 and 4 of 1, 2, 4, 5 are right for the first node, 1, 2 and 4 for the second.
    state = context(Last(), val=(0, 1))
    method = ready(NestedDropout(), state)
    method.end_epoch(state)
    assert int(method.width) == 2
    p = method.predict(state, None)
    assert p[6].argmax() == 0
    torch.testing.assert_close(p[6, 0].item(), math.exp(4) / (math.exp(4) + math.exp(3.5) + 1), rtol=1e-5, atol=0)


def test_predictions_of_nested_dropout_read_the_chosen_dimensions():
    data = planted()
    fitted = RobustGNN("nested-dropout", epochs=20, hidden=16, seed=2).fit(data)
    width = int(fitted.method_.width)
    assert width in (1, 2, 4, 8, 16)
    network = fitted.networks_[0]
    before = fitted.predict_proba(data)
    with torch.no_grad():
        network.module.layers[1].linear.weight.data[:, width:] = 99.0
    assert torch.equal(fitted.predict_proba(data), before)


@pytest.mark.parametrize("name", ["backward", "t-revision"])
def test_a_run_goes_on_from_a_checkpoint_of_the_warm_up(name, tmp_path):
    settings = {"epochs": 20, "hidden": 8, "seed": 1, "checkpoint_every": 1}
    data, file = planted(), tmp_path / "run.ckpt"
    RobustGNN(name, checkpoint=file, **settings).fit(data, callbacks=[lambda run: run.epochs_done >= 3])
    resumed, whole = RobustGNN(name, checkpoint=file, **settings).fit(data), RobustGNN(name, **settings).fit(data)
    assert torch.equal(resumed.predict_proba(data), whole.predict_proba(data))
    assert torch.equal(resumed.method_.transition, whole.method_.transition)

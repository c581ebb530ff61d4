"""Conditioning on quality, teachers that read labels, relabelling, and terms of fixed embeddings."""

import pytest
import torch
from torch.nn import functional as F
from torch_geometric.data import Data
from training_steps import VIEW, context, context_of, draw, step

from graphnoise import InputError, datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.conditioning import QualityConditioning, uniform_bins
from graphnoise.robust.methods.frozen_embeddings import NMTune, covariance_term, dominance_term, spectrum
from graphnoise.robust.methods.label_input import LabelAssisted
from graphnoise.robust.methods.relabelling import Relabelling, top_classes
from graphnoise.robust.methods.several_teachers import SeveralTeachers, _propagated, self_paced
from graphnoise.robust.training import GCN, Network, Output, View

DATA = datasets.planted_partition([30, 30], 0.3, 0.03, num_features=6, split=(8, 10, 12), seed=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def with_network(given, num_nodes=60, classes=3):
    """A context with a small network on the graph of `training_steps`."""
    network = Network(GCN(4, 5, classes, generator=generator()), classes)
    return context_of(given, view=VIEW, num_classes=classes, networks=[network], epochs=10)


def test_bins_have_uniform_width():
    scores = torch.tensor([0, 0.1, 0.2, 0.9, 1.0])
    assert uniform_bins(scores, 8).tolist() == [0, 0, 1, 7, 7]
    # Bins of equal counts would be others.
    ranks = scores.argsort().argsort().double() / 4
    assert (ranks * 8).long().clamp(max=7).tolist() == [0, 2, 4, 6, 7]
    assert uniform_bins(torch.full((3,), 0.4), 8).tolist() == [7, 7, 7]


class LinearHead(QualityConditioning):
    """A wrong version without a hidden layer."""

    def head(self, output, codes):
        return output.logits + codes[:, : output.logits.shape[1]]


def flipped(n=1600):
    """Two classes 4 deviations apart; labels are wrong in the lower bins, and right in the best one."""
    rng = generator()
    y = torch.arange(n) % 2
    x = torch.randn(n, 2, generator=rng) + 4.0 * (y.unsqueeze(1) - 0.5) * torch.tensor([1.0, 0.0])
    level = torch.randint(8, (n,), generator=rng)
    rate = torch.where(level <= 3, 0.9, torch.where(level <= 6, 0.2, 0.0))
    given = torch.where(torch.rand(n, generator=rng) < rate, 1 - y, y)
    train = torch.zeros(n, dtype=torch.bool)
    train[: n // 2] = True
    none = torch.zeros(2, 0, dtype=torch.long)
    data = Data(x=x, y=torch.where(train, given, y), edge_index=none, train_mask=train, test_mask=~train)
    return data, (level[: n // 2] / 7.0).clamp(0, 1)


@pytest.mark.parametrize(
    ("method", "low", "high"),
    [
        (lambda a: QualityConditioning(a), 0.9, 1.0),
        (lambda a: LinearHead(a), 0.0, 0.6),
        (lambda a: QualityConditioning(a, predict_bin=0), 0.0, 0.3),
        (lambda a: "ce", 0.0, 0.6),
    ],
    ids=["hidden layer", "linear head", "worst bin", "unconditioned"],
)
@pytest.mark.filterwarnings("ignore")
def test_the_best_bin_predicts_well_though_most_labels_are_wrong(method, low, high):
    data, scores = flipped()
    fitted = RobustGNN(method(scores), epochs=150, hidden=16, normalise_features=False, seed=0).fit(data)
    accuracy = float((fitted.predict_proba(data).argmax(1) == data.y)[data.test_mask].double().mean())
    assert low <= accuracy <= high


def test_by_default_the_best_bin_has_labels_of_every_class():
    data = datasets.planted_partition([60, 60, 60], 0.2, 0.02, num_features=8, split=(20, 20, 20), seed=0)
    noisy = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(data)
    fitted = RobustGNN(QualityConditioning(), epochs=100, seed=0).fit(noisy)
    given = noisy.y[noisy.train_mask]
    counts = torch.bincount(given * 8 + fitted.method_.bin, minlength=24).view(3, 8)
    assert counts.min() >= 1
    assert counts.max() <= counts.sum(1).max() / 8 + 1
    assert fitted.score(data) > 0.9


def test_message_passing_does_not_see_the_bins():
    state = with_network(torch.arange(8) % 3)
    method = QualityConditioning(torch.linspace(0, 1, 8), bins=4)
    method.setup(state)
    # 0 at first, when the bins change nothing.
    torch.nn.init.ones_(method.last.weight)
    batch = step(state, outputs=[]).batch
    first = method.forward(state, batch)[0].logits
    method.bin = 3 - method.bin
    state.generator.manual_seed(1)
    plain = [part.logits for part in state.evaluate_view(VIEW)]
    assert not torch.equal(first, plain[0])
    rows = torch.zeros(60, dtype=torch.bool)
    rows[state.labelled] = True
    state.networks[0].eval()
    outputs = []
    for bins in (method.bin, 3 - method.bin):
        method.bin = bins
        state.generator.manual_seed(1)
        outputs.append(method.forward(state, batch)[0].logits)
    assert torch.equal(outputs[0][~rows], outputs[1][~rows])
    assert not torch.equal(outputs[0][rows], outputs[1][rows])


def test_codes_tell_who_shares_a_class_and_not_which_one():
    given = torch.tensor([0, 1, 1, 2, 0])
    renamed = torch.tensor([2, 0, 1])[given]
    method = LabelAssisted(channels=6)
    grams = []
    for labels in (given, renamed):
        state = context_of(labels, num_classes=3)
        drawn = torch.stack([method.codes(state, 0.0) for _ in range(4000)])
        same = (drawn[:, :, None] == drawn[:, None, :]).all(3)
        assert torch.equal(same.all(0), given[:, None] == given[None])
        grams.append((drawn @ drawn.transpose(1, 2)).mean(0))
        assert float(drawn.mean()) == pytest.approx(0, abs=0.02)
    torch.testing.assert_close(grams[0], grams[1], atol=0.2, rtol=0)
    torch.testing.assert_close(grams[0], 6.0 * (given[:, None] == given[None]), atol=0.2, rtol=0)


@pytest.mark.parametrize("mode", ["masked", "plain"])
def test_hidden_nodes_do_not_read_their_own_code(mode):
    lonely = View(VIEW.x, VIEW.edge_index[:, (VIEW.edge_index != 0).all(0)])
    state = context_of(torch.arange(8) % 3, view=lonely, num_classes=3, networks=with_network([0, 1, 2]).networks)
    method = LabelAssisted(mode)
    method.setup(state)
    hidden = method.hidden(state)
    hidden[0] = mode == "masked"
    assert int(hidden[1:].sum()) in ((3, 4) if mode == "masked" else (0,))
    codes = method.codes(state, 0.0).requires_grad_()
    logits = method.taught_logits(state, lonely, torch.arange(60), codes, hidden, False)
    (own,) = torch.autograd.grad(logits[0].square().sum(), codes)
    assert bool(own[0].any()) is (mode == "plain")
    assert not own[1:].any()


@pytest.mark.parametrize("mode", ["masked", "plain"])
def test_what_the_teacher_says_of_a_label_is_from_a_pass_without_it(mode):
    lonely = View(VIEW.x, VIEW.edge_index[:, (VIEW.edge_index != 0).all(0)])
    taught = []
    for label in (0, 1):
        given = torch.tensor([label, 1, 2, 0, 1, 2, 0, 1])
        state = context_of(given, view=lonely, num_classes=3, epoch=80)
        method = LabelAssisted(mode)
        method.setup(state)
        method.start_epoch(state)
        taught.append(method.taught)
    torch.testing.assert_close(taught[0].sum(1), torch.ones(60))
    # Node 0 has no neighbour.
    assert torch.equal(taught[0][0], taught[1][0]) is (mode == "masked")


def test_relabelling_fills_other_classes_with_nothing():
    logits = torch.tensor([[3.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0]])
    assert float(top_classes(logits, 2)[0, 0]) == pytest.approx(0.8808, abs=5e-5)
    assert float(top_classes(logits, 2, legacy_fill=True)[0, 0]) == pytest.approx(0.7224, abs=5e-5)
    torch.testing.assert_close(top_classes(logits, 9), logits.softmax(1))


def test_targets_of_a_subgraph_are_those_of_the_subgraph():
    state = with_network(torch.arange(8) % 3)
    method = Relabelling(warm_up=0.1, views=3, k=2, trust=0.25, drop_arcs=0.0, mask_features=0.0)
    method.setup(state)
    now = step(state, outputs=[Output(draw(60, 3), draw(60, 5))])
    assert torch.equal(method.targets(now), state.given)
    state.networks[0].module.layers[0].linear.weight.data.mul_(2.0)
    state.epoch = 1
    state.forget()
    method.start_epoch(state)
    logits = state.evaluate().logits[:8]
    expected = 0.25 * now.one_hot + 0.75 * top_classes(logits, 2)
    torch.testing.assert_close(method.targets(now), expected)
    part = View(VIEW.x, VIEW.edge_index[:, ::2])
    from graphnoise.robust.training import Batch, Step

    rows = torch.tensor([5, 2])
    local = Step(state, Batch(part, torch.arange(60), rows, rows), [Output(draw(60, 3), draw(60, 5))])
    expected = 0.25 * local.one_hot + 0.75 * top_classes(state.networks[0](part).logits[rows], 2)
    torch.testing.assert_close(method.targets(local), expected)
    # The teacher stays as it was.
    state.networks[0].module.layers[0].linear.weight.data.mul_(3.0)
    torch.testing.assert_close(method.targets(local), expected)


def test_terms_of_embeddings():
    columns = torch.linalg.qr(draw(9, 4) - draw(9, 4).mean(0))[0]
    assert float(covariance_term(columns)) == pytest.approx(0, abs=1e-6)
    x = draw(9, 4)
    covariance = x.t().cov()
    expected = (covariance.square().sum() - covariance.diagonal().square().sum()) / 4
    torch.testing.assert_close(covariance_term(x), expected)
    rank_one = torch.outer(torch.arange(1.0, 10.0), torch.ones(7))
    assert float(dominance_term(rank_one)) == pytest.approx(-0.2, abs=1e-6)
    assert float(dominance_term(rank_one, top=1)) == pytest.approx(-1, abs=1e-6)
    for few in (draw(2, 8), draw(8, 2)):
        assert torch.isfinite(dominance_term(few))
        assert torch.isfinite(covariance_term(few))
    assert spectrum(torch.eye(6)).entropy == pytest.approx(1.791759, abs=1e-5)
    assert spectrum(rank_one) == pytest.approx((0, 1), abs=1e-5)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_shares_of_singular_values_are_those_of_a_decomposition(shape):
    x = draw(*shape).double().requires_grad_()
    values = torch.linalg.svdvals(x)
    shares = values / values.sum()
    torch.testing.assert_close(dominance_term(x, top=2), -shares[:2].mean())
    expected = [torch.special.entr(shares).sum().item(), shares[0].item()]
    assert list(spectrum(x)) == pytest.approx(expected)
    mine, theirs = (torch.autograd.grad(out, x)[0] for out in (dominance_term(x, top=2), -shares[:2].mean()))
    torch.testing.assert_close(mine, theirs)
    covariance = torch.cov(x.t())
    expected = (covariance.square().sum() - covariance.diagonal().square().sum()) / shape[1]
    torch.testing.assert_close(covariance_term(x), expected)
    same = torch.ones(shape, requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(dominance_term(same), same)[0]).all()


def test_nmtune_keeps_near_what_the_embeddings_were():
    before, after = [], []
    for weight in (0.0, 1000.0):
        method = NMTune(weight, 0.0, 0.0, per_row=True)
        fitted = RobustGNN(method, epochs=40, hidden=8, val_labels="none", seed=0).fit(DATA)
        embedding = F.normalize(fitted._context.evaluate().embedding)
        before.append(fitted.method_.frozen)
        after.append(float((embedding - F.normalize(fitted.method_.frozen)).square().mean()))
        assert set(fitted.method_.spectrum_) == {"before", "after"}
    assert torch.equal(*before)
    assert after[1] < 0.2 * after[0]
    # The default network starts from the smoothed features.
    torch.testing.assert_close(before[0], fitted._context.full.smoothed(2, 1.0))


def test_the_width_divides_the_mean_square_error():
    state = context()
    state.networks = [lambda view, generator=None: Output(draw(60, 3), draw(60, 5, seed=1))]
    found = []
    for per_row in (False, True):
        method = NMTune(1.0, 0.0, 0.0, per_row=per_row)
        method.setup(state)
        method.frozen = draw(60, 5, seed=9)
        state.generator.manual_seed(0)
        found.append(method.terms(step(state)))
    torch.testing.assert_close(found[1], 5 * found[0])


def test_teachers_enter_by_and_by_and_at_last_all():
    state = context(epochs=10)
    method = SeveralTeachers(warm_up=0.2, weight=2.0, first=0.25)
    method.setup(state)
    method.taught.copy_(draw(3, 60, 3).softmax(2))
    z = draw(60, 3, seed=7)
    now = step(state, outputs=[Output(z, z)])
    each = (method.taught * (method.taught.log() - z.log_softmax(1))).sum(2)
    for epoch, level in ((2, 0.25), (9, 1.0)):
        state.epoch = epoch
        torch.testing.assert_close(method.terms(now), 2.0 * self_paced(each, level))
    # All of them is the plain sum.
    torch.testing.assert_close(method.terms(now), 2.0 * each.sum() / 60)
    flat = each.flatten().sort().values
    torch.testing.assert_close(self_paced(each, 0.25), flat[:45].sum() / 60)


def test_propagated_labels_do_not_read_the_own_label():
    given = torch.arange(8) % 3
    changed = given.clone()
    changed[4] = (changed[4] + 1) % 3
    first, second = (_propagated(context(given=labels)) for labels in (given, changed))
    labelled = context().labelled
    assert torch.equal(first[labelled[4]], second[labelled[4]])
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sum(1), torch.ones(60))


def test_bad_input():
    for call, words in (
        (lambda: QualityConditioning(bins=4, predict_bin=4), "predict_bin: expected an integer"),
        (lambda: QualityConditioning(torch.ones(3)).setup(with_network([0, 1])), "credibility: expected 2 numbers"),
        (lambda: LabelAssisted("half"), "mode: expected one of"),
        (lambda: Relabelling(k=0), "k: expected an integer"),
        (lambda: NMTune(-1.0), "consistency: expected a number"),
    ):
        with pytest.raises(InputError, match=words):
            call()

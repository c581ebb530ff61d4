"""Consistency with annealed training signals, and shrunk classes: formulas, wrong versions, refused combinations."""

import math

import pytest
import torch
from torch.nn import functional as F
from training_steps import LABELLED, VIEW, context, context_of, draw, step, step_of

from graphnoise import InputError
from graphnoise.robust import methods
from graphnoise.robust.methods.consistency import (
    Consistency,
    ShrunkClasses,
    annealed_threshold,
    jensen_shannon,
    sampled_neighbours,
    shrunk_classes,
    weak_to_strong,
)
from graphnoise.robust.methods.two_networks import CoTeaching
from graphnoise.robust.training import Output

TRUSTED = torch.ones(8, dtype=torch.bool)


def generator():
    return torch.Generator().manual_seed(0)


def test_thresholds_of_annealing():
    found = [annealed_threshold(name, 0.5, 7) for name in ("linear", "exp", "log")]
    assert found == pytest.approx([0.5714, 0.2132, 0.9296], abs=5e-5)
    assert annealed_threshold("linear", 0.0, 7) == pytest.approx(1 / 7)
    assert annealed_threshold("exp", 1.0, 7) == pytest.approx(1.0)


def test_consistency_of_identical_views_is_zero_and_the_weak_view_gets_no_gradient():
    weak, strong = draw(20, 4, scale=3.0).requires_grad_(), draw(20, 4, seed=1).requires_grad_()
    assert float(weak_to_strong(weak, weak.detach(), temperature=1.0)) == pytest.approx(0, abs=1e-6)
    assert float(jensen_shannon([weak.detach(), weak.detach()], 0.0)) == pytest.approx(0, abs=1e-6)
    first, second = torch.autograd.grad(weak_to_strong(weak, strong), [weak, strong], allow_unused=True)
    assert first is None
    assert bool(second.any())


def test_sure_rows_are_chosen_without_the_temperature_and_all_rows_divide():
    weak, strong = torch.tensor([[2.0, 0.0], [1.2, 0.0]]), draw(2, 2)
    # max p is .88 and .77; at temperature .4 the second one would be .95.
    q, log_p = (weak[0] / 0.4).softmax(0), strong[0].log_softmax(0)
    expected = (q * (q.log() - log_p)).sum() / 2
    torch.testing.assert_close(weak_to_strong(weak, strong), expected)


def test_the_divergence_of_several_views_is_that_of_each_from_their_mean():
    logits = [draw(6, 3, seed=k, scale=3.0) for k in range(3)]
    p = torch.stack(logits).softmax(2)
    pi = p.mean(0)
    each = (p * (p / pi).log()).sum((0, 2))
    expected = each[pi.amax(1) >= 0.6].sum() / 6
    assert 0 < float(expected) < float(each.sum()) / 6
    torch.testing.assert_close(jensen_shannon(logits, 0.6), expected)


@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_terms_compare_the_unlabelled_nodes_with_changed_views(divergence):
    state, seen = context(), []
    own, other = draw(60, 3, scale=4.0), draw(60, 3, seed=5)

    def network(view, generator=None):
        seen.append(view)
        return Output(other, other)

    state.networks = [network]
    method = Consistency(divergence, weight=3.0, views=2, neighbours=3)
    found = method.terms(step(state, outputs=[Output(own, own)]))
    rows = state.unlabelled
    expected = (
        weak_to_strong(own[rows], other[rows])
        if divergence == "kl"
        else jensen_shannon([own[rows], other[rows], other[rows]])
    )
    torch.testing.assert_close(found, 3.0 * expected)
    assert len(seen) == (1 if divergence == "kl" else 2)
    assert all(view.edge_index.shape[1] < VIEW.edge_index.shape[1] for view in seen)
    assert int(torch.bincount(seen[0].edge_index[1]).max()) <= 3
    # Without unlabelled nodes there is nothing to compare.
    assert method.terms(step_of(context_of(torch.tensor([0, 1])), draw(2, 2))) == 0.0


def test_sampled_neighbours_are_arcs_of_the_graph():
    view = sampled_neighbours(VIEW, 4, generator())
    pairs = {tuple(arc) for arc in VIEW.edge_index.t().tolist()}
    found = view.edge_index.t().tolist()
    assert {tuple(arc) for arc in found} <= pairs
    assert len({tuple(arc) for arc in found}) == len(found)
    degrees = torch.bincount(VIEW.edge_index[1], minlength=60)
    assert torch.equal(torch.bincount(view.edge_index[1], minlength=60), degrees.clamp(max=4))


def test_annealing_drops_learned_trusted_labels_and_is_the_opposite_of_small_losses():
    state = context_of(torch.tensor([0, 0, 0, 1]), num_classes=2, epoch=100)
    trusted = torch.tensor([True, True, False, True])
    z = torch.tensor([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [0.0, 0.5]])
    now = step_of(state, z)
    # At half of the epochs the threshold is .75; p_y is .95, .05, .95 and .62.
    assert Consistency(tsa="linear", trusted=trusted).select(now).tolist() == [False, True, True, True]
    assert Consistency(rate=0.4).select(now).tolist() == [True, False, True, True]
    assert Consistency().select(now) is None


def test_annealing_is_refused_where_it_would_train_on_wrong_labels():
    class Selecting(Consistency, CoTeaching):
        select = CoTeaching.select

    for call, words in (
        (lambda: Consistency(tsa="linear"), "trusted: expected a mask of labels known to be right"),
        (lambda: Consistency(tsa="exp", trusted=TRUSTED, rate=0.2), "tsa: expected None next to a selection of small"),
        (
            lambda: Selecting(tsa="log", trusted=TRUSTED),
            "tsa: expected None next to .* with the selection of Selecting",
        ),
        (lambda: Consistency(tsa="cosine", trusted=TRUSTED), "tsa: expected one of"),
        (lambda: Consistency("l2"), "divergence: expected one of"),
        (lambda: Consistency(trusted=TRUSTED[:3]).setup(context()), "trusted: expected Booleans of shape"),
        (lambda: methods.create_method("shrunk-classes", momentum=2), "momentum: expected a rate"),
    ):
        with pytest.raises(InputError, match=words):
            call()


def test_without_a_kept_label_the_supervised_loss_is_zero():
    """As of a mean over the kept labels, at least one: training goes on with the consistency alone."""
    from graphnoise import datasets
    from graphnoise.robust import RobustGNN

    data = datasets.planted_partition([30, 30], 0.3, 0.03, num_features=4, split=(4, 10, 20), seed=0)
    method = Consistency(tsa="exp", trusted=torch.ones(8, dtype=torch.bool))
    fitted = RobustGNN(method, epochs=60, hidden=8, dropout=0.0).fit(data)
    assert min(fitted.history_["kept"]) < 1
    assert all(math.isfinite(value) for value in fitted.history_["loss"])
    assert fitted.score(data) > 0.8


def test_shrunk_classes_of_a_row():
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    auxiliary = draw(1, 4)
    expected = 0.5 * F.cross_entropy(auxiliary[:, [0, 3]], torch.tensor([0]))
    # .5 / .55 = .909; the classes from the third position on would give .714, all of them .5.
    torch.testing.assert_close(shrunk_classes(p.log(), auxiliary, 0.9), expected)
    shuffled = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(shrunk_classes(p.log()[:, shuffled], auxiliary[:, shuffled], 0.9), expected)
    # Sure rows, two classes, and rows whose last class is too likely have no loss.
    assert float(shrunk_classes(p.log(), auxiliary, 0.49)) == 0
    assert float(shrunk_classes(p[:, :2].log(), auxiliary[:, :2], 0.9)) == 0
    assert float(shrunk_classes(torch.zeros(3, 4), draw(3, 4), 0.9)) == 0


def test_shrunk_classes_weigh_by_a_share_that_goes_on_over_epochs():
    state = context()
    sure = draw(60, 3, scale=9.0)
    state.networks = [lambda view, generator=None: Output(draw(60, 3), draw(60, 5, seed=1))]
    method = ShrunkClasses(momentum=0.5)
    method.setup(state)
    shares = []
    for epoch in range(3):
        state.epoch = epoch
        method.terms(step(state, outputs=[Output(sure, sure)]))
        shares.append(float(method.sure))
    share = float((sure[state.unlabelled].softmax(1).amax(1) > 0.95).float().mean())
    assert shares == pytest.approx([0.5 * share, 0.75 * share, 0.875 * share])
    assert not torch.isin(LABELLED, state.unlabelled).any()

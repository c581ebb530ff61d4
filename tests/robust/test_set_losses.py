"""Losses of several classes per row, and margins: values of the formulas, wrong versions, and their methods."""

import math

import pytest
import torch
from torch.nn import functional as F
from training_steps import context, context_of, draw, step, step_of

from graphnoise import InputError
from graphnoise.robust import losses, methods
from graphnoise.robust.methods.losses import ELR
from graphnoise.robust.methods.set_losses import Margin, MissingPositives, PositiveUnlabelled
from graphnoise.robust.multilabel import class_weights
from graphnoise.robust.training import Batch, Output, Step

Z = torch.tensor([[2.0], [0.0], [0.0], [-2.0]])
FIRST = torch.tensor([[1], [0], [0], [0]])


def elr_values(update):
    """Values of ELR's loss of two logits of 0 at the first two calls, when `update` sets t before or after its use."""
    t, out = torch.zeros(2) if update != "uniform" else torch.full((2,), 0.5), []
    p = torch.full((2,), 0.5)
    for _ in range(2):
        mixed = 0.7 * t + 0.3 * p
        used = t if update == "after" else mixed
        out.append(math.log(2) + 3 * math.log(1 - float(used @ p)))
        t = mixed
    return out


def test_elr_is_none_of_its_wrong_versions():
    """The memory is updated before use, starts at zero, and stands still in predictions."""
    state = context_of(torch.tensor([0]), num_classes=2)
    method = ELR()
    method.setup(state)
    now = step_of(state, torch.zeros(1, 2))
    found = []
    for _ in range(2):
        found.append(float(method.loss(now, now.given).mean() + method.terms(now)))
        state.networks = [lambda view, generator=None: Output(torch.tensor([[5.0, -5.0]]), torch.zeros(1, 2))]
        before = method.memory.clone()
        method.predict(state, state.full)
        assert torch.equal(method.memory, before)
    assert found == pytest.approx([0.205590, -0.189966], abs=1e-6)
    assert elr_values("before") == pytest.approx(found, abs=1e-6)
    assert elr_values("after")[0] == pytest.approx(0.6931, abs=1e-4)
    assert elr_values("uniform")[0] < -0.3


def test_the_memory_of_elr_follows_predictions_not_corrected_targets():
    class Corrected(ELR):
        def targets(self, step):
            return 1 - step.given

    memories = []
    for kind in (ELR, Corrected):
        state = context_of(torch.tensor([0, 1]), num_classes=2)
        method = kind()
        method.setup(state)
        now = step_of(state, draw(2, 2))
        method.loss(now, method.targets(now))
        method.terms(now)
        memories.append(method.memory)
    assert torch.equal(*memories)


def test_elr_of_pairs_is_the_form_of_two_classes():
    """With logits (0, s), p = (1 - sigmoid(s), sigmoid(s)), and d/ds = -lam p_1 (t_1 - <t, p>) / (1 - <t, p>)."""
    s = torch.tensor([0.4, -1.0], requires_grad=True)
    logits = torch.stack([torch.zeros(2), s], 1)
    state = context_of(torch.tensor([1, 0]), num_classes=2)
    method = ELR(beta=1.0)
    method.setup(state)
    t = torch.tensor([[0.2, 0.7], [0.5, 0.3]])
    method.memory[:] = t
    (found,) = torch.autograd.grad(method.terms(step_of(state, logits)), s)
    p = torch.stack([1 - s.sigmoid(), s.sigmoid()], 1).detach()
    inner = (t * p).sum(1)
    torch.testing.assert_close(found, -3.0 * p[:, 1] * (t[:, 1] - inner) / (1 - inner) / 2)


def test_pu_is_that_of_all_rows_and_none_of_its_wrong_versions():
    assert float(losses.pu(Z, FIRST)) == pytest.approx(-0.346505, abs=1e-6)
    s = Z[:, 0].sigmoid()
    without_positives = s[1:].mean() ** 0.55 * s[1:].mean().log() - s[0].log()
    not_balanced = s.mean().log() - s[0].log()
    assert float(without_positives) == pytest.approx(-0.446340, abs=1e-6)
    assert float(not_balanced) == pytest.approx(-0.566219, abs=1e-6)


def test_pu_of_constant_logits_is_finite_and_classes_add_up():
    z = torch.full((5, 2), 3.0, requires_grad=True)
    value = losses.pu(z, torch.zeros(5, 2))
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(z.grad).all())
    both = losses.pu(torch.cat([Z, Z.flip(0)], 1), torch.cat([FIRST, 0 * FIRST], 1))
    single = losses.pu(Z, FIRST) + losses.pu(Z.flip(0), 0 * FIRST)
    torch.testing.assert_close(both, single)


def test_the_scale_of_pu_sharpens_only_and_gets_no_gradient():
    small = 0.01 * Z.clone().requires_grad_()
    scale = 0.01 * math.sqrt(2)
    torch.testing.assert_close(losses.pu(small, FIRST), losses.pu(Z / math.sqrt(2), FIRST, alpha=1e6))
    (found,) = torch.autograd.grad(losses.pu(small, FIRST), small)
    fixed = (small.detach() / scale).requires_grad_()
    (expected,) = torch.autograd.grad(losses.pu(fixed, FIRST, alpha=1e6), fixed)
    torch.testing.assert_close(found, expected / scale)


def test_pu_of_a_batch_reads_rows_without_a_label():
    state = context()
    method = PositiveUnlabelled(mixup=0.0)
    now = step(state)
    positive = torch.zeros(60, 3)
    positive[state.labelled, state.given] = 1
    assert not method.loss(now, now.given).any()
    torch.testing.assert_close(method.terms(now), losses.pu(now.output.logits, positive))


def test_mixed_embeddings_of_pu_pull_towards_the_mixed_labels():
    state, asked = context(), []
    z = state.networks[0](None).logits

    def network(view, generator=None, transform=None):
        h = z if transform is None else transform(z)
        asked.append(h)
        return Output(h, h)

    state.networks = [network]
    now = step(state, outputs=[Output(z, z)])
    plain, mixed = (float(PositiveUnlabelled(mixup=weight).terms(now)) for weight in (0.0, 2.0))
    assert mixed > plain
    assert not torch.equal(asked[0], z)
    # Where all rows are alike and positive, mixing changes nothing, and log y~ - log s is -log s.
    state = context_of(torch.zeros(3, dtype=torch.long), num_classes=1)
    state.networks = [
        lambda view, generator=None, transform=None: Output(transform(torch.ones(3, 1)), torch.ones(3, 1))
    ]
    now = step_of(state, torch.ones(3, 1))
    part = PositiveUnlabelled(mixup=1.0).terms(now) - PositiveUnlabelled(mixup=0.0).terms(now)
    assert float(part) == pytest.approx(F.logsigmoid(torch.tensor(1.0)).item() ** 2, abs=1e-6)


def test_weights_and_easy_negatives_of_the_balanced_focal_loss():
    torch.testing.assert_close(
        class_weights(torch.tensor([100, 10, 1])), torch.tensor([1, 1.2203, 1.3328]), atol=5e-5, rtol=0
    )
    easy = torch.tensor([[0.05, 0.02]]).logit()
    value = losses.balanced_focal(easy, torch.zeros(1, 2), counts=torch.ones(2))
    assert float(value) == pytest.approx(0, abs=1e-6)
    p = 0.6
    hard = losses.balanced_focal(torch.tensor([[p]]).logit(), torch.zeros(1, 1), counts=torch.ones(1))
    assert float(hard) == pytest.approx(-((p - 0.05) ** 4) * math.log(1 - p + 0.05), abs=1e-6)


def test_the_focus_of_the_balanced_focal_loss_gets_no_gradient_and_rare_classes_a_lower_logit():
    z = torch.tensor([[0.3]], requires_grad=True)
    (found,) = torch.autograd.grad(losses.balanced_focal(z, torch.zeros(1, 1), counts=torch.ones(1)), z)
    p = float(z.detach().sigmoid())
    assert float(found) == pytest.approx((p - 0.05) ** 4 * p * (1 - p) / (1 - p + 0.05), abs=1e-6)
    counts, one = torch.tensor([8.0, 2.0]), torch.tensor([[0, 1]])
    balanced = losses.balanced_focal(torch.zeros(1, 2), one, counts=counts, margin=0.0)
    moved = torch.tensor([[0.0, math.log(0.25)]])
    torch.testing.assert_close(balanced, losses.balanced_focal(moved, one, counts=counts, margin=0.0, balance=0.0))


def test_missing_positives_must_exceed_the_threshold_and_the_mean_of_their_class():
    p = torch.tensor([[0.72, 0.72], [0.78, 0.08]])
    found = losses.recover_positives(p, torch.tensor([[0, 0], [0, 1]]))
    # The means are .75 and .4; a given positive stays, whatever its probability.
    assert found.tolist() == [[False, True], [True, True]]


def test_margins_are_larger_for_rare_classes():
    counts, z = torch.tensor([16, 1]), torch.tensor([[0.5, 0.1], [0.2, 0.9]])
    found = losses.ldam(z, torch.tensor([0, 1]), counts=counts, scale=2.0, reduction="none")
    moved = 2.0 * torch.tensor([[0.5 - 0.25, 0.1], [0.2, 0.9 - 0.5]])
    torch.testing.assert_close(found, F.cross_entropy(moved, torch.tensor([0, 1]), reduction="none"))
    soft = torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    each = torch.stack([losses.ldam(z, torch.full((2,), k), counts=counts, reduction="none") for k in (0, 1)], 1)
    torch.testing.assert_close(losses.ldam(z, soft, counts=counts, reduction="none"), (soft * each).sum(1))


def test_margins_follow_corrected_labels():
    state = context_of(torch.tensor([0, 0, 0, 1]), num_classes=2)
    method, z = Margin(scale=2.0), draw(4, 2)
    method.setup(state)
    now, corrected = step_of(state, z), torch.tensor([0, 1, 1, 1])
    for targets, counts in ((state.given, [3, 1]), (corrected, [1, 3])):
        expected = losses.ldam(F.normalize(z), targets, counts=torch.tensor(counts), scale=2.0, reduction="none")
        torch.testing.assert_close(method.loss(now, targets), expected)


def test_probable_classes_become_positives_after_the_warm_up():
    state = context_of(torch.tensor([0, 0, 1, 1]), num_classes=2)
    method = MissingPositives()
    method.setup(state)
    z = torch.tensor([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, 3.0]])
    given = F.one_hot(state.given, 2)
    expected = losses.balanced_focal(z, given, counts=torch.tensor([2, 2]), gamma=0.0, reduction="none")
    torch.testing.assert_close(method.loss(step_of(state, z), state.given), expected)
    state.epoch = state.epochs_in(method.warm_up)
    added = given.clone()
    added[0, 1] = 1
    expected = losses.balanced_focal(z, added, counts=torch.tensor([2, 3]), gamma=0.0, reduction="none")
    torch.testing.assert_close(method.loss(step_of(state, z), state.given), expected)
    # What was added is not kept where it is no longer probable.
    method.loss(step_of(state, 0 * z), state.given)
    assert torch.equal(method.positive, given.bool())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.pu(Z, Z), "positive: expected zeros and ones"),
        (lambda: losses.pu(Z[:0], FIRST[:0]), "logits: expected real numbers of shape"),
        (lambda: losses.pu(Z, FIRST[:2]), "positive: expected zeros and ones of shape"),
        (lambda: losses.pu(Z, FIRST, alpha=0.0), "alpha: expected a number"),
        (lambda: losses.balanced_focal(Z, FIRST, counts=torch.ones(3)), "counts: expected a number for each of the 1"),
        (lambda: losses.balanced_focal(Z, FIRST, reduction="max"), "reduction: expected one of"),
        (lambda: losses.recover_positives(Z, FIRST), "probabilities: expected numbers in"),
        (lambda: losses.ldam(Z.expand(4, 2), [0, 1, 0, 1], counts=torch.ones(3)), "counts: expected a number for each"),
        (lambda: methods.create_method("ldam", margin=-1), "margin: expected a number"),
        (lambda: losses.recover_positives(Z.sigmoid(), FIRST, threshold=2), "threshold: expected a rate"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_step_of_some_rows_counts_the_labels_of_all():
    state = context_of(torch.tensor([0, 0, 0, 1]), num_classes=2)
    method, z, rows = Margin(scale=2.0), draw(4, 2), torch.tensor([3, 0])
    method.setup(state)
    now = Step(state, Batch(None, torch.arange(4), rows, rows), [Output(z, z)])
    counts = torch.tensor([3, 1])
    expected = losses.ldam(F.normalize(z[rows]), state.given[rows], counts=counts, scale=2.0, reduction="none")
    torch.testing.assert_close(method.loss(now, now.given), expected)

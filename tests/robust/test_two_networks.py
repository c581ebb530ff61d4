"""Co-teaching, co-teaching+, JoCoR and the loss mixture against their formulas."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import context_of, step_of

from graphnoise import InputError, datasets, noise
from graphnoise.noise.mixture import lower_component
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods import create_method
from graphnoise.robust.methods.ggp_targets import noise_rate
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.methods.two_networks import CoTeaching, CoTeachingPlus, JoCoR, SmallLoss

DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=1.5, split=(10, 30, 60), seed=0)
NOISY = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(DATA)
GIVEN = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])


def draw(seed, rows=10, classes=3):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed)) * 2


def set_up(method, epoch=100, given=GIVEN):
    context = context_of(given, epoch=epoch)
    method.setup(context)
    return context


def test_the_smallest_values_are_selected_and_of_each_class_one():
    values = torch.tensor([0.9, 0.1, 0.2, 0.3, 0.8])
    given = torch.tensor([1, 0, 0, 0, 1])
    assert smallest(values, given, 0.0).tolist() == [False, True, False, False, True]
    # Of five, 0.41 are 2.05, so three.
    assert smallest(values, given, 0.41).tolist() == [False, True, True, True, True]
    assert smallest(values, given, 0.5, balanced=True).tolist() == [False, True, True, False, True]
    assert smallest(values, given, 1.0).all()
    assert smallest(values[:0], given[:0], 0.5).tolist() == []
    # 1 - 0.3 in floating point, times 10.
    assert int(smallest(torch.arange(10.0), torch.zeros(10, dtype=torch.long), 1 - 0.3).sum()) == 7


def test_the_share_falls_linearly_to_one_minus_the_rate():
    method = CoTeaching(rate=0.4, ramp=10)
    set_up(method)
    np.testing.assert_allclose([method.share(t) for t in (0, 1, 5, 10, 99)], [1, 0.96, 0.8, 0.6, 0.6])


@pytest.mark.parametrize("balanced", [True, False])
def test_each_network_trains_on_what_the_other_selects(balanced):
    method = CoTeaching(rate=0.5, balanced=balanced)
    context = set_up(method)
    first, second = draw(0), draw(1)
    chosen = [method.select(step_of(context, first, second, network=k)) for k in (0, 1)]
    for mask, logits in zip(chosen, (second, first), strict=True):
        losses = F.cross_entropy(logits, GIVEN, reduction="none")
        assert torch.equal(mask, smallest(losses, GIVEN, 0.5, balanced=balanced))
    swapped = [method.select(step_of(context, second, first, network=k)) for k in (0, 1)]
    assert torch.equal(torch.stack(chosen), torch.stack(swapped[::-1]))
    assert not torch.equal(chosen[0], chosen[1])


def test_a_rate_of_one_leaves_one_node_of_each_class():
    method = CoTeaching(rate=1.0)
    mask = method.select(step_of(set_up(method), draw(0), draw(1)))
    assert torch.bincount(GIVEN[mask]).tolist() == [1, 1, 1]


def test_co_teaching_does_not_need_disagreement():
    """Networks that agree still select; the disagreement update would leave nothing."""
    method, same = CoTeaching(rate=0.5), draw(0)
    assert int(method.select(step_of(set_up(method), same, same)).sum()) == 5


@pytest.mark.parametrize("name", ["co-teaching", "jocor"])
def test_a_rate_of_zero_is_two_plain_runs(name):
    common = {"epochs": 25, "hidden": 16, "dropout": 0.0, "val_labels": "none"}
    settings = {"weight": 0.0} if name == "jocor" else {}
    both = RobustGNN(create_method(name, rate=0.0, **settings), seed=3, **common).fit(NOISY)
    for k, network in enumerate(both.networks_):
        plain = RobustGNN("ce", seed=3 + 7919 * k, **common).fit(NOISY).networks_[0]
        for name_of, value in network.state_dict().items():
            assert torch.equal(value, plain.state_dict()[name_of])


def test_co_teaching_plus_selects_among_disagreements():
    method = CoTeachingPlus(rate=0.5, warm_up=0, minimum=1)
    context = set_up(method)
    first, second = draw(0), draw(1)
    differ = first.argmax(1) != second.argmax(1)
    mask = method.select(step_of(context, first, second))
    assert not bool((mask & ~differ).any())
    losses = F.cross_entropy(second, GIVEN, reduction="none")
    assert torch.equal(mask[differ], smallest(losses[differ], GIVEN[differ], 0.5, balanced=True))


@pytest.mark.parametrize("settings", [{"warm_up": 0, "minimum": 11}, {"warm_up": 0.51, "minimum": 1}])
def test_co_teaching_plus_is_co_teaching_in_the_warm_up_and_with_few_disagreements(settings):
    method, plain = CoTeachingPlus(rate=0.5, **settings), CoTeaching(rate=0.5)
    step = step_of(set_up(method), draw(0), draw(1))
    set_up(plain)
    assert torch.equal(method.select(step), plain.select(step))


def test_networks_that_agree_select_in_co_teaching_plus():
    method, same = CoTeachingPlus(rate=0.5, warm_up=0), draw(0)
    assert int(method.select(step_of(set_up(method), same, same)).sum()) == 5


def joint_loss(first, second, weight):
    p, q = first.double().softmax(1), second.double().softmax(1)
    entropies = -(p[range(10), GIVEN].log() + q[range(10), GIVEN].log())
    divergences = (p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)
    return (1 - weight) * entropies + weight * divergences


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_jocor_adds_up_to_the_joint_loss_and_selects_by_it(weight):
    method = JoCoR(rate=0.5, weight=weight)
    context = set_up(method)
    first, second = draw(0), draw(1)
    steps = [step_of(context, first, second, network=k) for k in (0, 1)]
    total = method.loss(steps[0], GIVEN) + method.loss(steps[1], GIVEN)
    expected = joint_loss(first, second, weight)
    torch.testing.assert_close(total.double(), expected, atol=1e-5, rtol=1e-5)
    for step in steps:
        assert torch.equal(method.select(step), smallest(expected, GIVEN, 0.5, balanced=True))


def test_jocor_trains_both_networks_through_the_divergence():
    method = JoCoR(rate=0.0, weight=1.0)
    context = set_up(method)
    logits = [draw(k).requires_grad_() for k in (0, 1)]
    method.loss(step_of(context, *logits), GIVEN).sum().backward()
    assert all(bool(rows.grad.abs().sum() > 0) for rows in logits)


def test_the_best_epoch_restores_both_networks():
    """A copy of the first network alone would leave the second one at its last epoch."""
    fitted = RobustGNN(JoCoR(rate=0.3), epochs=60, hidden=16, seed=1).fit(NOISY)
    states = []
    stop = fitted.best_epoch_
    assert stop < 60
    RobustGNN(JoCoR(rate=0.3), epochs=60, hidden=16, seed=1, val_labels="none").fit(
        NOISY,
        callbacks=[
            lambda run: (
                run.epochs_done == stop
                and states.extend({k: v.clone() for k, v in n.state_dict().items()} for n in run.context.networks)
            )
        ],
    )
    for network, state in zip(fitted.networks_, states, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_rate_is_estimated_and_reported():
    truth = float((NOISY.y != NOISY.y_true)[NOISY.train_mask].double().mean())
    fitted = RobustGNN("co-teaching", epochs=3, seed=0).fit(NOISY)
    assert float(fitted.method_.rate_) == pytest.approx(truth, abs=0.12)
    assert float(RobustGNN(JoCoR(rate=0.2), epochs=1).fit(NOISY).method_.rate_) == pytest.approx(0.2)
    assert noise_rate(context_of(torch.zeros(4, dtype=torch.long))) == 0.0


@pytest.mark.parametrize("reverse", [False, True])
def test_the_mixture_of_losses_separates(reverse):
    rng = np.random.default_rng(0)
    losses = np.r_[rng.normal(0.2, 0.02, 80), rng.normal(2, 0.1, 20)]
    order = slice(None, None, -1) if reverse else slice(None)
    wrong = (1 - lower_component(losses[order]))[order]
    assert wrong[:80].mean() < 0.01
    assert wrong[80:].mean() > 0.99


def test_small_loss_divides_by_the_other_network_and_sharpens():
    given = torch.arange(30) % 3
    context = context_of(given, epoch=7)
    wrong = torch.zeros(2, 30, dtype=torch.bool)
    wrong[0, :6] = wrong[1, 20:] = True
    logits = [4.0 * F.one_hot((given + bad) % 3, 3) for bad in wrong.long()]
    context.evaluate = lambda k: step_of(context, *logits, network=k).output
    method = SmallLoss(warm_up=0.035, temperature=0.5, weight=0.25)
    method.setup(context)
    method.start_epoch(context)
    mean = torch.stack([rows.softmax(1) for rows in logits]).mean(0)
    sharpened = mean**2 / (mean**2).sum(1, keepdim=True)
    for k in (0, 1):
        step = step_of(context, *logits, network=k)
        bad = wrong[1 - k]
        assert method.weights(step).tolist() == torch.where(bad, 0.25, 1.0).tolist()
        expected = torch.where(bad.unsqueeze(1), sharpened, F.one_hot(given, 3).float())
        torch.testing.assert_close(method.targets(step), expected)


def test_equal_losses_keep_all_labels_and_each_class_keeps_one():
    assert SmallLoss().divide(torch.zeros(6, 2), torch.tensor([0, 1] * 3)).all()
    # The losses of a class are large, and alike.
    logits = torch.tensor([[5.0, 0.0]]).repeat(10, 1)
    assert SmallLoss().divide(logits, torch.tensor([0] * 8 + [1] * 2)).all()
    assert torch.bincount(GIVEN[SmallLoss(threshold=1.0).divide(draw(0), GIVEN)]).tolist() == [1, 1, 1]


def test_small_loss_learns_and_goes_on_from_a_checkpoint(tmp_path):
    settings = {"epochs": 30, "hidden": 16, "seed": 1}
    whole = RobustGNN(SmallLoss(warm_up=1 / 3), **settings).fit(NOISY)
    assert whole.best_epoch_ > 10
    assert not bool(whole.method_.clean.all())
    file = tmp_path / "run.ckpt"
    saved = RobustGNN(SmallLoss(warm_up=1 / 3), checkpoint=file, checkpoint_every=1, **settings)
    saved.fit(NOISY, callbacks=[lambda run: run.epochs_done >= 17])
    resumed = RobustGNN(SmallLoss(warm_up=1 / 3), checkpoint=file, **settings).fit(NOISY)
    assert torch.equal(resumed.predict_proba(NOISY), whole.predict_proba(NOISY))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("co-teaching", {"rate": 1.5}, "rate: expected a rate in"),
        ("co-teaching", {"ramp": 0}, "ramp: expected an integer of at least 1, got 0"),
        ("co-teaching", {"balanced": 1}, "balanced: expected True or False"),
        ("co-teaching-plus", {"minimum": 0}, "minimum: expected an integer of at least 1"),
        ("jocor", {"weight": -0.1}, "weight: expected a rate in"),
        ("small-loss", {"temperature": 0}, "temperature: expected a number of at least"),
    ],
)
def test_bad_settings_are_named(name, settings, message):
    with pytest.raises(InputError, match=message):
        create_method(name, **settings)

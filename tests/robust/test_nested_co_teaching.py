"""Nested dropout with co-teaching: probabilities of dimensions, one k for both networks, selections."""

import pytest
import torch
from torch.nn import functional as F
from training_steps import context_of, draw, step_of

from graphnoise import datasets, noise
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.nested_dropout import NestedCoTeaching, width_probabilities
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.training import Output

DATA = datasets.planted_partition([30, 30], 0.3, 0.03, num_features=6, split=(8, 10, 12), seed=0)
NOISY = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(DATA)
GIVEN = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


def test_dimensions_are_kept_with_the_published_probabilities():
    kept = width_probabilities(4, 2.0).flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(kept, torch.tensor([1, 0.38696, 0.09738, 0.01442]).double(), atol=5e-6, rtol=0)
    # With the factor 1/2 of a normal density they would be others.
    k = torch.arange(1, 5).double()
    halved = (-0.5 * (k / 2).square()).softmax(0)
    assert abs(float(halved[1:].sum()) - 0.38696) > 0.1


def test_both_networks_keep_the_same_dimensions():
    method = NestedCoTeaching(rate=0.3, scale=3.0)
    seen = [[], []]

    def network(k):
        def run(view, generator=None, transform=None):
            h = torch.ones(8, 6) if transform is None else transform(torch.ones(8, 6))
            seen[k].append(int(h[0].sum()))
            return Output(h[:, :2], h)

        return run

    state = context_of(GIVEN, networks=[network(0), network(1)])
    method.setup(state)
    for part in seen:
        part.clear()
    batch = step_of(state, draw(8, 2), draw(8, 2, seed=1)).batch
    for _ in range(30):
        method.forward(state, batch)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 2


def test_each_network_selects_for_the_other():
    method = NestedCoTeaching(rate=0.5)
    state = context_of(GIVEN, epoch=50)
    state.networks = [lambda view, generator=None: Output(draw(8, 2), draw(8, 4))] * 2
    method.setup(state)
    first, second = draw(8, 2), draw(8, 2, seed=1)
    chosen = [method.select(step_of(state, first, second, network=k)) for k in (0, 1)]
    for mask, logits in zip(chosen, (second, first), strict=True):
        assert torch.equal(mask, smallest(F.cross_entropy(logits, GIVEN, reduction="none"), GIVEN, 0.5, balanced=True))
    swapped = [method.select(step_of(state, second, first, network=k)) for k in (0, 1)]
    assert torch.equal(torch.stack(chosen), torch.stack(swapped[::-1]))


def test_a_rate_of_zero_keeps_all_and_without_validation_labels_predictions_use_all_dimensions():
    fitted = RobustGNN(NestedCoTeaching(rate=0.0), epochs=10, hidden=8, val_labels="none", seed=0).fit(NOISY)
    assert fitted.history_["kept"] == [1.0] * 10
    assert int(fitted.method_.width) == 8
    outputs = [network(fitted._context.full).logits.softmax(1) for network in fitted.networks_]
    torch.testing.assert_close(fitted.predict_proba(NOISY), torch.stack(outputs).mean(0))


def test_the_width_is_chosen_by_the_mean_prediction_on_validation_labels():
    given, val = torch.tensor([0, 1]), [2, 3]
    # The first dimension is right in both networks, of the second one of them is sure and wrong.
    right, wrong = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([0.0, 0.0, -9.0, 9.0])

    def network(x):
        def run(view, generator=None, transform=None):
            h = x if transform is None else transform(x)
            s = h.sum(1)
            return Output(torch.stack([s, -s], 1), h)

        return run

    state = context_of(
        given, networks=[network(torch.stack([right, wrong], 1)), network(torch.stack([right, 0 * wrong], 1))],
        num_nodes=4, labelled=torch.tensor([0, 1]), val=val, val_given=[0, 1],
    )  # fmt: skip
    method = NestedCoTeaching(rate=0.2)
    method.setup(state)
    method.end_epoch(state)
    assert int(method.width) == 1


def test_defaults():
    method = NestedCoTeaching()
    assert method.settings() == {"rate": None, "ramp": 10, "balanced": True, "scale": 10.0}
    assert [method.num_networks, method.needs_graph] == [2, False]
    with pytest.raises(ValueError, match="scale"):
        NestedCoTeaching(scale=0.0)

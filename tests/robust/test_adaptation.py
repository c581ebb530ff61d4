"""Adaptation to a graph without labels."""

import pytest
import torch
from torch.nn import functional as F
from torch_geometric.nn import GCN

from graphnoise import InputError, NotFittedError, datasets
from graphnoise.robust import EntropyAdaptation, RobustGNN
from graphnoise.robust.training import View

SPLIT = (15, 20, 20)
DATA = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, split=SPLIT, seed=0)
LATER = datasets.planted_partition([40, 40, 40], 0.2, 0.06, num_features=8, split=SPLIT, seed=1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return RobustGNN("ce", model=GCN(8, 16, 2, 3, norm="BatchNorm"), epochs=30, seed=0).fit(DATA)


def entropy(p):
    return float(-(p * p.clamp(min=1e-12).log()).sum(1).mean())


def test_a_step_makes_kept_nodes_surer_and_changes_layers_of_normalisation_alone(model):
    before = {name: p.clone() for name, p in model.networks_[0].named_parameters()}
    plain = model.predict_proba(LATER)
    adapted = EntropyAdaptation(model, lr=0.01)
    p = adapted.predict_proba(LATER)
    # Nothing has changed before the first step.
    assert bool(adapted.kept_.all())
    assert entropy(p) < entropy(plain)
    changed = {name for name, q in adapted.network.named_parameters() if not torch.equal(q, before[name])}
    assert changed
    assert all("norm" in name for name in changed)
    # The reference is frozen.
    assert torch.equal(model.predict_proba(LATER), plain)


def test_nodes_that_lost_confidence_are_left_out(model):
    adapted = EntropyAdaptation(model, lr=0.05)
    adapted.predict_proba(LATER)
    first = model.predict_proba(LATER)
    with torch.no_grad():
        second = adapted.network(View(F.normalize(LATER.x), LATER.edge_index)).logits.softmax(1)
    adapted.predict_proba(LATER)
    rows, classes = torch.arange(120), first.argmax(1)
    assert torch.equal(adapted.kept_, second[rows, classes] >= first[rows, classes])


def test_without_a_kept_node_nothing_changes(model, monkeypatch):
    adapted = EntropyAdaptation(model, lr=0.05)
    nothing = "graphnoise.robust.adaptation.confidence_falls"
    monkeypatch.setattr(nothing, lambda before, after, labels: (None, labels < 0))
    before = {name: p.clone() for name, p in adapted.network.named_parameters()}
    p = adapted.predict_proba(LATER)
    assert not bool(adapted.kept_.any())
    assert all(torch.equal(q, before[name]) for name, q in adapted.network.named_parameters())
    torch.testing.assert_close(p, model.predict_proba(LATER))


def test_bad_input_is_named(model):
    two = RobustGNN("co-teaching", epochs=1).fit(DATA)
    for call, message in (
        (lambda: EntropyAdaptation(3), "model: expected a fitted RobustGNN"),
        (lambda: EntropyAdaptation(two), "model: expected a method of one network, got 2 networks"),
        (lambda: EntropyAdaptation(RobustGNN("ce", epochs=1).fit(DATA)), "model: expected layers of normalisation"),
        (lambda: EntropyAdaptation(model, lr=0), "lr: expected"),
        (
            lambda: EntropyAdaptation(model).predict_proba(datasets.planted_partition([9], 0.5, 0.5, num_features=3)),
            "8",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(NotFittedError):
        EntropyAdaptation(RobustGNN("ce"))

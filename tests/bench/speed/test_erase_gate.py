"""Cases of ERASE, and what must agree with the dense form before anything is timed."""

import re
from dataclasses import replace

import pytest
import torch
from speeds import CASE, TINY, call

from graphnoise import coding_rates as coding
from graphnoise.bench.speed import erase_cases, erase_gate
from graphnoise.bench.speed.gate import GateError
from graphnoise.erase import train
from graphnoise.erase.settings import PRESETS, settings
from graphnoise.errors import InputError

pytestmark = pytest.mark.usefixtures("_brief_erase")


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_drawn_graphs_have_their_sizes(classes):
    case = replace(CASE, nodes=203, arcs=1_000, classes=classes)
    data = erase_cases.build(case)
    assert data.edge_index.shape[1] == 1_000
    assert len(torch.unique(data.edge_index, dim=1)[0]) == 1_000
    assert data.is_undirected()
    assert not data.has_self_loops()
    assert data.x.shape == (203, 8)
    labelled = torch.bincount(data.y[data.train_mask], minlength=classes)
    assert (labelled == min(20, 203 // classes // 3)).all()
    assert int((data.train_mask & data.val_mask).sum()) == 0
    assert int(data.val_mask.sum()) > 10
    same = (data.y[data.edge_index[0]] == data.y[data.edge_index[1]]).float().mean()
    assert 0.6 < float(same) < 0.8
    assert torch.equal(erase_cases.build(case).x, data.x)


def test_arcs_that_cannot_be_placed_are_refused(monkeypatch):
    monkeypatch.setattr(erase_cases, "_SURPLUS", (0.5, 1.0))
    with pytest.raises(InputError, match="--arcs: expected so few that they can be placed, got 240, and no more than"):
        erase_cases.build(CASE)


def test_a_case_can_be_the_smallest():
    data = erase_cases.build(erase_cases.synthetic(8, 6, 1, 2, None, {"hidden": 8, "width": 2}, 1, 0))
    training = erase_gate.training(data, settings("faithful-cora", {"hidden": 8, "width": 2}))
    training.epoch()
    assert training.history["loss"]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_the_gate(preset):
    gaps, _ = erase_gate.check(settings(preset, {"hidden": 16, "width": 12}))
    assert max(gaps.values()) < 1e-3


def test_settings_without_a_dense_form_are_checked_where_they_have_one():
    small = {"hidden": 16, "width": 12, "encoder": "gcn", "components": 4}
    gaps, remark = erase_gate.check(settings("faithful-pubmed", small))
    assert gaps
    assert remark == "checked with encoder=gat, heads=1, components=None, as the dense form has it"


def wrong_rates(z, labels, num_classes=None, **options):
    whole, within = coding.coding_rates(z, labels, num_classes, **options)
    return coding.CodingRates(whole * 1.001, within)


def other_labels(self, z):
    return (pseudo_labels(self, z) + 1) % 3


pseudo_labels = train.Training.pseudo_labels


def crash(*_, **__):
    raise RuntimeError("no\nmemory")


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "message"),
    [
        (train, "coding_rates", wrong_rates, r"ours \(float64\): expected loss of epoch 1 within"),
        (train.Training, "pseudo_labels", other_labels, r"ours \(float64\): expected the labels of the dense form"),
        (train, "_fuse", crash, r"ours \(float64\): raises RuntimeError \(no\)"),
    ],
)
def test_no_time_is_printed_where_the_gate_fails(owner, name, wrong, message, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(owner, name, wrong)
    code, out, err = call(capfd, "erase", *TINY, "--out", tmp_path / "e.json")
    assert (code, out) == (1, "")
    assert re.match(f"graphnoise: failed: {message}", err), err
    assert err.endswith("graphnoise: error: 1 check failed, so nothing was timed\n")
    assert not list(tmp_path.iterdir())


def test_the_gate_sees_a_probe_that_differs(monkeypatch):
    monkeypatch.setattr(erase_gate.Dense, "probe", lambda self: torch.zeros(len(self.x), dtype=torch.long))
    with pytest.raises(GateError, match="the predictions of the dense form's probe"):
        erase_gate.check(settings("faithful-cora", {"hidden": 16, "width": 12}))


def test_a_gap_is_relative_and_nan_is_infinite():
    assert erase_gate.gap(torch.tensor([1.0, 90.0]), torch.tensor([0.0, 100.0])) == pytest.approx(0.1)
    assert erase_gate.gap(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
    assert erase_gate.gap(torch.ones(2), torch.ones(1)) == float("inf")

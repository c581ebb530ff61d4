"""ERASE against its formulas written out: GATConv, a dense adjacency matrix, memberships of C x n x n."""

import math
from dataclasses import replace

import pytest
import torch
from oracles import assert_close
from torch_geometric.nn import GATConv, LabelPropagation

from graphnoise.bench.speed.erase import ENDLESS, planted, training
from graphnoise.erase import class_means, fuse, prototype_labels, reference
from graphnoise.erase.probe import Probe
from graphnoise.erase.reference import Dense, paired
from graphnoise.erase.settings import settings
from graphnoise.errors import InputError
from graphnoise.nn import SparseFeatures

PRESETS = ("faithful-cora", "faithful-citeseer", "faithful-pubmed", "faithful-corafull", "faithful-arxiv")
# Tolerance of three epochs in float64; Adam's first step divides roundings of 1e-16 by gradients down to 1e-8.
EXACT = 1e-9
# Tolerance of float32 beside float64, where gradients along an embedding cancel behind its normalisation.
ROUNDED = 1e-4


def pair(preset, data, dtype=torch.float64, **overrides):
    """Return both trainings with the same weights, without dropout; the oracle's in float64."""
    free = {"dropout": 0.0, "epochs": ENDLESS, "patience": ENDLESS, "batch_size": None, "select": "last"}
    s = settings(preset, {**free, "hidden": 64, **overrides})
    ours = training(data, s, seed=3, dtype=dtype)
    return ours, Dense(data, replace(s, batch_size=None), ours.encoder, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """Leave out what the oracle adds to the number of nodes of a class: a relative 1e-9."""
    monkeypatch.setattr(reference, "SLACK", 0.0)


def same_epochs(ours, dense):
    for _ in range(3):
        assert_close(ours.embed(), dense.embed(), EXACT)
        ours.epoch()
        dense.epoch()
        assert torch.equal(ours.semantic, dense.labels)
        assert ours.history["loss"][-1] == pytest.approx(dense.history[-1], rel=EXACT)
        for expected, actual in paired(dense.encoder, ours.encoder, gradients=True):
            assert_close(actual / expected.abs().max(), expected / expected.abs().max(), EXACT)
        for expected, actual in paired(dense.encoder, ours.encoder):
            assert_close(actual, expected, EXACT)


@pytest.mark.parametrize(("sparse", "hidden", "width"), [(True, 64, 512), (False, 16, 12)])
@pytest.mark.parametrize("preset", PRESETS)
def test_three_epochs_go_the_same_way(preset, sparse, hidden, width):
    """Embeddings wider and narrower than there are nodes: their Gram matrices are taken on different sides."""
    ours, dense = pair(preset, planted(sparse), hidden=hidden, width=width)
    assert isinstance(ours.features, SparseFeatures) is sparse
    assert_close(ours.denoised.float(), dense.Y0.float())
    assert torch.equal(ours.hard, dense.hard)
    before = [expected.clone() for expected, _ in paired(dense.encoder, ours.encoder)]
    same_epochs(ours, dense)
    moved = [(a - b).abs().max() for a, (b, _) in zip(before, paired(dense.encoder, ours.encoder), strict=True)]
    assert min(moved) > 1e-4
    assert len(dense.labels.unique()) == 3


@pytest.mark.parametrize("propagate_from", ["all", "train"])
def test_what_departs_from_the_paper_goes_the_same_way(propagate_from):
    walk = {
        "denoise": "full",
        "propagation": "restart",
        "normalisation": "sym",
        "alpha": 0.9,
        "propagate_from": propagate_from,
    }
    ours, dense = pair("faithful-cora", planted(), label_scope="all", prototypes="mixed", norm="l2", width=32, **walk)
    assert_close(ours.denoised.float(), dense.Y0.float())
    same_epochs(ours, dense)
    assert len(dense.labels.unique()) == 3


@pytest.mark.parametrize("preset", PRESETS)
def test_prototypes_and_fusion(preset):
    ours, dense = pair(preset, planted())
    with torch.no_grad():
        z = ours.embed()
    mu, Q, _ = dense.fused(z)
    prototypes = class_means(z[ours.labels.train], ours.hard, 3)
    assert_close(prototypes, mu, 1e-14)
    known = torch.zeros_like(dense.Y0)
    known[ours.labels.train] = dense.Y0[ours.labels.train]
    s = ours.s
    assert_close(fuse(known, prototype_labels(z, prototypes), beta=s.beta, softmax=s.softmax), Q, 1e-14)
    assert torch.equal(ours.pseudo_labels(z), dense.pseudo_labels(z))


@pytest.mark.parametrize("preset", PRESETS)
def test_float32_is_within_rounding(preset):
    ours, dense = pair(preset, planted(), torch.float32)
    ours.epoch()
    dense.epoch()
    assert torch.equal(ours.semantic, dense.labels)
    assert ours.history["loss"][0] == pytest.approx(dense.history[0], rel=ROUNDED)
    for expected, actual in paired(dense.encoder, ours.encoder, gradients=True):
        assert_close(actual.double() / expected.abs().max(), expected / expected.abs().max(), ROUNDED)


def test_arxiv_labels_equal_torch_geometric_label_propagation():
    data = planted()
    ours, _ = pair("faithful-arxiv", data)
    s, train = ours.s, data.train_mask
    assert (s.propagation, s.propagate_from, s.softmax, s.clamp) == ("restart", "train", False, True)
    walk = LabelPropagation(s.num_steps, s.alpha)
    start = torch.nn.functional.one_hot(data.y, 3).double()
    Y = walk(start, data.edge_index, mask=train)
    assert_close(ours.denoised.float(), Y.float())
    with torch.no_grad():
        z = ours.embed()
    hard = Y[train].argmax(1)
    mu = torch.stack([z[train][hard == c].mean(0) for c in range(3)])
    K = torch.nn.functional.cosine_similarity(z[:, None], mu[None], dim=2).abs()
    Q = (1 - s.beta) * K
    Q[train] += s.beta * Y[train]
    expected = walk(Q, data.edge_index, mask=train)
    reached = expected.sum(1) > 0
    assert int(reached.sum()) > 60
    assert torch.equal(ours.pseudo_labels(z)[reached], expected.argmax(1)[reached])


@pytest.mark.parametrize("preset", PRESETS)
def test_one_mini_batch_of_all_nodes_is_the_full_batch(preset):
    data = planted()
    ours, dense = pair(preset, data, batch_size=data.num_nodes, fanouts=(-1, -1))
    ours.epoch()
    dense.epoch()
    assert ours.history["loss"][0] == pytest.approx(dense.history[0], rel=EXACT)
    for expected, actual in paired(dense.encoder, ours.encoder):
        # Sums of the nodes in another order.
        assert_close(actual, expected, 1e-8)


@pytest.mark.parametrize("chosen", ["semantic", "given"])
def test_the_probe_predicts_the_same(chosen):
    ours, dense = pair("faithful-cora", planted(), torch.float32, probe=chosen)
    ours.epoch()
    dense.labels = ours.semantic
    dense.encoder.take(ours.encoder)
    with torch.no_grad():
        z = ours.embed()
    train = ours.labels.train
    target = ours.semantic[train] if chosen == "semantic" else ours.labels.given
    assert float((Probe(z[train], target, 3)(z).argmax(1) == dense.probe()).double().mean()) > 0.97


# What the oracle itself must satisfy.


def test_the_oracle_has_the_closed_forms_of_the_coding_rate():
    s = settings("faithful-cora", {"gamma2": 0.0})
    Z = torch.eye(512, dtype=torch.float64)[:7].repeat_interleave(4, 0)
    labels = torch.arange(7).repeat_interleave(4)
    assert float(reference.loss(Z, labels, 7, s)) == pytest.approx(math.log(1 + 512 / 0.05) / 2, abs=1e-10)
    whole = reference.loss(Z, torch.zeros_like(labels), 1, s)
    assert float(whole) == pytest.approx(25.510905384, abs=1e-8)
    assert float(reference.loss(Z, torch.zeros_like(labels), 1, replace(s, gamma2=1.0))) == pytest.approx(0, abs=1e-9)


def test_the_oracle_denoises_by_a_power_of_a_matrix():
    data = planted()
    _, dense = pair("faithful-cora", data)
    inside = data.train_mask
    arcs = data.edge_index[:, inside[data.edge_index[0]] & inside[data.edge_index[1]]]
    A = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    for j, i in arcs.t().tolist():
        A[i, j] = 1
    S = A / A.sum(0).clamp(min=1)
    given = torch.nn.functional.one_hot(data.y, 3).double() * inside[:, None]
    step = 0.6 * torch.eye(len(A), dtype=torch.float64) + 0.4 * S
    assert_close(dense.Y0, torch.linalg.matrix_power(step, 5) @ given)
    assert arcs.shape[1] > 0


def test_the_oracle_attends_as_gatconv_and_drops_by_its_own_generator():
    data = planted()
    ours, dense = pair("faithful-cora", data)
    assert all(isinstance(layer, GATConv) for layer in dense.encoder.layers)
    dropping = Dense(data, replace(dense.s, dropout=0.5), ours.encoder, seed=4)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        first, second, still = dropping.embed(training=True), dropping.embed(training=True), dropping.embed()
        again = Dense(data, dropping.s, ours.encoder, seed=4).embed(training=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    assert_close(still, dense.embed(), 1e-5)


@pytest.mark.parametrize("overrides", [{"encoder": "gcn"}, {"batch_size": 10}])
def test_what_the_oracle_does_not_cover_is_refused(overrides):
    s = settings("faithful-cora", overrides)
    assert reference.unsupported_reason(s) is not None
    with pytest.raises(InputError, match="settings: expected those of an algorithm that is written out"):
        Dense(planted(), s, torch.nn.Identity())


def test_a_class_without_labelled_nodes_is_refused_by_the_oracle():
    data = planted()
    data.y[data.train_mask] = data.y[data.train_mask].clamp(max=1)
    ours = training(planted(), settings("faithful-cora", {}))
    with pytest.raises(InputError, match="a labelled node of every class"):
        Dense(data, ours.s, ours.encoder)

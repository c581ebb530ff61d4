"""Messages of belief propagation: tiers against sums written with loops, threads, weights of any size."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise.clustering import as_undirected
from graphnoise.kernels import _native, beliefs
from graphnoise.kernels.beliefs import Rule, arcs_of, send, update_messages
from graphnoise.resources import torch_threads
from tests.local_graphs import random_graph


def rule_of(rng, n, classes, keep=0.25):
    def stochastic(*shape):
        rows = rng.uniform(0.05, 1, shape)
        return rows / rows.sum(axis=-1, keepdims=True)

    return Rule(
        rng.normal(size=(n, classes)),
        stochastic(classes),
        stochastic(classes, classes),
        np.log(stochastic(classes)),
        rng.normal(size=classes) / 5,
        rng.uniform(0.1, 2, (classes, classes)),
        1.3,
        -0.2,
        keep,
    )


def slow(dense, sent, rule):
    """The formulas of the module: messages {(i, j): distribution}, sums without a difference."""
    n = len(dense)
    new = {}
    for i, j in sent:
        others = [k for k in range(n) if dense[i, k] and k not in (i, j)]
        weight = [dense[i, k] / max(dense[i]) for k in others]
        total = sum(weight)
        d = total**2 / sum(w * w for w in weight) if others else 0.0
        mean = sum(w * sent[k, i] for w, k in zip(weight, others, strict=True)) / total if others else 0.0
        u = (d * mean + rule.prior) / (d + 1)
        g = math.log(1 + d)
        score = rule.field[i] + (rule.vote + rule.vote_count * g) * (np.log(u @ rule.affinity) - rule.baseline)
        p = np.exp(score + g * rule.slope)
        new[i, j] = rule.keep * sent[i, j] + (1 - rule.keep) * p / p.sum()
    pairs = [np.outer(new[i, j], new[j, i]) for i, j in new if i < j]
    joint = sum((pair / (pair * rule.coupling).sum() for pair in pairs), np.zeros(rule.affinity.shape))
    return new, joint


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 5, 16, 21])
def test_messages_are_those_of_loops(backend, weighted, classes):
    rng = np.random.default_rng(classes)
    dense = random_graph(classes, 30, 0.15, weighted)
    dense[4] = dense[:, 4] = 0
    dense[7] = dense[:, 7] = 0
    dense[7, 8] = dense[8, 7] = 2.0 if weighted else 1.0
    np.fill_diagonal(dense, np.arange(30) % 3 == 0)
    arcs = arcs_of(as_undirected(sp.csr_array(dense)))
    start = rng.dirichlet(np.ones(classes), 30)
    messages = send(arcs, start, backend)
    sent = {(int(i), int(j)): start[i] for i, j in zip(*np.nonzero(dense), strict=True) if i != j}
    for keep in (0.0, 0.5):
        rule = rule_of(rng, 30, classes, keep)
        sent, expected = slow(dense, sent, rule)
        np.testing.assert_allclose(update_messages(messages, rule, backend), expected, rtol=2e-4, atol=1e-5)
        actual = [sent[int(j), int(i)] for i, j in zip(arcs.target, arcs.col, strict=True)]
        np.testing.assert_allclose(messages.values, actual, rtol=3e-5, atol=3e-6)
    u, d = messages.votes(rule.prior.astype(float))
    for i in (3, 4, 7, 8):
        near = [k for k in range(30) if dense[i, k] and k != i]
        total, square = sum(dense[i, k] for k in near), sum(dense[i, k] ** 2 for k in near)
        assert d[i] == pytest.approx(total**2 / square if near else 0.0, rel=1e-6)
        mean = sum(dense[i, k] * sent[k, i] for k in near) / total if near else 0.0
        np.testing.assert_allclose(u[i], (d[i] * mean + rule.prior) / (d[i] + 1), atol=1e-5)


@pytest.mark.parametrize("name", _native.instruction_sets())
# The last has chunks of so many edges that sums of single precision are added up within them.
@pytest.mark.parametrize(
    ("classes", "share", "chunks", "weighted"),
    [(7, 0.1, 16, True), (2, 0.1, 16, True), (2, 0.1, 16, False), (2, 0.6, 2, True)],
)
def test_instruction_sets_and_threads(name, classes, share, chunks, weighted, monkeypatch):
    """The same bits at any number of threads, and the same numbers with all sets."""
    rng = np.random.default_rng(0)
    arcs = arcs_of(as_undirected(sp.csr_array(random_graph(0, 300, share, weighted))))
    start, rule = rng.dirichlet(np.ones(classes), 300), rule_of(rng, 300, classes)
    monkeypatch.setattr(beliefs, "CHUNKS", chunks)
    expected = send(arcs, start, "reference")
    joint = update_messages(expected, rule, "reference")
    monkeypatch.setattr(_native, "instruction_set", lambda: name)
    outputs = []
    for threads in (1, 2, 4):
        with torch_threads(threads):
            messages = send(arcs, start)
            outputs.append((update_messages(messages, rule), messages.values, messages.sums, messages.heavy))
    np.testing.assert_allclose(outputs[0][0], joint, rtol=1e-4)
    np.testing.assert_allclose(outputs[0][1], expected.values, rtol=5e-5, atol=3e-6)
    for other in outputs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(outputs[0], other, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-12, 1e-3, 1e5, 1e12, 1e100]))
def test_one_weight_of_any_size_leaves_the_others(seed, size):
    """A sum without the heaviest neighbour has the digits of the others."""
    rng = np.random.default_rng(seed)
    dense = random_graph(seed, 12, 0.5)
    dense[0, 1] = dense[1, 0] = size
    start, rule = rng.dirichlet(np.ones(3), 12), rule_of(rng, 12, 3, 0.0)
    sent = {(int(i), int(j)): start[i] for i, j in zip(*np.nonzero(dense), strict=True) if i != j}
    expected, _ = slow(dense, sent, rule)
    arcs = arcs_of(as_undirected(sp.csr_array(dense)))
    for backend in ("native", "reference"):
        messages = send(arcs, start, backend)
        update_messages(messages, rule, backend)
        actual = dict(zip(zip(arcs.col.tolist(), arcs.target.tolist(), strict=True), messages.values, strict=True))
        for pair, message in actual.items():
            np.testing.assert_allclose(message, expected[pair], rtol=1e-3, atol=1e-5)


def test_a_graph_without_arcs():
    rule = rule_of(np.random.default_rng(0), 3, 2)
    for backend in ("native", "reference"):
        messages = send(arcs_of(as_undirected(sp.csr_array((3, 3)))), np.full((3, 2), 0.5), backend)
        assert (update_messages(messages, rule, backend) == 0).all()
        u, d = messages.votes(rule.prior.astype(float))
        np.testing.assert_allclose(u, np.tile(rule.prior, (3, 1)), rtol=1e-6)
        assert (d == 0).all()

"""The labels that ERASE trains on: closed forms, golden facts of the public splits, invariances, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import Graph, InputError, datasets
from graphnoise.erase import class_means, denoise, fuse, prototype_labels

PATH = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]]))


def undirected(rng, n, m):
    edges = torch.from_numpy(np.unique(rng.integers(0, n, (m, 2)), axis=0).T.copy())
    edges = edges[:, edges[0] < edges[1]]
    return Graph.from_edge_index(torch.cat([edges, edges.flip(0)], 1), n)


@given(seed=st.integers(0, 10_000), steps=st.integers(0, 6), alpha=st.floats(0, 1))
def test_lazy_denoising_is_the_power_of_its_step(seed, steps, alpha):
    rng = np.random.default_rng(seed)
    n, classes = 12, 3
    graph = undirected(rng, n, 30)
    y = torch.from_numpy(rng.integers(0, classes, n))
    train = torch.from_numpy(rng.random(n) < 0.6)
    train[0] = True
    A = graph.to_dense().double() * train.double().unsqueeze(1) * train.double()
    # Columns sum to 1; 1/0 counts as 0.
    S = A / A.sum(0).clamp(min=1e-300) * (A.sum(0) > 0)
    step = alpha * S + (1 - alpha) * torch.eye(n).double()
    start = torch.nn.functional.one_hot(y, classes).double() * train.unsqueeze(1)
    actual = denoise(graph, y, train, classes, alpha=alpha, num_steps=steps)
    torch.testing.assert_close(actual.double(), torch.linalg.matrix_power(step, steps) @ start, atol=1e-5, rtol=1e-5)
    assert not actual[~train].any()


def test_a_labelled_node_without_labelled_neighbours_keeps_the_power_of_its_own_weight():
    actual = denoise(PATH, torch.tensor([1, 0, 0, 2]), torch.tensor([0, 3]), 3, alpha=0.4, num_steps=5)
    torch.testing.assert_close(actual[[0, 3], [1, 2]], torch.full((2,), 0.6**5))
    assert int((actual != 0).sum()) == 2


def test_full_scope_reaches_unlabelled_nodes():
    actual = denoise(
        PATH,
        torch.tensor([1, 0, 0, 0]),
        torch.tensor([0, 3]),
        2,
        alpha=0.9,
        num_steps=50,
        scope="full",
        mode="restart",
        normalisation="sym",
    )
    assert actual.argmax(1).tolist() == [1, 1, 0, 0]


def test_labels_pass_along_arcs():
    one_way = Graph.from_edge_index(torch.tensor([[0, 0], [1, 2]]))
    settings = {"alpha": 0.5, "num_steps": 1}
    among = denoise(one_way, torch.tensor([1, 0, 0]), torch.tensor([0, 1]), 2, **settings)
    assert among.tolist() == [[0.0, 0.5], [0.5, 0.5], [0.0, 0.0]]
    everywhere = denoise(one_way, torch.tensor([1, 0, 0]), torch.tensor([0, 1]), 2, scope="full", **settings)
    assert everywhere.tolist() == [[0.0, 0.5], [0.5, 0.25], [0.0, 0.25]]


@pytest.mark.parametrize(("name", "edges", "touched"), [("cora", 21, 31), ("citeseer", 8, 15), ("pubmed", 0, 0)])
def test_edges_between_training_nodes_of_public_splits(name, edges, touched):
    from graphnoise.erase.labels import subgraph

    data = datasets.load(name)
    inside = subgraph(Graph.from_data(data), data.train_mask)
    assert inside.num_arcs == 2 * edges
    assert int((inside.degree > 0).sum()) == touched
    y = torch.where(data.train_mask, data.y, 0)
    actual = denoise(Graph.from_data(data), y, data.train_mask, alpha=0.4, num_steps=5)
    alone = data.train_mask & (inside.degree == 0)
    assert torch.equal(actual[alone].argmax(1), y[alone])


@given(seed=st.integers(0, 10_000))
def test_renaming_nodes_renames_denoised_labels(seed):
    rng = np.random.default_rng(seed)
    graph = undirected(rng, 15, 40)
    y, train = torch.from_numpy(rng.integers(0, 3, 15)), torch.arange(0, 15, 2)
    order = torch.from_numpy(rng.permutation(15))
    place = torch.empty_like(order)
    place[order] = torch.arange(15)
    settings = {"alpha": 0.4, "num_steps": 4, "scope": "full"}
    actual = denoise(graph.permuted(order), y[order], place[train], 3, **settings)
    torch.testing.assert_close(actual, denoise(graph, y, train, 3, **settings)[order])


def test_prototype_labels_are_absolute_cosines():
    z, y = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    z[4] = 0
    means = torch.stack([z[y == c].mean(0) for c in range(3)])
    torch.testing.assert_close(class_means(z, y, 3), means)
    expected = torch.nn.functional.cosine_similarity(z.unsqueeze(1), means.unsqueeze(0), dim=2).abs()
    actual = prototype_labels(z, class_means(z, y, 3))
    torch.testing.assert_close(actual, expected)
    assert not actual[4].any()


def test_a_class_without_nodes_attracts_nobody():
    z = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    actual = prototype_labels(z, class_means(z, torch.tensor([0, 0, 2, 2, 2]), 3))
    assert not actual[:, 1].any()
    assert (actual[:, [0, 2]] > 0).all()


def test_fusion_is_the_softmax_of_the_mixture():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.2, 0.6]])
    torch.testing.assert_close(fuse(a, b, beta=0.6), torch.tensor([[0.68, 0.24]]).softmax(1))
    torch.testing.assert_close(fuse(a, b, beta=0.6, softmax=False), torch.tensor([[0.68, 0.24]]))
    assert torch.equal(fuse(a, b, beta=1.0, softmax=False), a)
    assert torch.equal(fuse(a, b, beta=0.0, softmax=False), b)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: denoise("graph", torch.zeros(4), [0], alpha=0.4, num_steps=1), "graph"),
        (lambda: denoise(PATH, torch.zeros(3), [0], alpha=0.4, num_steps=1), "y"),
        (lambda: denoise(PATH, torch.zeros(4), [9], alpha=0.4, num_steps=1), "train"),
        (lambda: denoise(PATH, torch.zeros(4), torch.zeros(4, dtype=torch.bool), alpha=0.4, num_steps=1), "train"),
        (lambda: denoise(PATH, torch.tensor([5, 0, 0, 0]), [0], 3, alpha=0.4, num_steps=1), "y"),
        (lambda: denoise(PATH, torch.zeros(4), [0], alpha=1.4, num_steps=1), "alpha"),
        (lambda: denoise(PATH, torch.zeros(4), [0], alpha=0.4, num_steps=1, scope="all"), "scope"),
        (lambda: class_means(torch.zeros(3), torch.zeros(3), 2), "z"),
        (lambda: class_means(torch.zeros(3, 2), torch.tensor([0, 1, 2]), 2), "y"),
        (lambda: prototype_labels(torch.zeros(3, 2), torch.zeros(3, 4)), "prototypes"),
        (lambda: fuse(torch.zeros(3, 2), torch.zeros(3, 4), beta=0.5), "prototype"),
        (lambda: fuse(torch.zeros(3, 2), torch.zeros(3, 2), beta=1.5), "beta"),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(InputError, match=f"^{names}: expected"):
        call()

import math

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Data

from graphnoise import Graph, InputError
from graphnoise.clustering import as_undirected
from graphnoise.clustering.inputs import check_labels, check_nodes, check_seeds

PATH = [[0, 1, 1, 2], [1, 0, 2, 1]]


def weighted(seed=0, n=30, share=0.2):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < share))
    return upper + np.triu(upper, 1).T


class Vertices:
    """As igraph's `vs` and `es`: a table of attributes."""

    def __init__(self, table):
        self.table = table

    def attributes(self):
        return list(self.table)

    def __getitem__(self, name):
        return self.table[name]


class LikeIgraph:
    def __init__(self, n, edges, vertices=(), arcs=(), directed=False):
        self.n, self.edges, self.vs, self.es = n, edges, Vertices(dict(vertices)), Vertices(dict(arcs))
        self.directed = directed

    def get_edgelist(self):
        return self.edges

    def vcount(self):
        return self.n

    def is_directed(self):
        return self.directed


def same(read, dense):
    n = len(dense)
    assert (read.rowptr.dtype, read.col.dtype, read.degree.dtype) == (np.int64, np.int32, np.float64)
    weight = np.ones(len(read.col)) if read.weight is None else read.weight
    np.testing.assert_allclose(sp.csr_array((weight, read.col, read.rowptr), shape=(n, n)).toarray(), dense, rtol=1e-15)
    np.testing.assert_allclose(read.degree, dense.sum(1), rtol=1e-14)
    assert read.volume == pytest.approx(dense.sum())


def test_every_kind_of_graph_reads_the_same():
    dense = weighted()
    i, j = dense.nonzero()
    arcs, values = torch.tensor(np.stack([j, i])), torch.tensor(dense[i, j])
    shuffled = torch.randperm(len(i), generator=torch.Generator().manual_seed(1))
    up, across = np.triu(dense).nonzero()
    edges = list(zip(up.tolist(), across.tolist(), strict=True))
    nx_graph = networkx.Graph()
    nx_graph.add_nodes_from(range(len(dense)))
    nx_graph.add_weighted_edges_from((u, v, dense[u, v]) for u, v in edges)
    for graph, more in (
        (Graph.from_edge_index(arcs[:, shuffled], len(dense), values[shuffled]), {}),
        (sp.csr_array(dense), {}),
        (sp.coo_matrix(dense), {}),
        (Data(edge_index=arcs, edge_weight=values, num_nodes=len(dense)), {}),
        (arcs, {"weight": values}),
        (arcs.numpy(), {"weight": values.numpy()}),
        (nx_graph, {}),
        (LikeIgraph(len(dense), edges, arcs={"weight": [dense[e] for e in edges]}), {}),
    ):
        same(as_undirected(graph, **more), dense)
    pattern = (dense > 0).astype(float)
    for graph in (Graph.from_edge_index(arcs, len(dense), values), sp.csr_array(dense), nx_graph, arcs):
        read = as_undirected(graph, weight=False)
        same(read, pattern)
        assert read.weight is None


def test_a_graph_is_converted_once():
    graph = Graph.from_edge_index(torch.tensor(PATH))
    assert as_undirected(graph) is as_undirected(graph)
    assert as_undirected(as_undirected(graph)) is as_undirected(graph)
    learning = Graph.from_edge_index(torch.tensor(PATH), edge_weight=torch.ones(4, requires_grad=True))
    assert as_undirected(learning).weight.tolist() == [1.0] * 4


def test_rows_out_of_order_and_repeated_arcs():
    rowptr, col = torch.tensor([0, 3, 6, 7]), torch.tensor([1, 2, 1, 0, 1, 0, 0])
    read = as_undirected(Graph(rowptr, col))
    # The self-loop at 1 counts once.
    assert read.degree.tolist() == [3.0, 3.0, 1.0]
    # 1 + 2 there, 3 back.
    split = sp.csr_array((np.array([1.0, 2.0, 3.0]), [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    assert as_undirected(split).degree.tolist() == [3.0, 3.0]


def test_arcs_of_weight_0_are_none():
    argument = sp.csr_array((np.array([0.0, 2.0, 0.0, 2.0]), [1, 2, 0, 0], [0, 2, 3, 4]), shape=(3, 3))
    read = as_undirected(argument)
    assert (read.col.tolist(), read.degree.tolist()) == ([2, 0], [2.0, 0.0, 2.0])
    assert as_undirected(argument, weight=False).degree.tolist() == [1.0, 0.0, 1.0]


def test_asymmetric_graphs():
    arcs = torch.tensor([[0, 1, 2], [1, 2, 1]])
    graph = Graph.from_edge_index(arcs, 3, torch.tensor([1.0, 2.0, 5.0]))
    with pytest.raises(InputError, match=r"undirected.*got .*symmetrise=True"):
        as_undirected(graph)
    read = as_undirected(graph, symmetrise=True)
    same(read, np.array([[0, 1, 0], [1, 0, 5], [0, 5, 0]]))
    assert as_undirected(graph, symmetrise=True) is read
    # The symmetric one that is cached is not returned for it.
    with pytest.raises(InputError):
        as_undirected(graph)
    plain = as_undirected(arcs, symmetrise=True)
    same(plain, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))
    assert plain.weight is None
    with pytest.raises(InputError, match="undirected"):
        as_undirected(networkx.path_graph(3, create_using=networkx.DiGraph))
    assert as_undirected(networkx.path_graph(3, create_using=networkx.DiGraph), symmetrise=True).volume == 4
    rounding = weighted().astype(np.float32)
    # As sums in another order give.
    rounding[np.tril_indices(30)] *= 1 + 2e-7
    assert as_undirected(sp.csr_array(rounding)).num_nodes == 30
    with pytest.raises(InputError, match="undirected"):
        as_undirected(sp.csr_array(rounding.astype(np.float64)))


@pytest.mark.parametrize(
    ("graph", "more", "message"),
    [
        (sp.csr_array((0, 0)), {}, "empty graph"),
        (sp.csr_array((2, 3)), {}, "square"),
        (sp.csr_array(np.array([[0, -1.0], [-1.0, 0]])), {}, "at least 0, got -1.0"),
        (sp.csr_array(np.array([[0, np.nan], [np.nan, 0]])), {}, "finite.*NaN"),
        (sp.csr_array(np.array([[0, 1j], [1j, 0]])), {}, "real"),
        (sp.csr_array(np.array([[0, 1e308], [1e308, 1e308]])), {}, "sum beyond float64"),
        (PATH, {"weight": [1e308, 1e308, 1e300, 1e300]}, "sum beyond float64"),
        (PATH, {"weight": [1.0, 1.0, -2.0, 1.0]}, "at least 0"),
        (PATH, {"weight": [1.0]}, "4 weights"),
        (PATH, {"symmetrise": "yes"}, "symmetrise: expected True or False"),
        (np.eye(3), {}, r"shape \[2, num_arcs\]"),
        ("karate", {}, "graph: expected a Graph"),
        (networkx.Graph(), {}, "at least one node"),
        (networkx.path_graph(2), {"weight": "w"}, "attribute 'w'"),
        (Data(x=torch.ones(2, 1)), {}, "edge_index"),
        (Graph.from_edge_index(torch.tensor(PATH)).normalise(), {}, "not normalised"),
        (Graph.from_edge_index(torch.tensor(PATH)), {"weight": "w"}, "weight: expected None"),
        (LikeIgraph(2, [(0, 1)], vertices={"name": ["a", "a"]}), {}, "two nodes named 'a'"),
        (LikeIgraph(2, [(0, 1)]), {"weight": "w"}, "edge attribute"),
    ],
)
def test_bad_graphs_are_named(graph, more, message):
    with pytest.raises(InputError, match=message):
        as_undirected(graph, **more)


def test_missing_weights_are_an_error():
    graph = networkx.path_graph(3)
    graph.edges[0, 1]["weight"] = 2.0
    with pytest.raises(InputError, match=r"'weight' on every edge.*none on \(1, 2\)"):
        as_undirected(graph)
    graph.edges[1, 2]["weight"] = 3.0
    assert as_undirected(graph).degree.tolist() == [2.0, 5.0, 3.0]


def test_names_are_kept():
    graph = networkx.grid_2d_graph(2, 2)
    read = as_undirected(graph)
    # The name of one node, not two nodes.
    nodes, mass = check_seeds(read, (1, 0))
    assert (read.named(nodes), mass.tolist()) == ([(1, 0)], [1.0])
    assert read.named(check_seeds(read, [(1, 1), (0, 0)])[0]) == [(0, 0), (1, 1)]
    for wrong in (0, "a", [(0, 0), (7, 7)], ([],)):
        with pytest.raises(InputError, match="names of nodes"):
            check_seeds(read, wrong)
    letters = as_undirected(LikeIgraph(3, [(0, 1), (1, 2)], vertices={"name": ["a", "b", "cd"]}))
    assert check_seeds(letters, {"cd": 2.0, "a": 1.0})[1].tolist() == [1.0, 2.0]
    assert check_nodes(letters, "cd").tolist() == [2]
    assert check_labels(letters, {"b": 1, "cd": 0, "a": 0}).tolist() == [0, 1, 0]
    assert check_labels(letters, {"b": 1, "cd": 0}).values.tolist() == [2, 1, 0]
    assert check_labels(letters, lambda names: [name == "cd" for name in names])(np.array([2, 0])).tolist() == [1, 0]
    assert check_seeds(letters, ["b", "b"])[0].tolist() == [1]
    assert as_undirected(networkx.path_graph(3)).names is None


def test_seeds():
    read = as_undirected(PATH)
    for argument in (2, np.int32(2), [2], (2,), {2}, np.array([2], dtype=np.uint8), torch.tensor([2]), torch.tensor(2)):
        assert [part.tolist() for part in check_seeds(read, argument)] == [[2], [1.0]]
    assert check_seeds(read, np.array([True, False, True]), 3.0)[1].tolist() == [1.5, 1.5]
    assert [part.tolist() for part in check_seeds(read, [2, 0], [5.0, 1.0])] == [[0, 2], [1.0, 5.0]]
    assert check_seeds(read, range(3))[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("argument", "mass", "message"),
    [
        ([], None, "at least one node, got none"),
        ({}, None, "at least one"),
        (np.zeros(3, dtype=bool), None, "at least one"),
        (3, None, "0 to 2, got 3"),
        (-1, None, "got -1"),
        ([0.5], None, "float64"),
        ("a", None, "'a'"),
        (None, None, "None"),
        ([True, False], None, "mask of 3"),
        ([[0, 1]], None, r"shape \(1, 2\)"),
        ({0: math.nan}, None, "mass.*nan"),
        ({0: -1.0}, None, "above 0, got -1"),
        ({0: 0}, None, "above 0, got 0"),
        ({0: 1.0}, 2.0, "None with seeds"),
        (0, math.inf, "inf"),
        ([0, 1], [1.0], "one per seed"),
        ([0, 1], [1e308, 1e308], "finite sum"),
        (0, "much", "much"),
    ],
)
def test_bad_seeds_are_named(argument, mass, message):
    with pytest.raises(InputError, match=message):
        check_seeds(as_undirected(PATH), argument, mass)


def test_labels():
    read = as_undirected(PATH)
    for argument in (
        [0, 1, 1],
        (False, True, True),
        np.array([0.0, 1, 1]),
        torch.tensor([0, 1, 1]),
        {1: True, 2: 1, 0: 0},
    ):
        out = check_labels(read, argument)
        assert (out.dtype, out.tolist()) == (np.uint8, [0, 1, 1])
        assert check_labels(read, out) is out
    assert check_labels(read, None) is None
    argument = np.array([0, 1, 1], dtype=np.uint8)
    check_labels(read, argument)
    # What could be changed is read anew.
    argument[0] = 7
    with pytest.raises(InputError, match="0 or 1 at every node, got 7 at position 0"):
        check_labels(read, argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ([0, 1], r"3 labels, one per node, got shape \(2,\)"),
        ([0, 1, 2], "got 2 at position 2"),
        ([0, 1, math.inf], "inf at position 2"),
        ([0, -2, 1], "-2 at position 1"),
        (["a", "b", "c"], "values of type"),
        ({5: 1}, "0 to 2, got 5"),
        ({1: 3}, "got 3"),
        (7, "a callable or None, got int"),
    ],
)
def test_bad_labels_are_named(argument, message):
    with pytest.raises(InputError, match=message):
        check_labels(as_undirected(PATH), argument)


def test_results_of_a_label_function_are_checked():
    read = as_undirected(PATH)
    assert check_labels(read, lambda nodes: nodes > 1)([2, 0]).tolist() == [1, 0]
    with pytest.raises(InputError, match="2 labels"):
        check_labels(read, lambda nodes: [1])([2, 0])
    with pytest.raises(InputError, match="got 5"):
        check_labels(read, lambda nodes: nodes + 5)([0])
    with pytest.raises(KeyError) as caught:
        check_labels(read, lambda nodes: {}["missing"])([0])
    assert "callable `labels`" in caught.value.__notes__[0]

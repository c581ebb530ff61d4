import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from oracles import assert_close, dense, graphs, normalised
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import add_remaining_self_loops

from graphnoise import Graph, InputError

GRAPHS = graphs()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_normalisations_equal_the_dense_formulas(name, weighted, draw):
    edge_index, n = GRAPHS[name]
    weight = torch.rand(edge_index.shape[1], generator=draw, dtype=torch.float64) if weighted else None
    graph, A = Graph.from_edge_index(edge_index, n, weight), dense(edge_index, n, weight)
    assert_close(graph.to_dense(torch.float64), A)
    for kind in ("sym", "row", "col"):
        S = normalised(A, kind)
        given = graph.normalise(kind)
        assert_close(given.to_dense(torch.float64), S)
        assert_close(given.transposed.to_dense(torch.float64), S.t())
        assert given.transposed.normalisation == {"row": "col", "col": "row"}.get(kind, kind)
        assert_close(given.to_csr(torch.float64).to_dense(), S)
        np.testing.assert_allclose(given.to_scipy().toarray(), S, atol=1e-12)


def test_sym_equals_torch_geometric(draw):
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    weight = torch.rand(edge_index.shape[1], generator=draw, dtype=torch.float64)
    arcs, values = gcn_norm(edge_index, weight, n, add_self_loops=False)
    assert_close(
        Graph.from_edge_index(edge_index, n, weight).normalise().to_dense(torch.float64), dense(arcs, n, values)
    )


def test_arcs_keep_their_order_within_a_row():
    edge_index = torch.tensor([[3, 1, 2, 0], [0, 0, 1, 0]])
    graph = Graph.from_edge_index(edge_index, 4)
    assert graph.edge_index.tolist() == [[3, 1, 0, 2], [0, 0, 0, 1]]


def test_from_other_packages():
    expected = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    matrix = scipy.sparse.coo_array(expected.numpy())
    assert torch.equal(Graph.from_scipy(matrix).to_dense(), expected)
    arcs = torch.tensor([[1, 0, 1], [0, 1, 2]])
    data = Data(edge_index=arcs, edge_weight=torch.tensor([2.0, 2.0, 3.0]), num_nodes=3)
    assert torch.equal(Graph.from_data(data).to_dense(), expected)
    karate = networkx.karate_club_graph()
    A = networkx.to_numpy_array(karate)
    np.testing.assert_array_equal(Graph.from_networkx(karate, "weight").to_dense(), A)
    assert Graph.from_networkx(karate).weight is None
    multi = networkx.MultiDiGraph([("a", "b"), ("a", "b"), ("c", "c")])
    np.testing.assert_array_equal(Graph.from_networkx(multi).to_dense(), networkx.to_numpy_array(multi).T)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("loop", [1.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_self_loops_are_those_of_torch_geometric(name, loop, weighted, draw):
    edge_index, n = GRAPHS[name]
    weight = torch.rand(edge_index.shape[1], generator=draw) if weighted else None
    looped = Graph.from_edge_index(edge_index, n, weight).with_self_loops(loop)
    ones = torch.ones(edge_index.shape[1]) if weight is None else weight
    arcs, values = add_remaining_self_loops(edge_index, ones, loop, n)
    assert torch.equal(looped.to_dense(), Graph.from_edge_index(arcs, n, values).to_dense())
    assert (looped.weight is None) == (weight is None and loop == 1)


def test_self_loops_are_added_before_normalising():
    graph = Graph.from_edge_index(*GRAPHS["undirected"])
    with pytest.raises(InputError, match="not yet normalised"):
        graph.normalise().with_self_loops()


def test_normalising_twice_is_refused_unless_the_same():
    graph = Graph.from_edge_index(*GRAPHS["undirected"]).normalise("row")
    assert graph.normalise("row") is graph
    with pytest.raises(InputError, match="kind: expected a graph not yet normalised"):
        graph.normalise("sym")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"edge_index": torch.tensor([[0], [3]]), "num_nodes": 3}, "edge_index: expected node positions from 0 to 2"),
        ({"edge_index": torch.tensor([[-1], [0]]), "num_nodes": 3}, "edge_index: expected node positions"),
        ({"edge_index": torch.tensor([0, 1]), "num_nodes": 3}, r"edge_index: expected shape \[2, num_arcs\]"),
        ({"edge_index": torch.tensor([[0.0], [1.0]]), "num_nodes": 3}, "edge_index: expected integer"),
        ({"edge_index": torch.empty(2, 0), "num_nodes": 0}, "num_nodes: expected a graph with at least one node"),
        ({"edge_index": torch.empty(2, 0, dtype=torch.long)}, "an empty graph"),
        ({"edge_index": [["a"], ["b"]], "num_nodes": 3}, "edge_index: expected numbers"),
        (
            {"edge_index": torch.tensor([[0], [1]]), "edge_weight": torch.tensor([torch.nan])},
            "edge_weight: expected finite numbers",
        ),
        (
            {"edge_index": torch.tensor([[0], [1]]), "edge_weight": torch.tensor([-1.0])},
            "edge_weight: expected weights",
        ),
        ({"edge_index": torch.tensor([[0], [1]]), "edge_weight": torch.ones(2)}, "edge_weight: expected 1 weights"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Graph.from_edge_index(**arguments)


def test_bad_input_of_other_constructors():
    with pytest.raises(InputError, match="matrix: expected a square SciPy sparse matrix"):
        Graph.from_scipy(np.eye(3))
    with pytest.raises(InputError, match="matrix: expected real numbers, got values of type complex128"):
        Graph.from_scipy(scipy.sparse.csr_array(np.eye(2) * 1j))
    with pytest.raises(InputError, match="data: expected a Data with edge_index"):
        Graph.from_data(Data(num_nodes=3))
    with pytest.raises(InputError, match="weight: expected an edge attribute 'w'"):
        Graph.from_networkx(networkx.path_graph(3), "w")
    with pytest.raises(InputError, match="did you mean 'sym'"):
        Graph.from_edge_index(torch.tensor([[0], [1]])).normalise("symm")


@pytest.mark.parametrize("kind", [float, int, bool])
def test_a_scipy_matrix_of_ones_is_unweighted(kind):
    graph = Graph.from_scipy(scipy.sparse.csr_array(np.array([[0, 1], [1, 0]], dtype=kind)))
    assert graph.weight is None
    assert graph.to_dense().tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"col": torch.tensor([0, 10**9])}, "col: expected positions from 0 to 1, got values from 0 to 1000000000"),
        ({"col": torch.tensor([0, -1])}, "col: expected positions from 0 to 1"),
        ({"col": torch.tensor([0.0, 1.0])}, "col: expected a one-dimensional int64 or int32 tensor"),
        ({"col": torch.tensor([[0, 1]])}, "col: expected a one-dimensional int64 or int32 tensor"),
        ({"col": [0, 1]}, "col: expected a one-dimensional int64 or int32 tensor, got list"),
        ({"rowptr": torch.tensor([0, 1, 2], dtype=torch.int32)}, "col: expected torch.int32 on cpu, as rowptr"),
        (
            {
                "rowptr": torch.tensor([0, 1, 2], dtype=torch.int32),
                "col": torch.zeros(1, dtype=torch.int32).expand(2**31),
            },
            r"col: expected fewer than 2\^31 arcs for int32 positions",
        ),
        ({"rowptr": torch.tensor([0, 1, 3])}, "rowptr: expected entries from 0 to 2, the number of arcs, got 0 to 3"),
        ({"rowptr": torch.tensor([1, 1, 2])}, "rowptr: expected entries from 0 to 2"),
        ({"rowptr": torch.tensor([0, 10**9, 2])}, "rowptr: expected entries that do not decrease"),
        ({"rowptr": torch.tensor([], dtype=torch.long)}, "rowptr: expected at least 1 entry"),
        ({"rowptr": torch.tensor([0]), "col": torch.tensor([], dtype=torch.long)}, "rowptr: expected a graph with"),
        ({"weight": torch.ones(3)}, r"weight: expected a floating-point tensor of shape \[2\]"),
        ({"weight": torch.ones(2, dtype=torch.long)}, "weight: expected a floating-point tensor"),
        ({"weight": torch.tensor([1.0, torch.inf])}, "weight: expected finite numbers"),
        ({"left": torch.ones(3)}, r"left: expected a floating-point tensor of shape \[2\]"),
        ({"right": [1.0, 1.0]}, "right: expected a floating-point tensor"),
        ({"normalisation": "rows"}, "normalisation: expected one of .*did you mean 'row'"),
    ],
)
def test_bad_fields_are_named(change, message):
    fields = {"rowptr": torch.tensor([0, 1, 2]), "col": torch.tensor([0, 1])}
    assert Graph(**fields).transposed.to_dense().tolist() == [[1.0, 0.0], [0.0, 1.0]]
    with pytest.raises(InputError, match=message):
        Graph(**fields | change)


@pytest.mark.parametrize("kind", ["sym", "row", "col"])
def test_normalisation_passes_gradients_to_weights(kind, draw):
    edge_index, n = GRAPHS["directed with repeats and self-loops"]
    weight = torch.rand(edge_index.shape[1], generator=draw, dtype=torch.float64) + 0.1

    def values(w):
        return Graph.from_edge_index(edge_index, n, w).normalise(kind).values(torch.float64)

    assert torch.autograd.gradcheck(values, (weight.requires_grad_(),))
    graph = Graph.from_edge_index(edge_index, n, weight)
    # Values computed here must not block a later gradient.
    with torch.no_grad():
        graph.normalise(kind)
    assert graph.normalise(kind).values(torch.float64).requires_grad


def test_positions_of_32_bits_give_the_same_graph():
    graph = Graph.from_edge_index(*GRAPHS["directed with repeats and self-loops"])
    narrow = Graph(graph.rowptr.int(), graph.col.int())
    for kind in ("sym", "row", "col"):
        assert torch.equal(narrow.normalise(kind).to_dense(), graph.normalise(kind).to_dense())
        assert torch.equal(narrow.normalise(kind).transposed.to_dense(), graph.normalise(kind).to_dense().t())
    assert torch.equal(narrow.with_self_loops().to_dense(), graph.with_self_loops().to_dense())

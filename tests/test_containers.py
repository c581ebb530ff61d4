"""One graph through every container, conventions of torch_geometric, and inputs that people have."""

import copy
import pickle
import warnings

import igraph
import networkx
import numpy as np
import pandas
import pytest
import scipy.sparse as sp
import torch
import torch_geometric.transforms as T
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData

import graphnoise as gn
from graphnoise import Graph, InputError, as_graph, clustering, nn, propagate
from graphnoise.clustering import as_undirected
from graphnoise.node_order import order

# A triangle with a tail, directed: a loop at 1, a repeated arc (0, 1) and an explicit zero (3, 0).
ARCS = torch.tensor([[0, 1, 2, 2, 1, 0, 3], [1, 2, 0, 3, 1, 1, 0]])
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 3.0, 4.0, 0.25, 0.0])
# Arc j → i is the entry [i, j].
DENSE = torch.tensor([[0, 0, 0.5, 0], [1.25, 4, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0]])
# The graph is undirected and unweighted in these.
EDGES = torch.tensor([[0, 1, 1, 2, 2, 0, 2, 3], [1, 0, 2, 1, 0, 2, 3, 2]])
PLAIN = torch.tensor([[0.0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]])

# Of torch, at the first sparse tensor of a process.
SPARSE = "Sparse (CSR|CSC|BSR|invariant)"
pytestmark = pytest.mark.filterwarnings(f"ignore:{SPARSE}:UserWarning")


def quietly(cases):
    """Return cases that are made while tests are collected."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SPARSE, UserWarning)
        return list(cases())


class SparseTensor:
    """As torch_sparse's."""

    def __init__(self, row, col, value, sizes):
        self.entries, self.sizes = (row, col, value), sizes

    def coo(self):
        return self.entries

    def sparse_sizes(self):
        return self.sizes


def matrix(weight=WEIGHT):
    return torch.sparse_coo_tensor(ARCS.flip(0), weight, (4, 4))


def scipy_matrix():
    return sp.coo_array((WEIGHT.numpy(), (ARCS[1].numpy(), ARCS[0].numpy())), shape=(4, 4))


def multigraph():
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(range(4))
    graph.add_weighted_edges_from(zip(*ARCS.tolist(), WEIGHT.tolist(), strict=True))
    return graph


def hetero():
    data = HeteroData()
    data["paper"].num_nodes, data["author"].num_nodes = 4, 2
    data["paper", "cites", "paper"].edge_index = ARCS[:, :4]
    data["paper", "cites", "paper"].edge_weight = WEIGHT[:4]
    data["paper", "extends", "paper"].edge_index = ARCS[:, 4:]
    data["paper", "extends", "paper"].edge_weight = WEIGHT[4:]
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 1], [2, 3]])
    return data


def weighted_containers():
    row, col = ARCS[1], ARCS[0]
    yield "arcs", ARCS, {"weight": WEIGHT}
    yield "NumPy", ARCS.numpy(), {"weight": WEIGHT.numpy()}
    yield "lists", ARCS.tolist(), {"weight": WEIGHT.tolist()}
    yield "int32", ARCS.int(), {"weight": WEIGHT}
    yield "uint64", ARCS.numpy().astype(np.uint64), {"weight": WEIGHT}
    yield "EdgeIndex", EdgeIndex(ARCS, sparse_size=(4, 4)), {"weight": WEIGHT}
    by_row = ARCS[0].argsort(stable=True)
    yield "EdgeIndex, sorted", EdgeIndex(ARCS[:, by_row], sort_order="row"), {"weight": WEIGHT[by_row]}
    yield "Data", Data(edge_index=ARCS, edge_weight=WEIGHT, num_nodes=4), {}
    yield "edge_attr", Data(edge_index=ARCS, edge_attr=WEIGHT, num_nodes=4), {}
    yield "edge_attr list", Data(edge_index=ARCS, edge_attr=WEIGHT.tolist(), num_nodes=4), {}
    yield "edge_attr column", Data(edge_index=ARCS, edge_attr=WEIGHT[:, None], x=torch.ones(4, 1)), {}
    yield "named weights", Data(edge_index=ARCS, length=WEIGHT, num_nodes=4), {"weight": "length"}
    yield "EdgeIndex in Data", Data(edge_index=EdgeIndex(ARCS, sparse_size=(4, 4)), edge_weight=WEIGHT), {}
    yield "adj_t COO", Data(adj_t=matrix()), {}
    yield "adj_t CSR", Data(adj_t=matrix().to_sparse_csr()), {}
    yield "adj_t torch_sparse", Data(adj_t=SparseTensor(row, col, WEIGHT, (4, 4)), num_nodes=4), {}
    yield "torch COO", matrix(), {}
    yield "torch CSR", matrix().to_sparse_csr(), {}
    yield "torch CSC", matrix().to_sparse_csc(), {}
    yield "torch_sparse", SparseTensor(row, col, WEIGHT, (4, 4)), {}
    for kind in ("coo", "csr", "csc", "lil", "dok", "bsr"):
        yield f"SciPy {kind}", scipy_matrix().asformat(kind), {}
    yield "SciPy matrix", sp.csr_matrix(scipy_matrix()), {}
    yield "NetworkX", multigraph(), {}
    yield "igraph", igraph.Graph(4, ARCS.t().tolist(), directed=True, edge_attrs={"weight": WEIGHT.tolist()}), {}
    yield "igraph of NetworkX", igraph.Graph.from_networkx(multigraph()), {}
    yield "HeteroData", hetero(), {"node_type": "paper"}
    yield "Graph", Graph.from_edge_index(ARCS, 4, WEIGHT), {}


@pytest.mark.parametrize(("graph", "more"), [pytest.param(g, m, id=i) for i, g, m in quietly(weighted_containers)])
def test_every_container_is_the_same_matrix(graph, more):
    read = as_graph(graph, **more)
    assert torch.equal(read.to_dense(), DENSE)
    assert read.names is None
    y = torch.eye(4)
    expected = propagate(Graph.from_edge_index(ARCS, 4, WEIGHT), y, alpha=0.5, num_steps=3, normalisation="row")
    for given in (graph, read) if not more else (read,):
        result = propagate(given, y, alpha=0.5, num_steps=3, normalisation="row")
        torch.testing.assert_close(result.y, expected.y)
        assert as_undirected(given, symmetrise=True).degree.tolist() == pytest.approx([1.75, 7.25, 5.5, 3.0])


def plain_containers():
    yield "arcs", EDGES
    yield "EdgeIndex", EdgeIndex(EDGES, is_undirected=True)
    yield "Data", Data(edge_index=EDGES, num_nodes=4)
    yield "edge features", Data(edge_index=EDGES, edge_attr=torch.rand(8, 3), num_nodes=4)
    yield "edge features of three axes", Data(edge_index=EDGES, edge_attr=torch.rand(8, 3, 2), num_nodes=4)
    yield "adj_t", T.ToSparseTensor()(Data(edge_index=EDGES, num_nodes=4))
    yield "torch COO of integers", PLAIN.long().to_sparse()
    yield "torch COO of Booleans", PLAIN.bool().to_sparse()
    yield "torch_sparse", SparseTensor(EDGES[1], EDGES[0], None, (4, 4))
    yield "SciPy", sp.csr_array(PLAIN.numpy().astype(bool))
    yield "NetworkX", networkx.Graph(EDGES.t().tolist())
    yield "igraph", igraph.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])
    yield "UndirectedGraph", as_undirected(EDGES)


@pytest.mark.parametrize("graph", [pytest.param(g, id=i) for i, g in quietly(plain_containers)])
def test_graphs_without_weights(graph):
    read = as_graph(graph)
    assert read.weight is None
    assert torch.equal(read.to_dense(), PLAIN)
    assert as_undirected(graph).weight is None
    assert order(graph, "degree").tolist()[0] == 2
    y = torch.tensor([0, 1, 1, 0])
    soft = gn.LabelPropagation(2, 0.5)(y, graph)
    assert torch.equal(soft, gn.LabelPropagation(2, 0.5)(y, read))
    assert torch.equal(nn.Propagate(2)(torch.eye(4), graph), nn.Propagate(2)(torch.eye(4), read))
    settings = {"alpha": 0.4, "num_steps": 2}
    assert torch.equal(
        gn.erase.denoise(graph, y, [0, 1, 2], **settings), gn.erase.denoise(read, y, [0, 1, 2], **settings)
    )
    nodes, _ = nn.receptive_field(graph, [3], 1)
    assert nodes.tolist() == [3, 2]
    assert nn.Block.full(graph).num_targets == 4


def test_a_graph_passes_through():
    graph = Graph.from_edge_index(ARCS, 4, WEIGHT)
    assert as_graph(graph) is graph
    assert as_graph(graph, num_nodes=4) is graph
    assert torch.equal(as_graph(graph, weight=False).to_dense(), dense_counts())
    assert torch.equal(as_graph(ARCS, weight=False).to_dense(), dense_counts())
    with pytest.raises(InputError, match="not normalised"):
        as_graph(graph.normalise("row"), weight=False)


def dense_counts():
    out = torch.zeros(4, 4)
    for j, i in ARCS.t().tolist():
        out[i, j] += 1
    return out


def test_an_arc_of_weight_0():
    """Matrices and local clustering have none; arcs keep it for its gradient."""
    assert as_graph(matrix()).num_arcs == 5
    assert as_graph(scipy_matrix()).num_arcs == 6
    weight = WEIGHT.clone().requires_grad_()
    graph = Graph.from_edge_index(ARCS, 4, weight)
    assert graph.num_arcs == 7
    propagate(graph, torch.eye(4), alpha=0.5, num_steps=2, normalisation="row").y[:, 3].sum().backward()
    assert weight.grad[6] != 0
    learnt = torch.tensor([1.0, 0.0, 2.0], requires_grad=True)
    as_graph(torch.sparse_coo_tensor([[0, 1, 2], [1, 2, 0]], learnt, (3, 3))).weight.sum().backward()
    assert learnt.grad.tolist() == [1, 0, 1]
    pair = Graph.from_edge_index(torch.tensor([[0, 1, 0], [1, 0, 2]]), 3, torch.tensor([1.0, 1.0, 0.0]))
    for read in (as_undirected(pair), as_undirected(pair, weight=False)):
        assert read.degree.tolist() == [1, 1, 0]


def unreadable():
    return [
        ("cora", {}, "graph: expected a Graph, a torch_geometric Data"),
        (None, {}, "got NoneType"),
        (pandas.DataFrame({"u": [0], "v": [1]}), {}, "got DataFrame"),
        (torch.eye(3), {}, "shape"),
        (torch.ones(2, 3).to_sparse(), {}, "square"),
        (torch.eye(2).to_sparse() * 1j, {}, "real numbers"),
        (torch.ones(2, 2).to_sparse_bsr((1, 1)), {}, "dense tensor of a usual type"),
        (-torch.eye(2).to_sparse(), {}, "at least 0"),
        (torch.eye(2).to_sparse() * torch.nan, {}, "finite"),
        (torch.eye(2).to_sparse(), {"weight": [1.0, 1.0]}, "weight: expected None"),
        (SparseTensor(torch.tensor([0]), torch.tensor([1]), torch.ones(1, 2), (2, 2)), {}, "matrix of numbers"),
        (Data(num_nodes=3), {}, "edge_index or adj_t"),
        (Data(edge_index=EDGES, edge_attr=-torch.ones(8), num_nodes=4), {}, "edge_attr: .*weight=False ignores them"),
        (Data(edge_index=EDGES, num_nodes=4), {"weight": "length"}, "'length'"),
        (Data(edge_index=EDGES, edge_weight=torch.ones(8, 2), num_nodes=4), {}, "edge_weight: expected 1 dimensions"),
        (Data(edge_index=EDGES, edge_attr=["a"] * 8, num_nodes=4), {}, "edge_attr: expected numbers"),
        (Data(edge_index=EDGES, num_nodes=4), {"num_nodes": 3}, "from 0 to 2"),
        (sp.eye_array(3), {"num_nodes": 4}, "num_nodes: expected 3"),
        (EDGES, {"weight": torch.ones(3)}, "weight: expected 8 weights"),
        (EDGES, {"weight": "length"}, "weight: expected weights of the arcs"),
        (EDGES, {"node_type": "paper"}, "node_type: expected None"),
        (torch.tensor([[0.0, torch.nan], [1.0, 2.0]]), {}, "integer node positions"),
        (networkx.Graph([(0, 1, {"weight": "heavy"})]), {}, "weight: expected numbers"),
        (networkx.Graph([(0, 1, {"weight": None})]), {}, "weight: expected numbers"),
        (igraph.Graph([(0, 1)], vertex_attrs={"name": ["a", "a"]}), {}, "two nodes named 'a'"),
        (hetero(), {}, "node_type: expected one of 'paper', 'author'"),
        (hetero(), {"node_type": "venue"}, "got 'venue'"),
        (hetero(), {"node_type": "author"}, "a node type with edges to itself .*writes"),
        (HeteroData(), {}, "no node types"),
    ]


@pytest.mark.parametrize(("graph", "more", "message"), quietly(unreadable))
def test_what_cannot_be_read_is_named(graph, more, message):
    with pytest.raises(InputError, match=message):
        as_graph(graph, **more)


def test_one_node_type_needs_no_name():
    data = HeteroData()
    data["user"].y = torch.zeros(6)
    data["user", "knows", "user"].edge_index = EDGES
    assert as_graph(data).num_nodes == 6
    data["user", "likes", "user"].edge_index = torch.tensor([[0], [1]])
    data["user", "likes", "user"].edge_attr = torch.tensor([0.5])
    assert as_graph(data).to_dense()[1, 0] == 1.5


def test_as_many_nodes_as_labels():
    for y in (torch.zeros(6), np.zeros(6), [0] * 6, torch.zeros(6, 1)):
        assert as_graph(Data(edge_index=EDGES, y=y)).num_nodes == 6
        assert Graph.from_data(Data(edge_index=EDGES, y=y)).num_nodes == 6
    assert as_graph(Data(edge_index=EDGES, y=torch.tensor(1))).num_nodes == 4
    assert as_graph(Data(edge_index=EDGES)).num_nodes == 4
    assert as_graph(Data(edge_index=EDGES, y=torch.zeros(2)), num_nodes=5).num_nodes == 5
    with pytest.raises(InputError, match=r"data.y: .*got 3 labels, and 3 as the largest id"):
        as_graph(Data(edge_index=EDGES, y=torch.zeros(3)))


@pytest.mark.parametrize("far", [10**15, 3 * 10**9, 2**62, 2**33])
def test_ids_that_are_hashes(far):
    for read in (as_graph, Graph.from_edge_index, as_undirected):
        with pytest.raises(InputError, match=rf"renumber the nodes .*read_edges.*n would be {far + 1}.* GB"):
            read(torch.tensor([[0, far], [far, 0]]))
    with pytest.raises(InputError, match="renumber the nodes"):
        as_graph(Data(edge_index=torch.tensor([[0, far], [far, 0]])))
    with pytest.raises(InputError, match=r"num_nodes: .*renumber"):
        Graph.from_edge_index(EDGES, 10**12)
    with pytest.raises(InputError, match=r"integers below 2\^63"):
        as_graph(np.array([[2**63], [0]], dtype=np.uint64))


def letters(graph, names="wxyz"):
    return networkx.relabel_nodes(graph, dict(enumerate(names)))


def test_names_come_back_in_every_result():
    graph = letters(networkx.Graph(EDGES.t().tolist()))
    names = list(graph)
    mixed = [names[i] for i in (2, 0, 3, 1)]
    for given in (graph, igraph.Graph.from_networkx(graph), as_graph(graph), as_undirected(graph)):
        assert as_graph(given).names == names
        assert propagate(given, torch.eye(4), alpha=0.5, num_steps=1).names == names
        result = propagate(given, torch.eye(4), alpha=0.5, num_steps=1, order="degree")
        assert result.names == names
        many = clustering.diffuse_many(given, ["w", ["y", "z"]], "pagerank")
        assert (many.names, many.members(0)[0]) == (names, "w")
        diffusion = clustering.flow_diffusion(given, "z", 2.0)
        assert set(diffusion.members) == {names[i] for i in diffusion.support}
        profile = clustering.community_profile(given, ["w", "z"])
        assert all(set(members) <= set(names) for members in profile.members)
        assert clustering.sweep_cut(given, {"w": 1.0, "x": 0.5}).members[0] in names
        posterior = clustering.membership_posterior(given, {"w": 1, "x": 1, "z": 0}, 0.8, 0.9)
        assert set(posterior.members) <= set(names)
        assert posterior.names == names
    read = as_graph(graph)
    for same in (read.normalise(), read.transposed, read.with_self_loops(), read.to("cpu"), copy.deepcopy(read)):
        assert (same.names, same.position) == (names, {name: i for i, name in enumerate(names)})
    permuted = read.permuted(torch.tensor([names.index(name) for name in mixed]))
    assert permuted.names == mixed
    assert pickle.loads(pickle.dumps(read.normalise())).normalisation == "sym"
    frame = pandas.DataFrame({"id": ["d", "a", "c"]})
    assert Graph.from_edge_index([[0, 1], [1, 2]], 3, names=frame["id"]).names == ["d", "a", "c"]
    positions = as_undirected(EDGES)
    assert clustering.flow_diffusion(positions, 3, 2.0).members.dtype == np.int64
    assert clustering.membership_posterior(positions, [1, 1, 1, 0], 0.8, 0.9).members.dtype == np.int64
    for wrong in ("abc", ["a"], ["a", "a", "b"], [["a"], ["b"], ["c"]], 5):
        with pytest.raises(InputError, match="names: expected"):
            Graph.from_edge_index([[0], [2]], 3, names=wrong)


@pytest.mark.parametrize("names", [[3, 1, 0, 2], [1, 0, 2, 3], np.array([0, 2, 1, 3]), [30, 10, 0, 20]])
def test_integer_names_in_another_order(names):
    graph = letters(networkx.Graph(EDGES.t().tolist()), names)
    for call in (
        lambda: clustering.flow_diffusion(graph, 0, 2.0, [1, 1, 0, 0]),
        lambda: clustering.membership_posterior(graph, torch.tensor([1, 1, 0, 0]), 0.8, 0.9),
        lambda: clustering.LocalCluster().fit(graph, 0, np.array([True, True, False, False])),
        lambda: clustering.conductance(graph, np.array([True, True, False, False])),
        lambda: clustering.sweep_cut(graph, [1.0, 0.5, 0.0, 0.0]),
        lambda: clustering.grow_cluster(graph, 0, [1, 1, 0, 0], 0.8, 0.9),
        lambda: clustering.approximate_pagerank(graph, 0, labels=[1, 1, 0, 0]),
        lambda: clustering.approximate_pagerank(graph, [True, False, False, False]),
    ):
        with pytest.raises(InputError, match="by node name, since names are integers that do not ascend"):
            call()
    with pytest.raises(InputError, match=r"^membership: expected a graph whose integer names ascend"):
        clustering.graded_weights(graph, [1.0, 0.5, 0.0, 0.0])
    by_name = {name: int(name < 2) for name in graph}
    assert clustering.LocalCluster().fit(graph, 0, by_name).members_
    assert clustering.LocalCluster().fit(graph, 0, pandas.Series(by_name)).members_
    read = as_graph(graph)
    for layer in (
        lambda: propagate(read, torch.eye(4), alpha=0.5, num_steps=1),
        lambda: nn.Propagate(1)(torch.eye(4), graph),
        lambda: gn.LabelPropagation(1, 0.5)(torch.tensor([0, 1, 0, 1]), graph),
    ):
        with pytest.warns(UserWarning, match="node names are integers that do not ascend"):
            layer()
    # Once per graph.
    propagate(read, torch.eye(4), alpha=0.5, num_steps=1)
    for others in ([1, 2, 3, 4], [0, 1, 2, 9], "wxyz"):
        assert clustering.flow_diffusion(
            letters(networkx.Graph(EDGES.t().tolist()), others), others[0], 2.0, [1, 1, 0, 0]
        )


def test_directed_graphs_normalised_by_sym_are_said_once():
    for graph in (
        Graph.from_edge_index(ARCS, 4, WEIGHT),
        Graph.from_edge_index(ARCS[:, :4], 4),
        as_graph(multigraph()),
    ):
        with pytest.warns(UserWarning, match=r'normalise\("sym"\) of a directed graph'):
            graph.normalise()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            propagate(graph, torch.eye(4), alpha=0.5, num_steps=1)
            graph.normalise("row"), graph.normalise("col")
    learnt = Graph.from_edge_index(ARCS, 4, WEIGHT.clone().requires_grad_())
    with pytest.warns(UserWarning, match="directed"):
        learnt.normalise()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learnt.normalise()
        for weight in (None, torch.rand(8, generator=torch.Generator().manual_seed(0))):
            Graph.from_edge_index(EDGES, 4, weight).normalise()


def test_changes_in_place_are_noticed():
    for name in ("rowptr", "col", "weight"):
        graph = Graph.from_edge_index(ARCS, 4, WEIGHT)
        before = graph.degree
        getattr(graph, name).mul_(1)
        with pytest.raises(InputError, match=f"graph: expected arrays as they were when it was made .*changed {name}"):
            graph.degree  # noqa: B018
        assert torch.equal(Graph(graph.rowptr, graph.col, graph.weight).degree, before)
    graph = Graph.from_edge_index(EDGES, 4, torch.ones(8))
    as_undirected(graph)
    graph.weight[0] = 5.0
    with pytest.raises(InputError, match="changed weight"):
        as_undirected(graph)
    with pytest.raises(InputError, match="changed weight"):
        propagate(graph, torch.eye(4), alpha=0.5, num_steps=1)
    # Steps of an optimiser change weights that are learnt.
    weight = torch.nn.Parameter(torch.ones(8))
    learnt = Graph(graph.rowptr, graph.col, weight)
    before = learnt.degree.detach().clone()
    with torch.no_grad():
        weight.mul_(2)
    assert torch.equal(learnt.degree, 2 * before)
    assert learnt.transposed.weight.requires_grad
    with torch.inference_mode():
        made = Graph.from_edge_index(EDGES, 4)
        assert made.degree.tolist() == [2, 2, 3, 1]


def test_devices_and_types_that_are_not_there():
    graph = Graph.from_edge_index(EDGES, 4)
    for device in ("nowhere", 3.5, "cpu:x", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(InputError, match="device: expected a device of this machine"):
            graph.to(device)
    for dtype in (torch.int64, torch.bool, "float32"):
        with pytest.raises(InputError, match="dtype: expected a floating type"):
            graph.values(dtype)
        with pytest.raises(InputError, match="dtype: expected a floating type"):
            nn.Block.full(graph, dtype)

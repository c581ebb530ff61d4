import pytest
import torch
import torch_geometric.nn
from oracles import assert_close, graphs

from graphnoise import Graph, InputError
from graphnoise.nn import Block, GraphAttention, GraphConvolution, Linear, SparseFeatures, dropout, receptive_field
from graphnoise.nn.sparse import Pattern

EDGES, N = graphs()["undirected"]
LOOPED = Graph.from_edge_index(EDGES, N).with_self_loops().normalise()
WHOLE = Block.full(LOOPED)


def simple_edges():
    """The graph without repeated arcs and self-loops: torch_geometric replaces self-loops, we add to them."""
    edges = EDGES[:, EDGES[0] != EDGES[1]].unique(dim=1)
    return edges, Block.full(Graph.from_edge_index(edges, N).with_self_loops().normalise())


def features(draw):
    x = torch.rand(N, 11, generator=draw)
    return x * (torch.rand(N, 11, generator=draw) < 0.3)


def test_convolution_equals_torch_geometric(draw):
    edges, block = simple_edges()
    ours, theirs = GraphConvolution(11, 5, generator=draw), torch_geometric.nn.GCNConv(11, 5)
    with torch.no_grad():
        theirs.lin.weight.copy_(ours.linear.weight.t())
    x = features(draw)
    for given in (x, SparseFeatures(x)):
        assert_close(ours(given, block), theirs(x, edges))


def test_attention_equals_torch_geometric(draw):
    edges, block = simple_edges()
    ours, theirs = GraphAttention(11, 4, 3, generator=draw), torch_geometric.nn.GATConv(11, 4, heads=3)
    with torch.no_grad():
        theirs.lin.weight.copy_(ours.linear.weight.t())
        theirs.att_src.copy_(ours.source)
        theirs.att_dst.copy_(ours.target)
    x = features(draw)
    upstream = torch.randn(N, 12, generator=draw)
    a, b = ours(SparseFeatures(x), block), theirs(x, edges)
    assert_close(a, b)
    a.backward(upstream)
    b.backward(upstream)
    assert_close(ours.linear.weight.grad, theirs.lin.weight.grad.t())
    assert_close(ours.source.grad, theirs.att_src.grad[0])
    assert_close(ours.target.grad, theirs.att_dst.grad[0], 1e-5)


def test_sparse_features_equal_dense_ones(draw):
    x = features(draw)
    sparse, weight = SparseFeatures(x), torch.randn(11, 3, generator=draw, requires_grad=True)
    upstream = torch.randn(N, 3, generator=draw)
    assert_close(sparse @ weight, x @ weight)
    (grad,) = torch.autograd.grad(sparse @ weight, weight, upstream)
    assert_close(grad, x.t() @ upstream)
    some = torch.tensor([4, 0, 17])
    assert_close(sparse.rows(some) @ weight, x[some] @ weight)


def test_receptive_field_gives_the_outputs_of_the_whole_graph(draw):
    outputs = torch.tensor([3, 19, 0])
    x = features(draw)
    nodes, blocks = receptive_field(LOOPED, outputs, 2)
    assert nodes[:3].tolist() == outputs.tolist()
    for kind in (GraphConvolution, GraphAttention):
        if kind is GraphConvolution:
            layers = [kind(11, 6, generator=draw), kind(6, 2, generator=draw)]
        else:
            layers = [kind(11, 3, 2, generator=draw), kind(6, 2, 1, generator=draw)]
        whole = layers[1](layers[0](x, WHOLE).relu(), WHOLE)[outputs]
        field = layers[1](layers[0](SparseFeatures(x).rows(nodes), blocks[0]).relu(), blocks[1])
        assert_close(field, whole)
        grads = [torch.autograd.grad(out.sum(), layers[0].linear.weight)[0] for out in (whole, field)]
        assert_close(*grads)


def test_dropout_keeps_the_mean_and_repeats_with_its_seed():
    x = torch.ones(200, 50)
    once, again = (dropout(x, 0.6, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert set(once.unique().tolist()) == {0.0, 2.5}
    # Five standard deviations.
    assert abs(float(once.mean()) - 1) < 0.06
    assert dropout(x, 0.6, None) is x


def test_layers_repeat_with_their_seed():
    a, b = (Linear(4, 3, bias=True, generator=torch.Generator().manual_seed(1)).weight for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("wrap", [lambda x: x, SparseFeatures])
def test_layers_name_features_that_do_not_fit(wrap, draw):
    for layer in (GraphConvolution(4, 2, generator=draw), GraphAttention(4, 8, 8, generator=draw)):
        for rows in (3, N + 1):
            with pytest.raises(InputError, match=f"x: expected {N} rows, one per source of the block, got shape"):
                layer(wrap(torch.ones(rows, 4)), WHOLE)
        with pytest.raises(InputError, match="x: expected 4 columns, one per input, got shape"):
            layer(wrap(torch.ones(N, 5)), WHOLE)


def test_blocks_name_arcs_that_do_not_fit():
    rowptr, col = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    with pytest.raises(InputError, match="col: expected positions from 0 to 0"):
        Pattern.build(rowptr, col, 1)
    with pytest.raises(InputError, match="rowptr: expected entries from 0 to 2, the number of arcs, got 1 to 2"):
        Pattern.build(rowptr[1:], col, 2)
    with pytest.raises(InputError, match=r"value: expected shape \(2,\), one per arc, got shape \(1,\)"):
        Block(Pattern.build(rowptr, col, 2), torch.ones(1))

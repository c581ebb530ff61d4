"""Sampled receptive fields: exact where all neighbours fit, unbiased where not, the same for the same seed."""

import pytest
import torch
from oracles import assert_close, graphs

from graphnoise import Graph
from graphnoise.nn import receptive_field, sample_neighbors


def looped(name="undirected"):
    edges, n = graphs()[name]
    return Graph.from_edge_index(edges, n).with_self_loops().normalise("row")


def matrix(block):
    return block.matrix.to_dense()


def test_a_receptive_field_has_the_sources_of_arcs():
    edges, n = graphs()["directed with repeats and self-loops"]
    graph, outputs, x = Graph.from_edge_index(edges, n).normalise("row"), torch.tensor([7, 2]), torch.eye(n)
    nodes, (first, second) = receptive_field(graph, outputs, 2)
    S = graph.to_dense()
    assert_close(matrix(second) @ matrix(first) @ x[nodes], (S @ S)[outputs])


@pytest.mark.parametrize("name", ["undirected", "hub", "no arcs", "directed with repeats and self-loops"])
@pytest.mark.parametrize("fanout", [-1, 1000])
def test_all_neighbours_are_the_receptive_field(name, fanout, draw):
    graph = looped(name)
    outputs = torch.tensor([3, 0])
    nodes, blocks = receptive_field(graph, outputs, 2)
    sampled, actual = sample_neighbors(graph, outputs, [fanout, fanout], draw)
    assert torch.equal(nodes, sampled)
    for ours, exact in zip(actual, blocks, strict=True):
        assert_close(matrix(ours), matrix(exact))


def test_a_node_hears_itself_and_so_many_others(draw):
    graph = looped("hub")
    nodes, (block,) = sample_neighbors(graph, torch.tensor([0, 5]), [4], draw)
    assert nodes[:2].tolist() == [0, 5]
    heard = block.pattern.rowptr.diff().tolist()
    # The hub: four of its 39 neighbours and itself; node 5: the hub and itself.
    assert heard == [5, 2]
    dense = matrix(block)
    assert (dense[[0, 1], [0, 1]] > 0).all()
    assert len(set(nodes.tolist())) == nodes.numel()
    # A row average stays one: what is left out is made up for.
    assert_close(dense.sum(1), torch.ones(2))


def test_what_is_heard_is_unbiased(draw):
    graph = looped()
    x = torch.rand(graph.num_nodes, generator=draw)
    outputs = torch.arange(graph.num_nodes)
    total = torch.zeros(graph.num_nodes)
    for _ in range(400):
        nodes, (block,) = sample_neighbors(graph, outputs, [2], draw)
        total += matrix(block) @ x[nodes]
    assert_close(total / 400, graph.to_dense() @ x, 0.06)


def test_the_same_seed_draws_the_same(draw):
    graph = looped()
    first, second = (
        sample_neighbors(graph, torch.tensor([1, 2]), [2, 3], torch.Generator().manual_seed(9)) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    for a, b in zip(first[1], second[1], strict=True):
        assert torch.equal(matrix(a), matrix(b))
    other = sample_neighbors(graph, torch.tensor([1, 2]), [2, 3], torch.Generator().manual_seed(10))
    assert not torch.equal(first[0], other[0])


def test_no_fanout_above_zero_leaves_the_node_alone(draw):
    nodes, (block,) = sample_neighbors(looped(), torch.tensor([4]), [0], draw)
    assert set(block.edge_index[0].tolist()) <= {0}
    assert nodes.tolist() == [4]

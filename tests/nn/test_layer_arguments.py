"""Layers in double precision, and odd arguments of layers and sampling."""

import pytest
import torch

from graphnoise import Graph, InputError, nn

EDGES = torch.tensor([[0, 1, 1, 2, 2, 0, 2, 3], [1, 0, 2, 1, 0, 2, 3, 2]])


def test_layers_of_double_precision(draw):
    looped = Graph.from_edge_index(EDGES, 4).with_self_loops().normalise()
    x = torch.rand(4, 2, generator=draw, dtype=torch.float64)
    layer = nn.GraphConvolution(2, 3, generator=draw).double()
    expected = looped.to_dense(torch.float64) @ x @ layer.linear.weight
    torch.testing.assert_close(layer(x, nn.Block.full(looped, torch.float64)), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(layer(x, nn.Block.full(looped)), expected, rtol=1e-6, atol=0)
    attention = nn.GraphAttention(2, 3, generator=draw, heads=2).double()
    assert attention(x, nn.Block.full(looped)).dtype == torch.float64
    for module in (layer, attention):
        with pytest.raises(InputError, match=r"x: expected values of type torch.float64"):
            module(x.float(), nn.Block.full(looped))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: nn.GraphConvolution(-1, 3, generator=g), "inputs: expected an integer of at least 1"),
        (lambda g: nn.GraphConvolution(2, 2.5, generator=g), "outputs: expected an integer"),
        (lambda g: nn.GraphConvolution(2, 2, generator=7), "generator: expected a torch.Generator, got int"),
        (lambda g: nn.GraphAttention(2, 2, heads=0, generator=g), "heads: expected an integer of at least 1"),
        (
            lambda g: nn.GraphAttention(2, 2, heads=1, attention_dropout=2, generator=g),
            "attention_dropout: expected a rate",
        ),
        (lambda g: nn.GraphAttention(2, 2, heads=1, slope="a", generator=g), "slope: expected a finite number"),
        (lambda g: nn.Linear(2, 0, bias=True, generator=g), "outputs: expected an integer of at least 1"),
        (lambda g: nn.dropout(torch.ones(2), 1.5, g), "p: expected a rate in"),
        (lambda g: nn.dropout(torch.ones(2), 0.5, 1), "generator: expected a torch.Generator"),
        (lambda g: nn.dropout([1.0], 0.5, g), "x: expected a floating-point tensor"),
        (lambda g: nn.dropout(torch.ones(2).long(), 0.5, g), "x: expected a floating-point tensor"),
        (lambda g: nn.receptive_field(EDGES, [7], 1), "outputs: expected positions from 0 to 3"),
        (lambda g: nn.receptive_field(EDGES, [1, 1], 1), "outputs: expected distinct nodes"),
        (lambda g: nn.receptive_field(EDGES, [0], -1), "num_layers: expected an integer of at least 0"),
        (lambda g: nn.receptive_field("cora", [0], 1), "graph: expected a Graph"),
        (lambda g: nn.sample_neighbors(EDGES, ["a"], [1], g), "outputs: expected numbers"),
    ],
)
def test_odd_arguments_of_layers(call, message, draw):
    with pytest.raises(InputError, match=message):
        call(draw)


def test_dropout_of_everything(draw):
    assert nn.dropout(torch.ones(3), 1, draw).tolist() == [0, 0, 0]

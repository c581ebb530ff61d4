"""Layers equal to torch_geometric's: propagation, and convolution and attention for small graphs on the CPU."""

from graphnoise.nn.attention import GraphAttention
from graphnoise.nn.block import Block, receptive_field, sample_neighbors
from graphnoise.nn.layers import GraphConvolution, Linear, dropout
from graphnoise.nn.normalise import normalise_rows
from graphnoise.nn.propagate import Propagate
from graphnoise.nn.sparse import SparseFeatures

__all__ = [
    "Block",
    "GraphAttention",
    "GraphConvolution",
    "Linear",
    "Propagate",
    "SparseFeatures",
    "dropout",
    "normalise_rows",
    "receptive_field",
    "sample_neighbors",
]

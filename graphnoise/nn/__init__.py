"""Layers for small graphs on the CPU, equal to torch_geometric's: sparse features, convolution, attention."""

from .attention import GraphAttention
from .block import Block, receptive_field
from .layers import GraphConvolution, Linear, dropout
from .sparse import SparseFeatures

__all__ = [
    "Block",
    "GraphAttention",
    "GraphConvolution",
    "Linear",
    "SparseFeatures",
    "dropout",
    "receptive_field",
]

"""Layers equal to torch_geometric's: propagation, and for small graphs on the CPU convolution and attention."""

from .attention import GraphAttention
from .block import Block, receptive_field, sampled_field
from .layers import GraphConvolution, Linear, dropout
from .normalise import normalise_rows
from .propagate import Propagate
from .sparse import SparseFeatures

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
    "sampled_field",
]

"""Type aliases of arrays, and of what public functions accept as graphs, labels and seed nodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    import igraph
    import networkx
    import pandas
    import scipy.sparse
    from torch_geometric.data import Data, HeteroData

    from graphnoise.graph import Graph
    from graphnoise.kernels.csr.undirected import UndirectedGraph

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bytes: TypeAlias = NDArray[np.uint8]

# A graph as any of its containers, or arcs [2, num_arcs]; torch's and torch_sparse's sparse matrices are among them.
GraphLike: TypeAlias = (
    "Graph | UndirectedGraph | Data | HeteroData | scipy.sparse.sparray | scipy.sparse.spmatrix | networkx.Graph"
    " | igraph.Graph | Tensor | NDArray[Any] | Sequence[Sequence[int]]"
)
# One label per node, a mask, or positions.
LabelsLike: TypeAlias = "Tensor | NDArray[Any] | pandas.Series[Any] | pandas.DataFrame | Sequence[Any]"
# Features of nodes, one row each.
FeaturesLike: TypeAlias = "Tensor | NDArray[Any] | scipy.sparse.sparray | scipy.sparse.spmatrix"
# Labels 0/1 of local clustering: of all nodes, of some (with -1, NaN or None, or by node), or computed for an array.
MembershipLike: TypeAlias = "LabelsLike | Mapping[Any, Any] | Callable[[Any], Any]"
# Numbers, or one number.
FloatsLike: TypeAlias = float | Sequence[float] | Tensor | NDArray[Any]
# Seed nodes by position, name or Boolean mask; with masses where a mapping.
SeedsLike: TypeAlias = int | np.integer[Any] | Hashable | Iterable[Hashable] | Tensor | NDArray[Any]

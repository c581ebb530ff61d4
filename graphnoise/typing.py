"""Type aliases of what public functions accept as graphs, labels and seed nodes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    import igraph
    import networkx
    import scipy.sparse
    from torch_geometric.data import Data

    from graphnoise.clustering import UndirectedGraph
    from graphnoise.graph import Graph

# A graph as any of its containers, or arcs [2, num_arcs].
GraphLike: TypeAlias = (
    "Graph | UndirectedGraph | Data | scipy.sparse.sparray | scipy.sparse.spmatrix | networkx.Graph | igraph.Graph"
    " | Tensor | NDArray[Any]"
)
# One label per node.
LabelsLike: TypeAlias = Tensor | NDArray[Any] | Sequence[int] | Sequence[bool]
# Seed nodes by position, name or Boolean mask.
SeedsLike: TypeAlias = int | np.integer[Any] | Hashable | Iterable[Hashable] | Tensor | NDArray[Any]

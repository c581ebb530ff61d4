"""Node features as network inputs: normalised rows, sparse storage, smoothing."""

from __future__ import annotations

import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor
from torch.nn import functional as F

from graphnoise.graph import Graph
from graphnoise.nn.sparse import SparseFeatures
from graphnoise.propagation import propagate

# Features with a smaller share of non-zeros are stored as sparse.
MAX_SPARSE_DENSITY = 0.1


def row_normalised(x: Tensor) -> Tensor:
    """Return features with rows that sum to 1 if all are at least 0 (bag of words), otherwise as they are.

    Example:
        >>> import torch
        >>> row_normalised(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist()
        [[0.25, 0.75], [0.0, 0.0]]
    """
    return x / x.sum(1, keepdim=True).clamp(min=1e-12) if float(x.min()) >= 0 else x


def compact(x: Tensor) -> Tensor | SparseFeatures:
    """Return features as they are, or sparse if less than a tenth of them is not zero."""
    return SparseFeatures(x) if int(x.count_nonzero()) < MAX_SPARSE_DENSITY * x.numel() else x


def smoothed(x: Tensor, looped: Graph, hops: int) -> Tensor:
    """Return S^hops X, rows of length 1 (zero rows stay), as SGC classifies.

    Args:
        x: Features, shape [num_nodes, num_features].
        looped: The graph with self-loops, normalised: S.
        hops: Number of steps.

    Example:
        >>> import torch
        >>> pair = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]])).with_self_loops().normalise("sym")
        >>> smoothed(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), pair, 1)
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000]])

    Source:
        Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019, section 2.2.
    """
    return F.normalize(propagate(looped, x, alpha=1.0, num_steps=hops).y)


def principal(x: Tensor, count: int) -> Tensor:
    """Return approximately the first principal directions of x, not centred, as columns; zeros beyond its rank.

    The decomposition is randomised with a fixed seed: where singular values decay slowly, the last directions are not
    exact.
    """
    _, _, rows = randomized_svd(x.cpu().double().numpy(), count, n_oversamples=20, n_iter=4, random_state=0)
    out = x.new_zeros(x.shape[1], count)
    out[:, : rows.shape[0]] = torch.from_numpy(rows.copy()).t().to(out)
    return out

"""Community preservation: the network also predicts which cluster of the graph a node is in."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.nn import Linear
from graphnoise.robust.training import Context, Method, Step


def communities(graph: Graph, count: int, seed: int, width: int = 128) -> Tensor:
    """Return a cluster of each node: k-means on the singular vectors of the normalised graph; no label is read.

    Args:
        graph: The graph with self-loops, normalised symmetrically.
        count: Number of clusters; fewer where there are fewer nodes or distinct positions.
        seed: Seed of the decomposition and of k-means.
        width: Number of singular vectors.

    Returns:
        Cluster numbers, int64, shape [num_nodes].

    Example:
        >>> pairs = Graph.from_edge_index(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])).with_self_loops().normalise()
        >>> first, second, third, fourth = communities(pairs, 2, seed=0).tolist()
        >>> first == second != third == fourth
        True
    """
    n = graph.num_nodes
    values = graph.values().cpu().numpy()
    matrix = csr_array((values, graph.col.cpu().numpy(), graph.rowptr.cpu().numpy()), shape=(n, n))
    if n < 3:
        return torch.zeros(n, dtype=torch.int64, device=graph.device)
    svd = TruncatedSVD(min(width, n - 1), random_state=seed)
    # Of columns that do not vary, scikit-learn divides variances by 0.
    with np.errstate(all="ignore"):
        position = torch.from_numpy(svd.fit_transform(matrix)).float()
    place = F.normalize(position).numpy()
    clusters = KMeans(min(count, n), n_init=10, random_state=seed).fit_predict(place)
    return torch.from_numpy(clusters).long().to(graph.device)


class CommunityPreservation(Method):
    r"""Cross-entropy on the given labels and, for all nodes, on communities of the graph, which have no wrong labels.

        CE(f, y)  +  coefficient · mean over all nodes of the batch of CE(W z_i + b, community_i)

    with z the input of the network's last layer, and W and b a second head. The paper clusters embeddings of node2vec;
    here it is the leading singular vectors of the normalised graph, rows scaled to length 1, by k-means.

    Args:
        coefficient: Weight of the communities.
        clusters: Number of communities.

    Raises:
        InputError: A setting out of its range.

    Example:
        >>> CommunityPreservation()
        CommunityPreservation(coefficient=0.2, clusters=8)

    Source:
        Zhang, Hu, Jing, Xiong, Zhang and Lin, "Adversarial Label-Flipping Attack and Defense for Graph Neural
        Networks", ICDM 2020, section V.
    """

    needs_graph = True
    community: Tensor

    def __init__(self, coefficient: float = 0.2, clusters: int = 8) -> None:
        super().__init__()
        self.coefficient = checks.real("coefficient", coefficient, 0.0)
        self.clusters = checks.integer("clusters", clusters, 1)

    def setup(self, context: Context) -> None:
        """Find the communities, and make the second head."""
        generator = context.generator
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        self.register_buffer("community", communities(context.full.graph, self.clusters, seed))
        width = context.evaluate().embedding.shape[1]
        self.head = Linear(width, self.clusters, bias=True, generator=generator).to(context.full.x.device)

    def terms(self, step: Step) -> Tensor | float:
        """Return the loss on communities."""
        predicted = self.head(step.output.embedding)
        return self.coefficient * F.cross_entropy(predicted, self.community[step.batch.nodes])

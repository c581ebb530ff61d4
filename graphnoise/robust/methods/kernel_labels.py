"""Soft labels by kernel density of credible labels, and a contrast of distant nodes of one class."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn.features import row_normalised, smoothed
from graphnoise.resources import limit_threads
from graphnoise.robust.detection import agreement_of_nearest
from graphnoise.robust.methods.contrast import sampled_rows
from graphnoise.robust.training import Context, Method, Step

HOPS = 2
BLOCK_ENTRIES = 2**22
# Rows that are contrasted in a step.
MAX_ROWS = 1024


class KernelLabels(Method):
    r"""Labels softened by how nodes nearby are labelled, and embeddings of distant nodes of one class drawn together.

    With z the features smoothed over two steps, rows of length 1, and cred_i the share, by cosine, of the k nearest
    labelled nodes that have the label of i, the target of node i is

        cred_i y_i + (1 - cred_i) t_i,    t_ic ∝ π_c^-power Σ_{j ≠ i, y_j = c} cred_j exp(-|z_i - z_j|² / 2 h²)

    with π_c the share of class c in the sum of all cred_j, and h the median distance to the k-th nearest. With shares
    of labels, classes whose labels agree most would be in every target. The term is weight · `distant_peers` of the
    network's embeddings.

    Credibility by neighbours takes errors to be static: where they have spread from node to node, neighbours agree on
    the wrong label, and it stays.

    Args:
        num_neighbours: Number k of nearest labelled nodes.
        power: Power of the shares of the classes; 0: none.
        weight: Weight of the contrast.
        peers: Number of distant and of near nodes in the contrast of each node.
        temperature: Temperature of the contrast.
        gate: Credibility from which on a node takes part in the contrast.

    Source:
        In the spirit of work on language models as re-annotators: credibility by neighbours, kernel density and distant
        peers; the formulas are ours.
    """

    version = "2"
    needs_graph = True
    credibilities: Tensor
    soft: Tensor

    def __init__(
        self,
        num_neighbours: int = 10,
        power: float = 1.0,
        weight: float = 0.1,
        peers: int = 5,
        temperature: float = 0.5,
        gate: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_neighbours = checks.integer("num_neighbours", num_neighbours, 1)
        self.power, self.weight = checks.real("power", power, 0.0, 10.0), checks.real("weight", weight, 0.0)
        self.peers, self.gate = checks.integer("peers", peers, 1), checks.rate("gate", gate)
        self.temperature = checks.real("temperature", temperature, 1e-3)

    def setup(self, context: Context) -> None:
        """Compute credibilities and targets."""
        view, given = context.full, context.given
        z = smoothed(row_normalised(view.x), view.graph, HOPS)[context.labelled].double().cpu()
        y, k = given.cpu(), min(self.num_neighbours, len(given) - 1)
        credibility = torch.from_numpy(agreement_of_nearest(z.numpy(), y.numpy(), max(k, 1)))
        density = kernel_labels(z, y, credibility, context.num_classes, _width(z, k), self.power)
        one_hot = F.one_hot(y, context.num_classes).double()
        soft = credibility.unsqueeze(1) * one_hot + (1 - credibility).unsqueeze(1) * density
        self.register_buffer("credibilities", credibility.float().to(given.device))
        self.register_buffer("soft", soft.float().to(given.device))

    def targets(self, step: Step) -> Tensor:
        """Return the softened labels."""
        return self.soft[step.rows]

    def terms(self, step: Step) -> Tensor | float:
        """Return the contrast of credible nodes."""
        if not self.weight:
            return 0.0
        rows = sampled_rows(len(step.rows), MAX_ROWS, step.context.generator) if len(step.rows) > MAX_ROWS else ...
        credible = (self.credibilities[step.rows] >= self.gate)[rows]
        contrast = distant_peers(step.embedding[rows], step.given[rows], credible, self.peers, self.temperature)
        return self.weight * contrast


def kernel_labels(z: Tensor, y: Tensor, credibility: Tensor, num_classes: int, width: float, power: float) -> Tensor:
    """Return t, see `KernelLabels`, shape [n, num_classes]; uniform where no other label is credible.

    Args:
        z: Embeddings, rows of length 1, shape [n, d].
        y: Labels, shape [n].
        credibility: Credibilities, in [0, 1], shape [n].
        num_classes: Number of classes.
        width: Width h of the kernel, above 0.
        power: Power of the shares of the classes in the credibilities.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> kernel_labels(z, torch.tensor([0, 0, 1]), torch.ones(3), 2, 1.0, 0.0)[0]
        tensor([0.7311, 0.2689])
    """
    one_hot = F.one_hot(y, num_classes).to(z.dtype)
    shares = (credibility.unsqueeze(1) * one_hot).mean(0).clamp(min=1e-12) ** -power
    out, size = torch.full_like(one_hot, 1 / num_classes), max(BLOCK_ENTRIES // max(len(z), 1), 1)
    for first in range(0, len(z), size):
        part = torch.arange(first, min(first + size, len(z)))
        logs = credibility.log() - torch.cdist(z[part], z).square() / (2 * width**2)
        logs[torch.arange(len(part)), part] = -torch.inf
        largest = logs.max(1, keepdim=True).values
        # The largest is 1, however far all others are.
        mass = (logs - torch.where(largest.isfinite(), largest, 0.0)).exp() @ one_hot * shares
        total = mass.sum(1, keepdim=True)
        out[part] = torch.where(total > 0, mass / total.clamp(min=1e-300), out[part])
    return out


def _width(z: Tensor, k: int) -> float:
    """Return the median distance to the k-th nearest other row."""
    if k < 1:
        return 1.0
    with limit_threads(1):
        distances = NearestNeighbors(n_neighbors=k).fit(z.numpy()).kneighbors()[0]
    return max(float(np.median(distances[:, -1])), 1e-3)


def peers_of(z: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return cosines, and which columns are each row's most distant ones of its label, and nearest ones of others.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
        >>> _, same, other = peers_of(z, torch.tensor([0, 0, 0, 1]), 1)
        >>> same[0].tolist(), other[0].tolist()
        ([False, False, True, False], [False, False, False, True])
    """
    unit = F.normalize(z)
    cosine = unit @ unit.T
    equal = y.unsqueeze(1) == y
    other = ~equal
    equal.fill_diagonal_(False)
    chosen = []
    for mask, sign in ((equal, -1.0), (other, 1.0)):
        scores = torch.where(mask, sign * cosine.detach(), -torch.inf)
        nearest = scores.topk(min(count, len(z)), dim=1).indices
        chosen.append(torch.zeros_like(mask).scatter_(1, nearest, True) & mask)
    return cosine, chosen[0], chosen[1]


def distant_peers(z: Tensor, y: Tensor, credible: Tensor, count: int = 5, temperature: float = 0.5) -> Tensor | float:
    r"""Return the mean of -log(Σ_pos e^(s / τ) / (Σ_pos e^(s / τ) + Σ_neg e^(s / τ))), s the cosines of credible rows.

    Positive are a row's `count` rows of its label with the lowest cosines, negative its `count` rows of other labels
    with the highest. Without the gate, distant nodes of one label are mostly those whose label is wrong.

    Args:
        z: Embeddings, shape [n, d].
        y: Labels, shape [n].
        credible: Which rows take part, Boolean, shape [n].
        count: Number of positive and of negative rows.
        temperature: Temperature τ.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
        >>> distant_peers(z, torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), 1)
        tensor(0.6931)
    """
    z, y = z[credible], y[credible]
    if len(z) < 3:
        return 0.0
    cosine, same, other = peers_of(z, y, count)
    full = same.any(1) & other.any(1)
    if not bool(full.any()):
        return 0.0
    scores = cosine[full] / temperature
    positive = scores.masked_fill(~same[full], -torch.inf).logsumexp(1)
    both = scores.masked_fill(~(same | other)[full], -torch.inf).logsumexp(1)
    return (both - positive).mean()

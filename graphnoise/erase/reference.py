"""ERASE written out from its formulas: the oracle of the tests, and the baseline of `graphnoise bench speed erase`.

Dense features go through torch_geometric's `GATConv`, labels are multiplied by a dense adjacency matrix of n x n, and
the coding rates take memberships as C diagonal matrices of n x n, which every epoch fills anew. Nothing here is taken
from the other modules of `graphnoise.erase` but the numbers in `Settings`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.nn import GATConv
from torch_geometric.transforms import NormalizeFeatures

from graphnoise import checks
from graphnoise.erase.settings import Settings

_ORDERS = {"l1": 1.0, "l2": 2.0}
# Added to the number of nodes of each class, so that an empty one does not divide by 0.
SLACK = 1e-8
# Hyper-parameters that are not in the paper; the dense form has their defaults.
_NOT_IN_PAPER = ("components", "class_sizes", "val_labels", "n_init", "probe_from", "blend_temperature")


def unsupported_reason(s: Settings) -> str | None:
    """Return why there is no dense form of these settings, or None."""
    if s.encoder != "gat":
        return f"is written out for the encoder 'gat', not for {s.encoder!r}"
    if s.batch_size is not None:
        return "has no mini-batches"
    unknown = [name for name in _NOT_IN_PAPER if getattr(s, name) != getattr(Settings(), name)]
    return f"does not know {unknown[0]}={getattr(s, unknown[0])!r}" if unknown else None


class Attention(torch.nn.Module):
    """GATConv layers on dense features, with dropout before, and activation and row normalisation after them."""

    def __init__(self, num_features: int, s: Settings) -> None:
        super().__init__()
        self.s, widths = s, [num_features, *[s.hidden] * (s.layers - 1)]
        # GATConv draws initial weights, which `Dense` replaces.
        with torch.random.fork_rng(devices=[]):
            hidden = [GATConv(width, s.hidden // s.heads, s.heads) for width in widths[:-1]]
            self.layers = torch.nn.ModuleList([*hidden, GATConv(widths[-1], s.width, 1)])

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the embeddings, shape [num_nodes, width]; dropout draws from torch's own generator."""
        s, last = self.s, len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            if i < last or last == 0:
                x = F.dropout(x, s.dropout, self.training)
            x = layer(x, edge_index)
            if i < last:
                x = unit(F.leaky_relu(x, 0.01 if s.activation == "leaky_relu" else 0.0), s.hidden_norm)
        return F.relu(unit(x, s.norm))

    def take(self, weights: torch.nn.Module) -> None:
        """Copy the weights of the library's attention encoder."""
        with torch.no_grad():
            for parameter, other in paired(self, weights):
                parameter.copy_(other)


def paired(dense: Attention, encoder: Any, gradients: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each parameter beside that of the library's attention encoder in the same shape, or their gradients."""
    layers: list[Any] = list(dense.layers)
    for layer, other in zip(layers, encoder.convolutions, strict=True):
        first = (layer.lin.weight, layer.att_src, layer.att_dst, layer.bias)
        for left, right in zip(first, (other.linear.weight, other.source, other.target, other.bias), strict=True):
            own, library = (left.grad, right.grad) if gradients else (left, right)
            yield own, library.t() if left is layer.lin.weight else library.view_as(own)


def unit(x: Tensor, norm: str) -> Tensor:
    """Return rows of norm 1."""
    return x if norm == "none" else F.normalize(x, p=_ORDERS[norm])


def walk_matrix(A: Tensor, kind: str) -> Tensor:
    """Return S for "col": A D^-1, "row": D^-1 A, "sym": D^-1/2 A D^-1/2, with D the sums of rows and 1/0 = 0."""
    degree = A.sum(1)
    inverse = torch.where(degree > 0, 1 / degree, 0)
    if kind == "col":
        return A * inverse
    if kind == "row":
        return inverse[:, None] * A
    return inverse.sqrt()[:, None] * A * inverse.sqrt()


def spread(S: Tensor, Y: Tensor, s: Settings) -> Tensor:
    """Return Y after T steps of Y <- (1 - a) S Y + a Y (lazy) or a Y0 (restart), a the node's own weight."""
    own, start = 1 - s.alpha, Y
    for _ in range(s.num_steps):
        Y = (1 - own) * (S @ Y) + own * (Y if s.propagation == "lazy" else start)
        if s.clamp:
            Y = Y.clamp(0, 1)
    return Y


def loss(Z: Tensor, labels: Tensor, num_classes: int, s: Settings) -> Tensor:
    """Return gamma1 Rc - gamma2 R over W = Z^T and the memberships Pi of shape [C, n, n]."""
    (n, p), W = Z.shape, Z.t()
    identity, nodes = torch.eye(p, dtype=Z.dtype), torch.arange(n)
    R = torch.logdet(identity + s.gamma1 * p / (n * s.eps) * W @ W.t()) / 2
    Pi = Z.new_zeros(num_classes, n, n)
    Pi[labels, nodes, nodes] = 1
    Rc = Z.new_zeros(())
    for Pi_c in Pi:
        size = torch.trace(Pi_c) + SLACK
        Rc = Rc + size / n * torch.logdet(identity + p / (size * s.eps) * (W @ Pi_c) @ W.t()) / 2
    return s.gamma1 * Rc - s.gamma2 * R


@dataclass
class Dense:
    """A training run of the dense algorithm, from the initial weights of the library's encoder.

    Attributes:
        data: x, edge_index (undirected and simple), y, train_mask, val_mask.
        s: Hyper-parameters.
        weights: The library's encoder.
        seed: Seed of dropout.
        dtype: Type of all values.
        history: Loss of each epoch.
        accuracy: Accuracy of the last probe on the validation nodes.

    Raises:
        InputError: The settings have no dense form, or denoising has left a class without labelled nodes.
    """

    data: Data
    s: Settings
    weights: torch.nn.Module
    seed: int = 0
    dtype: torch.dtype = torch.float32
    history: list[float] = field(default_factory=list)
    accuracy: float = float("nan")

    def __post_init__(self) -> None:
        data, s = self.data, self.s
        if (reason := unsupported_reason(s)) is not None:
            checks.fail("settings", "those of an algorithm that is written out", f"the dense form, which {reason}")
        given = NormalizeFeatures()(Data(x=data.x.to(self.dtype, copy=True))).x
        self.x = given if s.normalise_features and bool((data.x >= 0).all()) else data.x.to(self.dtype)
        self.edge_index, self.num_classes = data.edge_index, int(data.y.max()) + 1
        self.train, self.val = data.train_mask.nonzero().view(-1), data.val_mask.nonzero().view(-1)
        self.encoder = Attention(self.x.shape[1], s).to(self.dtype)
        self.encoder.take(self.weights)
        self.optimiser = torch.optim.Adam(
            self.encoder.parameters(), lr=s.lr, weight_decay=s.weight_decay, amsgrad=s.amsgrad
        )
        self.generator = torch.Generator().manual_seed(self.seed)
        n = self.x.shape[0]
        A = torch.zeros(n, n, dtype=self.dtype)
        A[self.edge_index[1], self.edge_index[0]] = 1
        self.S, self.Y0 = walk_matrix(A, s.normalisation), self._denoised(A)
        self.hard = self.Y0[self.train].argmax(1)
        if bool((torch.bincount(self.hard, minlength=self.num_classes) == 0).any()):
            checks.fail("data.y", "a labelled node of every class after denoising", "a class without one")
        self.labels = self.hard

    def _denoised(self, A: Tensor) -> Tensor:
        s, n = self.s, len(A)
        Y = torch.zeros(n, self.num_classes, dtype=self.dtype)
        Y[self.train, self.data.y[self.train]] = 1
        if s.denoise == "none":
            return Y
        if s.denoise == "train":
            inside = torch.zeros(n, dtype=torch.bool)
            inside[self.train] = True
            A = A * inside * inside[:, None]
        return spread(walk_matrix(A, s.normalisation), Y, s)

    @torch.no_grad()
    def pseudo_labels(self, Z: Tensor) -> Tensor:
        """Return the label of every node, given the embeddings."""
        return self.fused(Z)[2].argmax(1)

    def fused(self, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the prototypes, the fused labels before propagation, and those after it."""
        s, of_train = self.s, Z[self.train]
        mu = torch.stack([of_train[self.hard == c].mean(0) for c in range(self.num_classes)])
        if s.prototypes == "mixed" and self.history:
            one_hot = F.one_hot(torch.cat([self.data.y[self.train], self.labels]), self.num_classes).to(Z.dtype)
            mu = one_hot[: len(of_train)].t() @ of_train / len(of_train) + one_hot[len(of_train) :].t() @ Z / len(Z)
        K = (F.normalize(Z) @ F.normalize(mu).t()).abs()
        known = self.Y0
        if s.label_scope == "train":
            known = torch.zeros_like(self.Y0)
            known[self.train] = self.Y0[self.train]
        Q = s.beta * known + (1 - s.beta) * K
        if s.softmax:
            Q = Q.softmax(1)
        start = Q
        if s.propagate_from == "train":
            start = torch.zeros_like(Q)
            start[self.train] = Q[self.train]
        return mu, Q, spread(self.S, start, s)

    def embed(self, training: bool = False) -> Tensor:
        """Return the embeddings of all nodes."""
        self.encoder.train(training)
        # F.dropout draws from torch's own generator.
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(self.generator.get_state())
            Z: Tensor = self.encoder(self.x, self.edge_index)
            self.generator.set_state(torch.random.get_rng_state())
        return Z

    def epoch(self) -> None:
        """Train one epoch, and fit the probe where the settings select by validation."""
        Z = self.embed(training=True)
        self.labels = self.pseudo_labels(Z.detach())
        value = loss(Z, self.labels, self.num_classes, self.s)
        self.optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.history.append(value.item())
        if self.s.select == "validation" and len(self.history) % self.s.probe_every == 0:
            self.accuracy = float((self.probe()[self.val] == self.data.y[self.val]).double().mean())

    def probe(self) -> Tensor:
        """Return the predictions of a linear probe for all nodes."""
        with torch.no_grad():
            Z = normalize(self.embed().numpy())
        chosen = self.labels[self.train] if self.s.probe == "semantic" else self.data.y[self.train]
        target = chosen.numpy()
        if (target == target[0]).all():
            return torch.full((len(Z),), int(target[0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=self.s.probe_c, max_iter=1000).fit(Z[self.train.numpy()], target)
        return torch.from_numpy(np.asarray(model.predict(Z))).long()

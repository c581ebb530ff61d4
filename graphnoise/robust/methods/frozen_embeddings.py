"""Fixed embeddings and a learned change of them, with terms that keep their spectrum rich; diagnostics of spectra."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn import Linear, SparseFeatures, dropout
from graphnoise.robust.methods.contrast import augmented, sampled_rows
from graphnoise.robust.training import Context, Method, Step, View
from graphnoise.robust.training.networks import Transform, ViewNetwork


class Spectrum(NamedTuple):
    """Diagnostics of the singular values of embeddings.

    Attributes:
        entropy: Entropy of the values divided by their sum, in nats: low where few directions are used.
        top_ratio: Share of the largest value.
    """

    entropy: float
    top_ratio: float


def spectrum(x: Tensor) -> Spectrum:
    """Return the diagnostics of embeddings, shape [n, d].

    Example:
        >>> [round(value, 4) for value in spectrum(torch.ones(4, 3))]
        [0.0, 1.0]
    """
    shares = _shares(x.detach())
    return Spectrum(float(torch.special.entr(shares).sum()), float(shares.max()))


def covariance_term(x: Tensor) -> Tensor:
    """Return the sum of the squares of the covariances of different columns, over the number of columns.

    Example:
        >>> covariance_term(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        tensor(4.)
    """
    centred = x - x.mean(0)
    # The squares of the products of columns have the sum of those of rows.
    total, own = _gram(centred).square().sum(), centred.square().sum(0).square().sum()
    return (total - own) / (max(len(x) - 1, 1) ** 2 * x.shape[1])


def dominance_term(x: Tensor, top: int = 5) -> Tensor:
    """Return minus the mean share of the `top` largest singular values in their sum.

    Example:
        >>> dominance_term(torch.ones(7, 6))
        tensor(-0.2000)
    """
    return -_shares(x)[:top].mean().to(x.dtype)


def _gram(x: Tensor) -> Tensor:
    """Return the products of all rows, or of all columns where they are fewer."""
    return x.t() @ x if len(x) > x.shape[1] else x @ x.t()


def _shares(x: Tensor) -> Tensor:
    """Return the singular values over their sum, descending, float64.

    They are roots of the eigenvalues of the smaller Gram matrix, which is much faster than to decompose x.
    """
    squares = torch.linalg.eigvalsh(_gram(x.double())).flip(0)
    # The root has no finite derivative at 0.
    values = squares.clamp(min=1e-24).sqrt()
    shares: Tensor = values / values.sum().clamp(min=1e-12)
    return shares


class Adapter(ViewNetwork):
    """Features smoothed twice, F, that do not change, plus a perceptron of them; a linear map gives the logits.

    Args:
        num_features: Number of features.
        hidden: Width of the perceptron, whose last layer is 0 at first.
        num_classes: Number of classes.
        scale: Factor of the perceptron.
        dropout: Probability of dropping an input of the linear map.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        num_features: int,
        hidden: int,
        num_classes: int,
        *,
        scale: float,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.first = Linear(num_features, hidden, bias=True, generator=generator)
        self.norm = torch.nn.BatchNorm1d(hidden)
        self.second = Linear(hidden, num_features, bias=True, generator=generator)
        torch.nn.init.zeros_(self.second.weight)
        self.last = Linear(num_features, num_classes, bias=True, generator=generator)
        self.scale, self.dropout = scale, dropout

    def forward(
        self,
        x: Tensor | SparseFeatures,
        view: View,
        generator: torch.Generator | None = None,
        transform: Transform | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits and the changed embeddings."""
        frozen = view.smoothed(2, 1.0)
        embedding = frozen + self.scale * self.second(F.relu(self.norm(self.first(frozen))))
        embedding = embedding if transform is None else transform(embedding)
        return self.last(dropout(embedding, self.dropout, generator)), embedding


class NMTune(Method):
    r"""Cross-entropy with three terms on embeddings G that were learned before, F: NMTune.

        consistency · MSE(G~ / |G~|, F / |F|) + covariance · sum_{i != j} C_ij^2 / d - dominance · mean_k s_k / sum s

    with G~ for a view without a share of arcs and features, C the covariance of the columns of G, s its singular values
    and k the five largest. F are the network's embeddings at the start: of the default network the smoothed features,
    which it never changes itself (`Adapter`); of a module of yours, those of the weights that it brings. The terms are
    computed on a random block of nodes. The mean square error is over nodes and columns, and so the smaller the wider
    embeddings are; with `per_row` it is multiplied by the width.

    Args:
        consistency: Weight of the distance to F.
        covariance: Weight of the covariances.
        dominance: Weight of the largest singular values.
        per_row: Whether the mean square error is a sum over columns.
        scale: Factor of the learned change in the default network.
        drop_arcs: Share of the arcs that the changed view lacks.
        mask_features: Share of the features that it lacks.
        block: Number of nodes of the terms in a step.

    Attributes:
        spectrum_: `Spectrum` of the embeddings before and after training.

    Raises:
        InputError: A setting out of its range.

    Source:
        Chen et al., "Understanding and Mitigating the Label Noise in Pre-training on Downstream Tasks", ICLR 2024,
        section 4; the changed view of a graph is ours. The publication has a width of 4 d, here it is `hidden`, and a
        learning rate of 0.001.
    """

    version = "2"
    needs_graph = True
    search = MappingProxyType({"consistency": (0.1, 10.0), "covariance": (0.0, 0.1)})
    frozen: Tensor

    def __init__(
        self,
        consistency: float = 1.0,
        covariance: float = 0.04,
        dominance: float = 0.001,
        per_row: bool = False,
        scale: float = 1.0,
        drop_arcs: float = 0.2,
        mask_features: float = 0.2,
        block: int = 256,
    ) -> None:
        super().__init__()
        self.consistency, self.covariance = (
            checks.real(name, value, 0.0) for name, value in (("consistency", consistency), ("covariance", covariance))
        )
        self.dominance, self.per_row = checks.real("dominance", dominance, 0.0), checks.flag("per_row", per_row)
        self.scale, self.block = checks.real("scale", scale), checks.integer("block", block, 2)
        self.drop_arcs, self.mask_features = (
            checks.rate(name, value) for name, value in (("drop_arcs", drop_arcs), ("mask_features", mask_features))
        )
        self.spectrum_: dict[str, Spectrum] = {}

    def default_network(
        self, num_features: int, hidden: int, num_classes: int, dropout: float, generator: torch.Generator
    ) -> torch.nn.Module:
        """Return fixed embeddings with a learned change."""
        return Adapter(num_features, hidden, num_classes, scale=self.scale, dropout=dropout, generator=generator)

    def setup(self, context: Context) -> None:
        """Keep the embeddings."""
        self.register_buffer("frozen", context.evaluate().embedding.detach().clone())
        self.spectrum_ = {"before": spectrum(self.frozen)}

    def terms(self, step: Step) -> Tensor | float:
        """Return the three terms of a random block of nodes."""
        context, batch = step.context, step.batch
        rows = sampled_rows(len(batch.nodes), self.block, context.generator)
        seen = augmented(batch.view, self.drop_arcs, self.mask_features, context.generator)
        changed = context.networks[step.network](seen, context.generator).embedding[rows]
        own, frozen = step.output.embedding[rows], self.frozen[batch.nodes[rows]]
        distance = F.mse_loss(F.normalize(changed), F.normalize(frozen))
        distance = distance * own.shape[1] if self.per_row else distance
        apart = self.covariance * covariance_term(own) + self.dominance * dominance_term(own)
        return self.consistency * distance + apart

    def end_epoch(self, context: Context) -> None:
        """Compute the spectrum after the last epoch."""
        if context.epoch == context.epochs:
            self.spectrum_["after"] = spectrum(context.evaluate().embedding)

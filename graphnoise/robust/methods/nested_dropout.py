"""Nested dropout of the embedding: its first dimensions learn what is general; alone, and with co-teaching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.robust.methods.two_networks import CoTeaching
from graphnoise.robust.training import Batch, Context, Method, Output


def width_probabilities(width: int, scale: float) -> Tensor:
    """Return P(k) proportional to exp(-(k / scale)^2), for k = 1 to `width`, float64.

    Example:
        >>> width_probabilities(4, 2.0).flip(0).cumsum(0).flip(0)       # P(a dimension is kept)
        tensor([1.0000, 0.3870, 0.0974, 0.0144], dtype=torch.float64)
    """
    return (-(torch.arange(1, width + 1, dtype=torch.float64) / scale).square()).softmax(0)


class NestedDropout(Method):
    r"""Each step keeps only the first k dimensions of the embedding, with P(k) proportional to exp(-(k / s)^2).

    The embedding is the input of the last layer. Dimensions are not rescaled. Predictions keep the k of the highest
    accuracy on the given validation labels less 1e-5 k, of the powers of 2 and the whole width (the paper tries every
    k); all dimensions without validation labels.

    Args:
        scale: s, in dimensions; the paper has 100 for widths of 512, and 10 for small problems.

    Attributes:
        width: k of predictions.

    Raises:
        InputError: A setting out of its range, or a model without a layer of torch_geometric or `torch.nn.Linear`.

    Source:
        Chen et al., "Boosting Co-teaching with Compression Regularization for Label Noise", CVPR workshops 2021.
    """

    search: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({"scale": (2.0, 100.0)})
    width: Tensor

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.scale = checks.real("scale", scale, 1e-3, 1e6)

    def setup(self, context: Context) -> None:
        """Start with all dimensions."""
        self.register_buffer("width", torch.tensor(context.evaluate().embedding.shape[1]))

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of each network for a batch, all with the same k."""
        drawn = float(torch.rand((), generator=context.generator, device=context.generator.device))

        def dropped(embedding: Tensor) -> Tensor:
            chances = width_probabilities(embedding.shape[1], self.scale).cumsum(0)
            return first_dimensions(int((chances < drawn).sum()) + 1)(embedding)

        return [network(batch.view, context.generator, dropped) for network in context.networks]

    def end_epoch(self, context: Context) -> None:
        """Choose k."""
        if not len(context.val):
            return
        full, best = context.evaluate().embedding.shape[1], -1.0
        for k in [*(2**i for i in range(full.bit_length()) if 2**i < full), full]:
            right = self._mean(context, context.full, k)[context.val].argmax(1) == context.val_given
            score = float(right.double().mean()) - 1e-5 * k
            if score > best:
                best = score
                self.width.fill_(k)

    def predict(self, context: Context, view: object) -> Tensor:
        """Return class probabilities of the view's nodes, from the chosen dimensions."""
        return self._mean(context, view, int(self.width))

    def _mean(self, context: Context, view: object, k: int) -> Tensor:
        """Return the mean of the networks' probabilities from the first k dimensions."""
        outputs = [network(view, None, first_dimensions(k)) for network in context.networks]
        return torch.stack([output.logits.softmax(1) for output in outputs]).mean(0)


class NestedCoTeaching(NestedDropout, CoTeaching):
    r"""`NestedDropout` of two networks that are trained by `CoTeaching`, both with the same k in a step.

    The k of predictions is that of the highest accuracy of the mean prediction. On (user, item) pairs the method gives
    vectors whose first dimensions serve alone (`recsys.RobustFactorization.truncated`).

    Args:
        rate: Share of the labels that is wrong. None: that of `GraphGP`, fitted to the labelled nodes once. The paper
            has 0.3 for fine-tuning.
        ramp: Epochs until the whole rate is left out; 1 for fine-tuning.
        balanced: Whether the share is that of each class, or of all labelled nodes.
        scale: s, in dimensions.

    Attributes:
        width: k of predictions.
        rate_: The rate used.

    Raises:
        InputError: A setting out of its range, or a model without a layer of torch_geometric or `torch.nn.Linear`.

    Source:
        Chen et al., "Boosting Co-teaching with Compression Regularization for Label Noise", CVPR workshops 2021; at
        least one label of each class is an addition.
    """

    search: ClassVar[dict[str, tuple[float, float]]] = {"rate": (0.0, 0.6), "scale": (2.0, 100.0)}

    def __init__(self, rate: float | None = None, ramp: int = 10, balanced: bool = True, scale: float = 10.0) -> None:
        CoTeaching.__init__(self, rate, ramp, balanced)
        self.scale = checks.real("scale", scale, 1e-3, 1e6)

    def setup(self, context: Context) -> None:
        """Start with all dimensions, and estimate the rate where it is not given."""
        NestedDropout.setup(self, context)
        CoTeaching.setup(self, context)


def first_dimensions(k: int) -> Callable[[Tensor], Tensor]:
    """Return a function that sets all but the first k columns of a matrix to 0."""
    return lambda x: x * (torch.arange(x.shape[1], device=x.device) < k)

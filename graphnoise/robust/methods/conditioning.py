"""Predictions conditioned on the quality of labels: the head reads a level of credibility."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn import Linear
from graphnoise.robust.methods.adapters import credibilities_of
from graphnoise.robust.methods.correction import out_of_fold
from graphnoise.robust.training import Batch, Context, Method, Output


def uniform_bins(scores: Tensor, count: int) -> Tensor:
    """Return the bin of each score, from 0 to count - 1: bins of equal width over the range of the scores.

    Example:
        >>> uniform_bins(torch.tensor([0.0, 0.1, 0.2, 0.9, 1.0]), 8)
        tensor([0, 0, 1, 7, 7])
    """
    low, high = scores.min(), scores.max()
    if not high > low:
        return torch.full(scores.shape, count - 1, device=scores.device)
    return ((scores - low) / (high - low) * count).long().clamp(max=count - 1)


class QualityConditioning(Method):
    r"""The head also reads how credible the label of a node is, and predictions are those for the most credible ones.

    The credibilities of labelled nodes fall into `bins` bins of equal width over their range. A perceptron reads the
    network's logits, its embedding, and a learned vector of the bin, which message passing never sees, and its outputs,
    0 at first, are added to the logits; unlabelled nodes have no vector in training. Predictions have the vector of
    `predict_bin` for every node. Without a hidden layer the bin would only move the prior of the classes.

    The bin of predictions needs labels of every class: it is a class without any that predictions lose.

    Args:
        credibility: Credibilities of the labelled nodes, in [0, 1] (1: surely right), or a function that returns them,
            see `Drop`. None: the rank, within its class, of the out-of-fold probability of the given label by logistic
            regression on smoothed features, so that no label speaks for itself, and every bin has labels of all classes
            that have enough of them.
        bins: Number of bins.
        width: Length of the vectors of bins.
        hidden_width: Width of the hidden layer of the head.
        predict_bin: Bin of predictions; None: the most credible one, bins - 1. The released code has the worst, 0.

    Raises:
        InputError: A setting out of its range.

    Example:
        >>> QualityConditioning(torch.tensor([0.9, 0.2]), bins=4)
        QualityConditioning(bins=4, width=16, hidden_width=64, predict_bin=None)

    Source:
        Kang et al., "Noise-aware Learning from Web-crawled Image-Text Data for Image Captioning" (NoC), ICCV 2023; the
        head of a graph neural network is ours.
    """

    version = "2"
    # Vectors of pairs do not contain the head.
    needs_graph = True
    bin: Tensor

    def __init__(
        self,
        credibility: Any = None,
        bins: int = 8,
        width: int = 16,
        hidden_width: int = 64,
        predict_bin: int | None = None,
    ) -> None:
        super().__init__()
        self.credibility: Tensor | Callable[..., Any] | None = credibility
        self.bins, self.width = checks.integer("bins", bins, 2, 10_000), checks.integer("width", width, 1)
        self.hidden_width = checks.integer("hidden_width", hidden_width, 1)
        self.predict_bin = None if predict_bin is None else checks.integer("predict_bin", predict_bin, 0, bins - 1)

    def settings(self) -> dict[str, Any]:
        """Return the settings; the credibility only where there is none."""
        return {k: v for k, v in super().settings().items() if k != "credibility" or v is None}

    def setup(self, context: Context) -> None:
        """Compute the bins, and make the head."""
        output, size = context.evaluate(), context.num_classes
        given = self.credibility
        scores = _own_ranks(context) if given is None else credibilities_of(given, context)
        self.register_buffer("bin", uniform_bins(scores.to(context.given.device), self.bins))
        width, generator = output.embedding.shape[1] + size + self.width, context.generator
        self.codes = torch.nn.Parameter(
            torch.randn(self.bins, self.width, generator=generator, device=generator.device)
        )
        self.first = Linear(width, self.hidden_width, bias=True, generator=generator).to(output.logits.device)
        self.last = Linear(self.hidden_width, size, bias=True, generator=generator).to(output.logits.device)
        torch.nn.init.zeros_(self.last.weight)

    def head(self, output: Output, codes: Tensor) -> Tensor:
        """Return the logits of rows with these vectors of bins."""
        shift: Tensor = self.last(F.relu(self.first(torch.cat([output.embedding, output.logits, codes], 1))))
        return output.logits + shift

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs for a batch, labelled nodes with their bins."""
        out = []
        for output in super().forward(context, batch):
            codes = self.codes.new_zeros(len(output.logits), self.width).index_copy(
                0, batch.at, self.codes[self.bin[batch.rows]]
            )
            out.append(Output(self.head(output, codes), output.embedding))
        return out

    def predict(self, context: Context, view: object) -> Tensor:
        """Return class probabilities of the view's nodes, all with the bin of predictions."""
        code = self.codes[self.bins - 1 if self.predict_bin is None else self.predict_bin]
        outputs = context.evaluate_view(view)
        logits = [self.head(output, code.expand(len(output.logits), -1)) for output in outputs]
        return torch.stack(logits).softmax(2).mean(0)


def _own_ranks(context: Context) -> Tensor:
    """Return the rank in (0, 1], within its class, of the out-of-fold probability of each given label.

    It is 1 everywhere where classes are too small to tell.
    """
    codes = np.unique(context.given.cpu().numpy(), return_inverse=True)[1]
    ranks = np.ones(len(codes), dtype=np.float32)
    if (np.bincount(codes) > 1).sum() >= 2:
        p = out_of_fold(context, codes, 5)[np.arange(len(codes)), codes]
        for code in range(codes.max() + 1):
            members = codes == code
            ranks[members] = rankdata(p[members], "max") / members.sum()
    return torch.from_numpy(ranks)

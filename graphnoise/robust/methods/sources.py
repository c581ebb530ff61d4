"""Confidence of labels from several sources, and training with labels weighted by it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.propagation import propagate
from graphnoise.robust.methods.adapters import MIN_WEIGHT
from graphnoise.robust.methods.correction import out_of_fold
from graphnoise.robust.training import Context, Method, Step
from graphnoise.typing import Ints

# Bounds of the accuracy of a source.
MIN_ACCURACY, MAX_ACCURACY = 0.05, 0.95
ALPHA, STEPS = 0.9, 10


def source_confidence(
    sources: Sequence[Any], given: Any, *, accuracies: Sequence[float] | None = None, trusted: Any = None
) -> Tensor:
    r"""Return how likely each given label is right, by several sources of labels.

    Of C classes, source m says p_m (its label one-hot, or probabilities) and is right with probability acc_m:

        c_i = softmax(Σ_m κ_m p_m,i)[given_i],   κ_m = log(acc_m (C - 1) / (1 - acc_m))

    For one-hot votes this is the posterior of independent annotators whose errors are uniform, so that a source of
    accuracy 1 / C changes nothing, and one below it speaks against what it says. A source should not have seen the
    given label of a node that it judges: predictions out of fold, and not propagation of that very label.

    Args:
        sources: Class probabilities by each source, shape [n, C] each; the given labels are one if they are among
            them. For pairs of users and items, such as dwell time, repetition and similar items, C = 2.
        given: Given labels, from 0, shape [n].
        accuracies: Accuracy of each source, in [0, 1]; they are clipped to [0.05, 0.95]. None: how often its most
            probable class is right on trusted rows, or, without these, that of most sources.
        trusted: Rows whose given label is surely right, Boolean or positions; their confidence is 1.

    Returns:
        Confidences, float64, shape [n].

    Raises:
        InputError: No source, or arguments that do not fit together.

    Example:
        >>> votes = np.eye(5)[[0, 0]]
        >>> source_confidence([votes], [0, 1], accuracies=[0.8])
        tensor([0.8000, 0.0500], dtype=torch.float64)

    Source:
        In the spirit of noise-aware training, where the confidence of each weak label weighs its loss; the formula is
        derived here.
    """
    p = _probabilities(sources)
    if not p or len({part.shape for part in p}) > 1:
        checks.fail("sources", "at least one source, all of one shape", [tuple(part.shape) for part in p])
    size, classes = p[0].shape
    y = checks.tensor("given", given).cpu()
    if y.dtype.is_floating_point or y.shape != (size,) or (size and not 0 <= int(y.min()) <= int(y.max()) < classes):
        checks.fail("given", f"{size} labels from 0 to {classes - 1}", f"{y.dtype} of shape {tuple(y.shape)}")
    y = y.long()
    if classes < 2:
        checks.fail("sources", "at least two classes", classes)
    sure = None if trusted is None else checks.mask("trusted", trusted, size).cpu()
    if accuracies is None:
        votes = [_vote(part) for part in p]
        # Of as many votes, the larger probabilities decide.
        majority = (torch.stack(votes).sum(0) + 1e-3 * torch.stack(p).sum(0)).argmax(1)
        known = sure is not None and bool(sure.any())
        acc = [_accuracy(vote[sure], y[sure]) if known else _accuracy(vote, majority) for vote in votes]
    else:
        acc = _rates(accuracies)
        if len(acc) != len(p):
            checks.fail("accuracies", f"{len(p)} numbers, one per source", len(acc))
    limited = np.clip(acc, MIN_ACCURACY, MAX_ACCURACY)
    kappa = np.log(limited * (classes - 1) / (1 - limited))
    evidence = sum(float(k) * part for k, part in zip(kappa, p, strict=True))
    assert isinstance(evidence, Tensor)
    confidence = evidence.softmax(1).gather(1, y.unsqueeze(1)).squeeze(1)
    return confidence if sure is None else torch.where(sure, 1.0, confidence)


def _probabilities(sources: object) -> list[Tensor]:
    listed = _listed("sources", "matrices of probabilities", sources)
    return [checks.probabilities(f"sources[{m}]", source).detach().cpu() for m, source in enumerate(listed)]


def _rates(accuracies: object) -> list[float]:
    listed = _listed("accuracies", "numbers", accuracies)
    return [checks.rate(f"accuracies[{m}]", value) for m, value in enumerate(listed)]


def _listed(name: str, expected: str, values: Any) -> list[Any]:
    if not isinstance(values, Sequence) and not (isinstance(values, np.ndarray | Tensor) and values.ndim):
        checks.fail(name, f"a list of {expected}", type(values).__name__)
    return list(values)


def _vote(p: Tensor) -> Tensor:
    """Return the most probable class, one-hot; uniform rows, which say nothing, stay."""
    says = (p.max(1).values > p.min(1).values + 1e-9).unsqueeze(1)
    return torch.where(says, F.one_hot(p.argmax(1), p.shape[1]).double(), p)


def _accuracy(votes: Tensor, right: Tensor) -> float:
    says = votes.max(1).values > votes.min(1).values
    own = votes.gather(1, right.unsqueeze(1)).squeeze(1)[says]
    # A source that says nothing has no weight, whatever its accuracy.
    return float(own.mean()) if len(own) else 0.5


class NAT(Method):
    r"""Training with labels weighted by the confidence that several sources have in them, see `source_confidence`.

    Without `sources`, these are the given label, label propagation from the other folds of the labelled nodes, and SGC
    out of fold, so that no label speaks for itself twice.

    Args:
        sources: Class probabilities of the labelled nodes by each source, shape [num_labelled, num_classes] each.
        accuracies: Accuracy of each source. None: estimated by agreement, or on trusted nodes.
        trusted: Which of the labelled nodes have surely right labels, Boolean or positions.
        folds: Number of folds where there are no `sources`.

    Raises:
        InputError: An argument out of its range, or sources of other nodes or classes.

    Example:
        >>> from graphnoise.datasets import planted_partition
        >>> from graphnoise.robust import RobustGNN
        >>> data = planted_partition([30, 30], 0.3, 0.05, num_features=4, split=(10, 10, 20), seed=0)
        >>> RobustGNN(NAT(folds=2), epochs=5, seed=0).fit(data).predict(data).shape
        torch.Size([60])

    Source:
        In the spirit of noise-aware training; sources and formula are ours.
    """

    needs_graph = True
    confidence: Tensor

    def __init__(
        self,
        sources: Sequence[Any] | None = None,
        accuracies: Sequence[float] | None = None,
        trusted: Any = None,
        folds: int = 5,
    ) -> None:
        super().__init__()
        self.sources = None if sources is None else _probabilities(sources)
        self.accuracies = None if accuracies is None else _rates(accuracies)
        self.trusted = None if trusted is None else checks.tensor("trusted", trusted)
        self.folds = checks.integer("folds", folds, 2)

    def setup(self, context: Context) -> None:
        """Compute the confidences.

        Raises:
            InputError: Sources that are not of the labelled nodes and classes.
        """
        sources = self._sources(context) if self.sources is None else self.sources
        expected = (len(context.given), context.num_classes)
        for m, source in enumerate(sources):
            if tuple(source.shape) != expected:
                checks.fail(f"sources[{m}]", f"probabilities of shape {expected}", tuple(source.shape))
        confidence = source_confidence(sources, context.given, accuracies=self.accuracies, trusted=self.trusted)
        self.register_buffer("confidence", confidence.float().to(context.given.device))

    def _sources(self, context: Context) -> list[Tensor]:
        one_hot = F.one_hot(context.given, context.num_classes).double().cpu()
        present, codes = torch.unique(context.given, return_inverse=True)
        if int((torch.bincount(codes) > 1).sum()) < 2:
            return [one_hot]
        sgc = torch.zeros_like(one_hot)
        sgc[:, present.cpu()] = torch.from_numpy(out_of_fold(context, codes.cpu().numpy(), self.folds)).double()
        others = propagated_from_others(context, codes.cpu().numpy(), self.folds)
        # As votes: probabilities of few labels are hardly above each other.
        return [one_hot, _vote(others), _vote(sgc)]

    def weights(self, step: Step) -> Tensor:
        """Return the confidences."""
        return self.confidence[step.rows].clamp(min=MIN_WEIGHT)


def propagated_from_others(context: Context, codes: Ints, folds: int) -> Tensor:
    """Return the class shares that labels of other folds propagate to each labelled node, uniform where none arrive.

    Args:
        context: The state of training.
        codes: The given labels as positions of classes, by which the folds are divided evenly.
        folds: Number of folds.
    """
    one_hot = F.one_hot(context.given, context.num_classes).double()
    out = torch.full_like(one_hot, 1 / context.num_classes)
    seed = int(torch.randint(2**31, (1,), generator=context.generator, device=context.generator.device))
    splits = StratifiedKFold(min(folds, int(np.bincount(codes).max())), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of classes with fewer labels than folds.
        warnings.simplefilter("ignore")
        parts = list(splits.split(codes, codes))
    for seen, hidden in parts:
        labels = torch.zeros(context.full.num_nodes, context.num_classes, device=one_hot.device)
        labels[context.labelled[seen]] = one_hot[seen].float()
        arrived = propagate(context.full.graph, labels, alpha=ALPHA, num_steps=STEPS).y[context.labelled[hidden]]
        total = arrived.sum(1, keepdim=True).double()
        out[hidden] = torch.where(total > 1e-9, arrived.double() / total.clamp(min=1e-9), out[hidden])
    return out.cpu()

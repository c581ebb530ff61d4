"""Graph Gaussian process as a method of the benchmark."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.bench.methods.problem import Problem, Trial
from graphnoise.robust import GraphGP
from graphnoise.robust.smoothing import SmoothedFeatures


class GGP:
    """Graph Gaussian process under a learned transition matrix, `graphnoise.robust.GraphGP`.

    Args:
        val_labels: Whether validation labels count as training labels.
    """

    version = "1"
    stochastic = False

    def __init__(self, val_labels: bool = True) -> None:
        self.val_labels = checks.flag("ggp.val_labels", val_labels)

    def fit_predict(self, trial: Trial) -> Tensor:
        """Fit on the labelled nodes; where noise has left one class, it is predicted."""
        problem, (nodes, labels) = trial.problem, trial.given(self.val_labels)
        if (scores := trial.single_class(labels)) is not None:
            return scores
        model = GraphGP(val_labels=self.val_labels)
        smoothed = _smoothed(problem, self.val_labels, tuple(model.hops))
        present, codes = np.unique(labels.numpy(), return_inverse=True)
        model._fit(smoothed, nodes, codes, len(present))
        out = torch.zeros(problem.num_nodes, problem.num_classes, dtype=torch.float64)
        out[:, present] = model._probabilities(smoothed)
        return out


@functools.lru_cache(maxsize=2)
def _smoothed(problem: Problem, val_labels: bool, hops: tuple[int, ...]) -> SmoothedFeatures:
    """Return the smoothed features, computed once per problem."""
    nodes = torch.cat([problem.train, problem.val]) if val_labels else problem.train
    return SmoothedFeatures(problem.normalised, problem.looped, hops, nodes)

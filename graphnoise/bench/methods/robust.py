"""Graph Gaussian process as a method of the benchmark."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.bench.methods.problem import Problem, Trial
from graphnoise.robust import GraphGP
from graphnoise.robust.smoothing import SmoothedFeatures
from graphnoise.typing import Ints


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
        problem = trial.problem
        if (scores := trial.single_class(trial.given(self.val_labels)[1])) is not None:
            return scores
        model, smoothed, present = _fitted(trial, self.val_labels)
        out = torch.zeros(problem.num_nodes, problem.num_classes, dtype=torch.float64)
        out[:, present] = model._probabilities(smoothed)
        return out


def with_corrected_labels(trial: Trial) -> Trial:
    """Return the trial with the likeliest class by `GraphGP` as the label of each training and validation node.

    `GraphGP` is fitted to the given labels of all of them; where these are of one class, they stay.
    """
    nodes, labels = trial.given(val_labels=True)
    if trial.single_class(labels) is not None:
        return trial
    model, _, present = _fitted(trial, val_labels=True)
    y = trial.y.clone()
    y[nodes] = torch.from_numpy(present[model.posterior_.argmax(1)])
    return replace(trial, y=y)


def _fitted(trial: Trial, val_labels: bool) -> tuple[GraphGP, SmoothedFeatures, Ints]:
    """Return a `GraphGP` fitted to the given labels, of two or more classes, its inputs, and the classes present."""
    nodes, labels = trial.given(val_labels)
    model = GraphGP(val_labels=val_labels)
    smoothed = _smoothed(trial.problem, val_labels, tuple(model.hops))
    present, codes = np.unique(labels.numpy(), return_inverse=True)
    model._fit(smoothed, nodes, codes, len(present))
    return model, smoothed, present


@functools.lru_cache(maxsize=2)
def _smoothed(problem: Problem, val_labels: bool, hops: tuple[int, ...]) -> SmoothedFeatures:
    """Return the smoothed features, computed once per problem."""
    nodes = torch.cat([problem.train, problem.val]) if val_labels else problem.train
    return SmoothedFeatures(problem.normalised, problem.looped, hops, nodes)

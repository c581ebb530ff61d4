"""Graph Gaussian process as a method of the benchmark."""

from __future__ import annotations

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
        smoothed = _smoothed(problem, nodes, tuple(model.hops))
        present = labels.unique()
        codes = labels.new_full((problem.num_classes,), -1).index_copy(0, present, labels.new_tensor(range(len(present))))
        model._fit(smoothed, nodes, codes[labels].numpy(), len(present))
        out = labels.new_zeros(problem.num_nodes, problem.num_classes).double()
        out[:, present] = model._probabilities(smoothed)
        return out


def _smoothed(problem: Problem, nodes: Tensor, hops: tuple[int, ...]) -> SmoothedFeatures:
    """Return the smoothed features, computed once per problem and number of labelled nodes."""
    cache = problem.__dict__.setdefault("_smoothed_rows", {})
    key = (hops, len(nodes))
    if key not in cache:
        cache[key] = SmoothedFeatures(problem.normalised, problem.looped, hops, nodes)
    return cache[key]

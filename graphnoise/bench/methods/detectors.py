"""Detectors of wrong labels for `bench detect`: the contract of a detector, and those of this package.

A detector is a class with a class attribute `version` (change it whenever results change), an `__init__` whose keyword
arguments are the hyper-parameters, each with a default, and

    detect(trial: Trial) -> Detection

A distribution adds detectors through the entry-point group `graphnoise.detectors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise import checks
from graphnoise.audit import LabelPosterior, crossfit, detect, label_posterior
from graphnoise.audit.detect.neighbours import neighbour_labels, own_shares, propagated_labels
from graphnoise.audit.out_of_fold import MODELS
from graphnoise.graph import Graph
from graphnoise.nn.features import row_normalised
from graphnoise.noise import confident_errors, confident_joint, transition_from_joint
from graphnoise.noise.confident import RULES
from graphnoise.robust import GraphGP
from graphnoise.robust.smoothing import SmoothedFeatures
from graphnoise.typing import Floats, Ints

Result = TypeVar("Result")
# Of label propagation, here and in the ensemble.
LP_ALPHA, LP_STEPS = 0.9, 10


@dataclass(eq=False)
class Trial:
    """Given labels that are to be checked. The true labels are not in it.

    Attributes:
        graph: The graph.
        features: Features, float32, shape [num_nodes, num_features], of which there may be none.
        y: Given labels, -1 where a node has none, int64, shape [num_nodes].
        seed: Seed of what is random.
        reused: Seconds that what was taken from `shared` had taken to compute.
    """

    graph: Graph
    features: Tensor
    y: Tensor
    seed: int
    reused: float = 0.0
    _stored: dict[Any, tuple[Any, float]] = field(default_factory=dict)

    @property
    def x(self) -> Tensor:
        """The features; refused where there are none."""
        if not self.features.shape[1]:
            checks.fail("data.x", "features, which this detector reads", "none")
        return self.features

    @property
    def nodes(self) -> Ints:
        """Positions of the labelled nodes, ascending."""
        return np.flatnonzero(self.y.numpy() >= 0)

    @property
    def given(self) -> Ints:
        """Labels of the labelled nodes."""
        return self.y.numpy()[self.nodes]

    @property
    def present(self) -> Ints:
        """The classes that some label has, sorted: columns of probabilities and of transition matrices."""
        return np.unique(self.given)

    @property
    def codes(self) -> Ints:
        """Positions of all nodes' labels in `present`, -1 where a node has none."""
        y = self.y.numpy()
        return np.where(y >= 0, np.searchsorted(self.present, y), -1)

    def copy(self) -> Trial:
        """Return a trial that shares no memory with this one."""
        graph = Graph.from_edge_index(self.graph.edge_index.clone(), self.graph.num_nodes)
        return Trial(graph, self.features.clone(), self.y.clone(), self.seed)

    def shared(self, key: Any, compute: Callable[[], Result]) -> Result:
        """Return what several detectors of a trial need, computed once."""
        if key in self._stored:
            self.reused += self._stored[key][1]
        else:
            began = time.perf_counter()
            self._stored[key] = compute(), time.perf_counter() - began
        result: Result = self._stored[key][0]
        return result

    def probabilities(self, model: str, folds: int, draw: int = 0) -> Floats:
        """Return out-of-fold probabilities of `audit.crossfit`, columns as `present`; other folds for each draw."""
        settings: dict[str, Any] = {"model": model, "folds": folds, "seed": self.seed + 10**6 * draw}
        return self.shared((model, folds, draw), lambda: crossfit(self.graph, self.y, self.x, **settings))

    def posterior(self, features: bool = True) -> LabelPosterior:
        """Return `audit.label_posterior`, with features or without."""
        return self.shared(
            ("posterior", features),
            lambda: label_posterior(self.graph, self.y, self.x if features else None, seed=self.seed),
        )


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector says of the labelled nodes, in ascending order.

    Attributes:
        credibility: From 0 to 1 (surely right), shape [num_labelled].
        flagged: Which labels it takes for wrong, Boolean, shape [num_labelled]; None: those of credibility below 0.5.
        labels: Labels that it would put in place of the given ones, the same where it would not change them, shape
            [num_labelled]; None: it suggests none.
        probability: Whether the credibility is a probability that the label is right.
        rate: Estimated share of wrong labels; None: 1 minus the mean credibility if that is a probability.
        transition: Estimated T[c, j] = P(given j | true c) over `Trial.present`.
    """

    credibility: NDArray[Any]
    flagged: NDArray[np.bool_] | None = None
    labels: NDArray[Any] | None = None
    probability: bool = False
    rate: float | None = None
    transition: NDArray[Any] | None = None


class Detector(Protocol):
    """What the benchmark needs of a detector."""

    version: str

    def detect(self, trial: Trial) -> Detection:
        """Return what it says of the labelled nodes."""


class SelfConfidence:
    """Probability of the given label out of sample; flagged where another class has more: confident learning.

    Rate and transition matrix are those of the confident joint.

    Args:
        folds: Number of folds.
        model: Model of `audit.crossfit`.
    """

    version = "1"
    name = "self-confidence"

    def __init__(self, folds: int = 5, model: str = "sgc") -> None:
        self.folds = checks.integer(f"{self.name}.folds", folds, 2)
        self.model = checks.choice(f"{self.name}.model", model, MODELS)

    def score(self, probabilities: Floats, y: Tensor) -> Floats:
        """Return the credibility."""
        return detect.self_confidence(probabilities, y)

    def detect(self, trial: Trial) -> Detection:
        """Predict the labels out of sample."""
        p, given = trial.probabilities(self.model, self.folds), trial.given
        predicted = trial.present[p[trial.nodes].argmax(1)]
        codes = np.searchsorted(trial.present, given)
        # A class that nobody is confident of would have no row.
        estimate = transition_from_joint(confident_joint(p[trial.nodes], codes), codes, smoothing=1e-6)
        assert estimate.prior is not None
        rate, matrix = estimate.transition.expected_rate(estimate.prior), estimate.transition.matrix.numpy()
        return Detection(self.score(p, trial.y), predicted != given, predicted, rate=rate, transition=matrix)


class SelfConfidenceGCN(SelfConfidence):
    """`SelfConfidence` with a graph convolutional network."""

    name = "self-confidence-gcn"

    def __init__(self, folds: int = 5, model: str = "gcn") -> None:
        super().__init__(folds, model)


class Margin(SelfConfidence):
    """`SelfConfidence` with the normalised margin as credibility."""

    name = "margin"

    def score(self, probabilities: Floats, y: Tensor) -> Floats:
        """Return the credibility."""
        return detect.normalised_margin(probabilities, y)


class ConfidentJoint(SelfConfidence):
    """Confident learning: flags by a rule of `noise.confident_errors`, the adjusted margin as credibility.

    Args:
        folds: Number of folds.
        model: Model of `audit.crossfit`.
        rule: The rule.
    """

    name = "confident-joint"

    def __init__(self, folds: int = 5, model: str = "sgc", rule: str = "noise_rate") -> None:
        super().__init__(folds, model)
        self.rule = checks.choice("confident-joint.rule", rule, RULES)

    def detect(self, trial: Trial) -> Detection:
        """Count the confident joint, and prune by it."""
        detection, p = super().detect(trial), trial.probabilities(self.model, self.folds)
        flagged = confident_errors(p[trial.nodes], np.searchsorted(trial.present, trial.given), self.rule)
        assert detection.labels is not None
        labels = np.where(flagged, detection.labels, trial.given)
        return replace(detection, credibility=detect.adjusted_margin(p, trial.y), flagged=flagged, labels=labels)


class Disagreement:
    """`audit.detect.disagreement` of unlike models, out of fold; flagged where most models have another class.

    The models are a perceptron on the features, label propagation without a node's own label, SGC, a GCN and a GAT.

    Args:
        folds: Number of folds.
        draws: Number of draws of the folds and the weights, for all but label propagation.
    """

    version = "2"

    def __init__(self, folds: int = 5, draws: int = 2) -> None:
        self.folds = checks.integer("disagreement.folds", folds, 2)
        self.draws = checks.integer("disagreement.draws", draws, 1, 1000)

    def detect(self, trial: Trial) -> Detection:
        """Let the models vote."""
        p = [trial.probabilities(model, self.folds, draw) for model in MODELS for draw in range(self.draws)]
        received = np.zeros((len(trial.y), len(trial.present))) + 1e-12
        received[trial.nodes] += propagated_labels(trial.graph, trial.codes, len(trial.present), LP_ALPHA, LP_STEPS)
        p.append(received / received.sum(1, keepdims=True))
        credibility, votes = detect.disagreement(trial.y, *p), detect.vote_shares(*p)[trial.nodes]
        labels = np.where(credibility < 0.5, trial.present[votes.argmax(1)], trial.given)
        return Detection(credibility, labels=labels)


class Credibility:
    """`audit.detect.neighbour_credibility`.

    Args:
        num_neighbours: Number of nearest nodes.
        view: "features", "structure" or "both".
    """

    version = "2"

    def __init__(self, num_neighbours: int = 10, view: str = "both") -> None:
        self.num_neighbours = checks.integer("credibility.num_neighbours", num_neighbours, 1)
        self.view = checks.choice("credibility.view", view, ("features", "structure", "both"))

    def detect(self, trial: Trial) -> Detection:
        """Compare labels with those of the nearest nodes."""
        settings: dict[str, Any] = {"num_neighbours": self.num_neighbours, "view": self.view}
        x = None if self.view == "structure" else trial.x
        return Detection(detect.neighbour_credibility(trial.graph, trial.y, x, **settings))


class LossMixture(SelfConfidence):
    """Mixture of two distributions of the cross-entropy out of sample; arguments as of `SelfConfidence`."""

    name = "loss-mixture"

    def detect(self, trial: Trial) -> Detection:
        """Fit the mixture."""
        p = trial.probabilities(self.model, self.folds)
        return _predicting(trial, detect.loss_mixture(p, trial.y), p, probability=True)


class GraphCleaner(SelfConfidence):
    """`audit.detect.graphcleaner`; folds and model as of `SelfConfidence`.

    Args:
        folds: Number of folds.
        model: Model of `audit.crossfit`.
        hops: Greatest distance of its features.
        rate: Share of synthetic wrong labels.
    """

    name = "graphcleaner"

    def __init__(self, folds: int = 5, model: str = "sgc", hops: int = 3, rate: float = 0.1) -> None:
        super().__init__(folds, model)
        self.hops, self.rate = checks.integer("graphcleaner.hops", hops, 0, 100), checks.rate("graphcleaner.rate", rate)

    def detect(self, trial: Trial) -> Detection:
        """Fit the classifier of synthetic wrong labels."""
        p = trial.probabilities(self.model, self.folds)
        settings: dict[str, Any] = {"hops": self.hops, "rate": self.rate, "seed": trial.seed}
        return _predicting(trial, detect.graphcleaner(trial.graph, p, trial.y, **settings), p)


class Neighbours:
    """`audit.detect.neighbour_agreement`; flagged where neighbours have another label most often, which it suggests."""

    version = "1"

    def detect(self, trial: Trial) -> Detection:
        """Compare labels with those of neighbours."""
        return _received(trial, neighbour_labels(trial.graph, trial.codes, len(trial.present)))


class LP:
    """`audit.detect.label_propagation`; flagged where most of another label arrives, which it suggests.

    Args:
        alpha: Weight of the neighbours.
        steps: Number of steps.
    """

    version = "1"

    def __init__(self, alpha: float = LP_ALPHA, steps: int = LP_STEPS) -> None:
        self.alpha, self.steps = checks.rate("lp.alpha", alpha), checks.integer("lp.steps", steps, 0, 1000)

    def detect(self, trial: Trial) -> Detection:
        """Propagate the labels of all others."""
        received = propagated_labels(trial.graph, trial.codes, len(trial.present), self.alpha, self.steps)
        return _received(trial, received)


class ICGNN:
    """`audit.detect.influence_contradiction`.

    Args:
        alpha: Weight of the neighbours.
        per_class: Whether the influence of a class is the mean over its nodes.
    """

    version = "1"

    def __init__(self, alpha: float = 0.85, per_class: bool = True) -> None:
        self.alpha = checks.real("icgnn.alpha", alpha, 0.0, 0.999)
        self.per_class = checks.flag("icgnn.per_class", per_class)

    def detect(self, trial: Trial) -> Detection:
        """Compute the influence of other labels."""
        settings: dict[str, Any] = {"alpha": self.alpha, "per_class": self.per_class}
        return Detection(detect.influence_contradiction(trial.graph, trial.y, **settings), probability=True)


class GGP:
    """`robust.GraphGP`, fitted to all labelled nodes: the posterior of the given label."""

    version = "1"

    def detect(self, trial: Trial) -> Detection:
        """Fit the model."""
        x, nodes = row_normalised(trial.x), torch.from_numpy(trial.nodes)
        codes, model = np.searchsorted(trial.present, trial.given), GraphGP(seed=trial.seed)
        smoothed = SmoothedFeatures(x, trial.graph.with_self_loops().normalise("sym"), model.hops, nodes)
        model._fit(smoothed, nodes, codes, len(trial.present))
        return _posterior(trial, model.posterior_, model.transition_.matrix.numpy())


class Posterior:
    """`audit.label_posterior`.

    Args:
        features: Whether features are read; None: yes. Otherwise it is belief propagation on the labels alone.
    """

    version = "1"

    def __init__(self, features: bool | None = None) -> None:
        self.features = features is None or checks.flag("posterior.features", features)

    def detect(self, trial: Trial) -> Detection:
        """Fit the model."""
        result = trial.posterior(self.features)
        return _posterior(trial, result.probability[trial.nodes], result.transition.matrix.numpy())


class RankAverage:
    """Mean rank of `Posterior` and `SelfConfidence`; flags as many as `Posterior`, with its labels.

    Args:
        folds: Number of folds of `SelfConfidence`.
    """

    version = "1"

    def __init__(self, folds: int = 5) -> None:
        self.folds = checks.integer("rank-average.folds", folds, 2)

    def detect(self, trial: Trial) -> Detection:
        """Rank the labels by both."""
        detection = Posterior().detect(trial)
        confidence = detect.self_confidence(trial.probabilities("sgc", self.folds), trial.y)
        credibility = detect.rank_average(detection.credibility, confidence)
        flagged = np.zeros(len(credibility), dtype=bool)
        flagged[np.argsort(credibility, kind="stable")[: int((detection.credibility < 0.5).sum())]] = True
        assert detection.labels is not None
        labels = np.where(flagged, detection.labels, trial.given)
        return Detection(credibility, flagged, labels, rate=1 - float(detection.credibility.mean()))


def _predicting(trial: Trial, credibility: Floats, p: Floats, probability: bool = False) -> Detection:
    """Return a detection that suggests the predicted classes where credibility is below 0.5."""
    labels = np.where(credibility < 0.5, trial.present[p[trial.nodes].argmax(1)], trial.given)
    return Detection(credibility, labels=labels, probability=probability)


def _received(trial: Trial, received: Floats) -> Detection:
    """Return a detection by what nodes receive of each label; where nothing arrives, nothing is changed."""
    labels = np.where(received.any(1), trial.present[received.argmax(1)], trial.given)
    codes = np.searchsorted(trial.present, trial.given)
    return Detection(own_shares(received, codes), labels != trial.given, labels)


def _posterior(trial: Trial, posterior: Floats, transition: Floats) -> Detection:
    codes = np.searchsorted(trial.present, trial.given)
    credibility = posterior[np.arange(len(codes)), codes]
    labels = trial.present[posterior.argmax(1)]
    return Detection(credibility, labels=labels, probability=True, transition=transition)

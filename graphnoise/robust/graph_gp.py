"""Graph Gaussian process with a learned transition matrix, as an estimator with the interface of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.containers import as_graph
from graphnoise.erase.inputs import read_features
from graphnoise.graph import Graph
from graphnoise.homophily import label_homophily, warn_of_heterophily
from graphnoise.labels import check_entries, read_labels
from graphnoise.nn.features import row_normalised
from graphnoise.node_classifier import NodeClassifier
from graphnoise.noise import Transition
from graphnoise.resources import limit_threads
from graphnoise.robust.regression import Fit, Regression, fit_weights
from graphnoise.robust.smoothing import SmoothedFeatures
from graphnoise.robust.transition_search import (
    Channel,
    exchange_margin,
    log_likelihoods,
    posterior,
    search_transition,
    transition_step,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
HOPS = (1, 2, 4, 8, 16)
# Hops of the class means.
MEAN_HOPS = 2
# Labelled nodes that the evidence is computed for, and that the transition matrix is searched with, at most.
MAX_EVIDENCE, MAX_SEARCHED = 1000, 4000
# Variance of the first regression over that of greatest evidence.
VARIANCE_FACTOR = 2.0
ROUNDS = 2
# Penalty of weights that differ, and the bounds of their logarithms.
EVENNESS, MAX_LOG_WEIGHT = 10.0, 6.0
# Differences of log-likelihood below which another transition matrix explains the labels as well.
AMBIGUOUS = 3.0


class AmbiguousTransitionWarning(UserWarning):
    """Another transition matrix explains the given labels nearly as well."""


def warn_of_ambiguity(who: str, margin: float, stacklevel: int) -> None:
    """Warn where another transition matrix explains the given labels nearly as well, or better."""
    if margin < AMBIGUOUS:
        how = f"nearly as well (log-likelihood lower by {margin:.1f})" if margin > 0 else "as well"
        text = f"{who}: a clearly different transition matrix explains the labels {how}; classes may be exchanged. "
        text += "More labels, or a known `transition`, would decide"
        warnings.warn(text, AmbiguousTransitionWarning, stacklevel)


@dataclass(frozen=True, eq=False)
class Scores:
    """Linear scores of classes: the sum over hops of the smoothed features times coefficients, and an intercept.

    Attributes:
        coefficients: Shape [number of hops, num_features, num_classes].
        intercept: Shape [num_classes].
        held_out: Scores of the labelled nodes without their own label, shape [num_labelled, num_classes].
    """

    coefficients: Floats
    intercept: Floats
    held_out: Floats

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the held-out scores within rows."""
        return float((self.held_out - self.held_out.mean(1, keepdims=True)).std()) or 1.0


class GraphGP(NodeClassifier):
    r"""Node classifier for labels of which an unknown part is wrong: deterministic, without settings to tune.

    Features smoothed over the graph by several numbers of steps are the inputs of a Gaussian process regression of the
    given labels, with weights and noise that maximise the evidence. The held-out predictions and the given labels show
    the transition matrix T[c, j] = P(given j | true c), by EM. The posteriors of the true classes are then the targets
    of a second regression, and the weights of class means. The prediction is a log-linear mixture of the three, with
    weights that maximise the likelihood of the given labels under T.

    Weights of arcs are used. The most frequent given label of each true class is taken to be its own, without which
    true classes have no names: where another is as frequent (pair noise at rate .5), classes may be exchanged, of which
    a warning tells.

    Args:
        val_labels: Whether labels of `data.val_mask` are used like those of `data.train_mask`.
        hops: Numbers of smoothing steps, increasing.
        transition: A known transition matrix over the classes in the order of `classes_`; learned if None.
        max_exact: Number of labelled nodes up to which the exact kernel is inverted; beyond it, features of more than
            600 dimensions are projected (Nyström).
        seed: Seed of the starts of the search for T, and of the subsets of labelled nodes that the evidence is computed
            for, at most 1000, and that T is searched with, at most 4000.

    Attributes:
        classes_: Names of the classes, in the order of the columns of `predict_proba`.
        transition_: The transition matrix (`graphnoise.noise.Transition`).
        transition_margin_: How much less log-likelihood a clearly different matrix reached, one of exchanged classes
            would, or one of equal rows has, for which features are useless; inf for a known matrix.
        homophily_: Agreement of the given labels of neighbours beyond chance (1: always, 0: by chance), or None where
            no two labelled nodes are neighbours.
        labelled_: Positions of the labelled nodes, int64, shape [num_labelled].
        posterior_: P(true class | given label, features) of the labelled nodes, float64, shape [num_labelled, C].
        weights_: Weights of the hops and variance in the last regression, shape [number of hops + 1].
        mixture_: Weights of matched filter, second regression and class means.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> from graphnoise import datasets, noise
        >>> data = datasets.planted_partition([60, 60, 60], 0.2, 0.02, num_features=8, split=(20, 60, 60), seed=0)
        >>> noisy = noise.LabelNoise("pair", 0.3, splits=("train", "val"), seed=0)(data)
        >>> model = GraphGP().fit(noisy)
        >>> model.score(noisy) > 0.9, model.transition_.matrix.diagonal().min().item() < 0.8
        (True, True)

    Source:
        Defined by this package. Evidence and prediction: Rasmussen and Williams, "Gaussian Processes for Machine
        Learning", 2006, chapters 2 and 5.
    """

    def __init__(
        self,
        *,
        val_labels: bool = True,
        hops: Sequence[int] = HOPS,
        transition: Transition | None = None,
        max_exact: int = 5000,
        seed: int = 0,
    ) -> None:
        self.val_labels, self.hops, self.transition = val_labels, hops, transition
        self.max_exact, self.seed = max_exact, seed
        self._check()

    def _check(self) -> None:
        checks.flag("val_labels", self.val_labels)
        if not isinstance(self.hops, Sequence) or not len(self.hops):
            checks.fail("hops", "a sequence of numbers of steps", repr(self.hops))
        hops = [checks.integer("hops", hop, 0, 1000) for hop in self.hops]
        if hops != sorted(set(hops)):
            checks.fail("hops", "increasing numbers of steps", repr(self.hops))
        if self.transition is not None and not isinstance(self.transition, Transition):
            checks.fail("transition", "a graphnoise.noise.Transition or None", type(self.transition).__name__)
        checks.integer("max_exact", self.max_exact, 1)
        checks.integer("seed", self.seed, 0, 2**62)

    def fit(self, data: Data, *, split: int | None = None) -> GraphGP:
        """Learn from `data.y` at `data.train_mask` and, with `val_labels`, at `data.val_mask`.

        Args:
            data: A torch_geometric `Data` with x (dense or sparse), edge_index or adj_t, y and train_mask; val_mask is
                used if it is there, and may overlap. Labels are integers or strings, in any container (see
                `graphnoise.labels.read_labels`).
            split: Column of masks of shape [num_nodes, number of splits].

        Returns:
            The estimator itself.

        Raises:
            InputError: The data are not what is needed, or the labels are all alike.
        """
        # As in scikit-learn, attributes may have been assigned since the constructor checked them.
        self._check()
        x, looped = _read(data)
        nodes = _labelled(data, len(x), self.val_labels, split)
        name = "data.y of the labelled nodes"
        labels = read_labels(data.y, nodes=nodes, size=len(x), unlabelled=False, name=name)
        if labels.num_classes < 2:
            checks.fail(name, "labels of at least two classes", f"class {labels.classes[0]} only")
        check_entries(name, len(x), labels.num_classes)
        homophily = label_homophily(looped, nodes, labels.codes.cpu(), labels.num_classes)
        warn_of_heterophily("GraphGP", homophily, stacklevel=3)
        self._fit(SmoothedFeatures(x, looped, self.hops, nodes), nodes, labels.codes.cpu().numpy(), labels.num_classes)
        self.classes_, self.homophily_ = labels.classes, None if homophily is None else homophily[0]
        warn_of_ambiguity("GraphGP", self.transition_margin_, stacklevel=3)
        return self

    def _fit(self, smoothed: SmoothedFeatures, nodes: Tensor, given: Ints, classes: int) -> None:
        if self.transition is not None and self.transition.num_classes != classes:
            checks.fail("transition", f"a matrix of {classes} classes", self.transition.num_classes)
        # Dense algebra rounds differently with other numbers of threads.
        with limit_threads(1):
            self._learn([rows.numpy() for rows in smoothed.rows], given, classes)
        self.labelled_, self.n_features_in_, self._hops = nodes, smoothed.x.shape[1], smoothed.hops

    def _learn(self, rows: list[NDArray[np.float32]], given: Ints, classes: int) -> None:
        order = np.random.default_rng(self.seed).permutation(len(given))
        subset, searched = np.sort(order[:MAX_EVIDENCE]), np.sort(order[:MAX_SEARCHED])
        regression = Regression(rows, self.max_exact)
        kernels = _kernels(regression, rows, subset)
        members = np.eye(classes)[given]

        weights = fit_weights(kernels, members[subset])
        plain = _deviation(regression.fit(weights, members))
        fit = regression.fit(np.r_[weights[:-1], VARIANCE_FACTOR * weights[-1]], members)
        # Features of zeros predict nothing but the mean.
        scale = _deviation(fit) / plain if plain > 0 else 1.0
        channel, self.transition_margin_ = self._channel(fit, given, searched, scale)
        first = _filtered(fit, channel)
        transition = channel.transition
        targets = posterior(log_softmax(first.held_out, axis=1), transition, given)
        for _ in range(ROUNDS):
            weights = fit_weights(kernels, targets[subset], weights)
            second = _regressed(regression.fit(weights, targets))
            means = _class_means(rows, self.hops, targets)
            mixture, mixed = _mixed((first, second, means), transition, given)
            targets = posterior(log_softmax(mixed.held_out, axis=1), transition, given)
            if self.transition is None:
                transition = transition_step(targets.T @ members)
        if self.transition is None:
            others = exchange_margin(transition, targets.sum(0)), _gain_over_chance(mixed, transition, given)
            self.transition_margin_ = min(self.transition_margin_, *others)
        self.weights_, self.mixture_, self.posterior_ = weights, mixture, targets
        self.transition_ = Transition(transition)
        self._coefficients, self._intercept = mixed.coefficients, mixed.intercept

    def _channel(self, fit: Fit, given: Ints, subset: Ints, scale: float) -> tuple[Channel, float]:
        differences = fit.held_out - fit.mean
        known = None if self.transition is None else self.transition.matrix.numpy()
        return search_transition(differences[subset], given[subset], fit.mean, scale, self.seed, known)

    def predict_proba(self, data: Data) -> Tensor:
        """Return the class probabilities of all nodes of a data set, float64, shape [num_nodes, num_classes].

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The data have other features.
        """
        if not hasattr(self, "classes_"):
            checks.unfitted("GraphGP")
        x, looped = _read(data)
        if x.shape[1] != self.n_features_in_:
            checks.fail("data.x", f"{self.n_features_in_} features, as in fit", x.shape[1])
        return self._probabilities(SmoothedFeatures(x, looped, self._hops, torch.zeros(0, dtype=torch.long)))

    def _probabilities(self, smoothed: SmoothedFeatures) -> Tensor:
        with limit_threads(1):
            scores = smoothed.scores(self._coefficients) + self._intercept
        return torch.from_numpy(softmax(scores, axis=1))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")


def _read(data: object) -> tuple[Tensor, Graph]:
    """Return the features, and the graph with self-loops, normalised.

    Raises:
        InputError: Something is missing, of the wrong shape or not finite.
    """
    if not isinstance(data, Data):
        checks.fail("data", "a torch_geometric Data", type(data).__name__)
    if getattr(data, "x", None) is None:
        checks.fail("data", "a Data with x (label propagation needs no features: graphnoise.LabelPropagation)", "none")
    x = read_features("data.x", data.x)
    graph = as_graph(data)
    if graph.num_nodes != len(x):
        checks.fail("data.x", f"{graph.num_nodes} rows, one per node", len(x))
    return row_normalised(x), graph.with_self_loops().normalise("sym")


def _labelled(data: Data, size: int, val_labels: bool, split: int | None) -> Tensor:
    for name in ("y", "train_mask"):
        if getattr(data, name, None) is None:
            checks.fail("data", f"a Data with {name}", "none")
    mask = checks.mask("data.train_mask", data.train_mask, size, split=split).cpu()
    if val_labels and getattr(data, "val_mask", None) is not None:
        mask = mask | checks.mask("data.val_mask", data.val_mask, size, split=split).cpu()
    nodes = mask.nonzero().view(-1)
    if not len(nodes):
        checks.fail("data.train_mask", "at least one labelled node", "none")
    return nodes


def _kernels(regression: Regression, rows: list[NDArray[np.float32]], subset: Ints) -> Floats:
    """Return the kernels of the nodes that the evidence is computed for, shape [number of hops, n, n]."""
    if len(subset) == len(rows[0]) and regression.exact:
        return regression.kernels
    chosen = [x[subset].astype(np.float64) for x in rows]
    return np.stack([x @ x.T for x in chosen])


def _deviation(fit: Fit) -> float:
    return float(np.sqrt(np.mean(np.sum((fit.held_out - fit.mean) ** 2, axis=1))))


def _filtered(fit: Fit, channel: Channel) -> Scores:
    """Return the matched filter's scores."""
    weights, intercept = channel.filter_weights(fit.mean)
    held_out = (fit.held_out - fit.mean) @ weights + intercept
    return Scores(fit.coefficients @ weights, intercept, held_out)


def _gain_over_chance(scores: Scores, transition: Floats, given: Ints) -> float:
    """Return how much more likely the given labels are than under a matrix of equal rows, without use of features."""
    logs = log_softmax(scores.held_out, axis=1) + log_likelihoods(transition, given)
    return float(logsumexp(logs, axis=1).sum() - np.log(np.bincount(given) / len(given))[given].sum())


def _regressed(fit: Fit) -> Scores:
    return Scores(fit.coefficients, fit.mean, fit.held_out)


def _class_means(rows: list[NDArray[np.float32]], hops: Sequence[int], targets: Floats) -> Scores:
    """Return the cosines with the class means, weighted by the targets; held out, without the node's own part."""
    index = min(range(len(hops)), key=lambda k: abs(hops[k] - MEAN_HOPS))
    x = rows[index].astype(np.float64)
    sums = x.T @ targets
    squares = np.sum(sums**2, axis=0)
    products, lengths = x @ sums, np.sum(x**2, axis=1, keepdims=True)
    without = squares - 2 * targets * products + targets**2 * lengths
    held_out = (products - lengths * targets) / np.sqrt(np.maximum(without, 1e-9))
    coefficients = np.zeros((len(rows), *sums.shape))
    coefficients[index] = sums / np.sqrt(np.maximum(squares, 1e-9))
    return Scores(coefficients, np.zeros(targets.shape[1]), held_out)


def _mixed(parts: Iterable[Scores], transition: Floats, given: Ints) -> tuple[Floats, Scores]:
    """Return the weights that maximise the likelihood of the given labels, per unit of spread, and the mixture."""
    parts = list(parts)
    centred = np.stack([part.held_out - part.held_out.mean(1, keepdims=True) for part in parts])
    centred /= np.array([part.spread for part in parts])[:, None, None]
    log_given = log_likelihoods(transition, given)

    def objective(logs: Floats) -> tuple[float, Floats]:
        weights, uneven = np.exp(logs), logs - logs.mean()
        scores = np.tensordot(weights, centred, 1)
        joint = scores + log_given
        total, prior = logsumexp(joint, axis=1, keepdims=True), logsumexp(scores, axis=1, keepdims=True)
        slope = np.exp(joint - total) - np.exp(scores - prior)
        gradient = -weights * np.tensordot(centred, slope, 2) + 2 * EVENNESS * uneven
        return float((prior - total).sum() + EVENNESS * np.sum(uneven**2)), gradient

    bounds = [(-MAX_LOG_WEIGHT, MAX_LOG_WEIGHT)] * len(parts)
    result = minimize(objective, np.zeros(len(parts)), jac=True, method="L-BFGS-B", bounds=bounds)
    weights = np.exp(result.x)
    scaled = [(weight / part.spread, part) for weight, part in zip(weights, parts, strict=True)]
    mixture = Scores(
        sum(weight * part.coefficients for weight, part in scaled),
        sum(weight * part.intercept for weight, part in scaled),
        sum(weight * part.held_out for weight, part in scaled),
    )
    return weights, mixture

"""Posterior of the classes of all nodes from noisy labels of some, by calibrated belief propagation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from graphnoise import checks
from graphnoise.beliefs.calibration import Calibration, fit_calibration
from graphnoise.kernels.beliefs import Arcs, Messages, Rule, arcs_of, send, update_messages
from graphnoise.labels import check_entries, read_labels
from graphnoise.noise import Transition
from graphnoise.noise.transition import symmetric
from graphnoise.resources import check_memory, one_blas_thread
from graphnoise.typing import Floats, GraphLike, Ints, LabelsLike
from graphnoise.undirected import as_undirected

METHODS = ("em", "hard")
# Share of right labels that T starts with, and labels per class that this prior counts.
EXPECTED, COUNTED = 0.8, 2.0
# A prior above which the label of a node counts in T, with method="hard".
CERTAIN = 0.9
# Part of a message that is kept in a step.
DAMPING = 0.5
# Labelled nodes that parameters are estimated from, at most.
MAX_CALIBRATED = 20_000
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """Posterior probabilities of classes.

    Attributes:
        probability: P(class | all labels), float64, shape [n, C].
        prior: P(class | labels of other nodes), shape [n, C].
        transition: T, as given or estimated.
        class_prior: Share of each class, shape [C].
        classes: Names of the classes, sorted, shape [C].
        given: Position of the given class of each node, -1 where it has none, int64, shape [n].
        names: The caller's names of all nodes, or None where the graph has no names.
        affinity: H[c, d] = P(class d | a neighbour of class c), shape [C, C].
        calibration: Weights of the field, votes, degrees and classes.
        steps: Number of steps.
        converged: Whether no probability changed by more than `tol` in the last one.
    """

    probability: Floats
    prior: Floats
    transition: Transition
    class_prior: Floats
    classes: NDArray[Any]
    given: Ints
    names: Sequence[Any] | None = None
    affinity: Floats | None = None
    calibration: Calibration | None = None
    steps: int = 0
    converged: bool = True

    @property
    def labelled(self) -> Ints:
        """Positions of the labelled nodes, ascending."""
        return np.flatnonzero(self.given >= 0)

    @property
    def credibility(self) -> Floats:
        """Probability that the given label is right, of each labelled node, shape [number of labelled nodes]."""
        nodes = self.labelled
        return self.probability[nodes, self.given[nodes]]


def label_posterior(
    graph: GraphLike,
    y: LabelsLike,
    *,
    field: Floats | None = None,
    transition: Transition | None = None,
    num_classes: int | None = None,
    method: str = "em",
    num_steps: int = 20,
    tol: float = 1e-3,
    seed: int | np.random.Generator = 0,
) -> LabelPosterior:
    r"""Return the probability of each class at each node, from noisy labels and the edges between nodes.

    Belief propagation: node k sends i the distribution m_{k→i} of its class, without what it heard from i. With d_i
    neighbours, shares π of the classes and the affinity H[c, d] = P(class d | a neighbour of class c),

        u_i = (Σ_k m_{k→i} + π) / (d_i + 1),   l_i = log(u_i H) - log(π H),   g_i = log(1 + d_i)
        P(class of i | neighbours) = softmax(log π + a field_i + b + (w₁ + w₂ g_i) l_i + v g_i)

    and Bayes' theorem multiplies by T[:, y_i] where i has a label. At each step

    - a, b, w₁, w₂, v maximise the likelihood of the labels, Σ_i log Σ_c P(c | neighbours) T[c, y_i];
    - T[c, j] ∝ Σ_i P(c | all labels) [y_i = j] + 2C · T₀[c, j], or counts of labels at nodes whose neighbours leave no
      doubt; π are the mean probabilities of labelled nodes;
    - H are the rows of J over their sums, J = π πᵀ + Σ_edges ψ ∘ m mᵀ, each edge normalised, ψ = J / (q qᵀ) and q the
      sums of the rows of J before.

    So votes weigh what they are worth in this graph, classes may be joined to others rather than to themselves, and
    errors may have any T in which right labels are most frequent. With edge weights, d_i is (Σ w)² / Σ w². Errors are
    taken to be independent of each other; errors that lie together look like classes.

    Args:
        graph: Anything `as_undirected` takes; a directed graph is made symmetric.
        y: Noisy class labels, integers or strings, -1, NaN or None where there is no label, shape [n].
        field: Logarithm of the likelihood of each class by what is known of each node but labels and edges, finite,
            shape [n, C], or None.
        transition: T if it is known.
        num_classes: Number of classes, as in `read_labels`.
        method: How T is estimated: "em" or "hard" (better where classes are confused in pairs).
        num_steps: Largest number of steps; each reads all arcs.
        tol: Stop once no probability changes by more than this.
        seed: Seed of the nodes that w is estimated from in a large graph.

    Raises:
        InputError: No label, labels of one class only, a field or a T of another size, or a parameter out of its range.

    Example:
        >>> from graphnoise import Graph, datasets, noise
        >>> data = datasets.planted_partition([200] * 4, 0.1, 0.01, seed=0)
        >>> noisy = noise.pair(4, 0.3).corrupt(data.y, seed=0).y
        >>> posterior = label_posterior(Graph.from_data(data), noisy)
        >>> [round(float((y == data.y.numpy()).mean()), 2) for y in (noisy.numpy(), posterior.probability.argmax(1))]
        [0.67, 1.0]

    Source: Belief propagation: Pearl, "Probabilistic reasoning in intelligent systems", 1988,
        chapter 4. Forward correction: Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017,
        section 3.2.
    """
    undirected = as_undirected(graph, symmetrise=True)
    n = undirected.num_nodes
    labels = read_labels(y, num_classes, size=n)
    codes = labels.codes.cpu().numpy()
    if len(np.unique(codes[codes >= 0])) < 2:
        checks.fail("y", "labels of at least two classes", "one" if (codes >= 0).any() else "no label")
    classes = labels.num_classes
    check_entries("y", n, classes)
    check_memory("beliefs of arcs and nodes", 4.0 * classes * (2 * len(undirected.col) + 20 * n))
    if field is not None:
        field = checks.finite("field", field, dims=2).double().cpu().numpy()
        if field.shape != (n, classes):
            checks.fail("field", f"shape {(n, classes)}", f"shape {field.shape}")
    if transition is not None and (not isinstance(transition, Transition) or transition.num_classes != classes):
        got = transition.num_classes if isinstance(transition, Transition) else type(transition).__name__
        checks.fail("transition", f"a Transition of {classes} classes", got)
    known = None if transition is None else transition.matrix.numpy()
    method = checks.choice("method", method, METHODS)
    num_steps, tol = checks.integer("num_steps", num_steps, 1), checks.real("tol", tol, 0.0)
    rng = checks.generator(seed)
    with one_blas_thread():
        result = _propagate(arcs_of(undirected), codes, labels.classes, field, known, method, num_steps, tol, rng)
    return replace(result, names=undirected.names)


def _propagate(
    arcs: Arcs,
    codes: Ints,
    names: NDArray[Any],
    field: Floats | None,
    known: Floats | None,
    method: str,
    num_steps: int,
    tol: float,
    rng: np.random.Generator,
) -> LabelPosterior:
    classes, labelled = len(names), np.flatnonzero(codes >= 0)
    guess = symmetric(classes, 1 - EXPECTED).matrix.numpy()
    matrix = guess if known is None else known
    shares = _shares(codes[labelled], matrix)
    # All that is estimated is estimated from these nodes.
    some = labelled
    if len(some) > MAX_CALIBRATED:
        some = np.sort(rng.choice(labelled, MAX_CALIBRATED, replace=False))
    given, own, scale = codes[some], None if field is None else field[some], len(labelled) / len(some)
    calibration, converged, step = Calibration.start(classes, field is not None), False, 0
    probability = np.exp(log_softmax(_unary(shares, calibration, field) + _evidence(matrix, codes), axis=1))
    messages = send(arcs, probability)
    probability = probability[some]
    affinity = _affinity(messages.values, arcs, shares)
    for step in range(1, num_steps + 1):
        joint, affinity = affinity, affinity / affinity.sum(axis=1, keepdims=True)
        log_shares, baseline = np.log(shares), np.log(shares @ affinity)
        votes, g = _log_votes(messages, shares, affinity, some)
        calibration = fit_calibration(calibration, log_shares, own, votes, g, given, matrix, scale)
        log_prior = calibration.log_prior(log_shares, own, votes, g)
        if known is None:
            matrix = _transition(np.exp(log_prior), matrix, given, guess, method, scale)
        before, probability = probability, np.exp(log_softmax(log_prior + _evidence(matrix, given), axis=1))
        converged = bool(np.abs(probability - before).max() <= tol)
        if converged or step == num_steps:
            break
        sums = joint.sum(axis=1)
        coupling = joint / (sums[:, None] * sums)
        rule = Rule(
            _unary(shares, calibration, field) + _evidence(matrix, codes),
            shares,
            affinity,
            baseline,
            calibration.slope,
            coupling,
            calibration.vote,
            calibration.vote_count,
            DAMPING,
        )
        pairs = coupling * update_messages(messages, rule)
        shares = np.maximum(probability.mean(axis=0), TINY)
        affinity = pairs + pairs.T + np.outer(shares, shares)
    log_prior = calibration.log_prior(np.log(shares), field, *_log_votes(messages, shares, affinity))
    probability = np.exp(log_softmax(log_prior + _evidence(matrix, codes), axis=1))
    return LabelPosterior(
        probability,
        np.exp(log_prior),
        Transition(matrix),
        shares,
        names,
        codes,
        affinity=affinity,
        calibration=calibration,
        steps=step,
        converged=converged,
    )


def _unary(shares: Floats, calibration: Calibration, field: Floats | None) -> Floats:
    """Return log π + b + a field, shape [n, C] or [C]."""
    unary = np.log(shares) + calibration.offset
    return unary if field is None else unary + calibration.field * field


def _log_votes(
    messages: Messages, shares: Floats, affinity: Floats, nodes: Ints | None = None
) -> tuple[Floats, Floats]:
    """Return l and g of some nodes, of all for None."""
    votes, count = messages.votes(shares, nodes)
    return np.log(np.maximum(votes @ affinity, TINY)) - np.log(shares @ affinity), np.log1p(count)


def _shares(given: Ints, matrix: Floats) -> Floats:
    """Return the shares of the classes that labels with a known T come from, by expectation maximisation."""
    counts = np.bincount(given, minlength=len(matrix)) / len(given)
    shares = np.full(len(matrix), 1 / len(matrix))
    for _ in range(20):
        shares = np.maximum(shares * (matrix @ (counts / np.maximum(shares @ matrix, TINY))), TINY)
    return np.asarray(shares / shares.sum())


def _evidence(matrix: Floats, codes: Ints) -> Floats:
    """Return log T[:, label] of each node, 0 without a label, shape [n, C]."""
    rows = np.concatenate([np.log(np.maximum(matrix.T, 1e-300)), np.zeros((1, len(matrix)))])
    return np.asarray(rows[codes])


def _affinity(values: NDArray[np.float32], arcs: Arcs, shares: Floats) -> Floats:
    """Return the sum over edges of the products of both messages, which are independent at first."""
    joint = np.outer(shares, shares)
    for begin in range(0, len(arcs.col), 1 << 16):
        part = slice(begin, begin + (1 << 16))
        joint += values[part].T.astype(np.float64) @ values[arcs.reverse[part]]
    return joint


def _transition(prior: Floats, matrix: Floats, given: Ints, guess: Floats, method: str, scale: float) -> Floats:
    """Return T from soft counts, or from the labels of nodes whose neighbours leave no doubt."""
    if method == "hard":
        sure = prior.max(axis=1) > CERTAIN
        weight, given = np.eye(len(guess))[prior[sure].argmax(axis=1)], given[sure]
    else:
        weight = prior * matrix[:, given].T
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    counts = np.array([np.bincount(given, column, len(guess)).astype(float) for column in weight.T])
    counts = scale * counts + COUNTED * len(guess) * guess
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))

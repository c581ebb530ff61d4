"""Posterior of cluster membership from noisy labels of all nodes: calibrated belief propagation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit

from graphnoise import checks
from graphnoise.clustering import inputs
from graphnoise.clustering.membership import Membership
from graphnoise.clustering.result import named
from graphnoise.kernels.beliefs import Arcs, Rule, arcs_of, features, send, update_messages
from graphnoise.resources import one_blas_thread
from graphnoise.typing import Floats, GraphLike, Ints, MembershipLike, SeedsLike
from graphnoise.undirected import as_undirected

# w of `membership_posterior` at which calibration starts: votes count by their weight.
START = np.array([0.0, 1.0, 0.0, 0.0])
# Ridge of w₁, w₂, w₃ around START, and of w₀ times the number of labels, since w₀ is nothing but the share of label 1;
# mean F1 on four real graphs was .811 with .01 and .820 with 10.
RIDGE = 10.0
# Label errors of unknown rates, inside and outside, at which calibration starts; the likeliest is kept. Around them the
# logits of `calibrate_votes` have a prior of this precision (1 / variance).
ERRORS, ERROR_PRECISION = ((0.2, 0.2), (0.4, 0.4), (0.7, 0.02)), 3.0
# Steps with these rates.
FIXED_STEPS = 3
# Labelled nodes from which a fifth is hidden, and nodes that are calibrated on.
MIN_LABELLED, MAX_CALIBRATED = 200, 50_000
# Neighbours have to gain this log-likelihood of the hidden labels; 2 of 64 draws without any signal were above it.
MIN_GAIN = 0.5
# Calibration ends with a step that gains at most this log-likelihood.
MIN_STEP_GAIN = 1e-7
# Part of a message that is kept in a step.
DAMPING = 0.5


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior probabilities of membership.

    Attributes:
        probability: P(inside | all labels), float64, shape [n]; 1 at seeds.
        prior: P(inside | labels of other nodes), shape [n].
        a1: P(label 1 | inside), as given or estimated.
        a0: P(label 0 | outside), as given or estimated.
        calibration: w of `membership_posterior`, shape [4].
        informative: Whether hidden labels were likelier with their neighbours than without; if not, edges are ignored.
        steps: Number of steps.
        converged: Whether no probability changed by more than `tol` in the last one.
        arcs: Number of arcs read.
        names: The caller's names of all nodes, or None where the graph has no names.
    """

    probability: Floats
    prior: Floats
    a1: float
    a0: float
    calibration: Floats
    informative: bool
    steps: int
    converged: bool
    arcs: int
    names: Sequence[Any] | None = None

    @property
    def nodes(self) -> Ints:
        """Positions of the set of largest expected F1, ascending.

        These are the k most probable nodes, with the k that maximises 2 Σ_top P / (k + Σ_all P); none where that is
        below the probability Π (1 - P) that nothing is inside. `probability > 0.5` are those likelier inside than not.
        """
        return best_set(self.probability)

    @property
    def members(self) -> Ints | list[Any]:
        """`nodes` by name where the graph has names, otherwise by position."""
        return named(self.nodes, self.names)


def best_set(p: Floats) -> Ints:
    """Return the positions, ascending, of the set of largest expected F1 given probabilities of membership."""
    descending = np.sort(p)[::-1]
    f1 = 2 * np.cumsum(descending) / (np.arange(1, len(p) + 1) + p.sum())
    best = int(f1.argmax())
    with np.errstate(divide="ignore"):
        nothing = np.exp(np.log1p(-p).sum())
    return np.flatnonzero(p >= descending[best]) if f1[best] > nothing else np.empty(0, dtype=np.int64)


def membership_posterior(
    graph: GraphLike,
    labels: MembershipLike | Membership,
    a1: float | None = None,
    a0: float | None = None,
    *,
    seeds: SeedsLike | None = None,
    num_steps: int = 20,
    tol: float = 1e-3,
    seed: int | np.random.Generator = 0,
) -> Posterior:
    r"""Return the probability of each node to be inside, from noisy labels of all nodes and the edges between them.

    Belief propagation: nodes send messages along arcs, p_{i→j} without the message from j. With m_i the mean of the
    messages to i from its d_i neighbours and of one more vote for the mean of all nodes, and l_i = logit m_i,

        P(i inside | neighbours) = s(w₀ + w₁ l_i + w₂ l_i log(1 + d_i) + w₃ log(1 + d_i)),

    and Bayes' theorem adds the label of the node itself. w is estimated at each step by forward correction, by
    maximising the likelihood of the labels,

        P(label_i = 1 | neighbours) = (1 - a0) + (a1 + a0 - 1) P(i inside | neighbours),

    since label errors are independent of the neighbours' beliefs. Votes of neighbours thus have the weight that they
    are worth in this graph; neighbours that are mostly on the other side are informative as well. Unknown a1 and a0 are
    estimated together with w, from several starts, from the labels of nodes whose neighbours leave no doubt. On classes
    of Cora, PubMed, Coauthor CS and Amazon Photo the estimates were on average within .02 with labels .9/.95; with
    .7/.9 and .7/.7, a1 was between .04 too low and .11 too high, and a0 up to .03 too high.

    In contrast to a diffusion this reads the whole graph, and a cluster may have many components; in contrast to
    `LocalCluster` it needs labels. With weights, d_i is (Σ w)² / Σ w². The label of a node without one is no evidence:
    Bayes' theorem adds nothing there, and the likelihood and rates are of labelled nodes. From 200 labels on, a fifth
    of them is hidden first: if neighbours do not make the hidden ones likelier, edges are ignored (`informative` is
    False). Errors of labels are taken to be independent; those that lie together look like clusters.

    This is no special case of `graphnoise.beliefs.label_posterior`: its calibration treats both sides alike, and its
    transition matrix has a prior, where here w₃ and known or estimated accuracies tell inside from outside.

    Args:
        graph: Anything `as_undirected` takes.
        labels: Noisy labels 0/1: array (-1, NaN or None where there is no label), {node: label} or a Series of some
            nodes, callable of an array of nodes, or a `Membership`, with its a1 and a0.
        a1: P(label 1 | inside), or None if it is not known; then a0 as well.
        a0: P(label 0 | outside).
        seeds: Nodes that are known to be inside, or None.
        num_steps: Largest number of steps; each reads all arcs.
        tol: Stop once no probability changes by more than this.
        seed: Seed of the hidden fifth of the labels, and of the nodes that w is estimated from in a large graph.

    Raises:
        InputError: No labels or no labelled node, a1 without a0, a1 + a0 not above 1, accuracies that the share of
            label 1 contradicts by more than four standard errors (a warning from two), bad seeds, or a parameter out of
            its range.

    Example:
        >>> from graphnoise import Graph, datasets, noise
        >>> from graphnoise.clustering import precision_recall_f1
        >>> data = datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
        >>> inside = data.y == 0
        >>> labels = noise.flip_membership(inside, a1=0.8, a0=0.9, seed=0).y
        >>> posterior = membership_posterior(Graph.from_data(data), labels, a1=0.8, a0=0.9)
        >>> [round(precision_recall_f1(nodes, inside).f1, 2) for nodes in (labels.bool(), posterior.nodes)]
        [0.71, 0.98]

    Source: Belief propagation: Pearl, "Probabilistic reasoning in intelligent systems", 1988,
        chapter 4. Forward correction: Patrini et al., "Making deep neural networks robust to label noise", CVPR 2017,
        section 3.2, of a logistic regression here.
    """
    graph = as_undirected(graph)
    labels, ordered, accuracies, errors = read_accuracies(labels, a1, a0)
    num_steps, tol = checks.integer("num_steps", num_steps, 1), checks.real("tol", tol, 0.0)
    rng = checks.generator(seed)
    checked = inputs.check_labels(graph, labels, by_position=ordered)
    if checked is None:
        checks.fail("labels", "an array, {node: label} or a callable", None)
    nodes = np.empty(0, dtype=np.int64) if seeds is None else inputs.check_nodes(graph, seeds)
    values = inputs.labels_at(checked, np.arange(graph.num_nodes, dtype=np.int64)).astype(np.float64)
    values[values == inputs.UNLABELLED] = np.nan
    if np.isnan(values).all():
        checks.fail("labels", "at least one labelled node", "none")
    if accuracies is not None:
        _check_accuracies(values, *accuracies, errors)
    values[nodes] = 1
    with one_blas_thread():
        result = _fit(arcs_of(graph), values, accuracies, nodes, num_steps, tol, rng)
    return replace(result, names=graph.names)


def read_accuracies(
    labels: MembershipLike | Membership, a1: float | None, a0: float | None
) -> tuple[MembershipLike, bool, tuple[float, float] | None, tuple[float, float]]:
    """Return labels, whether an array is in the order of the nodes, a1 and a0 or None, and the errors of these.

    Raises:
        InputError: a1 without a0, or a1 + a0 not above 1.
    """
    ordered, errors = isinstance(labels, Membership), (0.0, 0.0)
    if isinstance(labels, Membership):
        errors = (labels.a1_error if a1 is None else 0.0), (labels.a0_error if a0 is None else 0.0)
        a1, a0 = (labels.a1 if a1 is None else a1), (labels.a0 if a0 is None else a0)
        labels = labels.labels
    if a1 is None or a0 is None:
        if a1 is not None or a0 is not None:
            missing, present = ("a1", "a0") if a1 is None else ("a0", "a1")
            checks.fail(missing, f"a number, since {present} is one", None)
        return labels, ordered, None, errors
    a1, a0 = checks.rate("a1", a1), checks.rate("a0", a0)
    if not a1 + a0 > 1:
        checks.fail("a1 + a0", "more than 1, or labels say nothing", f"{a1 + a0:g}")
    return labels, ordered, (a1, a0), errors


def _check_accuracies(labels: Floats, a1: float, a0: float, errors: tuple[float, float]) -> None:
    """Refuse accuracies that the share of label 1 contradicts, and warn where that may be chance.

    The share lies between 1 - a0 (all nodes outside) and a1 (all inside), up to the errors of a sample and of a1 and
    a0. Labels of one kind only cannot mislead.
    """
    known = labels[~np.isnan(labels)]
    share = known.mean()
    low, high = 1 - a0, a1
    bound, error = (low, errors[1]) if share < low else (high, errors[0])
    distance = abs(share - bound) * (not low <= share <= high)
    deviation = np.sqrt(bound * (1 - bound) / len(known) + error**2)
    if distance <= 2 * deviation:
        return
    got = f"a share {share:.3g} of label 1 among {len(known)} labels"
    expected = f"accuracies with 1 - a0 < share of label 1 < a1, which are {low:.3g} and {high:.3g}"
    if distance > 4 * deviation and 0 < share < 1:
        checks.fail("a1, a0", expected, got)
    warnings.warn(f"a1, a0: expected {expected}, got {got}", UserWarning, stacklevel=3)


def _fit(
    arcs: Arcs,
    labels: Floats,
    accuracies: tuple[float, float] | None,
    seeds: Ints,
    num_steps: int,
    tol: float,
    rng: np.random.Generator,
) -> Posterior:
    """Return the posterior of the start that predicts hidden labels best, without edges where none predicts them."""
    share = labels[~np.isnan(labels)].mean()
    # At most half of the labels 1 are errors.
    starts = [accuracies] if accuracies else [(1 - miss1, 1 - min(miss0, share / 2)) for miss1, miss0 in ERRORS]
    estimated = accuracies is None
    labelled = np.setdiff1d(np.flatnonzero(~np.isnan(labels)), seeds)
    best, read = 0, 0
    if len(labelled) >= MIN_LABELLED:
        hidden = rng.permutation(labelled)[: len(labelled) // 5]
        visible = labels.copy()
        visible[hidden] = np.nan
        # The share of label 1 among the visible ones, by Laplace's rule.
        count = np.array([(visible == 0).sum() + 1, (visible == 1).sum() + 1])
        values, gains = labels[hidden], []
        for start in starts:
            trial = _propagate(arcs, visible, start, estimated, seeds, num_steps, tol, rng)
            one = np.clip(1 - trial.a0 + (trial.a1 + trial.a0 - 1) * trial.prior[hidden], 1e-12, 1 - 1e-12)
            gains.append(float(np.log(np.where(values > 0, one, 1 - one)).sum()))
            read += trial.arcs
        best = int(np.argmax(gains))
        if gains[best] < np.log(count / count.sum())[values.astype(int)].sum() + MIN_GAIN:
            a1, a0 = starts[0]
            prior = np.full(arcs.num_nodes, mean_inside(share, a1, a0, arcs.num_nodes))
            w = np.array([logit(prior[0]), 0.0, 0.0, 0.0])
            p = expit(w[0] + evidence_of(labels, a1, a0, seeds))
            return Posterior(p, prior, float(a1), float(a0), w, False, 0, True, read)
    result = _propagate(arcs, labels, starts[best], estimated, seeds, num_steps, tol, rng)
    return replace(result, arcs=result.arcs + read)


def mean_inside(share: float, a1: float, a0: float, n: int) -> float:
    """Return the share of nodes inside that a share of label 1 comes from."""
    return float(np.clip((share - (1 - a0)) / (a1 + a0 - 1), 1 / (n + 1), n / (n + 1)))


def _propagate(
    arcs: Arcs,
    labels: Floats,
    start: tuple[float, float],
    estimated: bool,
    seeds: Ints,
    num_steps: int,
    tol: float,
    rng: np.random.Generator,
) -> Posterior:
    """Propagate beliefs; a1 and a0 begin at `start` and stay there unless they are estimated."""
    labelled = np.flatnonzero(~np.isnan(labels))
    share = labels[labelled].mean()
    (a1, a0), n, w, converged, step = start, arcs.num_nodes, START, False, 0
    if len(labelled) > MAX_CALIBRATED:
        labelled = np.sort(rng.choice(labelled, MAX_CALIBRATED, replace=False))
    mean = mean_inside(share, a1, a0, n)
    believed = prior = expit(logit(mean) + evidence_of(labels, a1, a0, seeds))
    messages = send(arcs, _two(believed))
    while not converged and step < num_steps:
        mean = mean_inside(share, a1, a0, n)
        step += 1
        u, d = messages.votes(np.array([1 - mean, mean]))
        x = features(np.log(u[:, 1]) - np.log(u[:, 0]), d)
        guess = logits_of(*start) if estimated and step > FIXED_STEPS else None
        w, a1, a0 = calibrate_votes(x[labelled], labels[labelled], w, a1, a0, guess)
        evidence = evidence_of(labels, a1, a0, seeds)
        before, prior = believed, expit(x @ w)
        believed = expit(x @ w + evidence)
        converged = bool(np.abs(believed - before).max(initial=0.0) <= tol) and step > (FIXED_STEPS if estimated else 0)
        # With the identity as affinity, votes of the kernel are the logarithms of m and 1 - m.
        # Infinite evidence, of seeds, is as good as a large finite one.
        field = np.column_stack([np.zeros(n), np.clip(w[0] + evidence, -1e4, 1e4)])
        both = np.array([1 - mean, mean])
        slope = np.array([0.0, w[3]])
        keep = 0.0 if step == 1 else DAMPING
        rule = Rule(field, both, np.eye(2), np.zeros(2), slope, np.ones((2, 2)), float(w[1]), float(w[2]), keep)
        update_messages(messages, rule)
    return Posterior(believed, prior, float(a1), float(a0), w, True, step, converged, step * len(arcs.col))


def _two(p: Floats) -> Floats:
    return np.column_stack([1 - p, p])


def evidence_of(labels: Floats, a1: float, a0: float, seeds: Ints) -> Floats:
    """Return log(P(label | inside) / P(label | outside)) of each node's label: 0 without one, infinite at seeds."""
    # Labels without errors divide by 0.
    with np.errstate(divide="ignore"):
        evidence: Floats = np.where(labels > 0, np.log(a1) - np.log1p(-a0), np.log1p(-a1) - np.log(a0))
    evidence[np.isnan(labels)] = 0.0
    evidence[seeds] = np.inf
    return evidence


def logits_of(a1: float, a0: float) -> Floats:
    """Return the logits of a1 and of (1 - a0) / a1."""
    return np.asarray(logit(np.clip([a1, (1 - a0) / a1], 1e-6, 1 - 1e-6)))


def calibrate_votes(
    x: Floats, labels: Floats, w: Floats, a1: float, a0: float, guess: Floats | None, ridge: float | None = None
) -> tuple[Floats, float, float]:
    """Return the w of largest posterior, with a prior around START; where `guess` is not None, a1 and a0 too.

    `guess` is the prior mean of the logits of a1 and of (1 - a0) / a1, so that a1 + a0 > 1.
    """
    tiny = 1e-12
    ridges = np.array([RIDGE / len(labels) if ridge is None else ridge, RIDGE, RIDGE, RIDGE])
    at, centre = w, START
    if guess is not None:
        at, centre = np.concatenate([w, logits_of(a1, a0)]), np.concatenate([START, guess])
        ridges = np.append(ridges, [ERROR_PRECISION, ERROR_PRECISION])

    def evaluate(at: Floats) -> tuple[float, float, float, Floats, Floats]:
        hit, ratio = (a1, (1 - a0) / a1) if guess is None else expit(at[4:])
        p = expit(x @ at[:4])
        # P(label 1) inside is `hit`, outside `hit * ratio`.
        q = np.clip(hit * (ratio + (1 - ratio) * p), tiny, 1 - tiny)
        loss = ridges @ (at - centre) ** 2 / 2 - np.log(np.where(labels > 0, q, 1 - q)).sum()
        return float(loss), hit, ratio, p, q

    (loss, hit, ratio, p, q), part = evaluate(at), 1.0
    while part > 1e-6:
        variance = q * (1 - q)
        pull, by_vote = (q - labels) / variance, hit * (1 - ratio) * p * (1 - p)
        slopes = by_vote[:, None] * x
        if guess is not None:
            slopes = np.column_stack([slopes, q * (1 - hit), hit * ratio * (1 - ratio) * (1 - p)])
        slope = slopes.T @ pull + ridges * (at - centre)
        # Newton's method, without second derivatives by the rates; the expected curvature where this is not positive.
        curvature = (pull[:, None] ** 2 * slopes).T @ slopes + np.diag(ridges)
        curvature[:4, :4] += ((pull * by_vote * (1 - 2 * p))[:, None] * x).T @ x
        if np.linalg.eigvalsh(curvature)[0] < ridges.min() / 2:
            curvature = (slopes / variance[:, None]).T @ slopes + np.diag(ridges)
        step = np.linalg.solve(curvature, slope)
        if slope @ step <= 2 * MIN_STEP_GAIN:
            break
        part = 1.0
        while part > 1e-6:
            ahead = evaluate(at - part * step)
            if ahead[0] < loss:
                at, (loss, hit, ratio, p, q) = at - part * step, ahead
                break
            part /= 4
    return (at, a1, a0) if guess is None else (at[:4], float(hit), float(1 - hit * ratio))

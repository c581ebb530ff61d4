"""Audit of given labels: whether any are wrong, how many, which, what instead, and in which order to look."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas

from graphnoise import checks
from graphnoise.audit import explain
from graphnoise.audit.correction import correct
from graphnoise.audit.decisions import Decisions, decided_positions, decided_posterior, read_decisions
from graphnoise.audit.estimates import NoiseEstimate, morans_i, noise_estimate, noise_kind, transition_frame
from graphnoise.audit.likelihood_ratio import NoiseTest, noise_test
from graphnoise.audit.posterior import LabelPosterior, label_posterior
from graphnoise.containers import as_graph
from graphnoise.labels import class_names, read_labels
from graphnoise.typing import FeaturesLike, Floats, GraphLike, Ints, LabelsLike
from graphnoise.undirected import symmetrised

# Level of the test in words, and Moran's I from which on errors are said to come in clumps.
LEVEL, CLUMPED = 0.05, 0.2


class Audit:
    r"""Audit of the given labels of a graph's nodes.

    All parts follow from the posterior P(true class | given label, neighbours, features) and from P(true class |
    neighbours, features), see `label_posterior`. The credibility of a label is the probability that it is right.

    Args:
        graph: Anything `as_graph` takes; a directed graph is made symmetric.
        y: Given labels, integers or strings, -1, NaN or None where a node has none, shape [n].
        x: Features, dense or sparse, finite, shape [n, num_features]; those of a torch_geometric `Data` by default.
        posterior: The posterior, computed by `label_posterior` if None.
        seed: Seed of what is random: the search for the transition matrix, simulations, draws for intervals.

    Attributes:
        graph: The graph, as `Graph`, with both directions of each edge.
        posterior: The posterior, given the decisions.
        decided: Position of the class that was decided for a node, -1 for none, int64, shape [n].

    Raises:
        InputError: Labels of one class only, no labelled node, shapes that do not fit, or a posterior of other labels
            or with rows that do not sum to 1.

    Example:
        >>> import graphnoise as gn
        >>> data = gn.datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, seed=0)
        >>> noisy = gn.noise.symmetric(2, 0.2).corrupt(data.y, seed=0).y
        >>> audit = Audit(data, noisy)
        >>> audit.test.p_value < 0.05, len(audit.suspects()), int((noisy != data.y).sum())
        (True, 35, 32)

    Source:
        Defined by this package.
    """

    def __init__(
        self,
        graph: GraphLike,
        y: LabelsLike,
        x: FeaturesLike | None = None,
        *,
        posterior: LabelPosterior | None = None,
        seed: int = 0,
    ) -> None:
        self.seed = checks.integer("seed", seed, 0, 2**62)
        features: Any = getattr(graph, "x", None) if x is None else x
        if x is None and features is not None and 0 in features.shape:
            features = None
        self.graph = symmetrised(as_graph(graph))
        if posterior is None:
            posterior = label_posterior(self.graph, y, features, seed=self.seed)
        else:
            _check_posterior(posterior, y, self.graph.num_nodes)
        self._before = self.posterior = posterior
        self.decided: Ints = np.full(self.graph.num_nodes, -1)

    @property
    def names(self) -> list[Any]:
        """Names of the nodes, their positions where the graph has no names."""
        return explain.node_names(self.posterior.names, np.arange(self.graph.num_nodes))

    @property
    def credibility(self) -> Floats:
        """P(given label is right) of all nodes, NaN without a label, float64, shape [n]; 0 or 1 of decided nodes."""
        values = np.full(self.graph.num_nodes, np.nan)
        values[self.posterior.labelled] = self.posterior.credibility
        return values

    @cached_property
    def test(self) -> NoiseTest:
        """Test of the hypothesis that no given label is wrong, see `noise_test`; decisions play no part in it."""
        return noise_test(self._before, self.graph.rowptr.diff().cpu().numpy(), seed=self.seed)

    @cached_property
    def estimate(self) -> NoiseEstimate:
        """Noise rate and transition matrix with 95 % intervals, see `graphnoise.audit.estimates`."""
        return noise_estimate(self.posterior, self.decided, self.seed)

    @property
    def transition(self) -> pandas.DataFrame:
        """Transition matrix with 95 % intervals, a row per pair: true, given, probability, low, high."""
        return transition_frame(self.estimate, self.posterior.classes)

    @property
    def kind(self) -> str:
        """Kind of the noise in words; "none found" where the test does not reject at 5 %."""
        if self.test.p_value >= LEVEL:
            return f"none found (p = {self.test.p_value:.3f})"
        nodes = self.posterior.labelled
        return noise_kind(self.estimate, self.posterior.probability[nodes].sum(0), self.posterior.classes)

    @cached_property
    def morans_i(self) -> float | None:
        """Moran's I of P(wrong) over arcs, about 0 where errors are scattered; None where it is not defined."""
        return morans_i(self.graph, self.posterior)

    def suspects(self, fdr: float = 0.1, min_probability: float = 0.5) -> pandas.DataFrame:
        """Return the largest set of labels of which an expected share `fdr` is right, the least credible first.

        Args:
            fdr: Bound of the expected share of right labels in the set, from 0 to 1.
            min_probability: A class is suggested if its probability is at least this.

        Returns:
            A row per node, its position as the index: node, given, credibility, suggested (None below
            `min_probability`), probability (of the most probable other class) and why. Decided nodes are left out.

        Raises:
            InputError: A number outside of [0, 1].
        """
        nodes = self._order()
        nodes = nodes[: explain.suspected(self.credibility[nodes], checks.rate("fdr", fdr))]
        frame, best = self._frame(nodes, min_probability)
        labels = np.where(self.decided >= 0, self.decided, self.posterior.given)
        frame["why"] = explain.reasons(self.graph, self.posterior, nodes, best, labels)
        return frame

    def review(self, count: int) -> pandas.DataFrame:
        """Return the labels to look at, in the order that finds most wrong ones in expectation.

        Args:
            count: Number of looks; labels that were decided are left out.

        Returns:
            A row per node, as in `suspects`: node, given, credibility, suggested, probability, and expected_wrong, the
            expected number of wrong labels among the looks so far.

        Raises:
            InputError: `count` is no integer of at least 0.
        """
        frame, _ = self._frame(self._order()[: checks.integer("count", count, 0)], 0.5)
        return frame.assign(expected_wrong=(1 - frame["credibility"]).cumsum())

    def with_decisions(self, decisions: Decisions) -> Audit:
        """Return the audit given a reviewer's decisions: transition matrix, rate and order follow them.

        Args:
            decisions: A data frame or a file with the columns node, decision (or label: the true class; empty: none)
                and optionally given. Of several decisions on a node, the last one counts, after those made before.

        Raises:
            InputError: A column is missing, a node or class is none of the graph, or a given label is another one.
            DataError: The file is absent or damaged.
        """
        new = decided_positions(read_decisions("decisions", decisions, self._before), self._before)
        audit = object.__new__(Audit)
        audit.graph, audit.seed, audit._before = self.graph, self.seed, self._before
        audit.decided = np.where(new >= 0, new, self.decided)
        audit.posterior = decided_posterior(self._before, audit.decided)
        # The test is that of the labels as they were given.
        if "test" in self.__dict__:
            audit.__dict__["test"] = self.test
        return audit

    def corrected(self, fdr: float = 0.1, min_probability: float = 0.5) -> Any:
        """Return labels by name: decided ones, suggestions for suspects (none without a suggestion), given ones.

        Returns:
            int64 tensor with -1 for no label, or an array of strings with None, shape [n].
        """
        y, _ = correct(self, "replace", fdr=fdr, min_probability=min_probability)
        return class_names(self.posterior.classes, y)

    def to_frame(self, fdr: float = 0.1, min_probability: float = 0.5) -> pandas.DataFrame:
        """Return all labelled nodes, the least credible first.

        Returns:
            A row per node, as in `suspects`: node, given, credibility, suggested, probability, in_suspects, decision
            (None where there is none) and why (empty but for suspects).
        """
        suspects = self.suspects(fdr, min_probability)
        nodes = np.concatenate([self._order(), np.flatnonzero((self.decided >= 0) & (self.posterior.given >= 0))])
        frame, _ = self._frame(nodes, min_probability)
        frame["in_suspects"] = np.arange(len(frame)) < len(suspects)
        frame["decision"] = self._classes(self.decided[nodes], nodes)
        frame["why"] = [*suspects["why"], *[""] * (len(frame) - len(suspects))]
        order = np.argsort(frame["credibility"].to_numpy(), kind="stable")
        return frame.iloc[order]

    def report(self, fdr: float = 0.1) -> str:
        """Return a summary in some lines of text."""
        posterior, test, estimate = self.posterior, self.test, self.estimate
        suspects, labelled = len(self.suspects(fdr)), len(posterior.labelled)
        verdict = "some labels are wrong" if test.p_value < LEVEL else "no sign that labels are wrong"
        lines = [
            f"{labelled:,} of {self.graph.num_nodes:,} nodes are labelled, {len(posterior.classes)} classes",
            f"test of no wrong label: p = {test.p_value:.3f}: {verdict}",
            f"wrong labels: {estimate.rate}, about {estimate.rate.value * labelled:,.0f}",
            f"kind: {self.kind}",
            f"suspects: {suspects:,} labels, of which {100 * fdr:g} % are expected to be right",
        ]
        if self.morans_i is not None and self.morans_i >= CLUMPED and test.p_value < LEVEL:
            lines.append(f"suspected errors come in clumps (Moran's I {self.morans_i:.2f}): neighbours share them")
        if decided := int((self.decided >= 0).sum()):
            lines.append(f"decided: {decided:,} labels")
        return "\n".join(lines)

    def _order(self) -> Ints:
        """Return the labelled nodes without a decision, the least credible first, equal ones by position."""
        nodes = self.posterior.labelled
        nodes = nodes[self.decided[nodes] < 0]
        order: Ints = nodes[np.argsort(self.credibility[nodes], kind="stable")]
        return order

    def _frame(self, nodes: Ints, min_probability: float) -> tuple[pandas.DataFrame, Ints]:
        best, chances = explain.suggestions(self.posterior, nodes)
        shown = np.where(chances >= checks.rate("min_probability", min_probability), best, -1)
        columns = {
            "node": explain.node_names(self.posterior.names, nodes),
            "given": self._classes(self.posterior.given[nodes], nodes),
            "credibility": self.credibility[nodes],
            "suggested": self._classes(shown, nodes),
            "probability": chances,
        }
        return pandas.DataFrame(columns, index=nodes), best

    def _classes(self, codes: Ints, nodes: Ints) -> pandas.Series[Any]:
        """Return names of the classes of some nodes, None for -1, also among strings, for which pandas takes NaN."""
        names = [None if code < 0 else self.posterior.classes[code] for code in codes]
        return pandas.Series(names, index=nodes, dtype=object)


def _check_posterior(posterior: object, y: LabelsLike, num_nodes: int) -> None:
    if not isinstance(posterior, LabelPosterior):
        checks.fail("posterior", "a LabelPosterior", type(posterior).__name__)
    classes = len(posterior.classes)
    for name in ("probability", "prior"):
        if len(checks.probabilities(f"posterior.{name}", getattr(posterior, name), classes)) != num_nodes:
            checks.fail(f"posterior.{name}", f"{num_nodes} rows, one per node", len(getattr(posterior, name)))
    if posterior.transition.num_classes != classes:
        checks.fail("posterior.transition", f"a matrix of {classes} classes", posterior.transition.num_classes)
    labels = read_labels(y, size=num_nodes)
    own = labels.codes.cpu().numpy()
    if labels.classes.tolist() != list(posterior.classes) or not np.array_equal(own, posterior.given):
        checks.fail("posterior", "one of the labels y", "one of other labels")

"""Node methods on features smoothed over the graph: nearest class mean, SGC, and SGC on corrected labels.

Where noise, or the correction, has left a single class, that class is predicted. A class that no label has gets
probability 0. There are always validation nodes: `Problem` refuses data without.
"""

from __future__ import annotations

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.bench.methods.problem import Trial
from graphnoise.propagation import propagate

# Columns of a propagation, which bounds its memory.
BATCH = 64


class Centroid:
    """Nearest class mean: the softmax of the cosines between smoothed features and the class means of labelled nodes.

    The features are those of `SGC`. The probabilities rank classes; they are not calibrated. A node whose smoothed
    features are all 0 gets no class.

    Args:
        hops: Number of smoothing steps.
        val_labels: Whether validation labels count as training labels.
    """

    version = "1"
    stochastic = False

    def __init__(self, hops: int = 2, val_labels: bool = True) -> None:
        self.hops = checks.integer("centroid.hops", hops, 0, 1000)
        self.val_labels = checks.flag("centroid.val_labels", val_labels)

    def fit_predict(self, trial: Trial) -> Tensor:
        """Compare all nodes with the means of the given classes."""
        x, (nodes, labels) = trial.problem.smoothed(self.hops), trial.given(self.val_labels)
        members = F.one_hot(labels, trial.problem.num_classes)
        cosines = x @ F.normalize(members.t().to(x.dtype) @ x[nodes]).t()
        scores = cosines.masked_fill(members.sum(0) == 0, -torch.inf).softmax(1)
        return scores * (x != 0).any(1, keepdim=True)


class SGC:
    """Simple graph convolution: logistic regression on features smoothed over the graph.

    D^-1/2 (A + I) D^-1/2 applied `hops` times to row-normalised features, rows then L2-normalised.

    Args:
        hops: Number of smoothing steps.
        C: Inverse strength of the L2 penalty, as in scikit-learn.
        val_labels: Whether validation labels count as training labels; None: no.

    Source:
        Wu et al., "Simplifying Graph Convolutional Networks", ICML 2019, section 2.2.
    """

    version = "1"
    stochastic = False

    def __init__(self, hops: int = 2, C: float = 1.0, val_labels: bool | None = None) -> None:
        self.hops, self.C = checks.integer("sgc.hops", hops, 0, 1000), checks.real("sgc.C", C, 1e-12)
        self.val_labels = val_labels is not None and checks.flag("sgc.val_labels", val_labels)

    def labels(self, trial: Trial) -> tuple[Tensor, Tensor]:
        """Return the nodes to fit on, and their labels."""
        return trial.given(self.val_labels)

    def fit_predict(self, trial: Trial) -> Tensor:
        """Fit on the labelled nodes."""
        problem, (nodes, labels) = trial.problem, self.labels(trial)
        if (scores := trial.single_class(labels)) is not None:
            return scores
        x = problem.smoothed(self.hops).numpy()
        model = LogisticRegression(C=self.C, max_iter=1000).fit(x[nodes.numpy()], labels.numpy())
        out = torch.zeros(problem.num_nodes, problem.num_classes)
        out[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(x)).float()
        return out


class SGCTV(SGC):
    """`SGC` with `val_labels`."""

    def __init__(self, hops: int = 2, C: float = 1.0, val_labels: bool = True) -> None:
        super().__init__(hops, C, val_labels)


class LPC(SGC):
    """SGC on labels that label propagation has corrected.

    The labels of all other labelled nodes are propagated to each labelled node (with restart, symmetric normalisation,
    no self-loops). Where one class has more than `share` of what arrives, it replaces the node's given label.

    Args:
        alpha: Weight of the neighbours, in [0, 1].
        steps: Number of steps.
        share: Share of the class that replaces a label, in [0, 1].
        hops: As of `SGC`.
        C: As of `SGC`.
        val_labels: Whether validation labels count as training labels.

    Source:
        The propagation is that of Zhou et al., "Learning with Local and Global Consistency", NIPS 2003, section 2.
    """

    def __init__(
        self,
        alpha: float = 0.9,
        steps: int = 50,
        share: float = 0.5,
        hops: int = 2,
        C: float = 1.0,
        val_labels: bool = True,
    ) -> None:
        super().__init__(hops, C, val_labels)
        self.alpha, self.steps = checks.rate("lpc.alpha", alpha), checks.integer("lpc.steps", steps, 0, 1_000_000)
        self.share = checks.rate("lpc.share", share)

    def labels(self, trial: Trial) -> tuple[Tensor, Tensor]:
        """Return the labelled nodes, and their labels after the correction."""
        nodes, labels = trial.given(self.val_labels)
        graph, ones = trial.problem.graph, F.one_hot(labels, trial.problem.num_classes).float()
        start = torch.zeros(trial.problem.num_nodes, ones.shape[1]).index_copy(0, nodes, ones)
        arrived = propagate(graph, start, alpha=self.alpha, num_steps=self.steps).y[nodes]
        # Propagation is linear: the part of a node's own label is what it keeps of a 1 that starts there.
        for first in range(0, len(nodes), BATCH):
            part = slice(first, first + BATCH)
            columns = torch.arange(len(nodes[part]))
            start = torch.zeros(trial.problem.num_nodes, len(columns))
            start[nodes[part], columns] = 1.0
            kept = propagate(graph, start, alpha=self.alpha, num_steps=self.steps).y[nodes[part], columns]
            arrived[part][columns, labels[part]] -= kept
        # Rounding may leave less than 0.
        most, other = arrived.clamp_(min=0.0).max(1)
        return nodes, torch.where(most > self.share * arrived.sum(1), other, labels)

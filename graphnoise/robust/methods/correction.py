"""Methods that prune or correct labels: confident learning, GNN Cleaner, R2LP, and self-training on confident nodes."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.nn.features import smoothed
from graphnoise.noise.confident import RULES, calibrated_joint, confident_errors
from graphnoise.propagation import propagate
from graphnoise.resources import limit_threads
from graphnoise.robust.methods.selection import smallest
from graphnoise.robust.training import Context, Method, Step
from graphnoise.typing import Floats, Ints

# Smoothing steps of SGC.
HOPS = 2
# Largest weight of a class.
MAX_WEIGHT = 10.0


class ConfidentLearning(Method):
    r"""Confident learning: labels that out-of-fold probabilities contradict are left out.

    The probabilities are those of SGC, logistic regression on smoothed features, by cross-validation. With the
    confident joint J[given, true], rows scaled to the numbers of labels to give Q, a rule of
    `graphnoise.noise.confident_errors` ("noise_rate", "class", "both", "off_diagonal") tells which are left out, and
    nodes labelled i count by sum_k Q_ki / Q_ii, at most 10. Of each class the node with the largest probability of
    its label is kept. Where fewer than two classes have two labels, all are kept.

    Args:
        prune: The rule.
        folds: Number of folds, or less where no class has as many labels.
        reweight: Whether the nodes count by the weights of their classes; otherwise all by 1.

    Attributes:
        kept: Which labels are kept, Boolean, shape [num_labelled].

    Source:
        Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, sections 3.1 and
        3.2.
    """

    needs_graph = True
    kept: Tensor
    class_weights: Tensor

    def __init__(self, prune: str = "noise_rate", folds: int = 5, reweight: bool = True) -> None:
        super().__init__()
        self.prune = checks.choice("prune", prune, RULES)
        self.folds = checks.integer("folds", folds, 2)
        self.reweight = checks.flag("reweight", reweight)

    def setup(self, context: Context) -> None:
        """Estimate the confident joint, and prune."""
        present, codes = torch.unique(context.given, return_inverse=True)
        kept, weights = torch.ones(len(codes), dtype=torch.bool), torch.ones(len(present))
        if int((torch.bincount(codes) > 1).sum()) > 1:
            p = out_of_fold(context, codes.cpu().numpy(), self.folds)
            kept, weights = pruned(p, codes.cpu().numpy(), self.prune)
        self.register_buffer("kept", kept.to(codes.device))
        self.register_buffer("class_weights", weights.to(codes.device)[codes])

    def select(self, step: Step) -> Tensor:
        """Return which labels are kept."""
        return self.kept[step.rows]

    def weights(self, step: Step) -> Tensor | None:
        """Return the weights of the classes."""
        return self.class_weights[step.rows] if self.reweight else None


def pruned(p: Floats, given: Ints, rule: str) -> tuple[Tensor, Tensor]:
    """Return which labels a rule of `ConfidentLearning` keeps, shape [n], and the weights of classes, shape [C].

    Args:
        p: Out-of-sample class probabilities, shape [n, C].
        given: Given labels, at least one of each class, shape [n].
        rule: The rule.

    Example:
        >>> p = np.array([0.9, 0.8, 0.1, 0.1, 0.2])
        >>> kept, weights = pruned(np.stack([p, 1 - p], 1), np.array([0, 0, 0, 1, 1]), "noise_rate")
        >>> kept.tolist()
        [True, True, False, True, True]
    """
    joint, left_out = calibrated_joint(p, given), confident_errors(p, given, rule)
    y = torch.from_numpy(given)
    own = torch.from_numpy(p[np.arange(len(given)), given])
    diagonal = joint.diagonal()
    weights = np.minimum(joint.sum(0) / np.maximum(diagonal, 1e-12), MAX_WEIGHT)
    return ~torch.from_numpy(left_out) | smallest(-own, y, 0.0), torch.from_numpy(weights).float()


def out_of_fold(context: Context, codes: Ints, folds: int) -> Floats:
    """Return the probabilities of labelled nodes by SGC, from models that have not seen their labels."""
    inputs = smoothed(context.full.x, context.full.graph, HOPS)[context.labelled].cpu().numpy()
    seed = int(torch.randint(2**31, (1,), generator=context.generator, device=context.generator.device))
    splits = StratifiedKFold(min(folds, int(np.bincount(codes).max())), shuffle=True, random_state=seed)
    # Dense algebra rounds differently with other numbers of threads.
    with limit_threads(1), warnings.catch_warnings():
        # Of classes with fewer labels than folds, which have probability 0 in some.
        warnings.simplefilter("ignore")
        model = LogisticRegression(max_iter=1000)
        p: NDArray[np.float64] = cross_val_predict(model, inputs, codes, cv=splits, method="predict_proba")
    return p


class SelfTraining(Method):
    r"""Self-training: nodes without a label learn the class that the network is sure of, as many of each class.

    Every few epochs, in round r, the r · per_class unlabelled nodes of each predicted class with the largest
    probability, of at least `threshold`, get it as a pseudo-label, and

        L = mean_labelled CE(y, p) + weight · mean_pseudo CE(y', p)

    Pseudo-labels are drawn up anew in each round, so that wrong ones may go. Without a sure node there is none.

    Args:
        per_class: Number of nodes of each class that a round adds.
        every: Epochs between two rounds.
        threshold: Least probability.
        weight: Weight of the pseudo-labels.

    Source:
        Li, Han and Wu, "Deeper Insights into Graph Convolutional Networks for Semi-Supervised Learning", AAAI 2018,
        algorithm 2, which adds the pseudo-labels to the labels once; rounds, threshold and weight are additions.
    """

    pseudo: Tensor
    search: ClassVar[dict[str, tuple[float, float]]] = {"threshold": (0.3, 0.9), "weight": (0.1, 2.0)}

    def __init__(self, per_class: int = 20, every: int = 20, threshold: float = 0.5, weight: float = 1.0) -> None:
        super().__init__()
        self.per_class = checks.integer("per_class", per_class, 1)
        self.every = checks.integer("every", every, 1)
        self.threshold = checks.rate("threshold", threshold)
        self.weight = checks.real("weight", weight, 0.0)

    def setup(self, context: Context) -> None:
        """Start without pseudo-labels."""
        self.register_buffer("pseudo", torch.full((context.full.num_nodes,), -1, device=context.labelled.device))

    def start_epoch(self, context: Context) -> None:
        """Draw up the pseudo-labels, where a round begins."""
        if context.epoch == 0 or context.epoch % self.every:
            return
        count, nodes = self.per_class * (context.epoch // self.every), context.unlabelled
        surest, classes = context.evaluate().logits[nodes].softmax(1).max(1)
        self.pseudo.fill_(-1)
        for c in range(context.num_classes):
            members = ((classes == c) & (surest >= self.threshold)).nonzero().view(-1)
            chosen = members[surest[members].argsort(descending=True, stable=True)[:count]]
            self.pseudo[nodes[chosen]] = c

    def terms(self, step: Step) -> Tensor | float:
        """Return the loss of the pseudo-labels."""
        labels = self.pseudo[step.batch.nodes]
        at = (labels >= 0).nonzero().view(-1)
        if not len(at):
            return 0.0
        return self.weight * F.cross_entropy(step.output.logits[at], labels[at])


class GNNCleaner(Method):
    r"""GNN Cleaner: labels that label propagation contradicts are mixed with what it says, by learned weights.

    Every few epochs after a warm-up, labels are propagated along arcs weighted by the cosines of embeddings (negative
    ones count as 0), with restart; of what arrives at node i, without the restart's own part, q_i is the distribution.
    Labels with argmax q_i = y_i are taken as clean. The targets of the others are

        lambda_i y_i + (1 - lambda_i) q_i,    lambda_i = sigmoid(a + b CE(p_i, y_i) + c CE(p_i, q_i))

    where a, b and c learn from how a step on the target would change the loss of the clean labels. With the last layer
    taken as linear in the embeddings h, that is, up to a factor, h_i' G (y_i - q_i) with G = mean_clean h_j (p_j -
    y_j)'. Where nothing arrives, q_i is the given label.

    Args:
        warm_up: Share of the epochs with plain training, before.
        every: Epochs between two propagations.
        alpha: Weight of the neighbours.
        num_steps: Steps of propagation.

    Source:
        Xia et al., "GNN Cleaner: Label Cleaner for Graph Structured Data", TKDE 2024: propagation on learned weights,
        and correction weights learned from the labels taken as clean. The paper needs given clean labels; the form of
        lambda and the gradient in closed form are ours.
    """

    needs_graph = True
    propagated: Tensor
    clean: Tensor
    search: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (0.5, 0.99)}

    def __init__(self, warm_up: float = 0.15, every: int = 10, alpha: float = 0.9, num_steps: int = 50) -> None:
        super().__init__()
        self.warm_up = checks.rate("warm_up", warm_up)
        self.every = checks.integer("every", every, 1)
        self.alpha = checks.rate("alpha", alpha)
        self.num_steps = checks.integer("num_steps", num_steps, 1, 1000)

    def setup(self, context: Context) -> None:
        """Take all labels as clean at first."""
        self.coefficients = torch.nn.Parameter(torch.zeros(3, device=context.given.device))
        self.register_buffer("propagated", F.one_hot(context.given, context.num_classes).float())
        self.register_buffer("clean", torch.ones(len(context.given), dtype=torch.bool, device=context.given.device))

    def start_epoch(self, context: Context) -> None:
        """Propagate the labels."""
        done = context.epoch - context.epochs_in(self.warm_up)
        if done < 0 or done % self.every:
            return
        view, h = context.full, F.normalize(context.evaluate().embedding)
        similarity = (h[view.edge_index[0]] * h[view.edge_index[1]]).sum(1).clamp(min=0)
        graph = Graph.from_edge_index(view.edge_index, view.num_nodes, similarity)
        one_hot = F.one_hot(context.given, context.num_classes).float()
        labels = torch.zeros(view.num_nodes, context.num_classes, device=h.device)
        labels[context.labelled] = one_hot
        spread = propagate(graph, labels, alpha=self.alpha, num_steps=self.num_steps, normalisation="row").y
        arrived = spread[context.labelled] - (1 - self.alpha) * one_hot
        total = arrived.clamp(min=0).sum(1, keepdim=True)
        q = torch.where(total > 1e-6, arrived.clamp(min=0) / total.clamp(min=1e-6), one_hot)
        self.propagated.copy_(q)
        self.clean.copy_(q.argmax(1) == context.given)

    def share(self, step: Step) -> Tensor:
        """Return lambda, shape [batch_size, 1]; the network gets no gradient from it."""
        logs, q = step.logits.detach().log_softmax(1), self.propagated[step.rows]
        losses = torch.stack([torch.ones(len(q), device=q.device), -(step.one_hot * logs).sum(1), -(q * logs).sum(1)])
        return torch.sigmoid(self.coefficients @ losses).unsqueeze(1)

    def targets(self, step: Step) -> Tensor:
        """Return the corrected labels."""
        share = torch.where(self.clean[step.rows].unsqueeze(1), 1.0, self.share(step))
        return share * step.one_hot + (1 - share) * self.propagated[step.rows]

    def terms(self, step: Step) -> Tensor | float:
        """Return the linear loss whose gradient is that of the clean labels' loss after a step."""
        clean = self.clean[step.rows]
        if not bool(clean.any()) or bool(clean.all()):
            return 0.0
        h, error = step.embedding.detach(), step.logits.detach().softmax(1) - step.one_hot
        slope = h[clean].T @ error[clean] / clean.sum()
        changes = step.one_hot - self.propagated[step.rows]
        effect = ((h @ slope) * changes).sum(1, keepdim=True)
        return (self.share(step) * effect)[~clean].mean()


class R2LP(Method):
    r"""R2LP: label propagation over reconstructed similarities corrects labels, from a pool of clean ones that grows.

    With H the embeddings, rows of length 1, and S the normalised graph, the reconstructed similarities are

        Z = (H H' + b2 (S + ... + S^hops) / hops) (H H' + (b1 + b2) I)^-1

    and labels are propagated by Y <- alpha Z Y + (1 - alpha) Y0. After a warm-up the pool is the half of the labels of
    each class that all labels support most. In each round then, the pool's labels are propagated, and the half of the
    other labelled nodes with the largest shares joins it with the class of the largest share. Only the pool trains.

    Args:
        warm_up: Share of the epochs with plain training, before.
        every: Epochs between two rounds.
        rounds: Number of rounds.
        alpha: Weight of the propagated labels.
        ridge: b1, as a multiple of the mean eigenvalue of H'H.
        edges: b2, as such a multiple.
        hops: Powers of S.
        num_steps: Steps of propagation.

    Source:
        Cheng et al., "Label Propagation for Graph Label Noise", 2023: reconstruction (with the closed form of Li et
        al., "Finding Global Homophily in Graph Neural Networks When Meeting Heterophily", ICML 2022, section 4, without
        its initial embeddings), propagation, selection in rounds. The paper starts from given clean labels. Here the
        inverse is that of a matrix of the embeddings' width, so that no matrix [n, n] is made.
    """

    needs_graph = True
    labels: Tensor
    pool: Tensor
    search: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (0.3, 0.95), "ridge": (0.01, 1.0)}

    def __init__(
        self,
        warm_up: float = 0.15,
        every: int = 10,
        rounds: int = 10,
        alpha: float = 0.6,
        ridge: float = 0.1,
        edges: float = 1.0,
        hops: int = 2,
        num_steps: int = 10,
    ) -> None:
        super().__init__()
        self.warm_up = checks.rate("warm_up", warm_up)
        self.every = checks.integer("every", every, 1)
        self.rounds = checks.integer("rounds", rounds, 1)
        self.alpha = checks.real("alpha", alpha, 0.0, 0.99)
        self.ridge = checks.real("ridge", ridge, 1e-6)
        self.edges = checks.real("edges", edges, 0.0)
        self.hops = checks.integer("hops", hops, 1, 1000)
        self.num_steps = checks.integer("num_steps", num_steps, 1, 1000)

    def setup(self, context: Context) -> None:
        """Put all labels in the pool for the warm-up."""
        self.register_buffer("labels", context.given.clone())
        self.register_buffer("pool", torch.ones(len(context.given), dtype=torch.bool, device=context.given.device))

    def start_epoch(self, context: Context) -> None:
        """Start the pool, or let it grow."""
        number, rest = divmod(context.epoch - context.epochs_in(self.warm_up), self.every)
        if rest or not 0 <= number <= self.rounds:
            return
        if number == 0:
            support = self.propagated(context).gather(1, context.given.unsqueeze(1)).squeeze(1)
            self.pool.copy_(smallest(-support, context.given, 0.5, balanced=True))
        elif not bool(self.pool.all()):
            largest, classes = self.propagated(context).max(1)
            others = (~self.pool).nonzero().view(-1)
            chosen = others[largest[others].argsort(descending=True, stable=True)[: (len(others) + 1) // 2]]
            self.labels[chosen] = classes[chosen]
            self.pool[chosen] = True

    def propagated(self, context: Context) -> Tensor:
        """Return the shares of the classes that the pool's labels propagate, shape [num_labelled, num_classes]."""
        h = F.normalize(context.evaluate().embedding)
        nodes, labels = context.labelled[self.pool], self.labels[self.pool]
        start = torch.zeros(len(h), context.num_classes, device=h.device)
        start[nodes, labels] = 1 / torch.bincount(labels, minlength=context.num_classes)[labels].float()
        y = start
        for _ in range(self.num_steps):
            y = self.alpha * self.reconstructed(context.full.graph, h, y) + (1 - self.alpha) * start
        shares = y[context.labelled].clamp(min=0)
        return shares / shares.sum(1, keepdim=True).clamp(min=1e-12)

    def reconstructed(self, graph: Graph, h: Tensor, y: Tensor) -> Tensor:
        """Return Z y."""
        gram = h.T @ h
        unit = float(gram.diagonal().mean()) or 1.0
        total = (self.ridge + self.edges) * unit
        identity = torch.eye(len(gram), device=h.device)
        # (H H' + t I)^-1 = (I - H (H'H + t I)^-1 H') / t.
        y = (y - h @ torch.linalg.solve(gram + total * identity, h.T @ y)) / total
        out, power = h @ (h.T @ y), y
        for _ in range(self.hops):
            power = propagate(graph, power, alpha=1.0, num_steps=1).y
            out = out + self.edges * unit / self.hops * power
        return out

    def select(self, step: Step) -> Tensor:
        """Return the pool."""
        return self.pool[step.rows]

    def targets(self, step: Step) -> Tensor:
        """Return the corrected labels."""
        return self.labels[step.rows]

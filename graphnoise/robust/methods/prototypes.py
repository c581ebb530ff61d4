"""CAPro: anchors by attributes, prototypes of embeddings, cleaning of labels, and collective bootstrapping."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn.features import row_normalised, smoothed
from graphnoise.robust.methods.warm_up import WarmUp
from graphnoise.robust.training import Context, Step, View

HOPS = 2
# Greatest number of anchors of a class; rounds of its trimmed mean.
MAX_ANCHORS, ROUNDS = 50, 2
# Entries of a block of similarities.
BLOCK_ENTRIES = 2**22
BANKS = ("labelled", "neighbours")


class CAPro(WarmUp):
    r"""Anchors that are typical by their attributes make prototypes of embeddings, and these clean the labels.

    Attributes: the features smoothed over two steps, rows of length 1. Of each class c the anchors are the K = max(1,
    min(50, n_c // 3)) labelled nodes nearest to its mean, which is computed again twice without the half of lower
    cosines. Structure: the prototype s_c is the mean of the anchors' embeddings, of length 1, then a running mean over
    epochs. With a = `own` and the temperature tau,

        q_i = a softmax(f_i) + (1 - a) softmax(z_i · s / tau)

    From the end of the warm-up on, a node gets the label argmax q_i if max q_i ≥ threshold; otherwise it keeps y_i if
    q_i[y_i] ≥ 1 / C, and else counts nothing (one node of each class always counts). The prototypes are then
    means over all nodes that count. The target is (1 - beta) label + beta b_i, where b_i is the mean of q over a bank
    of nodes, weighted by clamped cosines (`collective`).

    Args:
        warm_up: Share of the epochs before labels are cleaned.
        start: Share of the epochs before there are prototypes.
        momentum: Weight of the prototypes of the last epoch.
        own: Weight a of the network's own prediction.
        temperature: Temperature tau.
        threshold: Probability from which on q replaces a label.
        beta: Weight of collective bootstrapping.
        bank: "labelled", all labelled nodes, or "neighbours", the node itself and its neighbours, labelled or not.

    Raises:
        InputError: An argument out of its range, or prototypes that start after the warm-up.

    Source:
        Qin et al., "CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes", NeurIPS 2023, sections
        3.2 to 3.4. There texts take the place of attributes, and definitions of the classes that of trimmed means; the
        running mean has .999 for each sample.
    """

    needs_graph = True
    anchors: Tensor
    prototypes: Tensor
    started: Tensor
    labels: Tensor
    usable: Tensor
    bootstrapped: Tensor

    def __init__(
        self,
        warm_up: float = 0.1,
        start: float = 0.05,
        momentum: float = 0.9,
        own: float = 0.5,
        temperature: float = 0.1,
        threshold: float = 0.6,
        beta: float = 0.1,
        bank: str = "labelled",
    ) -> None:
        super().__init__(warm_up)
        self.start = checks.real("start", start, 0.0, self.warm_up)
        self.momentum, self.own = checks.rate("momentum", momentum), checks.rate("own", own)
        self.temperature = checks.real("temperature", temperature, 1e-3)
        self.threshold, self.beta = checks.rate("threshold", threshold), checks.rate("beta", beta)
        self.bank = checks.choice("bank", bank, BANKS)

    def setup(self, context: Context) -> None:
        """Choose the anchors."""
        view, given = context.full, context.given
        x = smoothed(row_normalised(view.x), view.graph, HOPS)[context.labelled]
        one_hot = F.one_hot(given, context.num_classes).float()
        width = context.evaluate().embedding.shape[1]
        context.forget()
        self.register_buffer("anchors", choose_anchors(x, given, context.num_classes))
        self.register_buffer("prototypes", torch.zeros(context.num_classes, width, device=given.device))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("labels", given.clone())
        self.register_buffer("usable", torch.ones(len(given), dtype=torch.bool, device=given.device))
        self.register_buffer("bootstrapped", one_hot)

    @torch.no_grad()
    def start_epoch(self, context: Context) -> None:
        """Move the prototypes, clean the labels, and average over the bank."""
        if context.epoch < context.epochs_in(self.start):
            return
        output, at = context.evaluate(), context.labelled
        z = F.normalize(output.embedding)
        counted = self.anchors if self.warming(context) else self.usable
        means = _means(z[at][counted], self.labels[counted], context.num_classes)
        share = self.momentum * float(self.started)
        self.prototypes.copy_(share * self.prototypes + (1 - share) * means)
        self.started.fill_(True)
        if self.warming(context):
            return
        near = (z @ F.normalize(self.prototypes).T / self.temperature).softmax(1)
        q = self.own * output.logits.softmax(1) + (1 - self.own) * near
        labels, usable = cleaned(q[at], context.given, self.threshold)
        self.labels.copy_(labels)
        self.usable.copy_(usable | _surest(q[at], labels, usable))
        banked = z[at], z[at], q[at]
        mean = collective(*banked) if self.bank == "labelled" else _over_neighbours(context.full, z, q)[at]
        self.bootstrapped.copy_(mean)

    def targets(self, step: Step) -> Tensor:
        """Return the cleaned labels, mixed with what the bank says."""
        if self.warming(step.context):
            return step.one_hot
        labels = F.one_hot(self.labels[step.rows], step.context.num_classes)
        return (1 - self.beta) * labels + self.beta * self.bootstrapped[step.rows]

    def select(self, step: Step) -> Tensor:
        """Return which nodes count."""
        return self.usable[step.rows]


def choose_anchors(x: Tensor, given: Tensor, num_classes: int) -> Tensor:
    """Return which rows are anchors of their class, see `CAPro`, Boolean, shape [n].

    Args:
        x: Smoothed features, rows of length 1, shape [n, d].
        given: Given labels, shape [n].
        num_classes: Number of classes.

    Example:
        >>> x = F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 0.05], [0.0, 1.0]]))
        >>> choose_anchors(x, torch.tensor([0, 0, 0, 0]), 1).tolist()
        [False, False, True, False]
    """
    anchors = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for c in range(num_classes):
        members = (given == c).nonzero().view(-1)
        if not len(members):
            continue
        count, kept = max(1, min(MAX_ANCHORS, len(members) // 3)), members
        for _ in range(ROUNDS):
            cosine = x[kept] @ F.normalize(x[kept].mean(0), dim=0)
            kept = kept[cosine.argsort(descending=True, stable=True)[: (len(kept) + 1) // 2]]
        cosine = x[members] @ F.normalize(x[kept].mean(0), dim=0)
        anchors[members[cosine.argsort(descending=True, stable=True)[:count]]] = True
    return anchors


def cleaned(q: Tensor, given: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the labels, replaced where max q ≥ threshold, and which nodes count, see `CAPro`.

    Example:
        >>> q = torch.tensor([[0.5, 0.3, 0.2], [0.62, 0.2, 0.18], [0.4, 0.25, 0.35]])
        >>> [part.tolist() for part in cleaned(q, torch.tensor([2, 2, 2]), 0.6)]
        [[2, 0, 2], [False, True, True]]
    """
    surest, classes = q.max(1)
    replaced = surest >= threshold
    own = q.gather(1, given.unsqueeze(1)).squeeze(1)
    return torch.where(replaced, classes, given), replaced | (own >= 1 / q.shape[1])


def collective(rows: Tensor, bank: Tensor, q: Tensor) -> Tensor:
    """Return Σ_k s_ik q_k / Σ_k s_ik with s the cosines, clamped to [0, 1], plus 1e-7; without gradients.

    Args:
        rows: Embeddings of length 1, shape [n, d].
        bank: Those of the bank, shape [m, d].
        q: Class probabilities of the bank, shape [m, num_classes].

    Example:
        >>> q = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> collective(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), q)
        tensor([[0.9000, 0.1000]])
    """
    out, size = [], max(BLOCK_ENTRIES // max(len(bank), 1), 1)
    for part in torch.split(rows.detach(), size):
        s = (part @ bank.detach().T).clamp(0.0, 1.0) + 1e-7
        out.append(s @ q.detach() / s.sum(1, keepdim=True))
    return torch.cat(out) if out else q.detach()[:0]


def _over_neighbours(view: View, z: Tensor, q: Tensor) -> Tensor:
    """Return the same over each node and the sources of its arcs."""
    nodes = torch.arange(view.num_nodes, device=z.device)
    source, target = torch.cat([view.edge_index, torch.stack([nodes, nodes])], 1)
    s = (z[source] * z[target]).sum(1).clamp(0.0, 1.0) + 1e-7
    total = torch.zeros_like(z[:, 0]).index_add(0, target, s)
    return torch.zeros_like(q).index_add(0, target, s.unsqueeze(1) * q[source]) / total.unsqueeze(1)


def _means(z: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    return z.new_zeros(num_classes, z.shape[1]).index_add(0, labels, z) / counts.unsqueeze(1)


def _surest(q: Tensor, labels: Tensor, usable: Tensor) -> Tensor:
    """Return the node of largest q of each class that no usable node has."""
    own = q.gather(1, labels.unsqueeze(1)).squeeze(1)
    missing = torch.bincount(labels[usable], minlength=q.shape[1]) == 0
    out = torch.zeros_like(usable)
    for c in missing.nonzero().view(-1).tolist():
        members = (labels == c).nonzero().view(-1)
        if len(members):
            out[members[own[members].argmax()]] = True
    return out

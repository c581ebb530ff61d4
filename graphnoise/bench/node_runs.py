"""Runs of evaluation reports on a data set: linear classification of smoothed features from noisy and clean labels."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.bench.tasks.node_noise import noise_axis, parse_noise, plant
from graphnoise.bench.tasks.nodes import load
from graphnoise.reports import confident_targets, draw_labelled, expected_exchange_rate

METHODS = ("plain", "weighted", "sequential")
HOPS, EPOCHS, RATE, DECAY = 2, 100, 0.2, 5e-5
# Share of the clean labels that stop the second stage, epochs without gain, and steps to the largest weight.
HELD_OUT, PATIENCE, RAMP = 0.2, 20, 200


class NodeRuns:
    """Runs on a data set, whose noisy labels are planted; SGC (features smoothed twice, softmax regression) learns.

    Args:
        dataset: Name, as `graphnoise bench nodes` takes it.
        noise: Kind of noise.
        rate: Its rate.
        root: Folder of the data sets.

    Raises:
        InputError: An argument is not valid.
        DataError: The data cannot be had.

    Example:
        >>> runs = NodeRuns("planted(n=90,block=45,p=0.3,q=0.02)", "symmetric", 0.3)
        >>> runs.mix({"clean": 20, "noisy": 0}, 0)["accuracy"] > 0.8
        True
    """

    def __init__(self, dataset: str, noise: str, rate: float, root: str | None = None) -> None:
        self.instance, self.root = load(dataset, root, 0), root
        problem = self.instance.problem
        self.z, self.truth = problem.smoothed(HOPS), self.instance.truth
        self.test = problem.test_mask.nonzero().view(-1)
        self.pool = ((~problem.test_mask) & (self.truth >= 0)).nonzero().view(-1)
        self.rate = checks.rate("rate", rate)
        self._noise = noise_axis([parse_noise("noise", noise)], [rate])[0]["noise"]

    def noisy(self, nodes: Tensor, seed: int) -> Tensor:
        """Return the labels of all nodes, with noise on some."""
        mask = torch.zeros(len(self.truth), dtype=torch.bool)
        mask[nodes] = True
        return plant(self.instance, self._noise, {"pool": mask}, seed, self.root)[0]

    def mix(self, config: Mapping[str, Any], seed: int) -> dict[str, float]:
        """Return the accuracy with some noisy and some clean labels of nodes that are not test nodes.

        Args:
            config: clean and noisy (or strong and weak), numbers of labels; disjoint, by default true; method: "plain"
                (all labels alike), "weighted" (noisy ones by `expected_exchange_rate`), or "sequential" (noisy ones
                first, with targets that follow confident predictions by up to one half; then clean ones, which a fifth
                of them stops).
            seed: Seed of the nodes and of the noise.

        Raises:
            InputError: There are not so many nodes, or a method is not known.
        """
        clean, weak = (int(config.get(a, config.get(b, 0))) for a, b in (("clean", "strong"), ("noisy", "weak")))
        method = checks.choice("method", config.get("method", METHODS[0]), METHODS)
        size = len(self.pool)
        chosen = draw_labelled(size, weak, clean, disjoint=bool(config.get("disjoint", True)), seed=seed)
        cheap, dear = (self.pool[torch.from_numpy(nodes)] for nodes in chosen)
        # A node with both kinds of label has a clean one.
        cheap = cheap[~torch.isin(cheap, dear)]
        given = self.noisy(self.pool, seed)
        if method == "sequential" and len(cheap) and len(dear):
            weights = self._fit(cheap, given[cheap], torch.ones(len(cheap)), confident=True)
            held = max(round(HELD_OUT * len(dear)), 1) if len(dear) > 1 else 0
            train, stop = dear[held:], dear[:held]
            weights = self._fit(train, self.truth[train], torch.ones(len(train)), weights, stop)
        else:
            classes = self.instance.problem.num_classes
            worth = expected_exchange_rate(self.rate, classes) if method == "weighted" else 1.0
            # Labels worth nothing still train where there are no others.
            counts = torch.cat([torch.full((len(cheap),), max(worth, 1e-3)), torch.ones(len(dear))])
            weights = self._fit(torch.cat([cheap, dear]), torch.cat([given[cheap], self.truth[dear]]), counts)
        right = self._scores(weights, self.test).argmax(1) == self.truth[self.test]
        return {"accuracy": float(right.double().mean())}

    @functools.cached_property
    def labelled(self) -> Tensor:
        """Training nodes of the data set, of which `memorise` withholds some labels."""
        return self.instance.problem.train

    def memorise(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return which labels are predicted where only those of `included` training nodes are seen.

        The noise is the same in all runs. Groups: degree, homophily (share of neighbours of the same true class), size
        of the given class, and whether the label is wrong.
        """
        given = self.noisy(self.labelled, 0)
        seen = self.labelled[torch.as_tensor(config["included"], dtype=torch.long)]
        weights = self._fit(seen, given[seen], torch.ones(len(seen)))
        correct = self._scores(weights, self.labelled).argmax(1) == given[self.labelled]
        test = self._scores(weights, self.test).argmax(1) == self.truth[self.test]
        return {"correct": correct.numpy(), "test_correct": test.numpy(), "groups": self._groups(given)}

    def _groups(self, given: Tensor) -> dict[str, NDArray[Any]]:
        graph, n = self.instance.problem.graph, len(self.truth)
        row, col = graph.edge_index
        degree = torch.bincount(row, minlength=n).double()
        same = torch.bincount(row, (self.truth[row] == self.truth[col]).double(), minlength=n)
        labels = given[self.labelled]
        groups = {
            "degree": degree[self.labelled],
            "homophily": (same / degree.clamp(min=1))[self.labelled],
            "class size": torch.bincount(labels)[labels],
            "wrong": labels != self.truth[self.labelled],
        }
        return {name: np.asarray(values) for name, values in groups.items()}

    def _scores(self, weights: Tensor, nodes: Tensor) -> Tensor:
        return self.z[nodes] @ weights[:-1] + weights[-1]

    def _fit(
        self,
        nodes: Tensor,
        y: Tensor,
        counts: Tensor,
        start: Tensor | None = None,
        stop: Tensor | None = None,
        confident: bool = False,
    ) -> Tensor:
        """Return weights of a softmax regression, from zeros or a start; `stop` are nodes that end the training."""
        classes = self.instance.problem.num_classes
        with torch.enable_grad():
            weights = (torch.zeros(self.z.shape[1] + 1, classes) if start is None else start.clone()).requires_grad_()
            optimiser = torch.optim.Adam([weights], RATE, weight_decay=DECAY)
            best, score, waited = weights.detach().clone(), -1.0, 0
            for epoch in range(EPOCHS):
                logits = self._scores(weights, nodes)
                targets = F.one_hot(y, classes).float()
                if confident:
                    share = 0.5 * min(epoch / RAMP, 1.0)
                    p = logits.detach().double().softmax(1)
                    targets = torch.from_numpy(confident_targets(p, y, share)).float()
                loss = (counts * F.cross_entropy(logits, targets, reduction="none")).sum() / counts.sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                if stop is None or not len(stop):
                    continue
                right = self._scores(weights.detach(), stop).argmax(1) == self.truth[stop]
                now = float(right.double().mean())
                if now > score:
                    best, score, waited = weights.detach().clone(), now, 0
                elif (waited := waited + 1) >= PATIENCE:
                    break
        return weights.detach() if stop is None or not len(stop) else best

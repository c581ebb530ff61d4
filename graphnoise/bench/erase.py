"""ERASE as a method of the benchmark."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from ..erase import ERASE, CollapseWarning
from ..erase.train import Training
from .problem import Task


class Erase:
    """ERASE; every hyper-parameter that is not given is that of the preset, see `graphnoise.erase.Settings`.

    Where noise has left the training nodes a single class, that class is predicted.
    """

    version = "1"
    stochastic = True

    def __init__(
        self,
        preset: str = "robust",
        encoder: str | None = None,
        layers: int | None = None,
        hidden: int | None = None,
        heads: int | None = None,
        width: int | None = None,
        dropout: float | None = None,
        activation: str | None = None,
        hidden_norm: str | None = None,
        norm: str | None = None,
        components: int | None = None,
        denoise: str | None = None,
        propagation: str | None = None,
        normalisation: str | None = None,
        alpha: float | None = None,
        num_steps: int | None = None,
        trust: str | None = None,
        prototypes: str | None = None,
        beta: float | None = None,
        gamma1: float | None = None,
        gamma2: float | None = None,
        eps: float | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        select: str | None = None,
        probe: str | None = None,
        probe_c: float | None = None,
        probe_every: int | None = None,
        probe_from: int | None = None,
        eta: float | None = None,
        batch_size: int | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        self._arguments: dict[str, Any] = given
        ERASE(**given)  # a wrong value is refused here, not in every cell

    def fit_predict(self, task: Task) -> Tensor:
        """Train on the task's given labels and return the class probabilities of all nodes."""
        problem = task.problem
        given = task.y[problem.train]
        if bool((given == given[0]).all()):
            out = torch.zeros(problem.num_nodes, problem.num_classes)
            out[:, int(given[0])] = 1.0
            return out
        data = Data(
            x=problem.x,
            edge_index=problem.graph.edge_index,
            y=task.y,
            train_mask=problem.train_mask,
            val_mask=problem.val_mask,
        )
        model = ERASE(seed=task.seed, num_classes=problem.num_classes, progress=False, **self._arguments)

        def report(training: Training) -> None:
            task.report(training.history["loss"][-1] or 0.0, training.semantic[problem.train])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # accuracies show it
            return model.fit(data, on_epoch=report).predict_proba(data)

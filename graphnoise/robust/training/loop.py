"""The training loop: steps, selection of the best epoch on noisy validation labels, state for checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.process_group import sum_gradients
from graphnoise.robust.training.batches import Batch, Batches, SharedBatches, SharedView
from graphnoise.robust.training.context import Context, Step
from graphnoise.robust.training.method import Method
from graphnoise.robust.training.networks import Output

COLUMNS = ("loss", "kept", "val_accuracy", "val_loss", "seconds")


@dataclass(frozen=True)
class Optimisation:
    """Settings of training that all methods share.

    Attributes:
        epochs: Largest number of epochs.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty of the weights of networks.
        patience: Epochs without a better validation score before training ends; None: all epochs are run.
    """

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    patience: int | None = None


class Training:
    """A training run, advanced by `epoch`.

    Where there are validation labels, the epoch of the highest accuracy on them is kept (ties: of the lowest
    cross-entropy); else the last one.

    Args:
        method: What is trained, and how.
        context: Labels and networks.
        batches: The batches of an epoch.
        settings: Epochs and optimiser.
    """

    def __init__(self, method: Method, context: Context, batches: Batches, settings: Optimisation) -> None:
        self.method, self.context, self.batches, self.settings = method, context, batches, settings
        method.setup(context)
        self.modules = torch.nn.ModuleList([*context.networks, method])  # type: ignore[list-item]
        groups: list[dict[str, Any]] = [
            {"params": [p for network in self.modules[:-1] for p in network.parameters() if p.requires_grad]},
            {"params": [p for p in method.parameters() if p.requires_grad], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self.optimiser = torch.optim.Adam(groups, settings.lr, weight_decay=settings.weight_decay)
        self.best_epoch, self.best_accuracy, self.best_loss = 0, -1.0, math.inf
        self.best: dict[str, Tensor] = {}
        # Set by callbacks.
        self.stopped = False
        self.history: dict[str, list[float | None]] = {name: [] for name in COLUMNS}

    @property
    def epochs_done(self) -> int:
        """Number of epochs done."""
        return self.context.epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        patience, waited = self.settings.patience, self.epochs_done - self.best_epoch
        waiting = patience is not None and self.best_epoch > 0 and waited >= patience
        return self.epochs_done >= self.settings.epochs or waiting or self.stopped

    def epoch(self) -> None:
        """Train one epoch, and evaluate it on the validation labels."""
        start, context = time.perf_counter(), self.context
        self.method.start_epoch(context)
        losses, kept = [], []
        for batch in self.batches.epoch(context.generator):
            outputs = self._outputs(batch)
            total = outputs[0].logits.new_zeros(())
            for k in range(len(outputs)):
                loss, share = self._loss(Step(context, batch, outputs, k))
                total = total + loss
                kept.append(share)
            self._step(total)
            losses.append(total.item())
        if not losses:
            checks.fail("loader", "batches with labelled nodes", "none in an epoch")
        context.epoch += 1
        context.forget()
        self.method.end_epoch(context)
        row: dict[str, float | None] = {
            "loss": math.fsum(losses) / len(losses),
            "kept": math.fsum(kept) / len(kept),
        }
        if len(context.val):
            row |= self._validate()
        row["seconds"] = time.perf_counter() - start
        for name, column in self.history.items():
            column.append(row.get(name))

    def _outputs(self, batch: Batch) -> list[Output]:
        """Return the outputs of each network for a batch; those of all processes, where they share it."""
        if not isinstance(batch.view, SharedView):
            return self.method.forward(self.context, batch)
        view = batch.view
        found = [network(view.own, view.generator) for network in self.context.networks]
        return [Output(*(view.share.gather(values) for values in output)) for output in found]

    def _loss(self, step: Step) -> tuple[Tensor, float]:
        """Return the loss of one network, and the share of the labelled nodes that count."""
        method = self.method
        with torch.no_grad():
            keep, weights, targets = method.select(step), method.weights(step), method.targets(step)
        losses = method.loss(step, targets.detach())
        for name, values in (("select", keep), ("weights", weights), ("loss", losses)):
            if values is not None and values.shape != step.rows.shape:
                expected = f"a value for each of the {len(step.rows)} labelled nodes of the batch"
                checks.fail(f"method: {name} of {type(method).__name__}", expected, f"shape {tuple(values.shape)}")
        counts = torch.ones(len(step.rows), device=step.rows.device) if weights is None else weights.float()
        counts = counts if keep is None else counts * keep
        total = counts.sum()
        if not bool((counts >= 0).all()) or math.isinf(float(total)):
            checks.fail(f"method: weights of {type(method).__name__}", "finite numbers of at least 0", "others")
        mean = (counts * losses).sum() / total if float(total) > 0 else losses.sum() * 0.0
        return mean + method.terms(step), float((counts > 0).float().mean())

    def _step(self, loss: Tensor) -> None:
        if not math.isfinite(loss.item()):
            got = f"{loss.item()} in epoch {self.epochs_done + 1}"
            checks.fail("loss", "a finite loss (a lower lr may help)", got)
        self.optimiser.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            if isinstance(self.batches, SharedBatches):
                sum_gradients(p for network in self.modules[:-1] for p in network.parameters())
            self.optimiser.step()
        self.context.forget()

    @torch.no_grad()
    def _validate(self) -> dict[str, float | None]:
        context = self.context
        probabilities = self.method.predict(context, context.full)[context.val]
        known = context.val_given >= 0
        loss = float(F.nll_loss(probabilities[known].clamp(min=1e-12).log(), context.val_given[known]))
        accuracy = float((probabilities.argmax(1) == context.val_given).double().mean())
        better = accuracy > self.best_accuracy or (accuracy == self.best_accuracy and loss < self.best_loss)
        if better and self.method.ready(context):
            self.best_accuracy, self.best_loss, self.best_epoch = accuracy, loss, context.epoch
            self.best = {name: value.clone() for name, value in self.modules.state_dict().items()}
        return {"val_accuracy": accuracy, "val_loss": loss}

    def select_best(self) -> None:
        """Load the weights of the best epoch; those of the last one where none was selected."""
        if self.best:
            self.modules.load_state_dict(self.best)
        else:
            self.best_epoch = self.epochs_done
        self.context.forget()

    def state(self) -> dict[str, Any]:
        """Return all that is needed to resume training, as tensors and plain values only."""
        return {
            **{name: getattr(self, name) for name in _STATE},
            "epoch": self.context.epoch,
            "modules": self.modules.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.context.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""
        for name in _STATE:
            setattr(self, name, state[name])
        self.context.epoch = state["epoch"]
        self.modules.load_state_dict(state["modules"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.context.generator.set_state(state["generator"])
        self.context.forget()


_STATE = ("best_epoch", "best_accuracy", "best_loss", "best", "history")

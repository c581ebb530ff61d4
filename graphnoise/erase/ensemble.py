"""Training of ERASE from several initialisations, whose probes are blended."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphnoise.erase.inputs import Inputs, Labels
from graphnoise.erase.settings import Settings
from graphnoise.erase.train import COLUMNS, Training, weighted

# Between the seeds of two initialisations; the seed after each is that of its dropout and mini-batches.
SEED_STEP = 1 << 32


class Ensemble:
    """Training runs of several initialisations side by side, with the interface of one `Training`.

    Args:
        inputs: Features and graph.
        labels: Labels that training reads.
        s: Hyper-parameters; probe "blend".
        seed: Seed of the initialisations and of the parts of the labelled nodes.
    """

    def __init__(self, inputs: Inputs, labels: Labels, s: Settings, seed: int) -> None:
        self.inputs, self.labels, self.s = inputs, labels, s
        parts = labels.parts(s.n_init, seed) if s.held_out else [labels] * s.n_init
        # The first run is that of a single initialisation. A run takes two seeds.
        seeds = [(seed + SEED_STEP * k) % 2**62 for k in range(s.n_init)]
        self.runs = [Training(inputs, part, s, one, labels.shares) for part, one in zip(parts, seeds, strict=True)]
        self.encoder, self.denoised = self.runs[0].encoder, self.runs[0].denoised
        self.fitted: dict[str, Any] = {}
        self.best_accuracy = -1.0
        # Means over the runs; seconds are the sum, and the accuracy on validation labels is that of the blend.
        self.history: dict[str, list[float | None]] = {name: [] for name in COLUMNS}

    @property
    def epochs_done(self) -> int:
        """Epochs of each run."""
        return self.runs[0].epochs_done

    @property
    def best_epoch(self) -> int:
        """The last probed epoch."""
        return self.runs[0].best_epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.runs[0].finished

    @property
    def semantic(self) -> Tensor:
        """The most frequent semantic label of each node over the runs (the first of equals), shape [num_nodes]."""
        return torch.stack([run.semantic for run in self.runs]).mode(0).values

    def epoch(self) -> None:
        """Train one epoch of each run, and blend their probes where they are due."""
        for run in self.runs:
            run.epoch()
        if self.best_epoch == self.epochs_done:
            self._blend()
        for name, column in self.history.items():
            values = [run.history[name][-1] for run in self.runs]
            known = [value for value in values if value is not None]
            column.append(sum(known) / (1 if name == "seconds" else len(known)) if known else None)
        if self.history["val_accuracy"][-1] is not None:
            self.history["val_accuracy"][-1] = self.best_accuracy

    def fit_probe(self) -> None:
        """Fit the probes on the current embeddings, and blend them."""
        for run in self.runs:
            run.fit_probe()
        self._blend()

    def _blend(self) -> None:
        states = [run.fitted for run in self.runs]
        self.fitted = {name: [part for state in states for part in state[name]] for name in ("members", "plain")}
        self.fitted |= {name: states[0][name] for name in ("weights", "encoder")}
        if self.s.select == "validation":
            candidates = [run.val_candidates() for run in self.runs]
            # Parts that are left out differ, others are the same nodes.
            pooled = torch.cat(candidates, 1) if self.s.held_out else torch.stack(candidates).mean(0)
            known = [run.labels.val_labels for run in self.runs]
            val_labels = torch.cat(known) if self.s.held_out else known[0]
            self.fitted["weights"], self.best_accuracy = weighted(pooled, val_labels, self.s.blend_temperature)

    def rank(self) -> float:
        """Return the smallest effective rank of a run's embeddings, without dropout."""
        return min(run.rank() for run in self.runs)

    def state(self) -> dict[str, Any]:
        """Return all that is needed to resume training, as tensors and plain values only."""
        return {"history": self.history, **{str(k): run.state() for k, run in enumerate(self.runs)}}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""
        self.history = state["history"]
        for k, run in enumerate(self.runs):
            run.restore(state[str(k)])
        if all(run.fitted for run in self.runs):
            self._blend()


def start(inputs: Inputs, labels: Labels, s: Settings, seed: int) -> Training | Ensemble:
    """Return the state of a training of one or of several initialisations."""
    return Training(inputs, labels, s, seed) if s.n_init == 1 else Ensemble(inputs, labels, s, seed)

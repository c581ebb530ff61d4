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
        s: Hyper-parameters.
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
        """Epochs of the longest run."""
        return max(run.epochs_done for run in self.runs)

    @property
    def best_epoch(self) -> int:
        """The selected epoch of the first run."""
        return self.runs[0].best_epoch

    @property
    def finished(self) -> bool:
        """Whether all runs are."""
        return all(run.finished for run in self.runs)

    @property
    def semantic(self) -> Tensor:
        """The most frequent semantic label of each node over the runs (the first of equals), shape [num_nodes]."""
        return torch.stack([run.semantic for run in self.runs]).mode(0).values

    def epoch(self) -> None:
        """Train one epoch of each run that is not finished, and combine their probes where they are due."""
        active = [run for run in self.runs if not run.finished]
        for run in active:
            run.epoch()
        # A blend changes in the epochs that are probed.
        if self.s.probe != "blend" or self.best_epoch == self.epochs_done:
            self._combine()
        for name, column in self.history.items():
            known = [value for run in active if (value := run.history[name][-1]) is not None]
            column.append(sum(known) / (1 if name == "seconds" else len(known)) if known else None)
        if self.s.probe == "blend" and self.history["val_accuracy"][-1] is not None:
            self.history["val_accuracy"][-1] = self.best_accuracy

    def fit_probe(self) -> None:
        """Fit the probes on the current embeddings, and combine them."""
        for run in self.runs:
            run.fit_probe()
        self._combine()

    def _combine(self) -> None:
        states, blended = [run.fitted for run in self.runs], self.s.probe == "blend"
        if not all(states):
            return
        joined = ("members", "plain") if blended else ()
        self.fitted = {**states[0], "runs": [] if blended else states}
        self.fitted |= {name: [part for state in states for part in state[name]] for name in joined}
        self.best_accuracy = sum(run.best_accuracy for run in self.runs) / len(self.runs)
        if blended and self.s.select == "validation":
            candidates, known = (
                [run.val_candidates() for run in self.runs],
                [run.labels.val_labels for run in self.runs],
            )
            # Parts that are left out are other nodes in each run, validation nodes the same.
            pooled = torch.cat(candidates, 1) if self.s.held_out else torch.stack(candidates).mean(0)
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
        self._combine()


def start(inputs: Inputs, labels: Labels, s: Settings, seed: int) -> Training | Ensemble:
    """Return the state of a training of one or of several initialisations."""
    return Training(inputs, labels, s, seed) if s.n_init == 1 else Ensemble(inputs, labels, s, seed)

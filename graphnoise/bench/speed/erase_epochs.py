"""One epoch of the library after the other, with the seconds of its stages; long ones of mini-batches in part."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from torch_geometric.data import Data

from graphnoise.bench.speed.erase_cases import Case
from graphnoise.bench.speed.erase_gate import training
from graphnoise.bench.speed.erase_stages import STAGES, Watch, watched
from graphnoise.erase.train import Training

MOST = 30  # mini-batches that are timed; an epoch of more is extrapolated


@dataclass(frozen=True)
class Epoch:
    """The time of an epoch.

    Attributes:
        seconds: Of the epoch.
        stages: Seconds of each stage, which add up to that.
        timed: Mini-batches that were timed, 0 for the full batch.
        batches: Mini-batches of an epoch.
    """

    seconds: float
    stages: dict[str, float]
    timed: int = 0
    batches: int = 0


class _Enough(Exception):  # noqa: N818
    """As many mini-batches as are timed have been trained on."""


class Ours:
    """The library's training of a case, epoch by epoch.

    Args:
        case: Graph and settings.
        data: The graph.
        most: Mini-batches of an epoch that are run; the time of the others is extrapolated.
    """

    def __init__(self, case: Case, data: Data, most: int = MOST) -> None:
        self.s = case.settings
        self.training: Training = training(data, self.s, case.seed)
        self.watch = Watch()
        size = self.s.batch_size
        self.batches = 0 if size is None else max(case.nodes // size, 1)
        self.most = most

    def epoch(self) -> Epoch:
        """Train one epoch, or the beginning of one that is too long."""
        with watched(self.training, self.watch):
            self.watch.take()
            if self.batches <= self.most:
                began = time.perf_counter()
                self.training.epoch()
                seconds = time.perf_counter() - began
                return Epoch(seconds, self.watch.take(), self.batches, self.batches)
            return self._extrapolated()

    def _extrapolated(self) -> Epoch:
        """Train on a few mini-batches of the epoch, then probe if an epoch does."""
        with _stopping(self.training, self.most), suppress(_Enough):
            self.training.epoch()
        opening = self.watch.opening or {}
        found = self.watch.take()
        factor = self.batches / self.most
        stages = {
            name: opening.get(name, 0.0) + factor * (found.get(name, 0.0) - opening.get(name, 0.0)) for name in STAGES
        }
        if self.s.select == "validation":
            self.training._fit_best()
            stages["probe"] = sum(self.watch.take().values()) / self.s.probe_every
        stages = {name: seconds for name, seconds in stages.items() if seconds > 0}
        return Epoch(sum(stages.values()), stages, self.most, self.batches)


@contextmanager
def _stopping(training: Training, most: int) -> Iterator[None]:
    """Stop an epoch after so many steps of the optimiser."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == most:
            raise _Enough

    handle = training.optimiser.register_step_post_hook(count)
    try:
        yield
    finally:
        handle.remove()

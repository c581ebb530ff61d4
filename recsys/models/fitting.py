"""What stands around the epochs: the choice of an epoch by validation, and a progress bar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from graphnoise._check import choice, fail
from recsys.evaluation import evaluate
from recsys.metrics import PER_USER, parse
from recsys.models.start import Parameters


def chooser(metric: Any) -> str:
    """Return the name of a metric that may choose the epoch: one of single users, where more is better.

    Raises:
        InputError: another name.

    Example:
        >>> chooser("ndcg@20")
        'ndcg@20'
    """
    if not isinstance(metric, str):
        fail("metric", 'a name such as "ndcg@20"', repr(metric))
    ((kind, _),) = parse([metric], 10**9).values()
    choice("metric", kind, PER_USER)
    return metric


class Keeper:
    """Keeps the parameters of the epoch that is best on a validation set; the earliest where values tie."""

    def __init__(self, metric: str, patience: int | None, train: Any, validation: Any) -> None:
        self._metric, self._patience, self._train, self._validation = metric, patience, train, validation
        if validation is not None:
            parse([metric], train.shape[1])
        self.history: list[float] = []
        self.best_epoch: int | None = None
        self.best: Parameters | None = None

    @property
    def asks(self) -> bool:
        """Whether there is a validation set."""
        return self._validation is not None

    def enough(self, model: Any, parameters: Parameters, num_threads: int) -> bool:
        """Measure the model, keep the parameters if it is the best so far, and return whether to stop."""
        found = evaluate(model, self._train, self._validation, [self._metric], num_threads=num_threads)
        self.history.append(found[self._metric])
        if self.best_epoch is None or self.history[-1] > self.history[self.best_epoch]:
            self.best_epoch, self.best = len(self.history) - 1, parameters
        return self._patience is not None and len(self.history) - 1 - self.best_epoch >= self._patience


@contextlib.contextmanager
def progress(shown: bool, epochs: int) -> Iterator[Callable[[], object]]:
    """Give a function to call after each epoch."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("epochs", total=epochs)
        yield lambda: bar.advance(task)

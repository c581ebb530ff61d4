"""What stands around the epochs: the choice of an epoch by validation, Ctrl-C, and a progress bar."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Self

from graphnoise.checks import choice, fail, integer
from recsys.base import Callback
from recsys.evaluation import evaluate
from recsys.metrics import PER_USER, parse
from recsys.models.factors import FactorModel
from recsys.validation import as_csr, check_disjoint

# The parameters after an epoch, as a model copies them.
State = Any


def check_selection_metric(metric: Any) -> str:
    """Return the name of a metric that may choose the epoch: one of single users, where more is better.

    Raises:
        InputError: Another name.

    Example:
        >>> check_selection_metric("ndcg@20")
        'ndcg@20'
    """
    if not isinstance(metric, str):
        fail("metric", 'a name such as "ndcg@20"', repr(metric))
    ((kind, _),) = parse([metric], 10**9).values()
    choice("metric", kind, PER_USER)
    return metric


class EarlyStopping:
    """Keeps the parameters of the epoch that is best on a validation set; the earliest where values tie."""

    def __init__(self, metric: str, patience: int | None, train: Any, validation: Any) -> None:
        self._metric, self._patience, self._train, self._validation = metric, patience, train, validation
        if validation is not None:
            parse([metric], train.shape[1])
        self.history: list[float] = []
        self.best_epoch: int | None = None
        self.best: State = None

    @property
    def asks(self) -> bool:
        """Whether there is a validation set."""
        return self._validation is not None

    def enough(self, model: Any, parameters: State, num_threads: int) -> bool:
        """Measure the model, keep the parameters if it is the best so far, and return whether to stop."""
        found = evaluate(model, self._train, self._validation, [self._metric], num_threads=num_threads)
        self.history.append(found[self._metric])
        if self.best_epoch is None or self.history[-1] > self.history[self.best_epoch]:
            self.best_epoch, self.best = len(self.history) - 1, parameters
        return self._patience is not None and len(self.history) - 1 - self.best_epoch >= self._patience


class EpochModel(FactorModel):
    """A model that is trained by epochs, of which a validation set may choose one; a subclass supplies `_fit`.

    Attributes:
        epochs: How many were run.
        best_epoch: The one that validation chose, from 0, or None.
        history: The metric after each epoch, where there is a validation set.
        counts: For each epoch how many draws there were, how many were correct, and how many were skipped.
    """

    iterations: int
    num_threads: int

    def _chosen_by(self, metric: Any, patience: Any) -> None:
        """Take what chooses the epoch, and set the attributes."""
        self.metric = check_selection_metric(metric)
        self.patience = None if patience is None else integer("patience", patience, 1)
        self.epochs = 0
        self.best_epoch: int | None = None
        self.history: list[float] = []
        self.counts: list[tuple[int, int, int]] = []
        self._validation: Any = None

    def fit(
        self,
        user_items: Any,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        validation: Any = None,
    ) -> Self:
        """Learn from positives. Ctrl-C leaves the last whole epoch in the model, and is passed on.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix.
            show_progress: Show a progress bar.
            callback: Called after each epoch as callback(epoch, seconds, correct, skipped), epochs from 0; the model
                has that epoch's parameters.
            validation: Users × items, held out: `metric` on it chooses the epoch that is kept.

        Raises:
            InputError: No interaction at all, a validation set that overlaps or is empty, a device that is not there,
                or training that diverges.
        """
        if validation is not None:
            known = as_csr("user_items", user_items)
            held = as_csr("validation", validation, shape=known.shape)
            check_disjoint([("user_items", known), ("validation", held)])
            if held.nnz == 0:
                fail("validation", "at least one interaction", "none")
            self._validation = held
        try:
            return super().fit(user_items, show_progress, callback)
        finally:
            self._validation = None

    def _epochs(
        self,
        user_items: Any,
        show_progress: bool,
        callback: Callback | None,
        epoch_of: Callable[[int], Any],
        copy: Callable[[int], State],
        take: Callable[[State], None],
    ) -> None:
        """Run the epochs.

        Args:
            user_items: What is learned from.
            show_progress: Show a progress bar.
            callback: See `fit`.
            epoch_of: Runs an epoch; returns its counts, `drawn`, `correct` and `skipped`.
            copy: Copies the parameters after an epoch, or refuses ones that are not finite.
            take: Makes such a copy the model's.
        """
        keeper, kept = EarlyStopping(self.metric, self.patience, user_items, self._validation), None
        self.counts, self.history, self.best_epoch = [], keeper.history, None
        try:
            with progress(show_progress, self.iterations) as tick:
                for epoch in range(self.iterations):
                    began = time.perf_counter()
                    count = epoch_of(epoch)
                    seconds = time.perf_counter() - began
                    kept = copy(epoch)
                    self.epochs = epoch + 1
                    self.counts.append((count.drawn, count.correct, count.skipped))
                    if callback is not None or keeper.asks or epoch + 1 == self.iterations:
                        take(kept)
                    tick()
                    if callback is not None:
                        callback(epoch, seconds, count.correct, count.skipped)
                    if keeper.asks and keeper.enough(self, kept, self.num_threads):
                        break
        except KeyboardInterrupt:
            if kept is not None:
                take(kept)
            raise
        self.best_epoch = keeper.best_epoch
        if keeper.best is not None:
            take(keeper.best)

    def _diverged(self, learning_rate: float, epoch: int) -> NoReturn:
        fail("learning_rate", "one that is small enough to train", f"{learning_rate}, which diverged in epoch {epoch}")


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

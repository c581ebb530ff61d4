"""The epoch loop of models trained by gradients: early stopping on a validation set, Ctrl-C, progress bar."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, NoReturn, Self, TypeVar

import scipy.sparse as sp

from graphnoise.checks import choice, fail, flag, integer
from recsys.base import Callback, Recommender, wants_stop
from recsys.evaluation import evaluate_checked
from recsys.interactions import InteractionsLike, check_held_out
from recsys.kernels.sgd import Count
from recsys.metrics import PER_USER, parse
from recsys.models.baselines import Popularity
from recsys.models.factors import FactorModel
from recsys.objectives import Objective
from recsys.objectives import objective as make_objective
from recsys.samplers import Sampler
from recsys.samplers import sampler as make_sampler

# Above the metric of popularity, relative.
MARGIN = 0.1
# A copy of the parameters after an epoch.
State = TypeVar("State")


def check_selection_metric(metric: Any) -> str:
    """Return the name of a metric that may select the epoch: a mean over users, higher is better.

    Raises:
        InputError: Another name.

    Example:
        >>> check_selection_metric("ndcg@20")
        'ndcg@20'
    """
    if not isinstance(metric, str):
        fail("metric", 'a name such as "ndcg@20"', repr(metric))
    ((kind, _),) = parse([metric]).values()
    choice("metric", kind, PER_USER)
    return metric


class EarlyStopping(Generic[State]):
    """Selects the epoch with the best metric on a validation set, the earliest among ties.

    Factors learn the popularity of items first, and the metric stays near its level for some epochs: patience counts
    once the best epoch is above that level by more than `MARGIN`.

    Args:
        metric: A name that `check_selection_metric` accepts.
        patience: Number of epochs without improvement after which to stop; None never stops.
        train: Checked training interactions, excluded from the candidates.
        validation: Checked held-out interactions, or None to select nothing.
    """

    def __init__(self, metric: str, patience: int | None, train: sp.csr_array, validation: sp.csr_array | None) -> None:
        self.metric, self.patience, self.train, self.validation = metric, patience, train, validation
        self._parsed = {} if validation is None else parse([metric])
        self.history: list[float] = []
        self.best_epoch: int | None = None
        self.best: State | None = None
        # The best epoch must be above it before patience counts.
        self.least = -1.0
        if validation is not None and patience is not None:
            self.least = (1 + MARGIN) * self._evaluate(Popularity().fit(train, False))

    def _evaluate(self, model: Recommender, num_threads: int = 1) -> float:
        assert self.validation is not None
        return evaluate_checked(model, self.train, self.validation, self._parsed, num_threads=num_threads)[self.metric]

    def update(self, model: Recommender, state: State) -> bool:
        """Evaluate the model after an epoch; keep its state if it is the best, and return whether to stop."""
        self.history.append(self._evaluate(model, model.num_threads))
        if self.best_epoch is None or self.history[-1] > self.history[self.best_epoch]:
            self.best_epoch, self.best = len(self.history) - 1, state
        if self.patience is None or self.history[self.best_epoch] <= self.least:
            return False
        return len(self.history) - 1 - self.best_epoch >= self.patience


class EpochModel(FactorModel):
    """A model trained by epochs, one of which a validation set may select; a subclass implements `_fit`.

    Attributes:
        epochs: Number of epochs that were run.
        best_epoch: The epoch selected by validation, from 0, or None.
        history: The metric after each epoch, if there is a validation set.
        counts: The numbers of draws, of correct and of skipped ones in each epoch.
        objective_: The objective of the fit, a copy: models do not share one.
        sampler_: Its sampler, a copy as well; not in saved models.
    """

    iterations: int | None
    num_threads: int
    objective: Objective | str | Mapping[str, Any]
    sampler: Sampler | str | Mapping[str, Any] | None
    objective_: Objective
    sampler_: Sampler
    epochs = 0
    best_epoch: int | None = None
    history: Sequence[float] = ()
    counts: Sequence[tuple[int, int, int]] = ()
    _validation: sp.csr_array | None = None

    def _set_selection(self, metric: Any, patience: Any) -> None:
        """Check and store the arguments that select the epoch."""
        self.metric = check_selection_metric(metric)
        self.patience = None if patience is None else integer("patience", patience, 1)

    def objective_and_sampler(self) -> tuple[Objective, Sampler]:
        """Return a new objective and a new sampler, as the arguments of these names say.

        Raises:
            InputError: An unknown name, or arguments that do not fit.
        """
        objective = make_objective(self.objective)
        name = objective.sampler or "uniform" if self.sampler is None else self.sampler
        sampler = make_sampler(name)
        # Those made from names are new.
        return (
            copy.deepcopy(objective) if objective is self.objective else objective,
            copy.deepcopy(sampler) if sampler is name else sampler,
        )

    def _parameters(self) -> dict[str, Any]:
        objective, sampler = self.objective_and_sampler()
        text = {"objective": json.dumps(objective.parameters()), "sampler": json.dumps(sampler.parameters())}
        return super()._parameters() | text

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        model = cls(**parameters | {key: json.loads(parameters[key]) for key in ("objective", "sampler")})
        model.objective_, _ = model.objective_and_sampler()
        return model

    def fit(
        self,
        user_items: InteractionsLike,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        validation: InteractionsLike | None = None,
    ) -> Self:
        """Learn from positives. Ctrl-C restores the last complete epoch and is raised again.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix.
            show_progress: Show a progress bar.
            callback: Called after each epoch as callback(epoch, seconds, correct, skipped), epochs from 0; the model
                has that epoch's parameters. Training stops if it returns True.
            validation: Users × items, held out: `metric` on it selects the epoch.

        Raises:
            InputError: No interaction at all, a validation set that overlaps or is empty, a device that is not
                available, or training that diverges.
        """
        with self._checking():
            matrix, show_progress = self._check_fit(user_items, callback), flag("show_progress", show_progress)
            held_out = None if validation is None else check_held_out(matrix, validation, self._given[:2])
        return self._fit_epochs(matrix, show_progress, callback, held_out)

    def _checking(self) -> AbstractContextManager[None]:
        """Return the context in which `fit` checks its arguments."""
        return contextlib.nullcontext()

    def _stops(self, stop: bool) -> bool:
        """Return whether training stops, where the callback asked for it or did not."""
        return stop

    def _fit_epochs(
        self,
        user_items: sp.csr_array,
        show_progress: bool,
        callback: Callback | None,
        validation: InteractionsLike | None,
    ) -> Self:
        """Fit a checked matrix."""
        if validation is not None:
            self._validation = check_held_out(user_items, validation)
        try:
            return self._fit_checked(user_items, show_progress, callback)
        finally:
            self._validation = None

    def _run_epochs(
        self,
        user_items: sp.csr_array,
        show_progress: bool,
        callback: Callback | None,
        iterations: int,
        run_epoch: Callable[[int], Count],
        copy: Callable[[int, State | None], State],
        restore: Callable[[State], None],
    ) -> None:
        """Run the epochs.

        Args:
            user_items: The training interactions.
            show_progress: Show a progress bar.
            callback: See `fit`.
            iterations: Number of epochs.
            run_epoch: Runs an epoch and returns its counts.
            copy: Copies the parameters after an epoch, into a state that is no longer needed if there is one; raises if
                they are not finite. Ctrl-C in the next epoch restores the copy.
            restore: Makes a state the model's parameters.
        """
        stopping: EarlyStopping[State] = EarlyStopping(self.metric, self.patience, user_items, self._validation)
        # Two buffers in turn, so that Ctrl-C during a copy leaves the previous state intact.
        last: State | None = None
        spare: State | None = None
        self.counts, self.history, self.best_epoch = [], stopping.history, None
        try:
            with progress(show_progress, iterations) as advance:
                for epoch in range(iterations):
                    began = time.perf_counter()
                    count = run_epoch(epoch)
                    seconds = time.perf_counter() - began
                    last, spare = copy(epoch, None if spare is stopping.best else spare), last
                    self.epochs = epoch + 1
                    self.counts.append((count.drawn, count.correct, count.skipped))
                    if callback is not None or stopping.validation is not None or epoch + 1 == iterations:
                        restore(last)
                    advance()
                    stop = callback is not None and wants_stop(callback(epoch, seconds, count.correct, count.skipped))
                    stop = self._stops(stop)
                    if stopping.validation is not None and stopping.update(self, last):
                        break
                    if stop:
                        break
        except KeyboardInterrupt:
            if last is not None:
                restore(last)
            raise
        self.best_epoch = stopping.best_epoch
        if stopping.best is not None:
            restore(stopping.best)

    def _diverged(self, learning_rate: float, epoch: int) -> NoReturn:
        fail("learning_rate", "one that is small enough to train", f"{learning_rate}, which diverged in epoch {epoch}")


@contextlib.contextmanager
def progress(shown: bool, epochs: int) -> Iterator[Callable[[], object]]:
    """Show a progress bar; yields a function to call after each epoch."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("epochs", total=epochs)
        yield lambda: bar.advance(task)

"""Where the time of an epoch goes: hooks around the parts of the library's training, inside the epoch that is timed."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from graphnoise.erase import train
from graphnoise.erase.train import Training

# In the order of an epoch. What no stage covers (checks, sums of the history) is the rest.
STAGES = {
    "sampling": "neighbours and features of mini-batches",
    "encoder": "forward",
    "prototypes": "class means and cosines",
    "fusion": "with the given labels",
    "propagation": "of the fused labels",
    "coding rate": "forward",
    "coding rate, gradient": "to the embeddings",
    "encoder, gradient": "from the embeddings to the weights",
    "optimiser": "Adam",
    "probe": "with its embeddings, without dropout",
    "rank": "of the embeddings, every tenth epoch",
    "rest": "",
}
# The functions that training calls by their names in its module, and the stage of each.
_CALLED = {
    "sample_neighbors": "sampling",
    "_class_means": "prototypes",
    "_prototype_labels": "prototypes",
    "_fuse": "fusion",
    "propagate": "propagation",
    "effective_rank": "rank",
}


class Watch:
    """Seconds by stage. A stage begins inside another one and takes its time, except inside the probe.

    Attributes:
        seconds: Of each stage since the last `take`.
        opening: The same up to the first mini-batch, where there are mini-batches.
        batches: When each mini-batch began, and when the last one ended.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.take()

    def take(self) -> dict[str, float]:
        """Return the seconds of each stage, and begin again."""
        if hasattr(self, "seconds"):
            self._charge()
            found = {stage: self.seconds[stage] for stage in STAGES if stage in self.seconds}
        else:
            found = {}
        self.seconds: dict[str, float] = {}
        self.opening: dict[str, float] | None = None
        self.batches: list[float] = []
        self._stack, self._since = ["rest"], self._clock()
        return found

    def _charge(self) -> float:
        now = self._clock()
        stage = self._stack[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
        return now

    def enter(self, stage: str) -> None:
        """Begin a stage."""
        self._charge()
        self._stack.append("probe" if "probe" in self._stack else stage)

    def leave(self) -> None:
        """End it; the one around it goes on."""
        self._charge()
        self._stack.pop()

    def turn(self, stage: str) -> None:
        """Let another stage follow."""
        self._charge()
        self._stack[-1] = stage

    def batch(self) -> None:
        """Note that a mini-batch begins."""
        now = self._charge()
        if self.opening is None:
            self.opening = dict(self.seconds)
        self.batches.append(now)

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as a stage."""

        @functools.wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            self.enter(stage)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return run

    def backward(self, z: Tensor, *values: Tensor) -> None:
        """Follow the gradient from the values to the embeddings z, and from there on."""
        if z.requires_grad:
            z.register_hook(lambda grad: self.turn("encoder, gradient"))  # type: ignore[no-untyped-call]
            for value in values:
                value.register_hook(lambda grad: self.turn("coding rate, gradient"))  # type: ignore[no-untyped-call]


@contextmanager
def watched(training: Training, watch: Watch) -> Iterator[Watch]:
    """Let a watch follow the epochs of a training."""
    with ExitStack() as stack:
        called: Any = train
        for name, stage in _CALLED.items():
            _replace(stack, train, name, watch.wrapped(stage, getattr(train, name)))
        _replace(stack, train, "sample_neighbors", _marked(watch, called.sample_neighbors))
        _replace(stack, train, "coding_rates", _followed(watch, called.coding_rates))
        for name, stage in (("pseudo_labels", "fusion"), ("_fit_best", "probe")):
            _replace(stack, training, name, watch.wrapped(stage, getattr(training, name)))
        _replace(stack, training.loss, "forward", _followed(watch, training.loss.forward))
        encoder, optimiser = training.encoder, training.optimiser
        for handle in (
            encoder.register_forward_pre_hook(lambda *_: watch.enter("encoder")),
            encoder.register_forward_hook(lambda *_: watch.leave()),
            optimiser.register_step_pre_hook(lambda *_: watch.turn("optimiser")),
            optimiser.register_step_post_hook(lambda *_: watch.turn("rest")),
        ):
            stack.callback(handle.remove)
        yield watch


def _marked(watch: Watch, sample: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        watch.batch()
        return sample(*args, **options)

    return run


def _followed(watch: Watch, rates: Callable[..., Any]) -> Callable[..., Any]:
    inside = watch.wrapped("coding rate", rates)

    def run(z: Tensor, *args: Any, **options: Any) -> Any:
        found = inside(z, *args, **options)
        watch.backward(z, *([found] if isinstance(found, Tensor) else found))
        return found

    return run


def _replace(stack: ExitStack, owner: Any, name: str, value: object) -> None:
    """Set an attribute until the stack unwinds; an instance then sees its class's again."""
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    stack.callback(lambda: setattr(owner, name, before) if own else delattr(owner, name))

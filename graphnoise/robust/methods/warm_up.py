"""Methods that begin with plain cross-entropy, before predictions of the network can be used."""

from __future__ import annotations

from graphnoise import checks
from graphnoise.robust.training import Context, Method


class WarmUp(Method):
    """A method whose first epochs are plain cross-entropy; none of them is selected as the best.

    Args:
        warm_up: Share of the epochs.
    """

    def __init__(self, warm_up: float) -> None:
        super().__init__()
        self.warm_up = checks.rate("warm_up", warm_up)

    def warming(self, context: Context) -> bool:
        """Return whether the epoch that begins, or runs, is one of the warm-up."""
        return context.epoch < context.epochs_in(self.warm_up)

    def ready(self, context: Context) -> bool:
        """Return whether the epoch that has just ended was not one of the warm-up."""
        return context.epoch > context.epochs_in(self.warm_up)

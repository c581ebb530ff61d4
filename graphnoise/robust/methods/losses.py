"""Methods that train with another loss than cross-entropy, each a function of `gn.robust.losses`, and ELR."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.robust import losses
from graphnoise.robust.training import Context, Method, Step


class LossMethod(Method):
    """Training with a loss of `gn.robust.losses`; its settings are the keywords of the function.

    Args:
        settings: Keywords of the function.

    Attributes:
        function: The loss.
        fixed: Keywords that are no settings.

    Raises:
        InputError: An unknown setting, or one out of its range.
    """

    function: ClassVar[Callable[..., Tensor]] = losses.cross_entropy
    fixed: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        for name in settings:
            checks.choice(f"setting of {type(self).__name__}", name, self.defaults())
        for name, value in {**self.defaults(), **settings}.items():
            setattr(self, name, value)
        # Checks the settings, whatever the default device.
        self._values(torch.zeros(1, 2, device="cpu"), torch.zeros(1, dtype=torch.int64, device="cpu"))

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        return self._values(step.logits, targets)

    def _values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return type(self).function(logits, targets, reduction="none", **self.fixed, **self.settings())

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings and their defaults."""
        keywords = [p for p in inspect.signature(cls.function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {p.name: p.default for p in keywords if p.name not in ("reduction", *cls.fixed)}


class CrossEntropy(Method):
    """Training with cross-entropy on the given labels: the plain baseline."""


class MAE(LossMethod):
    """Training with `gn.robust.losses.mae`. It learns slowly where p of the label is small, wrong labels or not."""

    function = losses.mae


class GCE(LossMethod):
    """Training with `gn.robust.losses.gce`."""

    function = losses.gce
    search = MappingProxyType({"q": (0.1, 1.0)})


class RCE(LossMethod):
    """Training with `gn.robust.losses.rce`."""

    function = losses.rce


class SCE(LossMethod):
    """Training with `gn.robust.losses.sce`."""

    function = losses.sce
    search = MappingProxyType({"alpha": (0.01, 6.0), "beta": (0.01, 6.0)})


class NCE(LossMethod):
    """Training with `gn.robust.losses.nce`. Alone it underfits; the paper combines it."""

    function = losses.nce


class NCEandRCE(LossMethod):
    """Training with `gn.robust.losses.active_passive` of nce and rce."""

    function = losses.active_passive
    fixed = MappingProxyType({"active": "nce", "passive": "rce"})
    search = MappingProxyType({"alpha": (0.1, 10.0), "beta": (0.1, 10.0)})


class NCEandMAE(LossMethod):
    """Training with `gn.robust.losses.active_passive` of nce and mae."""

    function = losses.active_passive
    fixed = MappingProxyType({"active": "nce", "passive": "mae"})
    search = MappingProxyType({"alpha": (0.1, 10.0), "beta": (0.1, 10.0)})


class NFLandRCE(LossMethod):
    """Training with `gn.robust.losses.active_passive` of nfl and rce."""

    function = losses.active_passive
    fixed = MappingProxyType({"active": "nfl", "passive": "rce"})
    search = MappingProxyType({"alpha": (0.1, 10.0), "beta": (0.1, 10.0)})


class Focal(LossMethod):
    """Training with `gn.robust.losses.focal`. It is no defence against noise."""

    function = losses.focal
    search = MappingProxyType({"gamma": (0.0, 5.0)})


class PHuber(LossMethod):
    """Training with `gn.robust.losses.phuber`."""

    function = losses.phuber
    search = MappingProxyType({"tau": (1.0, 50.0)})


class Taylor(LossMethod):
    """Training with `gn.robust.losses.taylor`."""

    function = losses.taylor


class SoftBootstrapping(LossMethod):
    """Training with `gn.robust.losses.soft_bootstrapping`."""

    function = losses.soft_bootstrapping
    search = MappingProxyType({"beta": (0.5, 1.0)})


class HardBootstrapping(LossMethod):
    """Training with `gn.robust.losses.hard_bootstrapping`."""

    function = losses.hard_bootstrapping
    search = MappingProxyType({"beta": (0.5, 1.0)})


class LabelSmoothing(LossMethod):
    """Training with `gn.robust.losses.label_smoothing`."""

    function = losses.label_smoothing
    search = MappingProxyType({"smoothing": (0.0, 0.8)})


class TruncatedGCE(Method):
    r"""Training with `gce`, from some epoch on only with nodes whose label is probable: p_y > threshold.

    Nodes are chosen anew every `interval` epochs, by predictions of the current network without dropout (the paper has
    those of the best epoch so far). Where none is left, all are kept; a class may be left without any.

    Args:
        q: From 0 (cross-entropy) to 1 (mean absolute error).
        threshold: Probability of the label up to which a node is left out.
        warm_up: Share of the epochs with all nodes, before.
        interval: Epochs between two choices.

    Raises:
        InputError: A setting out of its range.

    Source:
        Zhang and Sabuncu, NeurIPS 2018, section 3.3 and algorithm 1.
    """

    search = MappingProxyType({"q": (0.1, 1.0), "threshold": (0.1, 0.6)})
    kept: Tensor

    def __init__(self, q: float = 0.7, threshold: float = 0.5, warm_up: float = 0.2, interval: int = 10) -> None:
        super().__init__()
        self.q, self.threshold = checks.rate("q", q), checks.rate("threshold", threshold)
        self.warm_up, self.interval = checks.rate("warm_up", warm_up), checks.integer("interval", interval, 1)

    def setup(self, context: Context) -> None:
        """Start with all nodes."""
        self.register_buffer("kept", torch.ones_like(context.given, dtype=torch.bool))

    def start_epoch(self, context: Context) -> None:
        """Choose nodes."""
        waited = context.epoch - context.epochs_in(self.warm_up)
        if waited >= 0 and waited % self.interval == 0:
            p = context.evaluate().logits[context.labelled].softmax(1)
            kept = p.gather(1, context.given[:, None])[:, 0] > self.threshold
            self.kept = kept if bool(kept.any()) else torch.ones_like(kept)

    def select(self, step: Step) -> Tensor:
        """Return which nodes are chosen."""
        return self.kept[step.rows]

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        return losses.gce(step.logits, targets, q=self.q, reduction="none")


class ELR(Method):
    r"""Early-learning regularisation: labels that early predictions contradict lose their pull.

    The loss is cross-entropy + lam · mean log(1 - <t_i, p_i>), with p from 1e-4 to 1 - 1e-4. The memory t of each
    labelled node starts at 0, and each step sets t to beta t + (1 - beta) p / sum p before it is used; predictions
    leave it as it is. Gradients do not pass through t. An epoch of a full batch is one step, so that with the default
    beta the memory follows predictions within a few epochs, and the term, which outweighs cross-entropy for lam > 1,
    keeps what they are by then: where one class is much larger than the others, too much of it. A beta of 0.9 or more
    helps there, with many labels for training (val_labels="train"), say.

    Args:
        lam: Weight of the term, at least 0; the paper has 3 for CIFAR-10 and 7 for CIFAR-100.
        beta: Share of the memory that a step keeps; the paper has 0.7 and 0.9.

    Raises:
        InputError: A setting out of its range.

    Source:
        Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020, equations 6
        and 9.
    """

    search = MappingProxyType({"lam": (0.5, 7.0), "beta": (0.5, 0.95)})
    memory: Tensor

    def __init__(self, lam: float = 3.0, beta: float = 0.7) -> None:
        super().__init__()
        self.lam, self.beta = checks.real("lam", lam, 0.0), checks.rate("beta", beta)

    def setup(self, context: Context) -> None:
        """Make the memory."""
        shape = (len(context.given), context.num_classes)
        self.register_buffer("memory", torch.zeros(shape, device=context.given.device))

    def terms(self, step: Step) -> Tensor:
        """Update the memory, and return the term."""
        p = step.logits.softmax(1).clamp(1e-4, 1 - 1e-4)
        with torch.no_grad():
            mixed = self.beta * self.memory[step.rows] + (1 - self.beta) * p / p.sum(1, keepdim=True)
            self.memory[step.rows] = mixed
        return self.lam * (1 - (mixed * p).sum(1)).log().mean()

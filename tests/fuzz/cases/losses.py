"""Cases of the losses of robust training."""

from collections.abc import Callable
from typing import Any

import torch

from graphnoise import noise
from graphnoise.robust import losses
from tests.fuzz.cases.inputs import Case


def _logits() -> torch.Tensor:
    return torch.randn(34, 2, generator=torch.Generator().manual_seed(0))


def _arguments(more: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {"logits": _logits(), "target": torch.arange(34) % 2, "reduction": "mean", **more}


def _corrected(more: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    shared = {"reduction": "mean", **more}
    return lambda: {"logits": _logits(), "noisy": _logits().softmax(1), "transition": noise.symmetric(2, 0.2), **shared}


SETTINGS: dict[str, dict[str, Any]] = {
    "active_passive": {"active": "nce", "passive": "rce", "alpha": 1.0, "beta": 1.0},
    "cross_entropy": {},
    "focal": {"gamma": 2.0},
    "gce": {"q": 0.7},
    "hard_bootstrapping": {"beta": 0.8},
    "label_smoothing": {"smoothing": 0.1},
    "ldam": {"margin": 0.5, "scale": 30.0},
    "mae": {},
    "nce": {},
    "nfl": {"gamma": 0.5},
    "phuber": {"tau": 10.0},
    "rce": {"clip": 1e-4},
    "sce": {"alpha": 0.1, "beta": 1.0, "clip": 1e-4},
    "soft_bootstrapping": {"beta": 0.95},
    "taylor": {"order": 2},
    "truncated_gce": {"q": 0.7, "threshold": 0.5},
}
CORRECTED: dict[str, dict[str, Any]] = {
    "backward_correction": {"pseudo_inverse": True},
    "forward_correction": {},
    "importance_reweighting": {"detach": True},
}
# Of several classes per row.
POSITIVES: dict[str, dict[str, Any]] = {
    "balanced_focal": {"gamma": 3.0, "shift": 0.05, "margin": 1.0, "balance": 1.0, "exponent": 1 / 6},
    "pu": {"alpha": 1.0, "gamma": 0.55},
}


def _positives(more: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {"logits": _logits(), "positive": torch.eye(2).repeat(17, 1), **more}


CASES = {
    f"graphnoise.robust.losses.{name}": Case(getattr(losses, name), arguments(more))
    for group, arguments in ((SETTINGS, _arguments), (CORRECTED, _corrected), (POSITIVES, _positives))
    for name, more in group.items()
} | {
    "graphnoise.robust.losses.recover_positives": Case(
        losses.recover_positives,
        lambda: {"probabilities": _logits().sigmoid(), "positive": torch.eye(2).repeat(17, 1), "threshold": 0.7},
    )
}

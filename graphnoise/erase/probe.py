"""The linear probe: logistic regression on L2-normalised embeddings."""

from __future__ import annotations

import functools
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks


@functools.cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def _directions(z: Tensor) -> Tensor:
    """Return the rows with length 1; zero rows stay."""
    if not bool(torch.isfinite(z.norm(dim=1)).all()):
        checks.fail("z", f"rows with a finite norm in {z.dtype}", "larger ones")
    return F.normalize(z)


class Probe:
    """Multinomial logistic regression of classes on the direction of embeddings, by scikit-learn.

    Args:
        z: Embeddings of the nodes to fit on, shape [num_train, width].
        y: Their labels, int64, shape [num_train]; where all are alike, that class is predicted with certainty.
        num_classes: Number of classes.
        C: Inverse strength of the L2 penalty, as in scikit-learn.

    Raises:
        InputError: Embeddings that are not finite, labels out of range, or a C that is not above 0.

    Example:
        >>> probe = Probe(torch.eye(2), torch.tensor([0, 2]), 3)
        >>> probe(torch.eye(2)).argmax(1).tolist()
        [0, 2]

    Source:
        ERASE (CIKM 2024), evaluation by a linear classifier.
    """

    def __init__(self, z: Tensor, y: Tensor, num_classes: int, C: float = 1.0) -> None:
        z = checks.finite("z", z, dims=2)
        if z.shape[0] == 0 or z.shape[1] == 0:
            checks.fail("z", "at least one node and one column", f"shape {tuple(z.shape)}")
        num_classes = checks.integer("num_classes", num_classes, 1)
        C = checks.real("C", C, 1e-12)
        labels = checks.labels("y", y, num_classes, size=z.shape[0]).cpu().numpy()
        x = _directions(z).detach().cpu().numpy()
        self.num_classes, self.width = num_classes, z.shape[1]
        if (labels == labels[0]).all():
            self.classes = torch.from_numpy(labels[:1].copy())
            self.weight, self.bias = torch.zeros(1, self.width), torch.zeros(1)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a thousand steps are close enough
            with _threads().limit(limits=1, user_api="blas"):  # idle ones spin, and slow what comes next
                model = LogisticRegression(C=C, max_iter=1000).fit(x, labels)
        self.classes = torch.from_numpy(model.classes_).long()
        self.weight, self.bias = torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()
        if len(model.classes_) == 2:  # scikit-learn keeps the logit of the second class against the first
            self.weight, self.bias = (torch.cat([torch.zeros_like(t), t]) for t in (self.weight, self.bias))

    def __call__(self, z: Tensor) -> Tensor:
        """Return class probabilities, shape [num_nodes, num_classes]; a class that was not fitted gets 0.

        Raises:
            InputError: Embeddings of another width, or that are not finite.
        """
        z = checks.finite("z", z, dims=2)
        if z.shape[1] != self.width:
            checks.fail("z", f"{self.width} columns, as it was fitted on", z.shape[1])
        logits = F.linear(_directions(z), self.weight.to(z), self.bias.to(z))
        out = z.new_zeros(z.shape[0], self.num_classes)
        out[:, self.classes.to(z.device)] = logits.softmax(1)
        return out

    def state(self) -> dict[str, Tensor]:
        """Return what `restored` needs."""
        return {"classes": self.classes, "weight": self.weight, "bias": self.bias}

    @classmethod
    def restored(cls, state: dict[str, Tensor], num_classes: int) -> Probe:
        """Return the probe that `state` came from."""
        probe = object.__new__(cls)
        probe.classes, probe.weight, probe.bias = (state[name] for name in ("classes", "weight", "bias"))
        probe.num_classes, probe.width = num_classes, probe.weight.shape[1]
        return probe

"""Linear probe: logistic regression on L2-normalised embeddings."""

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
from graphnoise.labels import class_positions
from graphnoise.typing import LabelsLike


@functools.cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


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

    def __init__(self, z: Tensor, y: LabelsLike, num_classes: int, C: float = 1.0) -> None:
        z = _embeddings(z)
        if 0 in z.shape:
            checks.fail("z", "at least one node and one column", f"shape {tuple(z.shape)}")
        num_classes = checks.integer("num_classes", num_classes, 1)
        C = checks.real("C", C, 1e-12)
        self._fit(z, class_positions(y, num_classes, size=z.shape[0]), num_classes, C)

    @classmethod
    def fitted(cls, z: Tensor, labels: Tensor, num_classes: int, C: float) -> Probe:
        """Return the probe of embeddings and labels that have been checked."""
        probe = object.__new__(cls)
        probe._fit(z, labels, num_classes, C)
        return probe

    def _fit(self, z: Tensor, labels: Tensor, num_classes: int, C: float) -> None:
        self.num_classes, y = num_classes, labels.cpu().numpy()
        if (y == y[0]).all():
            self.classes = torch.from_numpy(y[:1].copy())
            self.weight, self.bias = torch.zeros(1, z.shape[1]), torch.zeros(1)
            return
        with warnings.catch_warnings():
            # A thousand steps are close enough.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Idle BLAS threads spin, and slow down what comes next.
            with _threads().limit(limits=1, user_api="blas"):
                model = LogisticRegression(C=C, max_iter=1000).fit(F.normalize(z).detach().cpu().numpy(), y)
        self.classes = torch.from_numpy(model.classes_).long()
        self.weight, self.bias = torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()
        if len(model.classes_) == 2:
            # scikit-learn keeps the logit of the second class against the first.
            self.weight, self.bias = (torch.cat([torch.zeros_like(t), t]) for t in (self.weight, self.bias))

    def __call__(self, z: Tensor) -> Tensor:
        """Return class probabilities, shape [num_nodes, num_classes]; 0 for a class without labelled nodes.

        Raises:
            InputError: Embeddings of another width, or that are not finite.
        """
        z = _embeddings(z)
        if z.shape[1] != self.weight.shape[1]:
            checks.fail("z", f"{self.weight.shape[1]} columns, as in the fit", z.shape[1])
        return self.predict(z)

    def predict(self, z: Tensor) -> Tensor:
        """Return class probabilities of embeddings that have been checked, shape [num_nodes, num_classes]."""
        logits = F.linear(F.normalize(z), self.weight.to(z), self.bias.to(z))
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
        probe.num_classes = num_classes
        return probe


def _embeddings(z: Tensor) -> Tensor:
    """Return embeddings, shape [num_nodes, width], with finite entries and norms."""
    z = checks.finite("z", z, dims=2)
    if not bool(torch.isfinite(z.norm(dim=1)).all()):
        checks.fail("z", f"rows with a finite norm in {z.dtype}", "larger ones")
    return z

"""Base class of estimators that classify the nodes of a torch_geometric `Data`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.labels import class_names, read_labels
from graphnoise.typing import LabelsLike


class NodeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator whose `predict_proba` gives class probabilities of nodes, in the order of `classes_`."""

    classes_: Any

    @abstractmethod
    def predict_proba(self, data: Data) -> Tensor:
        """Return the class probabilities of each node, shape [num_nodes, num_classes]."""

    def predict(self, data: Data) -> Any:
        """Return the most probable class of each node, shape [num_nodes].

        Returns:
            Names of classes: an int64 tensor, or a NumPy array where they are strings.

        Raises:
            InputError, NotFittedError: As `predict_proba`.
        """
        codes = self.predict_proba(data).argmax(1)
        return class_names(self.classes_, codes)

    def score(self, data: Data, mask: LabelsLike | None = None, *, split: int | None = None) -> float:
        """Return the accuracy against `data.y_true`, or against `data.y` where the data have no `y_true`.

        Args:
            data: The data set.
            mask: The nodes, a Boolean mask or positions; by default `data.test_mask`.
            split: Column of a mask of several splits.

        Raises:
            InputError, NotFittedError: As `predict_proba`; or there are no labels, no mask, or no node in it.
        """
        predicted = self.predict_proba(data).argmax(1).cpu()
        name = "data.y_true" if data.get("y_true") is not None else "data.y"
        labels = data.get(name.removeprefix("data."))
        if labels is None:
            checks.fail("data", "a Data with y_true or y", "none")
        mask = data.get("test_mask") if mask is None else mask
        if mask is None:
            checks.fail("mask", "nodes to score, or a data.test_mask", "none")
        mask = checks.mask("mask", mask, predicted.numel(), split=split).cpu()
        if not bool(mask.any()):
            checks.fail("mask", "at least one node", "none")
        size, nodes = predicted.numel(), mask.nonzero().view(-1)
        truth = read_labels(labels, nodes=nodes, size=size, unlabelled=False, name=name).codes_among(self.classes_)
        return float((predicted[nodes] == truth.cpu()).double().mean())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

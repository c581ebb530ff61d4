"""What a cell records of a prediction, and how predictions and curves are kept."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnoise.bench.methods.problem import Problem
from graphnoise.checks import DataError


def share(hits: Tensor) -> float | None:
    """Return the share of true entries; None where there are none to count."""
    return float(hits.double().mean()) if hits.numel() else None


def measure(problem: Problem, truth: Tensor, noisy: Tensor, predicted: Tensor) -> dict[str, Any]:
    """Return the accuracies of a prediction, all against the true labels unless said otherwise.

    Args:
        problem: The data set.
        truth: True labels, shape [num_nodes].
        noisy: Noisy labels, -1 outside training and validation nodes, shape [num_nodes].
        predicted: Predicted classes, shape [num_nodes].

    Returns:
        test_accuracy; test_near_right and test_near_wrong: the same on test nodes with training neighbours that are all
        labelled rightly, or of which one at least is labelled wrongly; test_far: on those without training neighbours;
        train_right and train_wrong: accuracy on rightly and on wrongly labelled training nodes; train_misled: share of
        the wrongly labelled ones that are predicted as their wrong label; val_accuracy: agreement with the validation
        labels that were used for selection; val_accuracy_clean; test_unreached: share of test nodes without a predicted
        class, which counts as an error. A share of no nodes is None.
    """
    train, test = problem.train_mask, problem.test_mask
    right = predicted == truth
    wrong_label = train & (noisy != truth)
    near = _has_neighbour_in(problem, train)
    near_wrong = _has_neighbour_in(problem, wrong_label)
    return {
        "test_accuracy": share(right[test]),
        "test_near_right": share(right[test & near & ~near_wrong]),
        "test_near_wrong": share(right[test & near_wrong]),
        "test_far": share(right[test & ~near]),
        "train_right": share(right[train & ~wrong_label]),
        "train_wrong": share(right[wrong_label]),
        "train_misled": share((predicted == noisy)[wrong_label]),
        "val_accuracy": share((predicted == noisy)[problem.val_mask]),
        "val_accuracy_clean": share(right[problem.val_mask]),
        "test_unreached": share((predicted < 0)[test]),
    }


def _has_neighbour_in(problem: Problem, nodes: Tensor) -> Tensor:
    """Return which nodes have an arc from one of these."""
    graph = problem.graph
    hit = torch.zeros(graph.num_nodes, dtype=torch.bool)
    hit[graph.row[nodes[graph.col]]] = True
    return hit


class Curves:
    """Loss and training accuracies by epoch.

    Attributes:
        rows: By epoch: loss, accuracy on rightly and on wrongly labelled nodes, share that follows the wrong label.
    """

    def __init__(self, problem: Problem, truth: Tensor, noisy: Tensor) -> None:
        self._truth, self._noisy = truth[problem.train], noisy[problem.train]
        self._wrong = self._noisy != self._truth
        self.rows: dict[str, list[float | None]] = {"loss": [], "right": [], "wrong": [], "misled": []}

    def record(self, loss: float, predicted: Tensor) -> None:
        """Add an epoch: its loss and the predicted classes of the training nodes."""
        hit = predicted == self._truth
        values = (
            loss,
            share(hit[~self._wrong]),
            share(hit[self._wrong]),
            share((predicted == self._noisy)[self._wrong]),
        )
        for row, value in zip(self.rows.values(), values, strict=True):
            row.append(None if value is None else round(value, 4))


def pack(classes: Tensor) -> dict[str, Any]:
    """Return class predictions, -1 for none, as JSON: zlib-compressed integers in base64.

    Example:
        >>> unpack(pack(torch.tensor([3, 1, 2]))).tolist()
        [3, 1, 2]
    """
    kind = "int32" if int(classes.min()) < 0 else "uint8" if int(classes.max()) < 256 else "uint32"
    data = zlib.compress(classes.numpy().astype(kind).tobytes(), 9)
    return {"dtype": kind, "length": classes.numel(), "zlib_base64": base64.b64encode(data).decode()}


def unpack(packed: dict[str, Any]) -> Tensor:
    """Return the class predictions of a record, int64.

    Raises:
        DataError: What was packed is not whole.
    """
    try:
        data = np.frombuffer(zlib.decompress(base64.b64decode(packed["zlib_base64"])), packed["dtype"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise DataError(f"predictions: expected packed classes, got {error}") from error
    if data.size != packed["length"]:
        raise DataError(f"predictions: expected {packed['length']} classes, got {data.size}")
    return torch.from_numpy(data.astype(np.int64))

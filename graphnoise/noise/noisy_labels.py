"""Checked labels and the result of noise functions, with the helpers that noise functions share."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.typing import LabelsLike

Seed: TypeAlias = int | np.random.Generator
Array: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Labels after noise, and which of them were flipped.

    Attributes:
        y: The noisy labels [n], with the container (tensor or array), type and device of the clean labels.
        flipped: Boolean [n], true where the noisy label differs from the clean one.
        rate: The realised share of flipped entries among the masked ones; 0.0 where nothing was masked.
    """

    y: Any
    flipped: Any
    rate: float


@dataclass(frozen=True, eq=False)
class CheckedLabels:
    """Checked labels on the CPU, the ascending positions that noise may change, and the number of classes."""

    original: LabelsLike
    clean: Ints
    nodes: Ints
    num_classes: int

    def finish(self, changed: Ints, labels: Ints) -> NoisyLabels:
        """Return the clean labels with `labels` written at the positions `changed`."""
        noisy = self.clean.copy()
        noisy[changed] = labels
        flipped = noisy != self.clean
        rate = float(flipped[self.nodes].mean()) if self.nodes.size else 0.0
        y, where = torch.from_numpy(noisy), torch.from_numpy(flipped)
        if isinstance(self.original, Tensor):
            return NoisyLabels(y.to(self.original.device, self._dtype()), where.to(self.original.device), rate)
        if isinstance(self.original, np.ndarray):
            return NoisyLabels(y.to(self._dtype()).numpy(), flipped, rate)
        return NoisyLabels(y, where, rate)

    def _dtype(self) -> torch.dtype:
        """The type of the original labels, if it can hold every class."""
        dtype = checks.tensor("y", self.original).dtype
        holds = dtype.is_floating_point or self.num_classes - 1 <= torch.iinfo(dtype).max
        return dtype if holds else torch.int64


def checked_labels(y: LabelsLike, mask: LabelsLike | None, num_classes: int | None = None) -> CheckedLabels:
    """Check labels and mask; without `num_classes`, there is one more class than the greatest label."""
    if num_classes is not None:
        num_classes = checks.integer("num_classes", num_classes, 1)
    labels = checks.labels("y", y, num_classes).cpu().numpy()
    if mask is None:
        nodes = np.arange(labels.size)
    else:
        nodes = checks.mask("mask", mask, labels.size).cpu().numpy().nonzero()[0]
    return CheckedLabels(y, labels, nodes, num_classes or int(labels.max(initial=-1)) + 1)


def rate_for(value: object, num_classes: int) -> float:
    """Return a flip rate that `num_classes` classes allow: with one class nothing can flip."""
    rate = checks.rate("rate", value)
    if rate > 0 and num_classes == 1:
        checks.fail("rate", "0 where there is only one class", rate)
    return rate


def stream(seed: Seed, purpose: str, name: str = "seed") -> np.random.Generator:
    """Return the generator for one purpose of an integer seed; a generator is returned as it is.

    A matrix and the labels drawn from it must not use the same random numbers: that would correlate them.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    tag = zlib.crc32(purpose.encode())
    return np.random.default_rng(np.random.SeedSequence([checks.integer(name, seed, 0), tag]))


def round_half_up(expected: float) -> int:
    """Round to the nearest count, halves up, ignoring floating-point rounding."""
    return int(np.floor(round(expected, 9) + 0.5))


def sample_columns(weights: Floats, keys: Floats) -> Ints:
    """Draw one column per row of non-negative `weights` [m, C], in proportion, from uniform `keys` [m]."""
    cumulative = weights.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    columns: Ints = (cumulative <= keys[:, None]).sum(axis=1)
    return columns

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
from graphnoise.labels import ClassLabels, read_labels
from graphnoise.typing import LabelsLike

Seed: TypeAlias = int | np.random.Generator
Array: TypeAlias = Tensor | npt.NDArray[Any] | Sequence[Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Labels after noise, and which of them were flipped.

    Attributes:
        y: The noisy labels [n], in the container, type and on the device of the clean labels (a tensor for a list of
            numbers); names of classes are those of the clean labels, and nodes without a label stay without one.
        flipped: Boolean [n], true where the noisy label differs from the clean one.
        rate: The realised share of flipped entries among the masked, labelled ones; 0.0 where there was none.
    """

    y: Any
    flipped: Any
    rate: float


@dataclass(frozen=True, eq=False)
class CheckedLabels:
    """Checked labels on the CPU, the ascending positions that noise may change, and the number of classes.

    Attributes:
        labels: The labels as they were read.
        clean: Position of the class of each node, -1 where it has no label, shape [n].
        nodes: Positions of the labelled nodes that noise may change.
        num_classes: Number of classes.
    """

    labels: ClassLabels
    clean: Ints
    nodes: Ints
    num_classes: int

    def finish(self, changed: Ints, codes: Ints) -> NoisyLabels:
        """Return the clean labels with the classes `codes` written at the positions `changed`."""
        wrong = codes != self.clean[changed]
        flipped = np.zeros(self.clean.size, dtype=np.bool_)
        flipped[changed] = wrong
        rate = float(flipped[self.nodes].mean()) if self.nodes.size else 0.0
        original, where = self.labels.original, torch.from_numpy(flipped)
        y = self.labels.replaced(changed[wrong], codes[wrong])
        if isinstance(original, Tensor):
            return NoisyLabels(y, where.to(original.device), rate)
        return NoisyLabels(y, where if isinstance(y, Tensor) else flipped, rate)


def checked_labels(y: LabelsLike, mask: LabelsLike | None, num_classes: int | None = None) -> CheckedLabels:
    """Check labels and mask; without `num_classes`, the classes are the distinct labels."""
    labels = read_labels(y, num_classes)
    clean = labels.codes.cpu().numpy()
    changeable = clean >= 0
    if mask is not None:
        changeable &= checks.mask("mask", mask, clean.size).cpu().numpy()
    return CheckedLabels(labels, clean, changeable.nonzero()[0], labels.num_classes)


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

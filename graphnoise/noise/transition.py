"""Transition matrices T[i, j] = P(observed j | true i) of class-conditional noise, and their families."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.noise.corrupt import draw_exact, draw_independent
from graphnoise.noise.noisy_labels import Array, CheckedLabels, NoisyLabels, Seed, checked_labels, rate_for, stream
from graphnoise.resources import check_memory
from graphnoise.typing import LabelsLike


class Transition:
    """An immutable row-stochastic matrix T[i, j] = P(observed j | true i).

    Args:
        matrix: [C, C], entries of at least 0, each row sums to 1 within 1e-6 (and is then renormalised).

    Raises:
        InputError: The matrix is not square, not finite, larger than the memory, has a negative entry, or a row that
            does not sum to 1.

    Example:
        >>> noise = Transition([[0.9, 0.1], [0.2, 0.8]])
        >>> noise.matrix[1, 0].item()                                 # P(observed 0 | true 1)
        0.2
        >>> noise.corrupt([0, 0, 0, 1, 1], seed=3, exact=True).y      # 0.7 flips are expected, so there is one
        tensor([0, 0, 0, 0, 1])
    """

    __slots__ = ("_matrix",)

    def __init__(self, matrix: Array) -> None:
        matrix = checks.tensor("matrix", matrix)
        check_memory("matrix", 25.0 * matrix.numel())
        raw = checks.finite("matrix", matrix, dims=2)
        if raw.shape[0] != raw.shape[1] or not raw.numel():
            checks.fail("matrix", "a square matrix, one row and one column a class", f"shape {tuple(raw.shape)}")
        values = raw.detach().cpu().double()
        if bool((values < -1e-6).any()):
            checks.fail("matrix", "probabilities of at least 0", float(values.min()))
        # No negative zero, so that equal values hash equally.
        values = values.clamp(min=0.0) + 0.0
        sums = values.sum(1, keepdim=True)
        worst = int((sums - 1).abs().argmax())
        if abs(float(sums[worst]) - 1) > 1e-6:
            checks.fail("matrix", "rows that sum to 1", f"{float(sums[worst]):.7g} in row {worst}")
        # Sums of 1 to rounding: a division would only add rounding errors.
        exact = (sums - 1).abs() < 1e-14 * len(values)
        self._matrix = values / torch.where(exact, 1.0, sums)

    @property
    def matrix(self) -> Tensor:
        """A copy of T, float64 [C, C] on the CPU: rows are true classes, columns observed ones."""
        return self._matrix.clone()

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return len(self._matrix)

    def corrupt(
        self, y: LabelsLike, mask: LabelsLike | None = None, seed: Seed = 0, exact: bool = False
    ) -> NoisyLabels:
        """Draw noisy labels; only entries in `mask` are changed.

        With independent draws (the default) the realised rate varies like a binomial. For one seed, the draw of
        a node does not depend on the mask, and flips at a low rate are a subset of those at a higher one (with
        the same classes, if the matrices differ in rate only). With `exact=True` the number of flips is the
        nearest integer to the expected one, halves up; largest remainders distribute it over classes and targets,
        and only the assignment to nodes is random.

        Args:
            y: Labels [n] from 0 to C - 1, a tensor, an array or a list.
            mask: Boolean [n] or positions; None means all entries.
            seed: A non-negative integer, or a generator, which is then advanced.
            exact: Exact counts instead of independent draws.

        Raises:
            InputError: A label is missing or out of range, the mask does not fit, or the seed is no seed.

        Example:
            >>> symmetric(3, 0.5).corrupt(torch.tensor([0, 1, 2, 0]), mask=[0, 1], seed=1, exact=True).rate
            0.5
        """
        exact = checks.flag("exact", exact)
        return self._corrupt(checked_labels(y, mask, self.num_classes), checks.generator(seed), exact)

    def _corrupt(self, labels: CheckedLabels, rng: np.random.Generator, exact: bool) -> NoisyLabels:
        return (draw_exact if exact else draw_independent)(self._matrix.numpy(), labels, rng)

    def compose(self, other: Transition) -> Transition:
        """Return the noise of `self` followed by that of `other`: their product, also `self @ other`."""
        if not isinstance(other, Transition) or other.num_classes != self.num_classes:
            got = other.num_classes if isinstance(other, Transition) else type(other).__name__
            checks.fail("other", f"a Transition of {self.num_classes} classes", got)
        return Transition(self._matrix @ other._matrix)

    __matmul__ = compose

    def expected_rate(self, prior: Array | None = None) -> float:
        """Return sum_i prior_i (1 - T[i, i]), the expected share of flips; `prior` [C] is uniform if None."""
        return float(self._prior(prior) @ (1 - self._matrix.diagonal()))

    def observed(self, prior: Array | None = None) -> Tensor:
        """Return P(observed j) = sum_i prior_i T[i, j], float64 [C]; `prior` over true classes as above."""
        return self._prior(prior) @ self._matrix

    def posterior(self, prior: Array | None = None) -> Tensor:
        """Return B[i, j] = P(true i | observed j) = prior_i T[i, j] / P(observed j), float64 [C, C].

        The orientation is that of T (rows true, columns observed), so the columns sum to 1. The column of a label
        that is never observed is the prior.

        Example:
            >>> Transition([[1.0, 0.0], [0.5, 0.5]]).posterior()[:, 1]    # an observed 1 is surely true
            tensor([0., 1.], dtype=torch.float64)
        """
        weights = self._prior(prior)
        joint = weights[:, None] * self._matrix
        marginal = joint.sum(0)
        observable = marginal > 0
        return torch.where(observable, joint / torch.where(observable, marginal, 1.0), weights[:, None])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transition) and torch.equal(self._matrix, other._matrix)

    def __hash__(self) -> int:
        return hash(self._matrix.numpy().tobytes())

    def __repr__(self) -> str:
        rows = np.array2string(
            self._matrix.numpy(), precision=3, suppress_small=True, threshold=64, prefix="Transition("
        )
        return f"Transition({rows})"

    def _prior(self, prior: Array | None) -> Tensor:
        if prior is None:
            return torch.full((self.num_classes,), 1 / self.num_classes, dtype=torch.float64)
        vector = checks.finite("prior", prior, dims=1)
        row = checks.probabilities("prior", vector[None], self.num_classes)[0].cpu().clamp(min=0.0)
        return row / row.sum()


def identity(num_classes: int) -> Transition:
    """Return the transition without noise: T[i, i] = 1.

    Example:
        >>> identity(2).matrix.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return Transition(torch.eye(check_classes(num_classes), dtype=torch.float64))


def symmetric(num_classes: int, rate: float) -> Transition:
    """Return symmetric noise: T[i, i] = 1 - rate, T[i, j] = rate / (C - 1).

    `rate` is the true flip probability. Above (C - 1) / C it is worse than chance, and allowed.

    Raises:
        InputError: The rate is outside [0, 1], or above 0 with one class; a matrix of so many classes is larger than
            the memory.

    Example:
        >>> symmetric(3, 0.5)
        Transition([[0.5  0.25 0.25]
                    [0.25 0.5  0.25]
                    [0.25 0.25 0.5 ]])

    Source:
        Angluin and Laird 1988; the `symm` of ERASE (arXiv 2312.08852).
    """
    classes, rate = _check(num_classes, rate)
    others = 1 - torch.eye(classes, dtype=torch.float64)
    return _flips(rate, others / max(classes - 1, 1))


def pair(num_classes: int, rate: float, offset: int = 1) -> Transition:
    """Return pair noise, cyclic: T[i, i] = 1 - rate, T[i, (i + offset) mod C] = rate.

    NoisyGL and ICGNN turn the cycle downwards (`offset=-1`).

    Raises:
        InputError: As `symmetric`; or a class would keep its label, as offset is a multiple of C.

    Example:
        >>> pair(3, 0.25).matrix[2]
        tensor([0.2500, 0.0000, 0.7500], dtype=torch.float64)

    Source:
        Han et al. 2018, Co-teaching, section 4.
    """
    classes, rate = _check(num_classes, rate)
    offset = checks.integer("offset", offset)
    if rate and offset % classes == 0:
        checks.fail("offset", f"no multiple of {classes}, the number of classes", offset)
    return _flips(rate, torch.eye(classes).roll(offset % classes, dims=1))


def asymmetric(num_classes: int, rate: float, seed: Seed = 0) -> Transition:
    """Return asymmetric noise: class i flips at `rate` to one other class m(i), drawn uniformly by `seed`.

    m need not be a permutation: two classes may share a target. An integer seed has a separate stream for this
    map, so that the same seed can also draw the labels. Raises as `symmetric` does.

    Example:
        >>> asymmetric(4, 0.25, seed=0).matrix.diagonal()
        tensor([0.7500, 0.7500, 0.7500, 0.7500], dtype=torch.float64)

    Source:
        the `asymm` of ERASE (arXiv 2312.08852) and PI-GNN.
    """
    classes, rate = _check(num_classes, rate)
    steps = torch.from_numpy(stream(seed, "asymmetric").integers(1, max(classes, 2), size=classes))
    return _flips(rate, torch.eye(classes)[(torch.arange(classes) + steps) % classes])


def random(num_classes: int, rate: float, seed: Seed = 0) -> Transition:
    """Return random noise: T[i, i] = 1 - rate, off-diagonals = rate × a uniform random vector over its sum.

    An integer seed has a separate stream for this matrix. Raises as `symmetric` does.

    Example:
        >>> round(random(5, 0.3, seed=0).expected_rate(), 12)
        0.3

    Source:
        the `random` of NoisyGL (arXiv 2406.04299).
    """
    classes, rate = _check(num_classes, rate)
    rng = stream(seed, "random")
    # In (0, 1], so that no row is zero.
    weights = torch.from_numpy(1 - rng.random((classes, classes)))
    weights.fill_diagonal_(0.0)
    return _flips(rate, weights / weights.sum(1, keepdim=True) if classes > 1 else weights)


def from_counts(counts: Array, smoothing: float = 0.0) -> Transition:
    """Return T[i, j] = (counts[i, j] + smoothing) / sum_j (counts[i, j] + smoothing).

    Args:
        counts: [C, C], counts[i, j] = how often true class i was observed as j.
        smoothing: Number added to every cell.

    Raises:
        InputError: A count is negative, or the row of a class is all zero without smoothing.

    Example:
        >>> from_counts([[8, 2], [1, 3]]).matrix
        tensor([[0.8000, 0.2000], [0.2500, 0.7500]], dtype=torch.float64)
    """
    counts = checks.tensor("counts", counts)
    check_memory("counts", 40.0 * counts.numel())
    raw = checks.finite("counts", counts, dims=2).double()
    if raw.numel() and float(raw.min()) < 0:
        checks.fail("counts", "counts of at least 0", float(raw.min()))
    raw = raw + checks.real("smoothing", smoothing, 0.0)
    sums = raw.sum(1, keepdim=True)
    if bool((sums == 0).any()):
        checks.fail("counts", "a count in every row, or smoothing above 0", f"none for class {int(sums.argmin())}")
    return Transition(raw / sums)


def from_mapping(mapping: Mapping[int, int], num_classes: int, rate: float) -> Transition:
    """Return noise in which each class of `mapping` flips to its target at `rate`; the others are clean.

    Raises:
        InputError: A class is out of range or mapped onto itself, or the rate is outside [0, 1].

    Example:
        >>> from_mapping({3: 5}, num_classes=6, rate=0.4).matrix[3]
        tensor([0.0000, 0.0000, 0.0000, 0.6000, 0.0000, 0.4000], dtype=torch.float64)
    """
    classes, rate = check_classes(num_classes), checks.rate("rate", rate)
    if not isinstance(mapping, Mapping):
        checks.fail("mapping", "{class: target}", type(mapping).__name__)
    matrix = torch.eye(classes, dtype=torch.float64)
    for source, target in mapping.items():
        i = checks.integer("mapping", source, 0, classes - 1)
        j = checks.integer("mapping", target, 0, classes - 1)
        if i == j:
            checks.fail("mapping", "another class as target", f"class {i} mapped onto itself")
        matrix[i, i], matrix[i, j] = 1 - rate, rate
    return Transition(matrix)


def check_classes(num_classes: int) -> int:
    """Return a number of classes whose matrices, five at a time in float64, the memory holds."""
    classes = checks.integer("num_classes", num_classes, 1)
    check_memory("matrices of num_classes × num_classes", 40.0 * min(classes, 1 << 40) ** 2)
    return classes


def _check(num_classes: int, rate: float) -> tuple[int, float]:
    classes = check_classes(num_classes)
    return classes, rate_for(rate, classes)


def _flips(rate: float, targets: Tensor) -> Transition:
    """Return (1 - rate) I + rate × targets, where row i of `targets` says where the flips of class i go."""
    return Transition((1 - rate) * torch.eye(len(targets), dtype=torch.float64) + rate * targets.double())

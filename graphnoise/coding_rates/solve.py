"""Coding rates and their gradients by Gram matrices, Cholesky factors, and one product for the rows of each class.

With s_c = d / (n_c eps), the gradient of R is s gamma1 Z M^-1 with M = I + s gamma1 Z^T Z, and that of Rc is, for the
rows of class c, (n_c / n) s_c Z_c M_c^-1 = s Z_c M_c^-1. Whichever side of a matrix is shorter is used:
logdet(I + s Z^T Z) = logdet(I + s Z Z^T), and Z (I + s Z^T Z)^-1 = (I + s Z Z^T)^-1 Z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.resources import check_memory

# Rows on a CPU that are gathered and multiplied while they are in the cache.
CHUNK = 1024
# Ratio of rows to columns up to which the Gram matrix of the rows is faster.
MAX_NARROW = 0.7
# Largest rounding error of the trace of a Gram matrix that is added to the identity.
MAX_ROUNDING = 0.01


@dataclass(frozen=True)
class Groups:
    """Rows by class.

    Attributes:
        order: Rows of class 0, then of class 1, and so on, then those of no class, int64, shape [n].
        bounds: Where in `order` each class begins, where the rows of no class begin, and n.
    """

    order: Tensor
    bounds: list[int]

    @property
    def sizes(self) -> list[int]:
        """Number of rows of each class."""
        return [end - begin for begin, end in zip(self.bounds[:-2], self.bounds[1:-1], strict=True)]

    def rows(self, c: int, size: int) -> Iterator[Tensor]:
        """Yield the rows of class c in pieces of `size`."""
        for begin in range(self.bounds[c], self.bounds[c + 1], size):
            yield self.order[begin : min(begin + size, self.bounds[c + 1])]


class Statistics(NamedTuple):
    """Gram matrices and counts of the rows of one or more batches.

    Attributes:
        grams: Lower triangles of Z_c^T Z_c for each class, and of Z^T Z, shape [num_classes + 1, d, d].
        counts: Number of rows of each class, and of all, float64, shape [num_classes + 1].
    """

    grams: Tensor
    counts: Tensor


def gram_statistics(z: Tensor, classes: Groups | Tensor, dtype: torch.dtype) -> Statistics:
    """Return the Gram matrices and counts of z by class, or by memberships of shape [n, num_classes]."""
    z, (n, d), size = z.detach(), z.shape, chunk_rows(z)
    if isinstance(classes, Tensor):
        weights = classes.detach()
        check_grams(z, weights.shape[1] + 1, d)
        grams = z.new_zeros(weights.shape[1] + 1, d, d, dtype=dtype)
        for begin in range(0, n, size):
            x, w = z[begin : begin + size].to(dtype), weights[begin : begin + size].to(dtype)
            for c in range(w.shape[1]):
                add_gram(grams[c], x, w[:, c : c + 1])
            add_gram(grams[-1], x)
        counts = weights.sum(0, dtype=torch.float64)
    else:
        check_grams(z, len(classes.bounds) - 1, d)
        grams = z.new_zeros(len(classes.bounds) - 1, d, d, dtype=dtype)
        for c in range(len(grams)):
            for rows in classes.rows(c, size):
                add_gram(grams[c], z.index_select(0, rows).to(dtype))
        grams[-1] += grams[:-1].sum(0)
        counts = torch.tensor(classes.sizes, dtype=torch.float64, device=z.device)
    return Statistics(grams, torch.cat([counts, counts.new_full((1,), n)]))


def rates(
    z: Tensor,
    classes: Groups | Tensor,
    *,
    eps: float,
    gamma1: float,
    dtype: torch.dtype,
    statistics: Statistics | None = None,
) -> tuple[Tensor, Tensor]:
    """Return R and Rc as scalars of type `dtype`, differentiable in z and in memberships (once).

    Args:
        z: Representations, shape [n, d], n and d at least 1.
        classes: Rows by class, or memberships of at least 0, shape [n, num_classes].
        eps: Squared distortion, above 0.
        gamma1: Weight of the Gram matrix in R, at least 0.
        dtype: Type of the computation. If float32 is not enough (`MAX_ROUNDING`), it is repeated in float64.
        statistics: Used in place of the Gram matrices and counts of z; the gradient is that of z. The computation is
            then not repeated in float64.

    Raises:
        InputError: z is not finite, too large for the type, or so large that its Gram matrices exceed the memory.
    """
    check_grams(z, 3, min(z.shape))
    weights, groups = (classes, None) if isinstance(classes, Tensor) else (None, classes)
    with_inverses = torch.is_grad_enabled() and (z.requires_grad or (weights is not None and weights.requires_grad))
    settings = _Settings(eps, gamma1, dtype, with_inverses)
    with torch.autocast(z.device.type, enabled=False):
        total, within = _Rates.apply(z, weights, groups, settings, statistics)  # type: ignore[no-untyped-call]
    return total, within


class _Settings(NamedTuple):
    eps: float
    gamma1: float
    dtype: torch.dtype
    # Whether a gradient needs the inverses.
    with_inverses: bool


class _PrecisionLost(Exception):  # noqa: N818
    """The identity in I + s G is lost to rounding, or numbers are not finite."""


@dataclass(eq=False)
class _Solution:
    """Rates, accumulated Gram matrix by Gram matrix, and what their gradients need.

    Attributes:
        settings: Settings of the computation.
        columns: Number of columns of z.
        num_rows: Number of rows, those of earlier batches included.
        total: R in float64, shape [].
        within: Rc in float64, shape [].
        classes: Classes that have rows.
        halves: 1/2 logdet M_c of each of these classes.
        inverses: M_c^-1 of each of these classes, then M^-1.
    """

    settings: _Settings
    columns: int
    num_rows: float
    total: Tensor
    within: Tensor
    classes: list[int] = field(default_factory=list)
    halves: list[Tensor] = field(default_factory=list)
    inverses: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, z: Tensor, settings: _Settings, num_rows: float) -> _Solution:
        """Return a solution without classes."""
        total, within = z.new_zeros(2, dtype=torch.float64).unbind()
        return cls(settings, z.shape[1], num_rows, total, within)

    @property
    def unit(self) -> float:
        """The factor s = d / (n eps) of all gradients."""
        return self.columns / (self.num_rows * self.settings.eps)

    def add(self, c: int, gram: Tensor, count: float) -> None:
        """Add a class; its Gram is overwritten."""
        half = self._factor(gram, self.columns / (count * self.settings.eps))
        self.within += half * (count / self.num_rows)
        self.classes.append(c)
        self.halves.append(half)

    def finish(self, gram: Tensor) -> _Solution:
        """Add the Gram of all rows, which is overwritten."""
        self.total += self._factor(gram, self.unit * self.settings.gamma1)
        return self

    def _factor(self, gram: Tensor, scale: float) -> Tensor:
        """Store the inverse of I + scale G, reading the lower triangle of G, and return 1/2 logdet."""
        gram *= scale
        if not float(gram.trace()) * torch.finfo(gram.dtype).eps <= MAX_ROUNDING:
            raise _PrecisionLost
        gram.diagonal().add_(1)
        factor, info = torch.linalg.cholesky_ex(gram)
        half: Tensor = factor.diagonal().double().log().sum()
        if not bool((info == 0) & torch.isfinite(half)):
            raise _PrecisionLost
        if self.settings.with_inverses:
            # Without the padding of `_by_columns`.
            self.inverses.append(torch.cholesky_inverse(factor[: self.columns, : self.columns]))
        return half


class _Rates(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, weights, groups, settings, statistics):  # type: ignore[no-untyped-def]
        solution, ctx.gradients = _solve(z, groups if weights is None else weights, settings, statistics)
        ctx.save_for_backward(z, weights, *solution.inverses)
        ctx.groups, ctx.solution = groups, replace(solution, inverses=[])
        return solution.total.to(settings.dtype), solution.within.to(settings.dtype)

    @staticmethod
    def backward(ctx, total, within):  # type: ignore[no-untyped-def]
        z, weights, *inverses, inverse = ctx.saved_tensors
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            solution = ctx.solution
            common = inverse * (total.double() * (solution.unit * solution.settings.gamma1))
            by_class = dict(zip(solution.classes, inverses, strict=True))
            scale = within.double() * solution.unit
            if weights is None:
                to_z, to_weights = ctx.gradients(z, ctx.groups, common, by_class, scale), None
            else:
                to_z, to_weights = _weighted_gradients(z, weights, common, by_class, scale, solution)
        inputs = (total, within, z, weights)
        return _no_second_derivative(to_z, *inputs), _no_second_derivative(to_weights, *inputs), None, None, None


def _no_second_derivative(grad: Tensor | None, *inputs: Tensor | None) -> Tensor | None:
    return None if grad is None else _NoSecondDerivative.apply(grad, *inputs)  # type: ignore[no-untyped-call]


class _NoSecondDerivative(torch.autograd.Function):
    """Identity whose gradient raises; without it a second derivative would silently lack this term."""

    @staticmethod
    def forward(ctx, grad, *inputs):  # type: ignore[no-untyped-def]
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx, *_):  # type: ignore[no-untyped-def]
        raise RuntimeError("coding rates can be differentiated once, not twice")


def _solve(
    z: Tensor, classes: Groups | Tensor, settings: _Settings, statistics: Statistics | None
) -> tuple[_Solution, Callable[..., Tensor]]:
    try:
        if isinstance(classes, Tensor) or statistics is not None:
            return _by_statistics(
                z, statistics or gram_statistics(z, classes, settings.dtype), settings
            ), _column_gradient
        if len(z) <= z.shape[1]:
            return _by_rows(z, classes, settings), _row_gradient
        return _by_columns(z, classes, settings), _column_gradient
    except _PrecisionLost:
        checks.finite("z", z)
    if settings.dtype == torch.float64 or statistics is not None:
        bound = MAX_ROUNDING / torch.finfo(settings.dtype).eps
        expected = (
            f"d / eps · mean |z_i|² of at most {bound:.2g} in all rows and in each class, as {settings.dtype} has it"
        )
        checks.fail("z", expected, f"an absolute maximum of {float(z.abs().max()):g} at eps={settings.eps:g}")
    return _solve(z, classes, settings._replace(dtype=torch.float64), None)


def _by_statistics(z: Tensor, statistics: Statistics, settings: _Settings) -> _Solution:
    """Solve with one d x d Gram matrix per class."""
    *counts, total = statistics.counts.tolist()
    solution = _Solution.empty(z, settings, total)
    for c, count in enumerate(counts):
        if count:
            solution.add(c, statistics.grams[c].clone(), count)
    return solution.finish(statistics.grams[-1].clone())


def _by_rows(z: Tensor, groups: Groups, settings: _Settings) -> _Solution:
    """Solve with one Gram matrix of the rows; those of the classes are its blocks."""
    x = z.index_select(0, groups.order).to(settings.dtype)
    gram, solution = x @ x.t(), _Solution.empty(z, settings, len(z))
    for c, size in enumerate(groups.sizes):
        if size:
            block = slice(groups.bounds[c], groups.bounds[c + 1])
            solution.add(c, gram[block, block].clone(), size)
    return solution.finish(gram)


def _row_gradient(z: Tensor, groups: Groups, common: Tensor, by_class: dict[int, Tensor], scale: Tensor) -> Tensor:
    for c, inverse in by_class.items():
        block = slice(groups.bounds[c], groups.bounds[c + 1])
        common[block, block] += inverse * scale
    x = z.index_select(0, groups.order).to(common.dtype)
    return torch.empty_like(z).index_copy_(0, groups.order, (common @ x).to(z.dtype))


def _by_columns(z: Tensor, groups: Groups, settings: _Settings) -> _Solution:
    """Solve with d x d Gram matrices for all rows and for wide classes, n_c x n_c ones for narrow classes."""
    d, solution = z.shape[1], _Solution.empty(z, settings, len(z))
    # Rows that are a multiple of 1 KiB apart share few lines of the cache: a factor of side 512 takes three times as
    # long as one of 520. Rows and columns of zeros become those of the identity in `_factor`: the results are the same.
    side = d + 8 if d % 256 == 0 else d
    total_gram = z.new_zeros(side, side, dtype=settings.dtype)
    # The last group is the rows of no class.
    for c, size in enumerate([*groups.sizes, 0]):
        wide = size > MAX_NARROW * d
        gram = torch.zeros_like(total_gram) if wide else total_gram
        for rows in groups.rows(c, chunk_rows(z)):
            x = z.index_select(0, rows).to(settings.dtype)
            add_gram(gram[:d, :d], x)
        if wide:
            total_gram += gram
            solution.add(c, gram, size)
        elif size:
            # A narrow class is one piece.
            solution.add(c, x @ x.t(), size)
    return solution.finish(total_gram)


def _column_gradient(z: Tensor, groups: Groups, common: Tensor, by_class: dict[int, Tensor], scale: Tensor) -> Tensor:
    out = torch.empty_like(z)
    for c in range(len(groups.bounds) - 1):
        wide = c in by_class and by_class[c].shape == common.shape
        right = torch.add(common, by_class[c], alpha=float(scale)) if wide else common
        for rows in groups.rows(c, chunk_rows(z)):
            x = z.index_select(0, rows).to(right.dtype)
            y = x @ right
            if c in by_class and not wide:
                y += by_class[c] @ x * scale
            out.index_copy_(0, rows, y.to(z.dtype))
    return out


def _weighted_gradients(
    z: Tensor, weights: Tensor, common: Tensor, by_class: dict[int, Tensor], scale: Tensor, solution: _Solution
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients; a membership acts through Z^T Pi_c Z, and through n_c in its two factors."""
    out, to = torch.empty_like(z), torch.zeros_like(weights) if weights.requires_grad else None
    by_count = [
        half - (solution.columns - by_class[c].trace()) / 2
        for c, half in zip(solution.classes, solution.halves, strict=True)
    ]
    size = chunk_rows(z)
    for begin in range(0, len(z), size):
        rows = slice(begin, begin + size)
        x, w = z[rows].to(common.dtype), weights[rows].to(common.dtype)
        y = x @ common
        for (c, inverse), half in zip(by_class.items(), by_count, strict=True):
            q = x @ inverse
            y.addcmul_(q, w[:, c : c + 1] * scale)
            if to is not None:
                to[rows, c] = (
                    ((q * x).sum(1) + half * (2 * solution.settings.eps / solution.columns)).mul(scale / 2).to(to.dtype)
                )
        out[rows] = y.to(z.dtype)
    return out, to


def add_gram(gram: Tensor, x: Tensor, weight: Tensor | None = None) -> None:
    """Add x^T diag(weight) x to the lower triangle of `gram`, in strips: quicker than the full product."""
    left = x if weight is None else x * weight
    side = x.shape[1]
    step = -(-side // min(4, max(1, side // 64)))
    for begin in range(0, side, step):
        columns = slice(begin, begin + step)
        gram[begin:, columns].addmm_(left[:, begin:].t(), x[:, columns])


def check_grams(z: Tensor, count: int, side: int) -> None:
    """Raise `InputError` where so many float32 matrices of this side are larger than the memory."""
    if z.device.type == "cpu":
        check_memory(f"{count} Gram matrices of side {side}", 4.0 * count * side**2)


def chunk_rows(z: Tensor) -> int:
    """Return the number of rows that passes over z process at once."""
    return max(CHUNK if z.device.type == "cpu" else 2**16, z.shape[1])

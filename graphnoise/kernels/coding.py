"""Coding rates and their gradients: Gram matrices, Cholesky factors, and one product for the rows of each class.

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

CHUNK = 1024  # rows on a CPU that are gathered and multiplied while they are in the cache
NARROW = 0.7  # of rows to columns: up to here the Gram of the rows is the quicker one
ROUNDING = 0.01  # a sum of eigenvalues whose rounding exceeds this hides the identity beside it


@dataclass(frozen=True)
class Groups:
    """Rows by class.

    Attributes:
        order: Rows of class 0, then of class 1, and so on, at last those of no class, int64, shape [n].
        bounds: Where in `order` each class begins, where the rows of no class do, and n.
    """

    order: Tensor
    bounds: list[int]

    @property
    def sizes(self) -> list[int]:
        """Number of rows of each class."""
        return [end - begin for begin, end in zip(self.bounds[:-2], self.bounds[1:-1], strict=True)]

    def rows(self, c: int, most: int) -> Iterator[Tensor]:
        """Yield the rows of class c, `most` at once."""
        for begin in range(self.bounds[c], self.bounds[c + 1], most):
            yield self.order[begin : min(begin + most, self.bounds[c + 1])]


class Statistics(NamedTuple):
    """Grams and counts of rows that may be gone.

    Attributes:
        grams: Lower triangles of Z_c^T Z_c for each class, and of Z^T Z, shape [num_classes + 1, d, d].
        counts: Number of rows of each class, and of all, float64, shape [num_classes + 1].
    """

    grams: Tensor
    counts: Tensor


def statistics_of(z: Tensor, classes: Groups | Tensor, dtype: torch.dtype) -> Statistics:
    """Return the Grams and counts of z by class, or by memberships of shape [n, num_classes]."""
    z, (n, d), most = z.detach(), z.shape, rows_at_once(z)
    if isinstance(classes, Tensor):
        weights = classes.detach()
        grams = z.new_zeros(weights.shape[1] + 1, d, d, dtype=dtype)
        for begin in range(0, n, most):
            x, w = z[begin : begin + most].to(dtype), weights[begin : begin + most].to(dtype)
            for c in range(w.shape[1]):
                add_gram(grams[c], x, w[:, c : c + 1])
            add_gram(grams[-1], x)
        counts = weights.sum(0, dtype=torch.float64)
    else:
        grams = z.new_zeros(len(classes.bounds) - 1, d, d, dtype=dtype)
        for c in range(len(grams)):
            for rows in classes.rows(c, most):
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
        dtype: Type of the computation. Where float32 is not enough (`ROUNDING`), float64 takes over.
        statistics: What takes the place of the Grams and counts of z; the gradient goes to z nonetheless. Then
            float64 does not take over.

    Raises:
        InputError: z is not finite, or too large for the type.
    """
    weights, groups = (classes, None) if isinstance(classes, Tensor) else (None, classes)
    wanted = torch.is_grad_enabled() and (z.requires_grad or (weights is not None and weights.requires_grad))
    measure = _Measure(eps, gamma1, dtype, wanted)
    with torch.autocast(z.device.type, enabled=False):
        found: tuple[Tensor, Tensor] = _Rates.apply(  # type: ignore[no-untyped-call]
            z, weights, groups, measure, statistics
        )
    return found


class _Measure(NamedTuple):
    eps: float
    gamma1: float
    dtype: torch.dtype
    inverse: bool  # is a gradient to come?


class _Lost(Exception):  # noqa: N818
    """Beside s G, the identity in I + s G is lost to rounding; or numbers are not finite."""


@dataclass(eq=False)
class _Solution:
    """Rates as they come together, Gram by Gram, and what their gradients need."""

    measure: _Measure
    columns: int
    total: float  # rows, among them those that are gone
    whole: Tensor  # R and Rc in float64, shape []
    within: Tensor
    classes: list[int] = field(default_factory=list)  # those with rows
    halves: list[Tensor] = field(default_factory=list)  # of each of these classes, 1/2 logdet M_c
    inverses: list[Tensor] = field(default_factory=list)  # and M_c^-1; at last M^-1

    @classmethod
    def start(cls, z: Tensor, measure: _Measure, total: float) -> _Solution:
        """Return a solution of nothing."""
        whole, within = z.new_zeros(2, dtype=torch.float64).unbind()
        return cls(measure, z.shape[1], total, whole, within)

    @property
    def unit(self) -> float:
        """The factor s = d / (n eps), which all gradients share."""
        return self.columns / (self.total * self.measure.eps)

    def add(self, c: int, gram: Tensor, count: float) -> None:
        """Add a class; its Gram is overwritten."""
        half = self._factor(gram, self.columns / (count * self.measure.eps))
        self.within += half * (count / self.total)
        self.classes.append(c)
        self.halves.append(half)

    def finish(self, gram: Tensor) -> _Solution:
        """Add the Gram of all rows, which is overwritten."""
        self.whole += self._factor(gram, self.unit * self.measure.gamma1)
        return self

    def _factor(self, gram: Tensor, scale: float) -> Tensor:
        """Keep the inverse of I + scale G, of which the lower triangle is read, and return 1/2 logdet."""
        gram *= scale
        if not float(gram.trace()) * torch.finfo(gram.dtype).eps <= ROUNDING:
            raise _Lost
        gram.diagonal().add_(1)
        factor, info = torch.linalg.cholesky_ex(gram)
        half: Tensor = factor.diagonal().double().log().sum()
        if not bool((info == 0) & torch.isfinite(half)):
            raise _Lost
        if self.measure.inverse:
            self.inverses.append(torch.cholesky_inverse(factor))
        return half


class _Rates(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, weights, groups, measure, statistics):  # type: ignore[no-untyped-def]
        found, ctx.gradients = _solve(z, groups if weights is None else weights, measure, statistics)
        ctx.save_for_backward(z, weights, *found.inverses)
        ctx.groups, ctx.found = groups, replace(found, inverses=[])
        return found.whole.to(measure.dtype), found.within.to(measure.dtype)

    @staticmethod
    def backward(ctx, whole, within):  # type: ignore[no-untyped-def]
        z, weights, *inverses, inverse = ctx.saved_tensors
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            unit = ctx.found.unit
            common = inverse * (whole.double() * (unit * ctx.found.measure.gamma1))
            own, share = dict(zip(ctx.found.classes, inverses, strict=True)), within.double() * unit
            if weights is None:
                to_z, to_weights = ctx.gradients(z, ctx.groups, common, own, share), None
            else:
                to_z, to_weights = _weighted_gradients(z, weights, common, own, share, ctx.found)
        return _once(to_z, whole, within, z, weights), _once(to_weights, whole, within, z, weights), None, None, None


def _once(grad: Tensor | None, *given: Tensor | None) -> Tensor | None:
    return None if grad is None else _Once.apply(grad, *given)  # type: ignore[no-untyped-call]


class _Once(torch.autograd.Function):
    """Lets a gradient pass, and nothing back; without it a second derivative would silently lack this term."""

    @staticmethod
    def forward(ctx, grad, *given):  # type: ignore[no-untyped-def]
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx, *_):  # type: ignore[no-untyped-def]
        raise RuntimeError("coding rates can be differentiated once, not twice")


def _solve(
    z: Tensor, classes: Groups | Tensor, m: _Measure, given: Statistics | None
) -> tuple[_Solution, Callable[..., Tensor]]:
    try:
        if isinstance(classes, Tensor) or given is not None:
            return _by_statistics(z, given or statistics_of(z, classes, m.dtype), m), _column_gradient
        if len(z) <= z.shape[1]:
            return _by_rows(z, classes, m), _row_gradient
        return _by_columns(z, classes, m), _column_gradient
    except _Lost:
        checks.finite("z", z)
    if m.dtype == torch.float64 or given is not None:
        most = ROUNDING / torch.finfo(m.dtype).eps
        limit = f"d / eps · mean |z_i|² of at most {most:.2g} in all rows and in each class, as {m.dtype} has it"
        checks.fail("z", limit, f"an absolute maximum of {float(z.abs().max()):g} at eps={m.eps:g}")
    return _solve(z, classes, m._replace(dtype=torch.float64), None)


def _by_statistics(z: Tensor, given: Statistics, m: _Measure) -> _Solution:
    """Solve on a d x d Gram for every class."""
    *counts, total = given.counts.tolist()
    found = _Solution.start(z, m, total)
    for c, count in enumerate(counts):
        if count:
            found.add(c, given.grams[c].clone(), count)
    return found.finish(given.grams[-1].clone())


def _by_rows(z: Tensor, groups: Groups, m: _Measure) -> _Solution:
    """Solve on one Gram of the rows, of which those of the classes are blocks."""
    x = z.index_select(0, groups.order).to(m.dtype)
    gram, found = x @ x.t(), _Solution.start(z, m, len(z))
    for c, size in enumerate(groups.sizes):
        if size:
            block = slice(groups.bounds[c], groups.bounds[c + 1])
            found.add(c, gram[block, block].clone(), size)
    return found.finish(gram)


def _row_gradient(z: Tensor, groups: Groups, common: Tensor, own: dict[int, Tensor], share: Tensor) -> Tensor:
    for c, inverse in own.items():
        block = slice(groups.bounds[c], groups.bounds[c + 1])
        common[block, block] += inverse * share
    x = z.index_select(0, groups.order).to(common.dtype)
    return torch.empty_like(z).index_copy_(0, groups.order, (common @ x).to(z.dtype))


def _by_columns(z: Tensor, groups: Groups, m: _Measure) -> _Solution:
    """Solve on d x d Grams for all rows and for wide classes, on n_c x n_c ones for narrow classes."""
    d, found = z.shape[1], _Solution.start(z, m, len(z))
    whole = z.new_zeros(d, d, dtype=m.dtype)
    for c, size in enumerate([*groups.sizes, 0]):  # at last the rows of no class
        wide = size > NARROW * d
        gram = torch.zeros_like(whole) if wide else whole
        for rows in groups.rows(c, rows_at_once(z)):
            x = z.index_select(0, rows).to(m.dtype)
            add_gram(gram, x)
        if wide:
            whole += gram
            found.add(c, gram, size)
        elif size:
            found.add(c, x @ x.t(), size)  # x holds all of them
    return found.finish(whole)


def _column_gradient(z: Tensor, groups: Groups, common: Tensor, own: dict[int, Tensor], share: Tensor) -> Tensor:
    out = torch.empty_like(z)
    for c in range(len(groups.bounds) - 1):
        wide = c in own and own[c].shape == common.shape
        right = common + own[c] * share if wide else common
        for rows in groups.rows(c, rows_at_once(z)):
            x = z.index_select(0, rows).to(right.dtype)
            y = x @ right
            if c in own and not wide:
                y += own[c] @ x * share
            out.index_copy_(0, rows, y.to(z.dtype))
    return out


def _weighted_gradients(
    z: Tensor, weights: Tensor, common: Tensor, own: dict[int, Tensor], share: Tensor, found: _Solution
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients; a membership acts through Z^T Pi_c Z, and through n_c in its scale and in its share."""
    out, to = torch.empty_like(z), torch.zeros_like(weights) if weights.requires_grad else None
    by_count = [
        half - (found.columns - own[c].trace()) / 2 for c, half in zip(found.classes, found.halves, strict=True)
    ]
    most = rows_at_once(z)
    for begin in range(0, len(z), most):
        rows = slice(begin, begin + most)
        x, w = z[rows].to(common.dtype), weights[rows].to(common.dtype)
        y = x @ common
        for (c, inverse), half in zip(own.items(), by_count, strict=True):
            q = x @ inverse
            y.addcmul_(q, w[:, c : c + 1] * share)
            if to is not None:
                to[rows, c] = (
                    ((q * x).sum(1) + half * (2 * found.measure.eps / found.columns)).mul(share / 2).to(to.dtype)
                )
        out[rows] = y.to(z.dtype)
    return out, to


def add_gram(gram: Tensor, x: Tensor, weight: Tensor | None = None) -> None:
    """Add x^T diag(weight) x to the lower triangle of `gram`, in three quarters of the time of all of it."""
    left = x if weight is None else x * weight
    half = x.shape[1] // 2 if x.shape[1] >= 128 else 0
    if half:
        gram[:half, :half].addmm_(left[:, :half].t(), x[:, :half])
    gram[half:].addmm_(left[:, half:].t(), x)


def rows_at_once(z: Tensor) -> int:
    """Return the number of rows that passes over z take at once."""
    return max(CHUNK if z.device.type == "cpu" else 2**16, z.shape[1])

r"""Solvers for the limit of propagation with restart, (I - alpha S) X = (1 - alpha) Y0, in fewer products with S.

Both need the eigenvalues of S real and within [-1, 1]: an undirected graph with weights of at least 0, normalised.
Then S is self-adjoint in the inner product <u, v> = u^T M v, with M = I for "sym", D for "row" and D^-1 for "col", so
that no other matrix than S is ever multiplied by.

The first and the last product are plain steps Y <- alpha · S X + (1 - alpha) · Y0. Their change Y - X is the residual
of the equation at X, so `residual` means what it means for plain iteration, and one product gives the same result.

In exact arithmetic the error falls by about 1 - sqrt(2 (1 - alpha)) per product, not by alpha. "cg" converges faster if
few eigenvalues matter or S has a gap in its spectrum; "chebyshev" does not use the gap, so plain iteration is faster if
S has one and y has little weight outside. A product of "cg" takes more time than a plain step, for its sums.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from graphnoise import checks
from graphnoise.graph import Graph
from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.propagate import run, sddmm

SOLVERS = ("iterate", "cg", "chebyshev")
TYPES = (torch.float32, torch.float64)


def check(
    solver: str,
    graph: Graph,
    values: Tensor,
    alpha: float,
    mode: str,
    normalisation: str | None,
    clamp: tuple[float, float] | None,
) -> None:
    """Raise `InputError` unless "cg" or "chebyshev" can solve the problem; `normalisation` is that of the matrix."""

    def fail(name: str, expected: str, reason: str, got: object) -> NoReturn:
        checks.fail(name, f"{expected} with solver={solver!r} ({reason})", got)

    if mode != "restart":
        fail("mode", "'restart'", "only it has a limit that an equation gives", repr(mode))
    if clamp is not None:
        fail("clamp", "None", "the equation is linear", "a range")
    if alpha == 1:
        fail("alpha", "a rate below 1", "at 1 the equation no longer holds y", 1)
    if values.dtype not in TYPES:
        fail("y", "float32 or float64 values", "16 bits are too coarse for it", f"values of type {values.dtype}")
    if normalisation is None:
        fail("normalisation", "'sym', 'row' or 'col'", "weights as they are have unknown eigenvalues", "'none'")
    if graph.weight is not None and graph.num_arcs and float(graph.weight.detach().min()) < 0:
        fail("graph", "weights of at least 0", "eigenvalues may leave [-1, 1]", float(graph.weight.detach().min()))
    if not graph.undirected:
        fail("graph", "an undirected graph, weights included", "eigenvalues are not real", "a directed one")


def solve(
    solver: str, graph: Graph, source: Tensor, *, alpha: float, num_steps: int, tol: float | None, tier: str
) -> tuple[Tensor, int, float]:
    """Return X, the number of products and the residual; arguments are known to be valid.

    Args:
        solver: "cg" or "chebyshev".
        graph: The normalised graph.
        source: Y0, shape [num_nodes, width].
        alpha: Weight of S X, below 1.
        num_steps: Maximum number of products.
        tol: Stop at a residual of at most this.
        tier: Tier of the products.
    """
    if num_steps == 0 or source.numel() == 0:
        return source.clone(), 0 if num_steps == 0 else 1, math.inf if num_steps == 0 else 0.0
    arcs = graph.arcs(source.dtype)
    if solver == "chebyshev":
        return _chebyshev(arcs, source, alpha, num_steps, tol, tier)
    equation = _Equation(arcs._replace(value=None), _metric(graph, source.dtype), alpha, num_steps, tol, tier)
    y, steps, residual = _Solution.apply(arcs.value, source, equation)  # type: ignore[no-untyped-call]
    return y, steps, residual


def _chebyshev(
    arcs: Arcs, source: Tensor, alpha: float, num_steps: int, tol: float | None, tier: str
) -> tuple[Tensor, int, float]:
    r"""Take the semi-iteration of Chebyshev for eigenvalues in [-alpha, alpha], without inner products.

    With G(X) = alpha S X + (1 - alpha) Y0: X_1 = G(X_0), X_k+1 = X_k-1 + w_k+1 (G(X_k) - X_k-1), w_1 = 2 and
    w_k+1 = 1 / (1 - alpha^2 w_k / 4). All steps are recorded, so that gradients are those of these steps.
    """
    before, x, weight = source, source, 2.0
    for k in range(1, num_steps + 1):
        y, _, change = run(arcs, x, source, alpha=alpha, beta=1 - alpha, num_steps=1, tier=tier)
        residual = float(change)
        if k == num_steps or math.isnan(residual) or (tol is not None and residual <= tol):
            break
        if k == 1:
            before, x = x, y
        else:
            weight = 1 / (1 - alpha * alpha * weight / 4)
            before, x = x, torch.lerp(before, y, weight)
    return y, k, residual


class _Equation(NamedTuple):
    """The equation of conjugate gradients, without the values of the arcs and Y0.

    Attributes:
        arcs: The matrix S without the values of its arcs.
        metric: Diagonal of M, shape [num_nodes, 1], or None for ones.
        alpha: Weight of S X.
        num_steps: Maximum number of products.
        tol: Largest entry of the residual to stop at.
        tier: Tier of the products.
    """

    arcs: Arcs
    metric: Tensor | None
    alpha: float
    num_steps: int
    tol: float | None
    tier: str


def _metric(graph: Graph, dtype: torch.dtype) -> Tensor | None:
    if graph.normalisation == "sym":
        return None
    scale = graph.left if graph.normalisation == "row" else graph.right
    assert scale is not None, "normalise sets it"
    scale = scale.detach()
    # Nodes without neighbours are separate equations.
    positive = torch.where(scale > 0, scale, 1.0)
    return (1 / positive if graph.normalisation == "row" else positive).to(dtype).unsqueeze(1)


class _Solution(torch.autograd.Function):
    r"""The solution as a function of Y0 and of the arcs' values, by the implicit function theorem.

    X = (1 - alpha) (I - alpha S)^-1 Y0. With G the gradient by X and Z = (1 - alpha) (I - alpha S^T)^-1 G the solution
    of the transposed equation, the gradient by Y0 is Z, and that by S_ij is alpha / (1 - alpha) <Z_i, X_j>.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor | None, source: Tensor, equation: _Equation) -> tuple[Tensor, int, float]:
        arcs = equation.arcs._replace(value=None if value is None else value.detach())
        y, steps, residual, unit = _conjugate_gradients(equation._replace(arcs=arcs), source)
        ctx.equation, ctx.unit = equation, unit
        ctx.save_for_backward(value, y)
        return y, steps, residual

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, Tensor, None]:
        value, y = ctx.saved_tensors
        equation: _Equation = ctx.equation
        transposed = equation.arcs._replace(value=value).transposed()
        # The tolerance is scaled from Y0 to G: gradients of a mean are small.
        tol = None if equation.tol is None else equation.tol * _unit(grad) / ctx.unit
        other = equation._replace(
            arcs=transposed._replace(value=None),
            metric=None if equation.metric is None else 1 / equation.metric,
            tol=tol,
        )
        z = _Solution.apply(transposed.value, grad, other)[0]  # type: ignore[no-untyped-call]
        to_value = None
        if ctx.needs_input_grad[0]:
            arcs, scale = equation.arcs, equation.alpha / (1 - equation.alpha)
            if equation.tier in ("native", "triton"):
                to_value = sddmm(arcs.rowptr, arcs.col, z, y, scale, False, equation.tier)
            else:
                to_value = scale * (z[arcs.row] * y[arcs.col]).sum(1)
        return to_value, z, None


def _unit(values: Tensor) -> float:
    """Return the power of two at or below the largest magnitude; 1 where there is none."""
    largest = float(values.detach().abs().max())
    return 2.0 ** math.floor(math.log2(largest)) if 0 < largest < math.inf else 1.0


def _conjugate_gradients(equation: _Equation, source: Tensor) -> tuple[Tensor, int, float, float]:
    """Return X, products, residual and the unit of Y0.

    The recurrence of the residual drifts away from the true residual. A plain step therefore computes the true residual
    of X, and if it is too large conjugate gradients start again from there.
    """
    arcs, _, alpha, num_steps, tol, tier = equation
    # Squares of very large and very small values would leave their type.
    unit = _unit(source)
    source = source / unit
    tol = 0.0 if tol is None else tol / unit
    x, steps = source, 0
    while True:
        y, _, change = run(arcs, x, source, alpha=alpha, beta=1 - alpha, num_steps=1, tier=tier)
        residual, steps = float(change), steps + 1
        # A residual of NaN ends the iteration.
        if steps == num_steps or not residual > tol:
            return y * unit, steps, residual * unit, unit
        x, descent_steps = _descend(equation, x, y - x, num_steps - steps - 1, tol)
        steps += descent_steps
        # No more steps: the type allows no better X, or no product is left.
        if descent_steps == 0:
            x = y


def _descend(equation: _Equation, x: Tensor, residual: Tensor, num_steps: int, tol: float) -> tuple[Tensor, int]:
    """Take at most `num_steps` steps of conjugate gradients; a column stops once its residual is within `tol`."""
    arcs, metric, alpha, _, _, tier = equation
    # Below rounding only the true residual is informative.
    tol = max(tol, torch.finfo(x.dtype).eps)

    x, r, p, work, steps = x.clone(), residual, residual.clone(), torch.empty_like(x), 0

    def dot(a: Tensor, b: Tensor) -> Tensor:
        product = torch.mul(a, b, out=work)
        return (product if metric is None else product.mul_(metric)).sum(0)

    square = dot(r, r)
    while steps < num_steps and bool((active := torch.abs(r, out=work).amax(0) > tol).any()):
        product = run(arcs, p, None, alpha=-alpha, beta=1.0, num_steps=1, tier=tier)[0]
        steps += 1
        curvature = dot(p, product)
        # Columns that have converged stay.
        length = torch.where(active & (curvature > 0), square / curvature, 0.0)
        x.addcmul_(p, length)
        r.addcmul_(product, length, value=-1)
        before, square = square, dot(r, r)
        p.mul_(torch.where(active & (before > 0), square / before, 0.0)).add_(r)
    return x, steps

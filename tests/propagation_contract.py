"""What every tier of propagation must do: cases, and the answers by dense products in float64."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import oracles
import torch
from torch import Tensor

from graphnoise.kernels.arcs import Arcs

WIDTHS = (1, 3, 7, 16, 40, 41, 64, 65, 130)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}
KINDS = ("sym", "row", "col", "value", "none")


class Case(NamedTuple):
    """The arguments of one run."""

    arcs: Arcs
    start: Tensor | None
    source: Tensor | None
    mask: Tensor | None
    alpha: float
    beta: float
    num_steps: int
    clamp: tuple[float, float] | None
    tol: float | None


def graphs() -> dict[str, tuple[Tensor, int]]:
    """Return the graphs of `oracles`, and one with rows of 0, 256, 257 and 650 arcs."""
    g = torch.Generator().manual_seed(3)
    row = torch.cat([torch.full((count,), i) for i, count in ((0, 650), (1, 256), (2, 257), (5, 3), (7, 40))])
    long = torch.stack([torch.randint(0, 18, row.shape, generator=g), row])
    return oracles.graphs() | {"long rows": (long, 19)}


def arcs_of(edge_index: Tensor, n: int, kind: str, index: torch.dtype = torch.int32, seed: int = 0) -> Arcs:
    """Return the matrix with its scales, or with a random value per arc."""
    order = edge_index[1].argsort(stable=True)
    j, i = edge_index[:, order]
    rowptr = torch.nn.functional.pad(torch.bincount(i, minlength=n).cumsum(0), (1, 0)).to(index)
    ends, ones = torch.bincount(i, minlength=n).float(), torch.ones(n)
    if kind == "value":
        g = torch.Generator().manual_seed(seed)
        return Arcs(rowptr, j.to(index), torch.rand(len(j), generator=g) / ends[i])
    begins = torch.bincount(j, minlength=n).clamp(min=1).float()
    zero = torch.zeros(())
    left = {"sym": torch.where(ends > 0, ends.rsqrt(), zero), "row": torch.where(ends > 0, 1 / ends, zero)}.get(kind)
    right = {"sym": torch.where(ends > 0, ends, ones).rsqrt(), "col": 1 / begins}.get(kind)
    return Arcs(rowptr, j.to(index), None, left, right)


def dense(arcs: Arcs) -> Tensor:
    """Return S in float64, by a loop over the arcs."""
    n = arcs.num_nodes
    S = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for k in range(int(arcs.rowptr[i]), int(arcs.rowptr[i + 1])):
            S[i, int(arcs.col[k])] += 1.0 if arcs.value is None else float(arcs.value[k])
    for scale, shape in ((arcs.left, (-1, 1)), (arcs.right, (1, -1))):
        if scale is not None:
            S *= scale.double().view(shape)
    return S


def expected(case: Case) -> tuple[Tensor, int, float]:
    """Return Y, the steps and the residual."""
    S = dense(case.arcs)
    X = None if case.source is None else case.source.double()
    if X is not None and case.mask is not None:
        X = torch.where(case.mask.unsqueeze(1), X, 0.0)
    Y = X if case.start is None else case.start.double()
    steps, residual = 0, math.inf
    while steps < case.num_steps and (case.tol is None or residual > case.tol):
        new = case.alpha * S @ Y + case.beta * (Y if X is None else X)
        new = new if case.clamp is None else new.clamp(*case.clamp)
        residual = float((new - Y).abs().max()) if Y.numel() else 0.0
        Y, steps = new, steps + 1
    return Y, steps, residual


def _bits(t: Tensor) -> Tensor:
    return t.reshape(-1).view(torch.uint8).clone()


def _seen(case: Case) -> list[Tensor]:
    """Return the values that propagation looks at."""
    source = case.source if case.mask is None or case.source is None else case.source[case.mask]
    return [t for t in (case.start, source, case.arcs.value) if t is not None]


def check(case: Case, run, repeat: bool = True) -> None:
    """Raise unless `run` agrees with the answer, repeats it bit for bit and leaves its arguments alone."""
    given = case.source if case.start is None else case.start
    tensors = [t for t in (*case[1:4], *case.arcs) if t is not None]
    before = [_bits(t) for t in tensors]
    y, steps, residual = run(*case)
    assert y.dtype == given.dtype
    assert y.shape == given.shape
    assert y.is_contiguous()
    assert y.data_ptr() not in [t.data_ptr() for t in case[1:3] if t is not None]
    assert all(torch.equal(_bits(t), kept) for t, kept in zip(tensors, before, strict=True)), "an argument was changed"
    if not all(bool(torch.isfinite(t).all()) for t in _seen(case)) or not bool(torch.isfinite(y).all()):
        assert math.isnan(residual), f"residual {residual} where not all is finite"
        return
    Y, right_steps, right_residual = expected(case)
    tolerance = TOLERANCE[given.dtype]
    oracles.assert_close(y.cpu(), Y, tolerance)
    assert steps == right_steps, f"{steps} steps instead of {right_steps}"
    limit = tolerance * max(1.0, float(Y.abs().max()) if Y.numel() else 0.0)
    close = residual == right_residual or abs(residual - right_residual) <= 2 * limit
    assert close, f"residual {residual} instead of {right_residual}"
    if repeat:
        again = run(*case)
        assert torch.equal(again[0], y)
        assert again[1:] == (steps, residual)


def all_cases() -> dict[str, Case]:
    """Return all cases by name: each graph at each width, early stops, values that are not finite."""
    shapes = itertools.product(graphs().items(), WIDTHS)
    return dict(drawn(name, *graph, d) for (name, graph), d in shapes) | early_stops() | not_finite()


def early_stops() -> dict[str, Case]:
    """Return cases that stop between two residuals, after four of ten steps; one where the last step is the fourth."""
    results = {}
    # A cycle with two chords: few rows, since Triton's interpreter takes long for each.
    edge_index, n = torch.tensor([[0, 1, 2, 3, 4, 0, 1], [1, 2, 3, 4, 0, 2, 3]]), 5
    pairs = ("sym", torch.float32), ("row", torch.float16)
    for d, (kind, dtype), num_steps in itertools.product((3, 40), pairs, (4, 10)):
        y = torch.rand(n, d, generator=torch.Generator().manual_seed(d)).to(dtype)
        case = Case(arcs_of(edge_index, n, kind), None, y, None, 0.7, 0.3, num_steps, (0.1, 0.9), None)
        residuals = [expected(case._replace(num_steps=k))[2] for k in (3, 4)]
        name = f"stop at 4 of {num_steps}, d={d}, {kind}, {str(dtype)[6:]}"
        results[name] = case._replace(tol=math.sqrt(residuals[0] * residuals[1]))
    return results


def not_finite() -> dict[str, Case]:
    """Return cases with a NaN residual; in each, what is not finite is soon out of sight, but not out of the count."""
    # No arc leaves 3; no arc enters 0.
    path = torch.tensor([[0, 1, 2], [1, 2, 3]])
    base = Case(arcs_of(path, 4, "row"), torch.ones(4, 5), None, None, 1.0, 0.0, 2, None, None)

    def put(value: float, row: int, dtype: torch.dtype = torch.float32) -> Tensor:
        y = torch.ones(4, 5, dtype=dtype)
        y[row, 4] = value
        return y

    results = {f"{bad} that is forgotten": base._replace(start=put(float(bad), 3)) for bad in ("nan", "inf", "-inf")}
    results["nan before a clamp"] = base._replace(start=put(math.nan, 0), clamp=(0.0, 1.0), num_steps=1)
    results["inf before a clamp"] = base._replace(start=put(math.inf, 0), clamp=(0.0, 1.0), num_steps=3)
    results["nan in the source"] = base._replace(source=put(math.nan, 2), beta=0.5)
    results["inf in the source"] = base._replace(source=put(math.inf, 2), beta=0.5, clamp=(0.0, 1.0))
    results["nan and a tolerance"] = base._replace(start=put(math.nan, 3), tol=0.1)
    results["float16 overflows"] = base._replace(start=put(6e4, 0, torch.float16), alpha=2.0, num_steps=3)
    arcs = arcs_of(path, 4, "value")
    arcs.value[1] = math.inf
    results["an arc that is not finite"] = base._replace(arcs=arcs)
    return results


def drawn(name: str, edge_index: Tensor, n: int, d: int, dtype: torch.dtype | None = None) -> tuple[str, Case]:
    """Return the name and the arguments of a case."""
    g = torch.Generator().manual_seed(len(name) + 100 * d)

    def pick(*choices):
        return choices[int(torch.randint(len(choices), (), generator=g))]

    kind, mode = pick(*KINDS), pick("restart", "lazy", "masked", "start", "masked start", "only S")
    index, drawn_type = pick(torch.int32, torch.int64), pick(*TOLERANCE)
    dtype = dtype or drawn_type
    arcs = arcs_of(edge_index, n, kind, index, d)
    values = [torch.rand(n, d, generator=g).sub(0.3).to(dtype) for _ in range(2)]
    mask = torch.rand(n, generator=g) < 0.5 if "mask" in mode else None
    if mask is not None:
        # These rows are not read.
        values[0][~mask] = math.nan
    start = values[1] if mode in ("lazy", "start", "masked start", "only S") else None
    source = None if mode in ("lazy", "only S") else values[0]
    alpha = pick(0.8, 0.5, -0.4) / (30.0 if kind == "none" else 1.0)
    beta = 0.0 if mode == "only S" else 1 - abs(alpha)
    clamp, num_steps = pick((0.0, 0.4), (-0.1, 0.25), None), pick(1, 2)
    words = (name, f"d={d}", str(dtype)[6:], kind, str(index)[6:], mode, f"{num_steps} steps", f"clamp={clamp}")
    return ", ".join(words), Case(arcs, start, source, mask, alpha, beta, num_steps, clamp, None)

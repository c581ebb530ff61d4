"""Types of the compiled module; the arrays are C-contiguous, and none is converted."""

import numpy as np
from numpy.typing import NDArray

_Index = NDArray[np.int64]
_Float = NDArray[np.float32]

def attend(
    rowptr: _Index,
    col: _Index,
    h: _Float,
    source: _Float,
    target: _Float,
    slope: float,
    kept: _Float | None,
    out: _Float,
    weight: _Float,
    /,
) -> None: ...
def attend_backward(
    rowptr: _Index,
    col: _Index,
    h: _Float,
    source: _Float,
    target: _Float,
    slope: float,
    kept: _Float | None,
    weight: _Float,
    grad: _Float,
    grad_h: _Float,
    grad_source: _Float,
    grad_target: _Float,
    /,
) -> None: ...
def compress(row: _Index, rowptr: _Index, order: _Index, /) -> None: ...

# Arrays of the functions below come as addresses (0: none) of memory that the caller has checked and keeps alive;
# `col` is readable 64 entries beyond its end.
def propagate(
    type: int,
    wide_index: bool,
    nodes: int,
    width: int,
    rowptr: int,
    col: int,
    value: int,
    left: int,
    right: int,
    start: int,
    source: int,
    mask: int,
    alpha: float,
    beta: float,
    low: float,
    high: float,
    tol: float,
    steps: int,
    out: int,
    other: int,
    threads: int,
    /,
) -> tuple[int, float, bool]: ...
def sample(
    type: int,
    wide_index: bool,
    nodes: int,
    width: int,
    rowptr: int,
    col: int,
    g: int,
    y: int,
    alpha: float,
    out: int,
    threads: int,
    /,
) -> None: ...
def gather_floor(rowptr: int, col: int, y: int, out: int, nodes: int, width: int, threads: int, /) -> None: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def use_instruction_set(name: str, /) -> None: ...

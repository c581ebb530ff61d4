"""Types of the compiled module; the arrays are C-contiguous, and none is converted."""

import numpy as np
from numpy.typing import NDArray

_Index = NDArray[np.int64]

def compress(row: _Index, rowptr: _Index, order: _Index, /) -> None: ...

# Arrays of the functions below come as addresses (0: none) of memory that the caller has checked and keeps alive;
# `col`, `row` and `arc` are readable 64 entries beyond their end. The numbers of targets to attend and of sources lie
# below 2^31, and neither heads nor width is 0.
def attend(
    instruction_set: str,
    threads: int,
    targets: int,
    heads: int,
    width: int,
    rowptr: int,
    col: int,
    prefetch: int,
    h: int,
    source: int,
    target: int,
    kept: int,
    slope: float,
    bias: int,
    weight: int,
    out: int,
    /,
) -> None: ...
def attend_backward(
    instruction_set: str,
    threads: int,
    targets: int,
    sources: int,
    heads: int,
    width: int,
    rowptr: int,
    col: int,
    colptr: int,
    row: int,
    arc: int,
    prefetch: int,
    h: int,
    source: int,
    target: int,
    kept: int,
    slope: float,
    weight: int,
    grad: int,
    score: int,
    to_h: int,
    to_source: int,
    to_target: int,
    /,
) -> None: ...
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
def normalise(
    backward: bool,
    p: int,
    before: int,
    after: bool,
    threads: int,
    rows: int,
    width: int,
    x: int,
    grad: int,
    norm: int,
    out: int,
    /,
) -> None: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def use_instruction_set(name: str, /) -> None: ...

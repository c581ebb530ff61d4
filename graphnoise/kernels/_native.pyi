"""Types of the compiled module; the arrays are C-contiguous, and none is converted."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_Index = NDArray[np.int64]
_Real = NDArray[np.float64]

def compress(row: _Index, rowptr: _Index, order: _Index, /) -> None: ...

# Arrays of the functions below are addresses (0: none) of memory that the caller has checked and keeps alive; `col`,
# `row` and `arc` are readable 64 entries beyond their end. Numbers of targets and sources are below 2^31, and neither
# heads nor width is 0.
class AttendArguments:
    heads: int
    width: int
    rowptr: int
    colptr: int
    col: int
    row: int
    arc: int
    prefetch: int
    h: int
    source: int
    target: int
    factor: int
    slope: float
    weight: int
    bias: int
    out: int
    grad: int
    score: int
    to_h: int
    to_source: int
    to_target: int
    def __init__(self) -> None: ...

def attend(instruction_set: str, threads: int, targets: int, arguments: AttendArguments, /) -> None: ...
def attend_backward(
    instruction_set: str, threads: int, targets: int, sources: int, arguments: AttendArguments, /
) -> None: ...

class PropagateArguments:
    type: int
    wide_index: bool
    rectangular: bool
    nodes: int
    start_rows: int
    width: int
    rowptr: int
    order: int
    col: int
    value: int
    left: int
    right: int
    start: int
    source: int
    mask: int
    alpha: float
    beta: float
    low: float
    high: float
    tol: float
    min_steps: int
    num_steps: int
    done: int
    planned: int
    work: int
    out: int
    other: int
    threads: int
    def __init__(self) -> None: ...

def propagate(arguments: PropagateArguments, /) -> tuple[int, float, bool]: ...
def sddmm(
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

class BeliefArguments:
    nodes: int
    classes: int
    chunks: int
    rowptr: int
    reverse: int
    heaviest: int
    col: int
    weight: int
    total: int
    square: int
    messages: int
    sums: int
    heavy: int
    field: int
    prior: int
    baseline: int
    slope: int
    affinity: int
    coupling: int
    vote: float
    vote_count: float
    keep: float
    joint: int
    def __init__(self) -> None: ...

def sum_messages(threads: int, arguments: BeliefArguments, /) -> None: ...
def update_messages(instruction_set: str, threads: int, arguments: BeliefArguments, /) -> None: ...
def push(
    rowptr: int,
    col: int,
    weight: int,
    degree: int,
    labels: int,
    lookup: Callable[[_Index], NDArray[np.uint8]] | None,
    label_eps: float,
    nodes: int,
    seeds: int,
    mass: int,
    count: int,
    method: int,
    alpha: float,
    eps: float,
    tol: float,
    p: float,
    t: float,
    unit: bool,
    max_pushes: int,
    /,
) -> tuple[_Index, _Real, _Real, _Real, int, int, int, float, float]: ...
def push_batch(
    rowptr: int,
    col: int,
    weight: int,
    degree: int,
    labels: int,
    lookup: Callable[[_Index], NDArray[np.uint8]] | None,
    label_eps: float,
    nodes: int,
    begin: int,
    sets: int,
    seeds: int,
    mass: int,
    method: int,
    alpha: float,
    eps: float,
    tol: float,
    p: float,
    t: float,
    unit: bool,
    max_pushes: int,
    threads: int,
    /,
) -> tuple[_Index, _Index, _Real, _Index, _Index, _Index, _Index, _Real]: ...
def sweep(
    rowptr: int,
    col: int,
    weight: int,
    node_degree: int,
    labels: int,
    lookup: Callable[[_Index], NDArray[np.uint8]] | None,
    label_eps: float,
    order: int,
    count: int,
    degree: int,
    volume: int,
    cut: int,
    /,
) -> None: ...
def improve(
    rowptr: int,
    col: int,
    weight: int,
    degree: int,
    labels: int,
    lookup: Callable[[_Index], NDArray[np.uint8]] | None,
    label_eps: float,
    nodes: int,
    count: int,
    delta: float,
    total: float,
    max_rounds: int,
    /,
) -> tuple[_Index, float, float, float, float, float, bool, int, int, int]: ...
def read_region(
    rowptr: int, col: int, weight: int, degree: int, inside: int, count: int, /
) -> tuple[_Index, NDArray[np.int32], _Index]: ...
def log_odds(nodes: int, mean: float, calibration: int, sums: int, totals: int, squares: int, out: int, /) -> None: ...
def update_region(
    threads: int,
    nodes: int,
    mean: float,
    keep: float,
    rowptr: int,
    reply: int,
    weight: int,
    total: int,
    square: int,
    messages: int,
    sums: int,
    evidence: int,
    calibration: int,
    /,
) -> float: ...
def release(
    rowptr: int,
    col: int,
    weight: int,
    degree: int,
    labels: int,
    lookup: Callable[[_Index], NDArray[np.uint8]] | None,
    label_eps: float,
    nodes: int,
    masses: int,
    count: int,
    capacity: float,
    height: int,
    growth: float,
    max_left: float,
    half: float,
    iterations: int,
    patience: int,
    max_pushes: int,
    /,
) -> tuple[_Index, _Real, _Real, int, int, int, int, int, float, float, int]: ...
def instruction_set() -> str: ...
def instruction_sets() -> list[str]: ...
def use_instruction_set(name: str, /) -> None: ...

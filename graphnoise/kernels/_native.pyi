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

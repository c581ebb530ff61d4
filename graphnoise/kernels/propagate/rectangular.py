"""Products of a sparse rectangular matrix with scaled rows and columns and a dense matrix, on the CPU."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphnoise.checks import fail
from graphnoise.kernels import _native
from graphnoise.kernels.addresses import address
from graphnoise.kernels.propagate.cpu import PADDING, TYPES
from graphnoise.resources import native_threads


class Rectangular(NamedTuple):
    """The matrix diag(left) · A · diag(right), where every stored entry of A is 1.

    Attributes:
        rowptr: Where each row begins, int64, shape [rows + 1].
        col: Column of each entry, int32, shape [entries + padding].
        left: Scale of each row, float32, shape [rows].
        right: Scale of each column, float32, shape [columns].
    """

    rowptr: Tensor
    col: Tensor
    left: Tensor
    right: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.left), len(self.right)


def rectangular(pattern: sp.csr_array, left: NDArray[np.float32], right: NDArray[np.float32]) -> Rectangular:
    """Return the matrix with the stored entries of `pattern`, whose values do not count.

    Args:
        pattern: CSR [rows, columns] with valid positions.
        left: Scale of each row [rows].
        right: Scale of each column [columns].
    """
    col = torch.zeros(pattern.nnz + PADDING, dtype=torch.int32)
    col[: pattern.nnz] = torch.from_numpy(pattern.indices.astype(np.int32))
    scales = (torch.from_numpy(np.array(scale, np.float32)) for scale in (left, right))
    return Rectangular(torch.from_numpy(pattern.indptr.astype(np.int64)), col, *scales)


def multiply(
    matrix: Rectangular,
    x: Tensor,
    y: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    out: Tensor | None = None,
    num_threads: int | None = None,
) -> Tensor:
    """Return alpha · matrix · x + beta · y. The result does not depend on the number of threads.

    Args:
        matrix: [rows, columns].
        x: float32 or bfloat16 (sums are float32), contiguous, shape [columns, width].
        y: Of the same type, contiguous, shape [rows, width], or None for zeros.
        alpha: Factor of the product.
        beta: Factor of y.
        out: Where to write, of the type and shape of the result; not x or y. None is new memory.
        num_threads: None is torch's number.

    Raises:
        InputError: Shapes or types do not fit.

    Example:
        >>> ones = np.ones(3, np.float32)
        >>> matrix = rectangular(sp.csr_array([[1, 1, 0], [0, 1, 1]]), 2 * ones[:2], ones)
        >>> multiply(matrix, torch.tensor([[1.0], [2.0], [3.0]])).tolist()
        [[6.0], [10.0]]
    """
    rows, columns = matrix.shape
    width = x.shape[1] if x.dim() == 2 else -1
    if out is None:
        out = torch.empty((rows, max(width, 0)), dtype=x.dtype)
    for name, tensor, size in (("x", x, columns), ("y", y, rows), ("out", out, rows)):
        if tensor is None:
            continue
        if tensor.dtype not in (torch.float32, torch.bfloat16) or tensor.dtype != x.dtype:
            fail(name, "float32 or bfloat16, the same for all", tensor.dtype)
        if tensor.shape != (size, width) or not tensor.is_contiguous() or tensor.device.type != "cpu":
            fail(name, f"a contiguous CPU tensor of shape [{size}, width]", f"shape {tuple(tensor.shape)}")
    if out.numel() == 0:
        return out
    arguments = _native.PropagateArguments()
    arguments.type = TYPES[x.dtype]
    arguments.wide_index = False
    arguments.rectangular = True
    arguments.nodes, arguments.start_rows, arguments.width = rows, columns, width
    arguments.rowptr, arguments.col = matrix.rowptr.data_ptr(), matrix.col.data_ptr()
    arguments.value = arguments.mask = 0
    arguments.left, arguments.right = matrix.left.data_ptr(), matrix.right.data_ptr()
    arguments.start, arguments.source = x.data_ptr(), address(y)
    arguments.alpha, arguments.beta = alpha, 0.0 if y is None else beta
    arguments.low, arguments.high = -math.inf, math.inf
    arguments.tol = -1.0
    arguments.num_steps = 1
    arguments.out = arguments.other = out.data_ptr()
    arguments.threads = native_threads(num_threads)
    _native.propagate(arguments)
    return out

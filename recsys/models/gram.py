"""Products of sparse matrices in blocks, and regressions of every item on the others by their Gram matrix XᵀX."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from graphnoise.checks import fail
from recsys.base import BATCH, batches
from recsys.topk import Floats, top_k
from recsys.validation import Ints

Reals = NDArray[np.float64]
# Items up to which double precision costs little, and condition numbers up to which single precision is enough beyond.
SMALL, MAX_CONDITION = 4096, 1e5
# Rows that are mirrored at a time.
_MIRRORED = 512


def products(left: sp.csr_array, right: sp.csr_array, dense: bool = False) -> Iterator[tuple[int, sp.csr_array]]:
    """Yield the rows of `left @ right` in blocks with about BATCH entries, each with the number of its first row.

    With `dense`, rows count as full, for a caller that writes them out.
    """
    size, filled = right.shape[1], np.diff(left.indptr)
    ones = sp.csr_array((np.ones(left.nnz), left.indices, left.indptr), shape=left.shape)
    cost = np.where(filled, size, 0) if dense else np.minimum(ones @ np.diff(right.indptr), size)
    block_of = (cost.cumsum() // BATCH).astype(np.int64)
    for start, stop in itertools.pairwise([0, *(np.flatnonzero(np.diff(block_of)) + 1), len(cost)]):
        yield start, (left[start:stop] @ right).tocsr()


def similar(
    left: sp.csr_array,
    right: sp.csr_array,
    k: int | None,
    divisor: Callable[[Ints, Ints], Any],
    *,
    diagonal: bool = False,
) -> sp.csr_array:
    """Return `left @ right` over divisors of rows and columns, the k largest positive entries of each row as float32.

    Args:
        left: CSR [m, l] of float64.
        right: CSR [l, n] of float64.
        k: Entries kept, ties to the lower column; None: all.
        divisor: Function of the rows and columns of entries.
        diagonal: Whether the diagonal counts.
    """
    parts = []
    for start, block in products(left, right, dense=k is not None):
        rows = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
        block.data /= divisor(rows, block.indices)
        if not diagonal:
            block.data[rows == block.indices] = 0
            block.eliminate_zeros()
        block = block.astype(np.float32)
        parts.append(block if k is None else _largest(block, min(k, right.shape[1])))
    return sp.csr_array(sp.vstack(parts, format="csr"))


def _largest(block: sp.csr_array, k: int) -> sp.csr_array:
    """Return the k largest entries of each row."""
    filled = np.flatnonzero(np.diff(block.indptr))
    columns, values = top_k(block[filled].toarray(), k)
    positive = values > 0
    sizes = np.zeros(block.shape[0], np.int64)
    sizes[filled] = positive.sum(1)
    indptr = np.concatenate([[0], sizes.cumsum()])
    return sp.csr_array((values[positive], columns[positive], indptr), shape=block.shape)


def pairs_in_rows(matrix: sp.csr_array) -> float:
    """Return a bound on the entries of XᵀX: the pairs of entries in the rows, or all of the dense matrix."""
    return min(float((np.diff(matrix.indptr).astype(np.float64) ** 2).sum()), float(matrix.shape[1]) ** 2)


def gram(matrix: sp.csr_array, dtype: Any) -> NDArray[Any]:
    """Return the dense XᵀX, made in blocks of rows: [n, n] in C order."""
    right = matrix.astype(dtype)
    out = np.zeros((matrix.shape[1],) * 2, dtype)
    for start, block in products(right.T.tocsr(), right, dense=True):
        block.toarray(out=out[start : start + block.shape[0]])
    return out


def inversion_type(matrix: sp.csr_array, penalty: Reals) -> type:
    """Return the type in which XᵀX + diag(penalty) is inverted: double for few items or a large condition number.

    The condition number is bounded by the largest row sum over the least penalty.
    """
    if matrix.shape[1] <= SMALL:
        return np.float64
    largest = float((matrix.T @ (matrix @ np.ones(matrix.shape[1])) + penalty).max())
    return np.float32 if largest <= MAX_CONDITION * float(penalty.min()) else np.float64


def dense_bytes(size: int, dtype: type) -> float:
    """Return the memory that `regress` needs, with its result in single precision."""
    return (4.0 if dtype == np.float32 else 12.0) * size**2


def invert(name: str, matrix: NDArray[Any]) -> NDArray[Any]:
    """Return the inverse of a positive definite matrix [n, n] in C order, in its memory.

    Raises:
        InputError: The matrix is not positive definite in its precision; the message begins with the name.
    """
    size = len(matrix)
    factorise, finish = get_lapack_funcs(("potrf", "potri"), (matrix,))
    # LAPACK reads columns: its lower triangle is the upper one here.
    factor, failed = factorise(matrix.T, lower=True, clean=False, overwrite_a=True)
    result, singular = finish(factor, lower=True, overwrite_c=True)
    if failed or singular:
        fail(name, "a regularization with which the Gram matrix can be inverted", "one that is too small")
    inverse: NDArray[Any] = result.T
    for start in range(0, size, _MIRRORED):
        stop = min(start + _MIRRORED, size)
        corner = np.triu(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = corner + np.triu(corner, 1).T
        inverse[stop:, start:stop] = inverse[start:stop, stop:].T
    return inverse


def regress(name: str, matrix: NDArray[Any]) -> Floats:
    """Return B[i, j] = -P[i, j] / P[j, j] with P = A⁻¹ and a zero diagonal, in the memory of A where it is float32.

    Args:
        name: What is regressed, for the message of `invert`.
        matrix: A, symmetric, [n, n] in C order; it is overwritten.
    """
    weights = invert(name, matrix)
    weights /= -weights.diagonal()
    np.fill_diagonal(weights, 0)
    return np.asarray(weights, np.float32)


def regress_on_few(name: str, matrix: sp.csr_array, penalty: Reals, k: int, num_threads: int) -> sp.csr_array:
    """Return the weights of `regress` with at most k items per column, the others 0: CSR [n, n].

    Column j minimises |X w - x_j|^2 + w' diag(penalty) w over the items i with the largest G[i, j] / sqrt(G[i, i] +
    penalty[i]), each of which alone would lower the loss by the square of that.
    """
    matrix, size = matrix.astype(np.float64), matrix.shape[1]
    transposed, columns = matrix.T.tocsr(), matrix.tocsc()
    whole = gram(matrix, np.float64) if size <= SMALL else None
    roots = np.sqrt(np.bincount(matrix.indices, matrix.data**2, minlength=size) + penalty)
    chosen = similar(transposed, matrix, k, lambda rows, others: roots[others])
    chosen.sort_indices()
    solve = get_lapack_funcs("posv", dtype=np.float64)

    def together(items: Ints) -> Reals:
        if whole is not None:
            return whole[np.ix_(items, items)]
        part = columns[:, items]
        return np.asarray((part.T @ part).toarray())

    def of_items(part: slice) -> list[Floats]:
        found = []
        for item in range(part.start, part.stop):
            some = chosen.indices[chosen.indptr[item] : chosen.indptr[item + 1]]
            if not some.size:
                continue
            system = together(np.append(some, item))
            target = system[:-1, -1].copy()
            system = system[:-1, :-1] + np.diag(penalty[some])
            _, weights, failed = solve(system, target, overwrite_a=True)
            if failed:
                fail(name, "a regularization with which the Gram matrix can be inverted", "one that is too small")
            found.append(np.asarray(weights, np.float32))
        return found

    parts = batches(of_items, size, k * k, num_threads)
    data = np.concatenate([np.zeros(0, np.float32), *itertools.chain.from_iterable(parts)])
    weights = sp.csr_array((data, chosen.indices, chosen.indptr), shape=(size, size)).T.tocsr()
    weights.sort_indices()
    return sp.csr_array(weights)

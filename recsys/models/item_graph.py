"""The graph of items that share users: products with its normalised matrix, polynomials of it, leading eigenvectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from graphnoise.kernels.propagate.rectangular import multiply, rectangular
from recsys.topk import Floats

# Columns that are multiplied at a time: their rows stay in the caches of usual processors.
PANEL = 32
# Of the subspace iteration: further columns, rounds, and products between two orthogonalisations.
OVERSAMPLING, ROUNDS, STEPS = 16, 4, 2
# Of the power iteration for the largest eigenvalue, which is then raised by this share.
POWER_STEPS, MARGIN = 40, 1e-3


class ItemGraph:
    r"""The matrix S = R̃ᵀ R̃ with R̃ = D_u^-a R D_i^-b / σ for clicks R; eigenvalues lie in [0, 1].

    D_u and D_i hold the numbers of clicks of users and items, at least 1. σ is 1 for a = b = 1/2, where the largest
    eigenvalue is 1, and otherwise (slightly above) the largest singular value.

    Args:
        user_items: Clicks R, CSR [users, items] of ones with at least one entry.
        user_power: a.
        item_power: b.
        dtype: Type of stored values; sums are float32.
        num_threads: Threads of the products; results do not depend on it.

    Example:
        >>> graph = ItemGraph(sp.csr_array(np.array([[1, 1, 0], [0, 1, 1]], np.float32)))
        >>> graph.multiply(torch.eye(3)).numpy().round(3)
        array([[0.5  , 0.354, 0.   ],
               [0.354, 0.5  , 0.354],
               [0.   , 0.354, 0.5  ]], dtype=float32)
    """

    def __init__(
        self,
        user_items: sp.csr_array,
        user_power: float = 0.5,
        item_power: float = 0.5,
        dtype: torch.dtype = torch.float32,
        num_threads: int = 1,
    ) -> None:
        self.num_threads, self.dtype = num_threads, dtype
        item_users = user_items.T.tocsr()
        users, items = (np.maximum(np.diff(m.indptr), 1.0) for m in (user_items, item_users))
        self.item_clicks = items.astype(np.float32)
        left, right = (users**-user_power).astype(np.float32), (items**-item_power).astype(np.float32)
        self.to_users, self.to_items = rectangular(user_items, left, right), rectangular(item_users, right, left)
        self.pattern = user_items
        if user_power != 0.5 or item_power != 0.5:
            root = np.float32(np.sqrt(self._largest_eigenvalue(len(right)) * (1 + MARGIN)))
            self.to_users = rectangular(user_items, left, right / root)
            self.to_items = rectangular(item_users, right / root, left)

    def _largest_eigenvalue(self, size: int) -> float:
        vector, value = torch.full((size, 1), size**-0.5), 1.0
        for _ in range(POWER_STEPS):
            vector = self.multiply(vector)
            value = float(vector.norm())
            vector /= value
        return value

    def multiply(self, x: Tensor, y: Tensor | None = None, *, alpha: float = 1.0, out: Tensor | None = None) -> Tensor:
        """Return alpha · S x + y for tensors [items, width]; `out` is not x or y."""
        half = multiply(self.to_users, x, num_threads=self.num_threads)
        return multiply(self.to_items, half, y, alpha=alpha, out=out, num_threads=self.num_threads)

    def chebyshev(self, x: Tensor, degree: int) -> Iterator[Tensor]:
        """Yield T_k(I - 2 S) x for k from 0 to `degree`: tensors [items, width] that are valid until the next one."""
        before, last, rest = x, x, torch.empty_like(x)
        yield x
        for k in range(1, degree + 1):
            if k == 1:
                before, last = x.clone(), self.multiply(x, x, alpha=-2.0)
            else:
                # 2 (I - 2 S) last - before
                torch.sub(last, before, alpha=0.5, out=rest).mul_(2)
                before, last = last, self.multiply(last, rest, alpha=-4.0, out=before)
            yield last

    def polynomial(self, rows: sp.csr_array, coefficients: NDArray[np.floating], scale: Floats) -> Floats:
        """Return Σ_k c_k T_k(I - 2 S) applied to rows of values times the scale of each item.

        Args:
            rows: CSR [b, items] of float32.
            coefficients: c [degree + 1].
            scale: Factor of each item of the rows [items].

        Returns:
            float32 [b, items].
        """
        scores = np.empty(rows.shape, np.float32)
        for start in range(0, rows.shape[0], PANEL):
            dense = rows[start : start + PANEL].toarray()
            x = torch.from_numpy(np.ascontiguousarray((dense * scale).T)).to(self.dtype)
            total = torch.zeros(x.shape)
            for weight, term in zip(coefficients, self.chebyshev(x, len(coefficients) - 1), strict=True):
                total.add_(term, alpha=float(weight))
            scores[start : start + PANEL] = total.numpy().T
        return scores

    def leading_vectors(self, count: int, seed: int) -> Floats:
        """Return eigenvectors of the `count` largest eigenvalues of S, as columns: float32 [items, count].

        Subspace iteration from random numbers of `seed`; of close eigenvalues it returns a mixture.

        Source: Halko, Martinsson and Tropp, "Finding structure with randomness", 2011, algorithm 4.4.
        """
        size = len(self.item_clicks)
        count = min(count, self.pattern.shape[0], size)
        width = min(size, count + OVERSAMPLING)
        vectors = np.random.default_rng(seed).standard_normal((size, width), np.float32)
        # With one thread, BLAS sums in the same order everywhere.
        with threadpool_limits(1, "blas"):
            for _ in range(ROUNDS):
                vectors = np.linalg.qr(self._powers(vectors, STEPS))[0]
            inner = vectors.T @ self._powers(vectors, 1)
            mixture = np.linalg.eigh((inner + inner.T) / 2)[1][:, ::-1][:, :count]
            return np.ascontiguousarray(vectors @ mixture)

    def _powers(self, columns: Floats, steps: int) -> Floats:
        """Return S^steps times the columns."""
        result = np.empty_like(columns)
        for start in range(0, columns.shape[1], PANEL):
            x = torch.from_numpy(np.ascontiguousarray(columns[:, start : start + PANEL])).to(self.dtype)
            for _ in range(steps):
                x = self.multiply(x)
            result[:, start : start + PANEL] = x.float().numpy()
        return result

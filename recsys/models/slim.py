"""SLIM: sparse item-item weights, by coordinate descent or by the alternating direction method of multipliers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path

from graphnoise.checks import choice, fail, flag, integer, real
from recsys.base import Callback
from recsys.models import gram
from recsys.models.baselines import ItemWeights

SOLVERS = ("cd", "admm")
# Relative tolerance of the result, and over-relaxation of the alternation.
TOLERANCE, RELAXATION = 1e-4, 1.6


class SLIM(ItemWeights):
    r"""Each item is regressed on the others with few, non-negative weights (elastic net).

    B minimises ½ |X - X B|^2 + λ₁ |B|₁ + ½ λ₂ |B|^2 under a zero diagonal and B ≥ 0. The score of a user is X B.

    "cd" solves one item after the other by coordinate descent on XᵀX, "admm" all at once: it alternates a ridge
    regression, whose matrix (XᵀX + (λ₂ + ρ) I)⁻¹ is computed once, with a soft threshold; ρ = λ₂ + 2 mean(diag(XᵀX)).
    XᵀX is dense: memory is 4 · items² bytes ("cd") or 24 · items² ("admm") in single precision, and twice that up to
    4,096 items and where λ₂ is small against XᵀX.

    Args:
        l1_regularization: λ₁, positive; also 0 with "admm".
        l2_regularization: λ₂, positive.
        nonnegative: Whether B ≥ 0.
        solver: "cd" or "admm".
        iterations: Passes over the weights of an item, or alternations, at most; fewer where the result has a relative
            tolerance of 1e-4 (duality gap over |x_j|^2; changes and difference of the alternatives over their norm).
        num_threads: Threads of `recommend`; 0 is one per core.

    Raises:
        InputError: A number out of range; on `fit`, more items than memory allows.

    Warns:
        ConvergenceWarning: Some items are not solved to the tolerance.

    Example:
        >>> model = SLIM(l1_regularization=0.1, l2_regularization=1.0)
        >>> model.fit(sp.csr_array([[1, 1, 0], [0, 1, 1], [1, 1, 0]])).weights.toarray().round(3)
        array([[0.   , 0.633, 0.   ],
               [0.475, 0.   , 0.225],
               [0.   , 0.45 , 0.   ]], dtype=float32)

    Source: Ning and Karypis, "SLIM: sparse linear methods for top-N recommender systems", ICDM 2011, section IV; Steck
    et al., "ADMM SLIM: sparse recommendations for many users", WSDM 2020, section 3.
    """

    def __init__(
        self,
        l1_regularization: float = 1.0,
        l2_regularization: float = 30.0,
        nonnegative: bool = True,
        solver: str = "cd",
        iterations: int = 200,
        num_threads: int = 0,
    ) -> None:
        self.l1_regularization = real("l1_regularization", l1_regularization, 0.0)
        self.l2_regularization = real("l2_regularization", l2_regularization, 1e-12)
        self.nonnegative = flag("nonnegative", nonnegative)
        self.solver = choice("solver", solver, SOLVERS)
        if self.solver == "cd" and not self.l1_regularization:
            fail("l1_regularization", "a positive number with the solver 'cd'", l1_regularization)
        self.iterations = integer("iterations", iterations, 1)
        self.num_threads = integer("num_threads", num_threads, 0)

    def _type(self, user_items: sp.csr_array) -> type:
        return gram.inversion_type(user_items, np.full(user_items.shape[1], self.l2_regularization))

    def memory_needed(self, user_items: sp.csr_array) -> float:
        """Return the bytes of XᵀX, and of the matrices of the alternation."""
        width = np.dtype(self._type(user_items)).itemsize * (1 if self.solver == "cd" else 6)
        return float(width * user_items.shape[1] ** 2)

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        together = gram.gram(user_items, self._type(user_items))
        weights, failed = (self._descend if self.solver == "cd" else self._alternate)(together)
        if failed:
            message = f"SLIM: {failed} of {len(together)} items did not converge in {self.iterations} iterations"
            warnings.warn(message, ConvergenceWarning, stacklevel=4)
        self.user_items, self.weights = user_items, weights

    def _descend(self, together: NDArray[Any]) -> tuple[sp.csr_array, int]:
        """Return the weights, and the number of items that did not converge."""
        size, total = len(together), self.l1_regularization + self.l2_regularization
        # The solver reads XᵀX, and of X only the shape.
        X, found = np.zeros((1, size), together.dtype, "F"), []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            for item in range(size):
                target = together[item].copy()
                norm, target[item] = target[item], 0
                # An item whose row and column are 0 is left out.
                together[item] = together[:, item] = 0
                _, path, _ = enet_path(
                    X,
                    np.sqrt([norm], dtype=together.dtype),
                    l1_ratio=self.l1_regularization / total,
                    alphas=[total],
                    precompute=together,
                    Xy=target,
                    positive=self.nonnegative,
                    max_iter=self.iterations,
                    tol=TOLERANCE,
                    check_input=False,
                )
                found.append(sp.csr_array(path.T.astype(np.float32)))
                target[item] = norm
                together[item] = together[:, item] = target
        weights = sp.csr_array(sp.vstack(found, format="csr").T.tocsr())
        weights.sort_indices()
        return weights, len(caught)

    def _alternate(self, together: NDArray[Any]) -> tuple[sp.csr_array, int]:
        """Return the weights, and the number of items if they have not converged, else 0."""
        step = self.l2_regularization + 2 * together.diagonal().mean()
        np.fill_diagonal(together, together.diagonal() + self.l2_regularization + step)
        inverse = gram.invert("SLIM", together)
        diagonal = inverse.diagonal().copy()
        sparse, dual = np.zeros_like(inverse), np.zeros_like(inverse)
        for _ in range(self.iterations):
            # P (XᵀX + ρ (C - U)), and the multiple of P's columns that leaves a zero diagonal.
            ridge = inverse @ (step * (sparse - dual))
            ridge -= inverse * (self.l2_regularization + step)
            np.fill_diagonal(ridge, ridge.diagonal() + 1)
            ridge -= inverse * (ridge.diagonal() / diagonal)
            dual += RELAXATION * ridge + (1 - RELAXATION) * sparse
            last, sparse = sparse, dual - np.clip(dual, -self.l1_regularization / step, self.l1_regularization / step)
            if self.nonnegative:
                sparse = np.maximum(sparse, 0)
            dual -= sparse
            gap = max(np.linalg.norm(ridge - sparse), np.linalg.norm(sparse - last))
            # Where all weights are 0, the multipliers are what is not.
            if gap <= TOLERANCE * (np.linalg.norm(sparse) or np.linalg.norm(dual)):
                break
        else:
            return _sparse(sparse), len(together)
        return _sparse(sparse), 0


def _sparse(weights: NDArray[Any]) -> sp.csr_array:
    np.fill_diagonal(weights, 0)
    return sp.csr_array(weights.astype(np.float32))

"""Gaussian process regression of class indicators on smoothed features, with weights that maximise the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from graphnoise.resources import check_memory

Floats = NDArray[np.float64]
# Bounds of the logarithms of kernel weights and of the noise variance.
WEIGHT_BOUNDS, NOISE_BOUNDS = (-14.0, 6.0), (-9.0, 3.0)
MAX_ITERATIONS = 60
TOLERANCE = 1e-6
# Columns of a kernel in the low-rank form.
RANK = 600
# Rows of a block of products.
BLOCK_ROWS = 4096


def negative_log_evidence(parameters: Floats, kernels: Floats, residuals: Floats) -> tuple[float, Floats]:
    """Return -Σ_c log N(r_c | 0, K) without its constant, and the gradient, with K = Σ_h w_h K_h + σ² I.

    Args:
        parameters: Logarithms of the weights w_h and of σ², shape [number of kernels + 1].
        kernels: The kernels K_h, shape [number of kernels, n, n].
        residuals: The targets minus their mean, shape [n, num_classes].

    Source:
        Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equations 5.8 and 5.9.
    """
    values, classes = np.exp(parameters), residuals.shape[1]
    inverse, half_log_determinant = _inverse(_covariance(kernels, values))
    coefficients = inverse @ residuals
    value = 0.5 * float(np.sum(coefficients * residuals)) + classes * half_log_determinant
    slope = classes * inverse - coefficients @ coefficients.T
    gradient = [float(np.vdot(slope, kernel)) for kernel in kernels]
    return value, 0.5 * values * np.array([*gradient, np.trace(slope)])


def fit_weights(kernels: Floats, targets: Floats, start: Floats | None = None) -> Floats:
    """Return the weights w_h and the variance σ² that maximise the evidence, shape [number of kernels + 1].

    Args:
        kernels: The kernels, shape [number of kernels, n, n].
        targets: Class indicators or probabilities, shape [n, num_classes].
        start: Where to start, such as the solution for similar targets.

    Example:
        >>> line = np.linspace(-1, 1, 9)[:, None]
        >>> kernels = np.stack([line @ line.T, np.ones((9, 9))])
        >>> weights = fit_weights(kernels, np.hstack([line > 0, line <= 0]).astype(float))
        >>> bool(weights[0] > 100 * weights[1])
        True
    """
    count = len(kernels)
    first = np.log(np.r_[np.full(count, 0.2 / count), 0.1] if start is None else start)
    bounds = [WEIGHT_BOUNDS] * count + [NOISE_BOUNDS]
    first = np.clip(first, *np.array(bounds).T)
    options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE}
    arguments = (kernels, targets - targets.mean(0))
    result = minimize(negative_log_evidence, first, arguments, "L-BFGS-B", True, bounds=bounds, options=options)
    weights: Floats = np.exp(result.x)
    return weights


@dataclass(frozen=True, eq=False)
class Fit:
    """A regression.

    Attributes:
        mean: Mean of the targets, which predictions are added to, shape [num_classes].
        coefficients: Coefficients of the features of each kernel, shape [number of kernels, num_features, num_classes].
        held_out: Prediction for each row from all others, shape [n, num_classes].
    """

    mean: Floats
    coefficients: Floats
    held_out: Floats


class Regression:
    """Regression with the kernel K = Σ_h w_h X_h X_hᵀ + σ² I.

    Args:
        rows: The features X_h, each of shape [n, num_features].
        max_exact: Number of rows up to which the kernel itself is inverted. Beyond, the equivalent problem in the
            features is solved, with columns projected to a subset of rows (Nyström) where there are more than 600.

    Source:
        Rasmussen and Williams, 2006: prediction, equation 2.23; leave-one-out, equation 5.12; Nyström, section 8.1.
    """

    def __init__(self, rows: Sequence[NDArray[np.float32]], max_exact: int) -> None:
        self.rows = rows
        self.exact = len(rows[0]) <= max_exact
        n, width = rows[0].shape
        if self.exact:
            check_memory("kernels of the labelled nodes", 8.0 * (len(rows) + 4) * n**2)
            self.kernels = np.empty((len(rows), n, n))
            for kernel, x in zip(self.kernels, rows, strict=True):
                kernel[:] = _gram(x)
            return
        sizes = [min(width, RANK)] * len(rows)
        check_memory("features of the labelled nodes", 8.0 * sum(sizes) * (n + 4 * sum(sizes)))
        self.projections = [_projection(x) if width > RANK else None for x in rows]
        sizes = [width if p is None else p.shape[1] for p in self.projections]
        self.ends = np.cumsum(sizes)
        self.features = np.empty((n, self.ends[-1]))
        for x, p, end, size in zip(rows, self.projections, self.ends, sizes, strict=True):
            self.features[:, end - size : end] = x if p is None else x @ p
        self.products = self.features.T @ self.features

    def fit(self, weights: Floats, targets: Floats) -> Fit:
        """Return the regression of targets, shape [n, num_classes], with weights as from `fit_weights`."""
        mean = targets.mean(0)
        residuals = targets - mean
        if self.exact:
            inverse, _ = _inverse(_covariance(self.kernels, weights))
            dual = inverse @ residuals
            held_out = targets - dual / inverse.diagonal()[:, None]
            parts = [weight * (x.T @ dual) for weight, x in zip(weights, self.rows, strict=False)]
            return Fit(mean, np.stack(parts), held_out)
        scale = np.sqrt(np.repeat(weights[:-1], np.diff(self.ends, prepend=0)))
        kernel = self.products * np.outer(scale, scale)
        kernel[np.diag_indices_from(kernel)] += weights[-1]
        inverse = _inverse(kernel)[0] * np.outer(scale, scale)
        solution = inverse @ (self.features.T @ residuals)
        leverage = np.concatenate([np.einsum("nd,nd->n", x @ inverse, x) for x in _blocks(self.features)])
        held_out = targets - (residuals - self.features @ solution) / np.maximum(1 - leverage, 1e-9)[:, None]
        parts = [
            part if projection is None else projection @ part
            for part, projection in zip(np.split(solution, self.ends[:-1]), self.projections, strict=True)
        ]
        return Fit(mean, np.stack(parts), held_out)


def _blocks(x: Floats) -> list[Floats]:
    return [x[first : first + BLOCK_ROWS] for first in range(0, len(x), BLOCK_ROWS)]


def _covariance(kernels: Floats, weights: Floats) -> Floats:
    total: Floats = np.tensordot(weights[:-1], kernels, 1)
    total[np.diag_indices_from(total)] += weights[-1]
    return total


def _gram(x: NDArray[np.floating]) -> Floats:
    x = x.astype(np.float64)
    products: Floats = x @ x.T
    return products


def _inverse(matrix: Floats) -> tuple[Floats, float]:
    """Return the inverse of a positive definite matrix and half the logarithm of its determinant."""
    # Faster than SciPy's routines, which leave a triangle to fill. The transpose, of the same values, is contiguous.
    lower = torch.linalg.cholesky(torch.from_numpy(matrix))
    inverse: Floats = torch.cholesky_inverse(lower).numpy().T
    return inverse, float(lower.diagonal().log().sum())


def _projection(x: NDArray[np.float32]) -> Floats:
    """Return a matrix P for which X P Pᵀ Xᵀ approximates X Xᵀ, exactly on evenly spaced rows, shape [width, rank]."""
    landmarks = x[np.linspace(0, len(x) - 1, min(RANK, len(x))).astype(int)]
    values, vectors = scipy.linalg.eigh(_gram(landmarks))
    kept = values > values[-1] * 1e-8
    return np.asarray(landmarks.T @ (vectors[:, kept] / np.sqrt(values[kept])), dtype=np.float64)

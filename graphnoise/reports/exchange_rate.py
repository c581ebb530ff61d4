"""Exchange rate: how many clean labels a noisy label is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize

from graphnoise import checks
from graphnoise.reports.inputs import Floats, finite_array, same_length

# Singular values of the scaled Jacobian below this share of the largest leave a parameter open.
MIN_RATIO = 1e-5
# Least start of a search.
MIN_START = 1e-6
# A curve whose errors differ by less does not fall.
FLAT = 1e-6
# Largest limit, scale, exponent and kappa of a fit.
UPPER = (1.0, np.inf, 10.0, np.inf)
STARTS = tuple((kappa, exponent) for kappa in (0.05, 0.3, 1.0) for exponent in (0.3, 1.0))


@dataclass(frozen=True)
class ExchangeRate:
    """Worth of a noisy label in clean labels.

    Attributes:
        kappa: The worth; None where the runs do not identify it.
        low: Lower end of a 95 % bootstrap interval over runs; None where there is none.
        high: Its upper end.
        reason: Why kappa, or its interval, is None; empty otherwise.
        limit: e0, the error with infinitely many labels; None as kappa is.
        scale: a; None as kappa is.
        exponent: b; None as kappa is.
        residual: Root mean square error of the fit; None as kappa is.
        local: A row for each step from one number of noisy labels to the next at the same number of clean ones:
            `worth` of each of the added labels in clean ones, read off the curve of clean labels alone; NaN where the
            error is not one that the clean counts span. Empty with fewer than three clean counts.
    """

    kappa: float | None
    low: float | None
    high: float | None
    reason: str
    limit: float | None
    scale: float | None
    exponent: float | None
    residual: float | None
    local: pd.DataFrame

    @property
    def text(self) -> str:
        """The worth in a line."""
        if self.kappa is None:
            return f"kappa is not identified: {self.reason}"
        interval = self.reason if self.low is None else f"95 % interval {self.low:.3f} to {self.high:.3f}"
        return f"a noisy label is worth {self.kappa:.3f} clean ones ({interval})"


def expected_exchange_rate(rate: float, num_classes: int) -> float:
    r"""Return (1 - r C / (C - 1))^2, about the worth of a label under symmetric flips for a linear rule.

    Args:
        rate: Flip rate r, in [0, 1].
        num_classes: Number of classes C, at least 2.

    Example:
        >>> round(expected_exchange_rate(0.3, 2), 3)
        0.16

    Source:
        Derived here: flips shrink the mean of a class indicator by 1 - r C / (C - 1), and hardly change its variance.
    """
    count = checks.integer("num_classes", num_classes, 2)
    return (1 - checks.rate("rate", rate) * count / (count - 1)) ** 2


def exchange_rate(
    clean: ArrayLike, noisy: ArrayLike, error: ArrayLike, *, resamples: int = 200, seed: int = 0
) -> ExchangeRate:
    r"""Fit how the error falls with clean and noisy labels, and return the worth of a noisy one.

        error = e0 + a (n_c + kappa n_n)^(-b),   e0, a, b, kappa >= 0,

    by least squares from several starts. The bootstrap draws runs anew within each pair of counts. kappa is one number
    for all counts, which it need not be where labels are many: `local` shows the worth at each step.

    Args:
        clean: Number of clean labels of each run, shape [runs].
        noisy: Number of labels from the noisy source (right and wrong ones), shape [runs].
        error: Error of each run on clean test labels, in [0, 1], shape [runs].
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        InputError: Arrays of different lengths, negative counts, runs without any label, or errors that are NaN or not
            in [0, 1].

    Example:
        >>> import numpy as np
        >>> clean, noisy = np.meshgrid([20.0, 50.0, 100.0, 200.0], [0.0, 100.0, 400.0])
        >>> error = 0.1 + (clean + 0.2 * noisy) ** -0.5
        >>> result = exchange_rate(clean.ravel(), noisy.ravel(), error.ravel())
        >>> round(result.kappa, 3), result.reason
        (0.2, 'an interval needs at least two runs of each pair of counts')

    Source:
        In the spirit of Daras, Cherapanamjeri and Daskalakis, "How Much is a Noisy Image Worth? Data Scaling Laws for
        Ambient Diffusion", ICLR 2025, of which the text was not available here: curve and local worth are of this
        package.
    """
    checks.integer("resamples", resamples, 1, 10_000)
    columns = {"clean": finite_array("clean", clean, low=0), "noisy": finite_array("noisy", noisy, low=0)}
    errors = finite_array("error", error, low=0, high=1)
    same_length({**columns, "error": errors})
    counts = np.stack(list(columns.values()), 1)
    if not (counts.sum(1) > 0).all():
        checks.fail(
            "clean, noisy", "at least one label in every run", f"none in {int((counts.sum(1) <= 0).sum())} runs"
        )
    local = _local(counts, errors)
    if reason := _structure(counts):
        return ExchangeRate(None, None, None, reason, None, None, None, None, local)
    best = _fit(counts, errors, STARTS)
    if reason := _open(best, counts):
        return ExchangeRate(None, None, None, reason, None, None, None, None, local)
    low, high, reason = _interval(counts, errors, best, resamples, checks.generator(seed))
    limit, scale, exponent, kappa = map(float, best)
    residual = float(np.sqrt(np.mean((_expected(best, counts) - errors) ** 2)))
    return ExchangeRate(kappa, low, high, reason, limit, scale, exponent, residual, local)


def _structure(counts: Floats) -> str:
    """Return why the counts alone leave kappa open; nothing where they do not."""
    points = np.unique(counts, axis=0)
    if not points[:, 1].any():
        return "no run has noisy labels"
    if not points[:, 0].any():
        return "no run has clean labels"
    if np.linalg.matrix_rank(points / points.max()) < 2:
        return "all runs have one ratio of noisy to clean labels"
    if len(points) < 4:
        return f"four parameters need at least four pairs of counts, got {len(points)}"
    return ""


def _expected(parameters: Floats, counts: Floats) -> Floats:
    limit, scale, exponent, kappa = parameters
    fitted: Floats = limit + scale * np.maximum(counts[:, 0] + kappa * counts[:, 1], 1e-9) ** -exponent
    return fitted


def _jacobian(parameters: Floats, counts: Floats) -> Floats:
    _, scale, exponent, kappa = parameters
    x = np.maximum(counts[:, 0] + kappa * counts[:, 1], 1e-9)
    power = x**-exponent
    slopes = -scale * power * np.log(x), -scale * exponent * power / x * counts[:, 1]
    return np.stack([np.ones_like(x), power, *slopes], 1)


def _fit(counts: Floats, errors: Floats, starts: tuple[tuple[float, float], ...]) -> Floats:
    """Return e0, a, b, kappa of the smallest sum of squares; counts are divided by a typical one in between."""
    unit = float(np.median(counts.sum(1)))
    scaled, best, cost = counts / unit, np.zeros(4), np.inf
    for kappa, exponent in starts:
        base = np.maximum(scaled[:, 0] + kappa * scaled[:, 1], 1e-9) ** -exponent
        (limit, scale), _ = optimize.nnls(np.stack([np.ones_like(base), base], 1), errors)
        # Away from the bounds, at which a search stays.
        start = np.clip([limit, scale, exponent, kappa], MIN_START, UPPER)
        found = optimize.least_squares(
            lambda p: _expected(p, scaled) - errors,
            start,
            jac=lambda p: _jacobian(p, scaled),
            bounds=([0.0] * 4, UPPER),
            x_scale=np.maximum(start, 1e-2),
            xtol=1e-12,
            ftol=1e-14,
            gtol=1e-12,
            max_nfev=200,
        )
        if found.cost < cost:
            best, cost = found.x, found.cost
    best[1] *= unit ** best[2]
    return best


def _open(parameters: Floats, counts: Floats) -> str:
    """Return why a fit leaves kappa open: the columns of its Jacobian do not tell the parameters apart."""
    if np.ptp(_expected(parameters, counts)) < FLAT:
        return "the error does not fall with the number of labels"
    columns = _jacobian(parameters, counts)
    lengths = np.linalg.norm(columns, axis=0)
    if lengths[3] == 0 or np.linalg.svd(columns / np.maximum(lengths, 1e-300), compute_uv=False)[-1] < MIN_RATIO:
        return "several values fit the runs equally well"
    return ""


def _interval(
    counts: Floats, errors: Floats, best: Floats, resamples: int, rng: np.random.Generator
) -> tuple[float | None, float | None, str]:
    _, group = np.unique(counts, axis=0, return_inverse=True)
    sizes = np.bincount(group.ravel())
    if sizes.min() < 2:
        return None, None, "an interval needs at least two runs of each pair of counts"
    order = np.argsort(group.ravel(), kind="stable")
    first = np.repeat(sizes.cumsum() - sizes, sizes)
    values = []
    for _ in range(resamples):
        rows = order[first + np.floor(rng.random(len(order)) * np.repeat(sizes, sizes)).astype(int)]
        fitted = _fit(counts[rows], errors[rows], ((float(best[3]), float(best[2])), STARTS[3]))
        if not _open(fitted, counts[rows]):
            values.append(fitted[3])
    if len(values) < resamples / 2:
        return None, None, "most resamples of the runs do not identify kappa"
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high), ""


def _local(counts: Floats, errors: Floats) -> pd.DataFrame:
    """Return the worth of the labels of each step, in clean labels that give the same error."""
    columns = ["clean", "noisy_from", "noisy_to", "worth"]
    points, group = np.unique(counts, axis=0, return_inverse=True)
    means = np.bincount(group.ravel(), errors) / np.bincount(group.ravel())
    alone = points[:, 1] == 0
    if alone.sum() < 3 or alone.all():
        return pd.DataFrame(columns=columns)
    limit, scale, exponent = _clean_curve(points[alone, 0], means[alone])
    rows = []
    for n in np.unique(points[~alone, 0]):
        at = (points[:, 0] == n) & ~alone
        # At no noisy label, the worth is that of the clean ones.
        before, equal = 0.0, float(n)
        for noisy, error in zip(points[at, 1], means[at], strict=True):
            now = _equal_count(error, limit, scale, exponent, points[alone, 0])
            rows.append((n, before, noisy, (now - equal) / (noisy - before)))
            before, equal = noisy, now
    return pd.DataFrame(rows, columns=columns)


def _clean_curve(counts: Floats, errors: Floats) -> tuple[float, float, float]:
    points = np.stack([counts, np.zeros_like(counts)], 1)
    limit, scale, exponent, _ = found = _fit(points, errors, STARTS[2:4])
    return float(limit), 0.0 if np.ptp(_expected(found, points)) < FLAT else float(scale), float(exponent)


def _equal_count(error: float, limit: float, scale: float, exponent: float, counts: Floats) -> float:
    """Return the clean count of this error, NaN outside of the measured ones."""
    if error <= limit or scale == 0 or exponent == 0:
        return float("nan")
    count = ((error - limit) / scale) ** (-1 / exponent)
    inside = counts.min() * (1 - 1e-6) <= count <= counts.max() * (1 + 1e-6)
    return float(count) if inside else float("nan")

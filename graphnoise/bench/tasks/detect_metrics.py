"""What a cell of the task `detect` records of a detection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from graphnoise import checks
from graphnoise.bench.methods.detectors import Detection
from graphnoise.typing import Floats, Ints

# Nominal false-discovery rate, and bins of the calibration error.
NOMINAL_FDR, BINS = 0.1, 10


def checked_detection(detection: object, name: str, size: int, classes: int) -> Detection:
    """Return what a detector returned, as arrays.

    Raises:
        InputError: It is no `Detection`, or an entry is of the wrong shape or out of range.
    """
    if not isinstance(detection, Detection):
        checks.fail(f"result of {name}", "a Detection", type(detection).__name__)

    def array(field: str, low: float, high: float, shape: tuple[int, ...] = (size,)) -> Floats | None:
        if (value := getattr(detection, field)) is None:
            return None
        values = np.asarray(value)
        numeric = values.dtype.kind in "biuf" and values.shape == shape
        if not numeric or not bool(((values >= low) & (values <= high)).all()):
            checks.fail(f"{field} of {name}", f"values in [{low:g}, {high:g}] of shape {list(shape)}", _text(values))
        return values.astype(np.float64)

    credibility, flagged, labels = array("credibility", 0, 1), array("flagged", 0, 1), array("labels", 0, classes - 1)
    if credibility is None:
        checks.fail(f"credibility of {name}", f"values of shape [{size}]", "none")
    transition = detection.transition
    if transition is not None:
        transition = array("transition", 0, 1 + 1e-6, (len(transition), len(transition)))
    rate = None if detection.rate is None else checks.rate(f"rate of {name}", float(detection.rate))
    suggested = None if labels is None else labels.astype(np.int64)
    mask = None if flagged is None else flagged > 0
    return Detection(credibility, mask, suggested, bool(detection.probability), rate, transition)


def _text(values: NDArray[Any]) -> str:
    if values.dtype.kind not in "biuf" or not values.size:
        return f"shape {list(values.shape)} of type {values.dtype}"
    return f"shape {list(values.shape)}, from {values.min():g} to {values.max():g}"


def measure_detection(truth: Ints, given: Ints, detection: Detection) -> dict[str, Any]:
    """Return the measures of a detection, None where there is nothing to measure.

    Args:
        truth: True labels of the labelled nodes.
        given: Given labels.
        detection: As of `checked_detection`.

    Returns:
        error_rate: share of wrong labels; auroc: P(a wrong label has less credibility than a right one), ties half;
        precision: share of wrong ones among as many labels of least credibility as are wrong (ties by position);
        f1 of the flagged ones, and their share flagged; with probabilities, fdr and fdr_power: share of right labels in
        the largest set of least credibility whose mean credibility is at most 0.1, and share of the wrong ones in it;
        brier: mean square of credibility minus rightness; calibration: mean distance of both in ten bins of equal width
        (expected calibration error); given_accuracy, corrected_accuracy: accuracy of the labels before and after;
        rate, rate_error: estimated share of wrong labels, and minus the true one; transition_mean, transition_max:
        error of the entries of T against the draw's frequencies, over true classes that are there.

    Example:
        >>> detection = Detection(np.array([0.9, 0.2, 0.6]), np.array([False, True, False]), probability=True)
        >>> result = measure_detection(np.array([0, 1, 1]), np.array([0, 0, 1]), detection)
        >>> result["auroc"], result["precision"], result["f1"], round(result["rate"], 3)
        (1.0, 1.0, 1.0, 0.433)
    """
    wrong, credibility = truth != given, detection.credibility
    flagged = credibility < 0.5 if detection.flagged is None else detection.flagged
    count, rate = int(wrong.sum()), detection.rate
    order = np.argsort(credibility, kind="stable")
    fdr = power = brier = calibration = None
    if detection.probability:
        rate = 1 - float(credibility.mean()) if rate is None else rate
        means = np.cumsum(credibility[order]) / np.arange(1, len(order) + 1)
        chosen = order[: int(np.searchsorted(means, NOMINAL_FDR, side="right"))]
        fdr = float((~wrong[chosen]).mean()) if len(chosen) else 0.0
        power = float(wrong[chosen].sum() / count) if count else None
        brier = float(np.mean((credibility - ~wrong) ** 2))
        calibration = _calibration(credibility, ~wrong)
    mean_error, max_error = _transition_errors(truth, given, detection.transition)
    return {
        "error_rate": float(wrong.mean()),
        "auroc": float(roc_auc_score(wrong, -credibility)) if 0 < count < len(wrong) else None,
        "precision": float(wrong[order[:count]].mean()) if count else None,
        "f1": float(f1_score(wrong, flagged, zero_division=0.0)) if count else None,
        "flagged": float(flagged.mean()),
        "fdr": fdr,
        "fdr_power": power,
        "brier": brier,
        "calibration": calibration,
        "given_accuracy": float((~wrong).mean()),
        "corrected_accuracy": None if detection.labels is None else float((detection.labels == truth).mean()),
        "rate": rate,
        "rate_error": None if rate is None else rate - float(wrong.mean()),
        "transition_mean": mean_error,
        "transition_max": max_error,
    }


def _calibration(credibility: Floats, right: NDArray[np.bool_]) -> float:
    bins = np.minimum((credibility * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, credibility - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))


def _transition_errors(truth: Ints, given: Ints, transition: Floats | None) -> tuple[float | None, float | None]:
    """Return mean and greatest error of T over the classes that some label has."""
    if transition is None:
        return None, None
    present = np.unique(given)
    if len(transition) != len(present):
        checks.fail("transition", f"a matrix of the {len(present)} classes that labels have", len(transition))
    counts = np.zeros((max(truth.max(), given.max()) + 1,) * 2)
    np.add.at(counts, (truth, given), 1.0)
    counts = counts[np.ix_(present, present)]
    seen = counts.sum(1) > 0
    errors = np.abs(transition[seen] - counts[seen] / counts[seen].sum(1, keepdims=True))
    return float(errors.mean()), float(errors.max())

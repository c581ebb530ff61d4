"""Cases of pictures."""

import functools
from typing import Any

import numpy as np

from graphnoise import Audit, plot
from tests.fuzz.cases.inputs import Case, data, few, y

P = "graphnoise.plot."


@functools.cache
def _audit() -> Audit:
    return Audit(data(), data().y)


def _axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


def _wrong() -> np.ndarray:
    return (few(60, 1)[:, 0] > 0.5).numpy()


CASES: dict[str, Case] = {
    P + "accuracy": Case(
        plot.accuracy, lambda: {"rates": [0.0, 0.2], "accuracies": {"a": few(2, 3).numpy()}, "ax": _axes()}
    ),
    P + "confusion": Case(plot.confusion, lambda: {"y_true": y(), "y_given": 1 - y(), "ax": _axes()}, ("classes",)),
    P + "detection": Case(plot.detection, lambda: {"credibility": few(60, 1)[:, 0], "wrong": _wrong(), "ax": _axes()}),
    P + "growth": Case(plot.growth, lambda: {"clusters": {1.0: [0, 1]}, "truth": _wrong(), "ax": _axes()}),
    P + "neighbourhood": Case(plot.neighbourhood, lambda: {"audit": _audit(), "node": 0, "ax": _axes()}),
    P + "reliability": Case(
        plot.reliability, lambda: {"probability": few(60, 1)[:, 0], "right": _wrong(), "bins": 5, "ax": _axes()}
    ),
    P + "transition": Case(
        plot.transition, lambda: {"matrix": [[0.9, 0.1], [0.2, 0.8]], "classes": ["a", "b"], "ax": _axes()}
    ),
}

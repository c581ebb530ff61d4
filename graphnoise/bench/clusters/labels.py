"""Where the noisy labels of a trial come from: two-class flips, or a classifier on the attributes of the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.bench.clusters.problem import Problem
from graphnoise.checks import InputError
from graphnoise.clustering.membership import predict_membership
from graphnoise.noise import flip_membership

CLASSIFIERS = ("logistic", "gcn")


@dataclass(frozen=True, eq=False)
class Labels:
    """Noisy labels of a trial.

    Attributes:
        y: 0 or 1 at each node, 1 at the seed, uint8, shape [n].
        a1: Accuracy inside that the method may know: that of the flips, or estimated by the classifier.
        a0: Accuracy outside, likewise.
        realised: Accuracy inside and outside as it came out.
    """

    y: NDArray[np.uint8]
    a1: float
    a0: float
    realised: tuple[float, float]


def read(text: str) -> dict[str, Any]:
    """Read `0.9/0.95` (a1/a0), `logistic:25` or `gcn:25` (samples inside, and as many outside).

    Raises:
        InputError: It is none of them.

    Example:
        >>> read("0.9/0.95"), read("gcn")
        ({'source': 'flips', 'a1': 0.9, 'a0': 0.95}, {'source': 'gcn', 'samples': 25})
    """
    name, colon, count = text.partition(":")
    try:
        if name in CLASSIFIERS:
            return {"source": name, "samples": checks.integer("accuracy: samples", int(count) if colon else 25, 2)}
        inside, outside = (float(part) for part in text.split("/"))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        checks.fail("accuracy", "A1/A0 as in 0.9/0.95, or logistic:SAMPLES or gcn:SAMPLES", repr(text))
    return {"source": "flips", "a1": checks.rate("a1", inside), "a0": checks.rate("a0", outside)}


def words(source: Mapping[str, Any]) -> str:
    """Return what `read` reads.

    Example:
        >>> words(read("0.90/1"))
        '0.9/1'
    """
    if source["source"] == "flips":
        return "/".join(str(source[name]).removesuffix(".0") for name in ("a1", "a0"))
    return f"{source['source']}:{source['samples']}"


def check(problem: Problem, members: NDArray[np.bool_], source: Mapping[str, Any]) -> None:
    """Check that a cluster can be labelled so.

    Raises:
        InputError: A classifier where nodes have no attributes, or with more samples than there are nodes.
    """
    if source["source"] == "flips":
        return
    if problem.x is None:
        checks.fail("accuracy", "flips (A1/A0)", f"{words(source)}; the nodes of {problem.name} have no attributes")
    most = min(int(members.sum()), int((~members).sum()))
    if most < source["samples"]:
        got = f"{source['samples']}, with a class of {problem.name} that has {members.sum()} of {len(members)} nodes"
        checks.fail("accuracy: samples", f"at most {most}", got)


def draw(
    problem: Problem, members: NDArray[np.bool_], seed: int, source: Mapping[str, Any], rng: np.random.Generator
) -> Labels:
    """Draw the labels of a trial.

    Args:
        problem: The data set.
        members: The cluster to find, shape [n].
        seed: The seed node, whose label is known.
        source: As `read` returns it.
        rng: Of the draws.

    Raises:
        InputError: A classifier where nodes have no attributes, or a class or its complement with too few nodes.
    """
    if source["source"] == "flips":
        y = np.asarray(flip_membership(members, a1=source["a1"], a0=source["a0"], seed=rng).y).astype(np.uint8)
        a1, a0 = source["a1"], source["a0"]
    else:
        check(problem, members, source)
        count, others = source["samples"], members.copy()
        others[seed] = False
        inside, outside = others.nonzero()[0], (~members).nonzero()[0]
        picked = np.append(rng.choice(inside, count - 1, replace=False), seed)
        found = predict_membership(
            problem.x,
            np.sort(picked),
            np.sort(rng.choice(outside, count, replace=False)),
            graph=problem.graph if source["source"] == "gcn" else None,
            model=source["source"],
            seed=int(rng.integers(2**31)),
        )
        y, a1, a0 = found.labels.astype(np.uint8), found.a1, found.a0
    realised = float(y[members].mean()), float(1 - y[~members].mean()) if not members.all() else 1.0
    y[seed] = 1
    return Labels(y, a1, a0, realised)

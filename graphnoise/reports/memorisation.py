"""Memorisation of labels and their influence, by runs that each see a random part of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from graphnoise import checks, resources
from graphnoise.reports.inputs import MAX_RUNS, Floats, Run, check_run, finite_array, measures, same_length

# Columns of one block of the influence matrix.
BLOCK = 256


def memorisation(included: ArrayLike, correct: ArrayLike) -> Floats:
    r"""Return how much each label matters to its own node: share of correct runs with it minus without it.

        mem_i = mean of correct_ri over runs r with i  -  the same over runs without i

    Args:
        included: Whether a run saw the label of a node, shape [runs, n].
        correct: Whether it predicted the *given* label of the node, shape [runs, n].

    Returns:
        Scores in [-1, 1], shape [n]; NaN for a label that no run, or every run, saw.

    Raises:
        InputError: Arrays of different shapes, or of other values than 0 and 1.

    Example:
        >>> memorisation([[1, 0, 1], [0, 1, 1]], [[1, 0, 1], [0, 0, 1]]).tolist()
        [1.0, 0.0, nan]

    Source:
        Feldman, "Does Learning Require Memorization? A Short Tale about a Long Tail", STOC 2020, estimated as in
        Feldman and Zhang, "What Neural Networks Memorize and Why", NeurIPS 2020. Here only the label is withheld: the
        node stays in the graph.
    """
    seen, hits = _masks(included, correct)
    if seen.shape != hits.shape:
        checks.fail("correct", f"shape {seen.shape}, as of included", f"shape {hits.shape}")
    inside, outside = seen.sum(0), (~seen).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        score: Floats = (hits & seen).sum(0) / inside - (hits & ~seen).sum(0) / outside
    return score


def label_influence(included: ArrayLike, test_correct: ArrayLike, top: int = 5) -> pd.DataFrame:
    """Return the labels that matter most to each test node.

    Args:
        included: Whether a run saw the label of a labelled node, shape [runs, n].
        test_correct: Whether it predicted the label of a test node, shape [runs, m].
        top: Labels per test node, those of largest absolute influence.

    Returns:
        Columns test, labelled (positions) and influence: the share of correct runs with the label minus that without
        it. Labels that no run, or every run, saw are left out.

    Raises:
        InputError: Arrays of different numbers of runs, or of other values than 0 and 1.

    Example:
        >>> label_influence([[1, 0], [0, 1]], [[1], [0]], top=1)
           test  labelled  influence
        0     0         0        1.0

    Source:
        As `memorisation`.
    """
    seen, hits = _masks(included, test_correct, "test_correct")
    checks.integer("top", top, 1)
    inside = seen.sum(0)
    known = np.flatnonzero((inside > 0) & (inside < len(seen)))
    rows = []
    if len(known):
        weights = np.where(seen[:, known], 1 / inside[known], -1 / (len(seen) - inside[known])).T
        resources.check_memory(f"influences of {len(known)} labels", 8 * len(known) * BLOCK)
        for start in range(0, hits.shape[1], BLOCK):
            block = weights @ hits[:, start : start + BLOCK].astype(float)
            order = np.argsort(-abs(block).round(12), axis=0, kind="stable")[:top]
            for k in range(block.shape[1]):
                rows += [(start + k, int(known[i]), float(block[i, k])) for i in order[:, k]]
    return pd.DataFrame(rows, columns=["test", "labelled", "influence"])


def _masks(
    included: ArrayLike, correct: ArrayLike, name: str = "correct"
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    masks = []
    for key, value in (("included", included), (name, correct)):
        array = finite_array(key, value, 2)
        if not np.isin(array, (0, 1)).all():
            checks.fail(key, "0 and 1", "other values")
        masks.append(array.astype(bool))
    same_length({"included": masks[0], name: masks[1]})
    return masks[0], masks[1]


def memorisation_runs(
    run: Run, num_labelled: int, *, runs: int = 200, share: float = 0.7, seed: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Run a callable on random parts of the labels.

    Args:
        run: Called as run({"included": positions}, seed) with positions of the labelled nodes whose label it may use;
            returns "correct", whether it predicts the given label of each labelled node, and "test_correct".
        num_labelled: Number of labelled nodes.
        runs: Number of runs.
        share: Share of the labels of a run, at least one label and not all.
        seed: Seed of the parts; run r has the seed `seed` + r.

    Returns:
        included [runs, n], correct [runs, n] and test_correct [runs, m].

    Raises:
        InputError: A run returns other shapes, or other values than 0 and 1.

    Example:
        >>> def run(config, seed):
        ...     return {"correct": [1, 0, 1], "test_correct": []}
        >>> seen, correct, _ = memorisation_runs(run, 3, runs=4)
        >>> seen.sum(1).tolist(), correct.shape
        ([2, 2, 2, 2], (4, 3))
    """
    checks.integer("num_labelled", num_labelled, 2)
    checks.integer("runs", runs, 2, MAX_RUNS)
    check_run(run)
    checks.integer("seed", seed, 0)
    count = min(max(round(checks.rate("share", share) * num_labelled), 1), num_labelled - 1)
    resources.check_memory(f"{runs} runs of {num_labelled} labels", 17 * runs * num_labelled)
    rng, results = np.random.default_rng(seed), []
    included = np.zeros((runs, num_labelled), dtype=bool)
    for k in range(runs):
        chosen = np.sort(rng.choice(num_labelled, count, replace=False))
        included[k, chosen] = True
        result = measures(run, {"included": chosen.tolist()}, seed + k, ["correct", "test_correct"])
        results.append([finite_array(f"run: {key}", result[key]) for key in ("correct", "test_correct")])
        if results[-1][0].shape != (num_labelled,) or results[-1][1].shape != results[0][1].shape:
            got = f"shapes {results[-1][0].shape} and {results[-1][1].shape} in run {k}"
            checks.fail("run: correct, test_correct", f"{num_labelled} values, and as many as before", got)
    correct, test = (np.stack([result[k] for result in results]) for k in range(2))
    for name, array in (("correct", correct), ("test_correct", test)):
        if not np.isin(array, (0, 1)).all():
            checks.fail(f"run: {name}", "0 and 1", "other values")
    return included, correct.astype(bool), test.astype(bool)


def memorisation_groups(scores: ArrayLike, groups: Mapping[str, ArrayLike], *, bins: int = 4) -> pd.DataFrame:
    """Return the mean memorisation of groups of nodes.

    Args:
        scores: Scores of `memorisation`, NaN where unknown, shape [n].
        groups: By name, a value of each node, shape [n], such as its degree, homophily, size of its class, or whether
            its label is wrong; with more values than `bins`, nodes are divided at the quantiles.
        bins: Number of parts.

    Returns:
        Columns group, part (its values), nodes, unknown (nodes with NaN), mean (NaN where all are) and high, the share
        of known scores of at least .25.

    Raises:
        InputError: A group of another length, or with values that are not finite.

    Example:
        >>> table = memorisation_groups([0.9, 0.1, 0.0, float("nan")], {"wrong": [1, 0, 0, 0]})
        >>> table[["group", "part", "nodes", "mean"]]
           group part  nodes  mean
        0  wrong    0      3  0.05
        1  wrong    1      1  0.90
    """
    given = checks.tensor("scores", scores)
    if given.dim() != 1 or given.is_complex():
        checks.fail("scores", "a number or NaN for each node", f"shape {tuple(given.shape)} of {given.dtype}")
    score: Floats = given.detach().double().cpu().numpy()
    if np.isinf(score).any():
        checks.fail("scores", "a number or NaN for each node", "infinite ones")
    checks.integer("bins", bins, 1, 1000)
    if not isinstance(groups, Mapping):
        checks.fail("groups", "a mapping of names to values of nodes", type(groups).__name__)
    rows: list[dict[str, Any]] = []
    for name, value in groups.items():
        values = finite_array(f"groups[{name!r}]", value)
        if len(values) != len(score):
            checks.fail(f"groups[{name!r}]", f"{len(score)} values, one per score", len(values))
        for part, inside in _parts(values, bins):
            known = score[inside & ~np.isnan(score)]
            mean, high = (known.mean(), (known >= 0.25).mean()) if len(known) else (np.nan, np.nan)
            count = int(inside.sum())
            rows.append(
                {
                    "group": str(name),
                    "part": part,
                    "nodes": count,
                    "unknown": count - len(known),
                    "mean": mean,
                    "high": high,
                }
            )
    return pd.DataFrame(rows, columns=["group", "part", "nodes", "unknown", "mean", "high"])


def _parts(values: Floats, bins: int) -> list[tuple[str, NDArray[np.bool_]]]:
    distinct = np.unique(values)
    if len(distinct) <= bins:
        return [(f"{v:g}", values == v) for v in distinct]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [(f"{edges[k]:g} to {edges[k + 1]:g}", place == k) for k in np.unique(place)]

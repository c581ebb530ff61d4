"""Pruning and distillation: which weight of the teacher is best at each share of kept labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from graphnoise import checks
from graphnoise.reports.inputs import Run, collect_runs, finite_array
from graphnoise.reports.subsets import RANDOM, selection_table
from graphnoise.statistics import estimate


@dataclass(frozen=True)
class PruningCurve:
    """Accuracies by selection, share of kept labels and weight of the teacher.

    Attributes:
        curve: A row per selection, kept share and weight: mean accuracy over seeds, half its 95 % t-interval (NaN for
            one seed), and whether the weight is the best of its share (ties: the smallest).
        best: The table of `selection_table` at the best weights: accuracy, `hard` (weight 0), `gain` over the random
            subset.
    """

    curve: pd.DataFrame
    best: pd.DataFrame


def pruning_curve(
    run: Run,
    kept: Sequence[float] = (0.1, 0.2, 0.4, 0.8),
    weights: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    *,
    selections: Sequence[str] = ("random",),
    steps: int = 0,
    seeds: int = 3,
) -> PruningCurve:
    """Run a callable at each share of kept labels and each weight of the teacher.

    Args:
        run: Called as run({"selection": …, "kept": F, "weight": a}, seed); returns "accuracy". Weights are chosen by
            it: on validation nodes, if the table is to be a fair one.
        kept: Shares of kept labels, in (0, 1].
        weights: Weights of the teacher, in [0, 1]; 0, hard labels only, is added.
        selections: How labels are chosen; "random" is added.
        steps: Steps of training, the same in all runs, which the table shows.
        seeds: Runs of each setting.

    Raises:
        InputError: An argument is out of its range, or an accuracy is not a number in [0, 1].

    Example:
        >>> def run(config, seed):
        ...     return {"accuracy": 1 - (config["weight"] - (1 - config["kept"])) ** 2}
        >>> pruning_curve(run, kept=(0.25, 0.75), seeds=1).best[["kept", "weight"]].values.tolist()
        [[0.25, 0.75], [0.75, 0.25]]

    Source:
        In the spirit of Ben-Baruch et al., "Distilling the Knowledge in Data Pruning", 2024.
    """
    shares = list(dict.fromkeys(finite_array("kept", kept, low=1e-9, high=1).tolist()))
    if not shares:
        checks.fail("kept", "at least one share", "none")
    steps = checks.integer("steps", steps, 0)
    ratios = sorted({0.0, *finite_array("weights", weights, low=0, high=1).tolist()})
    if not isinstance(selections, list | tuple) or not all(isinstance(name, str) for name in selections):
        checks.fail("selections", "a list of names", type(selections).__name__)
    names = list(dict.fromkeys([*selections, RANDOM]))
    configs = [{"selection": name, "kept": f, "weight": a} for name in names for f in shares for a in ratios]
    rows, runs = [], collect_runs(run, configs, seeds)
    finite_array("run: accuracy", runs["accuracy"], low=0, high=1)
    for (name, f, a), group in runs.groupby(["selection", "kept", "weight"], sort=False):
        mean = estimate({int(seed): [value] for seed, value in zip(group["seed"], group["accuracy"], strict=True)})
        rows.append({"selection": name, "kept": f, "weight": a, "accuracy": mean.mean, "half_width": mean.half_width})
    curve = pd.DataFrame(rows)
    curve["half_width"] = curve["half_width"].astype(float)
    # Equal means may differ in their last digits.
    top = curve.round({"accuracy": 12}).groupby(["selection", "kept"])["accuracy"].idxmax()
    curve["best"] = curve.index.isin(top)
    hard = curve[curve["weight"] == 0].set_index(["selection", "kept"])["accuracy"]
    shared = {"soft_labels": "teacher", "steps": steps}
    best = [
        {**row, "hard": float(hard[row["selection"], row["kept"]]), **shared}
        for row in curve[curve["best"]].drop(columns="best").to_dict("records")
    ]
    return PruningCurve(curve, selection_table(best))

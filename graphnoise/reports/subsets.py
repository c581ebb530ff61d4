"""Tables of pruning, selection and distillation, which show a random subset and hard labels beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from graphnoise import checks

RANDOM = "random"
KEYS = ("selection", "kept", "soft_labels", "steps")


def selection_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table of a comparison of subsets, if it holds what such a comparison has to.

    Each selection needs a random subset of equal size, with the same soft labels and as many steps, and each row an
    accuracy with hard labels: much of the gain of a selection may be that of its soft labels.

    Args:
        rows: Mappings with `selection` ("random", or how the subset was chosen), `kept` (share of the nodes, in (0,
            1]), `soft_labels` (which soft labels were used), `steps`, `accuracy` (with them) and `hard` (with hard
            labels), and whatever else is to be shown.

    Returns:
        The rows, with `gain`, the accuracy minus that of the random subset.

    Raises:
        InputError: A random subset, or an accuracy, is missing, or there are two random subsets of one setting; the
            message says which.

    Example:
        >>> shared = {"kept": 0.2, "soft_labels": "teacher", "steps": 200}
        >>> table = selection_table([
        ...     {"selection": "small loss", "accuracy": 0.8, "hard": 0.7, **shared},
        ...     {"selection": "random", "accuracy": 0.75, "hard": 0.72, **shared},
        ... ])
        >>> table["gain"].round(3).tolist()
        [0.05, 0.0]

    Source:
        In the spirit of "Rethinking Dataset Compression", of which the abstract was available: random subsets with the
        same soft labels are often as good.
    """
    if not isinstance(rows, list | tuple) or not rows:
        checks.fail("rows", "a list of at least one row", type(rows).__name__)
    checked = []
    for place, row in enumerate(rows):
        name = f"rows[{place}]"
        if not isinstance(row, Mapping):
            checks.fail(name, "a mapping", type(row).__name__)
        for key in (*KEYS, "accuracy", "hard"):
            if key not in row:
                what = "an accuracy with hard labels" if key == "hard" else "a value"
                checks.fail(f"{name}: {key}", what, "none")
        for key in ("selection", "soft_labels"):
            if not isinstance(row[key], str):
                checks.fail(f"{name}: {key}", "a text", repr(row[key]))
        values = {key: checks.rate(f"{name}: {key}", row[key]) for key in ("accuracy", "hard")}
        values["kept"] = checks.real(f"{name}: kept", row["kept"], 1e-9, 1.0)
        checked.append({**row, **values, "steps": checks.integer(f"{name}: steps", row["steps"], 0)})
    base: dict[tuple[Any, ...], float] = {}
    for row in checked:
        if row["selection"] == RANDOM:
            if _setting(row) in base:
                checks.fail("rows", "one random subset of each size, soft labels and steps", f"two of {_setting(row)}")
            base[_setting(row)] = row["accuracy"]
    for row in checked:
        if _setting(row) not in base:
            expected = (
                f"a random subset beside {row['selection']!r}, of the same size ({row['kept']:g}), with the same soft "
                f"labels ({row['soft_labels']}) and as many steps ({row['steps']})"
            )
            checks.fail("rows", expected, "none")
    return pd.DataFrame([{**row, "gain": row["accuracy"] - base[_setting(row)]} for row in checked])


def _setting(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (round(float(row["kept"]), 9), row["soft_labels"], row["steps"])

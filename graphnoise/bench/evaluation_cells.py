"""What evaluation reports read from cells: stored runs of a callable, and cells of the task `nodes`."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graphnoise import checks
from graphnoise.bench.store import Store, cell_key
from graphnoise.bench.tasks.node_metrics import unpack
from graphnoise.bench.tasks.node_noise import noise_axis, parse_noise, plant
from graphnoise.bench.tasks.node_report import row_label
from graphnoise.bench.tasks.nodes import Nodes, load
from graphnoise.checks import DataError
from graphnoise.reports.inputs import Run, finite_array, measures

Record = Mapping[str, Any]
Labels = NDArray[np.int64]
# The entry "task" of stored runs of a callable.
RUNS = "report"
# What a run returns, by report.
MEASURES = {
    "rank-stability": ("predictions", "given", "corrected"),
    "exchange-rate": ("accuracy",),
    "frontier": ("accuracy",),
    "memorisation": ("correct", "test_correct"),
}


def stored(run: Run, name: str, report: str, store: Store | None) -> Run:
    """Return a run that reads results from a store where they are, and writes those that are not and are complete.

    Args:
        run: The callable.
        name: Its name, which identifies its results.
        report: Name of the report.
        store: The store; None for none.
    """
    if store is None:
        return run

    def recorded(config: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        cell = {"task": RUNS, "report": report, "run": name, "config": dict(config), "seed": seed}
        key = cell_key(cell)
        if (record := store.read(key)) is None:
            plain = {k: _plain(v) for k, v in measures(run, config, seed, MEASURES[report]).items()}
            store.write(key, cell, plain)
            return plain
        return dict(record["result"])

    return recorded


def _plain(value: Any) -> Any:
    """Return arrays and tensors as lists, within mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def cells_of(folder: Path, report: str) -> tuple[list[Record], list[Record]]:
    """Return the stored runs of a report, and the cells of the task `nodes`, in a folder.

    Raises:
        DataError: The folder has neither, or has runs of several callables.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of cells, got none (a table of cells has no predictions)")
    runs: list[Record] = []
    nodes: list[Record] = []
    for record in Store(folder).records():
        config = record["config"]
        if isinstance(config, dict) and config.get("task") == RUNS and config.get("report") == report:
            runs.append(record)
        elif isinstance(config, dict) and (config.get("task"), config.get("protocol")) == ("nodes", Nodes.protocol):
            nodes.append(record)
    if len(names := sorted({record["config"]["run"] for record in runs})) > 1:
        raise DataError(f"{folder}: expected runs of one callable (a folder for each), got {', '.join(names)}")
    if not runs and not nodes:
        raise DataError(
            f"{folder}: expected cells of `graphnoise bench nodes`, or of `graphnoise report {report} --run … --out`, "
            "got none"
        )
    return runs, nodes


def run_table(runs: Sequence[Record]) -> pd.DataFrame:
    """Return a row per stored run: the entries of its configuration, its seed and its accuracy."""
    rows = []
    for record in runs:
        config, result = record["config"], record["result"]
        rows.append({**config["config"], "seed": config["seed"], "accuracy": result.get("accuracy", np.nan)})
    return pd.DataFrame(rows)


def withheld(folder: Path, runs: Sequence[Record]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return of stored runs of memorisation which labels they saw, and which given and test labels they predicted.

    Raises:
        DataError: The runs are of different numbers of labels.
    """
    correct, test = (
        [finite_array(f"{run['key']}: {name}", run["result"][name]) for run in runs]
        for name in MEASURES["memorisation"]
    )
    seen = [run["config"]["config"]["included"] for run in runs]
    sizes = sorted({(len(a), len(b)) for a, b in zip(correct, test, strict=True)})
    if len(sizes) > 1 or max(map(max, seen)) >= sizes[0][0]:
        raise DataError(f"{folder}: expected runs of the same numbers of labelled and test nodes, got different ones")
    included = np.zeros((len(runs), sizes[0][0]), dtype=bool)
    for row, positions in zip(included, seen, strict=True):
        row[positions] = True
    return included, np.array(correct), np.array(test)


def _labels(records: Sequence[Record]) -> list[str]:
    """Return the name of each cell's row: the method, with what tells rows of one method apart."""
    variants: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        variants[record["config"]["method"]].append(record["config"])
    return [row_label(r["config"]["method"], r["config"], variants[r["config"]["method"]]) for r in records]


def prediction_sets(
    records: Sequence[Record], root: str | None, noise: str, rate: float, seed: int
) -> Iterator[tuple[str, dict[str, Labels], Labels, Labels]]:
    """Yield title, predictions of each row [runs, n], given and corrected test labels, for each data set and noise.

    Args:
        records: Cells of the task `nodes`.
        root: Folder of the data sets.
        noise: Errors of the test labels, as `--noise` of the benchmark takes them: a kind, "llm" or "file:PATH".
        rate: Their rate, which given labels do not have.
        seed: Seed of planted errors.

    Raises:
        DataError: The data are not those of the cells, or a cell has no predictions.
        InputError: The labels, or the noise, are not possible here.
    """
    errors = noise_axis([parse_noise("noise", noise)], [rate])[0]["noise"]
    groups: dict[tuple[str, ...], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for label, record in zip(_labels(records), records, strict=True):
        config = record["config"]
        training = config["noise"]
        kind = f"{training['kind']} noise {training['rate']:g}" if training["rate"] else "no noise"
        key = (config["dataset"], str(config["split_seed"]), config["select"], json.dumps(training["options"]), kind)
        groups[key][label].append(record)
    for (dataset, split_seed, select, _, kind), rows in sorted(groups.items()):
        if len(rows) < 2:
            continue
        instance = load(dataset, root, int(split_seed))
        test, truth = instance.problem.test_mask, instance.truth.numpy()
        given, chosen = plant(instance, errors, {"test": test}, seed, root)[0].numpy(), test.numpy()
        found: dict[str, Labels] = {}
        for label, cells in rows.items():
            arrays = []
            for cell in cells:
                if cell["config"]["data"] != instance.digest:
                    raise DataError(f"{dataset}: expected the data of the cells, got others (--root)")
                if "predictions" not in cell["result"]:
                    raise DataError(f"{cell['key']}: expected predictions, got none")
                arrays.append(unpack(cell["result"]["predictions"]).numpy()[chosen])
            found[label] = np.stack(arrays)
        yield f"{dataset}, {kind} in training, {select} validation labels", found, given[chosen], truth[chosen]


def label_counts(records: Sequence[Record], root: str | None) -> pd.DataFrame:
    """Return a row per cell: data set (without sizes of splits), method, noise, rate, labels of the training, accuracy.

    Cells without noise have clean labels, all others noisy ones; `seed` tells runs of one setting apart.
    """
    rows = []
    for label, record in zip(_labels(records), records, strict=True):
        config, noise = record["config"], record["config"]["noise"]
        size = len(load(config["dataset"], root, config["split_seed"]).problem.train)
        marks = "".join(f" {key}={value}" for key, value in sorted(noise["options"].items()))
        rows.append(
            {
                "dataset": re.sub(r"(?<=[:,])split_sizes=[^,]*,?", "", config["dataset"]).rstrip(":,"),
                "method": label,
                "noise": noise["kind"] + marks,
                "rate": float(noise["rate"]),
                "clean": size if noise["rate"] == 0 else 0,
                "noisy": 0 if noise["rate"] == 0 else size,
                "accuracy": record["result"]["test_accuracy"],
                "seed": config["draw"] * 10_000 + config["init"],
            }
        )
    return pd.DataFrame(rows)


def by_noise(table: pd.DataFrame, *keys: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield title and rows of each noise with the rows without noise beside, for each value of `keys`.

    Raises:
        InputError: No cell has noise.
    """
    noisy = table[table["rate"] > 0]
    if not len(noisy):
        checks.fail("cells", "cells with noise and cells without, of several training sizes", "none with noise")
    for (*values, kind, rate), rows in noisy.groupby([*keys, "noise", "rate"]):
        beside = table[(table["rate"] == 0) & (table[list(keys)] == values).all(axis=1)]
        yield f"{', '.join(map(str, values))}, {kind} noise {rate:g}", pd.concat([beside, rows])

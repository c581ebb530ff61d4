"""NDCG@20 of models with default arguments, beside those of `implicit`; writes one CSV row per fit and resumes.

python benchmarks/recommender_defaults.py --csv benchmarks/results/recommender-defaults.csv --seeds 2

Models train on the published training part (of data without one: on four fifths of each user's interactions) and are
evaluated on the test part, with training interactions masked; with `--part validation` on a tenth of each user's
training interactions instead, as defaults were chosen. Models without random numbers have one seed. Other arguments:

python benchmarks/recommender_defaults.py --csv FILE --part validation --model 'bpr;bpr:iterations=30,learning_rate=.05'
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import platform
import subprocess
import time
from ast import literal_eval
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse as sp
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from graphnoise.io import atomic_write
from recsys import (
    ALS,
    EASE,
    DenoisingLinear,
    ItemKNN,
    MatrixFactorization,
    Popularity,
    RP3beta,
    SpectralFilter,
    UserKNN,
    datasets,
    evaluate,
)
from recsys.interactions import as_interactions
from recsys.splits import ratio

# The 5,000 most frequent items of Gowalla; views of Retail Rocket, from a copy in GRAPHNOISE_DATA.
DATASETS = ("amazon-nbpo", "modcloth", "ml-100k", "lastfm", "retail-rocket", "gowalla-5000")
MODELS: dict[str, Callable[[], Any]] = {
    "popularity": Popularity,
    "itemknn": ItemKNN,
    "als": ALS,
    "ease": EASE,
    "userknn": UserKNN,
    "rp3beta": RP3beta,
    "spectral": SpectralFilter,
    "linear": DenoisingLinear,
    "bpr": MatrixFactorization,
    "bpo": lambda: MatrixFactorization(objective="bpo"),
    "nbpo": lambda: MatrixFactorization(objective="nbpo"),
}
# Module and class.
IMPLICIT = {
    "implicit bpr": ("cpu.bpr", "BayesianPersonalizedRanking"),
    "implicit als": ("cpu.als", "AlternatingLeastSquares"),
    "implicit lmf": ("cpu.lmf", "LogisticMatrixFactorization"),
    "implicit itemknn": ("nearest_neighbours", "CosineRecommender"),
}
SEEDLESS = ("popularity", "itemknn", "ease", "linear", "userknn", "rp3beta", "implicit itemknn")
KEY = ("dataset", "part", "model", "seed")
COLUMNS = (*KEY, "ndcg@20", "recall@20", "seconds", "processor", "commit")


def load(name: str, part: str = "test") -> tuple[sp.csr_array, sp.csr_array]:
    """Return training interactions and those of the test part, or of a validation part of the training ones."""
    if name == "retail-rocket":
        views = datasets.read_table(Path(os.environ["GRAPHNOISE_DATA"], name, "views.csv"), "user", "item")
        split: Any = ratio(views, validation=0, test=0.2, seed=0)
    else:
        split = datasets.load(name.removesuffix("-5000"))
        split = split if hasattr(split, "train") else ratio(split, validation=0, test=0.2, seed=0)
    train, test = split.train.matrix, split.test.matrix
    if name.endswith("-5000"):
        kept = np.sort(np.argsort(-np.bincount(train.indices, minlength=train.shape[1]), kind="stable")[:5000])
        train, test = train[:, kept], test[:, kept]
    if part == "validation":
        split = ratio(as_interactions("train", train), validation=0.1, test=0, seed=0)
        train, test = split.train.matrix, split.validation.matrix
    return train, test


def fitted(name: str, seed: int, train: sp.csr_array) -> Any:
    """Return a model with the default arguments or those that are named, fitted on one thread."""
    if name not in IMPLICIT:
        name, _, changes = name.partition(":")
        model = MODELS[name]()
        for key, _, value in (change.partition("=") for change in changes.split(",") if change):
            setattr(model, key, literal_eval(value) if value[:1] in "0123456789." else value)
        for key, value in (("num_threads", 1), ("random_state", seed)):
            if hasattr(model, key):
                setattr(model, key, value)
        return model.fit(train, show_progress=False)
    module, kind = IMPLICIT[name]
    options = {} if name in SEEDLESS else {"random_state": seed}
    model = getattr(import_module(f"implicit.{module}"), kind)(num_threads=1, **options)
    model.fit(sp.csr_matrix(train), show_progress=False)
    if name == "implicit itemknn":
        return SimpleNamespace(scores=lambda users: (train[users] @ sp.csr_array(model.similarity)).toarray())
    return model


def measure(dataset: str, part: str, name: str, seed: int) -> dict[str, Any]:
    """Return the row of a fit."""
    train, test = load(dataset, part)
    began = time.monotonic()
    with threadpool_limits(1, "blas"):
        model = fitted(name, seed, train)
    seconds = time.monotonic() - began
    values = evaluate(model, train, test, ["ndcg@20", "recall@20"], num_threads=1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    row = {"dataset": dataset, "part": part, "model": name, "seed": seed, "seconds": f"{seconds:.2f}"}
    row |= {metric: f"{values[metric]:.5f}" for metric in values.means}
    return row | {"processor": platform.processor() or platform.machine(), "commit": commit.stdout.strip()}


def table(rows: list[dict[str, Any]]) -> Table:
    """Return mean NDCG@20 over seeds by model and data set."""
    names = [name for name in DATASETS if any(row["dataset"] == name for row in rows)]
    shown = Table("model", *names)
    for model in dict.fromkeys(row["model"] for row in rows):
        cells = [[float(r["ndcg@20"]) for r in rows if (r["dataset"], r["model"]) == (name, model)] for name in names]
        shown.add_row(model, *(f"{np.mean(cell):.4f}" if cell else "" for cell in cells))
    return shown


def main() -> None:
    """Measure the fits that the record lacks, and write it after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="the record; its fits are not run again")
    parser.add_argument("--dataset", default=",".join(DATASETS))
    parser.add_argument("--model", default=";".join([*MODELS, *IMPLICIT]))
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if chosen.csv.exists():
        with chosen.csv.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {tuple(str(row[name]) for name in KEY) for row in rows}
    for dataset in chosen.dataset.split(","):
        for name in chosen.model.split(";"):
            for seed in range(1 if name in SEEDLESS else chosen.seeds):
                if (dataset, chosen.part, name, str(seed)) in done:
                    continue
                rows.append(measure(dataset, chosen.part, name, seed))
                text = io.StringIO()
                writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
                with atomic_write(chosen.csv) as out:
                    out.write(text.getvalue().encode())
    Console().print(table([row for row in rows if row["part"] == chosen.part]))


if __name__ == "__main__":
    main()

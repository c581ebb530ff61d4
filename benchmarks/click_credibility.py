"""AUC of scorers of clicks against known mistakes, planted or rated low; writes one CSV row per cell and resumes.

python benchmarks/click_credibility.py --csv benchmarks/results/click-credibility.csv --seeds 2

With --clean: what `recsys.clean_if_better` gains on clean held-out clicks, beside an oracle that removes what was
planted.

python benchmarks/click_credibility.py --clean --csv benchmarks/results/click-cleaning.csv --seeds 1
"""

from __future__ import annotations

import argparse
import csv
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from graphnoise.checks import InputError
from graphnoise.io import atomic_write
from recsys import (
    EASE,
    audit_clicks,
    clean_if_better,
    compare,
    datasets,
    evaluate,
    simulation,
    splits,
    stacked_credibility,
)
from recsys.click_audit import SCORERS

DATASETS = ("ml-100k", "modcloth", "lastfm")
# Exponent of popularity of the planted mistakes; None: clicks rated at most 2 against those rated 4 or more.
NOISE = {"uniform": 0.0, "popularity": 1.0, "real": None}
RATE = 0.2
# Each scorer of `recsys.audit_clicks`, and the stack for mistakes that follow popularity.
ROWS = ("stacked", "stacked:popularity=1", *SCORERS[1:])
KEY = ("dataset", "noise", "seed", "scorer")
COLUMNS = (*KEY, "clicks", "true_share", "estimated_share", "auc", "auc_within_users", "removed_at_half",
           "precision_at_half", "seconds", "processor", "commit")  # fmt: skip
# Of --clean: the model that the clicks are for, the threshold of credibility, and how clicks are scored.
MODEL, THRESHOLD = EASE(250.0), 0.5
CLEAN_ROWS = {"ease": None, "stacked": stacked_credibility}
CLEAN_COLUMNS = (*KEY, "clicks", "mistakes", "tried_share", "trial_gain", "trial_low", "removed", "removed_mistakes",
                 "ndcg_as_given", "gain", "gain_low", "gain_high", "oracle_gain", "oracle_low", "oracle_high",
                 "seconds", "processor", "commit")  # fmt: skip


def load(name: str, noise: str, seed: int) -> tuple[Any, Any]:
    """Return clicks and which of them are mistakes: 0, 1, or NaN."""
    loaded = datasets.load(name)
    clicks = getattr(loaded, "train", loaded)
    power = NOISE[noise]
    if power is None:
        if clicks.ratings is None:
            raise InputError(f"noise: expected a data set with ratings, got {name}")
        return clicks, np.where(clicks.ratings <= 2, 1.0, np.where(clicks.ratings >= 4, 0.0, np.nan))
    # Low ratings would be mistakes beside the planted ones.
    likes = clicks if clicks.ratings is None else clicks.at_least(4)
    noisy = simulation.corrupt(likes, RATE, popularity=power, seed=seed)
    return noisy.interactions, noisy.false_positive.astype(float)


def measure(name: str, noise: str, seed: int, scorer: str) -> dict[str, Any]:
    """Return the row of a cell."""
    clicks, truth = load(name, noise, seed)
    began = time.monotonic()
    base, _, power = scorer.partition(":popularity=")
    options = {"scorer": base, "popularity": float(power or 0)}
    audit = audit_clicks(clicks, truth=truth, top=0, seed=seed, num_threads=1, **options)
    seconds = time.monotonic() - began
    known = ~np.isnan(truth)
    removed = (audit.credibility.positive < 0.5) & known
    return {
        "dataset": name, "noise": noise, "seed": seed, "scorer": scorer, "clicks": len(clicks),
        "true_share": f"{truth[known].mean():.4f}", "estimated_share": f"{audit.mistake_share:.4f}",
        "auc": f"{audit.auc:.4f}",
        "auc_within_users": "" if audit.auc_within_users is None else f"{audit.auc_within_users:.4f}",
        "removed_at_half": int(removed.sum()),
        "precision_at_half": f"{truth[removed].mean():.4f}" if removed.any() else "",
    } | where(seconds)  # fmt: skip


def where(seconds: float) -> dict[str, str]:
    """Return the columns of the run."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "seconds": f"{seconds:.1f}", "processor": platform.processor() or platform.machine(),
        "commit": commit.stdout.strip(),
    }  # fmt: skip


def measure_cleaning(name: str, noise: str, seed: int, scorer: str) -> dict[str, Any]:
    """Return the row of a cell: NDCG@20 on a clean fifth of each user's clicks, of models fitted to the rest."""
    loaded = datasets.load(name)
    clicks = getattr(loaded, "train", loaded)
    split = splits.ratio(clicks if clicks.ratings is None else clicks.at_least(4), 0.0, 0.2, seed)
    power = NOISE[noise]
    assert power is not None
    noisy = simulation.corrupt_split(split, RATE, popularity=power, noisy_validation=False, seed=seed)
    given, mistakes, test = noisy.train.interactions, noisy.train.false_positive, noisy.split.test
    began = time.monotonic()
    trial = clean_if_better(given, MODEL, scorer=CLEAN_ROWS[scorer], threshold=THRESHOLD, seed=seed, num_threads=1)
    seconds = time.monotonic() - began
    results = [
        evaluate(clone(MODEL).fit(train, False), given, test, ["ndcg@20"], num_threads=1)
        for train in (given, trial.interactions, given.subset(~mistakes))
    ]
    gains = {
        column: compare(result, results[0], "ndcg@20", names=(column, "as given"))
        for column, result in zip(("gain", "oracle"), results[1:], strict=True)
    }
    removed = trial.removed.matrix.multiply(given.subset(mistakes).matrix).nnz
    return {
        "dataset": name, "noise": noise, "seed": seed, "scorer": scorer, "clicks": len(given),
        "mistakes": int(mistakes.sum()), "tried_share": f"{trial.tried:.4f}",
        "trial_gain": "" if trial.gain is None else f"{trial.gain.difference:.4f}",
        "trial_low": "" if trial.gain is None else f"{trial.gain.low:.4f}",
        "removed": len(trial.removed), "removed_mistakes": removed, "ndcg_as_given": f"{results[0]['ndcg@20']:.4f}",
        "gain": f"{gains['gain'].difference:.4f}", "gain_low": f"{gains['gain'].low:.4f}",
        "gain_high": f"{gains['gain'].high:.4f}", "oracle_gain": f"{gains['oracle'].difference:.4f}",
        "oracle_low": f"{gains['oracle'].low:.4f}", "oracle_high": f"{gains['oracle'].high:.4f}",
    } | where(seconds)  # fmt: skip


def main() -> None:
    """Run the cells that the file does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="the record; its cells are not run again")
    parser.add_argument("--dataset", default=",".join(DATASETS))
    parser.add_argument("--noise", default=",".join(NOISE))
    parser.add_argument("--scorer", default=None, help="by default all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--clean", action="store_true", help="the gain of cleaning, instead of the AUC")
    chosen = parser.parse_args()
    columns, scorers = (CLEAN_COLUMNS, tuple(CLEAN_ROWS)) if chosen.clean else (COLUMNS, ROWS)
    rows: list[dict[str, Any]] = []
    if chosen.csv.exists():
        with chosen.csv.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {tuple(str(row[name]) for name in KEY) for row in rows}
    cells = [
        (name, noise, seed, scorer)
        for name in chosen.dataset.split(",")
        for noise in chosen.noise.split(",")
        # Real mistakes have no draws; Last.fm has no ratings.
        if not (noise == "real" and (chosen.clean or name == "lastfm"))
        for seed in range(1 if noise == "real" else chosen.seeds)
        for scorer in (scorers if chosen.scorer is None else chosen.scorer.split(","))
    ]
    for cell in cells:
        if tuple(map(str, cell)) in done:
            continue
        rows.append((measure_cleaning if chosen.clean else measure)(*cell))
        print(*(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
        with atomic_write(chosen.csv) as out:
            lines = [",".join(columns), *(",".join(str(row[name]) for name in columns) for row in rows)]
            out.write(("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    main()

"""Order of review, and accuracy of training on audited labels; writes one CSV row per draw and resumes.

All nodes but the public test nodes (on Photo 1,000 drawn ones) have a given label, 20 % of them wrong. SGC is trained
on the labels as given, as the audit corrects them in each way, and on the true ones, and scored on the test nodes.

python benchmarks/audit_training.py --csv benchmarks/results/audit-training.csv --draws 3
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import graphnoise as gn
from graphnoise import datasets, noise
from graphnoise.audit import correct
from graphnoise.io import atomic_write
from graphnoise.nn.features import row_normalised, smoothed

FIRST_DRAW, RATE, LOOKS, TEST_NODES = 2001, 0.2, 0.2, 1000
WAYS = ("drop", "reweight", "soften", "replace")


def accuracy(x: Any, test: Any, truth: Any, targets: Tensor, weights: Tensor) -> float:
    """Return the accuracy of SGC at the test nodes, from labels or distributions of classes with weights."""
    used = np.flatnonzero(weights.numpy() > 0)
    if targets.dim() == 2:
        # Each class of a node is a row, weighted by its probability.
        rows, classes = (part.ravel() for part in np.meshgrid(used, np.arange(targets.shape[1]), indexing="ij"))
        sizes = targets.numpy()[used].ravel()
        rows, classes, sizes = (part[sizes > 1e-3] for part in (rows, classes, sizes))
    else:
        rows, classes, sizes = used, targets.numpy()[used], weights.numpy()[used]
    model = LogisticRegression(max_iter=1000).fit(x[rows], classes, sizes)
    return float((model.predict(x[test]) == truth[test]).mean())


def measure(name: str, kind: str, draw: int) -> dict[str, Any]:
    """Return the row of a draw."""
    data = datasets.load(name, seed=0)
    classes, truth = int(data.y.max()) + 1, data.y.numpy()
    if name == "amazon-photo":
        test = np.sort(np.random.default_rng(draw).choice(len(truth), TEST_NODES, replace=False))
    else:
        test = np.flatnonzero(data.test_mask.numpy())
    given = getattr(noise, kind)(classes, RATE).corrupt(data.y, seed=draw).y.clone()
    given[test] = -1
    labelled = given >= 0
    began = time.process_time()
    audit = gn.Audit(data, given, seed=draw)
    seconds = time.process_time() - began
    wrong = (given != data.y).numpy() & labelled.numpy()
    looked = audit.review(round(LOOKS * int(labelled.sum()))).index
    looped = gn.as_graph(data).with_self_loops().normalise("sym")
    x = smoothed(row_normalised(data.x), looped, 2).numpy()
    ones = labelled.double()
    trained = {"given": (given, ones), **{how: correct(audit, how) for how in WAYS}, "true": (data.y, ones)}
    scores = {f"accuracy_{how}": f"{accuracy(x, test, truth, *pair):.4f}" for how, pair in trained.items()}
    return {
        "dataset": name, "noise": kind, "draw": draw, "wrong": int(wrong.sum()),
        "found_of_looked": f"{wrong[looked].sum() / wrong.sum():.4f}", **scores,
        "p_value": f"{audit.test.p_value:.4f}", "rate": f"{audit.estimate.rate.value:.4f}",
        "true_rate": f"{wrong.sum() / int(labelled.sum()):.4f}", "seconds": f"{seconds:.1f}",
    }  # fmt: skip


def main() -> None:
    """Run the draws that the file does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, required=True, help="the record; its draws are not run again")
    parser.add_argument("--dataset", default="cora,citeseer,amazon-photo")
    parser.add_argument("--noise", default="symmetric,pair")
    parser.add_argument("--draws", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = pandas.read_csv(chosen.csv, dtype=str).to_dict("records") if chosen.csv.exists() else []
    done = {(row["dataset"], row["noise"], row["draw"]) for row in rows}
    for name in chosen.dataset.split(","):
        for kind in chosen.noise.split(","):
            for draw in range(FIRST_DRAW, FIRST_DRAW + chosen.draws):
                if (name, kind, str(draw)) in done:
                    continue
                rows.append(measure(name, kind, draw))
                print(*rows[-1].values(), flush=True)
                with atomic_write(chosen.csv) as file:
                    file.write(pandas.DataFrame(rows).to_csv(index=False).encode())


if __name__ == "__main__":
    main()

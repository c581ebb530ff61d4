"""Derive `splits/cora.csv`: which paper of raw Cora each node of Planetoid's Cora is, and its row in `cora.content`.

    python datasets/derive_cora_order.py FOLDER

FOLDER holds both: `cora.content`, `cora.cites` and the eight `ind.cora.*` files. Columns of features are in the same
order in both (checked). Nodes are matched by features and class, and where these are shared, by colour refinement: a
node's colour becomes its own with those of its neighbours, until no more colours appear. Nodes that still share a
colour are taken in file order; the result is accepted only if features, classes and edges then agree exactly, so such
nodes are interchangeable.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from graphnoise.datasets.citation import read_cora_content, read_planetoid
from graphnoise.datasets.raw import simple_arcs


def colours(start: list[Any], arcs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the stable colours of the nodes under refinement."""
    row, col = arcs
    ends = np.split(col, np.searchsorted(row, np.arange(1, len(start))))
    keys: list[Any] = start
    count = 0
    while True:
        known: dict[Any, int] = {}
        colour = np.array([known.setdefault(key, len(known)) for key in keys])
        if len(known) == count:
            return colour
        count = len(known)
        keys = [(int(own), tuple(np.sort(colour[near]).tolist())) for own, near in zip(colour, ends, strict=True)]


def main(folder: Path) -> None:
    """Match the two graphs, check the match and write the paper ids in Planetoid's order."""
    planetoid = read_planetoid(folder, "cora")
    papers, x, y, cites = read_cora_content(folder)
    size = len(papers)
    ours, theirs = (simple_arcs(arcs, size).numpy() for arcs in (planetoid.arcs, cites))
    rows = np.concatenate([planetoid.x.toarray(), x.toarray()]).astype(np.uint8)
    start = [(row.tobytes(), int(label)) for row, label in zip(rows, np.concatenate([planetoid.y, y]), strict=True)]
    colour = colours(start, np.concatenate([ours, theirs + size], axis=1))
    source = np.empty(size, dtype=np.int64)
    source[np.argsort(colour[:size], kind="stable")] = np.argsort(colour[size:], kind="stable")
    node = np.argsort(source)
    same = (
        np.array_equal(planetoid.x.toarray(), x.toarray()[source]),
        np.array_equal(planetoid.y, y[source]),
        np.array_equal(ours, simple_arcs(node[cites], size).numpy()),
    )
    if not all(same):
        raise SystemExit(f"features, classes, edges equal: {same}")
    shared = size - len(np.unique(colour[:size]))
    lines = ["paper,row", *(f"{papers[row]},{row}" for row in source)]
    (Path(__file__).parent / "splits" / "cora.csv").write_text("\n".join(lines) + "\n")
    print(f"{size} papers in order; {shared} interchangeable ones beyond the first of their kind")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

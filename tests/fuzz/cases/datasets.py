"""Cases of data sets."""

import functools
import uuid
from typing import Any

from graphnoise import datasets
from tests.fuzz.cases.inputs import Case, data, table, y


@functools.cache
def _npz() -> str:
    return str(datasets.save_npz(data(), "two-blocks.npz"))


def _blocks() -> dict[str, Any]:
    return {"block_sizes": [6, 6], "seed": 0, "num_features": 2, "separation": 1.0, "split": (1, 2, 2)}


CASES: dict[str, Case] = {
    "graphnoise.datasets.catalogue": Case(datasets.catalogue, lambda: {"root": "."}),
    "graphnoise.datasets.feedback_catalogue": Case(datasets.feedback_catalogue, lambda: {"root": "."}),
    "graphnoise.datasets.feedback_info": Case(datasets.feedback_info, lambda: {"name": "ml-1m"}),
    "graphnoise.datasets.feedback_names": Case(datasets.feedback_names, dict),
    "graphnoise.datasets.info": Case(datasets.info, lambda: {"name": "cora"}),
    "graphnoise.datasets.labels_catalogue": Case(datasets.labels_catalogue, lambda: {"root": "."}),
    "graphnoise.datasets.llm_labels": Case(datasets.llm_labels, lambda: {"graph": "cora", "root": "."}),
    "graphnoise.datasets.load": Case(datasets.load, lambda: {"name": _npz()}),
    # Of files that are not there.
    "graphnoise.datasets.load_ogb": Case(datasets.load_ogb, lambda: {"folder": "."}, ("scheme",)),
    "graphnoise.datasets.verify": Case(datasets.verify, lambda: {"name": "cora", "root": "."}),
    "graphnoise.datasets.load_folder": Case(datasets.load_folder, lambda: {"folder": "."}),
    "graphnoise.datasets.load_pt": Case(datasets.load_pt, lambda: {"path": _npz()}),
    "graphnoise.datasets.is_table": Case(datasets.is_table, lambda: {"path": "edges.csv"}),
    "graphnoise.datasets.read_frame": Case(datasets.read_frame, lambda: {"path": table()}),
    "graphnoise.datasets.read_edges": Case(
        datasets.read_edges,
        lambda: {"edges": table()},
        ("labels", "features", "columns", "weight", "directed", "header", "all_features"),
    ),
    "graphnoise.datasets.build_graph": Case(
        datasets.build_graph,
        lambda: {"edges": table(), "folder": f"graph-{uuid.uuid4().hex}", "columns": ("user", "item")},
        ("weight", "directed", "once", "num_nodes", "memory"),
    ),
    "graphnoise.datasets.load_npz": Case(datasets.load_npz, lambda: {"path": _npz()}),
    "graphnoise.datasets.names": Case(datasets.names, dict),
    "graphnoise.datasets.save_npz": Case(datasets.save_npz, lambda: {"data": data().clone(), "path": "again.npz"}),
    "graphnoise.datasets.split_masks": Case(
        datasets.split_masks, lambda: {"y": y(), "train_per_class": 2, "num_val": 5, "num_test": 5, "seed": 0}
    ),
    "graphnoise.datasets.planted_partition": Case(
        datasets.planted_partition, lambda: {**_blocks(), "p_in": 0.5, "p_out": 0.1}
    ),
    "graphnoise.datasets.stochastic_block_model": Case(
        datasets.stochastic_block_model, lambda: {**_blocks(), "edge_probs": [[0.5, 0.1], [0.1, 0.5]]}
    ),
    "graphnoise.datasets.degree_corrected": Case(
        datasets.degree_corrected, lambda: {**_blocks(), "edge_counts": [[9, 2], [2, 9]], "exponent": 2.5}
    ),
    "graphnoise.datasets.power_law": Case(
        datasets.power_law, lambda: {"num_nodes": 30, "num_arcs": 60, "exponent": 2.5, "seed": 0}
    ),
}

"""Graphs with labels: the benchmark sets, files of one's own, and generators with known truth."""

from graphnoise.datasets.build import BuiltGraph, build_graph
from graphnoise.datasets.folders import load_folder, load_pt
from graphnoise.datasets.given import llm_labels
from graphnoise.datasets.load import load
from graphnoise.datasets.manifest import (
    FeedbackInfo,
    GraphInfo,
    LabelsInfo,
    feedback_info,
    feedback_names,
    info,
    names,
)
from graphnoise.datasets.npz import load_npz, save_npz
from graphnoise.datasets.ogb import load_ogb
from graphnoise.datasets.raw import split_masks
from graphnoise.datasets.synthetic import degree_corrected, planted_partition, power_law, stochastic_block_model
from graphnoise.datasets.tables import is_table, read_edges, read_frame
from graphnoise.datasets.verify import (
    CatalogueRow,
    Check,
    catalogue,
    feedback_catalogue,
    get,
    labels_catalogue,
    verify,
)

__all__ = [
    "BuiltGraph",
    "CatalogueRow",
    "Check",
    "FeedbackInfo",
    "GraphInfo",
    "LabelsInfo",
    "build_graph",
    "catalogue",
    "degree_corrected",
    "feedback_catalogue",
    "feedback_info",
    "feedback_names",
    "get",
    "info",
    "is_table",
    "labels_catalogue",
    "llm_labels",
    "load",
    "load_folder",
    "load_npz",
    "load_ogb",
    "load_pt",
    "names",
    "planted_partition",
    "power_law",
    "read_edges",
    "read_frame",
    "save_npz",
    "split_masks",
    "stochastic_block_model",
    "verify",
]

"""Cases of graphs, propagation and coding rates."""

from typing import Any

import torch

import graphnoise as gn
from graphnoise import Graph
from tests.fuzz.cases.inputs import Case, arcs, few, karate, y


def _label_propagation(num_layers: Any, alpha: Any, **arguments: Any) -> Any:
    return gn.LabelPropagation(num_layers, alpha)(**arguments)


def _correct_and_smooth(alpha: Any, autoscale: Any, scale: Any, **arguments: Any) -> Any:
    return gn.CorrectAndSmooth(2, alpha, 2, alpha, autoscale, scale)(**arguments)


def _rate_reduction(z: Any, labels: Any, **settings: Any) -> Any:
    return gn.CodingRateReduction(**settings)(z, labels)


CASES: dict[str, Case] = {
    "graphnoise.Graph": Case(
        Graph, lambda: {"rowptr": karate().rowptr, "col": karate().col, "weight": few(156, 1)[:, 0]}
    ),
    "graphnoise.Graph.from_edge_index": Case(
        Graph.from_edge_index, lambda: {"edge_index": arcs(), "num_nodes": 34, "edge_weight": few(156, 1)[:, 0]}
    ),
    "graphnoise.Graph.from_scipy": Case(Graph.from_scipy, lambda: {"matrix": karate().to_scipy()}),
    "graphnoise.as_graph": Case(gn.as_graph, lambda: {"graph": arcs()}, ("weight", "num_nodes", "node_type")),
    "graphnoise.propagate": Case(
        gn.propagate,
        lambda: {"graph": karate(), "y": few(), "alpha": 0.5, "num_steps": 3, "mask": y() > 0},
        ("mode", "normalisation", "clamp", "tol", "backend", "solver", "order", "memory", "out"),
    ),
    "graphnoise.LabelPropagation": Case(
        _label_propagation,
        lambda: {"num_layers": 2, "alpha": 0.5, "y": y(), "edge_index": arcs(), "mask": y() > 0},
        ("edge_weight", "post_step"),
    ),
    "graphnoise.CorrectAndSmooth": Case(
        _correct_and_smooth,
        lambda: {
            "alpha": 0.5,
            "autoscale": False,
            "scale": 1.0,
            "y_soft": few(),
            "y_true": y()[:8],
            "mask": torch.arange(8),
            "edge_index": arcs(),
        },
        ("edge_weight",),
    ),
    "graphnoise.coding_rate": Case(gn.coding_rate, lambda: {"z": few(), "eps": 0.5}),
    "graphnoise.coding_rate_reduction": Case(gn.coding_rate_reduction, lambda: {"z": few(), "labels": y()}),
    "graphnoise.CodingRateReduction": Case(
        _rate_reduction,
        lambda: {"z": few(), "labels": y(), "num_classes": 2, "memory": 0.5},
        ("eps", "gamma1", "gamma2", "dtype"),
    ),
    "graphnoise.effective_rank": Case(gn.effective_rank, lambda: {"z": few()}),
}

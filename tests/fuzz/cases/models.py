"""Cases of ERASE, GraphGP and layers."""

import functools
from typing import Any

import torch
import torch_geometric.nn

import graphnoise as gn
from graphnoise import erase, nn, robust
from tests.fuzz.cases.inputs import Case, data, few, karate, probabilities, y


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _erase(**settings: Any) -> Any:
    return gn.ERASE(**settings).fit(data())


def _graph_gp(**settings: Any) -> Any:
    return robust.GraphGP(**settings).fit(data())


def _robust_gnn(**settings: Any) -> Any:
    return robust.RobustGNN(**settings).fit(data())


def _adapted(kind: Any, **settings: Any) -> Any:
    return robust.RobustGNN(kind(**settings), epochs=2, hidden=4).fit(data())


def _entropy_adaptation(model: Any = None, **settings: Any) -> Any:
    return robust.EntropyAdaptation(_normalised() if model is None else model, **settings).predict_proba(data())


@functools.cache
def _normalised() -> Any:
    module = torch_geometric.nn.GCN(4, 4, 2, 2, norm="BatchNorm")
    return robust.RobustGNN("ce", model=module, epochs=1).fit(data())


def _nat(**settings: Any) -> Any:
    return robust.RobustGNN(robust.methods.NAT(**settings), epochs=2, hidden=4).fit(data())


def _layer(kind: Any, **settings: Any) -> Any:
    layer, graph = kind(**settings), karate().with_self_loops().normalise()
    x = few(width=settings.get("inputs", 2) if kind is not nn.Propagate else 2)
    return layer(x) if kind is nn.Linear else layer(x, graph if kind is nn.Propagate else nn.Block.full(graph))


CASES: dict[str, Case] = {
    "graphnoise.robust.GraphGP": Case(
        _graph_gp, lambda: {"hops": (1, 2), "seed": 0}, ("val_labels", "transition", "max_exact")
    ),
    "graphnoise.robust.RobustGNN": Case(
        _robust_gnn,
        lambda: {"method": "ce", "epochs": 2, "hidden": 4},
        (
            "model",
            "dropout",
            "lr",
            "weight_decay",
            "patience",
            "val_labels",
            "batch_size",
            "fanouts",
            "seed",
            "device",
            "progress",
            "num_threads",
            "checkpoint_every",
        ),
    ),
    "graphnoise.robust.EntropyAdaptation": Case(_entropy_adaptation, lambda: {"lr": 1e-3}, ("model",)),
    "graphnoise.robust.methods.NAT": Case(_nat, lambda: {"folds": 3}, ("sources", "accuracies", "trusted")),
    "graphnoise.robust.methods.source_confidence": Case(
        robust.methods.source_confidence,
        lambda: {"sources": [probabilities(), probabilities()], "given": y()},
        ("accuracies", "trusted"),
    ),
    **{
        f"graphnoise.robust.methods.{kind.__name__}": Case(
            functools.partial(_adapted, kind), lambda more=more: {"credibility": few(10, 1)[:, 0], **more}
        )
        for kind, more in (
            (robust.methods.Drop, {"threshold": 0.5}),
            (robust.methods.Reweight, {}),
            (robust.methods.Soften, {"to": "uniform"}),
        )
    },
    "graphnoise.robust.methods.create_method": Case(
        robust.methods.create_method, lambda: {"name": "co-teaching", "rate": 0.2, "ramp": 3, "balanced": True}
    ),
    "graphnoise.robust.fit": Case(robust.fit, lambda: {"data": data()}, ("model", "method", "seed", "split")),
    "graphnoise.ERASE": Case(
        _erase,
        lambda: {"epochs": 2, "hidden": 8, "width": 8, "heads": 2, "layers": 2},
        (
            "preset",
            "seed",
            "num_classes",
            "device",
            "progress",
            "lr",
            "alpha",
            "eps",
            "dropout",
            "encoder",
            "batch_size",
        ),
    ),
    "graphnoise.erase.Settings": Case(erase.Settings, dict, ("layers", "hidden", "alpha", "eps", "encoder", "fanouts")),
    "graphnoise.erase.Probe": Case(erase.Probe, lambda: {"z": few(), "y": y(), "num_classes": 2, "C": 1.0}),
    "graphnoise.erase.class_means": Case(erase.class_means, lambda: {"z": few(), "y": y(), "num_classes": 2}),
    "graphnoise.erase.denoise": Case(
        erase.denoise, lambda: {"graph": karate(), "y": y(), "train": y() > 0, "alpha": 0.5, "num_steps": 2}
    ),
    "graphnoise.erase.fuse": Case(
        erase.fuse, lambda: {"propagated": probabilities(), "prototype": probabilities(), "beta": 0.5}
    ),
    "graphnoise.erase.prototype_labels": Case(erase.prototype_labels, lambda: {"z": few(), "prototypes": few(2, 2)}),
    "graphnoise.nn.Block": Case(
        nn.Block, lambda: {"pattern": nn.Block.full(karate()).pattern, "value": few(156, 1)[:, 0]}
    ),
    "graphnoise.nn.SparseFeatures": Case(nn.SparseFeatures, lambda: {"x": few()}),
    "graphnoise.nn.Linear": Case(
        functools.partial(_layer, nn.Linear),
        lambda: {"inputs": 2, "outputs": 3, "bias": True, "generator": _generator()},
    ),
    "graphnoise.nn.GraphConvolution": Case(
        functools.partial(_layer, nn.GraphConvolution),
        lambda: {"inputs": 2, "outputs": 3, "generator": _generator()},
    ),
    "graphnoise.nn.GraphAttention": Case(
        functools.partial(_layer, nn.GraphAttention),
        lambda: {"inputs": 2, "outputs": 3, "heads": 2, "generator": _generator()},
        ("attention_dropout", "slope"),
    ),
    "graphnoise.nn.Propagate": Case(
        functools.partial(_layer, nn.Propagate),
        lambda: {"num_steps": 2, "alpha": 0.5, "mode": "restart", "normalisation": "sym", "add_self_loops": True},
    ),
    "graphnoise.nn.dropout": Case(nn.dropout, lambda: {"x": few(), "p": 0.5, "generator": _generator()}),
    "graphnoise.nn.normalise_rows": Case(nn.normalise_rows, lambda: {"x": few(), "p": 1}),
    "graphnoise.nn.receptive_field": Case(
        nn.receptive_field,
        lambda: {"graph": karate().with_self_loops().normalise(), "outputs": torch.tensor([0, 3]), "num_layers": 2},
    ),
    "graphnoise.nn.sample_neighbors": Case(
        nn.sample_neighbors,
        lambda: {"graph": karate(), "outputs": torch.tensor([0, 3]), "fanouts": [2, 2], "generator": _generator()},
    ),
}

"""A valid call of each public callable: keyword arguments, made anew for each call."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx
import numpy as np
import scipy.sparse as sp
import torch

import graphnoise as gn
import recsys
from graphnoise import Graph, audit, clustering, datasets, erase, nn, noise, robust
from recsys import objectives, samplers, simulation, splits

# Results, bases and exceptions: they hold what functions return, and check nothing.
OMITTED = {
    *(
        "DataError",
        "GraphnoiseError",
        "InputError",
        "NotFittedError",
        "CollapseWarning",
        "HeterophilyWarning",
        "AmbiguousTransitionWarning",
        "Recommender",
        "Objective",
        "Sampler",
    ),
    *("Propagation", "Candidate", "Cluster", "CommunityProfile", "Diffusion", "EdgeWeights", "LabelStatistics"),
    *(
        "LabelPosterior",
        "Membership",
        "NoiseTest",
        "Posterior",
        "Scores",
        "LabelPosterior",
        "CatalogueRow",
        "Check",
        "FeedbackInfo",
        "GraphInfo",
        "LabelsInfo",
        "Estimate",
    ),
    *("NoisyInteractions", "NoisyLabels", "Cleaned", "Comparison", "Credibility", "Evaluation", "Split", "Derivatives"),
    *("ClickAudit", "Pairs", "FalseNegatives", "SimulatedNoise", "SimulatedSplit"),
    # Downloads.
    "get",
}


class Case(NamedTuple):
    """A callable, its valid arguments, and further arguments that may be changed."""

    call: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]]
    more: tuple[str, ...] = ()


def _arcs() -> torch.Tensor:
    return torch.tensor(list(networkx.karate_club_graph().to_directed().edges)).t().contiguous()


def _graph() -> Graph:
    return Graph.from_edge_index(_arcs())


def _y() -> torch.Tensor:
    return torch.arange(34) % 2


def _few(n: int = 34, width: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, width, generator=torch.Generator().manual_seed(seed))


def _probabilities() -> torch.Tensor:
    return _few().add(0.1).softmax(1).double()


@functools.cache
def _data() -> Any:
    return datasets.planted_partition([30, 30], 0.3, 0.02, num_features=4, split=(5, 10, 20), seed=1)


@functools.cache
def _npz() -> str:
    return str(datasets.save_npz(_data(), "two-blocks.npz"))


def _clicks(seed: int = 0, density: float = 0.4) -> Any:
    return sp.csr_array((np.random.default_rng(seed).random((12, 9)) < density).astype(np.float32))


def _others() -> Any:
    return sp.csr_array(1 - _clicks().toarray())


def _interactions() -> recsys.Interactions:
    users, items = _clicks().nonzero()
    return recsys.Interactions.from_triples(users, items, ratings=1.0 + users % 5, times=np.arange(len(users)))


def _split() -> recsys.Split:
    return splits.ratio(_interactions(), 0.1, 0.2)


def _evaluation(seed: int) -> recsys.Evaluation:
    values = np.random.default_rng(seed).random(12)
    return recsys.Evaluation(np.arange(12), {"ndcg@5": values}, {"ndcg@5": float(values.mean())}, "train")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _fit(kind: Any, **settings: Any) -> Any:
    return kind(**settings).fit(_clicks(), False)


def _sample(kind: Any, **settings: Any) -> Any:
    sampler = kind(**settings).fit(_clicks())
    sampler.bind(lambda users, items: np.zeros(items.shape), lambda: (np.ones((12, 2)), np.ones((9, 2))))
    sampler.epoch(0, np.random.default_rng(0))
    return sampler.sample(np.arange(3), 2, 0, items=np.zeros(3, np.int32))


def _draw(users: Any, k: Any, rng: Any, items: Any = None) -> Any:
    return samplers.Uniform().fit(_clicks()).sample(users, k, rng, items)


def _local(**arguments: Any) -> Any:
    fit = {name: arguments.pop(name) for name in ("graph", "seeds", "labels", "a1", "a0")}
    return clustering.LocalCluster(**arguments).fit(**fit)


def _erase(**settings: Any) -> Any:
    return gn.ERASE(**settings).fit(_data())


def _graph_gp(**settings: Any) -> Any:
    return robust.GraphGP(**settings).fit(_data())


def _audit(decisions: Any = None, fdr: Any = 0.1, min_probability: Any = 0.5, count: Any = 3, **arguments: Any) -> Any:
    audit = gn.Audit(**arguments)
    if decisions is not None:
        audit = audit.with_decisions(decisions)
    return audit.to_frame(fdr, min_probability), audit.review(count), audit.report(), audit.transition


@functools.cache
def _posterior() -> Any:
    return gn.audit.label_posterior(_data(), _data().y, _data().x)


def _layer(kind: Any, **settings: Any) -> Any:
    layer, graph = kind(**settings), _graph().with_self_loops().normalise()
    x = _few(width=settings.get("inputs", 2) if kind is not nn.Propagate else 2)
    return layer(x) if kind is nn.Linear else layer(x, graph if kind is nn.Propagate else nn.Block.full(graph))


def _label_propagation(num_layers: Any, alpha: Any, **arguments: Any) -> Any:
    return gn.LabelPropagation(num_layers, alpha)(**arguments)


def _correct_and_smooth(alpha: Any, autoscale: Any, scale: Any, **arguments: Any) -> Any:
    return gn.CorrectAndSmooth(2, alpha, 2, alpha, autoscale, scale)(**arguments)


def _rate_reduction(z: Any, labels: Any, **settings: Any) -> Any:
    return gn.CodingRateReduction(**settings)(z, labels)


def _label_noise(**settings: Any) -> Any:
    return noise.LabelNoise(**settings)(_data().clone())


def _recommend(**arguments: Any) -> Any:
    return _fit(recsys.ItemKNN).recommend(**arguments)


def _similar(**arguments: Any) -> Any:
    return _fit(recsys.ItemKNN).similar_items(**arguments)


def _frame() -> Any:
    import pandas

    return pandas.DataFrame({"user": [1, 1, 2], "item": [3, 4, 3], "stars": [5.0, 4.0, 1.0], "time": [1, 2, 3]})


def _table() -> str:
    _frame().to_csv("clicks.csv", index=False)
    return "clicks.csv"


def _profile() -> Any:
    return clustering.community_profile(_graph(), [0, 5], per_decade=2, progress=False)


def _batch() -> Any:
    return clustering.diffuse_many(_graph(), [0, 5], "pagerank")


def _blocks() -> dict[str, Any]:
    return {"block_sizes": [6, 6], "seed": 0, "num_features": 2, "separation": 1.0, "split": (1, 2, 2)}


def _classes(**more: Any) -> dict[str, Any]:
    return {"num_classes": 3, "rate": 0.2, **more}


def _noisy(**more: Any) -> dict[str, Any]:
    return {"y": _y(), "rate": 0.2, "seed": 0, **more}


def _diffusion(**more: Any) -> dict[str, Any]:
    return {"graph": _graph(), "seeds": [0, 1], "labels": _y(), "label_eps": 0.1, **more}


def _set(**more: Any) -> dict[str, Any]:
    return {"graph": _graph(), "nodes": [0, 1, 2, 3], "labels": _y(), "label_eps": 0.1, **more}


def _loss(**more: Any) -> dict[str, Any]:
    return {"logits": _few(), "noisy": _y(), "transition": noise.symmetric(2, 0.2), "reduction": "mean", **more}


C, N = "graphnoise.clustering.", "graphnoise.noise."
CASES: dict[str, Case] = {
    "graphnoise.Graph": Case(
        Graph, lambda: {"rowptr": _graph().rowptr, "col": _graph().col, "weight": _few(156, 1)[:, 0]}
    ),
    "graphnoise.Graph.from_edge_index": Case(
        Graph.from_edge_index, lambda: {"edge_index": _arcs(), "num_nodes": 34, "edge_weight": _few(156, 1)[:, 0]}
    ),
    "graphnoise.Graph.from_scipy": Case(Graph.from_scipy, lambda: {"matrix": _graph().to_scipy()}),
    "graphnoise.as_graph": Case(gn.as_graph, lambda: {"graph": _arcs()}, ("weight", "num_nodes", "node_type")),
    "graphnoise.propagate": Case(
        gn.propagate, lambda: {"graph": _graph(), "y": _few(), "alpha": 0.5, "num_steps": 3, "mask": _y() > 0}
    ),
    "graphnoise.LabelPropagation": Case(
        _label_propagation,
        lambda: {"num_layers": 2, "alpha": 0.5, "y": _y(), "edge_index": _arcs(), "mask": _y() > 0},
        ("edge_weight", "post_step"),
    ),
    "graphnoise.CorrectAndSmooth": Case(
        _correct_and_smooth,
        lambda: {
            "alpha": 0.5,
            "autoscale": False,
            "scale": 1.0,
            "y_soft": _few(),
            "y_true": _y()[:8],
            "mask": torch.arange(8),
            "edge_index": _arcs(),
        },
        ("edge_weight",),
    ),
    "graphnoise.coding_rate": Case(gn.coding_rate, lambda: {"z": _few(), "eps": 0.5}),
    "graphnoise.coding_rate_reduction": Case(gn.coding_rate_reduction, lambda: {"z": _few(), "labels": _y()}),
    "graphnoise.CodingRateReduction": Case(
        _rate_reduction,
        lambda: {"z": _few(), "labels": _y(), "num_classes": 2, "memory": 0.5},
        ("eps", "gamma1", "gamma2", "dtype"),
    ),
    "graphnoise.effective_rank": Case(gn.effective_rank, lambda: {"z": _few()}),
    "graphnoise.robust.GraphGP": Case(
        _graph_gp, lambda: {"hops": (1, 2), "seed": 0}, ("val_labels", "transition", "max_exact")
    ),
    "graphnoise.robust.methods.create_method": Case(
        robust.methods.create_method, lambda: {"name": "co-teaching", "rate": 0.2, "ramp": 3}
    ),
    "graphnoise.robust.methods.Drop": Case(
        robust.methods.Drop, lambda: {"credibility": _few(9, 1)[:, 0], "threshold": 0.5}
    ),
    "graphnoise.robust.methods.Reweight": Case(robust.methods.Reweight, lambda: {"credibility": _few(9, 1)[:, 0]}),
    "graphnoise.robust.methods.Soften": Case(
        robust.methods.Soften, lambda: {"credibility": _few(9, 1)[:, 0], "to": "uniform"}
    ),
    "graphnoise.Audit": Case(
        _audit,
        lambda: {"graph": _data().edge_index, "y": _data().y, "x": _data().x, "posterior": _posterior()},
        ("seed", "decisions", "fdr", "min_probability", "count"),
    ),
    "graphnoise.audit.correct": Case(
        gn.audit.correct, lambda: {"audit": _posterior(), "how": "drop"}, ("fdr", "min_probability")
    ),
    "graphnoise.audit.noise_test": Case(
        gn.audit.noise_test,
        lambda: {"posterior": _posterior(), "degrees": torch.ones(60).numpy(), "simulations": 3},
        ("seed",),
    ),
    "graphnoise.robust.fit": Case(robust.fit, lambda: {"data": _data()}, ("method", "seed", "split")),
    "graphnoise.audit.label_posterior": Case(
        audit.label_posterior, lambda: {"graph": _graph(), "y": _y(), "x": _few()}, ("transition", "seed")
    ),
    "graphnoise.audit.crossfit": Case(
        audit.crossfit, lambda: {"graph": _graph(), "y": _y(), "x": _few(), "folds": 2}, ("model", "seed")
    ),
    **{
        f"graphnoise.audit.detect.{name}": Case(getattr(audit.detect, name), arguments, more)
        for name, arguments, more in (
            ("self_confidence", lambda: {"probabilities": _probabilities(), "y": _y()}, ()),
            ("normalised_margin", lambda: {"probabilities": _probabilities(), "y": _y()}, ()),
            ("loss_mixture", lambda: {"probabilities": _probabilities(), "y": _y()}, ()),
            ("neighbour_agreement", lambda: {"graph": _graph(), "y": _y()}, ()),
            ("label_propagation", lambda: {"graph": _graph(), "y": _y(), "num_steps": 3}, ("alpha",)),
            ("influence_contradiction", lambda: {"graph": _graph(), "y": _y()}, ("alpha", "per_class")),
            (
                "graphcleaner",
                lambda: {"graph": _graph(), "probabilities": _probabilities(), "y": _y()},
                ("hops", "rate", "seed"),
            ),
            ("graph_gp", lambda: {"graph": _graph(), "y": _y(), "x": _few()}, ("seed",)),
            ("posterior", lambda: {"graph": _graph(), "y": _y(), "x": _few()}, ("seed",)),
        )
    },
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
    C + "as_undirected": Case(clustering.as_undirected, lambda: {"graph": _arcs()}),
    C + "UndirectedGraph": Case(
        clustering.UndirectedGraph,
        lambda: {
            key: value.copy() if isinstance(value, np.ndarray) else value
            for key, value in vars(clustering.as_undirected(_graph())).items()
        },
    ),
    C + "DiffusionBatch": Case(
        lambda **fields: clustering.sweep_many(_graph(), clustering.DiffusionBatch(**fields), labels=_y()),
        lambda: dict(vars(_batch())),
    ),
    C + "LocalCluster": Case(
        _local,
        lambda: {"graph": _graph(), "seeds": [0], "labels": _y(), "a1": 0.8, "a0": 0.7, "method": "flow"},
        ("sink", "label_eps", "masses", "rounding", "selection", "improve", "alpha", "t", "p", "height", "tol"),
    ),
    C + "approximate_pagerank": Case(clustering.approximate_pagerank, lambda: _diffusion(alpha=0.2, eps=1e-4)),
    C + "l1_pagerank": Case(clustering.l1_pagerank, lambda: _diffusion(alpha=0.2, rho=1e-4)),
    C + "heat_kernel": Case(clustering.heat_kernel, lambda: _diffusion(t=3.0, eps=1e-3)),
    C + "flow_diffusion": Case(clustering.flow_diffusion, lambda: _diffusion(mass=20.0, sink="degree", p=2.0)),
    C + "capacity_releasing": Case(clustering.capacity_releasing, _diffusion),
    C + "choose_label_eps": Case(
        clustering.choose_label_eps,
        lambda: {"graph": _graph(), "seeds": [0], "labels": _y(), "a1": 0.8, "a0": 0.7, "mass": 20.0},
    ),
    C + "label_statistics": Case(
        clustering.label_statistics, lambda: {"graph": _graph(), "seeds": [0], "labels": _y(), "a1": 0.8, "a0": 0.7}
    ),
    C + "community_profile": Case(
        clustering.community_profile,
        lambda: {"graph": _graph(), "seeds": [0, 5], "per_decade": 2, "progress": False, "grid": [0.01, 0.001]},
    ),
    C + "draw_profile": Case(clustering.draw_profile, lambda: {"profile": _profile(), "path": "profile.png"}),
    C + "conductance": Case(clustering.conductance, _set),
    C + "mqi": Case(clustering.mqi, _set),
    C + "simple_local": Case(clustering.simple_local, lambda: _set(delta=0.3)),
    C + "improve": Case(clustering.improve, lambda: {"graph": _graph(), "cluster": [0, 1, 2, 3], "method": "mqi"}),
    C + "diffuse_many": Case(
        clustering.diffuse_many, lambda: {"graph": _graph(), "seed_sets": [0, [1, 2]], "method": "flow", "mass": 5.0}
    ),
    C + "sweep_many": Case(clustering.sweep_many, lambda: {"graph": _graph(), "batch": _batch(), "labels": _y()}),
    C + "sweep_cut": Case(clustering.sweep_cut, lambda: {"graph": _graph(), "diffusion": _few()[:, 0]}),
    C + "support_cluster": Case(
        clustering.support_cluster,
        lambda: {"graph": _graph(), "diffusion": clustering.approximate_pagerank(_graph(), 0)},
    ),
    C + "membership_posterior": Case(
        clustering.membership_posterior, lambda: {"graph": _graph(), "labels": _y(), "a1": 0.8, "a0": 0.7, "seeds": [1]}
    ),
    C + "precision_recall_f1": Case(clustering.precision_recall_f1, lambda: {"nodes": [0, 1], "members": [1, 2]}),
    C + "predict_membership": Case(
        clustering.predict_membership,
        lambda: {"x": _few(), "inside": list(range(8)), "outside": list(range(8, 16)), "graph": _graph()},
    ),
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
    "graphnoise.datasets.read_frame": Case(datasets.read_frame, lambda: {"path": _table()}),
    "graphnoise.datasets.read_edges": Case(
        datasets.read_edges,
        lambda: {"edges": _table()},
        ("labels", "features", "columns", "weight", "directed", "header"),
    ),
    "graphnoise.datasets.load_npz": Case(datasets.load_npz, lambda: {"path": _npz()}),
    "graphnoise.datasets.names": Case(datasets.names, dict),
    "graphnoise.datasets.save_npz": Case(datasets.save_npz, lambda: {"data": _data().clone(), "path": "again.npz"}),
    "graphnoise.datasets.split_masks": Case(
        datasets.split_masks, lambda: {"y": _y(), "train_per_class": 2, "num_val": 5, "num_test": 5, "seed": 0}
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
    "graphnoise.erase.Settings": Case(erase.Settings, dict, ("layers", "hidden", "alpha", "eps", "encoder", "fanouts")),
    "graphnoise.erase.Probe": Case(erase.Probe, lambda: {"z": _few(), "y": _y(), "num_classes": 2, "C": 1.0}),
    "graphnoise.erase.class_means": Case(erase.class_means, lambda: {"z": _few(), "y": _y(), "num_classes": 2}),
    "graphnoise.erase.denoise": Case(
        erase.denoise, lambda: {"graph": _graph(), "y": _y(), "train": _y() > 0, "alpha": 0.5, "num_steps": 2}
    ),
    "graphnoise.erase.fuse": Case(
        erase.fuse, lambda: {"propagated": _probabilities(), "prototype": _probabilities(), "beta": 0.5}
    ),
    "graphnoise.erase.prototype_labels": Case(erase.prototype_labels, lambda: {"z": _few(), "prototypes": _few(2, 2)}),
    "graphnoise.nn.Block": Case(
        nn.Block, lambda: {"pattern": nn.Block.full(_graph()).pattern, "value": _few(156, 1)[:, 0]}
    ),
    "graphnoise.nn.SparseFeatures": Case(nn.SparseFeatures, lambda: {"x": _few()}),
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
    "graphnoise.nn.dropout": Case(nn.dropout, lambda: {"x": _few(), "p": 0.5, "generator": _generator()}),
    "graphnoise.nn.normalise_rows": Case(nn.normalise_rows, lambda: {"x": _few(), "p": 1}),
    "graphnoise.nn.receptive_field": Case(
        nn.receptive_field,
        lambda: {"graph": _graph().with_self_loops().normalise(), "outputs": torch.tensor([0, 3]), "num_layers": 2},
    ),
    "graphnoise.nn.sample_neighbors": Case(
        nn.sample_neighbors,
        lambda: {"graph": _graph(), "outputs": torch.tensor([0, 3]), "fanouts": [2, 2], "generator": _generator()},
    ),
    N + "LabelNoise": Case(
        _label_noise, lambda: {"kind": "symmetric", "rate": 0.2}, ("splits", "seed", "exact", "split")
    ),
    N + "Transition": Case(noise.Transition, lambda: {"matrix": [[0.9, 0.1], [0.2, 0.8]]}),
    N + "identity": Case(noise.identity, lambda: {"num_classes": 3}),
    N + "symmetric": Case(noise.symmetric, _classes),
    N + "pair": Case(noise.pair, _classes),
    N + "asymmetric": Case(noise.asymmetric, lambda: _classes(seed=0)),
    N + "random": Case(noise.random, lambda: _classes(seed=0)),
    N + "from_counts": Case(noise.from_counts, lambda: {"counts": [[8, 2], [1, 3]], "smoothing": 1.0}),
    N + "from_mapping": Case(noise.from_mapping, lambda: _classes(mapping={0: 1})),
    N + "anchor_points": Case(noise.anchor_points, lambda: {"probabilities": _probabilities()}),
    N + "confident_joint": Case(noise.confident_joint, lambda: {"probabilities": _probabilities(), "noisy": _y()}),
    N + "dual_transition": Case(
        noise.dual_transition, lambda: {"probabilities": _probabilities(), "noisy": _y(), "smoothing": 1.0}
    ),
    N + "expectation_maximisation": Case(
        noise.expectation_maximisation, lambda: {"probabilities": _probabilities(), "noisy": _y(), "smoothing": 1.0}
    ),
    N + "transition_from_joint": Case(
        noise.transition_from_joint, lambda: {"joint": [[8, 2], [1, 3]], "noisy": [0, 1, 1], "smoothing": 1.0}
    ),
    N + "backward_correction": Case(noise.backward_correction, _loss),
    N + "forward_correction": Case(noise.forward_correction, _loss),
    N + "importance_reweighting": Case(noise.importance_reweighting, lambda: _loss(detach=True)),
    N + "cascade": Case(noise.cascade, lambda: _noisy(edge_index=_arcs(), probability=0.3)),
    N + "tree_propagated": Case(noise.tree_propagated, lambda: _noisy(edge_index=_arcs())),
    N + "structure_dependent": Case(noise.structure_dependent, lambda: _noisy(edge_index=_arcs())),
    N + "confidence_dependent": Case(noise.confidence_dependent, lambda: _noisy(probabilities=_probabilities())),
    N + "feature_dependent": Case(noise.feature_dependent, lambda: _noisy(x=_few())),
    N + "erase_stream": Case(noise.erase_stream, lambda: _noisy(kind="asymmetric", num_classes=2)),
    N + "flip_interactions": Case(
        noise.flip_interactions, lambda: {"matrix": _clicks(), "false_positive_rate": 0.2, "false_negative_rate": 0.1}
    ),
    N + "flip_membership": Case(
        noise.flip_membership, lambda: {"members": [0, 1], "num_nodes": 6, "a1": 0.5, "a0": 0.75, "seed": 0}
    ),
    N + "label_f1": Case(noise.label_f1, lambda: {"a1": 0.9, "a0": 0.8, "k": 5, "n": 20}),
    "recsys.ALS": Case(functools.partial(_fit, recsys.ALS), lambda: {"factors": 3, "iterations": 2}),
    "recsys.EASE": Case(functools.partial(_fit, recsys.EASE), dict),
    "recsys.ItemKNN": Case(functools.partial(_fit, recsys.ItemKNN), dict),
    "recsys.Popularity": Case(functools.partial(_fit, recsys.Popularity), dict),
    "recsys.DenoisingLinear": Case(functools.partial(_fit, recsys.DenoisingLinear), lambda: {"directions": 4}),
    "recsys.LightGCN": Case(functools.partial(_fit, recsys.LightGCN), lambda: {"factors": 4, "iterations": 1}),
    "recsys.TwoTower": Case(
        functools.partial(_fit, recsys.TwoTower), lambda: {"factors": 4, "hidden": (5,), "iterations": 1}
    ),
    "recsys.MatrixFactorization": Case(
        functools.partial(_fit, recsys.MatrixFactorization), lambda: {"factors": 4, "iterations": 1}
    ),
    "recsys.Recommender.fit": Case(recsys.ItemKNN().fit, lambda: {"user_items": _clicks(), "show_progress": False}),
    "recsys.Recommender.recommend": Case(
        _recommend, lambda: {"userid": [0, 1], "user_items": _clicks()[[0, 1]], "N": 3}, ("filter_items", "items")
    ),
    "recsys.Recommender.similar_items": Case(_similar, lambda: {"itemid": 1, "N": 3}, ("filter_items", "items")),
    "recsys.Interactions": Case(recsys.Interactions, lambda: {"matrix": _clicks()}),
    "recsys.Interactions.from_triples": Case(
        recsys.Interactions.from_triples, lambda: {"users": [0, 1, 1], "items": [2, 0, 1], "ratings": [1.0, 2.0, 3.0]}
    ),
    "recsys.Interactions.from_frame": Case(
        recsys.Interactions.from_frame, lambda: {"frame": _frame(), "user": "user", "item": "item", "rating": "stars"}
    ),
    "recsys.evaluate": Case(
        recsys.evaluate,
        lambda: {
            "model": _fit(recsys.ItemKNN),
            "train": _clicks(),
            "test": sp.csr_array(_clicks(1).toarray() * (1 - _clicks().toarray())),
            "metrics": ["ndcg@3"],
        },
    ),
    "recsys.compare": Case(
        recsys.compare,
        lambda: {"first": _evaluation(0), "second": _evaluation(1), "metric": "ndcg@5"},
    ),
    "recsys.compare_all": Case(
        recsys.compare_all,
        lambda: {"models": {name: _evaluation(ord(name)) for name in "abc"}, "metric": "ndcg@5"},
        ("test", "level", "seed", "resamples"),
    ),
    "recsys.credibility": Case(
        recsys.credibility, lambda: {"model": recsys.ItemKNN(), "interactions": _clicks(), "top": 3, "folds": 2}
    ),
    "recsys.stacked_credibility": Case(
        recsys.stacked_credibility,
        lambda: {"interactions": _clicks(), "models": [recsys.ItemKNN()], "top": 3, "folds": 2},
        ("boosting", "seed"),
    ),
    "recsys.audit_clicks": Case(
        recsys.audit_clicks,
        lambda: {"interactions": _clicks(), "scorer": "itemknn", "top": 3, "folds": 2},
        ("truth", "seed"),
    ),
    "recsys.clean": Case(
        recsys.clean,
        lambda: {
            "interactions": _clicks(),
            "credibility": recsys.credibility(recsys.ItemKNN(), _clicks(), top=3, folds=2),
            "threshold": 0.1,
        },
    ),
    "recsys.datasets.names": Case(recsys.datasets.names, dict),
    "recsys.datasets.read_table": Case(
        recsys.datasets.read_table, lambda: {"path": _table(), "user": "user", "item": "item"}
    ),
    "recsys.objectives.objective": Case(objectives.objective, lambda: {"value": "bpr"}),
    "recsys.samplers.sampler": Case(samplers.sampler, lambda: {"value": "uniform"}),
    "recsys.samplers.Sampler.sample": Case(_draw, lambda: {"users": [0, 1], "k": 2, "rng": 0}),
    "recsys.samplers.false_negatives": Case(
        samplers.false_negatives,
        lambda: {
            "sampler": samplers.Uniform().fit(_clicks()),
            "hidden": _others(),
            "k": 1,
            "passes": 1,
        },
    ),
    "recsys.simulation.corrupt": Case(
        simulation.corrupt, lambda: {"interactions": _clicks(), "false_positive": 0.2, "false_negative": 0.1}
    ),
    "recsys.simulation.two_sided": Case(
        simulation.two_sided, lambda: {"interactions": _clicks(), "hide": 0.2, "add": 0.1}
    ),
    "recsys.simulation.corrupt_split": Case(
        simulation.corrupt_split, lambda: {"split": _split(), "false_positive": 0.2, "false_negative": 0.1}
    ),
    "recsys.simulation.low_rank": Case(
        simulation.low_rank, lambda: {"num_users": 10, "num_items": 8, "rank": 2, "density": 0.2}
    ),
    "recsys.simulation.exposure_relevance": Case(
        simulation.exposure_relevance, lambda: {"ratings": _interactions(), "rank": 2}
    ),
    "recsys.splits.ratio": Case(
        splits.ratio, lambda: {"interactions": _interactions(), "validation": 0.1, "test": 0.1}
    ),
    "recsys.splits.leave_k_out": Case(splits.leave_k_out, lambda: {"interactions": _interactions(), "k": 1}),
    "recsys.splits.user_time": Case(splits.user_time, lambda: {"interactions": _interactions()}),
    "recsys.splits.global_time": Case(splits.global_time, lambda: {"interactions": _interactions()}),
}
for _name in (
    "BPO",
    "BPR",
    "Hinge",
    "WBPR",
    "RelevanceMF",
    "UnbiasedBPR",
    "Backward",
    "Forward",
    "DeCA",
    "ReweightedCE",
):
    CASES[f"recsys.objectives.{_name}"] = Case(getattr(objectives, _name), dict)
for _name in ("NBPO", "NBPOEM", "NBPOo", "NBPOs", "SampledSoftmax", "TruncatedCE"):
    CASES[f"recsys.objectives.{_name}"] = Case(getattr(objectives, _name), dict)
CASES["recsys.objectives.NonNegativePU"] = Case(objectives.NonNegativePU, lambda: {"prior": 0.1})
for _name in samplers.SAMPLERS.values():
    CASES[f"recsys.samplers.{_name.__name__}"] = Case(functools.partial(_sample, _name), dict)

"""Cases of local clustering."""

from typing import Any

import numpy as np

from graphnoise import clustering
from tests.fuzz.cases.inputs import Case, arcs, few, karate, y


def _local(**arguments: Any) -> Any:
    fit = {name: arguments.pop(name) for name in ("graph", "seeds", "labels", "a1", "a0")}
    return clustering.LocalCluster(**arguments).fit(**fit)


def _profile() -> Any:
    return clustering.community_profile(karate(), [0, 5], per_decade=2, progress=False)


def _batch() -> Any:
    return clustering.diffuse_many(karate(), [0, 5], "pagerank")


def _diffusion(**more: Any) -> dict[str, Any]:
    return {"graph": karate(), "seeds": [0, 1], "labels": y(), "label_eps": 0.1, **more}


def _set(**more: Any) -> dict[str, Any]:
    return {"graph": karate(), "nodes": [0, 1, 2, 3], "labels": y(), "label_eps": 0.1, **more}


C = "graphnoise.clustering."
CASES: dict[str, Case] = {
    C + "as_undirected": Case(clustering.as_undirected, lambda: {"graph": arcs()}),
    C + "UndirectedGraph": Case(
        clustering.UndirectedGraph,
        lambda: {
            key: value.copy() if isinstance(value, np.ndarray) else value
            for key, value in vars(clustering.as_undirected(karate())).items()
        },
    ),
    C + "DiffusionBatch": Case(
        lambda **fields: clustering.sweep_many(karate(), clustering.DiffusionBatch(**fields), labels=y()),
        lambda: dict(vars(_batch())),
    ),
    C + "LocalCluster": Case(
        _local,
        lambda: {"graph": karate(), "seeds": [0], "labels": y(), "a1": 0.8, "a0": 0.7, "method": "flow"},
        (
            "sink",
            "label_eps",
            "masses",
            "rounding",
            "selection",
            "improve",
            "alpha",
            "t",
            "p",
            "height",
            "tol",
            "restarts",
        ),
    ),
    C + "approximate_pagerank": Case(clustering.approximate_pagerank, lambda: _diffusion(alpha=0.2, eps=1e-4, top_k=3)),
    C + "attribute_factors": Case(clustering.attribute_factors, lambda: {"x": few(), "num_components": 2, "seed": 1}),
    C + "laca": Case(
        clustering.laca, lambda: {"graph": karate(), "seeds": [0, 1], "factors": few(34, 2), "alpha": 0.8, "eps": 1e-4}
    ),
    C + "graded_weights": Case(
        clustering.graded_weights, lambda: {"graph": karate(), "membership": few(34, 1)[:, 0], "seeds": [0]}
    ),
    C + "l1_pagerank": Case(clustering.l1_pagerank, lambda: _diffusion(alpha=0.2, rho=1e-4)),
    C + "heat_kernel": Case(clustering.heat_kernel, lambda: _diffusion(t=3.0, eps=1e-3)),
    C + "flow_diffusion": Case(clustering.flow_diffusion, lambda: _diffusion(mass=20.0, sink="degree", p=2.0)),
    C + "capacity_releasing": Case(clustering.capacity_releasing, _diffusion),
    C + "choose_label_eps": Case(
        clustering.choose_label_eps,
        lambda: {"graph": karate(), "seeds": [0], "labels": y(), "a1": 0.8, "a0": 0.7, "mass": 20.0},
    ),
    C + "label_statistics": Case(
        clustering.label_statistics, lambda: {"graph": karate(), "seeds": [0], "labels": y(), "a1": 0.8, "a0": 0.7}
    ),
    C + "community_profile": Case(
        clustering.community_profile,
        lambda: {"graph": karate(), "seeds": [0, 5], "per_decade": 2, "progress": False, "grid": [0.01, 0.001]},
    ),
    C + "draw_profile": Case(clustering.draw_profile, lambda: {"profile": _profile(), "path": "profile.png"}),
    C + "conductance": Case(clustering.conductance, _set),
    C + "mqi": Case(clustering.mqi, _set),
    C + "simple_local": Case(clustering.simple_local, lambda: _set(delta=0.3)),
    C + "improve": Case(clustering.improve, lambda: {"graph": karate(), "cluster": [0, 1, 2, 3], "method": "mqi"}),
    C + "diffuse_many": Case(
        clustering.diffuse_many, lambda: {"graph": karate(), "seed_sets": [0, [1, 2]], "method": "flow", "mass": 5.0}
    ),
    C + "sweep_many": Case(clustering.sweep_many, lambda: {"graph": karate(), "batch": _batch(), "labels": y()}),
    C + "sweep_cut": Case(clustering.sweep_cut, lambda: {"graph": karate(), "diffusion": few()[:, 0]}),
    C + "support_cluster": Case(
        clustering.support_cluster,
        lambda: {"graph": karate(), "diffusion": clustering.approximate_pagerank(karate(), 0)},
    ),
    C + "grow_cluster": Case(
        clustering.grow_cluster,
        lambda: {"graph": karate(), "seeds": [1], "labels": y(), "a1": 0.8, "a0": 0.7, "restarts": True},
    ),
    C + "membership_posterior": Case(
        clustering.membership_posterior, lambda: {"graph": karate(), "labels": y(), "a1": 0.8, "a0": 0.7, "seeds": [1]}
    ),
    C + "precision_recall_f1": Case(clustering.precision_recall_f1, lambda: {"nodes": [0, 1], "members": [1, 2]}),
    C + "predict_membership": Case(
        clustering.predict_membership,
        lambda: {"x": few(), "inside": list(range(8)), "outside": list(range(8, 16)), "graph": karate()},
    ),
}

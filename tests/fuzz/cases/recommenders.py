"""Cases of recsys."""

import functools
import io
import uuid
from typing import Any

import numpy as np
import scipy.sparse as sp

import recsys
from recsys import objectives, samplers, simulation, splits
from tests.fuzz.cases.inputs import Case, clicks, frame, table


def _item_knn(count: int) -> Any:
    return recsys.ItemKNN(count).fit(clicks(), False)


def _others() -> Any:
    return sp.csr_array(1 - clicks().toarray())


def _interactions() -> recsys.Interactions:
    users, items = clicks().nonzero()
    return recsys.Interactions.from_triples(users, items, ratings=1.0 + users % 5, times=np.arange(len(users)))


def _saved() -> str:
    folder = f"clicks-{uuid.uuid4().hex}"
    _interactions().save_mapped(folder)
    return folder


def _split() -> recsys.Split:
    return splits.ratio(_interactions(), 0.1, 0.2)


def _evaluation(seed: int) -> recsys.Evaluation:
    values = np.random.default_rng(seed).random(12)
    return recsys.Evaluation(np.arange(12), {"ndcg@5": values}, {"ndcg@5": float(values.mean())}, "train")


def _fit(kind: Any, **settings: Any) -> Any:
    return kind(**settings).fit(clicks(), False)


def _sample(kind: Any, **settings: Any) -> Any:
    sampler = kind(**settings).fit(clicks())
    sampler.bind(lambda users, items: np.zeros(items.shape), lambda: (np.ones((12, 2)), np.ones((9, 2))))
    sampler.epoch(0, np.random.default_rng(0))
    return sampler.sample(np.arange(3), 2, 0, items=np.zeros(3, np.int32))


def _draw(users: Any, k: Any, rng: Any, items: Any = None) -> Any:
    return samplers.Uniform().fit(clicks()).sample(users, k, rng, items)


def _recommend(**arguments: Any) -> Any:
    return _fit(recsys.ItemKNN).recommend(**arguments)


def _similar(**arguments: Any) -> Any:
    return _fit(recsys.ItemKNN).similar_items(**arguments)


def _named(method: str, **arguments: Any) -> Any:
    """Call a method of a model with ids."""
    users, items = (
        np.array([f"{side}{k}" for k in range(size)]) for side, size in zip("ui", clicks().shape, strict=True)
    )
    return getattr(_fit_named(users, items), method)(**arguments)


def _fit_named(users: Any, items: Any) -> Any:
    return recsys.ItemKNN().fit(recsys.Interactions.from_csr(clicks(), users, items), False)


def _rows(users: Any) -> Any:
    return _interactions()[users]


CASES: dict[str, Case] = {
    "recsys.ALS": Case(functools.partial(_fit, recsys.ALS), lambda: {"factors": 3, "iterations": 2}),
    "recsys.EASE": Case(functools.partial(_fit, recsys.EASE), dict),
    "recsys.ItemKNN": Case(functools.partial(_fit, recsys.ItemKNN), dict),
    "recsys.RP3beta": Case(functools.partial(_fit, recsys.RP3beta), dict),
    "recsys.SLIM": Case(functools.partial(_fit, recsys.SLIM), dict),
    "recsys.SpectralFilter": Case(functools.partial(_fit, recsys.SpectralFilter), lambda: {"preset": "chebycf"}),
    "recsys.UserKNN": Case(functools.partial(_fit, recsys.UserKNN), dict),
    "recsys.Popularity": Case(functools.partial(_fit, recsys.Popularity), dict),
    "recsys.DenoisingLinear": Case(functools.partial(_fit, recsys.DenoisingLinear), lambda: {"directions": 4}),
    "recsys.LightGCN": Case(functools.partial(_fit, recsys.LightGCN), lambda: {"factors": 4, "iterations": 1}),
    "recsys.RobustFactorization": Case(
        functools.partial(_fit, recsys.RobustFactorization),
        lambda: {"factors": 4, "iterations": 1},
        ("method", "learning_rate", "regularization", "num_negatives", "batch_size", "random_state"),
    ),
    "recsys.TwoTower": Case(
        functools.partial(_fit, recsys.TwoTower), lambda: {"factors": 4, "hidden": (5,), "iterations": 1}
    ),
    "recsys.MatrixFactorization": Case(
        functools.partial(_fit, recsys.MatrixFactorization), lambda: {"factors": 4, "iterations": 1}
    ),
    "recsys.Recommender.fit": Case(recsys.ItemKNN().fit, lambda: {"user_items": clicks(), "show_progress": False}),
    "recsys.Recommender.recommend": Case(
        _recommend, lambda: {"userid": [0, 1], "user_items": clicks()[[0, 1]], "N": 3}, ("filter_items", "items")
    ),
    "recsys.Recommender.similar_items": Case(
        _similar, lambda: {"itemid": 1, "N": 3}, ("recalculate_item", "item_users", "filter_items", "items")
    ),
    "recsys.Recommender.recommend, ids": Case(
        functools.partial(_named, "recommend"),
        lambda: {"userid": ["u0", "u3"], "N": 3},
        ("user_items", "recalculate_user", "filter_items", "items"),
    ),
    "recsys.Recommender.explain": Case(
        functools.partial(_named, "explain"),
        lambda: {"userid": "u1", "user_items": clicks()[[1]], "itemid": "i2"},
        ("user_weights", "N"),
    ),
    "recsys.Recommender.partial_fit_users": Case(
        functools.partial(_named, "partial_fit_users"),
        lambda: {"userids": ["u1", "zoe"], "user_items": clicks()[[1, 2]]},
    ),
    "recsys.Recommender.save": Case(functools.partial(_named, "save"), lambda: {"file": io.BytesIO()}),
    "recsys.Recommender.load": Case(recsys.Recommender.load, lambda: {"file": io.BytesIO()}),
    "recsys.Recommender.item_ids": Case(functools.partial(_named, "item_ids"), lambda: {"items": [0, -1]}),
    "recsys.Interactions, rows": Case(_rows, lambda: {"users": [0, 1]}),
    "recsys.Interactions.at_least": Case(
        lambda **arguments: _interactions().at_least(**arguments), lambda: {"rating": 3}, ("dislikes_below",)
    ),
    "recsys.Interactions": Case(recsys.Interactions, lambda: {"matrix": clicks()}),
    "recsys.Interactions.from_triples": Case(
        recsys.Interactions.from_triples, lambda: {"users": [0, 1, 1], "items": [2, 0, 1], "ratings": [1.0, 2.0, 3.0]}
    ),
    "recsys.Interactions.from_frame": Case(
        recsys.Interactions.from_frame, lambda: {"frame": frame(), "user": "user", "item": "item", "rating": "stars"}
    ),
    "recsys.Interactions.save_mapped": Case(
        _interactions().save_mapped, lambda: {"folder": f"clicks-{uuid.uuid4().hex}"}
    ),
    "recsys.Interactions.build": Case(
        recsys.Interactions.build, lambda: {"folder": f"clicks-{uuid.uuid4().hex}", "parts": iter([_interactions()])}
    ),
    "recsys.build_interactions": Case(
        recsys.build_interactions,
        lambda: {"files": table(), "folder": f"clicks-{uuid.uuid4().hex}", "rating": "stars"},
        ("user", "item", "time", "duplicates", "memory"),
    ),
    "recsys.Interactions.open": Case(recsys.Interactions.open, lambda: {"folder": _saved()}),
    "recsys.evaluate": Case(
        recsys.evaluate,
        lambda: {
            "model": _fit(recsys.ItemKNN),
            "train": clicks(),
            "test": sp.csr_array(clicks(1).toarray() * (1 - clicks().toarray())),
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
        recsys.credibility, lambda: {"model": recsys.ItemKNN(), "interactions": clicks(), "top": 3, "folds": 2}
    ),
    "recsys.stacked_credibility": Case(
        recsys.stacked_credibility,
        lambda: {"interactions": clicks(), "models": [recsys.ItemKNN()], "top": 3, "folds": 2},
        ("boosting", "seed"),
    ),
    "recsys.audit_clicks": Case(
        recsys.audit_clicks,
        lambda: {"interactions": clicks(), "scorer": "itemknn", "top": 3, "folds": 2},
        ("truth", "seed"),
    ),
    "recsys.clean_if_better": Case(
        recsys.clean_if_better, lambda: {"interactions": clicks(), "model": recsys.ItemKNN(), "share": 0.1}, ("scorer",)
    ),
    "recsys.clean": Case(
        recsys.clean,
        lambda: {
            "interactions": clicks(),
            "credibility": recsys.credibility(recsys.ItemKNN(), clicks(), top=3, folds=2),
            "threshold": 0.1,
        },
    ),
    "recsys.datasets.names": Case(recsys.datasets.names, dict),
    "recsys.datasets.read_table": Case(
        recsys.datasets.read_table, lambda: {"path": table(), "user": "user", "item": "item"}
    ),
    "recsys.objectives.objective": Case(objectives.objective, lambda: {"value": "bpr"}),
    "recsys.samplers.sampler": Case(samplers.sampler, lambda: {"value": "uniform"}),
    "recsys.samplers.Sampler.sample": Case(_draw, lambda: {"users": [0, 1], "k": 2, "rng": 0}),
    "recsys.samplers.false_negatives": Case(
        samplers.false_negatives,
        lambda: {
            "sampler": samplers.Uniform().fit(clicks()),
            "hidden": _others(),
            "k": 1,
            "passes": 1,
        },
    ),
    "recsys.rank_changes": Case(
        recsys.rank_changes, lambda: {"models": [_item_knn(1), _item_knn(5)], "interactions": clicks()}
    ),
    "recsys.replace_partners": Case(
        recsys.replace_partners,
        lambda: {"model": _item_knn(5), "interactions": clicks(), "credibility": np.arange(clicks().nnz) % 2},
        ("threshold", "num_neighbours"),
    ),
    "recsys.simulation.corrupt": Case(
        simulation.corrupt,
        lambda: {"interactions": clicks(), "false_positive": 0.2, "false_negative": 0.1, "spread": 2},
    ),
    "recsys.simulation.two_sided": Case(
        simulation.two_sided, lambda: {"interactions": clicks(), "hide": 0.2, "add": 0.1}
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
    "DislikeBPR",
    "DoublyRobust",
    "RelevanceMF",
    "UnbiasedBPR",
    "Backward",
    "Forward",
    "DeCA",
    "ReweightedCE",
):
    CASES[f"recsys.objectives.{_name}"] = Case(getattr(objectives, _name), dict)
for _name in ("NBPO", "NBPOEM", "NBPOo", "NBPOs", "SampledSoftmax", "SymmetricSoftmax", "TruncatedCE"):
    CASES[f"recsys.objectives.{_name}"] = Case(getattr(objectives, _name), dict)
CASES["recsys.objectives.NonNegativePU"] = Case(objectives.NonNegativePU, lambda: {"prior": 0.1})
for _name in samplers.SAMPLERS.values():
    CASES[f"recsys.samplers.{_name.__name__}"] = Case(functools.partial(_sample, _name), dict)

"""Cases of evaluation reports and of budgets."""

from typing import Any

import numpy as np

from graphnoise import budget, reports
from tests.fuzz.cases.inputs import Case, few, probabilities, y

R, B = "graphnoise.reports.", "graphnoise.budget."


def _run(config: Any, seed: Any) -> dict[str, Any]:
    return {"accuracy": 0.5, "correct": [1, 0, 1], "test_correct": [1]}


def _runs() -> Any:
    import pandas

    return pandas.DataFrame({"cost": [1.0, 2.0], "weak": [1, 0], "strong": [0, 1], "accuracy": [0.5, 0.6], "seed": 0})


def _counts() -> dict[str, Any]:
    clean, noisy = (axis.ravel() for axis in np.meshgrid([10.0, 20.0, 40.0], [0.0, 30.0]))
    return {"clean": clean, "noisy": noisy, "error": (clean + 0.3 * noisy + 1) ** -0.5, "resamples": 2}


def _seen() -> np.ndarray:
    return (few(6, 3) > 0.5).numpy()


CASES: dict[str, Case] = {
    R + "collect_runs": Case(
        reports.collect_runs, lambda: {"run": _run, "configs": [{"n": 1}], "seeds": 2, "measure": "accuracy"}
    ),
    R + "confident_targets": Case(reports.confident_targets, lambda: {"p": probabilities(), "y": y(), "weight": 0.5}),
    R + "draw_labelled": Case(
        reports.draw_labelled, lambda: {"num_nodes": 20, "weak": 8, "strong": 4, "disjoint": True, "seed": 0}
    ),
    R + "exchange_rate": Case(reports.exchange_rate, _counts, ("seed",)),
    R + "expected_exchange_rate": Case(reports.expected_exchange_rate, lambda: {"rate": 0.3, "num_classes": 4}),
    R + "frontier": Case(reports.frontier, lambda: {"runs": _runs(), "budgets": [1.0, 2.0]}),
    R + "label_influence": Case(
        reports.label_influence, lambda: {"included": _seen(), "test_correct": _seen(), "top": 2}
    ),
    R + "memorisation": Case(reports.memorisation, lambda: {"included": _seen(), "correct": _seen()}),
    R + "memorisation_groups": Case(
        reports.memorisation_groups, lambda: {"scores": few(34, 1)[:, 0], "groups": {"y": y()}, "bins": 3}
    ),
    R + "memorisation_runs": Case(
        reports.memorisation_runs, lambda: {"run": _run, "num_labelled": 3, "runs": 4}, ("share", "seed")
    ),
    R + "pareto": Case(reports.pareto, lambda: {"cost": few(34, 1)[:, 0], "accuracy": few(34, 1)[:, 0]}),
    R + "pruning_curve": Case(
        reports.pruning_curve,
        lambda: {"run": _run, "kept": [0.5], "weights": [0.5], "seeds": 1},
        ("selections", "steps"),
    ),
    R + "purchases": Case(
        reports.purchases,
        lambda: {"budgets": [5.0], "shares": [0.5], "weak_cost": 1.0, "strong_cost": 2.0, "pool": 9},
        ("disjoint",),
    ),
    R + "rank_stability": Case(
        reports.rank_stability,
        lambda: {
            "predictions": {"a": y(), "b": 1 - y()},
            "given": y(),
            "corrected": y() * 0,
            "orders": 3,
            "resamples": 3,
        },
        ("points", "seed"),
    ),
    R + "selection_table": Case(
        reports.selection_table,
        lambda: {
            "rows": [{"selection": "random", "kept": 0.5, "soft_labels": "a", "steps": 1, "accuracy": 0.5, "hard": 0.4}]
        },
    ),
    B + "draw_queries": Case(budget.draw_queries, lambda: {"p": few(34, 1)[:, 0], "budget": 5}, ("seed",)),
    B + "exemplars": Case(
        budget.exemplars, lambda: {"z": few(), "y": y(), "suspicion": few(34, 1)[:, 0], "per_class": 2}
    ),
    B + "query_value": Case(
        budget.query_value, lambda: {"p": few(34, 1)[:, 0], "gains": few(34, 1)[:, 0], "accuracy": 0.9}
    ),
    B + "robust_query": Case(budget.robust_query, lambda: {"gains": few(34, 1)[:, 0], "accuracy": 0.9}),
}

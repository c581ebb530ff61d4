"""Cases of the audit of labels."""

import functools
from typing import Any

import torch

import graphnoise as gn
from graphnoise import audit
from tests.fuzz.cases.inputs import Case, data, few, karate, probabilities, y


def _audit(decisions: Any = None, fdr: Any = 0.1, min_probability: Any = 0.5, count: Any = 3, **arguments: Any) -> Any:
    audit = gn.Audit(**arguments)
    if decisions is not None:
        audit = audit.with_decisions(decisions)
    return audit.to_frame(fdr, min_probability), audit.review(count), audit.report(), audit.transition


@functools.cache
def _posterior() -> Any:
    return gn.audit.label_posterior(data(), data().y, data().x)


def _disagreement(y: Any, probabilities: Any) -> Any:
    return audit.detect.disagreement(y, probabilities, probabilities)


CASES: dict[str, Case] = {
    "graphnoise.audit.detect.disagreement": Case(_disagreement, lambda: {"y": y(), "probabilities": probabilities()}),
    "graphnoise.Audit": Case(
        _audit,
        lambda: {"graph": data().edge_index, "y": data().y, "x": data().x, "posterior": _posterior()},
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
    "graphnoise.audit.label_posterior": Case(
        audit.label_posterior, lambda: {"graph": karate(), "y": y(), "x": few()}, ("transition", "seed")
    ),
    "graphnoise.audit.crossfit": Case(
        audit.crossfit, lambda: {"graph": karate(), "y": y(), "x": few(), "folds": 2}, ("model", "seed")
    ),
    **{
        f"graphnoise.audit.detect.{name}": Case(getattr(audit.detect, name), arguments, more)
        for name, arguments, more in (
            ("self_confidence", lambda: {"probabilities": probabilities(), "y": y()}, ()),
            ("normalised_margin", lambda: {"probabilities": probabilities(), "y": y()}, ()),
            ("loss_mixture", lambda: {"probabilities": probabilities(), "y": y()}, ()),
            ("adjusted_margin", lambda: {"probabilities": probabilities(), "y": y()}, ()),
            ("strata", lambda: {"credibility": few(34, 1)[:, 0], "wrong": y().bool(), "bins": 3}, ()),
            ("linear_separation", lambda: {"embeddings": few(), "probabilities": probabilities(), "y": y()}, ()),
            ("oscillation", lambda: {"history": [probabilities(), probabilities()], "y": y()}, ()),
            ("confidence_drop", lambda: {"before": probabilities(), "after": probabilities(), "y": y()}, ()),
            ("class_onset", lambda: {"history": [probabilities()] * 5, "y": y()}, ()),
            (
                "neighbour_credibility",
                lambda: {"graph": karate(), "y": y(), "x": few(), "num_neighbours": 3},
                ("view", "lift"),
            ),
            ("neighbour_agreement", lambda: {"graph": karate(), "y": y()}, ()),
            ("label_propagation", lambda: {"graph": karate(), "y": y(), "num_steps": 3}, ("alpha",)),
            ("influence_contradiction", lambda: {"graph": karate(), "y": y()}, ("alpha", "per_class")),
            (
                "graphcleaner",
                lambda: {"graph": karate(), "probabilities": probabilities(), "y": y()},
                ("hops", "rate", "seed"),
            ),
            ("graph_gp", lambda: {"graph": karate(), "y": y(), "x": few()}, ("seed",)),
            ("posterior", lambda: {"graph": karate(), "y": y(), "x": few()}, ("seed",)),
        )
    },
}

"""Cases of label noise."""

from typing import Any

from graphnoise import noise
from tests.fuzz.cases.inputs import Case, arcs, clicks, data, few, probabilities, y


def _label_noise(**settings: Any) -> Any:
    return noise.LabelNoise(**settings)(data().clone())


def _classes(**more: Any) -> dict[str, Any]:
    return {"num_classes": 3, "rate": 0.2, **more}


def _noisy(**more: Any) -> dict[str, Any]:
    return {"y": y(), "rate": 0.2, "seed": 0, **more}


def _loss(**more: Any) -> dict[str, Any]:
    return {"logits": few(), "noisy": y(), "transition": noise.symmetric(2, 0.2), "reduction": "mean", **more}


N = "graphnoise.noise."
CASES: dict[str, Case] = {
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
    N + "anchor_points": Case(noise.anchor_points, lambda: {"probabilities": probabilities()}),
    N + "confident_joint": Case(noise.confident_joint, lambda: {"probabilities": probabilities(), "noisy": y()}),
    N + "confident_errors": Case(
        noise.confident_errors, lambda: {"probabilities": probabilities(), "noisy": y(), "rule": "both"}
    ),
    N + "dual_transition": Case(
        noise.dual_transition, lambda: {"probabilities": probabilities(), "noisy": y(), "smoothing": 1.0}
    ),
    N + "expectation_maximisation": Case(
        noise.expectation_maximisation, lambda: {"probabilities": probabilities(), "noisy": y(), "smoothing": 1.0}
    ),
    N + "transition_from_joint": Case(
        noise.transition_from_joint, lambda: {"joint": [[8, 2], [1, 3]], "noisy": [0, 1, 1], "smoothing": 1.0}
    ),
    N + "backward_correction": Case(noise.backward_correction, _loss),
    N + "forward_correction": Case(noise.forward_correction, _loss),
    N + "importance_reweighting": Case(noise.importance_reweighting, lambda: _loss(detach=True)),
    N + "cascade": Case(noise.cascade, lambda: _noisy(edge_index=arcs(), probability=0.3)),
    N + "tree_propagated": Case(noise.tree_propagated, lambda: _noisy(edge_index=arcs())),
    N + "structure_dependent": Case(noise.structure_dependent, lambda: _noisy(edge_index=arcs())),
    N + "confidence_dependent": Case(noise.confidence_dependent, lambda: _noisy(probabilities=probabilities())),
    N + "feature_dependent": Case(noise.feature_dependent, lambda: _noisy(x=few())),
    N + "erase_stream": Case(noise.erase_stream, lambda: _noisy(kind="asymmetric", num_classes=2)),
    N + "flip_interactions": Case(
        noise.flip_interactions, lambda: {"matrix": clicks(), "false_positive_rate": 0.2, "false_negative_rate": 0.1}
    ),
    N + "flip_membership": Case(
        noise.flip_membership, lambda: {"members": [0, 1], "num_nodes": 6, "a1": 0.5, "a0": 0.75, "seed": 0}
    ),
    N + "label_f1": Case(noise.label_f1, lambda: {"a1": 0.9, "a0": 0.8, "k": 5, "n": 20}),
}

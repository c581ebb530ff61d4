"""Label noise: inject it, describe it by a transition matrix, estimate that matrix, correct a loss for it.

Orientation everywhere: T[i, j] = P(observed j | true i), rows sum to 1. Randomness is always an argument.
"""

from graphnoise.noise.binary import NoisyInteractions, flip_interactions, flip_membership, label_f1
from graphnoise.noise.confident import confident_errors
from graphnoise.noise.correct import backward_correction, forward_correction, importance_reweighting
from graphnoise.noise.estimate import (
    Estimate,
    anchor_points,
    confident_joint,
    dual_transition,
    expectation_maximisation,
    transition_from_joint,
)
from graphnoise.noise.graph_noise import cascade, tree_propagated
from graphnoise.noise.instance import confidence_dependent, feature_dependent, structure_dependent
from graphnoise.noise.noisy_labels import NoisyLabels
from graphnoise.noise.published_stream import erase_stream
from graphnoise.noise.transforms import LabelNoise
from graphnoise.noise.transition import (
    Transition,
    asymmetric,
    from_counts,
    from_mapping,
    identity,
    pair,
    random,
    symmetric,
)

__all__ = [
    "Estimate",
    "LabelNoise",
    "NoisyInteractions",
    "NoisyLabels",
    "Transition",
    "anchor_points",
    "asymmetric",
    "backward_correction",
    "cascade",
    "confidence_dependent",
    "confident_errors",
    "confident_joint",
    "dual_transition",
    "erase_stream",
    "expectation_maximisation",
    "feature_dependent",
    "flip_interactions",
    "flip_membership",
    "forward_correction",
    "from_counts",
    "from_mapping",
    "identity",
    "importance_reweighting",
    "label_f1",
    "pair",
    "random",
    "structure_dependent",
    "symmetric",
    "transition_from_joint",
    "tree_propagated",
]

"""Detectors of wrong labels: a credibility in [0, 1] (1: surely right) of each labelled node.

All return float64, shape [num_labelled], in the order of the labelled nodes' positions. Nodes whose label is -1, NaN or
None have none.

Probabilities of a model should be out of sample, as of `graphnoise.audit.crossfit`: a model that has seen a label, in
its loss, as an input or by propagation, finds it right, and no function here can tell that it has. Detectors that
compare nodes with their neighbours (`neighbour_agreement`, `neighbour_credibility`, `label_propagation`,
`influence_contradiction`) take errors to be static, see `graphnoise.noise.tree_propagated`.
"""

from graphnoise.audit.detect.ensemble import disagreement, strata, vote_shares
from graphnoise.audit.detect.graphcleaner import graphcleaner
from graphnoise.audit.detect.models import graph_gp, posterior
from graphnoise.audit.detect.nearest import neighbour_credibility
from graphnoise.audit.detect.neighbours import influence_contradiction, label_propagation, neighbour_agreement
from graphnoise.audit.detect.probabilities import (
    adjusted_margin,
    loss_mixture,
    normalised_margin,
    rank_average,
    self_confidence,
)
from graphnoise.audit.detect.training import class_onset, confidence_drop, linear_separation, oscillation

__all__ = [
    "adjusted_margin",
    "class_onset",
    "confidence_drop",
    "disagreement",
    "graph_gp",
    "graphcleaner",
    "influence_contradiction",
    "label_propagation",
    "linear_separation",
    "loss_mixture",
    "neighbour_agreement",
    "neighbour_credibility",
    "normalised_margin",
    "oscillation",
    "posterior",
    "rank_average",
    "self_confidence",
    "strata",
    "vote_shares",
]

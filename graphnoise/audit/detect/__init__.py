"""Detectors of wrong labels: a credibility in [0, 1] (1: surely right) of each labelled node.

All return float64, shape [num_labelled], in the order of the labelled nodes' positions. Nodes whose label is -1, NaN or
None have none. Probabilities of a model should be out of sample, as of `graphnoise.audit.crossfit`.
"""

from graphnoise.audit.detect.graphcleaner import graphcleaner
from graphnoise.audit.detect.models import graph_gp, posterior
from graphnoise.audit.detect.neighbours import influence_contradiction, label_propagation, neighbour_agreement
from graphnoise.audit.detect.probabilities import loss_mixture, normalised_margin, rank_average, self_confidence

__all__ = [
    "graph_gp",
    "graphcleaner",
    "influence_contradiction",
    "label_propagation",
    "loss_mixture",
    "neighbour_agreement",
    "normalised_margin",
    "posterior",
    "rank_average",
    "self_confidence",
]

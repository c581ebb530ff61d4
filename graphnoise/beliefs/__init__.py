"""Class posteriors of nodes from noisy labels and edges: belief propagation with learnt affinities and label errors."""

from graphnoise.beliefs.posterior import LabelPosterior, label_posterior

__all__ = ["LabelPosterior", "label_posterior"]

"""Audit of the given labels of a graph's nodes: which are wrong, what instead, and how sure."""

from graphnoise.audit.posterior import LabelPosterior, label_posterior

__all__ = ["LabelPosterior", "label_posterior"]

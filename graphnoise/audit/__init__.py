"""Audit of the given labels of a graph's nodes: which are wrong, what instead, and how sure."""

from graphnoise.audit import detect
from graphnoise.audit.out_of_fold import crossfit
from graphnoise.audit.posterior import LabelPosterior, label_posterior

__all__ = ["LabelPosterior", "crossfit", "detect", "label_posterior"]

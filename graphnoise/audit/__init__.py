"""Audit of the given labels of a graph's nodes: which are wrong, what instead, and how sure."""

from graphnoise.audit import detect
from graphnoise.audit.audit import Audit
from graphnoise.audit.correction import correct
from graphnoise.audit.likelihood_ratio import NoiseTest, noise_test
from graphnoise.audit.out_of_fold import crossfit
from graphnoise.audit.posterior import LabelPosterior, label_posterior

__all__ = ["Audit", "LabelPosterior", "NoiseTest", "correct", "crossfit", "detect", "label_posterior", "noise_test"]

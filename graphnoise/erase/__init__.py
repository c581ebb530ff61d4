"""ERASE, an estimator with error-resilient representations on graphs, and its parts as functions."""

from graphnoise.erase.labels import class_means, denoise, fuse, prototype_labels
from graphnoise.erase.model import ERASE
from graphnoise.erase.probe import Probe
from graphnoise.erase.settings import PRESETS, Settings
from graphnoise.erase.train import CollapseWarning
from graphnoise.homophily import HeterophilyWarning

__all__ = [
    "ERASE",
    "PRESETS",
    "CollapseWarning",
    "HeterophilyWarning",
    "Probe",
    "Settings",
    "class_means",
    "denoise",
    "fuse",
    "prototype_labels",
]

"""ERASE: error-resilient representations on graphs, and its parts as functions."""

from .labels import class_means, denoise, fuse, prototype_labels
from .model import ERASE
from .probe import Probe
from .settings import PRESETS, Settings
from .train import CollapseWarning

__all__ = [
    "ERASE",
    "PRESETS",
    "CollapseWarning",
    "Probe",
    "Settings",
    "class_means",
    "denoise",
    "fuse",
    "prototype_labels",
]

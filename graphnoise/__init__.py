"""Learning with wrong labels on graphs: noise models, propagation, robust training and an honest benchmark."""

from importlib.metadata import version

from . import datasets, noise
from ._check import DataError, GraphnoiseError, InputError
from .graph import Graph
from .propagation import LabelPropagation, Propagation, propagate

__version__ = version("graphnoise")

__all__ = [
    "DataError",
    "Graph",
    "GraphnoiseError",
    "InputError",
    "LabelPropagation",
    "Propagation",
    "datasets",
    "noise",
    "propagate",
]

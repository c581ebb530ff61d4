"""Learning with wrong labels on graphs: noise models, propagation, robust training and an honest benchmark."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .errors import DataError, GraphnoiseError, InputError

if TYPE_CHECKING:
    from . import datasets, nn, noise
    from .graph import Graph
    from .propagation import LabelPropagation, Propagation, propagate

__version__ = version("graphnoise")

# Loaded at first use: torch and torch_geometric take seconds, and `graphnoise --help` needs neither.
_HOMES = {
    "Graph": "graph",
    "LabelPropagation": "propagation",
    "Propagation": "propagation",
    "propagate": "propagation",
}
_MODULES = ("datasets", "nn", "noise")

__all__ = [
    "DataError",
    "Graph",
    "GraphnoiseError",
    "InputError",
    "LabelPropagation",
    "Propagation",
    "datasets",
    "nn",
    "noise",
    "propagate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        globals()[name] = found = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return found
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

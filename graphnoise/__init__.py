"""Learning with wrong labels on graphs: noise models, propagation, robust training and an honest benchmark."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from graphnoise.errors import DataError, GraphnoiseError, InputError

if TYPE_CHECKING:
    from graphnoise import clustering, datasets, erase, nn, noise
    from graphnoise.coding_rates import CodingRateReduction, coding_rate, coding_rate_reduction, effective_rank
    from graphnoise.erase import ERASE
    from graphnoise.graph import Graph
    from graphnoise.propagation import LabelPropagation, Propagation, propagate

__version__ = version("graphnoise")

# Loaded at first use: torch and torch_geometric take seconds, and `graphnoise --help` needs neither.
_HOMES = {
    "CodingRateReduction": "coding_rates",
    "ERASE": "erase",
    "Graph": "graph",
    "LabelPropagation": "propagation",
    "Propagation": "propagation",
    "coding_rate": "coding_rates",
    "coding_rate_reduction": "coding_rates",
    "effective_rank": "coding_rates",
    "propagate": "propagation",
}
_MODULES = ("clustering", "datasets", "erase", "nn", "noise")

__all__ = [
    "ERASE",
    "CodingRateReduction",
    "DataError",
    "Graph",
    "GraphnoiseError",
    "InputError",
    "LabelPropagation",
    "Propagation",
    "clustering",
    "coding_rate",
    "coding_rate_reduction",
    "datasets",
    "effective_rank",
    "erase",
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

"""Learning with wrong labels on graphs: noise models, propagation, robust training, clustering and benchmarks."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from graphnoise.errors import DataError, GraphnoiseError, InputError

if TYPE_CHECKING:
    from graphnoise import audit, budget, clustering, datasets, erase, nn, noise, plot, reports, robust
    from graphnoise.audit import Audit
    from graphnoise.coding_rates import CodingRateReduction, coding_rate, coding_rate_reduction, effective_rank
    from graphnoise.containers import as_graph
    from graphnoise.correct_and_smooth import CorrectAndSmooth
    from graphnoise.erase import ERASE
    from graphnoise.errors import NotFittedError
    from graphnoise.graph import Graph
    from graphnoise.propagation import LabelPropagation, Propagation, propagate

__version__ = version("graphnoise")

# Module of each name, loaded on first use: torch and torch_geometric take seconds, `graphnoise --help` needs neither.
_MODULE_OF = {
    "Audit": "audit",
    "CodingRateReduction": "coding_rates",
    "CorrectAndSmooth": "correct_and_smooth",
    "ERASE": "erase",
    "Graph": "graph",
    "LabelPropagation": "propagation",
    "NotFittedError": "errors",
    "Propagation": "propagation",
    "as_graph": "containers",
    "coding_rate": "coding_rates",
    "coding_rate_reduction": "coding_rates",
    "effective_rank": "coding_rates",
    "propagate": "propagation",
}
_MODULES = ("audit", "budget", "clustering", "datasets", "erase", "nn", "noise", "plot", "reports", "robust")

__all__ = [
    "ERASE",
    "Audit",
    "CodingRateReduction",
    "CorrectAndSmooth",
    "DataError",
    "Graph",
    "GraphnoiseError",
    "InputError",
    "LabelPropagation",
    "NotFittedError",
    "Propagation",
    "as_graph",
    "audit",
    "budget",
    "clustering",
    "coding_rate",
    "coding_rate_reduction",
    "datasets",
    "effective_rank",
    "erase",
    "nn",
    "noise",
    "plot",
    "propagate",
    "reports",
    "robust",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

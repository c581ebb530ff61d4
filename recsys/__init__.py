"""Noise-robust recommenders for implicit feedback, on the noise models of `graphnoise`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphnoise.errors import DataError, GraphnoiseError, InputError

if TYPE_CHECKING:
    from recsys.base import Recommender
    from recsys.baselines import Popularity
    from recsys.evaluation import Evaluation, evaluate
    from recsys.interactions import Interactions
    from recsys.significance import Comparison, compare, compare_all

# Loaded at first use, as in `graphnoise`: a name, and the module that has it.
_HOMES = {
    "Comparison": "significance",
    "Evaluation": "evaluation",
    "Interactions": "interactions",
    "Popularity": "baselines",
    "Recommender": "base",
    "compare": "significance",
    "compare_all": "significance",
    "evaluate": "evaluation",
}
_MODULES: tuple[str, ...] = ()

__all__ = [
    "Comparison",
    "DataError",
    "Evaluation",
    "GraphnoiseError",
    "InputError",
    "Interactions",
    "Popularity",
    "Recommender",
    "compare",
    "compare_all",
    "evaluate",
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

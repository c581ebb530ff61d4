"""Noise-robust recommenders for implicit feedback, built on the noise models of `graphnoise`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphnoise.errors import DataError, GraphnoiseError, InputError

if TYPE_CHECKING:
    from recsys import datasets, objectives, samplers, simulation, splits
    from recsys.base import Recommender
    from recsys.build import build_interactions
    from recsys.cleaning import Cleaned, Credibility, clean, credibility
    from recsys.cleaning_gain import CleaningTrial, clean_if_better
    from recsys.click_audit import ClickAudit, audit_clicks
    from recsys.evaluation import Evaluation, evaluate
    from recsys.interactions import Interactions
    from recsys.models.baselines import ALS, EASE, ItemKNN, Popularity
    from recsys.models.lightgcn import LightGCN
    from recsys.models.linear import DenoisingLinear
    from recsys.models.mf import MatrixFactorization
    from recsys.models.neighbours import RP3beta, UserKNN
    from recsys.models.robust import RobustFactorization
    from recsys.models.slim import SLIM
    from recsys.models.spectral import SpectralFilter
    from recsys.models.two_tower import TwoTower
    from recsys.oscillation import rank_changes, replace_partners
    from recsys.significance import Comparison, compare, compare_all
    from recsys.splits import Split
    from recsys.stacking import stacked_credibility

# Names loaded on first use, as in `graphnoise`, and their modules.
_MODULE_OF = {
    "ALS": "models.baselines",
    "Cleaned": "cleaning",
    "CleaningTrial": "cleaning_gain",
    "ClickAudit": "click_audit",
    "Comparison": "significance",
    "Credibility": "cleaning",
    "DenoisingLinear": "models.linear",
    "EASE": "models.baselines",
    "Evaluation": "evaluation",
    "Interactions": "interactions",
    "ItemKNN": "models.baselines",
    "LightGCN": "models.lightgcn",
    "RP3beta": "models.neighbours",
    "RobustFactorization": "models.robust",
    "SLIM": "models.slim",
    "SpectralFilter": "models.spectral",
    "MatrixFactorization": "models.mf",
    "Popularity": "models.baselines",
    "Recommender": "base",
    "Split": "splits",
    "TwoTower": "models.two_tower",
    "UserKNN": "models.neighbours",
    "audit_clicks": "click_audit",
    "build_interactions": "build",
    "clean": "cleaning",
    "clean_if_better": "cleaning_gain",
    "compare": "significance",
    "compare_all": "significance",
    "credibility": "cleaning",
    "evaluate": "evaluation",
    "rank_changes": "oscillation",
    "replace_partners": "oscillation",
    "stacked_credibility": "stacking",
}
_MODULES = ("datasets", "objectives", "simulation", "samplers", "splits")

__all__ = [
    "ALS",
    "EASE",
    "SLIM",
    "Cleaned",
    "CleaningTrial",
    "ClickAudit",
    "Comparison",
    "Credibility",
    "DataError",
    "DenoisingLinear",
    "Evaluation",
    "GraphnoiseError",
    "InputError",
    "Interactions",
    "ItemKNN",
    "LightGCN",
    "MatrixFactorization",
    "Popularity",
    "RP3beta",
    "Recommender",
    "RobustFactorization",
    "SpectralFilter",
    "Split",
    "TwoTower",
    "UserKNN",
    "audit_clicks",
    "build_interactions",
    "clean",
    "clean_if_better",
    "compare",
    "compare_all",
    "credibility",
    "datasets",
    "evaluate",
    "objectives",
    "rank_changes",
    "replace_partners",
    "samplers",
    "simulation",
    "splits",
    "stacked_credibility",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        globals()[name] = value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        return value
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

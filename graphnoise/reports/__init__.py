"""Evaluation reports: rank stability, exchange rate, quantity against quality, memorisation, tables of subsets."""

from graphnoise.reports.exchange_rate import ExchangeRate, exchange_rate, expected_exchange_rate
from graphnoise.reports.frontier import Frontier, confident_targets, draw_labelled, frontier, pareto, purchases
from graphnoise.reports.inputs import collect_runs
from graphnoise.reports.memorisation import label_influence, memorisation, memorisation_groups, memorisation_runs
from graphnoise.reports.pruning import PruningCurve, pruning_curve
from graphnoise.reports.rank_stability import RankStability, rank_stability
from graphnoise.reports.subsets import selection_table

__all__ = [
    "ExchangeRate",
    "Frontier",
    "PruningCurve",
    "RankStability",
    "collect_runs",
    "confident_targets",
    "draw_labelled",
    "exchange_rate",
    "expected_exchange_rate",
    "frontier",
    "label_influence",
    "memorisation",
    "memorisation_groups",
    "memorisation_runs",
    "pareto",
    "pruning_curve",
    "purchases",
    "rank_stability",
    "selection_table",
]

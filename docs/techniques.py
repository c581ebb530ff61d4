"""Catalogue of techniques of the wider label-noise literature; writes techniques.md.

python docs/techniques.py            # writes docs/techniques.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from graphnoise.statistics import compare_draws

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "techniques.md"
# Techniques that carry over to graphs, by the number of their paper among those that were read.
NUMBERS = (
    *(1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 18, 19, 20, 21, 22, 25, 26, 27, 28, 30, 31, 32, 33, 34, 36, 38),
    *(41, 42, 43, 44, 45, 46, 49),
)
FIELDS = ("number", "paper", "name", "where", "tier", "assumes", "helps", "harms", "cost", "test")
ROBUST = {"record": "robust-training", "against": "ce", "measure": "test_accuracy"}

# A record per technique; `effect` says which rows of a committed record show it.
TECHNIQUES: list[dict[str, Any]] = [
    {
        "number": 1,
        "paper": "Early-Learning Regularization",
        "name": "`elr`",
        "where": "graphnoise.robust.methods.losses.ELR",
        "tier": "A",
        "assumes": "right labels are learned before wrong ones",
        "helps": "long training on many labels",
        "harms": "few labels: wrong ones are learned in the first epochs, and the mean of predictions keeps them",
        "cost": "a running mean of n × C numbers",
        "test": "tests/robust/test_loss_methods.py::test_elr_updates_its_memory_before_use",
        "effect": {**ROBUST, "row": "elr"},
    },
    {
        "number": 8,
        "paper": "Boosting Co-teaching with Compression Regularization",
        "name": "`nested-dropout`",
        "where": "graphnoise.robust.methods.nested_dropout.NestedDropout",
        "tier": "A",
        "assumes": "wrong labels need more dimensions of the embedding than right ones",
        "helps": "wide embeddings; vectors that are cut short",
        "harms": "small widths, where every dimension is needed",
        "cost": "none beyond that of training",
        "test": "tests/robust/test_loss_methods.py::test_nested_dropout_draws_one_width_per_step",
        "effect": {**ROBUST, "row": "nested-dropout"},
    },
    {
        "number": 8,
        "paper": "Boosting Co-teaching with Compression Regularization",
        "name": "`co-teaching`",
        "where": "graphnoise.robust.methods.two_networks.CoTeaching",
        "tier": "A",
        "assumes": "wrong labels have large losses within their class, and their share is known or can be estimated",
        "helps": "many labels to choose from: training and validation labels together",
        "harms": "few labels, of which it leaves out right ones too",
        "cost": "two networks",
        "test": "tests/robust/test_two_networks.py::test_a_rate_of_zero_is_two_plain_runs",
        "effect": {**ROBUST, "row": "co-teaching"},
    },
    {
        "number": 15,
        "paper": "Distilling the Knowledge in Data Pruning",
        "name": "`prune-distil`, `gn.reports.pruning_curve`",
        "where": "graphnoise.robust.methods.prune_distil.PruneDistil",
        "tier": "A",
        "assumes": "a teacher that has learned from all labels knows more than the labels that are kept",
        "helps": "few kept labels, or many wrong ones: then with a large weight of the teacher",
        "harms": "most labels kept and right: the teacher adds its bias",
        "cost": "a second network, trained before",
        "test": "tests/robust/test_prune_distil.py::test_the_teacher_has_learned_from_all_labels_and_stays",
    },
    {
        "number": 18,
        "paper": "Pervasive Label Errors in Test Sets",
        "name": "`gn.reports.rank_stability`, `graphnoise report rank-stability`",
        "where": "graphnoise.reports.rank_stability.rank_stability",
        "tier": "A",
        "assumes": "some test labels are known to be wrong, and their corrections are right",
        "helps": "the choice between models that follow wrong labels and models that do not",
        "harms": "little: with few wrong test labels its intervals are wide",
        "cost": "seconds",
        "test": "tests/reports/test_rank_stability.py::test_two_models_change_order_at_one_sixth",
    },
    {
        "number": 18,
        "paper": "Pervasive Label Errors in Test Sets",
        "name": "`confident-learning`",
        "where": "graphnoise.robust.methods.correction.ConfidentLearning",
        "tier": "A",
        "assumes": "noise depends on the class; out-of-fold probabilities are calibrated up to class means",
        "helps": "many labels, symmetric noise",
        "harms": "pair noise near one half, and classes with few labels in a fold",
        "cost": "five fits of SGC",
        "test": "tests/robust/test_correction.py::test_confident_learning_leaves_out_wrong_labels",
        "effect": {**ROBUST, "row": "confident-learning"},
    },
    {
        "number": 25,
        "paper": "Robust Active Distillation",
        "name": "`gn.budget.robust_query`",
        "where": "graphnoise.budget.robust_query",
        "tier": "A",
        "assumes": "the share of right answers is known, and wrong ones may be anywhere",
        "helps": "queries of a teacher or of annotators who err",
        "harms": "where answers are right, it spreads queries that should go to the largest gains",
        "cost": "a sort",
        "test": "tests/test_budget.py::test_no_distribution_is_better_in_the_worst_case",
    },
    {
        "number": 30,
        "paper": "Balancing Label Quantity and Quality",
        "name": "`gn.reports.frontier`, `graphnoise report frontier`",
        "where": "graphnoise.reports.frontier.frontier",
        "tier": "A",
        "assumes": "costs per label, and runs at each mix of noisy and clean labels",
        "helps": "plans of annotation",
        "harms": "regimes that differ by less than their intervals are no regimes: see p",
        "cost": "that of its runs",
        "test": "tests/reports/test_frontier.py::test_the_pareto_set_of_six_points_keeps_ties_once",
    },
    {
        "number": 34,
        "paper": "How Much is a Noisy Image Worth?",
        "name": "`gn.reports.exchange_rate`, `graphnoise report exchange-rate`",
        "where": "graphnoise.reports.exchange_rate.exchange_rate",
        "tier": "A",
        "assumes": "the error falls as a power of one count, to which a noisy label adds a constant",
        "helps": "one number for how much a source of labels is worth",
        "harms": "where errors do not fall with labels, or counts have one ratio, nothing is identified (it says so)",
        "cost": "that of its runs",
        "test": "tests/reports/test_exchange_rate.py::test_a_planted_worth_is_recovered",
    },
    {
        "number": 38,
        "paper": "ALIGN: noisy text supervision",
        "name": "`recsys.TwoTower`",
        "where": "recsys.models.two_tower.TwoTower",
        "tier": "A",
        "assumes": "other items of a batch are not liked, after correction for their popularity",
        "helps": "many clicks, of which few are false; items with features",
        "harms": "small catalogues, where batches are full of false negatives",
        "cost": "a softmax over each batch",
        "test": "tests/recsys/test_two_tower.py::test_a_step_is_the_softmax_over_the_batch",
    },
    {
        "number": 42,
        "paper": "Rethinking Dataset Compression",
        "name": "`gn.reports.selection_table`",
        "where": "graphnoise.reports.subsets.selection_table",
        "tier": "A",
        "assumes": "nothing",
        "helps": "tables of pruning and distillation: those without random subsets and hard labels are refused",
        "harms": "nothing",
        "cost": "the runs of random subsets",
        "test": "tests/reports/test_subsets.py::test_a_random_subset_of_equal_size_labels_and_steps_is_required",
    },
    {
        "number": 44,
        "paper": "Does Learning Require Memorization?",
        "name": "`gn.reports.memorisation`, `graphnoise report memorisation`",
        "where": "graphnoise.reports.memorisation.memorisation",
        "tier": "B",
        "assumes": "runs that see random parts of the labels",
        "helps": "which labels only fit themselves: wrong ones, and those of rare nodes",
        "harms": "wrong labels and rare nodes look alike: look at groups",
        "cost": "hundreds of runs",
        "test": "tests/reports/test_memorisation.py::test_a_nearest_neighbour_memorises_the_only_member_of_a_class",
    },
    {
        "number": 46,
        "paper": "LSA: accurate detection is not enough",
        "name": "`gn.audit.detect.loss_mixture`",
        "where": "graphnoise.audit.detect.loss_mixture",
        "tier": "A",
        "assumes": "losses of right and of wrong labels are two normal distributions",
        "helps": "many labels and a network that has not yet learned the wrong ones",
        "harms": "few labels; classes of unlike losses, unless these are centred",
        "cost": "one fit in one dimension",
        "test": "tests/audit/test_detect.py::test_the_mixture_decreases_with_the_loss_and_finds_two_groups",
        "effect": {
            "record": "detection",
            "row": "loss-mixture",
            "against": "self-confidence",
            "measure": "auroc",
            "grid": "cora",
        },
    },
    {
        "number": 49,
        "paper": "Labeling Instruction Generation",
        "name": "`gn.budget.exemplars`",
        "where": "graphnoise.budget.exemplars",
        "tier": "C",
        "assumes": "embeddings in which nodes of a class lie together",
        "helps": "those who look at labels again",
        "harms": "embeddings of a network that has learned wrong labels",
        "cost": "a matrix of the nodes of one class",
        "test": "tests/test_budget.py::test_two_sub_clusters_are_both_represented",
    },
]


def effect(technique: Mapping[str, Any], folder: Path = TOP / "benchmarks" / "results") -> list[str]:
    """Return lines with the difference of two rows of a record, in points, paired by draw; none without a record.

    A technique's `effect` holds record, row, against and measure, and grid where a record has several.
    """
    if not (asked := technique.get("effect")):
        return []
    table = pd.read_csv(folder / f"{asked['record']}.csv", low_memory=False)
    if "grid" in asked:
        table = table[table["grid"] == asked["grid"]]
    lines = []
    for (dataset, kind, rate), cells in table.groupby(["dataset", "noise", "rate"], sort=True):
        values = {}
        for row in (asked["row"], asked["against"]):
            own = cells[cells["row"] == row].dropna(subset=[asked["measure"]])
            values[row] = {int(draw): list(part[asked["measure"]]) for draw, part in own.groupby("draw")}
        for compared in compare_draws(values) if all(values.values()) else []:
            half = "" if compared.half_width is None else f" ± {100 * compared.half_width:.1f}"
            noise = "no noise" if kind == "none" else f"{kind} {rate:g}"
            lines.append(f"{dataset}, {noise}: {100 * compared.difference:+.1f}{half} ({compared.pairs} draws)")
    return lines


def check(techniques: list[dict[str, Any]]) -> None:
    """Raise ValueError for a record that lacks a field, has another number, or stands twice."""
    seen = set()
    for technique in techniques:
        missing = [field for field in FIELDS if not technique.get(field)]
        if missing or technique["number"] not in NUMBERS or technique["tier"] not in "ABC":
            raise ValueError(f"{technique.get('name')}: {', '.join(missing) or 'number or tier'}")
        key = (technique["number"], technique["name"])
        if key in seen:
            raise ValueError(f"{key}: twice")
        seen.add(key)


def page(techniques: list[dict[str, Any]] = TECHNIQUES) -> str:
    """Return the text of techniques.md."""
    check(techniques)
    ordered = sorted(techniques, key=lambda technique: (technique["number"], technique["name"]))
    covered = {technique["number"] for technique in ordered}
    missing = ", ".join(f"#{number}" for number in NUMBERS if number not in covered)
    lines = [
        "# Techniques from the wider label-noise literature",
        "",
        (
            "Written by `python docs/techniques.py`; edit that file. Of 49 papers on wrong labels in other fields, "
            f"{len(NUMBERS)} have a technique that carries over"
        ),
        f"to graphs or clicks; {len(covered)} of them are here, with {len(ordered)} techniques"
        + (f" (not here: {missing})." if missing else "."),
        "Where a docstring says “in the spirit of”, the text of the paper was not available,",
        "and formula and defaults are of this package.",
        "",
        "| # | technique | paper | tier |",
        "|---|---|---|---|",
    ]
    lines += [f"| {t['number']} | {t['name']} | {t['paper']} | {t['tier']} |" for t in ordered]
    for technique in ordered:
        lines += ["", f"## {technique['name']} (#{technique['number']})", "", f"*{technique['paper']}.*", ""]
        for field in ("assumes", "helps", "harms", "cost"):
            word = {"helps": "helps with", "harms": "harms with"}.get(field, field)
            lines.append(f"- {word}: {technique[field]}")
        lines += [f"- where: `{technique['where']}`", f"- test: `{technique['test']}`"]
        if measured := effect(technique):
            asked = technique["effect"]
            record = f"[{asked['record']}.csv](../benchmarks/results/{asked['record']}.csv)"
            what = asked["measure"].replace("_", " ")
            lines.append(
                f"- measured: {what} of `{asked['row']}` minus that of `{asked['against']}`, in points, ± half a 95 % "
                f"interval, {record}: {'; '.join(measured)}"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

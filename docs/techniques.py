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
TRAINED = {"record": "techniques", "against": "ce", "measure": "test_accuracy"}
ROBUST = {"record": "robust-training", "against": "ce", "measure": "test_accuracy"}

# What the record says as a whole.
SUMMARY = (
    "Measured on Cora alone, noise .3 on training and validation labels, three draws, default settings",
    "([suite](../benchmarks/suites/techniques.toml)): after Holm's correction, `confident-learning` (+7.0) and",
    "`prune-distil` (+4.4) are better than cross-entropy under symmetric noise; `quality-conditioning` is far",
    "worse under pair noise (-37). No other difference is significant; the largest are gains of",
    "`adaptive-smoothing`, `nat`, `blend` and `co-teaching` (+3 to +4, symmetric), and losses of `kernel-labels`",
    "(-19), `multi-teacher`, `class-gaussians`, `label-assisted` and `relabel` (-7 to -8). `nmtune` is not",
    "measured.",
)

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
    {
        "number": 3,
        "paper": "Positive Label Is All You Need, Yuan et al. 2024",
        "name": "`pu`",
        "where": "graphnoise.robust.methods.set_losses.PositiveUnlabelled",
        "tier": "A",
        "assumes": "given positives are right, others unlabelled",
        "helps": "missing labels, implicit feedback",
        "harms": "wrong positives; tiny batches",
        "cost": "a second pass for mixup",
        "test": "tests/robust/test_set_losses.py::test_pu_is_that_of_all_rows_and_none_of_its_wrong_versions",
        "effect": {**TRAINED, "row": "pu"},
    },
    {
        "number": 7,
        "paper": "Unsupervised Data Augmentation, Xie et al. 2020",
        "name": "`consistency`",
        "where": "graphnoise.robust.methods.consistency.Consistency",
        "tier": "A",
        "assumes": "predictions survive lost arcs and features; annealing of the training signal: trusted labels",
        "helps": "few labels, many unlabelled nodes",
        "harms": "sure wrong predictions; annealing on wrong labels (refused)",
        "cost": "one more pass per view",
        "test": "tests/robust/test_consistency.py::test_thresholds_of_annealing",
        "effect": {**TRAINED, "row": "consistency"},
    },
    {
        "number": 8,
        "paper": "Boosting Co-teaching with Compression Regularization, Chen et al. 2021",
        "name": "`nested-co-teaching`",
        "where": "graphnoise.robust.methods.nested_dropout.NestedCoTeaching",
        "tier": "A",
        "assumes": "small losses are right labels; first dimensions suffice",
        "helps": "many noisy labels; vectors cut at serving",
        "harms": "few labels",
        "cost": "two networks",
        "test": "tests/robust/test_nested_co_teaching.py::test_dimensions_are_kept_with_the_published_probabilities",
        "effect": {**TRAINED, "row": "nested-co-teaching"},
    },
    {
        "number": 36,
        "paper": "SimCLRv2, Chen et al. 2020 (in the spirit of)",
        "name": "`pretrain-distil`",
        "where": "graphnoise.robust.methods.pretraining.PretrainDistil",
        "tier": "A",
        "assumes": "graph and features tell classes without labels",
        "helps": "few labels; a small student",
        "harms": "few epochs; uninformative graph",
        "cost": "two more passes while pre-training",
        "test": "tests/robust/test_pretraining.py::test_pre_training_reads_no_label",
        "effect": {**TRAINED, "row": "pretrain-distil"},
    },
    {
        "number": 45,
        "paper": "Value of Labels, Yang and Xu 2020; LDAM, Cao et al. 2019",
        "name": "`ldam`",
        "where": "graphnoise.robust.methods.set_losses.Margin",
        "tier": "B",
        "assumes": "sizes of classes are known",
        "helps": "unequal classes",
        "harms": "wrong labels of rare classes",
        "cost": "n × C × C numbers of a batch",
        "test": "tests/robust/test_set_losses.py::test_margins_are_larger_for_rare_classes",
        "effect": {**TRAINED, "row": "ldam"},
    },
    {
        "number": 33,
        "paper": "COMIC, Zhang et al. 2023",
        "name": "`gn.robust.losses.balanced_focal`",
        "where": "graphnoise.robust.losses.balanced_focal",
        "tier": "B",
        "assumes": "positives are missing, not wrong",
        "helps": "multi-label rows with a long tail",
        "harms": "one class per row",
        "cost": "none",
        "test": "tests/robust/test_set_losses.py::test_weights_and_easy_negatives_of_the_balanced_focal_loss",
    },
    {
        "number": 31,
        "paper": "ShrinkMatch, Yang et al. 2023",
        "name": "`shrunk-classes`",
        "where": "graphnoise.robust.methods.consistency.ShrunkClasses",
        "tier": "B",
        "assumes": "more than two classes",
        "helps": "unsure unlabelled nodes",
        "harms": "no effect with two classes; small with few steps",
        "cost": "one more pass, one head",
        "test": "tests/robust/test_consistency.py::test_shrunk_classes_of_a_row",
        "effect": {**TRAINED, "row": "shrunk-classes"},
    },
    {
        "number": 11,
        "paper": "Label Noise in Pre-training, Chen et al. 2024",
        "name": "`nmtune`",
        "where": "graphnoise.robust.methods.frozen_embeddings.NMTune",
        "tier": "B",
        "assumes": "good embeddings exist before",
        "helps": "fixed embeddings with a poor spectrum",
        "harms": "embeddings that must change",
        "cost": "a pass and a singular value decomposition of 256 rows",
        "test": "tests/robust/test_schemes.py::test_terms_of_embeddings",
    },
    {
        "number": 10,
        "paper": "Noise-aware captioning (NoC), Kang et al. 2023",
        "name": "`quality-conditioning`",
        "where": "graphnoise.robust.methods.conditioning.QualityConditioning",
        "tier": "B",
        "assumes": "credibilities rank labels",
        "helps": "most labels wrong, quality known",
        "harms": "uninformative credibilities",
        "cost": "a small head",
        "test": "tests/robust/test_schemes.py::test_the_best_bin_predicts_well_though_most_labels_are_wrong",
        "effect": {**TRAINED, "row": "quality-conditioning"},
    },
    {
        "number": 20,
        "paper": "Label-assisted distillation, Qiu et al. 2024",
        "name": "`label-assisted`",
        "where": "graphnoise.robust.methods.label_input.LabelAssisted",
        "tier": "B",
        "assumes": "neighbours' labels inform",
        "helps": "homophilous graphs",
        "harms": "noise shared by neighbours; mode plain",
        "cost": "a teacher, two passes in the warm-up",
        "test": "tests/robust/test_schemes.py::test_what_the_teacher_says_of_a_label_is_from_a_pass_without_it",
        "effect": {**TRAINED, "row": "label-assisted"},
    },
    {
        "number": 13,
        "paper": "ReLabel, Yun et al. 2021",
        "name": "`relabel`",
        "where": "graphnoise.robust.methods.relabelling.Relabelling",
        "tier": "B",
        "assumes": "the network after the warm-up is better than the labels",
        "helps": "soft targets of sampled subgraphs",
        "harms": "a warm-up that has memorised",
        "cost": "8 passes per batch, or every 10 epochs",
        "test": "tests/robust/test_schemes.py::test_relabelling_fills_other_classes_with_nothing",
        "effect": {**TRAINED, "row": "relabel"},
    },
    {
        "number": 27,
        "paper": "RCAL, Zhang et al. 2023 (in the spirit of)",
        "name": "`class-gaussians`",
        "where": "graphnoise.robust.methods.pretraining.ClassGaussians",
        "tier": "B",
        "assumes": "classes are near Gaussian in a space learned without labels",
        "helps": "unequal classes with clumped wrong labels",
        "harms": "uninformative embeddings",
        "cost": "pre-training, a covariance per class",
        "test": "tests/robust/test_pretraining.py::test_the_trimmed_mean_is_not_drawn_to_a_clump_of_wrong_labels",
        "effect": {**TRAINED, "row": "class-gaussians"},
    },
    {
        "number": 43,
        "paper": "Knowledge Concentration, Gao et al. 2017 (in the spirit of)",
        "name": "`multi-teacher`",
        "where": "graphnoise.robust.methods.several_teachers.SeveralTeachers",
        "tier": "C",
        "assumes": "teachers err differently",
        "helps": "features and graph that inform separately",
        "harms": "one bad teacher late in training",
        "cost": "two more networks in the warm-up",
        "test": "tests/robust/test_schemes.py::test_teachers_enter_by_and_by_and_at_last_all",
        "effect": {**TRAINED, "row": "multi-teacher"},
    },
    {
        "number": 38,
        "paper": "ALIGN, Jia et al. 2021",
        "name": "`symmetric-softmax`",
        "where": "recsys.objectives.SymmetricSoftmax",
        "tier": "A",
        "assumes": "most pairs are right, others of the batch are negatives",
        "helps": "large noisy click logs",
        "harms": "small batches, unmasked positives",
        "cost": "scores of the whole batch",
        "test": "tests/recsys/test_two_tower.py::test_the_symmetric_softmax_masks_false_negatives",
    },
    {
        "number": 19,
        "paper": "Noise in chain of thought (TInt): static and dynamic noise",
        "name": "`propagated`",
        "where": "graphnoise.noise.tree_propagated",
        "tier": "A",
        "assumes": "labels spread inside a class over a forest",
        "helps": "tests of methods on correlated errors",
        "harms": "nothing: a kind of noise",
        "cost": "a pass over the arcs",
        "test": "tests/noise/test_graph_noise.py::test_propagated_noise_flips_whole_trees_up_to_the_rate",
    },
    {
        "number": 19,
        "paper": "Noise in chain of thought (TInt): static and dynamic noise",
        "name": "`recsys.simulation.corrupt(spread=)`",
        "where": "recsys.simulation.corrupt",
        "tier": "A",
        "assumes": "a false click leads to near items",
        "helps": "tests of recommenders on correlated false clicks",
        "harms": "nothing: a kind of noise",
        "cost": "cosines of drawn items, in blocks",
        "test": "tests/recsys/test_simulation.py::test_a_false_click_leads_to_the_items_nearest_to_it",
    },
    {
        "number": 18,
        "paper": "Pervasive Label Errors in Test Sets; Confident learning, Northcutt et al. 2021",
        "name": "`confident-joint`",
        "where": "graphnoise.noise.confident_errors",
        "tier": "A",
        "assumes": "noise depends on the class; out-of-fold probabilities",
        "helps": "class-dependent noise",
        "harms": "in-sample probabilities: it finds nothing",
        "cost": "one cross-fit",
        "test": "tests/audit/test_detect_more.py::test_confident_joint",
    },
    {
        "number": 21,
        "paper": "Are LLMs Better than Reported? (in the spirit of)",
        "name": "`disagreement`",
        "where": "graphnoise.audit.detect.disagreement",
        "tier": "A",
        "assumes": "unlike models, out of sample",
        "helps": "errors that one model shares",
        "harms": "models that err alike",
        "cost": "9 models, 5 folds each",
        "test": "tests/audit/test_detect_more.py::test_ensemble_disagreement",
    },
    {
        "number": 41,
        "paper": "PLMs as Re-Annotators (in the spirit of)",
        "name": "`credibility`",
        "where": "graphnoise.audit.detect.neighbour_credibility",
        "tier": "A",
        "assumes": "static noise; similar nodes share a class",
        "helps": "no training needed",
        "harms": "propagated noise, heterophily",
        "cost": "exact search for the nearest labelled nodes",
        "test": "tests/robust/test_detection.py::test_neighbour_credibility",
    },
    {
        "number": 46,
        "paper": "LSA: accurate detection is not enough (in the spirit of)",
        "name": "`gn.audit.detect.linear_separation`",
        "where": "graphnoise.audit.detect.linear_separation",
        "tier": "A",
        "assumes": "wrong labels are on nodes unlike others",
        "helps": "noise that depends on features, or nodes of no class",
        "harms": "flips that do not depend on the node: it sees none",
        "cost": "one logistic regression",
        "test": "tests/robust/test_detection.py::test_linear_separation",
    },
    {
        "number": 46,
        "paper": "LSA: accurate detection is not enough (in the spirit of)",
        "name": "`lsa`",
        "where": "graphnoise.robust.methods.alternation.LSA",
        "tier": "A",
        "assumes": "a network that has not yet fitted wrong labels after the warm-up",
        "helps": "many labelled nodes",
        "harms": "long warm-ups; clean labels slightly",
        "cost": "3 to 4 times `ce`",
        "test": "tests/robust/test_lsa_adele.py::test_lsa_alternates_and_keeps_weights_of_clean_nodes",
        "effect": {**TRAINED, "row": "lsa"},
    },
    {
        "number": 6,
        "paper": "ADELE, Liu et al. 2022",
        "name": "`adele`",
        "where": "graphnoise.robust.methods.onset.ADELE",
        "tier": "A",
        "assumes": "classes are learned before they are memorised",
        "helps": "classes learned at unlike speeds",
        "harms": "runs too short for a fit: no correction",
        "cost": "under 2 times `ce`",
        "test": "tests/robust/test_lsa_adele.py::test_adele_opens_each_class_at_its_own_onset",
        "effect": {**TRAINED, "row": "adele"},
    },
    {
        "number": 6,
        "paper": "ADELE, Liu et al. 2022",
        "name": "`gn.audit.detect.class_onset`",
        "where": "graphnoise.audit.detect.class_onset",
        "tier": "A",
        "assumes": "an overlap that saturates",
        "helps": "when to stop or correct",
        "harms": "nothing",
        "cost": "one curve fit per class",
        "test": "tests/robust/test_detection.py::test_class_onset",
    },
    {
        "number": 4,
        "paper": "CAPro, Qin et al. 2023",
        "name": "`capro`",
        "where": "graphnoise.robust.methods.prototypes.CAPro",
        "tier": "A",
        "assumes": "attributes tell typical nodes of a class",
        "helps": "symmetric noise",
        "harms": "classes of several clusters",
        "cost": "about 2 times `ce`; cosines of labelled nodes and a bank, in blocks",
        "test": "tests/robust/test_prototypes.py::test_labels_of_other_nodes_leave_prototypes_before_cleaning",
        "effect": {**TRAINED, "row": "capro"},
    },
    {
        "number": 5,
        "paper": "Noise-Aware Training (in the spirit of)",
        "name": "`nat`",
        "where": "graphnoise.robust.methods.NAT",
        "tier": "A",
        "assumes": "sources err independently and have not seen the label",
        "helps": "symmetric noise; several annotators",
        "harms": "sources that share errors",
        "cost": "two cross-fits, then as `ce`",
        "test": "tests/robust/test_sources.py::test_source_confidence_is_the_posterior_of_independent_annotators",
        "effect": {**TRAINED, "row": "nat"},
    },
    {
        "number": 5,
        "paper": "Noise-Aware Training (in the spirit of)",
        "name": "`gn.clustering.graded_weights`",
        "where": "graphnoise.clustering.graded_weights",
        "tier": "A",
        "assumes": "calibrated probabilities of membership",
        "helps": "unsure labels count less",
        "harms": "overconfident probabilities",
        "cost": "a pass over all arcs",
        "test": "tests/clustering/test_graded.py::test_hard_memberships_give_the_weights_of_labels",
    },
    {
        "number": 41,
        "paper": "PLMs as Re-Annotators (in the spirit of)",
        "name": "`kernel-labels`",
        "where": "graphnoise.robust.methods.kernel_labels.KernelLabels",
        "tier": "A",
        "assumes": "static noise; similar nodes share a class",
        "helps": "symmetric noise, with many labels",
        "harms": "propagated noise",
        "cost": "a kernel between labelled nodes, once, in blocks",
        "test": "tests/robust/test_kernel_labels.py::test_a_changed_label_moves_soft_labels_by_its_share_of_the_kernel",
        "effect": {**TRAINED, "row": "kernel-labels"},
    },
    {
        "number": 12,
        "paper": "MarvelOVD (in the spirit of)",
        "name": "`blend`",
        "where": "graphnoise.robust.methods.confidence.Blend",
        "tier": "B",
        "assumes": "static noise",
        "helps": "symmetric noise",
        "harms": "clean labels, of which it leaves out 30 %",
        "cost": "as `ce`, and one cross-fit of propagation",
        "test": "tests/robust/test_confidence.py::test_blended_weights",
        "effect": {**TRAINED, "row": "blend"},
    },
    {
        "number": 28,
        "paper": "NEVLP (in the spirit of)",
        "name": "`adaptive-smoothing`",
        "where": "graphnoise.robust.methods.confidence.AdaptiveSmoothing",
        "tier": "B",
        "assumes": "wrong labels have high losses in their class",
        "helps": "symmetric noise",
        "harms": "clean nodes of high loss",
        "cost": "about 2 times `ce`",
        "test": "tests/robust/test_confidence.py::test_smoothing_adapts_to_the_loss",
        "effect": {**TRAINED, "row": "adaptive-smoothing"},
    },
    {
        "number": 32,
        "paper": "CW-BASS (in the spirit of)",
        "name": "`confidence-weights`",
        "where": "graphnoise.robust.methods.confidence.ConfidenceWeights",
        "tier": "B",
        "assumes": "confident pseudo-labels are right",
        "helps": "few labels",
        "harms": "confident errors feed back",
        "cost": "about 1.3 times `ce`",
        "test": "tests/robust/test_confidence.py::test_pseudo_labels_are_averaged_over_valid_nodes",
        "effect": {**TRAINED, "row": "confidence-weights"},
    },
    {
        "number": 22,
        "paper": "PC^2: noisy correspondence (in the spirit of)",
        "name": "`oscillation`",
        "where": "graphnoise.robust.methods.confidence.Oscillation",
        "tier": "B",
        "assumes": "predictions of wrong labels change more",
        "helps": "training that has not settled",
        "harms": "wrong labels that have settled",
        "cost": "about 2 times `ce`",
        "test": "tests/robust/test_confidence.py::test_weights_fall_where_predictions_oscillate",
        "effect": {**TRAINED, "row": "oscillation"},
    },
    {
        "number": 22,
        "paper": "PC^2: noisy correspondence (in the spirit of)",
        "name": "`recsys.replace_partners`",
        "where": "recsys.replace_partners",
        "tier": "B",
        "assumes": "ranks of wrong clicks change; a near item is liked",
        "helps": "not measured",
        "harms": "removes true clicks on rare items",
        "cost": "scores of all users per model",
        "test": "tests/recsys/test_oscillation.py::test_changes_of_ranks_are_in_octaves",
    },
    {
        "number": 26,
        "paper": "Open-set test-time adaptation, Lee et al. 2023 (in the spirit of)",
        "name": "`gn.robust.EntropyAdaptation`",
        "where": "graphnoise.robust.EntropyAdaptation",
        "tier": "B",
        "assumes": "normalisation layers; a graph unlike that of training",
        "helps": "not measured",
        "harms": "no gain for wrong labels of training",
        "cost": "one step per graph",
        "test": "tests/robust/test_adaptation.py::test_without_a_kept_node_nothing_changes",
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
            lines.append(
                f"{dataset}, {noise}: {100 * compared.difference:+.1f}{half} "
                f"({compared.pairs} draw{'s' * (compared.pairs != 1)})"
            )
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
        *SUMMARY,
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

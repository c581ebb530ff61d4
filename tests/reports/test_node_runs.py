"""Runs of reports on a data set: which labels they learn from, and what becomes of withheld ones."""

import numpy as np
import pytest
import torch

from graphnoise import InputError
from graphnoise.bench.node_runs import NodeRuns
from graphnoise.reports import memorisation, memorisation_runs

DATA = "planted(n=200,block=50,p=0.2,q=0.05,features=%d)"


@pytest.fixture(scope="module")
def runs():
    return NodeRuns(DATA % 12, "symmetric", 0.4)


def test_noisy_labels_are_worth_less_and_more_labels_are_better(runs):
    def mean(config):
        return np.mean([runs.mix(config, seed)["accuracy"] for seed in range(6)])

    few, many = mean({"clean": 5}), mean({"clean": 20})
    assert few < many
    assert mean({"noisy": 20}) < many


@pytest.mark.parametrize("method", ["plain", "weighted", "sequential"])
def test_methods_learn_from_both_kinds_and_repeat(runs, method):
    config = {"weak": 30, "strong": 10, "method": method, "disjoint": True}
    assert runs.mix(config, 1) == runs.mix(config, 1)
    assert np.mean([runs.mix(config, seed)["accuracy"] for seed in range(4)]) > 0.5
    # With one kind of label there is one stage.
    alone = {"weak": 0, "strong": 10, "disjoint": True}
    assert runs.mix({**alone, "method": method}, 2) == runs.mix(alone, 2)


def test_test_nodes_are_never_labelled(runs):
    assert not torch.isin(runs.pool, runs.test).any()
    with pytest.raises(InputError, match="weak: expected an integer from 0 to"):
        runs.mix({"weak": 201}, 0)


def test_wrong_labels_are_memorised_most():
    # Wide features, so that a linear rule can learn every label.
    runs = NodeRuns(DATA % 64, "symmetric", 0.2)
    included, correct, test = memorisation_runs(runs.memorise, len(runs.labelled), runs=40)
    scores, groups = memorisation(included, correct), runs.memorise({"included": [0, 1, 2]}, 0)["groups"]
    wrong = groups["wrong"]
    assert 0 < wrong.sum() < len(wrong) / 2
    assert np.nanmean(scores[wrong]) > np.nanmean(scores[~wrong]) + 0.1
    assert test.shape == (40, len(runs.test))
    assert groups["homophily"].max() <= 1


def test_bad_input_is_named(runs):
    with pytest.raises(InputError, match="method: expected one of plain, sequential, weighted"):
        runs.mix({"clean": 5, "method": "best"}, 0)
    with pytest.raises(InputError, match="noise: expected one of"):
        NodeRuns(DATA % 12, "nothing", 0.2)

"""Cells of the local clustering benchmark: what they hold, that they repeat, and what is refused."""

import json
from collections import defaultdict

import numpy as np
import pytest

from graphnoise import InputError, clustering, datasets
from graphnoise.bench import registry
from graphnoise.bench.runner import Store
from graphnoise.bench.tasks.cluster import Cluster
from graphnoise.bench.tasks.cluster_trials import load, parse_labels, trials

CLUSTER = Cluster()
PLANTED = "planted(n=160,block=40,p=0.4,q=0.02,seed=3)"
DIFFUSIONS = ("flow", "pagerank", "l1_pagerank", "heat_kernel", "crd")
MANY = [
    *(name for diffusion in DIFFUSIONS for name in (diffusion, f"label_{diffusion}")),
    "flow:p=4,max_pushes=200",
    "label_flow:p=4,max_pushes=200",
    "bp",
]


def small(**changes):
    settings = {"datasets": [PLANTED], "methods": ["label_flow", "label_pagerank"], "accuracies": ["0.9/0.8"]}
    return CLUSTER.Grid(**settings | {"seeds": 3} | changes)


def cells(**changes):
    return CLUSTER.cells(small(**changes))


def run(store, executor=None, jobs=1, **changes):
    return CLUSTER.run(small(**changes), store, executor=executor, jobs=jobs)


def test_cells_cross_everything_once_and_labels_alone_are_always_there():
    methods = ["label_flow", "label_flow:label_eps=0.2", "label_flow", "labels"]
    made = cells(accuracies=["0.9/0.8", "0.7/0.7", "0.90/0.80"], methods=methods)
    keys = {json.dumps(cell, sort_keys=True) for cell in made}
    assert len(keys) == len(made) == 2 * 4 * 3
    assert {cell["method"] for cell in made} == {"labels", "label_flow"}
    assert {cell["class"] for cell in made} == {0, 1, 2, 3}
    assert made[0]["multiples"] == [1.5, 2.0, 2.5, 3.0, 4.0, 5.0]
    assert cells(sink="unit")[0]["multiples"] == [0.8, 1.1, 1.5, 2.0, 3.0]


@pytest.mark.parametrize("sink", ["degree", "unit"])
def test_a_cell_records_what_the_tables_need(sink, tmp_path):
    store = Store(tmp_path)
    summary = run(store, methods=MANY, sink=sink)
    assert (summary.total, summary.done, summary.failed) == (4 * 14, 4 * 14, ())
    draws = defaultdict(set)
    for record in store.records():
        config, result = record["config"], record["result"]
        assert result["size"] == 40
        assert len(result["trials"]) == 3
        draws[config["class"]].add(
            json.dumps([[trial[name] for name in ("seed", "a1", "a0")] for trial in result["trials"]])
        )
        for trial in result["trials"]:
            assert 40 * config["class"] <= trial["seed"] < 40 * (config["class"] + 1)
            best, picked = trial["oracle"], trial["picked"]
            assert 0 <= picked["hits"] <= min(picked["size"], 40)
            assert best["hits"] / (best["size"] + 40) >= picked["hits"] / (picked["size"] + 40)
            assert best["conductance"] >= picked["conductance"]
            assert (picked["mass"] is None) is (config["method"] in ("labels", "crd", "label_crd", "bp"))
            assert (trial["arcs"] > 0) is (config["method"] != "labels")
    # All methods get the same seed nodes and labels.
    assert [len(different) for different in draws.values()] == [1, 1, 1, 1]


def test_beliefs_are_above_labels_alone_and_worthless_labels_leave_the_seed():
    f1 = defaultdict(list)
    for cell in cells(methods=["bp"], accuracies=["0.8/0.8", "0.5/0.5"]):
        picked = [trial["picked"] for trial in CLUSTER.run_cell(cell)["trials"]]
        f1[cell["method"], cell["labels"]["a1"]] += [2 * c["hits"] / (c["size"] + 40) for c in picked]
        if (cell["method"], cell["labels"]["a1"]) == ("bp", 0.5):
            assert [c["size"] for c in picked] == [1, 1, 1]
    assert np.mean(f1["bp", 0.8]) > np.mean(f1["labels", 0.8]) + 0.15


def test_labels_alone_are_what_they_are_said_to_be():
    loaded = load(PLANTED)
    for cell in cells()[:3]:
        result = CLUSTER.run_cell(cell)
        for trial, (drawn, _) in zip(result["trials"], trials(cell, loaded), strict=True):
            members = loaded.y == cell["class"]
            if cell["method"] == "labels":
                assert trial["picked"]["size"] == drawn.labels.sum()
                assert trial["picked"]["hits"] == drawn.labels[members].sum()
            assert drawn.labels[trial["seed"]] == 1
            wrong = drawn.labels != members
            # The label of the seed is always right.
            assert abs(trial["a1"] - (1 - wrong[members].mean())) <= 1 / 40
            assert trial["a0"] == pytest.approx(1 - wrong[~members].mean(), abs=1e-6)


@pytest.mark.parametrize("source", ["logistic:5", "gcn:5"])
def test_labels_of_a_classifier(source, planted):
    made = cells(datasets=[planted], accuracies=[source], methods=["label_flow"], seeds=2)
    assert {json.dumps(cell["labels"]) for cell in made} == {json.dumps(parse_labels(source))}
    result = CLUSTER.run_cell(made[1])
    assert CLUSTER.run_cell(made[1])["trials"][0]["picked"] == result["trials"][0]["picked"]
    assert all(trial["a1"] + trial["a0"] > 1 for trial in result["trials"])


@pytest.mark.parametrize("sink", ["degree", "unit"])
def test_more_mass_than_the_graph_holds_is_left_out(sink):
    loaded = load(PLANTED)
    trial, _ = next(trials(cells(sink=sink)[0], loaded))
    held = np.ones(160) if sink == "unit" else loaded.graph.degree
    multiples = {"unit": (0.8, 1.1, 1.5, 2.0, 3.0), "degree": (1.5, 2.0, 2.5, 3.0)}[sink]
    assert trial.masses == [m * held[loaded.y == 0].sum() for m in multiples]
    assert trial.masses[-1] < held.sum()


def test_a_cluster_of_one_node_where_the_seed_holds_all_mass():
    cell = cells(methods=["label_flow"], sink="unit", multiples=[0.02])[1]
    for trial in CLUSTER.run_cell(cell)["trials"]:
        assert (trial["picked"]["size"], trial["picked"]["hits"]) == (1, 1)


@pytest.mark.parametrize(
    "method",
    ["flow:improve=mqi", "label_pagerank:improve=simple_local,alpha=0.05", "label_flow:rounding=sweep"],
)
def test_rounding_and_improvement(method):
    cell = cells(methods=[method], multiples=[1.5])[1]
    plain = cells(methods=[method.partition(":")[0]], multiples=[1.5])[1]
    for ours, theirs in zip(CLUSTER.run_cell(cell)["trials"], CLUSTER.run_cell(plain)["trials"], strict=True):
        assert ours["picked"]["conductance"] <= theirs["picked"]["conductance"] + 1e-6


def test_candidates_are_what_the_library_returns():
    loaded = load(PLANTED)
    cell = cells(methods=["label_flow"], multiples=[1.5])[1]
    trial, _ = next(trials(cell, loaded))
    (candidate,) = registry.create("clusterings", "label_flow", cell["parameters"])[0].candidates(trial)
    diffusion = clustering.flow_diffusion(loaded.graph, trial.seed, trial.masses[0], trial.labels, 0.05, tol=1e-2)
    assert np.array_equal(candidate.nodes, diffusion.support)
    phi = clustering.conductance(loaded.graph, candidate.nodes, labels=trial.labels, label_eps=0.05)
    assert candidate.conductance == phi


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["label_flow:label_epps=0.1"]}, "hyper-parameter of label_flow: .*did you mean 'label_eps'"),
        ({"methods": ["label_flow:label_eps=2"]}, r"^method label_flow: label_eps: expected a rate in \[0, 1\], got 2"),
        ({"methods": ["flow:rounding=down"]}, "^method flow: rounding: expected one of support, sweep"),
        ({"methods": ["flow:improve=more"]}, "^method flow: improve: expected one of mqi, none, simple_local"),
        ({"methods": ["flow:p=1"]}, r"^method flow: p: expected a number in \[2, 64\], got 1"),
        ({"methods": ["pagerank:scale=0"]}, "^method pagerank: scale: expected a number in"),
        ({"methods": ["crd:height=2.5"]}, "^method crd: height: expected an integer .* got 2.5"),
        ({"methods": ["auto:labels=3"]}, "^method auto: labels: expected true or false, got 3"),
        ({"methods": ["auto:selection=size"]}, "^method auto: .*: expected one of conductance, surprise"),
        ({"methods": ["bp:num_steps=0"]}, "^method bp: num_steps: expected an integer of at least 1"),
        ({"methods": ["bp:known=yes"]}, "^method bp: known: expected true or false, got 'yes'"),
        ({"methods": ["labels:eps=1"]}, "method labels: expected no hyper-parameter, got 'eps'"),
        ({"accuracies": ["0.9"]}, "accuracy: expected A1/A0 as in 0.9/0.95, .* got '0.9'"),
        ({"accuracies": ["0.9/1.5"]}, r"a0: expected a rate in \[0, 1\], got 1.5"),
        ({"accuracies": ["logistic:1"]}, "accuracy: samples: expected an integer of at least 2, got 1"),
        ({"accuracies": ["logistic"]}, "accuracy: expected flips .A1/A0., got logistic:25; .* no attributes"),
        ({"sink": "none"}, "sink: expected one of degree, unit"),
        ({"multiples": [float("nan")]}, "multiples: expected a number in"),
        (
            {"multiples": [1e5]},
            r"masses: expected a multiple below \d\.\d+ for class \d, got 100000, more than planted",
        ),
        ({"multiples": [1.5, 1e5]}, r"masses: expected a multiple below \d\.\d+ for class \d, got 100000, more than"),
        (
            {"datasets": ["planted(n=90,block=90,p=0.2,q=0)"]},
            r"masses: expected a multiple below 1 for class 0, got 1.5",
        ),
        ({"multiples": 3.0}, "multiples: expected a list of numbers, got 3.0"),
        ({"datasets": ["planted(n=10,block=20,p=1,q=0)"]}, "dataset: block: expected an integer from 1 to 10"),
        ({"methods": ["laca"]}, r"^dataset: expected attributes of the nodes, for laca, got planted.*without any"),
        ({"methods": ["laca:alpha=1"]}, r"^method laca: alpha: expected a number above 0 and below 1, got 1"),
        ({"datasets": ["planted(n=10,block=5,p=2,q=0)"]}, r"planted.*expected a .*in \[0, 1\]"),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(changes, message):
    with pytest.raises(InputError, match=message):
        cells(**changes)


def test_too_few_nodes_for_a_classifier(planted):
    assert cells(datasets=[planted], accuracies=["logistic:30"])
    message = r"accuracy: samples: expected at most 30, got 31, with a class of .* 30 of 90"
    with pytest.raises(InputError, match=message):
        cells(datasets=[planted], accuracies=["logistic:31"])


def test_classes_that_labels_or_masses_do_not_fit_are_left_out(tmp_path):
    data = datasets.planted_partition([30, 30, 4, 30], 0.4, 0.02, num_features=4, seed=0)
    path = str(datasets.save_npz(data, tmp_path / "blocks.npz"))
    assert {cell["class"] for cell in cells(datasets=[path])} == {0, 1, 2, 3}
    message = r"1 of 4 classes of .* are left out \(2\): accuracy: samples: expected at most 4, got 5"
    with pytest.warns(UserWarning, match=message):
        assert {cell["class"] for cell in cells(datasets=[path], accuracies=["logistic:5"])} == {0, 1, 3}
    with pytest.warns(
        UserWarning, match=r"1 of 2 classes .* \(0\): masses: expected a multiple below 1.\d+ for class 0"
    ):
        assert {cell["class"] for cell in cells(datasets=["planted(n=90,block=80,p=0.2,q=0)"])} == {1}


def test_laca_returns_as_many_nodes_as_the_class_has(planted):
    for cell in cells(datasets=[planted], methods=["laca"]):
        if cell["method"] == "laca":
            result = CLUSTER.run_cell(cell)
            assert [trial["picked"]["size"] for trial in result["trials"]] == [result["size"]] * 3
            assert np.mean([trial["picked"]["hits"] for trial in result["trials"]]) > 0.8 * result["size"]

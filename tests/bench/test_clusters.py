"""Cells of the cluster benchmark: what they hold, that they repeat, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from graphnoise import DataError, InputError, clustering
from graphnoise.bench.clusters import labels, methods, problem
from graphnoise.bench.clusters.grid import Grid, run, run_cell, trials
from graphnoise.bench.runner import Store

PLANTED = "planted(n=160,block=40,p=0.4,q=0.02,seed=3)"
MANY = [
    "fd",
    "lfd",
    "pfd:max_pushes=200",
    "lpfd:max_pushes=200",
    "acl",
    "lacl",
    "l1",
    "ll1",
    "hk",
    "lhk",
    "crd",
    "lcrd",
    "bp",
]


def small(**changes):
    settings = {"datasets": [PLANTED], "methods": ["lfd", "lacl"], "accuracies": ["0.9/0.8"], "seeds_per_class": 3}
    return Grid(**settings | changes)


def without_time(record):
    found = json.loads(json.dumps(record["result"]))
    del found["run"]
    for trial in found["trials"]:
        del trial["seconds"]
    return found


def test_cells_cross_everything_once_and_labels_alone_are_always_there():
    cells = small(accuracies=["0.9/0.8", "0.7/0.7", "0.90/0.80"], methods=["lfd", "lfd:eps=0.2", "lfd"]).cells()
    keys = {json.dumps(cell, sort_keys=True) for cell in cells}
    assert len(keys) == len(cells) == 2 * 4 * 3
    assert {cell["method"] for cell in cells} == {"labels", "lfd"}
    assert {cell["class"] for cell in cells} == {0, 1, 2, 3}
    assert cells[0]["multiples"] == [1.5, 2.0, 2.5, 3.0, 4.0, 5.0]
    assert small(sink="unit").cells()[0]["multiples"] == [0.8, 1.1, 1.5, 2.0, 3.0]


@pytest.mark.parametrize("sink", ["degree", "unit"])
def test_a_cell_records_what_the_tables_need(sink, tmp_path):
    store = Store(tmp_path)
    summary = run(small(methods=MANY, sink=sink), store)
    assert (summary.total, summary.done, summary.failed) == (4 * 14, 4 * 14, ())
    for record in store.records():
        config, result = record["config"], record["result"]
        assert result["size"] == 40
        assert len(result["trials"]) == 3
        for trial in result["trials"]:
            assert 40 * config["class"] <= trial["seed"] < 40 * (config["class"] + 1)
            best, picked = trial["oracle"], trial["picked"]
            assert 0 <= picked["hits"] <= min(picked["size"], 40)
            assert best["hits"] / (best["size"] + 40) >= picked["hits"] / (picked["size"] + 40)
            assert best["conductance"] >= picked["conductance"]
            assert (picked["mass"] is None) is (config["method"] in ("labels", "crd", "lcrd", "bp"))
            assert (trial["arcs"] > 0) is (config["method"] != "labels")


def test_beliefs_are_above_labels_alone_and_worthless_labels_leave_the_seed():
    found = {}
    for cell in small(methods=["bp"], accuracies=["0.8/0.8", "0.5/0.5"]).cells():
        hits = [trial["picked"] for trial in run_cell(cell)["trials"]]
        found.setdefault((cell["method"], cell["labels"]["a1"]), []).extend(
            2 * h["hits"] / (h["size"] + 40) for h in hits
        )
        if (cell["method"], cell["labels"]["a1"]) == ("bp", 0.5):
            assert [h["size"] for h in hits] == [1, 1, 1]
    assert np.mean(found["bp", 0.8]) > np.mean(found["labels", 0.8]) + 0.15


def test_labels_alone_are_what_they_are_said_to_be():
    loaded = problem.load(PLANTED)
    for cell in small().cells()[:3]:
        result = run_cell(cell)
        for trial, (_, given) in zip(result["trials"], trials(cell, loaded), strict=True):
            members = loaded.y == cell["class"]
            if cell["method"] == "labels":
                assert trial["picked"]["size"] == given.y.sum()
                assert trial["picked"]["hits"] == given.y[members].sum()
            assert given.y[trial["seed"]] == 1
            wrong = given.y != members
            assert abs(trial["a1"] - (1 - wrong[members].mean())) <= 1 / 40  # the seed is known
            assert trial["a0"] == pytest.approx(1 - wrong[~members].mean(), abs=1e-6)


def test_methods_share_seed_nodes_and_labels():
    seeds = {tuple(t["seed"] for t in run_cell(cell)["trials"]) for cell in small(methods=MANY).cells()[:13]}
    assert len(seeds) == 1


def test_a_later_first_seed_goes_on_with_the_same_draws():
    first = run_cell(small(seeds_per_class=4).cells()[1])
    rest = run_cell(small(seeds_per_class=2, first_seed=2).cells()[1])
    for ours, theirs in zip(first["trials"][2:], rest["trials"], strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_results_do_not_depend_on_jobs_or_executor(tmp_path):
    stores = [Store(tmp_path / name) for name in ("one", "two", "threads")]
    run(small(), stores[0])
    run(small(), stores[1], jobs=2)
    with ThreadPoolExecutor(1) as executor:
        run(small(), stores[2], executor=executor)
    first, second, third = ({r["key"]: without_time(r) for r in store.records()} for store in stores)
    assert first == second
    assert first == third


def test_a_run_goes_on_where_it_stopped(tmp_path):
    store = Store(tmp_path)
    assert run(small(methods=["lfd"]), store).done == 8
    summary = run(small(), store)
    assert (summary.total, summary.done, summary.skipped) == (12, 4, 8)


def test_labels_help_where_edges_alone_do_not(tmp_path):
    store = Store(tmp_path)
    grid = small(
        datasets=["planted(n=600,block=60,p=0.15,q=0.02)"], methods=["fd", "lfd"], accuracies=["0.9/0.9"], sink="unit"
    )
    run(grid, store)
    f1 = {}
    for record in store.records():
        for trial in record["result"]["trials"]:
            best = trial["oracle"]
            f1.setdefault(record["config"]["method"], []).append(2 * best["hits"] / (best["size"] + 60))
    means = {method: np.mean(values) for method, values in f1.items()}
    assert means["lfd"] > means["labels"] + 0.1
    assert means["lfd"] > means["fd"] + 0.1


@pytest.mark.parametrize("source", ["logistic:5", "gcn:5"])
def test_labels_of_a_classifier(source, planted):
    cells = small(datasets=[planted], accuracies=[source], methods=["lfd"], seeds_per_class=2).cells()
    assert {json.dumps(cell["labels"]) for cell in cells} == {json.dumps(labels.read(source))}
    result = run_cell(cells[1])
    assert run_cell(cells[1])["trials"][0]["picked"] == result["trials"][0]["picked"]
    assert all(trial["a1"] + trial["a0"] > 1 for trial in result["trials"])


def test_more_mass_than_the_graph_holds_is_left_out():
    cell = small(multiples=[1.5, 3.0, 4.0, 50.0]).cells()[0]
    loaded = problem.load(PLANTED)
    trial, _ = next(trials(cell, loaded))
    volume = loaded.graph.degree[loaded.y == 0].sum()
    assert trial.masses == [
        multiple * volume for multiple in (1.5, 3.0, 4.0) if multiple * volume < loaded.graph.volume
    ]
    assert 1 <= len(trial.masses) < 4
    trial, _ = next(trials({**cell, "multiples": [60.0, 50.0]}, loaded))
    assert trial.masses == [50.0 * volume]


def test_a_cluster_of_one_node_where_the_seed_holds_all_mass():
    cell = small(methods=["lfd"], sink="unit", multiples=[0.02]).cells()[1]
    for trial in run_cell(cell)["trials"]:
        assert (trial["picked"]["size"], trial["picked"]["hits"]) == (1, 1)


@pytest.mark.parametrize("method", ["fd:improve=mqi", "lacl:improve=simple_local,alpha=0.05", "lfd:rounding=sweep"])
def test_rounding_and_improvement(method):
    cell = small(methods=[method], multiples=[1.5]).cells()[1]
    plain = small(methods=[method.partition(":")[0]], multiples=[1.5]).cells()[1]
    for ours, theirs in zip(run_cell(cell)["trials"], run_cell(plain)["trials"], strict=True):
        assert ours["picked"]["conductance"] <= theirs["picked"]["conductance"] + 1e-6


def test_candidates_are_what_the_library_returns():
    loaded = problem.load(PLANTED)
    cell = small(methods=["lfd"], multiples=[1.5]).cells()[1]
    trial, given = next(trials(cell, loaded))
    (found,) = methods.run("lfd", cell["parameters"], trial)
    diffusion = clustering.flow_diffusion(loaded.graph, trial.seed, trial.masses[0], given.y, 0.05, tol=1e-2)
    assert np.array_equal(found.nodes, diffusion.support)
    assert found.conductance == clustering.conductance(loaded.graph, found.nodes, labels=given.y, label_eps=0.05)


def test_other_data_under_the_same_name_are_refused():
    cell = small().cells()[0]
    with pytest.raises(DataError, match="expected data with hash 0000"):
        run_cell({**cell, "data": "0000"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["lfdd"]}, "method: expected one of .* got 'lfdd' .did you mean 'lfd'"),
        ({"methods": ["lfd:epps=0.1"]}, "method lfd: expected one of .* got 'epps'"),
        ({"methods": ["lfd:eps"]}, "method lfd: expected PARAMETER=VALUE, got 'eps'"),
        ({"methods": ["lfd:eps=much"]}, "lfd.eps: expected a number .float., got 'much'"),
        ({"methods": ["lfd:eps=-1"]}, "lfd.eps: expected a number of at least 0"),
        ({"methods": ["lfd:rounding=down"]}, "lfd.rounding: expected one of support, sweep"),
        ({"methods": ["labels:eps=1"]}, "method labels: expected no parameter"),
        ({"methods": ["crd:height=2.5"]}, "crd.height: expected a number .int., got '2.5'"),
        ({"methods": []}, "methods: expected a list with at least one entry"),
        ({"methods": "lfd"}, "methods: expected a list"),
        ({"accuracies": ["0.9"]}, "accuracy: expected A1/A0 as in 0.9/0.95, .* got '0.9'"),
        ({"accuracies": ["0.9/1.5"]}, r"a0: expected a rate in \[0, 1\], got 1.5"),
        ({"accuracies": ["nan/0.5"]}, "a1: expected a rate"),
        ({"accuracies": ["logistic:1"]}, "accuracy: samples: expected an integer of at least 2, got 1"),
        ({"accuracies": ["logistic"]}, "accuracy: expected flips .A1/A0., got logistic:25; .* no attributes"),
        ({"seeds_per_class": 0}, "seeds_per_class: expected an integer from 1"),
        ({"first_seed": -1}, "first_seed: expected an integer of at least 0"),
        ({"sink": "none"}, "sink: expected one of degree, unit"),
        ({"multiples": [0.0]}, "multiples: expected a number in"),
        ({"multiples": [float("nan")]}, "multiples: expected a number in"),
        ({"datasets": ["croa"]}, "did you mean 'cora'"),
        ({"datasets": ["planted"]}, r"dataset: expected planted\(n=NODES.*got 'planted'"),
        ({"datasets": ["planted(n=10)"]}, "got none for block, p, q"),
        ({"datasets": ["planted(n=10,block=ten,p=1,q=0)"]}, "dataset: block: expected a number"),
        ({"datasets": ["planted(n=10,block=20,p=1,q=0)"]}, "dataset: block: expected an integer from 1 to 10"),
        ({"datasets": ["planted(n=10,block=5,p=2,q=0)"]}, r"planted.*expected a .*in \[0, 1\]"),
        ({"datasets": ["planted(n=10,block=5,p=1,q=0,r=1)"]}, "dataset: expected one of block, n, p, q, seed"),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(changes, message):
    with pytest.raises(InputError, match=message):
        small(**changes).cells()


def test_too_few_nodes_for_a_classifier(planted):
    assert small(datasets=[planted], accuracies=["logistic:30"]).cells()
    with pytest.raises(
        InputError, match=r"accuracy: samples: expected at most 30, got 31, with a class of .* 30 of 90"
    ):
        small(datasets=[planted], accuracies=["logistic:31"]).cells()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fd:p=1", r"^method fd: p: expected a number in \[2, 64\], got 1.0"),
        ("fd:tol=0", r"^method fd: tol: expected a number above 0"),
        ("hk:t=1e9", r"^method hk: t: expected a number above 0 and at most 200"),
        ("acl:alpha=1", r"^method acl: alpha: expected a number above 0 and below 1"),
        ("acl:scale=0", r"^method acl: scale: expected"),
        ("lfd:eps=2", r"^method lfd: eps: expected a rate in \[0, 1\], got 2.0"),
    ],
)
def test_settings_that_no_cell_could_run_with_are_refused_first(text, message):
    with pytest.raises(InputError, match=message):
        methods.create(text)

"""Reports of the local clustering benchmark: sections, means, and what tables say."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from graphnoise.bench import registry
from graphnoise.bench.methods.clusterings import Flow
from graphnoise.bench.record import by_task
from graphnoise.bench.report import render
from graphnoise.bench.runner import Store
from graphnoise.bench.suite import Suite
from graphnoise.bench.tasks.cluster import Cluster

CLUSTER = Cluster()
DATA = "planted(n=120,block=40,p=0.4,q=0.02)"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    CLUSTER.run(grid(["flow", "label_flow"], accuracies=["0.9/0.8", "0.6/0.8"]), store)
    CLUSTER.run(grid(["label_flow:label_eps=0.2"]), store)
    CLUSTER.run(grid(["label_flow"], sink="unit", multiples=[1.0, 2.0]), store)
    return store


def grid(methods, **settings):
    return CLUSTER.Grid(**{"datasets": [DATA], "methods": methods, "accuracies": ["0.9/0.8"], "seeds": 3} | settings)


def sections(source):
    return CLUSTER.sections(by_task(source)[0]["cluster"])


def text(source):
    console = Console(width=160, file=io.StringIO())
    for section in sections(source):
        for part in render(CLUSTER, section):
            console.print(part)
    return console.file.getvalue()


def test_sections_are_by_labels_and_sink_and_methods_in_the_order_of_the_registry(store):
    weak, section, unit = sections(store)
    methods = ["labels", "flow", "label_flow", "label_flow:label_eps=0.2"]
    assert [s.methods for s in (weak, section, unit)] == [methods[:3], methods, ["labels", "label_flow"]]
    assert [s.name for s in (weak, section, unit)] == [(DATA, "0.6/0.8"), (DATA, "0.9/0.8"), (DATA, "0.9/0.8")]
    assert [s.classes for s in (weak, section, unit)] == [[0, 1, 2]] * 3
    assert len({str(s.values("label_flow", 1)) for s in (weak, section, unit)}) == 3
    assert weak.uses_labels == {"labels": True, "flow": False, "label_flow": True}


def test_measures_and_means_are_those_of_the_trials(store):
    section = sections(store)[1]
    assert section.name[1] == "0.9/0.8"
    values = np.array([list(section.values("flow", target).values()) for target in section.classes])
    assert values.shape == (3, 3)
    mean = section.mean("flow")
    assert mean.mean == pytest.approx(values.mean())
    error = np.sqrt((values.var(axis=1, ddof=1) / 3).sum()) / 3
    assert mean.half_width == pytest.approx(stats.t.ppf(0.975, 6) * error)
    base = np.array([list(section.values("labels", target).values()) for target in section.classes])
    assert section.gain("flow").mean == pytest.approx((values - base).mean())
    assert section.scores("flow") == pytest.approx(dict(enumerate(values.mean(axis=1))))
    p, r, f = (section.values("flow", 0, name)[0] for name in ("precision", "recall", "f1"))
    assert f == pytest.approx(2 * p * r / (p + r))
    assert section.mean("pagerank") is None


def test_seeds_of_two_runs_are_put_together(store, tmp_path):
    other = Store(tmp_path)
    for first, seeds in ((0, 2), (2, 1)):
        CLUSTER.run(grid(["flow"], seeds=seeds, first_seed=first), other)
    assert sections(other)[0].values("flow", 2) == sections(store)[1].values("flow", 2)


def test_tables_say_where_labels_alone_are_better(store):
    shown = text(store)
    assert re.search(r"^labels\s+\d+\.\d±\d+\.\d\s+\d", shown, re.MULTILINE)
    assert re.search(r"^flow\s+\S+\s+[+-]\d+\.\d±", shown, re.MULTILINE)
    section = sections(store)[1]
    wins = sum(section.scores("flow")[target] > f1 for target, f1 in section.scores("labels").items())
    assert re.search(rf"^beats labels\s+{wins}\s", shown[shown.index(section.title) :], re.MULTILINE)
    assert re.search(r"^2 \(40\)", shown, re.MULTILINE)


def test_data_sets_without_a_cell_are_reported(store, tmp_path):
    grid = '[[grid]]\nname = "a"\nmethods = ["flow"]\naccuracies = ["0.9/0.8"]\nseeds = 3\n'
    (path := tmp_path / "more.toml").write_text(f'task = "cluster"\n{grid}datasets = ["cora", "{DATA}"]')
    assert Suite.read(path).select(store).remarks()[0] == f"{store.folder}: data sets without a cell yet: cora"


def test_cells_of_another_version_are_named(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Flow, "version", "2")
    both = Store(tmp_path)
    for record in store.records():
        both.write(record["key"], record["config"], record["result"])
    CLUSTER.run(grid(["flow"], first_seed=3), both)
    assert {"flow:version=1", "flow:version=2"} <= set(sections(both)[1].methods)


def test_methods_that_are_not_installed_are_reported_with_all_parameters(store, monkeypatch):
    known = {name: point for name, point in registry.names("clusterings").items() if name != "label_flow"}
    names = registry.names
    monkeypatch.setattr(registry, "names", lambda group: known if group == "clusterings" else names(group))
    (label,) = set(sections(store)[2].methods) - {"labels"}
    assert label.startswith("label_flow:improve=none,label_eps=0.05,max_pushes=1500000,")

import pytest

from graphnoise import datasets
from graphnoise.bench.store import Store
from graphnoise.bench.suite import Suite

SUITE = """
title = "Plain methods"
[defaults]
datasets = ["DATA"]
seeds = 3
[[grid]]
name = "honest"
methods = ["lp", "sgc", { name = "mlp", method = "mlp:epochs=3,hidden=5" }]
noise = ["symmetric", "pair"]
rates = [0.0, 0.3]
[[grid]]
name = "ablation"
methods = ["lp", { name = "weak", method = "lp:alpha=0.5" }, { name = "short", method = "lp:steps=2" }]
noise = ["pair"]
rates = [0.3, 0.0]
[[grid]]
name = "mixed"
methods = [
    { name = "mlp", method = "mlp:epochs=3,hidden=4" },
    { name = "sgc (2 hops)", method = "sgc" },
    "sgc:hops=0",
    "lp",
]
noise = ["cascade:probability=0.9"]
rates = [0.3]
inits = 2
select = "clean"
"""


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Path of a small planted graph: 90 nodes, three classes, features that tell them apart."""
    path = tmp_path_factory.mktemp("data") / "planted.npz"
    data = datasets.planted_partition([30, 30, 30], 0.25, 0.02, num_features=12, split=(8, 20, 40), seed=1)
    datasets.save_npz(data, path)
    return str(path)


@pytest.fixture
def store(tmp_path):
    """An empty folder of cells."""
    return Store(tmp_path / "cells")


@pytest.fixture(scope="session")
def plain_suite(planted, tmp_path_factory):
    """A suite of three grids of nodes."""
    path = tmp_path_factory.mktemp("suite") / "plain.toml"
    path.write_text(SUITE.replace("DATA", planted))
    return Suite.read(path)


@pytest.fixture(scope="session")
def plain_store(plain_suite, tmp_path_factory):
    """The recorded cells of that suite."""
    store = Store(tmp_path_factory.mktemp("runs"))
    assert plain_suite.run(store).complete
    return store

"""Entry points: what other distributions add to the benchmarks."""

from importlib.metadata import EntryPoint

import pytest
import torch

from graphnoise import InputError, datasets
from graphnoise.bench import registry
from graphnoise.bench.runner import Store
from graphnoise.bench.tasks.nodes import Nodes


def flip_all(rate, splits, seed, shift=1):
    """A noise kind of another package: every training label moves by `shift` classes."""

    def transform(data):
        noisy = data.clone()
        noisy.y = torch.where(data.train_mask, (data.y + shift) % 2, data.y)
        noisy.noise_rate = {"train": 1.0}
        return noisy

    return transform


def two_blocks(root):
    """A data set of another package, without masks."""
    return datasets.planted_partition([900, 900], 0.01, 0.001, num_features=4, seed=0)


@pytest.fixture
def install(monkeypatch):
    """Return a function that adds entry points to a group."""

    def add(group, *points):
        real = registry.entry_points
        own = [EntryPoint(name, value, f"graphnoise.{group}") for name, value in points]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [*real(group=group), *(p for p in own if p.group == group)]
        )
        registry.names.cache_clear()

    yield add
    monkeypatch.undo()
    registry.names.cache_clear()


def test_noise_and_data_of_other_packages_run_like_our_own(install, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "flip_all", flip_all, raising=False)
    monkeypatch.setattr(datasets, "two_blocks", two_blocks, raising=False)
    install("noise", ("flip-all", "graphnoise.datasets:flip_all"))
    install("datasets", ("two-blocks", "graphnoise.datasets:two_blocks"))
    task = Nodes()
    settings = {"datasets": ["two-blocks"], "methods": ["lp"], "rates": [1.0], "seeds": 1}
    store = Store(tmp_path)
    assert task.run(task.Grid(noise=["flip-all", "flip-all:shift=2"], **settings), store).complete
    rights = {str(r["config"]["noise"]["options"]): r["result"]["val_accuracy_clean"] for r in store.records()}
    assert rights["{}"] < 0.5 < rights["{'shift': 2}"]
    with pytest.raises(InputError, match=r"noise: expected one of .*flip-all.* got 'flip-al' .did you mean 'flip-all'"):
        task.Grid(noise=["flip-al"], **settings)


def test_two_distributions_with_one_name_are_refused(install):
    install("node_methods", ("lp", "elsewhere:LP"))
    with pytest.raises(InputError, match=r"graphnoise.node_methods: expected one entry point named 'lp', got those of"):
        registry.names("node_methods")


def test_an_entry_point_that_cannot_be_loaded_is_named(install):
    install("node_methods", ("broken", "no_such_module:Method"))
    with pytest.raises(InputError, match="method broken: cannot be loaded from no_such_module:Method"):
        registry.load("node_methods", "broken")

"""Entry points: what other distributions add to the benchmarks."""

from importlib.metadata import EntryPoint

import pytest
import torch

from graphnoise import InputError, datasets
from graphnoise.bench import registry
from graphnoise.bench.runner import Store
from graphnoise.bench.tasks.nodes import Nodes
from graphnoise.noise import NoisyLabels


def flip_all(rate, splits, seed, shift=1):
    """A noise kind of another package: every training label moves by `shift` classes."""

    def transform(data):
        noisy = data.clone()
        noisy.y = torch.where(data.train_mask, (data.y + shift) % 2, data.y)
        noisy.noise_rate = {"train": 1.0}
        return noisy

    return transform


def hubs(y, rate, edge_index, mask, seed, exact=False, power=1.0):
    """A noise function of another package: nodes of high degree flip to the other class."""
    degree = torch.bincount(edge_index[0], minlength=len(y)).double()
    nodes = (mask.nonzero().view(-1)).numpy()
    weights = (1 + degree[nodes].numpy()) ** power
    flips = nodes[seed.choice(len(nodes), round(rate * len(nodes)), replace=False, p=weights / weights.sum())]
    flipped = torch.zeros_like(mask).index_fill(0, torch.from_numpy(flips), True)
    return NoisyLabels(torch.where(flipped, 1 - y, y), flipped, rate)


def two_blocks(root):
    """A data set of another package, without masks."""
    return datasets.planted_partition([900, 900], 0.01, 0.001, num_features=4, seed=0)


@pytest.fixture
def install(monkeypatch):
    """Return a function that adds entry points to a group."""

    def add(group, *points):
        real = registry.entry_points
        added = [EntryPoint(name, value, f"graphnoise.{group}") for name, value in points]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [*real(group=group), *(p for p in added if p.group == group)]
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
    with pytest.raises(InputError, match="exact: expected False with flip-all noise"):
        task.run(task.Grid(noise=["flip-all"], exact=True, **settings), store)
    with pytest.raises(InputError, match=r"noise: expected one of .*flip-all.* got 'flip-al' .did you mean 'flip-all'"):
        task.Grid(noise=["flip-al"], **settings)


def test_noise_functions_of_other_packages_get_the_streams_and_options_of_our_own(install, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "hubs", hubs, raising=False)
    monkeypatch.setattr(datasets, "two_blocks", two_blocks, raising=False)
    install("noise", ("hubs", "graphnoise.datasets:hubs"))
    install("datasets", ("two-blocks", "graphnoise.datasets:two_blocks"))
    task, store = Nodes(), Store(tmp_path)
    settings = {"datasets": ["two-blocks"], "methods": ["lp"], "rates": [0.25], "seeds": 2}
    assert task.run(task.Grid(noise=["hubs", "hubs:power=4"], exact=True, **settings), store).complete
    assert {tuple(r["result"]["realised_rate"].values()) for r in store.records()} == {(0.25, 0.25)}
    assert len({str(r["result"]["predictions"]) for r in store.records()}) == 4
    with pytest.raises(InputError, match=r"options: expected one of power, got 'powr' .did you mean 'power'"):
        task.run(task.Grid(noise=["hubs:powr=2"], **settings), store)


def test_two_distributions_with_one_name_are_refused(install):
    install("node_methods", ("lp", "elsewhere:LP"))
    with pytest.raises(InputError, match=r"graphnoise.node_methods: expected one entry point named 'lp', got those of"):
        registry.names("node_methods")


def test_an_entry_point_that_cannot_be_loaded_is_named(install):
    install("node_methods", ("broken", "no_such_module:Method"))
    with pytest.raises(InputError, match="method broken: cannot be loaded from no_such_module:Method"):
        registry.load("node_methods", "broken")

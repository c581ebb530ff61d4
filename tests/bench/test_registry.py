"""Entry points: what other distributions add to the benchmarks."""

from importlib.metadata import EntryPoint

import pytest
import torch

from graphnoise import InputError, datasets
from graphnoise.bench import registry
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


def test_noise_and_data_of_other_packages_run_like_our_own(install, store, monkeypatch):
    """Transforms of data, and functions, which get the streams and options of our own kinds."""
    for function in (flip_all, hubs, two_blocks):
        monkeypatch.setattr(datasets, function.__name__, function, raising=False)
    install("noise", ("flip-all", "graphnoise.datasets:flip_all"), ("hubs", "graphnoise.datasets:hubs"))
    install("datasets", ("two-blocks", "graphnoise.datasets:two_blocks"))
    task = Nodes()

    def run(*noise, rate=1.0, **settings):
        grid = task.Grid(datasets=["two-blocks"], methods=["lp"], noise=noise, rates=[rate], **settings)
        assert task.run(grid, store).complete
        return [record for record in store.records() if record["config"]["noise"]["rate"] == rate]

    records = run("flip-all", "flip-all:shift=2", seeds=1)
    rights = {str(r["config"]["noise"]["options"]): r["result"]["val_accuracy_clean"] for r in records}
    assert rights["{}"] < 0.5 < rights["{'shift': 2}"]
    records = run("hubs", "hubs:power=4", rate=0.25, seeds=2, exact=True)
    assert {tuple(r["result"]["realised_rate"].values()) for r in records} == {(0.25, 0.25)}
    assert len({str(r["result"]["predictions"]) for r in records}) == 4
    for noise, exact, message in (
        ("flip-all", True, "exact: expected False with flip-all noise"),
        ("flip-al", False, "noise: expected one of .*flip-all.* got 'flip-al' .did you mean 'flip-all'"),
        ("hubs:powr=2", False, "options: expected one of power, got 'powr' .did you mean 'power'"),
    ):
        with pytest.raises(InputError, match=message):
            run(noise, exact=exact)


def test_entry_points_that_cannot_be_used_are_refused(install):
    install("node_methods", ("broken", "no_such_module:Method"))
    with pytest.raises(InputError, match="method broken: cannot be loaded from no_such_module:Method"):
        registry.load("node_methods", "broken")
    install("node_methods", ("lp", "elsewhere:LP"))
    with pytest.raises(InputError, match=r"graphnoise.node_methods: expected one entry point named 'lp', got those of"):
        registry.names("node_methods")

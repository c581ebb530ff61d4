"""Protocols of published tables: splits, where noise goes, and what a grid may set beside them."""

import math

import pytest
import torch
from torch_geometric.data import Data

from graphnoise import datasets, noise
from graphnoise.bench.tasks.nodes import Nodes, NodesGrid
from graphnoise.bench.tasks.protocols import published_split
from graphnoise.checks import InputError


def planted(sizes):
    return datasets.planted_partition(sizes, 0.02, 0.001, num_features=2, seed=0)


def counts(data):
    return [int(data[f"{part}_mask"].sum()) for part in ("train", "val", "test")]


def disjoint(data):
    return bool((data.train_mask.int() + data.val_mask.int() + data.test_mask.int() <= 1).all())


@pytest.mark.parametrize(("name", "share"), [("cora", 0.05), ("citeseer", 0.05), ("pubmed", 0.01)])
def test_icgnn_splits_the_largest_component_by_class(name, share):
    data = planted([300, 200, 500])
    n = data.num_nodes
    # A component of its own.
    lonely = Data(
        x=torch.cat([data.x, torch.zeros(2, 2)]),
        y=torch.cat([data.y, torch.tensor([0, 1])]),
        edge_index=torch.cat([data.edge_index, torch.tensor([[n, n + 1], [n + 1, n]])], 1),
    )
    split = published_split(lonely, "icgnn", name, 0)
    assert split.num_nodes <= n
    train, val, test = counts(split)
    assert train == int(share * split.num_nodes)
    assert abs(val - 0.1 * split.num_nodes) < 1
    assert test == math.ceil(0.8 * split.num_nodes)
    assert disjoint(split)
    shares = torch.bincount(split.y[split.test_mask]) / test
    assert torch.allclose(shares, torch.bincount(split.y) / split.num_nodes, atol=0.01)
    assert torch.equal(published_split(lonely, "icgnn", name, 0).train_mask, split.train_mask)
    assert not torch.equal(published_split(lonely, "icgnn", name, 1).train_mask, split.train_mask)


def test_icgnn_splits_other_data_at_random():
    split = published_split(planted([600, 400]), "icgnn", "dblp", 0)
    assert counts(split) == [10, 100, 800]
    assert disjoint(split)


def test_noisygl_splits():
    data = planted([600, 400, 1000])
    data.update(datasets.split_masks(data.y, num_val=30, num_test=40))
    assert published_split(data, "noisygl", "cora", 0) is data
    assert counts(published_split(data, "noisygl", "amazon-photo", 0)) == [60, 500, 1000]
    assert counts(published_split(data, "noisygl", "dblp", 0)) == [20, 300, 1680]
    with pytest.raises(InputError, match=r"protocol: expected one of .* with noisygl, got coauthor-cs"):
        published_split(data, "noisygl", "coauthor-cs", 0)


def test_a_protocol_fixes_fields_of_the_grid():
    erase = NodesGrid(protocol="erase").resolved()
    assert (erase.select, erase.erase_stream) == ("clean", True)
    icgnn = NodesGrid(protocol="icgnn", datasets=["cora", "dblp"], noise=["pair", "symmetric"]).resolved()
    assert icgnn.select == "clean"
    assert icgnn.datasets == ("cora:protocol=icgnn", "dblp:protocol=icgnn")
    assert [spec.options for spec in icgnn.noise] == [{"offset": -1}, {}]
    noisygl = NodesGrid(protocol="noisygl", datasets=["dblp:split_seed=draw"]).resolved()
    assert (noisygl.select, noisygl.datasets) == ("noisy", ("dblp:split_seed=draw,protocol=noisygl",))
    honest = NodesGrid().resolved()
    assert (honest.select, honest.erase_stream) == ("noisy", False)
    assert honest.resolved() == honest
    assert NodesGrid(select="clean").resolved().select == "clean"
    assert NodesGrid(select="clean", protocol="icgnn").resolved().select == "clean"


def test_what_contradicts_a_protocol_is_refused():
    with pytest.raises(InputError, match="protocol: expected one of erase, honest, icgnn, noisygl"):
        NodesGrid(protocol="icgn")
    with pytest.raises(InputError, match=r"^dataset: expected a data set with a name, of which icgnn has a split, got"):
        Nodes().cells(NodesGrid(protocol="icgnn", datasets=["planted(n=100,block=50,p=0.1,q=0.01)"]))
    with pytest.raises(InputError, match="split_sizes: expected none next to a protocol"):
        Nodes().cells(NodesGrid(protocol="icgnn", datasets=["cora"], split_sizes="20/30/40"))
    with pytest.raises(InputError, match="protocol: expected one of icgnn, noisygl"):
        Nodes().cells(NodesGrid(datasets=["cora:protocol=honest"]))


@pytest.mark.parametrize(
    ("protocol", "settings", "message"),
    [
        ("erase", {"select": "noisy"}, "select: expected 'clean' with protocol erase, got 'noisy'"),
        ("icgnn", {"select": "noisy"}, "select: expected 'clean' with protocol icgnn, got 'noisy'"),
        ("noisygl", {"select": "clean"}, "select: expected 'noisy' with protocol noisygl, got 'clean'"),
        ("erase", {"erase_stream": False}, "erase_stream: expected True with protocol erase, got False"),
    ],
)
def test_a_field_that_is_set_is_never_overridden(protocol, settings, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        Nodes().cells(NodesGrid(protocol=protocol, **settings))


def test_pair_noise_turns_either_way():
    assert noise.pair(3, 0.25, offset=-1).matrix[0].tolist() == [0.75, 0.0, 0.25]
    assert torch.equal(noise.pair(4, 0.5, offset=5).matrix, noise.pair(4, 0.5).matrix)
    with pytest.raises(InputError, match="offset: expected no multiple of 3"):
        noise.pair(3, 0.25, offset=-3)

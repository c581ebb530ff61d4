import hashlib
import runpy
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.io import read_planetoid_data
from torch_geometric.utils import coalesce

from graphnoise import DataError
from graphnoise.datasets.citation import read_cora_raw, read_planetoid
from graphnoise.datasets.manifest import manifest_folder
from graphnoise.datasets.raw import SPLITS, to_data

# N, undirected edges, classes, features, training nodes, edges among these: the published counts.
PUBLISHED = {
    "cora": (2708, 5278, 7, 1433, 140, 21),
    "citeseer": (3327, 4552, 6, 3703, 120, 8),
    "pubmed": (19717, 44324, 3, 500, 60, 0),
}

# Of the graph in Planetoid's files.
CORA = "1cbb749d19733921af06aab5bc41ebbcefe95a98c0cfb95df3f34a827a8b22fc"


def equal(first, second):
    return all(torch.equal(first[key], second[key]) for key in ("x", "y", "edge_index", *SPLITS))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_counts(graph, name):
    nodes, edges, classes, features, train, inside = PUBLISHED[name]
    data = graph(name)
    assert (data.num_nodes, data.edge_index.shape[1] // 2, data.num_classes) == (nodes, edges, classes)
    assert data.x.shape == (nodes, features)
    assert (data.x.dtype, data.edge_index.dtype, data.y.dtype) == (torch.float32, torch.int64, torch.int64)
    assert data.is_undirected()
    assert data.is_coalesced()
    assert not data.has_self_loops()
    assert [int(data[key].sum()) for key in SPLITS] == [train, 500, 1000]
    assert data.y[data.train_mask].bincount().tolist() == [20] * classes
    assert bool((data.train_mask.int() + data.val_mask.int() + data.test_mask.int() <= 1).all())
    assert int(data.train_mask[data.edge_index].all(0).sum()) == 2 * inside
    data.validate(raise_on_error=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_graph_is_the_one_of_torch_geometric(graph, available, name, request):
    folder = request.getfixturevalue("planetoid_cora") if name == "cora" else available(name)
    with warnings.catch_warnings():
        # NumPy's and SciPy's, on the old names inside these pickles.
        warnings.simplefilter("ignore")
        theirs = read_planetoid_data(str(folder), name)
    # They sort by column.
    theirs.edge_index = coalesce(theirs.edge_index)
    assert equal(graph(name), theirs)


def test_raw_cora_is_planetoids_cora_bit_for_bit(planetoid_cora):
    raw, planetoid = read_cora_raw(planetoid_cora), read_planetoid(planetoid_cora, "cora")
    assert equal(to_data(raw, "cora"), to_data(planetoid, "cora"))
    assert raw.arcs.shape[1] == 5429
    assert len(np.unique(raw.arcs, axis=1).T) == 5429
    assert raw.x.nnz == 49216


def test_raw_cora_gives_the_public_split_and_edges(graph):
    data = graph("cora")
    content = b"".join(data[key].numpy().tobytes() for key in ("x", "y", "edge_index", *SPLITS))
    # Also where only the raw files can be had.
    assert hashlib.sha256(content).hexdigest() == CORA
    assert data.test_mask.nonzero().flatten().tolist() == list(range(1708, 2708))
    assert data.y.bincount().tolist() == [351, 217, 418, 818, 426, 298, 180]


def test_the_order_of_cora_can_be_derived_again(planetoid_cora, tmp_path):
    (tmp_path / "splits").mkdir()
    script = shutil.copy(Path(__file__).parents[2] / "datasets" / "derive_cora_order.py", tmp_path)
    runpy.run_path(script)["main"](planetoid_cora)
    derived = (tmp_path / "splits" / "cora.csv").read_text()
    assert derived == (manifest_folder() / "splits" / "cora.csv").read_text()


def test_citeseers_nodes_without_a_row_are_empty_and_in_no_split(graph, available):
    data = graph("citeseer")
    raw = read_planetoid(available("citeseer"), "citeseer")
    assert raw.absent == 15
    listed = np.loadtxt(available("citeseer") / "ind.citeseer.test.index", dtype=int)
    absent = np.setdiff1d(np.arange(2312, 3327), listed)
    assert len(absent) == 15
    assert not data.x[absent].any()
    # Class 0, as in PyG.
    assert not data.y[absent].any()
    assert not any(data[key][absent].any() for key in SPLITS)
    degree = data.edge_index[0].bincount(minlength=3327)
    # They are cited, whatever the list of isolated nodes says.
    assert degree[absent].tolist() == [1] * 8 + [2] + [1] * 6
    assert int((degree == 0).sum()) == 48
    assert int((raw.arcs[0] == raw.arcs[1]).sum()) == 248


@pytest.mark.parametrize("part", ["tx", "allx", "y", "ty", "ally", "graph", "test.index"])
def test_a_damaged_file_is_named(available, tmp_path, part):
    folder = available("citeseer")
    for file in folder.glob("ind.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / f"ind.citeseer.{part}"
    whole = damaged.read_bytes()
    for content in (b"", whole[: len(whole) // 3], whole[:-2], b"cos\nsystem\n(S'true'\ntR."):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match=rf"ind\.citeseer\.({part}|\*)"):
            read_planetoid(tmp_path, "citeseer")
    damaged.unlink()
    with pytest.raises(DataError, match=rf"ind\.citeseer\.{part}: No such file"):
        read_planetoid(tmp_path, "citeseer")


CONTENT = "31336\t0\t1\tNeural_Networks\n35\t1\t0\tTheory\n"


@pytest.mark.parametrize(
    ("content", "cites", "message"),
    [
        (CONTENT, "35\t36\n", "cora.cites: a citation of a paper"),
        (CONTENT, "35\n", "cora.cites"),
        (CONTENT, "a b\n", "cora.cites"),
        (CONTENT.replace("35", "31336"), "", "cora.content: a paper has two rows"),
        (CONTENT.replace("\t1\t0", "\t1\t2"), "", "cora.content: expected words as 0 or 1"),
        (CONTENT.replace("1\t0", "100"), "", "cora.content: expected words as 0 or 1"),
        (CONTENT.replace("Theory", "Theology"), "", "cora.content"),
        (CONTENT[:-20], "", "cora.content"),
        ("", "", "cora.content"),
        (CONTENT, "35\t31336\n", "cora.content: expected the 2708 papers"),
    ],
)
def test_odd_raw_files_are_named(tmp_path, content, cites, message):
    (tmp_path / "cora.content").write_text(content)
    (tmp_path / "cora.cites").write_text(cites)
    with pytest.raises(DataError, match=message):
        read_cora_raw(tmp_path)

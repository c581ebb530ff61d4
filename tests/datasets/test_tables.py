"""Graphs from tables, folders of raw files and `.pt` files."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from graphnoise.datasets import load, load_folder, load_pt, planted_partition, read_edges, read_frame
from graphnoise.errors import DataError, InputError

EDGES = [("NA", "null"), ("null", "x"), ("x", "NA"), ("x", "x"), ("NA", "null")]
# Arcs of EDGES in the order of the labels' nodes: x, NA, lone, null.
ARCS = [[1, 3, 3, 0, 0, 1, 0, 1, 3], [3, 1, 0, 3, 1, 0, 0, 3, 1]]
LABELS = "node,label,split\nx,dog,train\nNA,,test\nlone,cat,\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("edges.csv", "source,target\n" + "".join(f"{a},{b}\n" for a, b in EDGES)),
        ("edges.tsv", "u\tv\n" + "".join(f"{a}\t{b}\n" for a, b in EDGES)),
        ("edges.txt", "# a comment\nfrom to\n" + "".join(f"{a}  {b}\n" for a, b in EDGES)),
        ("edges.csv.gz", "target,source,other\n" + "".join(f"{b},{a},9\n" for a, b in EDGES)),
        ("edges.parquet", None),
    ],
)
def test_formats_and_ids(tmp_path, name, text):
    path = tmp_path / name
    if text is None:
        pd.DataFrame(EDGES, columns=["Source", "Target"]).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (tmp_path / "labels.csv").write_text(LABELS)
    data = read_edges(path, tmp_path / "labels.csv")
    assert data.names == ["x", "NA", "lone", "null"]
    assert data.edge_index.tolist() == ARCS
    assert (data.y.tolist(), data.classes) == ([1, -1, 0, -1], ["cat", "dog"])
    assert data.train_mask.tolist() == [True, False, False, False]
    assert data.test_mask.tolist() == [False, True, False, False]
    assert data.val_mask.sum() == 0


@pytest.mark.parametrize(
    ("edges", "labels", "names", "arcs", "classes"),
    [
        # A column of numbers beside one of text.
        ("001,002\n002,x3\n", "001,a\n", ["001", "002", "x3"], [[0, 1, 1, 2], [1, 0, 2, 1]], ["a"]),
        ("1,2.0\n2.0,3.5\n", "1,a\n", ["1", "2.0", "3.5"], [[0, 1, 1, 2], [1, 0, 2, 1]], ["a"]),
        ("001,002\n002,003\n", "001,a\nx,b\n", ["001", "x", "002", "003"], [[0, 2, 2, 3], [2, 0, 3, 2]], ["a", "b"]),
        # White space around fields.
        ("p, q\nq ,r\n", "q, a\nr , b \n", ["q", "r", "p"], [[2, 0, 0, 1], [0, 2, 1, 0]], ["a", "b"]),
    ],
)
def test_equal_ids_are_one_node(tmp_path, edges, labels, names, arcs, classes):
    (tmp_path / "edges.csv").write_text("source, target\n" + edges)
    (tmp_path / "labels.csv").write_text("node,label\n" + labels)
    data = read_edges(tmp_path / "edges.csv", tmp_path / "labels.csv")
    assert (data.names, data.edge_index.tolist(), data.classes) == (names, arcs, classes)


def test_tables_of_other_nodes_are_refused():
    edges = pd.DataFrame({"source": ["a", "b"], "target": ["b", "c"]})
    others = pd.DataFrame({"node": ["A", "B"], "label": [0, 1]})
    message = "ids of nodes of which edges has some, got none of them, the first 'A' there and 'a' in edges"
    with pytest.raises(InputError, match=rf"labels\.node: expected {message}"):
        read_edges(edges, others)
    with pytest.raises(InputError, match=rf"features\.node: expected {message}"):
        read_edges(edges, features=others)
    assert read_edges(edges.iloc[:0], others).num_nodes == 2


def test_integer_ids_headers_weights_directions_and_features(tmp_path):
    plain = tmp_path / "plain.csv"
    plain.write_text("3000000000,7\n7,1000000000000000\n")
    assert read_edges(plain).names == [3_000_000_000, 7, 10**15]
    plain.write_text("a,b\n1,2\n")
    assert read_edges(plain).names == [1, 2]
    assert read_edges(plain, header=False).names == ["a", "1", "b", "2"]
    edges = pd.DataFrame({"w": [1.5, 0, 2], "b": [2, 1, 1], "a": [1, 2, 1]})
    data = read_edges(edges, columns=("a", "b"), weight="w", directed=True)
    assert (data.edge_index.tolist(), data.edge_weight.tolist()) == ([[0, 0], [1, 0]], [1.5, 2.0])
    data = read_edges(edges, columns=("a", "b"), weight="w")
    assert (data.edge_index.tolist(), data.edge_weight.tolist()) == ([[0, 1, 0], [1, 0, 0]], [1.5, 1.5, 2.0])
    features = pd.DataFrame({"node": [2, 9], "f": [1, 2], "g": [0.5, 0.25]})
    labels = pd.DataFrame({"id": [9, 1], "y": [4, -1], "y_true": [4.0, np.nan]})
    data = read_edges(edges, labels, features, columns=("a", "b"), weight="w")
    assert data.names == [9, 1, 2]
    assert data.x.tolist() == [[2, 0.25], [0, 0], [1, 0.5]]
    assert (data.y.tolist(), data.y_true.tolist(), data.classes) == ([0, -1, -1], [0, -1, -1], [4])
    mixed = read_edges(pd.DataFrame({"source": [1, 2], "target": ["a", "1"]}))
    assert mixed.names == ["1", "2", "a"]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", {}, r"^.*edges\.csv: No columns to parse"),
        ("one\n1\n", {}, r"^edges: expected at least two columns"),
        ("source,target\n1,\n", {}, r"^edges\.target: expected an id in every row, got none in row 0"),
        ("source,target\n1,2,3\n", {}, r"^.*edges\.csv: Error tokenizing data.*line 2"),
        (
            "source,target,weight\n1,2,-1\n",
            {},
            r"^edges\.weight: expected finite weights of at least 0, got -1 in row 0",
        ),
        ("source,target,weight\n1,2,\n", {}, r"^edges\.weight: expected finite weights"),
        ("source,target,weight\n1,2,inf\n", {}, r"^edges\.weight: expected finite weights"),
        ("source,target\n", {}, r"^edges: expected at least one edge or node"),
        ("source,target\n1,2\n", {"weight": "wieght"}, r"^weight: expected one of source, target"),
        ("source,target\n1,2\n", {"columns": ("a", "target")}, r"^columns: expected one of source, target, got 'a'"),
        ("source,target\n1,2\n", {"columns": "target"}, r"^columns: expected the names of two columns"),
        ("source,target\n1,2\n", {"labels": "node,label\n1,a\n1,b\n"}, r"^labels\.node: expected every node once"),
        ("source,target\n1,2\n", {"labels": "node,label\n1,0.5\n"}, r"^labels\.label: expected integers as class"),
        ("source,target\n1,2\n", {"labels": "node,label,split\n1,0,tran\n"}, r"^labels\.split: .*mean 'train'"),
        (
            "source,target\n1,2\n",
            {"labels": "node,label,y_true\n1,0,5\n"},
            r"^labels\.y_true: expected classes of label",
        ),
        (
            "source,target\n1,2\n",
            {"features": "node,f\n1,x\n"},
            r"^features\.f: expected finite numbers, got x in row 0",
        ),
        ("source,target\n1,2\n", {"labels": 7}, r"^labels: expected a path or a pandas DataFrame, got int"),
    ],
)
def test_bad_tables_are_named(tmp_path, content, arguments, message):
    (tmp_path / "edges.csv").write_text(content)
    for name in ("labels", "features"):
        if isinstance(arguments.get(name), str):
            path = tmp_path / f"{name}.csv"
            path.write_text(arguments[name])
            arguments = {**arguments, name: path}
    with pytest.raises((InputError, DataError), match=message):
        read_edges(tmp_path / "edges.csv", **arguments)


def test_other_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^path: expected a file that ends in \.csv, .* or \.parquet, got .*a\.json"):
        read_frame(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"^path: expected a folder, got '~nosuch/a\.csv', and there is no such home"):
        read_frame("~nosuch/a.csv")
    with pytest.raises(DataError, match=r"nowhere\.csv: No such file"):
        read_edges(tmp_path / "nowhere.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and more")
    with pytest.raises(DataError, match=r"bad\.parquet: "):
        read_edges(tmp_path / "bad.parquet")
    (tmp_path / "bad.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n")[:-9])
    with pytest.raises(DataError, match=r"bad\.csv\.gz: "):
        read_edges(tmp_path / "bad.csv.gz")
    monkeypatch.setattr("graphnoise.io.MAX_TEXT", 7)
    (tmp_path / "long.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(DataError, match=r"long\.csv\.gz: expected at most 7 bytes of text"):
        read_frame(tmp_path / "long.csv.gz")


def test_load_takes_tables_tensors_and_folders(tmp_path):
    planted = planted_partition([40, 40], 0.3, 0.05, num_features=3, split=(5, 10, 20), seed=0)
    names = np.array(["in", "out"])[planted.y]
    pd.DataFrame({"node": np.arange(80), "label": names}).to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame(planted.edge_index.T.numpy(), columns=["a", "b"]).to_csv(tmp_path / "edges.csv", index=False)
    data = load(tmp_path / "edges.csv", labels=tmp_path / "labels.csv", split_sizes=(5, 0.25, 20))
    assert (data.name, data.classes, data.num_classes, data.x.shape) == ("edges", ["in", "out"], 2, (80, 0))
    assert torch.equal(data.edge_index, planted.edge_index)
    assert [int(data[key].sum()) for key in ("train_mask", "val_mask", "test_mask")] == [10, 20, 20]
    torch.save(planted.to_dict(), tmp_path / "tensors.pt")
    data = load(tmp_path / "tensors.pt")
    for key in ("x", "y", "edge_index", "train_mask", "test_mask"):
        assert torch.equal(data[key], planted[key])
    with pytest.raises(
        InputError, match=r"^labels: expected a table of labels for the edges in .*edges\.csv, got none"
    ):
        load(tmp_path / "edges.csv")
    with pytest.raises(InputError, match=r"^labels: expected none with .*tensors\.pt"):
        load(tmp_path / "tensors.pt", labels="labels.csv")
    with pytest.raises(InputError, match=r"^split_sizes: expected three sizes"):
        load(tmp_path / "tensors.pt", split_sizes=(1, 2))
    with pytest.raises(InputError, match=r"^split: expected none, as .* has one split, got 4"):
        load(tmp_path / "tensors.pt", split=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Data(y=torch.zeros(2)), "expected tensors only, as torch.save"),
        (torch.zeros(2), "expected a dictionary of tensors, got Tensor"),
        ({"y": torch.zeros(2)}, "expected tensors edge_index and y, got none named edge_index"),
        ({"y": [0, 1], "edge_index": torch.zeros(2, 0)}, "got none named y"),
        (
            {"y": torch.zeros(2), "edge_index": torch.tensor([[0], [5]])},
            "edge_index: expected node positions from 0 to 1",
        ),
        (
            {"y": torch.zeros(2), "x": torch.ones(3, 1), "edge_index": torch.zeros(2, 0)},
            "x: expected numbers in 2 rows",
        ),
    ],
)
def test_bad_tensor_files_are_named(tmp_path, content, message):
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=rf"bad\.pt: .*{message}"):
        load_pt(tmp_path / "bad.pt")
    (tmp_path / "bad.pt").write_bytes((tmp_path / "bad.pt").read_bytes()[:100])
    with pytest.raises(DataError, match=r"bad\.pt: expected tensors only"):
        load_pt(tmp_path / "bad.pt")


@pytest.mark.parametrize("kind", ["webkb", "actor"])
def test_folders_of_text_graphs(tmp_path, kind):
    folder = tmp_path / "texas" / "raw"
    folder.mkdir(parents=True)
    features = {"webkb": ["0,1,1", "1,0,0", "0,0,0"], "actor": ["1,2", "0", "2"]}[kind]
    rows = "".join(f"{node}\t{features[node]}\t{node % 2}\n" for node in (2, 0, 1))
    (folder / "out1_node_feature_label.txt").write_text("node_id\tfeature\tlabel\n" + rows)
    (folder / "out1_graph_edges.txt").write_text("node_id\tnode_id\n0\t1\n1\t0\n2\t2\n2\t1\n")
    for k in (10, 9, 0):
        masks = {"train_mask": np.arange(3) == k % 3, "val_mask": np.zeros(3, int), "test_mask": np.arange(3) != k % 3}
        np.savez(folder / f"texas_split_0.6_0.2_{k}.npz", **masks)
    data = load_folder(tmp_path / "texas")
    last = [0.0, 0.0, 0.0] if kind == "webkb" else [0.0, 0.0, 1.0]
    assert data.x.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], last]
    assert (data.y.tolist(), data.name) == ([0, 1, 0], "texas")
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert data.train_mask.nonzero().tolist() == [[0, 0], [0, 1], [1, 2]]
    assert load(str(tmp_path / "texas"), split=2).train_mask.tolist() == [False, True, False]
    (folder / "out1_graph_edges.txt").write_text("node_id\tnode_id\n0\t3\n")
    with pytest.raises(DataError, match="edge_index: expected node positions from 0 to 2"):
        load_folder(tmp_path / "texas")
    (folder / "out1_node_feature_label.txt").write_text("node_id\tfeature\tlabel\n0\t1\t0\n5\t1\t0\n")
    with pytest.raises(DataError, match="expected the nodes 0 to 1, each once"):
        load_folder(tmp_path / "texas")


def test_a_folder_of_nothing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected raw files of Planetoid, WebKB or Actor, one \.npz file"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load(str(tmp_path / "nowhere"))

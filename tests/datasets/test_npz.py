import os
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_matrix
from torch_geometric.data import Data

from graphnoise import DataError, InputError
from graphnoise.datasets import load, load_npz, save_npz
from graphnoise.datasets.raw import to_data
from graphnoise.labels import read_labels


def same(first: Data, second: Data) -> bool:
    keys = set(first.keys()) | set(second.keys())
    return all(
        torch.equal(first[key], second[key]) if torch.is_tensor(first[key]) else first[key] == second[key]
        for key in keys - {"num_nodes"}
    )


def parts(prefix: str, matrix: csr_matrix) -> dict:
    named = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": np.array(matrix.shape)}
    return {f"{prefix}_{key}": part for key, part in named.items()}


@pytest.fixture
def fields(small):
    """The arrays of a correct file."""
    return {"edge_index": small.arcs, "x": small.x.toarray(), "y": small.y}


def write(path, fields):
    np.savez(path, **fields)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    arrays(np.int64, (2, 7), elements=st.integers(0, 5)),
    arrays(np.float32, (6, 3), elements=st.floats(-100, 100, width=32)),
    arrays(np.int64, 6, elements=st.integers(0, 3)),
    st.lists(st.sampled_from(["train_mask", "val_mask", "test_mask", None]), min_size=6, max_size=6),
)
def test_what_is_saved_comes_back(tmp_path, arcs, x, y, where):
    data = Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(arcs), y=torch.from_numpy(y), name="a set")
    for key in ("train_mask", "val_mask", "test_mask"):
        data[key] = torch.tensor([split == key for split in where])
    once = load_npz(save_npz(data, tmp_path / "a.npz"))
    assert torch.equal(once.x, data.x)
    assert torch.equal(once.y, read_labels(data.y).codes)
    assert once.get("classes", list(range(once.num_classes))) == sorted(set(y.tolist()))
    assert once.name == "a set"
    assert all(torch.equal(once[key], data[key]) for key in ("train_mask", "val_mask", "test_mask"))
    assert same(load_npz(save_npz(once, tmp_path / "b.npz")), once)
    assert (tmp_path / "a.npz").read_bytes()[:2] == b"PK"
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b.npz"]


def test_every_documented_layout_gives_the_same_graph(tmp_path, small, fields):
    expected = to_data(small, "a")
    adjacency = csr_matrix((np.ones(5), tuple(small.arcs)), shape=(5, 5))
    boxed = {key: np.empty((), dtype=object) for key in ("adj_matrix", "node_attr", "metadata")}
    boxed["adj_matrix"][()], boxed["node_attr"][()], boxed["metadata"][()] = adjacency, small.x, {"names": ["a", "b"]}
    binary = {key: part for key, part in parts("adj", adjacency).items() if key in ("adj_indptr", "adj_indices")}
    layouts = {
        "plain": fields,
        "csr": {**binary, "x": fields["x"].astype(np.float64), "y": small.y.astype(np.int32)},
        "gnn-benchmark": {**parts("adj", adjacency), **parts("attr", small.x), "labels": small.y},
        "attr-matrix": {**parts("adj", adjacency), "attr_matrix": fields["x"], "labels": small.y.astype(float)},
        "graphdata": {**boxed, "node_label": small.y.astype(np.int32)},
        "compressed": fields,
    }
    for name, content in layouts.items():
        path = tmp_path / f"{name}.npz"
        (np.savez_compressed if name == "compressed" else np.savez)(path, **content)
        data = load_npz(path)
        assert data.name == name
        assert same(data, Data(**{**expected.to_dict(), "name": name})), name


def test_a_stored_zero_is_no_arc(tmp_path, fields):
    del fields["edge_index"]
    matrix = csr_matrix((np.array([0.0, 2.0]), (np.array([0, 1]), np.array([1, 2]))), shape=(5, 5))
    assert load_npz(write(tmp_path / "a.npz", fields | parts("adj", matrix))).edge_index.tolist() == [[1, 2], [2, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "y: expected labels under one of the keys y, labels, node_label"),
        ({"edge_index": None}, "edge_index: expected the key edge_index, or CSR parts adj_indptr"),
        ({"x": np.full((5, 2), np.nan)}, "x: expected finite numbers, got 10"),
        ({"x": np.zeros((4, 2))}, "x: expected numbers in 5 rows"),
        ({"edge_index": np.array([[0], [5]])}, "edge_index: expected node positions from 0 to 4"),
        ({"edge_index": np.array([[0, 1], [1, 2], [2, 3]])}, r"edge_index: expected shape \[2, num_arcs\]"),
        ({"y": np.zeros(0, int)}, "y: expected one label per node"),
        ({"y": np.array([0, 1, 0.5, 1, 1])}, "y: expected integers as class labels"),
        ({"train_mask": np.ones(4, bool)}, "train_mask: expected a Boolean mask of 5 entries"),
        ({"train_mask": np.array([0, 1])}, "train_mask: expected a Boolean mask"),
        (
            {"x": None, "attr_data": np.ones(1), "attr_indices": np.zeros(1, int), "attr_indptr": np.ones(6, int)},
            "attr",
        ),
        ({"edge_index": None, "adj_indptr": np.array([0, 1, 1, 1, 1, 1]), "adj_indices": np.array([9])}, "ind"),
        ({"edge_index": None, "adj_indptr": np.array([0, 1]), "adj_indices": np.array([0])}, "do not fit"),
        ({"edge_index": None, **parts("adj", csr_matrix(np.eye(4)))}, "adjacency: expected 5 rows"),
        ({"edge_index": None, **parts("adj", csr_matrix(np.full((5, 5), np.nan)))}, "adjacency: expected finite"),
        ({"y": np.array([{}] * 5, dtype=object)}, "y: refused"),
    ],
)
def test_bad_files_give_one_error_that_names_file_and_field(tmp_path, fields, change, message):
    content = {key: value for key, value in (fields | change).items() if value is not None}
    with pytest.raises(DataError, match=rf"bad\.npz: .*{message}"):
        load_npz(write(tmp_path / "bad.npz", content))


def test_a_file_cut_anywhere_gives_one_error(tmp_path, fields):
    whole = write(tmp_path / "a.npz", fields).read_bytes()
    for size in range(0, len(whole) - 1, 37):
        (tmp_path / "a.npz").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.npz"):
            load_npz(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="not a zip file"):
        load(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("y.npy", b"")
    with pytest.raises(DataError, match="y: an encrypted or unusually compressed member"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("directory", r"y: more than 2,147,483,648 bytes"),
        ("header", r"y: 40 bytes for 1050000000 values of type int64"),
        ("shape", r"x: expected at most 2147483648 bytes as a dense float32 matrix, got shape \(200000, 10500\)"),
        ("password", r"y: an encrypted or unusually compressed member"),
    ],
)
def test_a_small_file_that_asks_for_gigabytes_or_a_password_is_refused_first(tmp_path, fields, place, message):
    if place == "shape":
        wide = csr_matrix((200_000, 10_500), dtype=np.float32)
        fields = {"edge_index": fields["edge_index"], "y": np.zeros(200_000, np.int8), **parts("attr", wide)}
    np.savez_compressed(tmp_path / "whole.npz", **fields)
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in whole.namelist():
            blob = whole.read(name)
            if place == "header" and name == "y.npy":
                # The padding of the header keeps its length.
                blob = blob.replace(b"(5,), }         ", b"(1050000000,), }")
            archive.writestr(name, blob, zipfile.ZIP_DEFLATED)
        member = archive.getinfo("y.npy")
        # What the directory at the end of the archive says.
        member.file_size = 8_400_000_000 if place == "directory" else member.file_size
        member.flag_bits |= place == "password"
    assert (tmp_path / "a.npz").stat().st_size < 4_000
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"a\.npz: {message}"):
            load_npz(tmp_path / "a.npz")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_what_cannot_be_saved_is_named_and_nothing_is_left(tmp_path, small):
    data = to_data(small, "a")
    with pytest.raises(InputError, match=r"^path: expected a file name that ends in \.npz"):
        save_npz(data, tmp_path / "a.npy")
    for key in ("edge_index", "y"):
        part = data.clone()
        del part[key]
        with pytest.raises(InputError, match=rf"^data\.{key}: expected a tensor, got none"):
            save_npz(part, tmp_path / "a.npz")
    part = data.clone()
    part.x[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"^x: expected finite numbers"):
        save_npz(part, tmp_path / "a.npz")
    assert os.listdir(tmp_path) == []


def test_load_draws_a_split_only_where_the_file_has_none(tmp_path, small):
    with pytest.raises(InputError, match="train_per_class: expected at least 20 nodes"):
        load(save_npz(to_data(small, "a"), tmp_path / "a.npz"))
    masks = {key: np.arange(5) == place for place, key in enumerate(["train_mask", "val_mask", "test_mask"])}
    data = load(str(save_npz(to_data(replace(small, masks=masks), "a"), tmp_path / "a.npz")))
    assert data.test_mask.tolist() == [False, False, True, False, False]
    del masks["val_mask"]
    with pytest.raises(DataError, match="val_mask: missing"):
        load(save_npz(to_data(replace(small, masks=masks), "a"), tmp_path / "a.npz"))


def test_names_of_classes_missing_labels_and_no_features_are_saved(tmp_path):
    y = ["spam", None, "ham", "ham"]
    data = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), y=y, num_nodes=4)
    once = load_npz(save_npz(data, tmp_path / "a.npz"))
    twice = load_npz(save_npz(once, tmp_path / "b.npz"))
    for again in (once, twice):
        assert (again.y.tolist(), again.classes, again.x.shape) == ([1, -1, 0, 0], ["ham", "spam"], (4, 0))


def test_the_layout_of_the_heterophilous_graphs(tmp_path):
    content = {"node_features": np.eye(4), "node_labels": np.array([0, 1, 0, 1]), "edges": np.array([[0, 1], [2, 3]])}
    train = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]], bool)
    val, test = np.zeros_like(train), ~train
    path = write(tmp_path / "het.npz", {**content, "train_masks": train, "val_masks": val, "test_masks": test})
    data = load_npz(path)
    assert data.edge_index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert data.train_mask.T.tolist() == train.tolist()
    assert load(path, split=2).train_mask.tolist() == [True, False, False, True]
    with pytest.raises(InputError, match=r"^split: expected an integer from 0 to 2, got None"):
        load(path)
    with pytest.raises(InputError, match=r"^split: expected an integer from 0 to 2, got 3"):
        load(path, split=3)
    masks = load(path, split_sizes=(1, 1, 1))
    assert [int(masks[key].sum()) for key in ("train_mask", "val_mask", "test_mask")] == [2, 1, 1]

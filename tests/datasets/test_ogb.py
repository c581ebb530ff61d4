import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from graphnoise import DataError, InputError
from graphnoise.datasets import load, load_npz, load_ogb, save_npz

FILES = {
    "raw/num-node-list.csv.gz": "5\n",
    "raw/num-edge-list.csv.gz": "4\n",
    "raw/edge.csv.gz": "0,1\n1,0\n2,2\n3,1\n",
    "raw/node-feat.csv.gz": "0.5,1\n2,-3\n0,0\n1e-3,4\n5,6\n",
    "raw/node-label.csv.gz": "0\n1\n0\nnan\n2\n",
    "raw/node_year.csv.gz": "2011\n2012\n2013\n2014\n2015\n",
    "split/time/train.csv.gz": "0\n1\n",
    "split/time/valid.csv.gz": "2\n",
    "split/time/test.csv.gz": "4\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        put(tmp_path / "toy" / name, text)
    return tmp_path / "toy"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def test_a_folder_gives_all_fields(folder, tmp_path):
    data = load(f"ogb:{folder}")
    assert data.name == "toy"
    assert data.edge_index.tolist() == [[0, 1, 1, 3], [1, 0, 3, 1]]
    assert data.x.tolist() == torch.tensor([[0.5, 1], [2, -3], [0, 0], [1e-3, 4], [5, 6]]).tolist()
    # NaN: no label.
    assert data.y.tolist() == [0, 1, 0, -1, 2]
    assert data.num_classes == 3
    assert data.node_year.tolist() == [2011, 2012, 2013, 2014, 2015]
    masks = [data[key].nonzero().flatten().tolist() for key in ("train_mask", "val_mask", "test_mask")]
    assert masks == [[0, 1], [2], [4]]
    again = load_npz(save_npz(data, tmp_path / "toy.npz"))
    assert torch.equal(again.y, data.y)
    assert torch.equal(again.test_mask, data.test_mask)


def test_counts_may_lie_beside_raw_and_years_may_be_absent(folder):
    for name in ("num-node-list.csv.gz", "num-edge-list.csv.gz"):
        (folder / "raw" / name).rename(folder / name)
    (folder / "raw" / "node_year.csv.gz").unlink()
    assert "node_year" not in load_ogb(folder)


def test_the_scheme_is_asked_for_only_where_there_are_several(folder):
    for part in ("train", "valid", "test"):
        put(folder / "split" / "random" / f"{part}.csv.gz", {"train": "4\n", "valid": "0\n", "test": "1\n"}[part])
    assert load_ogb(folder, "random").train_mask.nonzero().item() == 4
    with pytest.raises(InputError, match=r"^scheme: expected one of random, time, got none"):
        load_ogb(folder, None)
    with pytest.raises(InputError, match=r"did you mean 'time'"):
        load_ogb(folder, "tine")


@pytest.mark.parametrize("name", sorted(set(FILES) - {"raw/node_year.csv.gz"}))
def test_a_missing_or_damaged_file_is_named(folder, name):
    whole = (folder / name).read_bytes()
    stem = os.path.basename(name)
    for content in (b"", whole[:-9], whole[: len(whole) // 2], b"no gzip", gzip.compress(b""), gzip.compress(b"a,b\n")):
        (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=stem):
            load_ogb(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{stem}: .*(not found|No such file)"):
        load_ogb(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("raw/edge.csv.gz", "0,1\n1,0\n2,2\n3,5\n", "edge_index: expected node positions from 0 to 4"),
        ("raw/edge.csv.gz", "0,1\n", "edge.csv.gz: expected 4 rows, got 1"),
        ("raw/edge.csv.gz", "0,1,2\n" * 4, "edge_index: expected shape"),
        ("raw/edge.csv.gz", "0,1\n0\n0,1\n0,1\n", "edge.csv.gz"),
        ("raw/node-feat.csv.gz", "nan,1\n2,-3\n0,0\n1,4\n5,6\n", "x: expected finite numbers, got 1"),
        ("raw/node-feat.csv.gz", "1\n", "node-feat.csv.gz: expected 5 rows, got 1"),
        ("raw/node-label.csv.gz", "0,1\n" * 5, "expected one label per node, got 2 columns"),
        ("raw/node-label.csv.gz", "nan\n" * 5, "y: expected one label per node"),
        ("raw/node-label.csv.gz", "0\n" * 4, "node-label.csv.gz: expected 5 rows, got 4"),
        ("split/time/test.csv.gz", "3\n", "test_mask: expected labelled nodes only"),
        ("split/time/test.csv.gz", "1\n", "test_mask: expected splits that share no node"),
        ("split/time/test.csv.gz", "5\n", "split/time/test.csv.gz: expected node positions from 0 to 4"),
        ("split/time/test.csv.gz", "-1\n", "split/time/test.csv.gz: expected node positions from 0 to 4"),
    ],
)
def test_contents_that_contradict_are_named(folder, name, text, message):
    put(folder / name, text)
    with pytest.raises(DataError, match=message):
        load_ogb(folder)


def test_an_absent_folder_and_an_absent_split_are_named(folder):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_ogb(folder / "nowhere")
    (folder / "split").rename(folder / "splits")
    with pytest.raises(DataError, match="split: no folder of a split"):
        load_ogb(folder)


def test_the_real_labels_and_years_of_arxiv_give_the_official_split(tmp_path):
    root = os.environ.get("GRAPHNOISE_DATA")
    real = Path(root) / "ogbn-arxiv-partial" if root else None
    if real is None or not real.is_dir():
        pytest.skip("GRAPHNOISE_DATA must name a folder with ogbn-arxiv-partial")
    for name in ("node-label", "node_year", "num-node-list"):
        target = tmp_path / "raw" / f"{name}.csv.gz"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((real / f"{name}.csv.gz").read_bytes())
    years = np.loadtxt(real / "node_year.csv.gz", dtype=int)
    put(tmp_path / "raw" / "num-edge-list.csv.gz", "1\n")
    put(tmp_path / "raw" / "edge.csv.gz", "0,169342\n")
    put(tmp_path / "raw" / "node-feat.csv.gz", "0\n" * len(years))
    for part, chosen in (("train", years <= 2017), ("valid", years == 2018), ("test", years >= 2019)):
        put(tmp_path / "split" / "time" / f"{part}.csv.gz", "\n".join(map(str, np.flatnonzero(chosen))) + "\n")
    data = load_ogb(tmp_path)
    assert (data.num_nodes, data.num_classes) == (169343, 40)
    assert [int(data[key].sum()) for key in ("train_mask", "val_mask", "test_mask")] == [90941, 29799, 48603]
    assert (int(data.node_year.min()), int(data.node_year.max())) == (1971, 2020)

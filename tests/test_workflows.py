"""Data as the data sets and transforms of torch_geometric give them, with label noise and ERASE."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric import transforms as T
from torch_geometric.data import Data
from torch_geometric.datasets import Actor, Planetoid, WebKB

from graphnoise import ERASE, InputError, LabelPropagation, datasets
from graphnoise.datasets import planted_partition
from graphnoise.noise import LabelNoise

# Of torch_geometric's sparse tensors.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}") for text in ("Sparse invariant checks", "Sparse CSR tensor support")
]

SMALL = {"seed": 0, "epochs": 3, "encoder": "gcn"}


def accuracy(data, split=None):
    model = ERASE(**SMALL).fit(data, split=split)
    return model.score(data, split=split)


def blocks():
    return planted_partition([40, 40], 0.3, 0.02, num_features=8, split=(10, 10, 20), seed=0)


@pytest.mark.parametrize(
    "transform",
    [
        T.ToSparseTensor(),
        T.ToSparseTensor(layout=torch.sparse_coo, remove_edge_index=False),
        T.AddSelfLoops(),
        T.RandomNodeSplit(num_val=10, num_test=20),
        T.RandomNodeSplit(num_splits=3, num_val=10, num_test=20),
        T.Compose([T.ToUndirected(), T.RemoveIsolatedNodes(), T.LargestConnectedComponents()]),
    ],
    ids=["ToSparseTensor", "COO", "AddSelfLoops", "RandomNodeSplit", "three splits", "Compose"],
)
@pytest.mark.parametrize("noise_first", [False, True])
def test_transforms_before_and_after_label_noise(transform, noise_first):
    several = getattr(transform, "num_splits", 1) > 1
    split = 2 if several else None
    noise = LabelNoise("symmetric", 0.2, seed=1, split=None if noise_first else split)
    parts = [noise, transform] if noise_first else [transform, noise]
    data = T.Compose(parts)(blocks())
    assert 0 < data.noise_rate["train"] < 0.5
    assert torch.equal(data.flipped, data.y != data.y_true)
    assert accuracy(data, split) > 0.7
    if several:
        with pytest.raises(InputError, match=r"^data\.train_mask: .* got 3 splits: choose one \(split=0 to 2\)"):
            ERASE(**SMALL).fit(data)


def write_text_graph(folder: Path, name: str, features) -> None:
    """Write raw files as those of WebKB and Actor: two classes in two blocks, ten splits."""
    graph = blocks()
    folder.mkdir(parents=True)
    rows = "".join(f"{node}\t{features(node, int(graph.y[node]))}\t{int(graph.y[node])}\n" for node in range(80))
    (folder / "out1_node_feature_label.txt").write_text("node_id\tfeature\tlabel\n" + rows)
    arcs = "".join(f"{a}\t{b}\n" for a, b in graph.edge_index.t().tolist() if a < b)
    (folder / "out1_graph_edges.txt").write_text("node_id\tnode_id\n" + arcs)
    for k in range(10):
        order = np.random.default_rng(k).permutation(80)
        masks = {"train_mask": order < 48, "val_mask": (order >= 48) & (order < 64), "test_mask": order >= 64}
        np.savez(folder / f"{name}_split_0.6_0.2_{k}.npz", **{key: mask.astype(int) for key, mask in masks.items()})


@pytest.mark.parametrize("kind", ["webkb", "actor"])
def test_data_sets_with_ten_splits(kind, tmp_path):
    if kind == "webkb":
        write_text_graph(tmp_path / "texas" / "raw", "texas", lambda node, y: f"{y},{1 - y},{node % 2}")
        data = WebKB(str(tmp_path), "Texas")[0]
        ours = datasets.load(str(tmp_path / "texas"), split=3)
    else:
        write_text_graph(tmp_path / "raw", "film", lambda node, y: f"{y},{2 + node % 2}")
        data = Actor(str(tmp_path))[0]
        ours = datasets.load(str(tmp_path), split=3)
    assert data.train_mask.shape == (80, 10)
    assert torch.equal(ours.train_mask, data.train_mask[:, 3])
    assert torch.equal(ours.y, data.y)
    noisy = LabelNoise("pair", 0.2, seed=0, split=3)(data)
    flipped = noisy.flipped.nonzero().view(-1)
    assert (data.train_mask | data.val_mask)[flipped, 3].all()
    assert accuracy(noisy, 3) > 0.7


def test_an_ogb_shaped_set():
    # Labels [n, 1], some of them NaN, arcs in one direction, splits by positions.
    graph = blocks()
    y = graph.y[:, None].double()
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    train, val, test, rest = order.split([30, 20, 25, 5])
    y[rest] = float("nan")
    one_way = graph.edge_index[:, graph.edge_index[0] < graph.edge_index[1]]
    data = Data(x=graph.x, edge_index=one_way, y=y, num_nodes=80)
    data.train_mask, data.val_mask, data.test_mask = train, val, test
    noisy = LabelNoise("symmetric", 0.3, seed=0, exact=True)(data)
    assert noisy.y.shape == (80, 1)
    assert noisy.y[rest].isnan().all()
    assert noisy.noise_rate == {"train": 0.3, "val": 0.3}
    assert accuracy(T.ToUndirected()(noisy)) > 0.7
    assert LabelPropagation(5, 0.9).predict(noisy.y.view(-1), T.ToUndirected()(noisy), mask=train).shape == (80,)


def test_planetoid_of_torch_geometric(tmp_path):
    root = os.environ.get("GRAPHNOISE_DATA")
    if not root or not Path(root, "cora", "ind.cora.x").exists():
        pytest.skip("GRAPHNOISE_DATA must name a folder with Planetoid's Cora files")
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for path in Path(root, "cora").glob("ind.cora.*"):
        shutil.copy(path, raw)
    noise = LabelNoise("symmetric", 0.3, seed=0)
    data = Planetoid(str(tmp_path), "Cora", transform=T.Compose([noise, T.ToSparseTensor()]))[0]
    ours = noise(datasets.load(str(tmp_path / "Cora")))
    assert torch.equal(data.y, ours.y)
    small = {"seed": 0, "epochs": 5}
    scores = [ERASE(**small).fit(part).score(part) for part in (data, ours)]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    assert scores[0] > 0.6

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.utils import coalesce, remove_self_loops, to_undirected

from graphnoise import InputError
from graphnoise.datasets import split_masks
from graphnoise.datasets.raw import simple_arcs, to_data, unique


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=40))
def test_arcs_are_those_of_the_undirected_simple_graph(pairs):
    arcs = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    actual = simple_arcs(arcs, 9)
    given_arcs = torch.from_numpy(arcs.copy())
    expected = coalesce(remove_self_loops(to_undirected(given_arcs, num_nodes=9))[0], num_nodes=9)
    assert torch.equal(actual, expected)
    oracle = nx.Graph([pair for pair in pairs if pair[0] != pair[1]])
    assert actual.shape[1] == 2 * oracle.number_of_edges()
    assert actual.dtype == torch.int64


@given(st.lists(st.integers(-5, 5)))
def test_unique_is_numpys(values):
    array = np.array(values, dtype=np.int64)
    np.testing.assert_array_equal(unique(array), np.unique(array))


def test_fields_of_a_graph(small):
    data = to_data(small, "small")
    assert (data.name, data.num_classes, data.num_nodes) == ("small", 2, 5)
    assert data.x.dtype == torch.float32
    assert data.x[2].tolist() == [0, 0, 3]
    assert data.edge_index.tolist() == [[0, 1, 2, 4], [1, 0, 4, 2]]
    assert not data.has_self_loops()
    data.validate(raise_on_error=True)


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.uint64, np.int16, np.int32])
def test_every_integer_type_of_arcs_is_read(small, kind):
    assert torch.equal(
        to_data(replace(small, arcs=small.arcs.astype(kind)), "a").edge_index, to_data(small, "a").edge_index
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("arcs", [[0], [5]], r"^edge_index: expected node positions from 0 to 4, got values from 0 to 5"),
        ("arcs", [[0], [-1]], r"^edge_index: "),
        ("arcs", [[0, 1]], r"^edge_index: expected shape \[2, num_arcs\]"),
        ("arcs", [[0.5], [1.0]], r"^edge_index: expected integer"),
        ("arcs", np.array([[0], [1 << 63]], dtype=np.uint64), r"^edge_index: "),
        ("x", np.full((5, 2), np.nan), r"^x: expected finite numbers, got 10 NaN"),
        ("x", np.full((5, 2), 1e300), r"^x: expected finite numbers"),
        ("x", np.zeros((4, 2)), r"^x: expected numbers in 5 rows"),
        ("x", np.array([["a"]] * 5), r"^x: expected numbers"),
        ("x", np.zeros(5), r"^x: expected numbers in 5 rows"),
        ("y", [], r"^y: expected one label per node, of at least one node"),
        ("y", [[0, 1]] * 5, r"^y: "),
        ("y", [0, 1, np.inf, 0, 1], r"^y: expected integers as class labels"),
        ("y", [0, 1, 0.5, 0, 1], r"^y: expected integers as class labels"),
        ("y", [0, 1, -2, 0, 1], r"^y: expected labels of at least 0"),
        ("y", [-1] * 5, r"^y: "),
        ("masks", {"val_mask": np.ones(4, bool)}, r"^val_mask: expected a Boolean mask of 5 entries"),
        ("masks", {"val_mask": np.ones(5)}, r"^val_mask: "),
        (
            "masks",
            {"train_mask": np.ones(5, bool), "test_mask": np.ones(5, bool)},
            r"^test_mask: expected splits that share no node, got 5",
        ),
    ],
)
def test_contents_that_contradict_are_named(small, field, value, message):
    with pytest.raises(InputError, match=message):
        to_data(replace(small, **{field: value}), "small")


def test_a_matrix_too_large_to_be_dense_is_refused(small):
    x = small.x.copy()
    x.resize(5, 1 << 40)
    with pytest.raises(InputError, match=r"^x: expected at most \d+ bytes"):
        to_data(replace(small, x=x), "small")


def test_unlabelled_nodes_are_kept_and_stay_out_of_splits(small):
    y = np.array([0, 1, -1, 1, 0.0])
    assert to_data(replace(small, y=y), "a").y.tolist() == [0, 1, -1, 1, 0]
    masks = {"train_mask": np.array([True, True, True, False, False])}
    with pytest.raises(InputError, match=r"^train_mask: expected labelled nodes only, got 1"):
        to_data(replace(small, y=y, masks=masks), "a")
    drawn = split_masks(torch.tensor([0, 1, -1, 1, 0]), train_per_class=1, num_val=1, num_test=1)
    assert not any(bool(mask[2]) for mask in drawn.values())


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5), st.integers(1, 5))
def test_splits_have_their_sizes_and_share_nothing(seed, per_class, num_val, num_test, classes):
    y = torch.arange(40) % classes
    if per_class * classes + num_val + num_test > 40:
        return
    masks = split_masks(y, train_per_class=per_class, num_val=num_val, num_test=num_test, seed=seed)
    train, val, test = masks.values()
    assert y[train].bincount().tolist() == [per_class] * classes
    assert (int(val.sum()), int(test.sum())) == (num_val, num_test)
    assert int((train.int() + val.int() + test.int()).max()) <= 1
    again = split_masks(y, train_per_class=per_class, num_val=num_val, num_test=num_test, seed=seed)
    assert all(torch.equal(masks[key], again[key]) for key in masks)


def test_every_node_is_as_likely_in_a_split():
    y = torch.tensor([0] * 6 + [1] * 4)
    drawn = [split_masks(y, train_per_class=2, num_val=2, num_test=2, seed=seed) for seed in range(4000)]
    counts = {key: torch.stack([masks[key] for masks in drawn]).sum(0).numpy() for key in drawn[0]}
    rate = np.array([2 / 6] * 6 + [2 / 4] * 4)
    for key, expected in (("train_mask", rate), ("val_mask", (1 - rate) / 3), ("test_mask", (1 - rate) / 3)):
        spread = np.sqrt(4000 * expected * (1 - expected))
        assert (np.abs(counts[key] - 4000 * expected) < 5 * spread).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_per_class": 3}, r"^train_per_class: expected at least 3 nodes of every class.*got 2 of class 1"),
        ({"train_per_class": 1, "num_val": 3, "num_test": 3}, r"^num_val \+ num_test: expected at most 4"),
        ({"train_per_class": 0}, r"^train_per_class: "),
        ({"train_per_class": 1, "num_val": -1}, r"^num_val: "),
        ({"train_per_class": 1, "seed": -1}, r"^seed: "),
    ],
)
def test_impossible_splits_are_named(options, message):
    with pytest.raises(InputError, match=message):
        split_masks(torch.tensor([0, 0, 0, 0, 1, 1]), **options)
    with pytest.raises(InputError, match="no labelled node"):
        split_masks(torch.tensor([-1, -1]))
    # The labels 0 and 2 are two classes, and not three.
    with pytest.raises(InputError, match=r"num_val \+ num_test: expected at most 20, .*choose sizes of the split"):
        split_masks(torch.tensor([0, 2] * 30))


def test_sizes_of_splits_may_be_shares():
    y = ["a"] * 10 + ["b"] * 5 + [None] * 5
    masks = split_masks(y, train_per_class=0.3, num_val=0.2, num_test=0.25)
    assert [int(mask.sum()) for mask in masks.values()] == [5, 3, 4]
    assert [int(masks["train_mask"][part].sum()) for part in (slice(10), slice(10, 15), slice(15, 20))] == [3, 2, 0]
    with pytest.raises(InputError, match=r"^num_test: expected an integer of at least 0, got 1\.5"):
        split_masks(y, train_per_class=1, num_val=1, num_test=1.5)

"""The reader of labels, and what public functions make of labels that people have."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from graphnoise import ERASE, InputError, LabelPropagation, noise
from graphnoise.datasets import planted_partition
from graphnoise.erase import denoise
from graphnoise.graph import Graph
from graphnoise.labels import check_entries, class_names, class_positions, read_labels, with_common_classes

NAN = float("nan")


@pytest.mark.parametrize(
    ("y", "codes", "classes"),
    [
        ([1, 2, 3, 1], [0, 1, 2, 0], [1, 2, 3]),
        ((0, 1), [0, 1], [0, 1]),
        (range(3), [0, 1, 2], [0, 1, 2]),
        ([0, 3, -1], [0, 1, -1], [0, 3]),
        ([[1], [2], [None]], [0, 1, -1], [1, 2]),
        ([10**6, 10**15, 10**6], [0, 1, 0], [10**6, 10**15]),
        ([-1, 10**12, -1], [-1, 0, -1], [10**12]),
        ([NAN, 2, 0, np.int8(2)], [-1, 1, 0, 1], [0, 2]),
        ([None, None], [-1, -1], []),
        ([], [], []),
        (["cat", "", "dog", None, "cat"], [0, -1, 1, -1, 0], ["cat", "dog"]),
        ([torch.tensor(4), torch.tensor(2)], [1, 0], [2, 4]),
        (torch.tensor([[5.0], [NAN], [3.0]]), [1, -1, 0], [3, 5]),
        (torch.tensor([2, 0], dtype=torch.int8), [1, 0], [0, 2]),
        (np.array([7, 9], dtype=np.uint16), [0, 1], [7, 9]),
        (np.array([1, 0], dtype=">i4"), [1, 0], [0, 1]),
        (np.array(["b", "a"]), [1, 0], ["a", "b"]),
        (np.array(["b", None], dtype=object), [0, -1], ["b"]),
        (pd.Series([1.0, NAN, 3.0], index=[5, 6, 7]), [0, -1, 1], [1, 3]),
        (pd.Series(["x", None, "y"], dtype="string"), [0, -1, 1], ["x", "y"]),
        (pd.Series([1, None, 4], dtype="Int64"), [0, -1, 1], [1, 4]),
        (pd.Categorical(["x", "y", "x"], categories=["y", "x", "z"]), [0, 1, 0], ["x", "y"]),
        (pd.DataFrame({"label": [2, 0]}), [1, 0], [0, 2]),
    ],
)
def test_containers(y, codes, classes):
    labels = read_labels(y)
    assert labels.codes.tolist() == codes
    assert labels.codes.dtype == torch.int64
    assert labels.classes.tolist() == classes
    assert labels.num_classes == len(classes)
    missing = None if classes and isinstance(classes[0], str) else -1
    assert labels.names(labels.codes).tolist() == [missing if code < 0 else classes[code] for code in codes]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ("labels", "a list of class labels, got str"),
        (7, "a list of class labels, got int"),
        ({0: 1}, "a list of class labels, got dict"),
        ({1, 2}, "a list of class labels, got set"),
        ([0, "a"], "integers or strings, got values of type int, str"),
        ([True, False], "integers or strings, got values of type bool"),
        ([True, 2], "integers or strings, got values of type bool, int"),
        (np.array([b"a"]), "integers or strings, got values of type .S1"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "integers or strings, got values of type datetime64"),
        ([1j], "integers or strings, got values of type complex"),
        ([[1], [2, 3]], "class labels"),
        ([{}], "integers or strings, got values of type dict"),
        (torch.eye(2), r"shape \[n\] or \[n, 1\], got shape \(2, 2\) \(give one class per node"),
        (torch.tensor(3), r"shape \[n\] or \[n, 1\], got shape \(\)"),
        (torch.zeros(3).to_sparse(), "a dense tensor"),
        ([0, -2], "at least 0, or -1 where there is none, got -2 at position 1"),
        ([0.5, 1], "integers as class labels, got 0.5 at position 0"),
        ([0, float("inf")], "integers as class labels, got inf at position 1"),
        ([2.0**60], "integers as class labels"),
        ([10**30, 1], "integers below 2\\^63"),
        (np.array([2**63], dtype=np.uint64), "integers below 2\\^63, got 9223372036854775808"),
    ],
)
def test_refusals(y, message):
    with pytest.raises(InputError, match=f"^noisy: expected .*{message}"):
        read_labels(y, name="noisy")


def test_given_numbers_of_classes_sizes_and_nodes():
    assert read_labels([0, 2, -1], 4).classes.tolist() == [0, 1, 2, 3]
    assert read_labels(["a", None, "b"], 2).codes.tolist() == [0, -1, 1]
    assert read_labels([7, -5, 4], nodes=torch.tensor([2, 0])).codes.tolist() == [0, 1]
    assert class_positions(["b", None, "a"], nodes=torch.tensor([2, 0])).tolist() == [0, 1]
    for arguments, message in (
        ({"y": [0, 3], "num_classes": 3}, "labels from 0 to 2, got 3 at position 1"),
        ({"y": ["a", "b"], "num_classes": 3}, "3 distinct labels, got 2"),
        ({"y": [0, 1], "size": 3}, "3 labels, one per node, got 2"),
        ({"y": [0, -1, -1], "unlabelled": False}, "a label for every node, got none at 2 nodes, position 1 first"),
    ):
        with pytest.raises(InputError, match=f"^y: expected {message}"):
            read_labels(**arguments)
    with pytest.raises(InputError, match=r"^num_classes: expected an integer of at least 1"):
        read_labels([0], 0)
    with pytest.raises(InputError, match=r"^y: expected at most 42 classes at 100,000,000 nodes, got 43"):
        check_entries("y", 10**8, 43)
    check_entries("y", 10**8, 42)


@given(st.lists(st.one_of(st.none(), st.integers(0, 30), st.just(10**12)), max_size=30))
def test_names_of_codes_are_the_labels(y):
    labels = read_labels(y)
    names = labels.names(labels.codes).tolist()
    assert names == [-1 if value is None else value for value in y]
    assert labels.classes.tolist() == sorted({value for value in y if value is not None})
    assert class_positions(y, unlabelled=True).tolist() == names
    assert class_names(labels.classes, labels.codes).tolist() == names


def test_common_classes():
    first, second = with_common_classes(read_labels([1, 5, -1]), read_labels([3, 5, 1]))
    assert first.classes.tolist() == second.classes.tolist() == [1, 3, 5]
    assert (first.codes.tolist(), second.codes.tolist()) == ([0, 2, -1], [1, 2, 0])
    first, second = with_common_classes(read_labels([0, 1]), read_labels([2, 0]))
    assert (first.codes.tolist(), second.codes.tolist(), first.num_classes) == ([0, 1], [2, 0], 3)
    assert read_labels(["a", "c"]).codes_among(np.array(["b", "c"], dtype=object)).tolist() == [-1, 1]
    with pytest.raises(InputError, match=r"^classes: expected classes as in"):
        with_common_classes(read_labels([0, 1]), read_labels(["a", "b"]))


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([3, -1, 1, 3]),
        torch.tensor([[3.0], [NAN], [1.0], [3.0]]),
        np.array([3, -1, 1, 3], dtype=np.int16),
        np.array(["dog", "", "cat", "dog"]),
        np.array(["dog", None, "cat", "dog"], dtype=object),
        pd.Series([3.0, NAN, 1.0, 3.0], index=list("abcd"), name="label"),
        pd.Series(["dog", None, "cat", "dog"], dtype="string"),
        pd.Series(["dog", None, "cat", "dog"], dtype="category"),
        pd.DataFrame({"label": ["dog", None, "cat", "dog"]}),
    ],
    ids=lambda y: f"{type(y).__name__} {y.dtype if hasattr(y, 'dtype') else ''}",
)
def test_noise_gives_back_the_container_with_no_class_that_is_not_there(y):
    noisy = noise.structure_dependent(torch.tensor([[0], [2]]), y, 1.0, exact=True)
    assert type(noisy.y) is type(y)
    before, after = read_labels(y), read_labels(noisy.y)
    assert after.classes.tolist() == before.classes.tolist()
    assert after.codes.tolist() == [0, -1, 1, 0]
    assert np.asarray(noisy.flipped).tolist() == [True, False, True, True]
    assert noisy.rate == 1.0
    if isinstance(y, pd.Series):
        assert noisy.y.dtype == y.dtype
        assert noisy.y.index.equals(y.index)
        assert noisy.y.name == y.name
    elif isinstance(y, torch.Tensor | np.ndarray):
        assert noisy.y.dtype == y.dtype
        assert noisy.y.shape == y.shape


@pytest.mark.parametrize("kind", ["symmetric", "pair", "asymmetric", "random", "structure", "feature", "propagated"])
def test_label_noise_with_gaps_offsets_and_missing_labels(kind):
    edge_index = torch.randint(0, 60, (2, 400), generator=torch.Generator().manual_seed(0))
    y = torch.tensor([2, 5, 9])[torch.arange(60) % 3]
    y[::7] = -1
    data = Data(x=torch.rand(60, 3, generator=torch.Generator().manual_seed(1)), edge_index=edge_index, y=y)
    noisy = noise.LabelNoise(kind, 0.5, "all", seed=3)(data)
    assert set(noisy.y.unique().tolist()) == {-1, 2, 5, 9}
    assert torch.equal(noisy.y < 0, y < 0)
    assert torch.equal(noisy.flipped, noisy.y != y)
    assert noisy.noise_rate["all"] == pytest.approx(float((noisy.y != y)[y >= 0].double().mean()))
    assert 0.1 < noisy.noise_rate["all"] < 0.9
    # The same as with classes 0, 1, 2.
    data.y = read_labels(y).codes
    assert torch.equal(read_labels(noisy.y).codes, noise.LabelNoise(kind, 0.5, "all", seed=3)(data).y)


def test_label_noise_on_strings_columns_and_several_splits():
    names = np.array(["bird", "cat", "dog"], dtype=object)[np.arange(30) % 3]
    masks = torch.stack([torch.arange(30) < 10, torch.arange(30) >= 20], 1)
    data = Data(y=names, train_mask=masks, num_nodes=30)
    noisy = noise.LabelNoise("pair", 1.0, "train", split=1)(data)
    assert noisy.y[:20].tolist() == names[:20].tolist()
    assert noisy.y[20:].tolist() == [{"bird": "cat", "cat": "dog", "dog": "bird"}[name] for name in names[20:]]
    assert noisy.y_true.tolist() == names.tolist()
    assert int(noisy.flipped.sum()) == 10
    with pytest.raises(InputError, match=r"data\.train_mask: .* got 2 splits: choose one \(split=0 to 1\)"):
        noise.LabelNoise("pair", 1.0, "train")(data)
    with pytest.raises(InputError, match=r"split: expected an integer from 0 to 1, got 2"):
        noise.LabelNoise("pair", 1.0, "train", split=2)(data)
    column = noise.LabelNoise("pair", 1.0, "all")(Data(y=torch.tensor([[4], [8], [4]])))
    assert column.y.tolist() == [[8], [4], [8]]


def test_erase_on_labels_that_people_have():
    data = planted_partition([40, 40], 0.3, 0.02, num_features=8, split=(10, 10, 20), seed=0)
    small = {"preset": "robust", "seed": 0, "epochs": 3}
    expected = ERASE(**small).fit(data).predict(data)
    for classes in (np.array([3, 7]), np.array(["in", "out"], dtype=object)):
        changed = data.clone()
        changed.y = class_names(classes, data.y)
        # Outside the masks nothing is read.
        if isinstance(changed.y, torch.Tensor):
            changed.y[~(data.train_mask | data.val_mask | data.test_mask)] = -99
        model = ERASE(**small).fit(changed)
        assert model.classes_.tolist() == classes.tolist()
        predicted = model.predict(changed)
        assert predicted.tolist() == class_names(classes, expected).tolist()
        assert model.score(changed) == pytest.approx(float((expected == data.y)[data.test_mask].double().mean()))
    column, several = data.clone(), data.clone()
    column.y = data.y[:, None].double()
    for split in ("train", "val", "test"):
        mask = data[f"{split}_mask"]
        several[f"{split}_mask"] = torch.stack([~mask, mask], 1).long()
    assert torch.equal(ERASE(**small).fit(column).predict(column), expected)
    model = ERASE(**small).fit(several, split=1)
    assert torch.equal(model.predict(several), expected)
    assert model.score(several, split=1) > 0.5
    with pytest.raises(InputError, match=r"^data\.train_mask: .* 2 splits: choose one"):
        ERASE(**small).fit(several)
    unlabelled = data.clone()
    unlabelled.y = torch.where(data.train_mask, -1, data.y)
    with pytest.raises(InputError, match=r"^data\.y of train_mask: expected a label for every node, got none at 20"):
        ERASE(**small).fit(unlabelled)


def test_propagation_says_which_nodes_no_label_reached():
    edge_index = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    y = torch.tensor([1, -1, -1, -1, 0])
    model = LabelPropagation(4, 0.9)
    assert model(y, edge_index)[2:4].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert model.predict(y, edge_index).tolist() == [1, 1, -1, -1, 0]
    assert model.predict(y, edge_index, fallback=7).tolist() == [1, 1, 7, 7, 0]
    # Labels outside the mask are not read, whatever they are.
    strange = torch.tensor([1, -50, 10**6, 3, 0])
    assert model.predict(strange, edge_index, mask=[0, 4]).tolist() == [1, 1, -1, -1, 0]
    assert model.predict(y.double().where(y >= 0, NAN), edge_index).tolist() == [1, 1, -1, -1, 0]
    with pytest.raises(InputError, match=r"^y: expected at most .* classes at 5 nodes, got 1,000,000,001"):
        model(torch.tensor([1, 0, 0, 0, 10**9]), edge_index)
    with pytest.raises(InputError, match=r"^y: expected integers as class labels, got 0.5"):
        model(torch.tensor([0.5, 1.0, 0.0, 0.0, 0.0]), edge_index)


def test_estimates_leave_out_nodes_without_a_label():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    kept = noise.expectation_maximisation(p[:3], [0, 1, 1])
    for labels in ([0, 1, 1, -1], ["a", "b", "b", None], torch.tensor([0.0, 1.0, 1.0, NAN])):
        assert torch.equal(noise.expectation_maximisation(p, labels).transition.matrix, kept.transition.matrix)
    assert noise.confident_joint(p, [0, 1, 1, -1]).tolist() == noise.confident_joint(p[:3], [0, 1, 1]).tolist()
    with pytest.raises(InputError, match=r"^noisy: expected a label for every node"):
        noise.forward_correction(torch.zeros(2, 2), [0, -1], noise.identity(2))


def test_denoise_reads_the_training_labels_only():
    path = Graph.from_edge_index(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
    for y in ([0, 1, -7], torch.tensor([0, 1, 10**12]), np.array([0, 1, NAN])):
        assert denoise(path, y, [0, 1], alpha=0.4, num_steps=1).shape == (3, 2)

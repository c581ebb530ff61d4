import gzip

import numpy as np
import pytest
import torch

from graphnoise import DataError, InputError
from graphnoise.datasets import get, labels_catalogue, llm_labels, load, verify
from graphnoise.datasets.citation import CORA_CLASSES, read_cora_guesses
from graphnoise.datasets.given import read_given


@pytest.fixture
def cora_llm():
    """The file of the guesses."""
    if labels_catalogue()[0][1] == "absent":
        pytest.skip("the guesses are in no package: GRAPHNOISE_DATA must name a folder that has them")
    return get("cora-llm") / "cora.csv"


def test_guesses_of_cora_are_those_of_its_papers(cora_llm, planetoid_cora):
    """By node they are what the raw files say by paper, in their own order."""
    content = [line.split("\t") for line in (planetoid_cora / "cora.content").read_text().splitlines()]
    guesses = [int(line.split(",")[0]) for line in cora_llm.read_text().splitlines()]
    assert len(guesses) == len(content) == 2708
    names = sorted(CORA_CLASSES)
    right = sum(names[guess] == paper[-1] for guess, paper in zip(guesses, content, strict=True))
    given, data = llm_labels(), load("cora")
    assert int((given == data.y).sum()) == right == 1833
    rows = sorted((tuple(paper[1:-1]), paper[-1], names[guess]) for guess, paper in zip(guesses, content, strict=True))
    words = [tuple("1" if word else "0" for word in row) for row in data.x.bool().tolist()]
    named = ([CORA_CLASSES[label] for label in labels] for labels in (data.y.tolist(), given.tolist()))
    assert sorted(zip(words, *named, strict=True)) == rows
    assert all(check.ok for check in verify("cora-llm"))


def test_there_are_guesses_of_cora_alone():
    with pytest.raises(InputError, match="graph: expected one of cora, got 'pubmed'"):
        llm_labels("pubmed")


def test_damaged_guesses_are_named(tmp_path):
    path = tmp_path / "cora.csv"
    for content in ("7\n", "-1\n", "x\n"):
        path.write_text(content)
        with pytest.raises(DataError, match=r"cora\.csv"):
            read_cora_guesses(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("0\n1\n1\n2\n", [0, 1, 1, 2]),
        ("label\n0\n-1\n1\n2\n", [0, -1, 1, 2]),
        ("2,1\n0,2\n", [2, -1, 1, -1]),
        ("node,label\n3,0\n", [-1, -1, -1, 0]),
        ("label,id\n1,3\n2,0\n", [2, -1, -1, 1]),
    ],
)
def test_labels_by_line_or_by_node(content, expected, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    assert read_given(path, 4, range(3)).tolist() == expected
    with gzip.open(tmp_path / "labels.csv.gz", "wt") as file:
        file.write(content)
    assert read_given(tmp_path / "labels.csv.gz", 4, range(3)).tolist() == expected


def test_names_of_nodes_and_classes(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("node,label\nb,spam\na,ham\n")
    assert read_given(path, 3, ["ham", "rest", "spam"], ["a", "b", "c"]).tolist() == [0, 2, -1]
    path.write_text("node,label\n20,7\n10,5\n")
    assert read_given(path, 2, [5, 6, 7], [10, 20]).tolist() == [0, 2]
    path.write_text("node,label\n007, spam\n008,ham\n")
    assert read_given(path, 3, ["ham", "spam"], ["007", "008", "x"]).tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0\n1\n", "labels: expected 4 labels, one per node, got 2"),
        ("0\n1\n2\n3\n", r"labels: expected classes of the graph \(0, 1, 2, …\), got 3"),
        ("a\nb\na\nb\n", "labels: expected classes of the graph .*, got 'a'"),
        ("node,label\n4,0\n", "nodes: expected nodes of the graph, got 4"),
        ("node,label\n1,0\n1,2\n", "node: expected every node once, got 1 again"),
        ("0\n0.5\n1\n2\n", "labels: expected integers as class labels, got 0.5"),
    ],
)
def test_wrong_files_are_named(content, message, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        read_given(path, 4, range(3))
    assert str(raised.value).startswith(str(path))
    with pytest.raises(DataError, match="No such file"):
        read_given(tmp_path / "absent.csv", 4, range(3))
    with pytest.raises(InputError, match="a file that ends in"):
        read_given(tmp_path / "labels.doc", 4, range(3))


def test_mixed_classes_are_compared_by_kind(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("1\n")
    with pytest.raises(InputError, match="labels: expected classes of the graph"):
        read_given(path, 1, ["ham", "spam"])
    assert torch.equal(read_given(path, 1, np.arange(3)), torch.tensor([1]))

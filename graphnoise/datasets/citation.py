"""Readers of citation graphs: Planetoid's files, and the raw Cora of LINQS in Planetoid's node order."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from graphnoise.checks import DataError
from graphnoise.datasets.manifest import manifest_folder
from graphnoise.datasets.raw import SPLITS, RawGraph
from graphnoise.datasets.safe import loads, reading

# Validation nodes follow the training nodes: Planetoid's convention, in no file.
NUM_VAL = 500
# The classes of cora.content in the order of Planetoid's label columns.
CORA_CLASSES = (
    "Theory",
    "Reinforcement_Learning",
    "Genetic_Algorithms",
    "Neural_Networks",
    "Probabilistic_Methods",
    "Case_Based",
    "Rule_Learning",
)
# Training nodes come first, test nodes last.
CORA_SIZES = (140, 1000)


def read_planetoid(folder: Path, prefix: str) -> RawGraph:
    """Return the graph in the eight `ind.<prefix>.*` files, with its public split.

    Training nodes are the first rows (as many as `y` has), validation nodes the next 500, test nodes those of
    `test.index`. A position between the test indices that has no row (15 in CiteSeer) gets zero features and class 0,
    is in no split, and is counted in `absent`: this is what PyG's `Planetoid` does, and gives the published N = 3327.
    These nodes do have edges; their class is unknown, and 0 stands in for it.

    Raises:
        DataError: A file is absent or damaged, is not plain data, or the files do not fit together.
    """
    allx, tx = (_part(folder, prefix, key, csr_matrix) for key in ("allx", "tx"))
    train_y, ally, ty = (_part(folder, prefix, key, np.ndarray) for key in ("y", "ally", "ty"))
    graph = _part(folder, prefix, "graph", dict)
    path = folder / f"ind.{prefix}.test.index"
    with reading(path):
        test = np.array(path.read_text("ascii").split(), dtype=np.int64)
        first, size = allx.shape[0], int(test.max()) + 1
        if len(test) != tx.shape[0] or int(test.min()) != first or len(np.unique(test)) != len(test):
            raise DataError(f"{path}: expected {tx.shape[0]} different positions from {first} on")
    with reading(folder / f"ind.{prefix}.graph"):
        if sorted(graph) != list(range(size)):
            raise DataError(
                f"{folder}/ind.{prefix}.graph: expected the nodes 0 to {size - 1} as keys, got {len(graph)} keys"
            )
        if sum(map(len, graph.values())) > (folder / f"ind.{prefix}.graph").stat().st_size:
            raise DataError(f"{folder}/ind.{prefix}.graph: more neighbours than the file has bytes")
        row = np.repeat(list(graph), [len(ends) for ends in graph.values()])
        col = np.fromiter(itertools.chain.from_iterable(graph.values()), dtype=np.int64)
    with reading(f"{folder}/ind.{prefix}.*"):
        # The last row is empty: that of nodes without a row.
        source = np.full(size, first + len(test))
        source[:first] = np.arange(first)
        source[test] = np.arange(first, first + len(test))
        x = vstack([allx, tx, csr_matrix((1, allx.shape[1]), dtype=allx.dtype)], format="csr")[source]
        onehot = np.concatenate([ally, ty])
        if len(onehot) != first + len(test) or not bool((np.sort(onehot, axis=1)[:, -2:] == (0, 1)).all()):
            raise DataError(f"{folder}/ind.{prefix}.ally: expected one class in every row, one row per node")
        y = np.append(onehot.argmax(1), 0)[source]
        return RawGraph(np.stack([row, col]), x, y, _public_masks(size, len(train_y), test), size - first - len(test))


def _part(folder: Path, prefix: str, key: str, kind: type[Any]) -> Any:
    path = folder / f"ind.{prefix}.{key}"
    with reading(path):
        value = loads(path.read_bytes(), path)
        if not isinstance(value, kind) or (kind is np.ndarray and value.ndim != 2):
            raise DataError(f"{path}: expected a {kind.__name__}, got {type(value).__name__}")
        return value


def _public_masks(size: int, num_train: int, test: Any) -> dict[str, Any]:
    masks = {key: np.zeros(size, dtype=bool) for key in SPLITS}
    masks["train_mask"][:num_train] = True
    masks["val_mask"][num_train : num_train + NUM_VAL] = True
    masks["test_mask"][test] = True
    return masks


def read_cora_content(folder: Path) -> tuple[Any, Any, Any, Any]:
    """Return the contents of `cora.content` and `cora.cites`, in their order.

    Returns:
        Paper ids [N], word flags [N, F] as CSR, classes [N] numbered as in Planetoid, citations [2, num_citations] as
        positions (the cited paper first).

    Raises:
        DataError: A file is absent or damaged, or a citation names a paper that `cora.content` lacks.
    """
    path = folder / "cora.content"
    with reading(path):
        ids, rows, classes = [], [], []
        for line in path.read_bytes().splitlines():
            paper, rest = line.split(b"\t", 1)
            words, topic = rest.rsplit(b"\t", 1)
            ids.append(int(paper))
            rows.append(np.frombuffer(words, dtype=np.uint8))
            classes.append(CORA_CLASSES.index(topic.decode("ascii")))
        cells = np.stack(rows)
        flags = cells[:, ::2] - ord("0")
        if flags.max() > 1 or bool((cells[:, 1::2] != ord("\t")).any()):
            raise DataError(f"{path}: expected words as 0 or 1, a tab between them")
        papers = np.array(ids, dtype=np.int64)
        ranks = np.argsort(papers)
        if len(np.unique(papers)) != len(papers):
            raise DataError(f"{path}: a paper has two rows")
    path = folder / "cora.cites"
    with reading(path):
        cited = np.array(path.read_text("ascii").split(), dtype=np.int64).reshape(-1, 2).T
        positions = np.minimum(np.searchsorted(papers, cited, sorter=ranks), len(papers) - 1)
        arcs = ranks[positions]
        if bool((papers[arcs] != cited).any()):
            raise DataError(f"{path}: a citation of a paper that cora.content lacks")
    return papers, csr_matrix(flags.astype(np.float32)), np.array(classes), arcs


def read_cora_raw(folder: Path) -> RawGraph:
    """Return raw Cora as Planetoid numbers it: the same features, labels, edges and public split, bit for bit.

    `splits/cora.csv` beside the manifest names the paper of every node, and its row in `cora.content`
    (`datasets/derive_cora_order.py` derives it).

    Raises:
        DataError: A file is absent or damaged, or the papers are not those of `splits/cora.csv`.
    """
    papers, x, y, arcs = read_cora_content(folder)
    path = manifest_folder() / "splits" / "cora.csv"
    order, source = _cora_order(path)
    if len(papers) != len(order) or not np.array_equal(order, papers[source]):
        raise DataError(f"{folder / 'cora.content'}: expected the {len(order)} papers that {path} lists, got others")
    node = np.empty_like(source)
    node[source] = np.arange(len(source))
    num_train, num_test = CORA_SIZES
    masks = _public_masks(len(order), num_train, np.arange(len(order) - num_test, len(order)))
    return RawGraph(node[arcs], x[source], y[source], masks)


def _cora_order(path: Path) -> tuple[Any, Any]:
    """Return the paper of every node of Planetoid's Cora, and its row in `cora.content`."""
    with reading(path):
        papers, rows = np.loadtxt(path, dtype=np.int64, delimiter=",", skiprows=1).T
        return papers, rows


def read_cora_guesses(path: Path) -> Any:
    """Return the first guess for every node of Planetoid's Cora, as its class, int64, shape [N].

    The file has a line for each row of `cora.content`: guesses separated by commas, the best first, as positions among
    the names of the classes in alphabetical order.

    Raises:
        DataError: The file is absent or damaged.
    """
    with reading(path):
        guesses = np.array([line.split(b",", 1)[0] for line in path.read_bytes().splitlines()], dtype=np.int64)
        if len(guesses) and not 0 <= guesses.min() <= guesses.max() < len(CORA_CLASSES):
            raise DataError(f"{path}: expected classes from 0 to {len(CORA_CLASSES) - 1}, got others")
        classes = np.array([CORA_CLASSES.index(name) for name in sorted(CORA_CLASSES)])
        return classes[guesses][_cora_order(manifest_folder() / "splits" / "cora.csv")[1]]

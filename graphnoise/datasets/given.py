"""Given labels of a graph's nodes, of which some are wrong: a language model's guesses, and files of one's own."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas
import torch
from torch import Tensor

from graphnoise.checks import choice, fail
from graphnoise.datasets.citation import read_cora_guesses
from graphnoise.datasets.manifest import labels_infos
from graphnoise.datasets.sources import available
from graphnoise.datasets.tables import label_table
from graphnoise.labels import read_labels


def llm_labels(graph: str = "cora", root: str | os.PathLike[str] | None = None) -> Tensor:
    """Return the classes that a large language model guessed for the nodes of a graph: real noise with known truth.

    The model read title and abstract of each paper; of its guesses the first is taken. On Cora 32.3 % are wrong. Nodes
    are in the order of `load(graph)`. The file has the order of the raw Cora, and two papers that agree in features,
    class and all neighbours cannot be told apart in the graph: they may have each other's guess.

    Args:
        graph: "cora".
        root: As for `load`.

    Returns:
        Positions of classes, int64, shape [num_nodes].

    Raises:
        InputError: There are no such labels of this graph, or the root folder does not exist.
        DataError: No source has the file.

    Example:
        >>> llm_labels().shape  # doctest: +SKIP
        torch.Size([2708])

    Source:
        He et al., "Harnessing Explanations: LLM-to-LM Interpreter for Enhanced Text-Attributed Graph Representation
        Learning", ICLR 2024.
    """
    infos = {labels.graph: labels for labels in labels_infos()}
    location = available(infos[choice("graph", graph, infos)], root)
    return torch.from_numpy(read_cora_guesses(location.folder / location.variant.files[0].name))


def read_given(
    path: str | os.PathLike[str],
    num_nodes: int,
    classes: Sequence[Any],
    names: Sequence[Hashable] | None = None,
) -> Tensor:
    r"""Return the labels of a graph's nodes that a table holds.

    Args:
        path: A file (see `read_frame`) with a column, the label of each node in order; or with a row for each of some
            nodes: its id in the column `node` (or `id`; otherwise the first), its label in `label` (or `y`, `class`;
            otherwise the second). An empty label or -1 is none.
        num_nodes: Number of nodes.
        classes: Names of the classes, sorted.
        names: Ids of the nodes; by default 0 to num_nodes - 1.

    Returns:
        Positions of classes, -1 where a node has no label, int64, shape [num_nodes].

    Raises:
        InputError: Another number of labels, an unknown class or node, a node that is there twice.
        DataError: The file is absent or damaged.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "labels.csv")
        ...     size = path.write_text("node,label\n2,ham\n0,spam\n")
        ...     read_given(path, 3, ["ham", "spam"])
        tensor([ 1, -1,  0])
    """
    text = names is not None and any(isinstance(name, str) for name in names)
    ids, column = label_table(str(path), path, text)
    given = read_labels(column, name=f"{path}: labels")
    known = np.array(classes, dtype=object if any(isinstance(name, str) for name in classes) else np.int64)
    unknown = set(given.classes.tolist()) - set(known.tolist())
    if unknown:
        fail(f"{path}: labels", f"classes of the graph ({', '.join(map(str, known[:5]))}, …)", f"{min(unknown)!r}")
    codes = given.codes_among(known)
    if ids is None:
        if len(codes) != num_nodes:
            fail(f"{path}: labels", f"{num_nodes} labels, one per node", len(codes))
        return codes
    places = pandas.Index(map(str, range(num_nodes) if names is None else names)).get_indexer(ids.astype(str))
    if (places < 0).any():
        fail(f"{path}: nodes", "nodes of the graph", ids.iloc[int((places < 0).argmax())])
    labels = torch.full((num_nodes,), -1)
    labels[torch.from_numpy(places)] = codes
    return labels

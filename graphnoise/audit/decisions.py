"""Decisions of a reviewer on single labels: reading, recording, and the posterior given them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas
from numpy.typing import NDArray
from scipy.special import softmax

from graphnoise import checks
from graphnoise.audit.explain import node_names
from graphnoise.audit.posterior import LabelPosterior
from graphnoise.datasets.tables import named_frame
from graphnoise.errors import GraphnoiseError
from graphnoise.io import atomic_write, reading
from graphnoise.noise import Transition
from graphnoise.robust.transition_search import log_likelihoods, transition_step
from graphnoise.typing import Ints

Decisions: TypeAlias = "str | os.PathLike[str] | pandas.DataFrame"
COLUMNS = ["node", "given", "decision"]
# Steps of EM after new decisions.
STEPS = 3


def read_decisions(name: str, decisions: Decisions, posterior: LabelPosterior) -> pandas.DataFrame:
    """Return decisions as a table of text with the columns node, given and decision, checked against a graph.

    Args:
        name: Name of the argument or of the file, for messages.
        decisions: A data frame or a file (see `datasets.read_frame`) with the columns `node`, `decision` (or `label`)
            and optionally `given`. Rows without a decision are left out; of several of a node, the last one counts.
        posterior: Posterior of the graph.

    Raises:
        InputError: A column is missing, a node or class is none of the graph, or a given label is another one.
        DataError: The file is absent or damaged.
    """
    frame = decisions.copy() if isinstance(decisions, pandas.DataFrame) else read_texts(name, decisions)
    frame.columns = [str(column).strip().lower() for column in frame.columns]
    column = next((key for key in ("decision", "label") if key in frame), None)
    if column is None or "node" not in frame or frame.columns.duplicated().any():
        checks.fail(name, "the columns node and decision (or label)", ", ".join(map(repr, frame.columns)) or "none")
    frame = frame.assign(decision=frame[column]).reindex(columns=COLUMNS)
    for key in COLUMNS:
        frame[key] = ["" if pandas.isna(value) else _text(value) for value in frame[key]]
    frame = frame[frame["decision"] != ""].reset_index(drop=True)
    nodes = _positions(node_names(posterior.names, np.arange(len(posterior.given))), frame["node"])
    _check(name, frame["node"], nodes, "nodes of the graph")
    classes = list(map(_text, posterior.classes))
    codes = _positions(classes, frame["decision"])
    _check(name, frame["decision"], codes, f"classes ({', '.join(classes[:8])})")
    names = np.array([*classes, ""], dtype=object)[posterior.given[nodes]]
    other = np.flatnonzero((frame["given"] != "") & (frame["given"] != names))
    if len(other):
        row = frame.iloc[other[0]]
        got = f"{row['given']!r}, while the graph has {names[other[0]]!r} (is this a file of another graph?)"
        checks.fail(name, f"the given label of node {row['node']}", got)
    return frame.assign(given=names)


def read_texts(name: str, file: str | os.PathLike[str]) -> pandas.DataFrame:
    """Return the table in a file, without conversion of texts.

    Raises:
        InputError: A path that does not end as tables do.
        DataError: The file is absent or damaged.
    """
    path = checks.path(name, file)
    options: dict[str, Any] = {} if path.suffix == ".parquet" else {"dtype": str, "keep_default_na": False}
    return named_frame(name, path, **options)


def decided_positions(decisions: pandas.DataFrame, posterior: LabelPosterior) -> Ints:
    """Return the position of the class decided for each node, -1 for none, of a table of `read_decisions`."""
    decided = np.full(len(posterior.given), -1)
    nodes = _positions(node_names(posterior.names, np.arange(len(decided))), decisions["node"])
    # In this order, so that the last decision on a node counts.
    for node, code in zip(nodes, _positions(posterior.classes, decisions["decision"]), strict=True):
        decided[node] = code
    return decided


def record_decisions(path: Path, decisions: pandas.DataFrame) -> pandas.DataFrame:
    """Append decisions to a file, and return all that it then holds; rows stay, those that change nothing are left out.

    Args:
        path: A CSV file with the columns node, given and decision; it is written atomically.
        decisions: A table of `read_decisions`.

    Raises:
        DataError: The file is damaged or cannot be written.
    """
    before = pandas.DataFrame(columns=COLUMNS, dtype=str)
    if path.exists():
        before = read_texts("path", path)[COLUMNS]
    latest = dict(zip(before["node"], before["decision"], strict=True))
    new = []
    for row in decisions[COLUMNS].itertuples(index=False):
        if latest.get(row.node) != row.decision:
            new.append(row)
            latest[row.node] = row.decision
    together = pandas.concat([before, pandas.DataFrame(new, columns=COLUMNS, dtype=str)], ignore_index=True)
    if new or not path.exists():
        with atomic_write(path) as file:
            file.write(together.to_csv(index=False).encode())
    return together


def set_aside(path: Path, record: Path, posterior: LabelPosterior) -> Path | None:
    """Rename a table of an earlier run if it has decisions that are not recorded; return its new name, or None.

    Args:
        path: The table; a file that cannot be read counts as one that has.
        record: The file of `record_decisions`.
        posterior: Posterior of the graph.

    Raises:
        DataError: The file cannot be renamed.
    """
    if not path.exists():
        return None
    with contextlib.suppress(GraphnoiseError):
        files = [file for file in (path, record) if file.exists()]
        made, *recorded = (read_decisions(str(file), file, posterior) for file in files)
        pairs = [set(zip(table["node"], table["decision"], strict=True)) for table in (made, *recorded)]
        if not pairs[0].difference(*pairs[1:]):
            return None
    free = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
    target = next(file for file in free if not file.exists())
    with reading(path):
        return path.rename(target)


def decided_posterior(posterior: LabelPosterior, decided: Ints) -> LabelPosterior:
    """Return the posterior where the true classes of some nodes are known.

    EM from the transition matrix as it is: decided nodes count as certain pairs of true and given class, the
    predictions of the other nodes stay as they are.

    Args:
        posterior: Posterior without decisions.
        decided: Position of the known class of each node, -1 where it is not known, shape [n].
    """
    certain, nodes = np.flatnonzero(decided >= 0), posterior.labelled
    if not len(certain):
        return posterior
    classes = len(posterior.classes)
    probability, given = posterior.probability.copy(), posterior.given[nodes]
    probability[certain] = np.eye(classes)[decided[certain]]
    members, matrix = np.eye(classes)[given], posterior.transition.matrix.numpy()
    logs = np.log(np.maximum(posterior.prior[nodes], 1e-300))
    for _ in range(STEPS):
        matrix = transition_step(probability[nodes].T @ members)
        probability[nodes] = softmax(logs + log_likelihoods(matrix, given), axis=1)
        probability[certain] = np.eye(classes)[decided[certain]]
    share = probability[nodes].mean(0)
    return replace(posterior, probability=probability, transition=Transition(matrix), class_prior=share)


def _text(value: Any) -> str:
    """Return a value as text; columns of integers with gaps are read as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _positions(names: Sequence[Any] | NDArray[Any], values: pandas.Series[Any]) -> Ints:
    """Return the positions of the names that texts stand for, -1 for none; of names with one text none is meant."""
    places = pandas.Series(np.arange(len(names)), index=pandas.Index([_text(name) for name in names], dtype=object))
    places = places[~places.index.duplicated(keep=False)]
    found: Ints = places.reindex(values, fill_value=-1).to_numpy()
    return found


def _check(name: str, values: pandas.Series[Any], places: Ints, expected: str) -> None:
    if (places < 0).any():
        checks.fail(name, expected, repr(values.iloc[int((places < 0).argmax())]))

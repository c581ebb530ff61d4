"""Class labels from any container: positions and names of classes, and which nodes have no label."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor

from graphnoise import checks
from graphnoise.typing import LabelsLike

# Entries of a matrix with a row per node and a column per class: 16 GB in float32.
MAX_ENTRIES = 2**32


@dataclass(frozen=True, eq=False)
class ClassLabels:
    """Checked class labels.

    Attributes:
        codes: For each node the position of its class in `classes`, -1 where it has no label; int64, shape [n], on the
            device of the labels.
        num_classes: Number of classes.
        distinct: Names of the classes, sorted, integers or strings; None where they are 0 to num_classes - 1.
        original: The labels as they were given.
    """

    codes: Tensor
    num_classes: int
    distinct: NDArray[Any] | None
    original: Any

    @property
    def classes(self) -> NDArray[Any]:
        """Names of the classes, sorted: integers or strings, shape [num_classes]."""
        return np.arange(self.num_classes) if self.distinct is None else self.distinct

    def names(self, codes: Tensor) -> Any:
        """Return the names of classes by position; -1 stays -1, or is None among strings.

        Returns:
            An int64 tensor where classes are integers, otherwise a NumPy array of strings.
        """
        return codes if self.distinct is None else class_names(self.distinct, codes)

    def codes_among(self, classes: NDArray[Any]) -> Tensor:
        """Return for each node the position of its class among others, sorted, -1 if it is not there.

        Raises:
            InputError: One has integers, the other strings.
        """
        names = self.classes
        if not len(names) or not len(classes):
            return torch.full_like(self.codes, -1)
        if (names.dtype.kind == "O") != (classes.dtype.kind == "O"):
            checks.fail("classes", f"classes as in {classes[:3].tolist()}", names[:3].tolist())
        place = np.searchsorted(classes, names).clip(max=len(classes) - 1)
        table = torch.from_numpy(np.append(np.where(classes[place] == names, place, -1), -1).astype(np.int64))
        return table.to(self.codes.device)[self.codes]

    def replaced(self, nodes: NDArray[np.int64], codes: NDArray[np.int64]) -> Any:
        """Return a copy of the labels as they were given, with other classes at some nodes.

        Lists come back as tensors, or as arrays if they hold strings; integers too narrow for a class become int64.

        Args:
            nodes: Positions of nodes, distinct, shape [m].
            codes: Positions of their classes, shape [m].
        """
        original, names = self.original, self.names(torch.from_numpy(codes))
        names = names.numpy() if isinstance(names, Tensor) else names
        if isinstance(original, pandas.Series | pandas.DataFrame):
            values = original.to_numpy(dtype=object, copy=True)
            values.reshape(-1)[nodes] = names
            fresh = type(original)(values, index=original.index)
            if isinstance(original, pandas.DataFrame):
                fresh.columns = original.columns
                return fresh.astype(dict(original.dtypes))
            return fresh.astype(original.dtype).rename(original.name)
        if isinstance(original, Tensor):
            y = original.clone() if self._holds(original.dtype) else original.long()
            y.view(-1)[torch.from_numpy(nodes).to(y.device)] = torch.from_numpy(names).to(y.device, y.dtype)
            return y
        if not isinstance(original, np.ndarray):
            if names.dtype.kind != "O":
                y = self.names(self.codes).clone()
                y[nodes] = torch.from_numpy(names)
                return y
            original = np.array(original, dtype=object)
        # Names longer than the type of the array are not cut.
        strings = original.dtype.kind == "U"
        array = original.astype(object) if strings else original.copy()
        if array.dtype.kind in "iu" and not self._holds(torch.from_numpy(np.zeros(1, array.dtype)).dtype):
            array = array.astype(np.int64)
        array.reshape(-1)[nodes] = names
        return array.astype(str) if strings else array

    def _holds(self, dtype: torch.dtype) -> bool:
        """Return whether a type holds the name of every class."""
        greatest = self.num_classes - 1 if self.distinct is None else int(self.distinct.max(initial=0))
        return dtype.is_floating_point or greatest <= torch.iinfo(dtype).max


def read_labels(
    y: LabelsLike,
    num_classes: int | None = None,
    *,
    nodes: Tensor | None = None,
    size: int | None = None,
    unlabelled: bool = True,
    name: str = "y",
) -> ClassLabels:
    """Read class labels.

    Integers (floating-point numbers without a fraction as well) and strings name classes; -1, NaN, None, pandas' NA and
    the empty string mark nodes without a label. Without `num_classes` the classes are the distinct labels, sorted:
    labels with gaps or an offset (1 to C, or 10 and 20) add no class that is not there. With it, integers are from 0 to
    num_classes - 1, and all of these are classes; of strings there must be so many.

    Args:
        y: A tensor, an array, a pandas Series or column, or a sequence, of shape [n] or [n, 1].
        num_classes: Number of classes.
        nodes: Positions of the nodes whose labels are read, in this order; all if None.
        size: Number of labels expected in y.
        unlabelled: Whether nodes may have no label.
        name: Name of the argument, for messages.

    Raises:
        InputError: Labels of another shape, type or number; a label below -1 or above num_classes - 1; integers and
            strings together; with `unlabelled=False`, a node without a label.

    Example:
        >>> labels = read_labels(["cat", "dog", None, "cat"])
        >>> labels.codes.tolist(), labels.classes.tolist()
        ([0, 1, -1, 0], ['cat', 'dog'])

        >>> labels = read_labels(torch.tensor([[1.0], [3.0], [float("nan")]]))
        >>> labels.codes.tolist(), labels.classes.tolist()
        ([0, 1, -1], [1, 3])
    """
    values = _flat(name, y)
    if size is not None and len(values) != size:
        checks.fail(name, f"{size} labels, one per node", len(values))
    if nodes is not None:
        values = values[nodes.to(values.device) if isinstance(values, Tensor) else nodes.cpu().numpy()]
    if num_classes is not None:
        num_classes = checks.integer("num_classes", num_classes, 1)
    if isinstance(values, Tensor):
        codes, distinct = _read_numbers(name, values, num_classes)
    else:
        codes, distinct = _read_strings(name, values, num_classes)
    if not unlabelled and len(codes) and int(codes.min()) < 0:
        missing = (codes < 0).nonzero()
        checks.fail(name, "a label for every node", f"none at {len(missing)} nodes, position {int(missing[0])} first")
    if num_classes is None:
        num_classes = len(distinct) if distinct is not None else int(codes.max()) + 1 if len(codes) else 0
    return ClassLabels(codes, num_classes, distinct, y)


def class_names(classes: NDArray[Any], codes: Tensor) -> Any:
    """Return the names of classes by position; -1 stays -1, or is None among strings.

    Returns:
        An int64 tensor where classes are integers, otherwise a NumPy array of strings.

    Example:
        >>> class_names(np.array([1, 4]), torch.tensor([1, -1, 0])).tolist()
        [4, -1, 1]
    """
    if classes.dtype.kind == "O":
        return np.array([*classes, None], dtype=object)[codes.cpu().numpy()]
    return torch.from_numpy(np.append(classes, -1)).to(codes.device)[codes]


def with_common_classes(first: ClassLabels, second: ClassLabels) -> tuple[ClassLabels, ClassLabels]:
    """Return two labellings of the same nodes with the classes of both.

    Raises:
        InputError: One has integers, the other strings.
    """
    if first.distinct is None and second.distinct is None:
        count = max(first.num_classes, second.num_classes)
        return replace(first, num_classes=count), replace(second, num_classes=count)
    first.codes_among(second.classes)
    classes = np.array(sorted({*first.classes.tolist(), *second.classes.tolist()}), dtype=first.classes.dtype)
    a, b = (
        replace(labels, codes=labels.codes_among(classes), num_classes=len(classes), distinct=classes)
        for labels in (first, second)
    )
    return a, b


def class_positions(
    y: LabelsLike,
    num_classes: int | None = None,
    *,
    nodes: Tensor | None = None,
    size: int | None = None,
    name: str = "y",
    unlabelled: bool = False,
) -> Tensor:
    """Read labels that are positions of classes in another argument or in the result: no gap is closed.

    Args:
        y: As for `read_labels`.
        num_classes: Number of classes; one more than the greatest label if None.
        nodes: Positions of the nodes whose labels are read; all if None.
        size: Number of labels expected.
        name: Name of the argument, for messages.
        unlabelled: Whether nodes may have no label, which is -1.

    Returns:
        Positions, int64, shape [n].

    Raises:
        InputError: As `read_labels`.

    Example:
        >>> class_positions([0, 2, 2]).tolist(), class_positions(["b", "a"], 2).tolist()
        ([0, 2, 2], [1, 0])
    """
    labels = read_labels(y, num_classes, nodes=nodes, size=size, unlabelled=unlabelled, name=name)
    integers = labels.distinct is not None and labels.distinct.dtype.kind != "O"
    return labels.names(labels.codes) if integers else labels.codes


def check_entries(name: str, num_nodes: int, num_classes: int) -> None:
    """Refuse a matrix of nodes by classes that has more than 2^32 entries.

    Raises:
        InputError: It has.
    """
    if num_nodes * num_classes > MAX_ENTRIES:
        expected = f"at most {MAX_ENTRIES // num_nodes:,} classes at {num_nodes:,} nodes"
        checks.fail(name, expected, f"{num_classes:,} (are these class labels?)")


def _flat(name: str, y: Any) -> Tensor | NDArray[np.object_]:
    """Return numbers as a tensor, strings as an array of objects with None where there is no label."""
    if isinstance(y, Tensor):
        values: Any = checks.tensor(name, y)
    elif isinstance(y, str | bytes | dict | set) or issparse(y) or not {"__len__", "__getitem__"} <= set(dir(y)):
        checks.fail(name, "a tensor, an array, a Series or a list of class labels", type(y).__name__)
    else:
        try:
            # NumPy makes strings of numbers beside strings, and numbers of Booleans beside numbers.
            values = y if isinstance(y, np.ndarray) else np.array(_items(y), dtype=object)
        except (ValueError, TypeError, RuntimeError):
            checks.fail(name, "one class label per node", f"a {type(y).__name__} of other things")
        kind = values.dtype.kind
        if kind in "OU":
            values = _objects(name, values.astype(object))
        elif kind not in "biuf":
            checks.fail(name, "integers or strings", f"values of type {values.dtype}")
        if values.dtype.kind != "O":
            if values.dtype.kind == "u" and values.size and int(values.max()) >= 2**63:
                checks.fail(name, "integers below 2^63", int(values.max()))
            values = checks.tensor(name, values.astype(np.int64) if values.dtype.kind == "u" else values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values.reshape(-1)
    if values.ndim != 1:
        hint = " (give one class per node, not a row of values)" if values.ndim == 2 else ""
        checks.fail(name, "class labels of shape [n] or [n, 1]", f"shape {tuple(values.shape)}{hint}")
    return values  # type: ignore[no-any-return]


def _items(y: Any) -> Any:
    """Return a list without tensors, of which NumPy would make arrays."""
    scalars = isinstance(y, list | tuple) and any(isinstance(value, Tensor) for value in y)
    return (
        [value.item() if isinstance(value, Tensor) and value.numel() == 1 else value for value in y] if scalars else y
    )


def _objects(name: str, values: NDArray[np.object_]) -> NDArray[Any]:
    """Return an array of numbers, -1 where there is no label, or the strings with None where there is none."""
    missing = np.asarray(pandas.isna(values))
    values[missing] = ""
    missing = values == ""
    present = values[~missing]
    if len(present) and all(isinstance(value, str) for value in present):
        values[missing] = None
        return values
    if not all(isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_) for value in present):
        kinds = ", ".join(sorted({type(value).__name__ for value in present}))
        checks.fail(name, "class labels that are integers or strings", f"values of type {kinds}")
    values[missing] = -1
    array = np.array(values.tolist(), dtype=None if values.size else np.int64)
    if array.dtype.kind not in "if":
        checks.fail(name, "integers below 2^63", max(present))
    return array


def _read_numbers(name: str, y: Tensor, num_classes: int | None) -> tuple[Tensor, NDArray[Any] | None]:
    """Return codes, and the distinct labels unless these are 0, 1 and so on."""
    if y.dtype == torch.bool or y.is_complex():
        checks.fail(name, "integers or strings", f"values of type {y.dtype}")
    if y.is_floating_point():
        missing = y.isnan()
        known = torch.where(missing, -1.0, y)
        # Beyond 2^53 not every integer is a floating-point number.
        if bool((known != known.round()).any()) or (len(known) and float(known.abs().max()) > 2**53):
            where = int(((known != known.round()) | (known.abs() > 2**53)).nonzero()[0])
            checks.fail(name, "integers as class labels", f"{float(y[where]):g} at position {where}")
        y = known
    y = y.detach().long()
    if not len(y):
        return y, None
    low, high = (int(end) for end in torch.aminmax(y))
    if low < -1:
        where = int((y < -1).nonzero()[0])
        checks.fail(name, "labels of at least 0, or -1 where there is none", f"{int(y[where])} at position {where}")
    if num_classes is not None:
        if high >= num_classes:
            where = int((y >= num_classes).nonzero()[0])
            checks.fail(name, f"labels from 0 to {num_classes - 1}", f"{int(y[where])} at position {where}")
        return y, None
    if high < 4 * len(y) + 1024:
        present = torch.bincount(y + 1, minlength=high + 2)[1:] > 0
        if bool(present.all()):
            return y, None
        place = torch.cat([present.cumsum(0) - 1, y.new_full((1,), -1)])
        return place[y], present.nonzero().view(-1).cpu().numpy()
    distinct, codes = torch.unique(y, return_inverse=True)
    offset = int(low == -1)
    return codes - offset, distinct[offset:].cpu().numpy()


def _read_strings(
    name: str, values: NDArray[np.object_], num_classes: int | None
) -> tuple[Tensor, NDArray[Any] | None]:
    codes, distinct = pandas.factorize(values, sort=True)
    if num_classes is not None and len(distinct) != num_classes:
        checks.fail(name, f"{num_classes} distinct labels", len(distinct))
    return torch.from_numpy(codes.astype(np.int64)), np.asarray(distinct, dtype=object)

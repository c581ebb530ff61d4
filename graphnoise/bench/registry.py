"""What other distributions add through entry points: tasks, methods, noise kinds and data sets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Literal

from graphnoise import checks
from graphnoise.checks import InputError

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from graphnoise.bench.task import Task

Group = Literal[
    "tasks", "node_methods", "detectors", "clusterings", "recommenders", "noise", "datasets", "speed_operations"
]


@functools.cache
def names(group: Group) -> dict[str, EntryPoint]:
    """Return the entry points of `graphnoise.GROUP` by name; `InputError` if two distributions use one name."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"graphnoise.{group}"):
        other = points.setdefault(point.name, point)
        if other.value != point.value:
            owners = " and ".join(repr(p.dist.name if p.dist else p.value) for p in (other, point))
            checks.fail(f"graphnoise.{group}", f"one entry point named {point.name!r}", f"those of {owners}")
    return points


def load(group: Group, name: str, what: str = "method") -> Any:
    """Return what an entry point names; `InputError`, in which it is called `what`, if it cannot be had."""
    point = names(group)[checks.choice(what, name, names(group))]
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"{what} {name}: cannot be loaded from {point.value} ({error})") from error


def create(group: Group, name: str, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """Return a method and all of its hyper-parameters: options, and defaults but for those that are None.

    An entry point names a class, or a function that returns an object, with an attribute `version` (a string) and a
    default for each argument. Raises `InputError` if it does not, or a hyper-parameter is unknown or refused.

    Example:
        >>> create("clusterings", "pagerank", {"alpha": 0.1})[1]
        {'alpha': 0.1, 'improve': 'none', 'rounding': 'sweep', 'scale': 0.1}
    """
    factory = load(group, name)
    if not isinstance(getattr(factory, "version", None), str):
        checks.fail(f"method {name}", "a class with an attribute `version`, a string", f"none in {factory!r}")
    accepted = inspect.signature(factory).parameters
    for key, parameter in accepted.items():
        if parameter.default is Parameter.empty:
            checks.fail(f"method {name}", "hyper-parameters with defaults", f"{key} without")
    for key in options or {}:
        if not accepted:
            checks.fail(f"method {name}", "no hyper-parameter", repr(key))
        checks.choice(f"method: hyper-parameter of {name}", key, accepted)
    # None is the method's own choice, which its version stands for.
    defaults = {key: parameter.default for key, parameter in accepted.items() if parameter.default is not None}
    parameters = dict(sorted({**defaults, **(options or {})}.items()))
    try:
        return factory(**parameters), parameters
    except (TypeError, ValueError) as error:
        reason = error if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"method {name}: {reason}") from error


@functools.cache
def task(name: str) -> Task[Any]:
    """Return the task of a name."""
    instance: Task[Any] = load("tasks", name, "task")()
    return instance


def graph(name: str, root: str | None = None, split_seed: int | None = 0, **options: Any) -> Data:
    """Return a graph by the name of an entry point in `graphnoise.datasets`, or as `datasets.load` does.

    An entry point names a function of the root folder that returns a `Data`; without masks it gets the usual split,
    unless `split_seed` is None. The options are those of `datasets.load`.
    """
    from graphnoise import datasets
    from graphnoise.datasets.load import read_graph

    if name not in names("datasets"):
        if split_seed is None:
            return read_graph(name, root, **options)
        return datasets.load(name, root, seed=split_seed, **options)
    for key, value in options.items():
        checks.fail(key, f"none with {name}, a data set of another package", value)
    data = load("datasets", name, "dataset")(root)
    if split_seed is not None and getattr(data, "train_mask", None) is None:
        data.update(datasets.split_masks(data.y, seed=split_seed))
    return data

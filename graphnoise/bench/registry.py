"""What other distributions add through entry points: tasks, methods, noise kinds and data sets."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

from graphnoise import checks
from graphnoise.checks import InputError

if TYPE_CHECKING:
    from graphnoise.bench.task import Task

Group = Literal["tasks", "node_methods", "clusterings", "recommenders", "noise", "datasets"]


@functools.cache
def names(group: Group) -> dict[str, EntryPoint]:
    """Return the entry points of `graphnoise.GROUP` by name, in the order of the distributions.

    Raises:
        InputError: Two distributions use one name.
    """
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"graphnoise.{group}"):
        other = points.setdefault(point.name, point)
        if other.value != point.value:
            owners = " and ".join(repr(p.dist.name if p.dist else p.value) for p in (other, point))
            checks.fail(f"graphnoise.{group}", f"one entry point named {point.name!r}", f"those of {owners}")
    return points


def load(group: Group, name: str, what: str = "method") -> Any:
    """Return what an entry point names.

    Args:
        group: The group of entry points.
        name: The name; of an unknown one the nearest is suggested.
        what: What messages call it.

    Raises:
        InputError: There is no such entry point, or it cannot be imported.
    """
    point = names(group)[checks.choice(what, name, names(group))]
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"{what} {name}: cannot be loaded from {point.value} ({error})") from error


@functools.cache
def task(name: str) -> Task[Any]:
    """Return the task of a name."""
    instance: Task[Any] = load("tasks", name, "task")()
    return instance

"""Methods of training with wrong labels, by name."""

from __future__ import annotations

import importlib
from typing import Any

from graphnoise import checks
from graphnoise.robust.training import Method

# Module and class of each method.
_METHODS = {
    "ce": ("graphnoise.robust.training.method", "Method"),
    "cgnn": ("graphnoise.robust.methods.cgnn", "CGNN"),
    "crgnn": ("graphnoise.robust.methods.crgnn", "CRGNN"),
    "dnd-net": ("graphnoise.robust.methods.dnd_net", "DnDNet"),
    "icgnn": ("graphnoise.robust.methods.icgnn", "ICGNN"),
    "unionnet": ("graphnoise.robust.methods.unionnet", "UnionNET"),
}


def names() -> list[str]:
    """Return the names of all methods.

    Example:
        >>> "ce" in names()
        True
    """
    return sorted(_METHODS)


def load(name: str) -> type[Method]:
    """Return the class of a method.

    Raises:
        InputError: There is no method of this name.
    """
    module, attribute = _METHODS[checks.choice("method", name, _METHODS)]
    kind: type[Method] = getattr(importlib.import_module(module), attribute)
    return kind


def create_method(name: str, **settings: Any) -> Method:
    """Return a method with these settings.

    Raises:
        InputError: There is no method of this name, or a setting is unknown or out of its range.
    """
    kind = load(name)
    for key in settings:
        if not kind.defaults():
            checks.fail(f"method {name}", "no setting", repr(key))
        checks.choice(f"method: setting of {name}", key, kind.defaults())
    return kind(**settings)

"""Parsing of `NAME:KEY=VALUE,…` and `planted(KEY=VALUE,…)`: methods, noise kinds and data sets with options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphnoise import checks

Value = bool | int | float | str
_CALL = re.compile(r"(\w+)\((.*)\)")
_NUMBER = re.compile(r"[+-]?[0-9.]+")


@dataclass(frozen=True)
class Spec:
    """A name with options, and what tables call it: a label of its own where it has one, otherwise the text."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __str__(self) -> str:
        return self.label


def value(text: str) -> Value:
    """Return a value as a TOML file has it: true, false, a finite number, or the text.

    Example:
        >>> [value(text) for text in ("true", "3", "0.5", "gcn")]
        [True, 3, 0.5, 'gcn']
    """
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


def split(name: str, text: str) -> list[str]:
    """Split a text at its commas, except those within parentheses and those between the options of one name.

    Example:
        >>> split("--method", "lp,gcn:hidden=64,lr=0.1,sgc")
        ['lp', 'gcn:hidden=64,lr=0.1', 'sgc']
        >>> split("--dataset", "cora,planted(n=100,block=20,p=0.5,q=0.1)")
        ['cora', 'planted(n=100,block=20,p=0.5,q=0.1)']
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            checks.fail(name, "values separated by commas", repr(text))
        before = names[-1] if names else ""
        continues = ":" in before and ":" not in part and ("=" in part or _NUMBER.fullmatch(part) is not None)
        if continues or before.count("(") > before.count(")"):
            names[-1] = f"{before},{part}"
        else:
            names.append(part)
    return names


def parse(name: str, text: object) -> Spec:
    """Parse `NAME`, `NAME:KEY=VALUE,…` or {"name": LABEL, "method": such a text}; `name` is for messages.

    A value of several numbers keeps its commas (`erase:fanouts=10,5`).

    Example:
        >>> spec = parse("method", "gcn:hidden=64,lr=0.1")
        >>> spec.name, spec.options, spec.label
        ('gcn', {'hidden': 64, 'lr': 0.1}, 'gcn:hidden=64,lr=0.1')
        >>> parse("methods", {"name": "wide", "method": "gcn:hidden=64"}).label
        'wide'
    """
    if isinstance(text, Spec):
        return text
    label = text
    if isinstance(text, Mapping):
        for key in text:
            checks.choice(f"{name}: key", key, ("name", "method"))
        label, text = text.get("name"), text.get("method")
    for part in (label, text):
        if not isinstance(part, str) or not part.strip() or not part.isprintable():
            checks.fail(name, "NAME, NAME:KEY=VALUE or {name = LABEL, method = NAME:KEY=VALUE}", repr(part))
    head, colon, rest = str(text).partition(":")
    options = _pairs(name, head, rest, text) if colon else {}
    return Spec(head.strip(), {key: value(part) for key, part in options.items()}, str(label))


def parse_call(
    name: str, text: str, kinds: Mapping[str, type], required: tuple[str, ...] = ()
) -> dict[str, Any] | None:
    """Parse `planted(KEY=VALUE,…)`; None if the text has no parentheses.

    `kinds` has the type (int or float) of each key that may stand within the parentheses; `required` ones must.

    Example:
        >>> parse_call("dataset", "planted(n=20,p=0.5)", {"n": int, "p": float, "q": float}, required=("n",))
        {'n': 20, 'p': 0.5}
    """
    call = _CALL.fullmatch(text.replace(" ", ""))
    if call is None:
        return None
    values: dict[str, Any] = {}
    for key, part in _pairs(name, call[1], call[2], text).items():
        kind = kinds[checks.choice(f"{name}: {call[1]}", key, kinds)]
        number = value(part)
        if isinstance(number, bool | str) or (kind is int and not isinstance(number, int)):
            checks.fail(f"{name}: {call[1]}: {key}", f"a number ({kind.__name__})", repr(part))
        values[key] = kind(number)
    if missing := [key for key in required if key not in values]:
        form = ",".join(f"{key}=…" for key in required)
        checks.fail(name, f"{call[1]}({form})", f"{text!r}, without {', '.join(missing)}")
    return values


def _pairs(name: str, owner: str, rest: str, text: object) -> dict[str, str]:
    """Return the texts of KEY=VALUE,… by key."""
    pairs: dict[str, str] = {}
    last = ""
    for part in rest.split(","):
        key, equals, word = (piece.strip() for piece in part.partition("="))
        if last and not equals and _NUMBER.fullmatch(part.strip()):
            pairs[last] += f",{part.strip()}"
            continue
        if not (key and equals and word):
            checks.fail(name, f"{owner}:KEY=VALUE,…", repr(text))
        if key in pairs:
            checks.fail(name, f"each option of {owner} once", f"{key} twice in {text!r}")
        pairs[key], last = word, key
    return pairs


def call_name(text: str) -> str:
    """Return the name before the parentheses, or the whole text.

    Example:
        >>> call_name("planted(n=20)"), call_name("cora")
        ('planted', 'cora')
    """
    return text.partition("(")[0]


def text(name: str, options: Mapping[str, Any]) -> str:
    """Return what `parse` reads.

    Example:
        >>> text("label_flow", {"label_eps": 0.2, "improve": "mqi", "labels": False})
        'label_flow:label_eps=0.2,improve=mqi,labels=false'
    """
    names = {True: "true", False: "false", None: "none"}
    parts = [f"{key}={names[v] if v is None or isinstance(v, bool) else v}" for key, v in options.items()]
    return name + (":" + ",".join(parts) if parts else "")

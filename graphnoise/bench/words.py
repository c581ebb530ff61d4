"""What the files of suites are made of: tables, texts, numbers and names, each refused in one line if it is not."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphnoise import checks

_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")  # names of grids name files


def parse(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        checks.fail(str(path), "a suite in TOML, which is UTF-8", f"{error.reason} at position {error.start}")
    except (ValueError, RecursionError) as error:
        checks.fail(str(path), "a suite in TOML", f"a mistake: {error}")
    except OSError as error:
        checks.fail(str(path), "a suite in TOML", f"no file that can be read ({error.strerror or error})")


def known(name: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuse keys that nobody reads."""
    for key in table:
        checks.choice(name, key, keys)


def said(value: object) -> str:
    """Return a value as the file has it, or what it is."""
    return {dict: "a table", list: "a list", bool: str(value).lower()}.get(type(value), repr(value))


def table(name: str, value: object) -> dict[str, Any]:
    """Return a table."""
    if not isinstance(value, dict):
        checks.fail(name, "a table", said(value))
    return value


def tables(name: str, value: object) -> list[dict[str, Any]]:
    """Return tables under double brackets."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        checks.fail(name, "tables under double brackets, as in [[grid]] and [[grid.variant]]", said(value))
    return value


def text(name: str, value: object) -> str:
    """Return a text of one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        checks.fail(name, "a text of one line", said(value))
    return value


def name(where: str, table: Mapping[str, Any]) -> str:
    """Return the name that a table gives itself."""
    if "name" not in table:
        checks.fail(where, "a name", "none")
    return text(f"{where}: name", table["name"])


def flag(name: str, value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        checks.fail(name, "true or false", said(value))
    return value


def listed(one: Callable[[str, object], Any]) -> Callable[[str, object], list[Any]]:
    """Return what reads a list with at least one entry, each once."""

    def read(name: str, value: object) -> list[Any]:
        if not isinstance(value, list) or not value:
            checks.fail(name, "a list with at least one entry", "an empty one" if value == [] else said(value))
        return list(dict.fromkeys(one(name, entry) for entry in value))

    return read


def whole(low: int, high: int | None = None) -> Callable[[str, object], int]:
    """Return what reads an integer within bounds."""
    return lambda name, value: checks.integer(name, value, low, high)


def one_of(options: Sequence[str]) -> Callable[[str, object], str]:
    """Return what reads one of some words."""
    return lambda name, value: checks.choice(name, value, options)


def grid_name(where: str, table: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """Return the name of a grid, which names files and which no other grid has."""
    found = name(where, table)
    if found in taken:
        checks.fail(where, "a name that no other grid has", repr(found))
    if not set(found) <= _SAFE:
        checks.fail(where, "a name of letters, digits, '-', '_' and '.'", repr(found))
    return found

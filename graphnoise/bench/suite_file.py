"""The file of a suite: what it may say, and what is wrong with it in one line."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _check
from ..noise import LabelNoise
from .methods import create, is_stochastic
from .nodes import MOST, SELECTIONS, Grid
from .suite import Entry, Row, Suite, named

Settings = Mapping[str, Mapping[str, Any]]  # hyper-parameters by method, options by kind of noise


def read(path: Path, root: str | None = None) -> Suite:
    """Read a suite, and check all of it but what depends on the data.

    Args:
        path: A TOML file: `title`; `[defaults]` with keys of `Grid`; `[[grid]]` with a `name`, keys of `Grid`,
            `[grid.set.METHOD]` with hyper-parameters and `[[grid.variant]]` with a `name` and settings of its own.
        root: Folder of raw data sets; by default the environment variable GRAPHNOISE_DATA.

    Raises:
        InputError: There is no such file, it is not TOML, a key or a name is unknown or comes twice, a value is of the
            wrong type; the message names file, grid and key.
    """
    top = _parse(path)
    with named(path):
        _known("key", top, ("title", "defaults", "grid"))
        title = _text("title", top.get("title", path.stem))
        common = dict(_table("defaults", top.get("defaults", {})))
        with named("defaults"):
            _known("key", common, (*KEYS, "set"))
            defaults = {key: KEYS[key](key, value) for key, value in common.items() if key in KEYS}
            shared = _settings("set", common.get("set", {}))
        tables = _tables("grid", top.get("grid", []))
        if not tables:
            _check.fail("grid", "at least one [[grid]]", "none")
    entries: dict[str, Entry] = {}
    for place, table in enumerate(tables, 1):
        with named(path):
            name = _name(f"grid {place}", table)
            if name in entries:
                _check.fail(f"grid {place}", "a name that no other grid has", repr(name))
            if not set(name) <= _SAFE:
                _check.fail(f"grid {place}", "a name of letters, digits, '-', '_' and '.'", repr(name))
        where = f"{path}: grid {name!r}"
        with named(where):
            entries[name] = _entry(where, name, table, {**defaults, "root": root}, shared)
    for owner in shared:
        with named(path):
            owners = {word for entry in entries.values() for word in (*entry.grid.methods, *entry.grid.noise)}
            _check.choice("defaults: set", owner, owners)
    return Suite(title, tuple(entries.values()), root)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        _check.fail(str(path), "a suite in TOML, which is UTF-8", f"{error.reason} at position {error.start}")
    except (ValueError, RecursionError) as error:
        _check.fail(str(path), "a suite in TOML", f"a mistake: {error}")
    except OSError as error:
        _check.fail(str(path), "a suite in TOML", f"no file that can be read ({error.strerror or error})")


def _entry(where: str, name: str, table: Mapping[str, Any], defaults: Mapping[str, Any], shared: Settings) -> Entry:
    """Read a grid: its keys in place of the defaults, its settings beside theirs."""
    _known("key", table, (*KEYS, "name", "set", "variant"))
    own = {key: KEYS[key](key, value) for key, value in table.items() if key in KEYS}
    grid = Grid(**{**defaults, **own})
    owners = [*grid.methods, *grid.noise]
    settings = _settings("set", table.get("set", {}))
    for owner in settings:
        _check.choice("set", owner, owners)
    settings = _merged({owner: values for owner, values in shared.items() if owner in owners}, settings)
    variants: dict[str, Settings] = {}
    for place, variant in enumerate(_tables("variant", table.get("variant", [])), 1):
        word = _name(f"variant {place}", variant)
        if word in variants:
            _check.fail(f"variant {place}", "a name that no other variant has", repr(word))
        with named(f"variant {word!r}"):
            _known("key", variant, ("name", "set"))
            variants[word] = _settings("set", variant.get("set", {}))
            for owner in variants[word]:
                _check.choice("set", owner, list(grid.methods))
    return Entry(where, name, replace(grid, overrides=settings), tuple(_rows(grid, settings, variants)))


def _rows(grid: Grid, settings: Settings, variants: Mapping[str, Settings]) -> Iterator[Row]:
    """Yield the rows of a grid: a method that no variant sets has one; a variant without settings is all others'."""
    varied = {method for own in variants.values() for method in own}
    if variants and not varied:
        _check.fail("variant", "one at least with settings (set.METHOD.PARAMETER)", "none")
    seen: dict[str, str] = {}
    for method in grid.methods:
        if method not in varied:
            yield _row(method, method, settings.get(method, {}), grid.inits)
            continue
        for name, own in variants.items():
            if own and method not in own:
                continue
            label = name if len(grid.methods) == 1 else f"{method} ({name})"
            with named(f"variant {name!r}"):
                row = _row(label, method, _merged(settings, own).get(method, {}), grid.inits)
            if (other := seen.setdefault(row.key, name)) != name:
                _check.fail(f"variant {name!r}", f"settings that variant {other!r} has not", f"the same {method}")
            yield row


def _row(label: str, method: str, settings: Mapping[str, Any], inits: int) -> Row:
    made, parameters = create(method, settings)
    return Row(label, method, made.version, parameters, settings, inits if is_stochastic(made) else 1)


def _merged(first: Settings, second: Settings) -> Settings:
    return {owner: {**first.get(owner, {}), **second.get(owner, {})} for owner in {**first, **second}}


def _known(name: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in table:
        _check.choice(name, key, keys)


def _said(value: object) -> str:
    """Return a value as the file has it, or what it is."""
    return {dict: "a table", list: "a list", bool: str(value).lower()}.get(type(value), repr(value))


def _table(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        _check.fail(name, "a table", _said(value))
    return value


def _tables(name: str, value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        _check.fail(name, "tables under double brackets, as in [[grid]] and [[grid.variant]]", _said(value))
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        _check.fail(name, "a text of one line", _said(value))
    return value


def _name(where: str, table: Mapping[str, Any]) -> str:
    if "name" not in table:
        _check.fail(where, "a name", "none")
    return _text(f"{where}: name", table["name"])


def _settings(name: str, value: object) -> Settings:
    """Read `set.METHOD.PARAMETER = value`."""
    found: dict[str, dict[str, Any]] = {}
    for owner, values in _table(name, value).items():
        found[owner] = _table(f"{name}.{owner}", values)
        for key, setting in found[owner].items():
            if (
                not isinstance(setting, bool | int | float | str)
                or setting in (math.inf, -math.inf)
                or setting != setting
            ):
                _check.fail(f"{name}.{owner}.{key}", "a finite number, a string, true or false", _said(setting))
    return found


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        _check.fail(name, "true or false", _said(value))
    return value


def _list(one: Callable[[str, object], Any]) -> Callable[[str, object], list[Any]]:
    def read(name: str, value: object) -> list[Any]:
        if not isinstance(value, list) or not value:
            _check.fail(name, "a list with at least one entry", "an empty one" if value == [] else _said(value))
        return list(dict.fromkeys(one(name, entry) for entry in value))

    return read


def _integer(low: int, high: int | None = None) -> Callable[[str, object], int]:
    return lambda name, value: _check.integer(name, value, low, high)


def _choice(options: Sequence[str]) -> Callable[[str, object], str]:
    return lambda name, value: _check.choice(name, value, options)


KEYS: dict[str, Callable[[str, object], Any]] = {  # of `Grid`, each with what reads it
    "datasets": _list(_text),
    "methods": _list(_text),
    "noise": _list(_choice(LabelNoise.kinds)),
    "rates": _list(_check.rate),
    "draws": _integer(1, MOST),
    "inits": _integer(1, MOST),
    "first_draw": _integer(0),
    "select": _choice(SELECTIONS),
    "exact": _flag,
    "legacy": _flag,
    "split_seed": _integer(0),
}
_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")  # names of grids name files

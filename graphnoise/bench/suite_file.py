"""The file of a suite: what it may say, and what is wrong with it in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import words
from graphnoise.bench.methods import create, is_stochastic
from graphnoise.bench.nodes import MOST, SELECTIONS, Grid
from graphnoise.bench.suite import Entry, Row, Suite, named
from graphnoise.noise import LabelNoise

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
    top = words.parse(path)
    with named(path):
        words.known("key", top, ("task", "title", "defaults", "grid"))
        checks.choice("task", top.get("task", "nodes"), ("nodes",))
        title = words.text("title", top.get("title", path.stem))
        common = dict(words.table("defaults", top.get("defaults", {})))
        with named("defaults"):
            words.known("key", common, (*KEYS, "set"))
            defaults = {key: KEYS[key](key, value) for key, value in common.items() if key in KEYS}
            shared = _settings("set", common.get("set", {}))
        tables = words.tables("grid", top.get("grid", []))
        if not tables:
            checks.fail("grid", "at least one [[grid]]", "none")
    entries: dict[str, Entry] = {}
    for place, table in enumerate(tables, 1):
        with named(path):
            name = words.grid_name(f"grid {place}", table, entries)
        where = f"{path}: grid {name!r}"
        with named(where):
            entries[name] = _entry(where, name, table, {**defaults, "root": root}, shared)
    for owner in shared:
        with named(path):
            owners = {word for entry in entries.values() for word in (*entry.grid.methods, *entry.grid.noise)}
            checks.choice("defaults: set", owner, owners)
    return Suite(title, tuple(entries.values()), root)


def _entry(where: str, name: str, table: Mapping[str, Any], defaults: Mapping[str, Any], shared: Settings) -> Entry:
    """Read a grid: its keys in place of the defaults, its settings beside theirs."""
    words.known("key", table, (*KEYS, "name", "set", "variant"))
    own = {key: KEYS[key](key, value) for key, value in table.items() if key in KEYS}
    grid = Grid(**{**defaults, **own})
    owners = [*grid.methods, *grid.noise]
    settings = _settings("set", table.get("set", {}))
    for owner in settings:
        checks.choice("set", owner, owners)
    settings = _merged({owner: values for owner, values in shared.items() if owner in owners}, settings)
    variants: dict[str, Settings] = {}
    for place, variant in enumerate(words.tables("variant", table.get("variant", [])), 1):
        word = words.name(f"variant {place}", variant)
        if word in variants:
            checks.fail(f"variant {place}", "a name that no other variant has", repr(word))
        with named(f"variant {word!r}"):
            words.known("key", variant, ("name", "set"))
            variants[word] = _settings("set", variant.get("set", {}))
            for owner in variants[word]:
                checks.choice("set", owner, list(grid.methods))
    return Entry(where, name, replace(grid, overrides=settings), tuple(_rows(grid, settings, variants)))


def _rows(grid: Grid, settings: Settings, variants: Mapping[str, Settings]) -> Iterator[Row]:
    """Yield the rows of a grid: a method that no variant sets has one; a variant without settings is all others'."""
    varied = {method for own in variants.values() for method in own}
    if variants and not varied:
        checks.fail("variant", "one at least with settings (set.METHOD.PARAMETER)", "none")
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
                checks.fail(f"variant {name!r}", f"settings that variant {other!r} has not", f"the same {method}")
            yield row


def _row(label: str, method: str, settings: Mapping[str, Any], inits: int) -> Row:
    made, parameters = create(method, settings)
    return Row(label, method, made.version, parameters, settings, inits if is_stochastic(made) else 1)


def _merged(first: Settings, second: Settings) -> Settings:
    return {owner: {**first.get(owner, {}), **second.get(owner, {})} for owner in {**first, **second}}


def _settings(name: str, value: object) -> Settings:
    """Read `set.METHOD.PARAMETER = value`."""
    found: dict[str, dict[str, Any]] = {}
    for owner, values in words.table(name, value).items():
        found[owner] = words.table(f"{name}.{owner}", values)
        for key, setting in found[owner].items():
            if (
                not isinstance(setting, bool | int | float | str)
                or setting in (math.inf, -math.inf)
                or setting != setting
            ):
                checks.fail(f"{name}.{owner}.{key}", "a finite number, a string, true or false", words.said(setting))
    return found


KEYS: dict[str, Callable[[str, object], Any]] = {  # of `Grid`, each with what reads it
    "datasets": words.listed(words.text),
    "methods": words.listed(words.text),
    "noise": words.listed(words.one_of(LabelNoise.kinds)),
    "rates": words.listed(checks.rate),
    "draws": words.whole(1, MOST),
    "inits": words.whole(1, MOST),
    "first_draw": words.whole(0),
    "select": words.one_of(SELECTIONS),
    "exact": words.flag,
    "erase_stream": words.flag,
    "split_seed": words.whole(0),
}

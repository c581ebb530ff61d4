"""Suites of the recommender benchmark: a TOML file with `task = "recommend"` that names several grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import words
from graphnoise.bench.grids import GridSuite, missing
from graphnoise.bench.runner import cell_key
from recsys.bench import grid as grids
from recsys.bench import methods
from recsys.bench.grid import MOST, PROTOCOL, SELECTIONS, Grid, run_cells
from recsys.bench.problem import NOISE


class Places:
    """Where the cells of a grid stand in it, from their configurations alone."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        made = grids.rows(grid.methods)
        self.rows = [_row(*row, grid.trials if methods.space(*row) else 1) for row in made]
        self.noise = [cell_key(one) for one in grids.entries(grid.noise, grid.rates)]
        self.expected = len(grid.datasets) * len(self.rows) * len(self.noise) * grid.seeds

    def place(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return positions of data set, noise, row and seed; None if the cell is not of the grid."""
        grid = self.grid
        fixed = ("recommend", PROTOCOL, methods.VERSION, grid.select, grid.split_seed)
        if tuple(config.get(key) for key in ("task", "protocol", "version", "select", "split_seed")) != fixed:
            return None
        noise, row = cell_key(config["noise"]), _row(config["method"], config["fixed"], config["trials"])
        seed = config["seed"] - grid.first_seed
        if config["dataset"] not in grid.datasets or not 0 <= seed < grid.seeds:
            return None
        if noise not in self.noise or row not in self.rows:
            return None
        return list(grid.datasets).index(config["dataset"]), self.noise.index(noise), self.rows.index(row), seed


def _row(method: str, fixed: Mapping[str, Any], trials: int) -> str:
    return cell_key({"method": method, "fixed": fixed, "trials": trials})


class Suite(GridSuite):
    """Several grids of the recommender benchmark under one title; see `GridSuite`."""

    keys = {  # noqa: RUF012
        "datasets": words.listed(words.text),
        "methods": words.listed(words.text),
        "noise": words.listed(words.one_of(NOISE)),
        "rates": words.listed(checks.rate),
        "seeds": words.whole(1, MOST),
        "first_seed": words.whole(0),
        "trials": words.whole(1, MOST),
        "select": words.one_of(SELECTIONS),
        "split_seed": words.whole(0),
    }
    places = staticmethod(Places)
    run_cells = staticmethod(run_cells)

    @staticmethod
    def grid(**settings: Any) -> Grid:
        """Return a grid, with the names of its methods checked."""
        found = Grid(**settings)
        grids.rows(found.methods)
        return found

    def about(self, name: str) -> tuple[list[str], list[str], int]:
        """Return data sets, rows and number of seeds of a grid."""
        grid = self.grids[name]
        return list(grid.datasets), [grids.label(*row) for row in grids.rows(grid.methods)], grid.seeds

    def name(self, config: Mapping[str, Any]) -> str:
        """Name a cell in a line."""
        return grids.name(config)

    def gaps(self, folder: Path, found: Mapping[str, list[tuple[tuple[int, ...], Mapping[str, Any]]]]) -> Iterator[str]:
        """Say what is missing."""
        wanted = {own: Places(grid).expected for own, grid in self.grids.items()}
        yield from missing(folder, {own: (len({place for place, _ in found[own]}), wanted[own]) for own in wanted})


read = Suite.read

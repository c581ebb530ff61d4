"""Suites of the cluster benchmark: a TOML file with `task = "cluster"` that names several grids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench import words
from graphnoise.bench.clusters import labels
from graphnoise.bench.clusters.grid import MOST, MULTIPLES, PROTOCOL, Grid, run_cells
from graphnoise.bench.clusters.methods import create, version
from graphnoise.bench.grids import GridSuite, missing
from graphnoise.bench.runner import cell_key


class Places:
    """Where the cells of a grid stand in it, from their configurations alone."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.sources = list(dict.fromkeys(cell_key(labels.read(text)) for text in grid.accuracies))
        self.methods = list(dict.fromkeys(_row(*create(text)) for text in ["labels", *grid.methods]))
        self.each = len(self.sources) * len(self.methods)  # cells of a class
        multiples = [float(value) for value in grid.multiples] or list(MULTIPLES[grid.sink])
        self.fixed = ("cluster", PROTOCOL, grid.seeds_per_class, grid.first_seed, grid.sink, multiples)

    def place(self, config: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return positions of data set, source and class and method; None if the cell is not of the grid."""
        names = ("task", "protocol", "seeds", "first_seed", "sink", "multiples")
        if tuple(config.get(name) for name in names) != self.fixed or config["version"] != version(config["method"]):
            return None
        source, method = cell_key(config["labels"]), _row(config["method"], config["parameters"])
        if config["dataset"] not in self.grid.datasets or source not in self.sources or method not in self.methods:
            return None
        place = list(self.grid.datasets).index(config["dataset"]), self.sources.index(source)
        return *place, config["class"], self.methods.index(method)


def _row(method: str, parameters: Mapping[str, Any]) -> str:
    return cell_key({"method": method, "parameters": parameters})


class Suite(GridSuite):
    """Several grids of the cluster benchmark under one title; see `GridSuite`."""

    keys = {  # noqa: RUF012
        "datasets": words.listed(words.text),
        "methods": words.listed(words.text),
        "accuracies": words.listed(words.text),
        "seeds_per_class": words.whole(1, MOST),
        "first_seed": words.whole(0),
        "sink": words.one_of(tuple(MULTIPLES)),
        "multiples": words.listed(lambda name, value: checks.real(name, value, 1e-3, 1e6)),
    }
    places = staticmethod(Places)
    run_cells = staticmethod(run_cells)

    @staticmethod
    def grid(**settings: Any) -> Grid:
        """Return a grid, with its names checked."""
        found = Grid(**settings)
        for text in found.methods:
            create(text)
        for text in found.accuracies:
            labels.read(text)
        return found

    def about(self, name: str) -> tuple[list[str], list[str], int]:
        """Return data sets, rows and number of seeds a class of a grid."""
        grid = self.grids[name]
        return list(grid.datasets), list(dict.fromkeys(["labels", *grid.methods])), grid.seeds_per_class

    def name(self, config: Mapping[str, Any]) -> str:
        """Name a cell in a line."""
        return name(config)

    def gaps(self, folder: Path, found: Mapping[str, list[tuple[tuple[int, ...], Mapping[str, Any]]]]) -> Iterator[str]:
        """Say what is missing, as far as that can be told without data: classes that nothing was recorded of cannot."""
        classes: dict[str, set[int]] = defaultdict(set)
        for entries in found.values():
            for _, config in entries:
                classes[config["dataset"]].add(config["class"])
        yield from missing(
            folder,
            {
                own: (
                    len({place for place, _ in found[own]}),
                    sum(len(classes[dataset]) for dataset in grid.datasets) * Places(grid).each,
                )
                for own, grid in self.grids.items()
            },
        )
        datasets = dict.fromkeys(dataset for grid in self.grids.values() for dataset in grid.datasets)
        if absent := [dataset for dataset in datasets if not classes[dataset]]:
            yield f"{folder}: data sets without a cell yet: {', '.join(absent)}"


read = Suite.read


def name(config: Mapping[str, Any]) -> str:
    """Name a cell in a line: data set, method, labels, class."""
    return f"{config['dataset']} {config['method']}, labels {labels.words(config['labels'])}, class {config['class']}"

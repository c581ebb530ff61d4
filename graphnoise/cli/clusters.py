"""`graphnoise bench cluster`: find the classes of a graph from one node each, with noisy labels and without."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphnoise.cli.console import Bar, Root, names, numbers
from graphnoise.cli.running import Folder, Jobs, close, resumable, show, workers


def cluster(
    dataset: Annotated[
        str, typer.Option(help="Data sets, separated by commas, or planted(n=10000,block=500,p=0.03,q=0.002).")
    ] = "coauthor-cs",
    method: Annotated[
        str, typer.Option(help="Methods, separated by commas; NAME:PARAMETER=VALUE sets one.")
    ] = "fd,lfd,acl,lacl",
    accuracy: Annotated[
        str,
        typer.Option(help="Labels: A1/A0 (shares right inside and outside), logistic:SAMPLES or gcn:SAMPLES."),
    ] = "0.9/0.95,0.7/0.9",
    seeds_per_class: Annotated[int, typer.Option(help="Seed nodes of each class.")] = 6,
    first_seed: Annotated[int, typer.Option(help="Number of the first of them.")] = 0,
    sink: Annotated[str, typer.Option(help="What a node holds in flow diffusion: degree or unit.")] = "degree",
    masses: Annotated[
        str | None, typer.Option(help="Masses, as multiples of what the true cluster holds. (default: as published)")
    ] = None,
    jobs: Jobs = None,
    folder: Folder = Path("runs"),
    root: Root = None,
) -> None:
    """Measure local clustering from one seed node, with noisy labels of the nodes and without."""
    with resumable(folder):  # from the first import on, which takes seconds
        from graphnoise.bench.clusters.grid import Grid, run
        from graphnoise.bench.clusters.suite import name
        from graphnoise.bench.runner import Store

        grid = Grid(
            datasets=listed("--dataset", dataset),
            methods=listed("--method", method),
            accuracies=names("--accuracy", accuracy),
            seeds_per_class=seeds_per_class,
            first_seed=first_seed,
            sink=sink,
            multiples=() if masses is None else numbers("--masses", masses),
            root=root,
        )
        count = workers(jobs)
        with Bar() as bar:
            grid.cells()  # a grid that is refused leaves no folder behind
            summary = run(grid, Store(folder), jobs=count, on_done=show(bar, name))
    close(summary, folder, name)


def listed(option: str, text: str) -> list[str]:
    """Read names separated by commas, of which those within parentheses or between settings belong to a name.

    >>> listed("--method", "fd,lfd:eps=0.2,rounding=sweep,acl")
    ['fd', 'lfd:eps=0.2,rounding=sweep', 'acl']
    >>> listed("--dataset", "cora,planted(n=100,block=20,p=0.5,q=0.1)")
    ['cora', 'planted(n=100,block=20,p=0.5,q=0.1)']
    """
    found: list[str] = []
    for part in names(option, text):
        inside = bool(found) and found[-1].count("(") > found[-1].count(")")
        setting = bool(found) and "=" in part and ":" not in part and ":" in found[-1]
        if inside or setting:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found

"""`graphnoise bench recommend`: recommenders as clicks go wrong, each with a search of the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphnoise.cli.clusters import listed
from graphnoise.cli.console import Bar, Root, names, numbers
from graphnoise.cli.running import Folder, Jobs, close, resumable, show, workers


def recommend(
    dataset: Annotated[
        str, typer.Option(help="Data sets, separated by commas, or planted(users=400,items=200).")
    ] = "ml-100k",
    method: Annotated[
        str, typer.Option(help="Methods, separated by commas; NAME:PARAMETER=VALUE sets one.")
    ] = "itemknn,als,ease,bpr,linear",
    noise: Annotated[
        str, typer.Option(help="Kinds of noise, separated by commas: none, false-positive, false-negative, both.")
    ] = "false-positive,false-negative",
    rate: Annotated[str, typer.Option(help="Rates, separated by commas.")] = "0,0.2",
    seeds: Annotated[int, typer.Option(help="Seeds of noise, search and training.")] = 3,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
    trials: Annotated[int, typer.Option(help="Settings that the search of each method may try.")] = 20,
    select: Annotated[str, typer.Option(help="Validation that methods are chosen on: noisy or clean.")] = "noisy",
    split_seed: Annotated[int, typer.Option(help="Seed of the split where there is no public one.")] = 0,
    jobs: Jobs = None,
    folder: Folder = Path("runs"),
    root: Root = None,
) -> None:
    """Measure recommenders as clicks go wrong, each tuned on validation with the same number of trials."""
    with resumable(folder):  # from the first import on, which takes seconds
        from graphnoise.bench.runner import Store
        from recsys.bench.grid import Grid, name, run

        grid = Grid(
            datasets=listed("--dataset", dataset),
            methods=listed("--method", method),
            noise=names("--noise", noise),
            rates=numbers("--rate", rate),
            seeds=seeds,
            first_seed=first_seed,
            trials=trials,
            select=select,
            split_seed=split_seed,
            root=root,
        )
        count = workers(jobs)
        with Bar() as bar:
            grid.cells()  # a grid that is refused leaves no folder behind
            summary = run(grid, Store(folder), jobs=count, on_done=show(bar, name))
    close(summary, folder, name)

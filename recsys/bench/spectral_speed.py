"""Speed of fitting a learned filter of the item graph, beside the sparse products that the fit makes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from rich.console import RenderableType
from rich.text import Text

from graphnoise.bench.grid import integer, integers, option, some_of
from graphnoise.bench.report import headline
from graphnoise.bench.speed import harness, tables
from graphnoise.bench.speed.harness import Record, Say, TimedRun, VerificationError
from graphnoise.bench.speed.operation import Case, Operation, Options
from graphnoise.resources import cpu_count
from recsys.bench.speed import draw_matrix
from recsys.models.item_graph import MARGIN, PANEL, ItemGraph
from recsys.models.spectral import PRESETS, SpectralFilter
from recsys.simulation import low_rank

# Of a score, against float64 and dense matrices, as a share of the largest.
TOLERANCE = 1e-3
# The fit of "linkprop" makes no products.
WITH_VECTORS = ("auto", "chebycf", "gf-cf")
NOTE = (
    "fit: seconds of a fit; products: as many columns times the matrix of the item graph as the fit multiplies, and\n"
    "nothing else; over products: within each round. Rate: operations (4 a click and column) of the products a\n"
    "second. Ranking: 20 items for each user"
)


class SpectralOptions(Options):
    """Options of `graphnoise bench speed spectral`."""

    users: Annotated[int, integer(1, 10**9)] = option(1_435, "Rows of the matrix.")
    items: Annotated[int, integer(1, 10**9)] = option(1_522, "Columns.")
    interactions: Annotated[int, integer(1, 10**10)] = option(31_887, "Known pairs.")
    preset: Annotated[tuple[str, ...], some_of(*WITH_VECTORS)] = option(("auto",), ", ".join(WITH_VECTORS) + ".")
    threads: Annotated[tuple[int, ...], integers(1, 1024)] = option(
        tuple(sorted({1, min(2, cpu_count())})), "Numbers of threads."
    )


def dense_scores(model: SpectralFilter) -> Any:
    """Return the scores of the users of fit from dense matrices in float64 and the model's vectors, by the formula."""
    chosen, R = model.filter_, model.user_items.toarray().astype(np.float64)
    users, items = (np.maximum(R.sum(axis), 1) for axis in (1, 0))
    scaled = R * users[:, None] ** -chosen.user_power * items**-chosen.item_power
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    largest = 1.0 if chosen.user_power == chosen.item_power == 0.5 else values[-1] * (1 + MARGIN)
    response = chebyshev.chebval(1 - 2 * values / largest, chosen.coefficients)
    relative, leading = items / items.mean(), model.vectors.astype(np.float64)
    scores = (R * relative**-chosen.power_in) @ (vectors * response) @ vectors.T * relative**chosen.power_out
    scores += (
        (R * relative**-chosen.vector_power) @ (leading * chosen.weights) @ leading.T * (relative**chosen.vector_power)
    )
    return scores + chosen.popularity * items / items.max()


def verify() -> float:
    """Compare the scores of learned and published filters with dense ones on a small matrix; return the largest gap."""
    matrix = low_rank(300, 90, rank=5, density=0.15, seed=0).interactions.matrix
    worst = 0.0
    for preset in PRESETS:
        model = SpectralFilter(preset, directions=8, num_threads=1).fit(matrix, False)
        expected = dense_scores(model)
        gap = float(np.abs(model.scores(np.arange(300)) - expected).max() / np.abs(expected).max())
        if not gap <= TOLERANCE:
            raise VerificationError(f"{preset}: expected the dense scores within {TOLERANCE:g}, got {gap:.2g}")
        worst = max(worst, gap)
    return worst


def columns_of(model: SpectralFilter, matrix: Any) -> int:
    """Fit the model; return how many columns it multiplies by the matrix of an item graph."""
    multiply, widths = ItemGraph.multiply, list[int]()

    @functools.wraps(multiply)
    def counted(self: ItemGraph, x: Any, *rest: Any, **options: Any) -> Any:
        widths.append(x.shape[1])
        return multiply(self, x, *rest, **options)

    ItemGraph.multiply = counted  # type: ignore[method-assign]
    try:
        model.fit(matrix, False)
    finally:
        ItemGraph.multiply = multiply  # type: ignore[method-assign]
    return sum(widths)


class Spectral(Operation):
    """Fits of `SpectralFilter`."""

    name, options = "spectral", SpectralOptions
    help = "Time fits of SpectralFilter beside the sparse products that they make."

    def measure(self, case: Case, options: SpectralOptions, record: Record, say: Say) -> None:
        """Verify scores, then time rounds of a fit, of its products, and of ranking items for all users."""
        say("verifying")
        record["checks"] = {"scores": verify()}
        matrix = draw_matrix(case | {"seed": options.seed})
        model = SpectralFilter(case["preset"], num_threads=case["threads"])
        columns = columns_of(model, matrix)
        graph = ItemGraph(matrix, num_threads=case["threads"])
        x = torch.rand(matrix.shape[1], PANEL, generator=torch.Generator().manual_seed(options.seed))

        def products(_: int) -> None:
            for _ in range(-(-columns // PANEL)):
                graph.multiply(x)

        # The dense products of a fit are on one thread as well.
        users = np.arange(matrix.shape[0])
        runs = [
            TimedRun("fit", lambda _: model.fit(matrix, False)),
            TimedRun("products", products),
            TimedRun("ranking", lambda _: model.recommend(users, matrix, N=20)),
        ]
        times = record["times"] = harness.interleave(runs, options.rounds, options.seed, say)
        harness.compare(times, "products", times)
        record |= {"columns": columns, "operations": 4 * columns * matrix.nnz}

    def tables(self, records: Sequence[Record]) -> Iterator[RenderableType]:
        """Yield a table of all sizes, presets and numbers of threads."""
        yield Text(NOTE, style="dim")
        for record in records:
            case = record["case"]
            yield headline(f"{case['users']:,} users × {case['items']:,} items, {case['interactions']:,} pairs")
            yield tables.table(TABLE, [record])
        yield from tables.notes(records)


TABLE: tables.Cells = {
    "preset": lambda record: record["case"]["preset"],
    "threads": lambda record: str(record["case"]["threads"]),
    "columns": lambda record: f"{record['columns']:,}",
    "products": lambda record: tables.duration(record, "products"),
    "rate": lambda record: (
        f"{record['operations'] / record['times']['products']['seconds']['median'] / 1e9:.1f} GFlop/s"
    ),
    "fit": lambda record: tables.duration(record, "fit"),
    "over products": lambda record: tables.ratio(record, "fit"),
    "ranking": lambda record: tables.duration(record, "ranking"),
}

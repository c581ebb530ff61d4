"""`graphnoise report rank-stability`, `exchange-rate`, `frontier` and `memorisation`: of stored cells or a callable."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphnoise.cli.command import Command, resumable
from graphnoise.cli.console import Bar, Root, bad, out, wide

if TYPE_CHECKING:
    import pandas as pd

    from graphnoise.bench.store import Store
    from graphnoise.reports.inputs import Run

evaluation = typer.Typer(add_completion=False)
NAMES = ("rank-stability", "exchange-rate", "frontier", "memorisation")
Folder = Annotated[
    Path | None, typer.Argument(help="Folder of cells of `bench nodes`, or of stored runs.", show_default=False)
]
Callable_ = Annotated[
    str | None, typer.Option("--run", help="MODULE:FUNCTION, called as run(config, seed) in place of a folder.")
]
Dataset = Annotated[str | None, typer.Option(help="Data set on which SGC is run, in place of a folder or a callable.")]
Kind = Annotated[str, typer.Option(help="Noise of the noisy labels of the data set.")]
Rate = Annotated[float, typer.Option(help="Rate of this noise.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder in which runs of the callable are stored.")]
Plot = Annotated[str | None, typer.Option(help="Draw the plot into this file. (without value: REPORT.png)")]
Csv = Annotated[str | None, typer.Option("--csv", help="Write the first table as CSV to this file.")]
Seeds = Annotated[int, typer.Option(help="Runs of each configuration of the callable.")]
Seed = Annotated[int, typer.Option(help="Seed of what is random in the report.")]


@evaluation.command("rank-stability", cls=Command)
def rank_stability_command(
    folder: Folder = None,
    run: Callable_ = None,
    noise: Annotated[str, typer.Option(help="Errors of test labels: a kind of noise, llm or file:PATH.")] = "symmetric",
    rate: Annotated[float, typer.Option(help="Rate of these errors; given labels have none.")] = 0.1,
    orders: Annotated[int, typer.Option(help="Orders in which nodes with right labels are removed.")] = 200,
    seeds: Seeds = 1,
    seed: Seed = 0,
    stored: Out = None,
    plot: Plot = None,
    table: Csv = None,
    root: Root = None,
) -> None:
    """Say whether a ranking survives when wrong test labels become more frequent.

    A callable returns, for run({}, seed), "predictions" (by model, classes of the test nodes), "given" and "corrected".
    """
    from graphnoise import checks
    from graphnoise.bench import evaluation_cells, evaluation_figures
    from graphnoise.reports import rank_stability
    from graphnoise.reports.inputs import measures

    _check(folder, run, plot, table)
    checks.rate("--rate", rate)
    sets: list[tuple[str, Any, Any, Any]]
    with resumable(stored), Bar("rank stability"):
        runs, nodes = ([], []) if folder is None else evaluation_cells.cells_of(folder, NAMES[0])
        called = _Called(run, NAMES[0], stored)
        if runs or run:
            results = [record["result"] for record in runs] or [
                measures(called.run, {}, k, ["predictions", "given", "corrected"]) for k in range(_seeds(seeds))
            ]
            sets = [(run or "stored runs", *_joined(results))]
        else:
            sets = list(evaluation_cells.prediction_sets(nodes, root, noise, rate, seed))
        if not sets:
            bad("folder", "cells of at least two rows that share data set and noise", "those of one row each")
        reports = {
            title: rank_stability(predictions, given, corrected, orders=orders, seed=seed)
            for title, predictions, given, corrected in sets
        }
        if plot is not None:
            figure = evaluation_figures.rank_stability_figure(reports)
    for title, report in reports.items():
        tau = "not defined, as all models are alike" if report.kendall != report.kendall else f"{report.kendall:.3f}"
        _head(title, f"{report.prevalence:.1%} of the test labels are wrong; Kendall's tau of both rankings: {tau}")
        _print(report.models, "by given and by corrected labels, in %", percent=report.models.columns[1:5])
        flips = report.pairs[report.pairs["crossing"].notna()].sort_values("crossing")
        if len(flips):
            numbers = ["right_labels", "wrong_labels", "crossing", "sampled", "low", "high", "crossing_share"]
            _print(flips, "share of wrong labels from which on the second is better, in %", percent=numbers)
        else:
            out.print("no pair of models changes its order at any share of wrong labels")
    if plot is not None:
        _save(figure, plot, NAMES[0])
    _write(table, {title: report.models for title, report in reports.items()})


def _joined(results: list[Mapping[str, Any]]) -> tuple[Any, Any, Any]:
    """Return the predictions of several runs together; their labels have to be the same."""
    import numpy as np

    from graphnoise import checks

    first = results[0]
    for result in results:
        if not isinstance(result["predictions"], Mapping) or set(result["predictions"]) != set(first["predictions"]):
            checks.fail("run: predictions", "a mapping with the same models in every run", "others")
        for name in ("given", "corrected"):
            if not np.array_equal(np.asarray(result[name]), np.asarray(first[name])):
                checks.fail(f"run: {name}", "the same labels in every run", "others")
    predictions = {
        name: np.stack([np.asarray(result["predictions"][name]) for result in results]) for name in first["predictions"]
    }
    return predictions, first["given"], first["corrected"]


@evaluation.command("exchange-rate", cls=Command)
def exchange_rate_command(
    folder: Folder = None,
    run: Callable_ = None,
    dataset: Dataset = None,
    noise: Kind = "symmetric",
    rate: Rate = 0.3,
    clean: Annotated[str, typer.Option(help="Clean labels of runs, separated by commas.")] = "20,50,100,200",
    noisy: Annotated[str, typer.Option(help="Noisy labels of runs, separated by commas.")] = "0,100,400",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 200,
    seeds: Seeds = 5,
    seed: Seed = 0,
    stored: Out = None,
    plot: Plot = None,
    table: Csv = None,
    root: Root = None,
) -> None:
    """Say how many clean labels a noisy one is worth.

    A callable returns "accuracy" for run({"clean": n, "noisy": m}, seed). Of a folder, cells without noise count as
    clean labels and those with noise as noisy ones: several training sizes are needed, as data sets
    NAME:split_sizes=TRAIN/VAL/TEST.
    """
    from graphnoise.bench import evaluation_cells, evaluation_figures
    from graphnoise.reports import exchange_rate

    _check(folder, run, plot, table, dataset)
    counts = [_counts(option, text) for option, text in (("--clean", clean), ("--noisy", noisy))]
    with resumable(stored), Bar("exchange rate"):
        configs = [{"clean": c, "noisy": n} for c in counts[0] for n in counts[1] if c + n]
        called = _Called(run, NAMES[1], stored, dataset, noise, rate, root)
        runs, nodes = _runs(folder, called, NAMES[1], configs, seeds)
        if runs is None:
            tables = dict(evaluation_cells.by_noise(evaluation_cells.label_counts(nodes, root), "dataset", "method"))
        else:
            tables = {called.title: runs}
        reports = {}
        for title, rows in tables.items():
            counted, error = (rows["clean"].to_numpy(), rows["noisy"].to_numpy()), 1 - rows["accuracy"].to_numpy()
            result = exchange_rate(*counted, error, resamples=resamples, seed=seed)
            reports[title] = (rows, result)
        if plot is not None:
            figure = evaluation_figures.exchange_rate_figure(reports)
    for title, (_, result) in reports.items():
        _head(title, result.text)
        if result.kappa is not None:
            labels = f"(n_c + {result.kappa:.4g} n_n)^-{result.exponent:.4g}"
            curve = f"error = {result.limit:.4g} + {result.scale:.4g} {labels}"
            out.print(f"{curve}, root mean square error {result.residual:.2g}")
        if len(result.local):
            _print(
                result.local,
                "worth of the labels added in each step (empty: an error that no measured clean count has)",
            )
        else:
            out.print("worth step by step: not identified (it needs three counts of clean labels alone)")
    if plot is not None:
        _save(figure, plot, NAMES[1])
    _write(table, {title: rows for title, (rows, _) in reports.items()})


@evaluation.command("frontier", cls=Command)
def frontier_command(
    folder: Folder = None,
    run: Callable_ = None,
    dataset: Dataset = None,
    noise: Kind = "symmetric",
    rate: Rate = 0.3,
    budgets: Annotated[str, typer.Option(help="Budgets, separated by commas.")] = "50,100,200,400",
    shares: Annotated[
        str, typer.Option(help="Shares of a budget for clean labels, separated by commas.")
    ] = "0,0.25,0.5,0.75,1",
    weak_cost: Annotated[float, typer.Option(help="Cost of a noisy label.")] = 1.0,
    strong_cost: Annotated[float, typer.Option(help="Cost of a clean label.")] = 5.0,
    pool: Annotated[int, typer.Option(help="Nodes that can be labelled.")] = 1_000_000,
    disjoint: Annotated[bool, typer.Option(help="No node has both a noisy and a clean label.")] = False,
    methods: Annotated[str, typer.Option(help="Methods of the callable, separated by commas.")] = "",
    seeds: Seeds = 5,
    stored: Out = None,
    plot: Plot = None,
    table: Csv = None,
    root: Root = None,
) -> None:
    """Say whether a budget should buy many noisy labels, few clean ones, or some of each.

    A callable returns "accuracy" for run({"weak": n, "strong": m, "disjoint": …, "method": …}, seed). Of a folder,
    cells without noise have clean labels and those with noise have noisy ones; their costs are the options.
    """
    from graphnoise.bench import evaluation_cells, evaluation_figures, options
    from graphnoise.reports import frontier, purchases

    _check(folder, run, plot, table, dataset)
    amounts = [float(b) for b in _counts("--budgets", budgets, whole=False)]
    parts = [float(s) for s in _counts("--shares", shares, whole=False)]
    bought = purchases(amounts, parts, weak_cost, strong_cost, pool, disjoint=disjoint)
    with resumable(stored), Bar("frontier"):
        names = [{"method": name} for name in options.split("--methods", methods)] if methods else [{}]
        pairs = bought[bought["weak"] + bought["strong"] > 0][["weak", "strong"]].drop_duplicates()
        configs = [
            {"weak": int(w), "strong": int(s), "disjoint": disjoint, **name}
            for w, s in pairs.itertuples(index=False)
            for name in names
        ]
        if not configs and folder is None:
            bad("--budgets", "a budget that buys a label", budgets)
        called = _Called(run, NAMES[2], stored, dataset, noise, rate, root)
        runs, nodes = _runs(folder, called, NAMES[2], configs, seeds)
        if runs is None:
            counts = evaluation_cells.label_counts(nodes, root)
            counts = counts.rename(columns={"clean": "strong", "noisy": "weak"})
            tables = dict(evaluation_cells.by_noise(counts, "dataset"))
        else:
            tables = {called.title: runs}
        reports = {}
        for title, rows in tables.items():
            costs = rows["weak"] * weak_cost + rows["strong"] * strong_cost
            reports[title] = frontier(rows.assign(cost=costs), amounts if runs is not None else None)
        if plot is not None:
            figure = evaluation_figures.frontier_figure(reports)
    for title, report in reports.items():
        _head(title, f"a noisy label costs {weak_cost:g}, a clean one {strong_cost:g}")
        best = report.points[report.points["pareto"]].drop(columns="pareto")
        _print(best, "Pareto set, accuracy in %", percent=["accuracy", "half_width"])
        _print(report.regimes, "what a budget should buy, accuracy in %", percent=["accuracy", "lead"])
    if plot is not None:
        _save(figure, plot, NAMES[2])
    _write(table, {title: report.points for title, report in reports.items()})


@evaluation.command("memorisation", cls=Command)
def memorisation_command(
    folder: Folder = None,
    run: Callable_ = None,
    dataset: Dataset = None,
    noise: Kind = "symmetric",
    rate: Rate = 0.3,
    labelled: Annotated[int, typer.Option(help="Number of labelled nodes of the callable.")] = 0,
    runs: Annotated[int, typer.Option(help="Number of runs.")] = 200,
    share: Annotated[float, typer.Option(help="Share of the labels that each run sees.")] = 0.7,
    top: Annotated[int, typer.Option(help="Labels and influences to print.")] = 10,
    seed: Seed = 0,
    stored: Out = None,
    plot: Plot = None,
    table: Csv = None,
    root: Root = None,
) -> None:
    """Say which labels are memorised: predicted where they are given, and not where they are withheld.

    A callable returns, for run({"included": positions}, seed), "correct" (whether it predicts the given label of each
    labelled node) and "test_correct"; "groups", values of the labelled nodes by name, is read from the first run, and
    "wrong" in it says which labels are wrong. Cells of the benchmark withhold no labels: of a folder, stored runs are
    read.
    """
    import numpy as np
    import pandas as pd

    from graphnoise.bench import evaluation_cells, evaluation_figures
    from graphnoise.reports import label_influence, memorisation, memorisation_groups, memorisation_runs

    _check(folder, run, plot, table, dataset)
    with resumable(stored), Bar("memorisation"):
        if folder is not None:
            records, _ = evaluation_cells.cells_of(folder, NAMES[3])
            if not records:
                expected = "runs that withhold labels (graphnoise report memorisation --run … --out)"
                bad("folder", expected, "cells of `bench nodes`, which see all labels")
            results = [record["result"] for record in records]
            included = np.zeros((len(records), len(results[0]["correct"])), dtype=bool)
            for row, record in zip(included, records, strict=True):
                row[record["config"]["config"]["included"]] = True
            correct, test = (np.array([result[key] for result in results]) for key in ("correct", "test_correct"))
            groups = results[0].get("groups", {})
        else:
            called = _Called(run, NAMES[3], stored, dataset, noise, rate, root)
            labelled = called.labelled or labelled
            if labelled < 2:
                bad("--labelled", "the number of labelled nodes of the callable, at least 2", labelled)
            included, correct, test = memorisation_runs(called.run, labelled, runs=runs, share=share, seed=seed)
            groups = called.first.get("groups", {})
        scores = memorisation(included, correct)
        wrong = np.asarray(groups["wrong"]).astype(bool) if "wrong" in groups else None
        by_group = memorisation_groups(scores, groups)
        influence = label_influence(included, test) if test.size else pd.DataFrame(columns=["influence"])
        if plot is not None:
            figure = evaluation_figures.memorisation_figure(scores, wrong)
    unknown = int(np.isnan(scores).sum())
    _head(f"memorisation of {len(scores)} labels in {len(included)} runs", f"{unknown} labels have no score")
    labels = pd.DataFrame({"labelled": np.arange(len(scores)), "memorisation": scores})
    if wrong is not None:
        labels["wrong"] = wrong
    # Sums in another order of runs differ in their last digits.
    ranked = labels.iloc[np.argsort(-scores.round(12), kind="stable")[:top]]
    _print(ranked, "most memorised labels")
    if len(by_group):
        _print(by_group, "by group: mean score, and share of scores of at least .25")
    if len(influence):
        strongest = influence.iloc[np.argsort(-influence["influence"].abs().round(12).to_numpy(), kind="stable")[:top]]
        _print(strongest, "strongest influences of labels on test nodes")
    if plot is not None:
        _save(figure, plot, NAMES[3])
    _write(table, {"": labels})


class _Called:
    """A callable by name, or runs on a data set; errors are input errors, and results are stored.

    Attributes:
        run: The callable.
        title: Its name.
        labelled: Number of labelled nodes of a data set; 0 of a callable.
        first: What it returned first.
    """

    def __init__(
        self,
        name: str | None,
        report: str,
        folder: Path | None,
        dataset: str | None = None,
        noise: str = "",
        rate: float = 0.0,
        root: str | None = None,
    ) -> None:
        from graphnoise.bench.evaluation_cells import stored
        from graphnoise.bench.store import Store

        self.first: dict[str, Any] = {}
        self._function, self.labelled = None if name is None else _load(name), 0
        if dataset is not None:
            from graphnoise.bench.node_runs import NodeRuns

            runs = NodeRuns(dataset, noise, rate, root)
            self._function = runs.memorise if report == NAMES[3] else runs.mix
            self.labelled, name = len(runs.labelled), f"{dataset}, {noise} noise {rate:g}"
        self._name, self.title = name, name or "stored runs"
        # Results of other data have another name.
        digest = "" if dataset is None else f" {runs.instance.digest}"
        store: Store | None = None if folder is None else Store(folder)
        self.run: Run = self._kept(stored(self._call, f"{name}{digest}", report, store))

    def _call(self, config: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        from graphnoise.errors import GraphnoiseError

        assert self._function is not None
        try:
            result: Mapping[str, Any] = self._function(config, seed)
        except GraphnoiseError:
            raise
        except (Exception, SystemExit) as error:
            bad("--run", f"a result of {self._name}({str(config)[:80]}, {seed})", f"{type(error).__name__}: {error}")
        return result

    def _kept(self, run: Run) -> Run:
        def keep(config: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
            result = run(config, seed)
            if not self.first and isinstance(result, Mapping):
                self.first = dict(result)
            return result

        return keep


def _load(name: str) -> Any:
    """Return the callable of MODULE:FUNCTION; modules of the current folder are found."""
    module, colon, attribute = name.partition(":")
    expected = "MODULE:FUNCTION that can be imported"
    if not (colon and module and attribute):
        bad("--run", expected, repr(name))
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        bad("--run", expected, f"{name!r} ({type(error).__name__}: {error})")
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(found):
        bad("--run", f"{expected} and called", f"{name!r}, {type(found).__name__}")
    return found


def _check(folder: Path | None, run: str | None, plot: str | None, table: str | None, *dataset: str | None) -> None:
    """Check, before anything runs, that there is one source and that files can be written."""
    from graphnoise.bench import plots
    from graphnoise.io import check_writable

    sources = {"FOLDER": folder, "--run": run, **dict(zip(["--dataset"], dataset, strict=False))}
    if len(given := [name for name, value in sources.items() if value is not None]) != 1:
        bad(", ".join(sources), "one of them", " and ".join(given) or "none")
    if plot is not None:
        plots.check(Path(plot or "plot.png"))
    for file in (plot, table):
        if file:
            check_writable(Path(file))


def _seeds(seeds: int) -> int:
    from graphnoise import checks

    return checks.integer("--seeds", seeds, 1)


def _runs(
    folder: Path | None, called: _Called, report: str, configs: list[dict[str, Any]], seeds: int
) -> tuple[pd.DataFrame | None, list[Any]]:
    """Return the table of runs of a callable, or those that a folder holds; else None and the cells of the folder."""
    from graphnoise.bench import evaluation_cells
    from graphnoise.reports import collect_runs

    if folder is None:
        return collect_runs(called.run, configs, _seeds(seeds)), []
    records, nodes = evaluation_cells.cells_of(folder, report)
    return (evaluation_cells.run_table(records), []) if records else (None, nodes)


def _counts(option: str, text: str, whole: bool = True) -> list[float]:
    from graphnoise import checks
    from graphnoise.bench import options

    values = [options.value(part) for part in options.split(option, text)]
    check = (lambda v: checks.integer(option, v, 0)) if whole else (lambda v: checks.real(option, v, 0.0))
    return [check(value) for value in values]


def _head(title: str, note: str) -> None:
    from graphnoise.bench.report import headline

    out.print(headline(title, note))


def _print(table: pd.DataFrame, title: str, percent: Any = ()) -> None:
    """Print a table; shares in per cent, and nothing for NaN."""
    from graphnoise.bench.report import columns, headline

    names = [str(name) for name in table.columns]
    texts = [name for name in names if table[name].dtype.kind not in "iufb"]
    ordered = [*texts, *(name for name in names if name not in texts)]
    shown = columns(ordered[0].replace("_", " "), [n.replace("_", " ") for n in ordered[1:]], left=len(texts))
    for row in table[ordered].itertuples(index=False):
        shown.add_row(*(_cell(value, name in percent) for name, value in zip(ordered, row, strict=True)))
    out.print(headline(title))
    wide(shown)


def _cell(value: Any, percent: bool) -> str:
    if isinstance(value, str):
        return value
    if value != value:
        return ""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return f"{100 * value:.1f}" if percent else f"{value:.4g}" if float(value) % 1 else f"{int(value)}"


def _save(figure: Any, plot: str, name: str) -> None:
    from graphnoise.bench.plots import save_figure

    file = Path(plot or f"{name}.png")
    save_figure(figure, file)
    out.print(f"wrote {file}", soft_wrap=True)


def _write(table: str | None, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write tables as one CSV file, or to standard output."""
    import pandas as pd

    from graphnoise.io import atomic_write

    if table is None:
        return
    joined = pd.concat([frame.assign(**({"report": title} if title else {})) for title, frame in frames.items()])
    if not table:
        print(joined.to_csv(index=False), end="")
        return
    with atomic_write(Path(table)) as stream:
        stream.write(joined.to_csv(index=False).encode())
    print(f"wrote {table}")

"""`graphnoise report rank-stability`, `exchange-rate`, `frontier` and `memorisation`: of stored cells or a callable."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from graphnoise.cli.command import TableCommand, resumable
from graphnoise.cli.console import Bar, Root, bad, out, wide

if TYPE_CHECKING:
    import pandas as pd

    from graphnoise.reports.inputs import Run

evaluation = typer.Typer(add_completion=False)
NAMES = ("rank-stability", "exchange-rate", "frontier", "memorisation")


@dataclass(frozen=True)
class _Asked:
    """Name of a report, and the options that reports share."""

    report: str
    folder: Annotated[
        Path | None, Argument(help="Folder of cells of `bench nodes`, or of stored runs.", show_default=False)
    ] = None
    run: Annotated[
        str | None, Option("--run", help="MODULE:FUNCTION, called as run(config, seed) in place of a folder.")
    ] = None
    dataset: Annotated[str | None, Option(help="Data set on which SGC is run, in place of a folder or a callable.")] = (
        None
    )
    noise: Annotated[str, Option(help="Noise of the noisy labels of the data set.")] = "symmetric"
    rate: Annotated[float, Option(help="Rate of this noise.")] = 0.3
    seeds: Annotated[int, Option(help="Runs of each configuration of the callable.")] = 5
    seed: Annotated[int, Option(help="Seed of what is random in the report.")] = 0
    stored: Annotated[Path | None, Option("--out", help="Folder in which runs of the callable are stored.")] = None
    plot: Annotated[str | None, Option(help="Draw the plot into this file. (without value: REPORT.png)")] = None
    table: Annotated[str | None, Option("--csv", help="Write the first table as CSV to this file.")] = None
    root: Root = None


# What is printed, the tables of --csv by title, and the function that draws the plot.
_Result = tuple[Callable[[], None], "Mapping[str, pd.DataFrame]", Callable[[], Any]]


def _command(name: str, first: str, last: str, **defaults: Any) -> Callable[[Callable[..., _Result]], None]:
    """Make a function of `_Asked` and further options a command.

    Args:
        name: Its name.
        first: Shared options that are listed before those of the function, separated by spaces.
        last: Those after them, before those of files.
        defaults: Other defaults of shared options.
    """

    def register(function: Callable[..., _Result]) -> None:
        every = signature(_Asked, eval_str=True).parameters
        own = list(signature(function, eval_str=True).parameters.values())[1:]
        names = f"{first} {last} stored plot table root".split()
        after = len(first.split())
        parameters = [every[key] for key in names]
        parameters[after:after] = own

        def call(**words: Any) -> None:
            asked = _Asked(name, **{key: words.pop(key) for key in names})
            _check(asked, "dataset" in names)
            with resumable(asked.stored), Bar(name.replace("-", " ")):
                show, tables, draw = function(asked, **words)
                figure = None if asked.plot is None else draw()
            show()
            if asked.plot is not None:
                _save(figure, asked.plot, name)
            _write(asked.table, tables)

        call.__signature__ = Signature(  # type: ignore[attr-defined]
            [p.replace(kind=Parameter.KEYWORD_ONLY, default=defaults.get(p.name, p.default)) for p in parameters]
        )
        call.__doc__ = function.__doc__
        evaluation.command(name, cls=TableCommand)(call)

    return register


ON_DATA = "folder run dataset noise rate"


@_command(NAMES[0], "folder run", "seeds seed", seeds=1)
def _rank_stability(
    asked: _Asked,
    noise: Annotated[str, Option(help="Errors of test labels: a kind of noise, llm or file:PATH.")] = "symmetric",
    rate: Annotated[float, Option(help="Rate of these errors; given labels have none.")] = 0.1,
    orders: Annotated[int, Option(help="Orders in which nodes with right labels are removed.")] = 200,
) -> _Result:
    """Say whether a ranking survives when wrong test labels become more frequent.

    A callable returns, for run({}, seed), "predictions" (by model, classes of the test nodes), "given" and "corrected".
    """
    from graphnoise import checks
    from graphnoise.bench import evaluation_cells, evaluation_figures
    from graphnoise.reports import rank_stability
    from graphnoise.reports.inputs import measures

    checks.rate("--rate", rate)
    sets: list[tuple[str, Any, Any, Any]]
    runs, nodes = ([], []) if asked.folder is None else evaluation_cells.cells_of(asked.folder, NAMES[0])
    run, title, _ = _called(asked)
    if runs or asked.run:
        results = [record["result"] for record in runs] or [
            measures(run, {}, k, evaluation_cells.MEASURES[NAMES[0]]) for k in range(_seeds(asked))
        ]
        sets = [(title, *_joined(results))]
    else:
        sets = list(evaluation_cells.prediction_sets(nodes, asked.root, noise, rate, asked.seed))
    if not sets:
        bad("folder", "cells of at least two rows that share data set and noise", "those of one row each")
    reports = {
        title: rank_stability(predictions, given, corrected, orders=orders, seed=asked.seed)
        for title, predictions, given, corrected in sets
    }

    def show() -> None:
        for title, report in reports.items():
            alike = report.kendall != report.kendall
            tau = "not defined, as all models are alike" if alike else f"{report.kendall:.3f}"
            _head(title, f"{report.prevalence:.1%} of the test labels are wrong; Kendall's tau of both rankings: {tau}")
            _print(report.models, "by given and by corrected labels, in %", percent=report.models.columns[1:5])
            flips = report.pairs[report.pairs["crossing"].notna()].sort_values("crossing")
            if len(flips):
                numbers = ["right_labels", "wrong_labels", "crossing", "sampled", "low", "high", "crossing_share"]
                _print(flips, "share of wrong labels from which on the second is better, in %", percent=numbers)
            else:
                out.print("no pair of models changes its order at any share of wrong labels")

    tables = {title: report.models for title, report in reports.items()}
    return show, tables, lambda: evaluation_figures.rank_stability_figure(reports)


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
    predictions = {}
    for name in first["predictions"]:
        try:
            predictions[name] = np.stack([np.asarray(result["predictions"][name]) for result in results])
        except ValueError:
            checks.fail(f"run: predictions[{name!r}]", "classes of one shape in every run", "others")
    return predictions, first["given"], first["corrected"]


@_command(NAMES[1], ON_DATA, "seeds seed")
def _exchange_rate(
    asked: _Asked,
    clean: Annotated[str, Option(help="Clean labels of runs, separated by commas.")] = "20,50,100,200",
    noisy: Annotated[str, Option(help="Noisy labels of runs, separated by commas.")] = "0,100,400",
    resamples: Annotated[int, Option(help="Bootstrap resamples.")] = 200,
) -> _Result:
    """Say how many clean labels a noisy one is worth.

    A callable returns "accuracy" for run({"clean": n, "noisy": m}, seed). Of a folder, cells without noise count as
    clean labels and those with noise as noisy ones: several training sizes are needed, as data sets
    NAME:split_sizes=TRAIN/VAL/TEST.
    """
    from graphnoise.bench import evaluation_cells, evaluation_figures
    from graphnoise.reports import exchange_rate
    from graphnoise.reports.inputs import finite_array

    counts = [_counts(option, text) for option, text in (("--clean", clean), ("--noisy", noisy))]
    configs = [{"clean": c, "noisy": n} for c in counts[0] for n in counts[1] if c + n]
    if not configs and asked.folder is None:
        bad("--clean, --noisy", "counts of which one is above 0", f"{clean}, {noisy}")
    title, runs, nodes = _runs(asked, configs)
    counted: dict[str, Any] = {title: runs}
    if runs is None:
        labels = evaluation_cells.label_counts(nodes, asked.root)
        counted = dict(evaluation_cells.by_noise(labels, "dataset", "method"))
    reports = {}
    for title, rows in counted.items():
        columns = [rows[name].to_numpy() for name in ("clean", "noisy")]
        accuracy = finite_array("accuracy", rows["accuracy"].to_numpy(), low=0, high=1)
        result = exchange_rate(columns[0], columns[1], 1 - accuracy, resamples=resamples, seed=asked.seed)
        reports[title] = (rows, result)

    def show() -> None:
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

    tables = {title: rows for title, (rows, _) in reports.items()}
    return show, tables, lambda: evaluation_figures.exchange_rate_figure(reports)


@_command(NAMES[2], ON_DATA, "seeds")
def _frontier(
    asked: _Asked,
    budgets: Annotated[str, Option(help="Budgets, separated by commas.")] = "50,100,200,400",
    shares: Annotated[
        str, Option(help="Shares of a budget for clean labels, separated by commas.")
    ] = "0,0.25,0.5,0.75,1",
    weak_cost: Annotated[float, Option(help="Cost of a noisy label.")] = 1.0,
    strong_cost: Annotated[float, Option(help="Cost of a clean label.")] = 5.0,
    pool: Annotated[int, Option(help="Nodes that can be labelled.")] = 1_000_000,
    disjoint: Annotated[bool, Option(help="No node has both a noisy and a clean label.")] = False,
    methods: Annotated[str, Option(help="Methods of the callable, separated by commas.")] = "",
) -> _Result:
    """Say whether a budget should buy many noisy labels, few clean ones, or some of each.

    A callable returns "accuracy" for run({"weak": n, "strong": m, "disjoint": …, "method": …}, seed). Of a folder,
    cells without noise have clean labels and those with noise have noisy ones; their costs are the options.
    """
    from graphnoise.bench import evaluation_cells, evaluation_figures, options
    from graphnoise.reports import frontier, purchases

    amounts = [float(b) for b in _counts("--budgets", budgets, whole=False)]
    parts = [float(s) for s in _counts("--shares", shares, whole=False)]
    bought = purchases(amounts, parts, weak_cost, strong_cost, pool, disjoint=disjoint)
    names = [{"method": name} for name in options.split("--methods", methods)] if methods else [{}]
    pairs = bought[bought["weak"] + bought["strong"] > 0][["weak", "strong"]].drop_duplicates()
    configs = [
        {"weak": int(w), "strong": int(s), "disjoint": disjoint, **name}
        for w, s in pairs.itertuples(index=False)
        for name in names
    ]
    if not configs and asked.folder is None:
        bad("--budgets", "a budget that buys a label", budgets)
    title, runs, nodes = _runs(asked, configs)
    counted: dict[str, Any] = {title: runs}
    if runs is None:
        labels = evaluation_cells.label_counts(nodes, asked.root)
        labels = labels.rename(columns={"clean": "strong", "noisy": "weak"})
        counted = dict(evaluation_cells.by_noise(labels, "dataset"))
    reports = {}
    for title, rows in counted.items():
        costs = rows["weak"] * weak_cost + rows["strong"] * strong_cost
        reports[title] = frontier(rows.assign(cost=costs), amounts if runs is not None else None)

    def show() -> None:
        for title, report in reports.items():
            _head(title, f"a noisy label costs {weak_cost:g}, a clean one {strong_cost:g}")
            best = report.points[report.points["pareto"]].drop(columns="pareto")
            _print(best, "Pareto set, accuracy in %", percent=["accuracy", "half_width"])
            _print(report.regimes, "what a budget should buy, accuracy in %", percent=["accuracy", "lead"])

    tables = {title: report.points for title, report in reports.items()}
    return show, tables, lambda: evaluation_figures.frontier_figure(reports)


@_command(NAMES[3], ON_DATA, "seed")
def _memorisation(
    asked: _Asked,
    labelled: Annotated[int, Option(help="Number of labelled nodes of the callable.")] = 0,
    runs: Annotated[int, Option(help="Number of runs.")] = 200,
    share: Annotated[float, Option(help="Share of the labels that each run sees.")] = 0.7,
    top: Annotated[int, Option(help="Labels and influences to print.")] = 10,
) -> _Result:
    """Say which labels are memorised: predicted where they are given, and not where they are withheld.

    A callable returns, for run({"included": positions}, seed), "correct" (whether it predicts the given label of each
    labelled node) and "test_correct"; "groups", values of the labelled nodes by name, is read from the first run, and
    "wrong" in it says which labels are wrong. Cells of the benchmark withhold no labels: of a folder, stored runs are
    read.
    """
    import numpy as np
    import pandas as pd

    from graphnoise.bench import evaluation_cells, evaluation_figures
    from graphnoise.checks import integer
    from graphnoise.reports import label_influence, memorisation, memorisation_groups, memorisation_runs

    integer("--top", top, 1)
    if asked.folder is not None:
        records, _ = evaluation_cells.cells_of(asked.folder, NAMES[3])
        if not records:
            expected = "runs that withhold labels (graphnoise report memorisation --run … --out)"
            bad("folder", expected, "cells of `bench nodes`, which see all labels")
        included, correct, test = evaluation_cells.withheld(asked.folder, records)
        groups: Mapping[str, Any] = records[0]["result"].get("groups", {})
    else:
        run, _, of_data = _called(asked)
        labelled = of_data or labelled
        if labelled < 2:
            bad("--labelled", "the number of labelled nodes of the callable, at least 2", labelled)
        groups = {}

        def kept(config: Mapping[str, Any], seed: int) -> Any:
            nonlocal groups
            result = run(config, seed)
            groups = groups or (result.get("groups", {}) if isinstance(result, Mapping) else {})
            return result

        included, correct, test = memorisation_runs(kept, labelled, runs=runs, share=share, seed=asked.seed)
    scores = memorisation(included, correct)
    wrong = np.asarray(groups["wrong"]).astype(bool) if "wrong" in groups else None
    by_group = memorisation_groups(scores, groups)
    influence = label_influence(included, test) if test.size else pd.DataFrame(columns=["influence"])
    labels = pd.DataFrame({"labelled": np.arange(len(scores)), "memorisation": scores})
    if wrong is not None:
        labels["wrong"] = wrong

    def show() -> None:
        unknown = int(np.isnan(scores).sum())
        _head(f"memorisation of {len(scores)} labels in {len(included)} runs", f"{unknown} labels have no score")
        # Sums in another order of runs differ in their last digits.
        ranked = labels.iloc[np.argsort(-scores.round(12), kind="stable")[:top]]
        _print(ranked, "most memorised labels")
        if len(by_group):
            _print(by_group, "by group: mean score, and share of scores of at least .25")
        if len(influence):
            strongest = influence.iloc[
                np.argsort(-influence["influence"].abs().round(12).to_numpy(), kind="stable")[:top]
            ]
            _print(strongest, "strongest influences of labels on test nodes")

    return show, {"": labels}, lambda: evaluation_figures.memorisation_figure(scores, wrong)


def _called(asked: _Asked) -> tuple[Run, str, int]:
    """Return a callable by name, or runs on a data set, its title and the number of labelled nodes of the data set.

    Its errors are input errors, and its results are stored.
    """
    from graphnoise.bench.evaluation_cells import stored
    from graphnoise.bench.store import Store
    from graphnoise.errors import GraphnoiseError

    name, digest, labelled = asked.run or "stored runs", "", 0
    function: Any = None if asked.run is None else _load(asked.run)
    if asked.dataset is not None:
        from graphnoise.bench.node_runs import NodeRuns

        runs = NodeRuns(asked.dataset, asked.noise, asked.rate, asked.root)
        function = runs.memorise if asked.report == NAMES[3] else runs.mix
        labelled, name = len(runs.labelled), f"{asked.dataset}, {asked.noise} noise {asked.rate:g}"
        # Results of other data have another name.
        digest = f" {runs.instance.digest}"

    def call(config: Mapping[str, Any], seed: int) -> Any:
        try:
            return function(config, seed)
        except GraphnoiseError:
            raise
        except (Exception, SystemExit) as error:
            bad("--run", f"a result of {name}({str(config)[:80]}, {seed})", f"{type(error).__name__}: {error}")

    store = None if asked.stored is None else Store(asked.stored)
    return stored(call, f"{name}{digest}", asked.report, store), name, labelled


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


def _check(asked: _Asked, on_data: bool) -> None:
    """Check, before anything runs, that there is one source and that files can be written."""
    from graphnoise.bench import plots
    from graphnoise.io import check_writable

    sources = {"FOLDER": asked.folder, "--run": asked.run} | ({"--dataset": asked.dataset} if on_data else {})
    if len(given := [name for name, value in sources.items() if value is not None]) != 1:
        bad(", ".join(sources), "one of them", " and ".join(given) or "none")
    if asked.plot is not None:
        plots.check(Path(asked.plot or "plot.png"))
    for file in (asked.plot, asked.table):
        if file:
            check_writable(Path(file))


def _seeds(asked: _Asked) -> int:
    from graphnoise import checks

    return checks.integer("--seeds", asked.seeds, 1)


def _runs(asked: _Asked, configs: list[dict[str, Any]]) -> tuple[str, pd.DataFrame | None, list[Any]]:
    """Return title and table of runs of a callable, or of those that a folder holds; else None and its cells."""
    from graphnoise.bench import evaluation_cells
    from graphnoise.reports import collect_runs

    run, title, _ = _called(asked)
    if asked.folder is None:
        return title, collect_runs(run, configs, _seeds(asked)), []
    records, nodes = evaluation_cells.cells_of(asked.folder, asked.report)
    return title, evaluation_cells.run_table(records) if records else None, nodes


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

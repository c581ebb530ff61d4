"""Propagation of values over graphs in Spark data frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphnoise import checks
from graphnoise.errors import InputError
from graphnoise.graph import NORMALISATIONS
from graphnoise.propagation import read_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from graphnoise.kernels.propagate import PropagationSettings

INTEGERS = ("tinyint", "smallint", "int", "bigint")
# Each class is a column of every plan.
MOST_CLASSES = 1000


@dataclass(frozen=True)
class SparkPropagation:
    """Result of `propagate`.

    Attributes:
        values: A row per node of the edges and the labels: its id, and a column of doubles per class. It is computed
            already (a local checkpoint).
        steps: Steps taken.
        residual: Largest change of any entry in the last step; infinite if there was none.
        converged: Whether `residual` is at most `tol` (1e-6 if `tol` is None).
        shuffled_bytes: Bytes that each step wrote to shuffles, with those of other jobs that the application ran
            meanwhile; None where the session does not tell (Spark Connect).
    """

    values: DataFrame
    steps: int
    residual: float
    converged: bool
    shuffled_bytes: tuple[int, ...] | None


def propagate(
    edges: DataFrame,
    labels: DataFrame,
    *,
    alpha: float,
    num_steps: int,
    mode: str = "restart",
    normalisation: str = "sym",
    clamp: tuple[float, float] | None = None,
    tol: float | None = None,
    source: str = "source",
    target: str = "target",
    weight: str | None = None,
    node: str = "node",
    columns: Sequence[str] | str | None = None,
    directed: bool = False,
    partitions: int | None = None,
) -> SparkPropagation:
    r"""Propagate as `gn.propagate`, in double precision, over edges and labels in Spark data frames.

    A step joins the arcs with the values of their sources and sums by target. Arcs are cached, partitioned by source;
    values stay partitioned by node, so that only sums that each partition has made are shuffled. The scales of the
    normalisation are computed once, and stored per node. Sums are made in an order that differs between calls: results
    agree to rounding.

    Args:
        edges: A row per edge. Repeated edges add up, an edge of a node to itself counts once.
        labels: A row per node whose values are known; all other nodes start from 0. Ids of nodes are integers or text,
            of one type in both data frames.
        alpha: Weight of the neighbours, in [0, 1].
        num_steps: Maximum number of steps, at least 0.
        mode: "restart" or "lazy".
        normalisation: "sym", "row", "col" or "none".
        clamp: Range (low, high) that every entry is clamped to after each step.
        tol: Stop as soon as no entry changes by more than this in a step.
        source: Column of `edges` with the first node.
        target: Column of `edges` with the second node.
        weight: Column of `edges` with weights, finite, at least 0; None: ones.
        node: Column of `labels` with the node.
        columns: Columns of `labels` with values, finite numbers; by default all but `node`. One name as text is a
            column of classes (integers or text; null, -1 and "" are none): each class becomes a column of 0 and 1.
        directed: Whether an edge passes values from its first to its second node only; by default both ways.
        partitions: Partitions of arcs and values; None: `spark.sql.shuffle.partitions`.

    Raises:
        InputError: No PySpark; a column that is absent or of another type; an id that is null, a weight or value that
            is null, negative (weights) or not finite, a node with two rows of labels; an argument out of its range;
            values that grow beyond their type.

    Example:
        >>> from pyspark.sql import SparkSession  # doctest: +SKIP
        >>> spark = SparkSession.builder.master("local[1]").getOrCreate()  # doctest: +SKIP
        >>> edges = spark.createDataFrame([("a", "b"), ("b", "c")], ["source", "target"])  # doctest: +SKIP
        >>> labels = spark.createDataFrame([("a", "ham"), ("c", "spam")], ["node", "label"])  # doctest: +SKIP
        >>> result = propagate(edges, labels, alpha=0.5, num_steps=2, columns="label")  # doctest: +SKIP
        >>> rows = result.values.orderBy("node").collect()  # doctest: +SKIP
        >>> [(row.node, round(row.ham, 3), round(row.spam, 3)) for row in rows]  # doctest: +SKIP
        [('a', 0.625, 0.125), ('b', 0.177, 0.177), ('c', 0.125, 0.625)]

    Source: Zhou et al., "Learning with Local and Global Consistency", NIPS 2003, section 2 (restart, "sym").
    """
    settings = read_settings(alpha, num_steps, mode, clamp, tol)
    kind = checks.choice("normalisation", normalisation, (*NORMALISATIONS, "none"))
    directed = checks.flag("directed", directed)
    width = None if partitions is None else checks.integer("partitions", partitions, 1)
    ends = {"source": source, "target": target}
    pairs = checked_table("edges", edges, ends if weight is None else {**ends, "weight": weight})
    values, names = _read_values(labels, node, columns)
    ids = id_type({"edges.source": pairs, "edges.target": pairs, "labels.node": values})
    _check_rows(pairs, values, weight)
    spark = edges.sparkSession
    if width is None:
        usual = spark.conf.get("spark.sql.shuffle.partitions")
        # Some vendors have words for it.
        width = checks.integer("partitions", int(usual) if usual.isdigit() else usual, 1)
    with _plans(spark, width):
        arcs = _arcs(pairs, ids, directed, width).persist()
        try:
            state = _start(arcs, values, ids, len(names), kind, settings.lazy).localCheckpoint()
            if state.isEmpty():
                checks.fail("edges, labels", "at least one edge or label", "none")
            shuffles, residual, steps = _Shuffles(spark), math.inf, 0
            while steps < settings.num_steps and not (settings.tol is not None and residual <= settings.tol):
                steps += 1
                last, state = state, _step(arcs, state, len(names), settings)
                # Without it the plan would double with each step: values are on both sides of its join.
                state = state.localCheckpoint()
                _release(last)
                residual = state.agg({"change": "max"}).collect()[0][0]
                shuffles.end_step()
                if not math.isfinite(residual):
                    checks.fail(
                        "labels", "values that stay in the range of doubles", f"larger ones after {steps} steps"
                    )
            renamed = [state[f"y{k}"].alias(name) for k, name in enumerate(names)]
            result = state.select(state["node"].alias(node), *renamed).localCheckpoint()
            _release(state)
        finally:
            arcs.unpersist()
    converged = residual <= (1e-6 if settings.tol is None else settings.tol)
    return SparkPropagation(result, steps, residual, converged, shuffles.steps)


def checked_table(name: str, frame: Any, columns: Mapping[str, str]) -> DataFrame:
    """Return columns of a Spark data frame, found by the name in it, under other names.

    Args:
        name: The argument that has the data frame.
        frame: The data frame.
        columns: The name of a column in `frame` by its name in the result, which is that of the argument, too.

    Raises:
        InputError: No PySpark, no data frame, or a column that is absent or not the only one of its name.
    """
    try:
        from pyspark.sql import DataFrame, functions
    except ImportError:
        expected = "PySpark (the extra `spark`) and Java 17 or later: pip install 'graphnoise[spark]'"
        raise InputError(f"graphnoise.spark and recsys.spark need {expected}") from None
    if not isinstance(frame, DataFrame):
        checks.fail(name, "a Spark DataFrame", type(frame).__name__)
    for argument, column in columns.items():
        checks.choice(argument, column, frame.columns)
    for names in (frame.columns, list(columns.values())):
        lower = [column.lower() for column in names]
        twice = [column for column in columns.values() if lower.count(column.lower()) > 1]
        if twice:
            checks.fail(name, "columns of different names (the case of letters does not count)", f"{twice[0]!r} twice")
    return frame.select([functions.col("`" + c.replace("`", "``") + "`").alias(name) for name, c in columns.items()])


def id_type(tables: Mapping[str, DataFrame]) -> str:
    """Return the type of ids, "bigint" or "string"; keys are a table and its column, such as "edges.source".

    Raises:
        InputError: They are neither all integers nor all text.
    """
    types = {key: dict(table.dtypes)[key.split(".")[1]] for key, table in tables.items()}
    kinds = {"bigint" if kind in INTEGERS else kind for kind in types.values()}
    if kinds not in ({"bigint"}, {"string"}):
        checks.fail(", ".join(types), "integers, or text in all", ", ".join(types.values()))
    return str(kinds.pop())


def _read_values(labels: Any, node: str, columns: Sequence[str] | str | None) -> tuple[DataFrame, list[str]]:
    """Return the columns node, v0, v1, … of the labels, and the names of the values."""
    table = checked_table("labels", labels, {"node": node})
    from pyspark.sql import functions as F

    if isinstance(columns, str):
        table = checked_table("labels", labels, {"node": node, "columns": columns})
        known = F.col("columns") != (-1 if id_type({"labels.columns": table}) == "bigint" else "")
        found = table.where(known).select("columns").distinct().orderBy("columns").limit(MOST_CLASSES + 1).collect()
        if not 0 < len(found) <= MOST_CLASSES:
            got = "more" if found else "none"
            checks.fail(f"labels.{columns}", f"classes, at most {MOST_CLASSES}", got)
        names = [str(row[0]) for row in found]
        # A node without a class has zeros.
        cells = [F.coalesce((F.col("columns") == row[0]).cast("double"), F.lit(0.0)) for row in found]
    elif not isinstance(columns, list | tuple | None):
        checks.fail("columns", "a list of names of columns, or one name", repr(columns))
    else:
        names = [name for name in labels.columns if name != node] if columns is None else list(columns)
        for name in names:
            checks.choice("columns", name, labels.columns)
            _check_number(f"labels.{name}", dict(labels.dtypes)[name])
        table = checked_table("labels", labels, {"node": node, **{f"v{k}": name for k, name in enumerate(names)}})
        cells = [F.col(f"v{k}").cast("double") for k in range(len(names))]
    if not names or len({name.lower() for name in (node, *names)}) != len(names) + 1:
        checks.fail("columns", f"names of one or more columns that differ from one another and {node!r}", names)
    return table.select("node", *(cell.alias(f"v{k}") for k, cell in enumerate(cells))), names


def _check_number(name: str, kind: str) -> None:
    if kind not in (*INTEGERS, "float", "double") and not kind.startswith("decimal"):
        checks.fail(name, "a column of numbers", kind)


def _check_rows(pairs: DataFrame, values: DataFrame, weight: str | None) -> None:
    """Raise `InputError` for ids that are null or repeat, and for numbers out of their range."""
    from pyspark.sql import functions as F

    def wrong(column: str, low: float) -> Any:
        cell = F.col(column).cast("double")
        # NaN is larger than any number.
        return F.count_if(~F.coalesce((cell >= low) & (cell < math.inf), F.lit(False)))

    if weight is not None:
        _check_number(f"edges.{weight}", dict(pairs.dtypes)["weight"])
    null, weights = pairs.agg(
        F.count_if(F.col("source").isNull() | F.col("target").isNull()),
        wrong("weight", 0.0) if weight is not None else F.lit(0),
    ).collect()[0]
    if null:
        checks.fail("edges", "two ids in every row", f"{null} rows with null")
    if weights:
        checks.fail(f"edges.{weight}", "finite weights of at least 0", f"{weights} others")
    ids, null, rows, *bad = values.agg(
        F.count_distinct("node"),
        F.count_if(F.col("node").isNull()),
        F.count("*"),
        *(wrong(name, -1.7976931348623157e308) for name in values.columns[1:]),
    ).collect()[0]
    if null or ids < rows:
        checks.fail("labels", "one row per node, with its id", f"{rows} rows, {ids} ids, {null} nulls")
    if sum(bad):
        checks.fail("labels", "finite values", f"{sum(bad)} others")


@contextmanager
def _plans(spark: SparkSession, partitions: int) -> Iterator[None]:
    """Let Spark keep partitions as they are: adaptive plans merge them, and arcs would be shuffled in each step."""
    settings = {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": str(partitions)}
    before = {key: spark.conf.get(key) for key in settings}
    try:
        for key, value in settings.items():
            spark.conf.set(key, value)
        yield
    finally:
        for key, value in before.items():
            spark.conf.set(key, value)


def _arcs(pairs: DataFrame, ids: str, directed: bool, partitions: int) -> DataFrame:
    """Return each arc once: source, target, weight; partitioned by source."""
    from pyspark.sql import functions as F

    weight = F.col("weight") if "weight" in pairs.columns else F.lit(1.0)
    cells = [F.col(name).cast(ids).alias(name) for name in ("source", "target")]
    arcs = pairs.select(*cells, weight.cast("double").alias("weight"))
    if not directed:
        arcs = arcs.union(arcs.where("source != target").select("target", "source", "weight"))
    return arcs.repartition(partitions, "source").groupBy("source", "target").agg(F.sum("weight").alias("weight"))


def _start(arcs: DataFrame, values: DataFrame, ids: str, width: int, kind: str, lazy: bool) -> DataFrame:
    """Return a row per node: node, the scales left and right, values y0, y1, …, and b0, b1, … of "restart"."""
    from pyspark.sql import functions as F

    def row(node: str, into: str, out: str, cells: Sequence[str]) -> list[Any]:
        named = {"into": into, "out": out} | {f"v{k}": cell for k, cell in enumerate(cells)}
        return [F.col(node).cast(ids).alias("node"), *(F.expr(cell).alias(name) for name, cell in named.items())]

    zeros = ["0D"] * width
    rows = arcs.select(row("target", "weight", "0D", zeros)).union(arcs.select(row("source", "0D", "weight", zeros)))
    rows = rows.union(values.select(row("node", "0D", "0D", [f"v{k}" for k in range(width)])))
    sums = rows.groupBy("node").agg(*(F.sum(name).alias(name) for name in rows.columns[1:]))
    scales = {"sym": ("into", "into", -0.5), "row": ("into", None, -1.0), "col": (None, "out", -1.0)}
    left, right, power = scales.get(kind, (None, None, 0.0))
    ends = (
        F.when(F.col(end) > 0, F.pow(end, F.lit(power))).otherwise(0.0) if end else F.lit(1.0) for end in (left, right)
    )
    start = [F.col(f"v{k}").alias(f"{name}{k}") for name in ("y" if lazy else "yb") for k in range(width)]
    return sums.select("node", *(end.alias(name) for end, name in zip(ends, ("left", "right"), strict=True)), *start)


def _step(arcs: DataFrame, state: DataFrame, width: int, settings: PropagationSettings) -> DataFrame:
    """Return the state after a step, and `change`, the largest change of each row."""
    from pyspark.sql import functions as F

    passed = state.select(
        F.col("node").alias("source"), *((F.col("right") * F.col(f"y{k}")).alias(f"m{k}") for k in range(width))
    )
    sums = (
        arcs.join(passed, "source")
        .groupBy(F.col("target").alias("node"))
        .agg(*(F.sum(F.col("weight") * F.col(f"m{k}")).alias(f"s{k}") for k in range(width)))
    )
    cells, changes = [], []
    for k in range(width):
        received = F.col("left") * F.coalesce(f"s{k}", F.lit(0.0))
        own = F.col(f"y{k}" if settings.lazy else f"b{k}")
        cell = settings.alpha * received + (1 - settings.alpha) * own
        if settings.clamp is not None:
            cell = F.least(F.greatest(cell, F.lit(settings.clamp[0])), F.lit(settings.clamp[1]))
        cells.append(cell.alias(f"y{k}"))
        changes.append(F.abs(cell - F.col(f"y{k}")))
    kept = [name for name in state.columns if name[0] not in "yc"]
    change = F.greatest(*changes) if width > 1 else changes[0]
    return state.join(sums, "node", "left").select(*kept, *cells, change.alias("change"))


def _release(state: DataFrame) -> None:
    """Free a local checkpoint, which Spark does by itself only when the driver collects garbage."""
    if hasattr(state, "_jdf"):
        state._jdf.queryExecution().analyzed().rdd().unpersist(False)


class _Shuffles:
    """Bytes that stages wrote to shuffles, step by step, as the application's own statistics say."""

    def __init__(self, spark: SparkSession) -> None:
        # Spark Connect has none.
        self._context: Any = spark.sparkContext if hasattr(spark, "_jsc") else None
        self._newest = -1
        self.steps: tuple[int, ...] | None = None
        if self._context is not None:
            self._written()
            self.steps = ()

    def end_step(self) -> None:
        if self.steps is not None:
            self.steps += (self._written(),)

    def _written(self) -> int:
        """Return the bytes that stages wrote since the last call."""
        scala, gateway = self._context._jsc.sc(), self._context._gateway
        # Statistics follow the end of a job; at most ten minutes, in milliseconds.
        scala.listenerBus().waitUntilEmpty(600_000)
        stages = scala.statusStore().stageList(None, False, False, gateway.new_array(gateway.jvm.double, 0), None)
        newest, written = self._newest, 0
        # The newest come first.
        for k in range(stages.size()):
            stage = stages.apply(k)
            if stage.stageId() <= self._newest:
                break
            newest, written = max(newest, stage.stageId()), written + stage.shuffleWriteBytes()
        self._newest = newest
        return int(written)

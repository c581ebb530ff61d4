"""Propagation in Spark against `gn.propagate`, its plan, and bad input."""

import doctest
import math
import sys

import numpy as np
import pytest
import torch

import graphnoise as gn
from graphnoise import spark as gs

SETTINGS = {"alpha": 0.8, "num_steps": 3}


@pytest.fixture(scope="module")
def tables(spark):
    """Edges with text ids, one twice and one of a node to itself, and labels with a node that no edge has."""
    rows = [("a", "b", 1.0), ("b", "c", 2.0), ("c", "b", 0.5), ("c", "c", 3.0), ("d", "a", 0.0), ("d", "c", 1.0)]
    edges = spark.createDataFrame(rows, "source string, target string, weight double").cache()
    labels = spark.createDataFrame([("a", 1, 0.5), ("d", 0, -2.0), ("e", 3, 1.0)], "node string, p int, q double")
    return edges, labels.cache()


def in_memory(tables, directed, **settings):
    """Return the names of the nodes and the values of `gn.propagate`."""
    edges, labels = (table.toArrow().to_pandas() for table in tables)
    data = gn.datasets.read_edges(edges, weight="weight", directed=directed)
    names = [*data.names, "e"]
    graph = gn.Graph.from_edge_index(data.edge_index, len(names), data.edge_weight)
    y = torch.zeros(len(names), 2).double()
    y[[names.index(name) for name in labels["node"]]] = torch.from_numpy(labels[["p", "q"]].to_numpy(float))
    return names, gn.propagate(graph, y, **settings)


@pytest.mark.parametrize("mode", ["restart", "lazy"])
@pytest.mark.parametrize("normalisation", ["sym", "row"])
def test_cora_is_as_in_memory(spark, graph, mode, normalisation):
    data = graph("cora")
    arcs = data.edge_index[:, data.edge_index[0] <= data.edge_index[1]].T.tolist()
    train = np.flatnonzero(data.train_mask).tolist()
    y = torch.zeros(data.num_nodes, 7).double()
    y[train, data.y[train]] = 1
    settings = SETTINGS | {"mode": mode, "normalisation": normalisation}
    expected = gn.propagate(gn.as_graph(data), y, **settings)
    edges = spark.createDataFrame(arcs, "u int, v bigint")
    labels = spark.createDataFrame([(i, int(data.y[i])) for i in train], "node int, label int")
    found = gs.propagate(edges, labels, columns="label", source="u", target="v", **settings)
    rows = np.array(found.values.collect())
    values = np.zeros(y.shape)
    values[rows[:, 0].astype(int)] = rows[:, 1:]
    assert found.values.columns == ["node", *"0123456"]
    assert len(rows) == len(np.unique(data.edge_index))
    np.testing.assert_allclose(values, expected.y, rtol=0, atol=1e-9)
    assert (found.steps, found.residual) == (3, pytest.approx(expected.residual, abs=1e-9))
    assert len(found.shuffled_bytes) == 3
    assert min(found.shuffled_bytes) > 0


@pytest.mark.parametrize(
    ("directed", "settings"),
    [
        (True, {"normalisation": "col", "clamp": (0.1, 0.6)}),
        (False, {"normalisation": "none", "mode": "lazy", "tol": 10.0}),
        (True, {"normalisation": "row", "num_steps": 0}),
    ],
)
def test_weights_directions_clamps_and_ends(spark, tables, directed, settings):
    settings = SETTINGS | settings
    names, expected = in_memory(tables, directed, **settings)
    before = spark.conf.get("spark.sql.adaptive.enabled"), spark.conf.get("spark.sql.shuffle.partitions")
    found = gs.propagate(*tables, weight="weight", directed=directed, partitions=3, **settings)
    rows = {row.node: row for row in found.values.collect()}
    assert sorted(rows) == sorted(names)
    np.testing.assert_allclose([[rows[name].p, rows[name].q] for name in names], expected.y, rtol=0, atol=1e-9)
    assert (found.steps, found.converged) == (expected.steps, expected.converged)
    assert found.residual == pytest.approx(expected.residual, abs=1e-9)
    assert before == (spark.conf.get("spark.sql.adaptive.enabled"), spark.conf.get("spark.sql.shuffle.partitions"))


def test_plan_shuffles_sums_only_and_has_no_cross_join(spark, monkeypatch):
    plans = []
    step = gs._step

    def recorded(*arguments):
        after = step(*arguments)
        plans.append(after._jdf.queryExecution().executedPlan().toString())
        return after

    monkeypatch.setattr(gs, "_step", recorded)
    broadcast = spark.conf.get("spark.sql.autoBroadcastJoinThreshold")
    # As if nodes were many.
    spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
    try:
        edges = spark.range(200).selectExpr("id as source", "(id * 7) % 50 as target")
        gs.propagate(edges, spark.createDataFrame([(3, 1.0)], "node int, y float"), alpha=0.5, num_steps=2)
    finally:
        spark.conf.set("spark.sql.autoBroadcastJoinThreshold", broadcast)
    for plan in plans:
        assert "CartesianProduct" not in plan
        assert "NestedLoop" not in plan
        # Of sums; the other one was made when arcs were cached.
        exchanges = [line for line in plan.splitlines() if "Exchange" in line]
        assert sorted("ENSURE_REQUIREMENTS" in line for line in exchanges) == [False, True], plan


@pytest.mark.parametrize(
    ("edge", "label", "settings", "message"),
    [
        (("a", None, 1.0), None, {}, "edges: expected two ids in every row, got 1 rows with null"),
        (("a", "b", -1.0), None, {}, "edges.weight: expected finite weights of at least 0, got 1 others"),
        (("a", "b", math.nan), None, {}, "edges.weight: expected finite weights of at least 0, got 1 others"),
        (("a", "b", None), None, {}, "edges.weight: expected finite weights of at least 0, got 1 others"),
        (None, ("a", 1, 1.0), {}, "labels: expected one row per node, with its id, got 4 rows, 3 ids, 0 nulls"),
        (None, ("z", 1, math.inf), {}, "labels: expected finite values, got 1 others"),
        (None, ("z", None, 1.0), {}, "labels: expected finite values, got 1 others"),
        (None, None, {"source": "from"}, "source: expected one of source, target, weight, got 'from'"),
        (None, None, {"source": "target"}, "edges: expected columns of different names"),
        (None, None, {"columns": ["p", "p"]}, "labels: expected columns of different names"),
        (None, None, {"columns": 3}, "columns: expected a list of names of columns, or one name, got 3"),
        (None, None, {"columns": ["p", 3]}, "columns: expected one of node, p, q, got 3"),
        (None, None, {"columns": []}, "columns: expected names of one or more columns"),
        (None, None, {"columns": "q"}, "labels.columns: expected integers, or text in all, got double"),
        (None, None, {"weight": "source"}, "edges: expected columns of different names"),
        (None, None, {"node": "p"}, "labels.node: expected a column of numbers, got string"),
        (None, None, {"alpha": 2}, "alpha: expected a rate"),
        (None, None, {"partitions": 0}, "partitions: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_error(spark, tables, edge, label, settings, message):
    edges, labels = tables
    if edge is not None:
        edges = edges.union(spark.createDataFrame([edge], edges.schema))
    if label is not None:
        labels = labels.union(spark.createDataFrame([label], labels.schema))
    with pytest.raises(gn.InputError) as error:
        gs.propagate(edges, labels, **{"weight": "weight", **SETTINGS, **settings})
    assert str(error.value).startswith(message)


def test_other_ids_no_rows_and_growth_are_errors(spark, tables):
    edges, labels = tables
    with pytest.raises(gn.InputError, match=r"labels.node: expected integers, or text in all, got string, string, int"):
        gs.propagate(edges, spark.createDataFrame([(1, 2.0)], "node int, y double"), **SETTINGS)
    with pytest.raises(gn.InputError, match="at least one edge or label, got none"):
        gs.propagate(edges.limit(0), labels.limit(0), **SETTINGS)
    large = spark.createDataFrame([("a", "a", 1e200)], edges.schema)
    with pytest.raises(gn.InputError, match="larger ones after 2 steps"):
        gs.propagate(large, labels, weight="weight", normalisation="none", **SETTINGS | {"alpha": 1.0})
    with pytest.raises(gn.InputError, match="edges: expected a Spark DataFrame, got list"):
        gs.propagate([], labels, **SETTINGS)


def test_examples_run(spark):
    from recsys import spark as rs

    for module in (gs, rs):
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            lines = test.docstring.replace("# doctest: +SKIP", "")
            case = doctest.DocTestParser().get_doctest(lines, vars(module).copy(), test.name, None, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            assert runner.run(case).failed == 0, test.name


def test_without_pyspark_the_error_says_what_to_install(monkeypatch):
    for name in ("pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(gn.InputError, match=r"need PySpark .* and Java 17 or later: pip install 'graphnoise\[spark\]'"):
        gs.propagate(None, None, **SETTINGS)

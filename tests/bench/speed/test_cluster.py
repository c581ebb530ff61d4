"""`bench speed cluster` and `node-order` on small graphs: what is checked, what is recorded, what is refused."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from speeds import call, held, refused

import graphnoise as gn
from graphnoise.bench.speed import cluster, node_order, tables
from graphnoise.bench.speed.cluster import Cluster, ClusterOptions
from graphnoise.bench.speed.operation import RecordFile, operations

FEW = ["cluster", "--scale", "0.002", "--rounds", "2"]
ORDERS = ["node-order", "--graph", "planted", "--scale", "0.01"]
ORDERS += ["--threads", "1", "--rounds", "2", "--order", "degree,rcm"]
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def graph(part, **changes):
    """Return the first case of a part, and its graph."""
    case = Cluster().cases(ClusterOptions(part=(part,), scale=0.002))[0] | changes
    return case, cluster.draw_graph(case["graph"], case["nodes"], 0)


def test_every_part_is_measured_written_and_shown(tmp_path, capfd):
    code, out, err = call(capfd, *FEW, "--out", tmp_path / "c.json")
    assert code == 0, err
    records = held(tmp_path / "c.json")
    assert [record["case"]["part"] for record in records] == ["walks"] * 6 + ["batch"] + ["locality"] * 3
    assert all(words in out for words in ("million arcs/s", "seeds in one call", "stays the same"))
    assert all(cluster.BASELINE in {**record["notes"], **record["times"]} for record in records[:6])
    case, here = graph("walks")
    nodes = cluster.draw_seeds(here, case["seeds"], 0)
    runs = [cluster.approximate_pagerank(here, v, case["alpha"], case["eps"]) for v in nodes]
    assert records[0]["arcs"] == sum(run.arcs for run in runs)
    rates = [records[0]["arcs"] / seconds for seconds in records[0]["times"]["library"]["samples"]]
    assert records[0]["arcs_per_second"]["median"] == pytest.approx(np.median(rates))
    assert all(record["gap"] < 1 for record in records[:6])


def test_a_baseline_is_timed_at_no_larger_an_error(monkeypatch):
    case, here = graph("walks", eps=1e-4, seeds=5)

    def coarse(graph):
        return lambda seeds, alpha, eps: [
            (v, run.touched, run.values)
            for v in seeds
            for run in [cluster.approximate_pagerank(graph, v, alpha, eps / 8)]
        ]

    monkeypatch.setattr(cluster, "find_spec", lambda name: True)
    monkeypatch.setattr(cluster, "get_ppr", coarse)
    runs, record = cluster._walks(here, case, 0)
    assert [run.name for run in runs] == ["library", cluster.BASELINE, cluster.AT_ITS_ERROR]
    assert record["errors"]["library"] <= record["errors"][cluster.BASELINE]
    assert record["errors"]["eps"] < case["eps"]


def test_work_in_a_cluster_does_not_grow_with_the_graph():
    runs = [cluster._locality(cluster.draw_graph("cluster", n, 0), {}, 0)[1]["runs"] for n in (20_000, 80_000)]
    for name, small in runs[0].items():
        assert runs[1][name]["arcs"] <= 1.25 * small["arcs"], name
        assert runs[1][name]["touched"] <= 1.25 * small["touched"], name


def test_power_iteration_is_exact():
    _, here = graph("batch")
    matrix = cluster.walk_matrix(here)
    dense = np.eye(here.num_nodes) - 0.85 * (np.eye(here.num_nodes) + matrix.toarray()) / 2
    truth = 0.15 * np.linalg.solve(dense, np.eye(here.num_nodes)[3])
    np.testing.assert_allclose(cluster.exact(matrix, 3, 0.15), truth, atol=1e-12)


def scaled(run):
    return dataclasses.replace(run, values=run.values * 1.001)


@pytest.mark.parametrize(
    ("part", "wrong", "message"),
    [
        ("walks", scaled, "the residual is not that of the"),
        ("walks", lambda run: dataclasses.replace(run, converged=False), "eps per unit of degree"),
        ("locality", scaled, "the residual is not that of the"),
        ("batch", scaled, "not what the seed gives alone"),
    ],
)
def test_a_wrong_result_is_not_timed(part, wrong, message, monkeypatch, tmp_path, capfd):
    right = cluster.approximate_pagerank
    monkeypatch.setattr(cluster, "approximate_pagerank", lambda *words, **named: wrong(right(*words, **named)))
    code, out, err = call(capfd, *FEW, "--part", part, "--out", tmp_path / "c.json")
    assert code == 1
    assert "million" not in out
    assert message in err
    assert not (tmp_path / "c.json").exists()


def test_node_orders_are_timed_over_the_own_order(tmp_path, capfd):
    code, out, err = call(capfd, *ORDERS, "--out", tmp_path / "n.json")
    assert code == 0, err
    (record,) = held(tmp_path / "n.json")
    assert list(record["orders"]) == ["degree", "rcm", "true"]
    assert record["orders"]["true"] == {"seconds_to_find": None, "calls_repaid": None}
    assert all("ratio" in entry for name, entry in record["times"].items() if name != "own")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("planted")] == ["degree", "rcm", "true"]


def test_another_result_in_another_order_is_not_timed(monkeypatch, tmp_path, capfd):
    right = gn.propagate

    def wrong(graph, y, *, order=None, **named):
        result = right(graph, y, order=order, **named)
        return result if order is None else dataclasses.replace(result, y=result.y * 1.01)

    monkeypatch.setattr(node_order.gn, "propagate", wrong)
    code, _, err = call(capfd, *ORDERS, "--out", tmp_path / "n.json")
    assert code == 1
    assert "order 'true': expected the values in the graph's own order" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cluster", "--part", "runs"], "part: expected one of batch, locality, walks, got 'runs'"),
        (["cluster", "--scale", "0"], "scale: expected a number in [0.0001, 10], got 0.0"),
        (["cluster", "--threads", "0"], "threads: expected an integer from 1 to 1024, got 0"),
        (["node-order", "--graph", "citeseer"], "graph: expected one of cora, planted, power-law, got 'citeseer'"),
        (["node-order", "--order", "rmc"], "did you mean 'rcm'"),
        (["flow"], "No such command 'flow'"),
    ],
)
def test_bad_options_are_one_line(words, message, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(capfd, re.escape(message), *words, code=2 if words == ["flow"] else 1, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "figures"),
    [
        (
            "propagate",
            "propagate",
            "40 2 17.6 ms 16.5–18.2 3.63 3.40–4.17 3.41 3.29–4.09 6.90 6.01–7.45 21.9 19.6–22.5",
        ),
        ("erase-speed", "erase", "dense 1.25 s 1.23–1.33 14.0 12.8–14.3 490 MB 3"),
        ("cluster-speed", "cluster", "412 µs 404–416 31,464 76 76–78 5 % 7.50 6.97–7.89"),
        ("node-order", "node-order", "planted rcm 50,700 40 2 0.05 0.84 0.84–0.99 0.90 0.87–0.93 11"),
        ("recommend-speed", "recommend", "nbpo, lock-free 18.1 18–18.2 7.08 6.56–7.36"),
    ],
)
def test_the_committed_records_print_their_figures(name, kind, figures, capfd):
    assert kind in operations()
    code, out, err = call(capfd, "show", RESULTS / f"{name}.json")
    assert (code, err) == (0, "")
    assert figures in " ".join(out.split())
    records = RecordFile(RESULTS / f"{name}.json").read()
    assert out.splitlines()[-1] in {tables.place(record) for record in records}

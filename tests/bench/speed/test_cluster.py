"""`bench speed cluster` and `node-order` on small graphs: what is checked, what is recorded, what is refused."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from speeds import call, held

import graphnoise as gn
from graphnoise.bench.speed import cluster, node_order
from graphnoise.bench.speed.cluster import Cluster, ClusterOptions

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
    assert [record["case"]["part"] for record in records] == ["walks"] * 6 + ["batch"] + ["locality"] * 3 + ["growth"]
    words = "million arcs/s", "seeds in one call", "A cluster of 200 nodes", "Growth of a block"
    assert all(word in out for word in words)
    assert all(cluster.BASELINE in {**record["notes"], **record["times"]} for record in records[:6])
    case, here = graph("walks")
    nodes = cluster.draw_seeds(here, case["seeds"], 0)
    runs = [cluster.approximate_pagerank(here, v, case["alpha"], case["eps"]) for v in nodes]
    assert records[0]["arcs"] == sum(run.arcs for run in runs)
    rates = [records[0]["arcs"] / seconds for seconds in records[0]["times"]["library"]["samples"]]
    assert records[0]["arcs_per_second"]["median"] == pytest.approx(np.median(rates))
    assert all(record["gap"] < 1 for record in records[:6])


@pytest.mark.parametrize(("factor", "timed"), [(0.9, True), (2, False)])
def test_a_baseline_with_a_larger_residual_is_not_timed(factor, timed, monkeypatch):
    case, here = graph("walks", eps=1e-4, seeds=5)

    def push(seeds, alpha, eps):
        results = [cluster.approximate_pagerank(here, v, alpha, factor * eps) for v in seeds]
        nodes = torch.from_numpy(np.concatenate([result.touched for result in results]))
        values = torch.from_numpy(np.concatenate([result.values for result in results]))
        return torch.stack([nodes, nodes]), values

    monkeypatch.setattr(cluster, "find_spec", lambda name: True)
    monkeypatch.setattr(cluster, "get_ppr", lambda graph: push)
    record = {"notes": {}, "failures": []}
    runs = cluster._walks(here, case, 0, record)
    assert [run.name for run in runs] == ["library", *[cluster.BASELINE] * timed]
    assert ["eps per unit of degree" in text for text in record["failures"]] == [True] * (not timed)


def test_work_in_a_cluster_does_not_grow_with_the_graph():
    small, large = {}, {}
    for nodes, record in ((20_000, small), (80_000, large)):
        cluster._locality(cluster.draw_graph("cluster", nodes, 0), {}, 0, record)
    for name, run in small["runs"].items():
        assert large["runs"][name]["arcs"] <= 1.25 * run["arcs"], name
        assert large["runs"][name]["touched"] <= 1.25 * run["touched"], name


def test_the_residual_of_the_exact_vector_is_0():
    _, here = graph("walks")
    n = here.num_nodes
    start, A = np.eye(n)[3], np.zeros((n, n))
    A[np.repeat(np.arange(n), np.diff(here.rowptr)), here.col] = 1
    p = 0.15 * np.linalg.solve(np.eye(n) - 0.85 * (np.eye(n) + A / np.maximum(here.degree, 1)) / 2, start)
    np.testing.assert_allclose(cluster.residual(here, p, 3, 0.15), 0, atol=1e-12)
    # Of no mass at all the residual is all that is to be spread.
    np.testing.assert_allclose(cluster.residual(here, 0 * p, 3, 0.15), start / here.degree[3])


def test_work_of_growth_does_not_grow_with_the_graph():
    small, large = {}, {}
    for nodes, record in ((10_000, small), (50_000, large)):
        runs = cluster._growth(cluster.draw_graph("blocks", nodes, 0), {}, 0, record)
        assert [run.name for run in runs] == ["library", "NumPy"]
        assert record["f1"] > 0.95 * cluster.GROWN
    assert large["arcs"] < 1.5 * small["arcs"]


def test_growth_that_differs_between_the_tiers_is_not_timed(monkeypatch):
    right = cluster.grow_cluster

    def wrong(*words):
        growth = right(*words)
        return dataclasses.replace(growth, probability=growth.probability * 0.99)

    monkeypatch.setattr(cluster, "grow_cluster", wrong)
    with pytest.raises(cluster.VerificationError, match="grow_cluster from 0: another result than that of the NumPy"):
        cluster._growth(graph("growth")[1], {}, 0, {})


def test_the_posterior_is_measured_where_it_is_asked_for(tmp_path, capfd, monkeypatch):
    few = [*FEW, "--part", "posterior", "--threads", "1"]
    code, out, err = call(capfd, *few, "--out", tmp_path / "p.json")
    assert code == 0, err
    (record, *_) = records = held(tmp_path / "p.json")
    assert [record["case"]["nodes"] for record in records] == [1000, 10_000]
    assert all(record["f1"] > record["f1_of_labels"] + 0.3 for record in records)
    assert record["arcs"] == len(cluster.draw_graph("class", 1000, 0).col)
    assert 2 * 20 >= record["reads"] >= 2
    assert record["peak_memory"] > 1e8
    assert " ".join(f"1,000 {record['arcs']:,} 1".split()) in " ".join(out.split())
    right = cluster.membership_posterior
    monkeypatch.setattr(
        cluster, "membership_posterior", lambda *words: dataclasses.replace(right(*words), probability=np.ones(1000))
    )
    with pytest.raises(cluster.VerificationError, match=r"membership_posterior: F1 0.182, and 0.5.* of labels"):
        cluster._posterior(*graph("posterior")[::-1], 0, {})


def test_a_tenth_of_the_nodes_has_six_of_ten_neighbours_in_its_class():
    here = cluster.draw_graph("class", 50_000, 0)
    inside, rows = np.arange(50_000) < 5000, np.repeat(np.arange(50_000), np.diff(here.rowptr))
    assert len(here.col) / 50_000 == pytest.approx(10, rel=0.02)
    assert inside[here.col[inside[rows]]].mean() == pytest.approx(0.6, abs=0.02)


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
    ("name", "figures"),
    [
        ("propagate", "40 2 17.6 ms 16.5–18.2 7.53 3.63 3.40–4.17 0.66 0.59–0.68 2.01 1.88–2.16 21.9 19.6–22.5"),
        ("erase-speed", "dense 991 ms 973–995 13.6 13.2–14.1 366 µs 501 MB 3"),
        ("cluster-speed", "412 µs 404–416 31,464 76 76–78 5 % 7.50 6.97–7.89"),
        ("cluster-posterior", "5,000,000 50,004,792 2 87.7 s 86.4–87.8 40 3.33 GB 0.960 0.538"),
        ("node-order", "planted rcm 50,700 40 2 0.05 0.84 0.84–0.99 0.90 0.87–0.93 11"),
        ("recommend-speed", "nbpo, lock-free 15.8 15.8–15.8 4.63 4.59–5.02"),
    ],
)
def test_the_committed_records_print_their_figures(name, figures, capfd):
    code, out, err = call(capfd, "show", RESULTS / f"{name}.json")
    assert (code, err) == (0, "")
    assert figures in " ".join(out.split())
    assert re.search("(AMD EPYC|Processor), 2 cores, .+, commit [0-9a-f]{12}$", out.splitlines()[-1])

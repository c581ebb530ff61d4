"""`bench speed cluster` on small graphs: what is checked, what is recorded, what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from graphnoise.bench.speed import cluster_cases, cluster_report, cluster_run
from graphnoise.bench.speed.gate import GateError
from graphnoise.cli.main import main
from graphnoise.errors import DataError, InputError

SMALL = cluster_run.Protocol(scale=0.002, rounds=2, threads=2)
FEW = ["--scale", "0.002", "--rounds", "2"]


@pytest.fixture(scope="module")
def records():
    found = []
    cluster_run.measure(SMALL, lambda text: None, found.append)
    return found


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "speed", *map(str, words)])
    return stop.value.code


def test_every_part_is_measured_and_written_as_it_is(records, tmp_path, capsys):
    assert [record["part"] for record in records] == ["walks"] * 6 + ["batch"] + ["locality"] * 3
    path = tmp_path / "speed.json"
    for record in [*records, records[0]]:  # one measured again takes the place of the other
        cluster_report.add(path, record)
    assert cluster_report.is_one(path)
    assert {record["key"] for record in cluster_report.read(path)} == {record["key"] for record in records}
    assert len(cluster_report.read(path)) == len(records)
    assert run("show", path) == 0
    said = capsys.readouterr().out
    for words in ("million arcs/s", "seeds in one call", "stays the same", "localgraphclustering: needs"):
        assert words in said


def test_the_counts_of_a_record_are_those_of_the_runs(records):
    record = records[1]
    walk = cluster_cases.Walk(**record["walk"])
    read = cluster_cases.graph(walk.graph, SMALL.scale, SMALL.seed)
    nodes = cluster_cases.seeds(read, walk.seeds, SMALL.seed)
    runs = [cluster_run._push(read, int(v), walk.alpha, walk.eps) for v in nodes]
    assert record["arcs"] == sum(found.arcs for found in runs)
    assert record["gap"] < 1
    rates = [record["arcs"] / seconds for seconds in record["samples"]["ours"]]
    assert record["arcs_a_second"]["median"] == pytest.approx(np.median(rates))


def test_work_in_a_cluster_does_not_grow_with_the_graph():
    runs = [
        cluster_run._locality(cluster_cases.cluster(n, 0), SMALL, lambda text: None)["runs"] for n in (20_000, 80_000)
    ]
    for name, small in runs[0].items():
        assert runs[1][name]["arcs"] <= 1.25 * small["arcs"], name
        assert runs[1][name]["touched"] <= 1.25 * small["touched"], name


def test_power_iteration_is_exact():
    read = cluster_cases.graph("blocks", 0.001, 0)
    matrix = cluster_cases.walk_matrix(read)
    dense = np.eye(read.num_nodes) - 0.85 * (np.eye(read.num_nodes) + matrix.toarray()) / 2
    truth = 0.15 * np.linalg.solve(dense, np.eye(read.num_nodes)[3])
    np.testing.assert_allclose(cluster_cases.exact(matrix, 3, 0.15), truth, atol=1e-12)


def test_a_wrong_result_is_not_timed(monkeypatch, tmp_path, capsys):
    right = cluster_run.approximate_pagerank

    def wrong(*arguments):
        found = right(*arguments)
        return dataclasses.replace(found, values=found.values * 1.001)

    monkeypatch.setattr(cluster_run, "approximate_pagerank", wrong)
    with pytest.raises(GateError, match="the residual is not that of the values"):
        cluster_run.measure(SMALL, lambda text: None, lambda record: None)
    assert run("cluster", *FEW, "--out", tmp_path / "speed.json") == 1
    assert "so nothing more was timed" in capsys.readouterr().err
    assert not (tmp_path / "speed.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--part", "runs"], "--part: expected one of batch, locality, walks, got 'runs'"),
        (["--scale", "0"], "--scale: expected a number in [0.0001, 10], got 0.0"),
        (["--rounds", "0"], "--rounds: expected an integer from 1 to 10000, got 0"),
        (["--threads", "0"], "--threads: expected an integer from 1 to 1024, got 0"),
    ],
)
def test_bad_options_are_one_line(words, message, capsys, tmp_path):
    assert run("cluster", *words, "--out", tmp_path / "speed.json") == 1
    assert capsys.readouterr().err == f"graphnoise: error: {message}\n"


def test_other_files_and_damaged_ones_are_refused(records, tmp_path):
    path = tmp_path / "speed.json"
    path.write_text("{}")
    with pytest.raises(DataError, match="expected speed records of local clustering, got another file"):
        cluster_report.read(path)
    path.write_text(json.dumps({"kind": "cluster", "format": 1, "records": [{**records[0], "load": "much"}]}))
    with pytest.raises(DataError, match="record 1 is damaged"):
        cluster_report.read(path)
    with pytest.raises(InputError, match="--part"):
        cluster_run.Protocol(["all"])


def test_the_command_measures_and_says_where_the_records_are(tmp_path, capsys):
    assert run("cluster", *FEW, "--part", "locality", "--out", tmp_path / "speed.json") == 0
    assert "3 cases in" in capsys.readouterr().out
    assert run("show", tmp_path / "speed.json", "--plot", "a.png") == 1
    assert "--plot: expected a file of records that has a picture" in capsys.readouterr().err

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from audit.audits import NAMES, data, noisy

import graphnoise as gn
from graphnoise import datasets
from graphnoise.cli import main as cli

TOP = Path(__file__).parents[2]
FILES = ["audit.html", "audit.json", "corrected.csv", "labels.csv", "suspects.csv", "suspects.jsonl", "transition.csv"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Edges, labels (of which some are missing) and features of nodes with names."""
    folder = tmp_path_factory.mktemp("own")
    names = [f"n{i:03d}" for i in range(120)]
    arcs = data().edge_index.numpy()
    arcs = arcs[:, arcs[0] < arcs[1]]
    ends = {key: [names[i] for i in row] for key, row in zip(("source", "target"), arcs, strict=True)}
    pandas.DataFrame(ends).to_csv(folder / "edges.csv", index=False)
    labels = NAMES[noisy().numpy()].copy()
    labels[::15] = ""
    pandas.DataFrame({"node": names, "label": labels}).to_csv(folder / "labels.csv", index=False)
    features = pandas.DataFrame(data().x.numpy()).add_prefix("f")
    features.insert(0, "node", names)
    features.to_parquet(folder / "features.parquet")
    features.to_csv(folder / "features.csv", index=False)
    return folder


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["audit", *map(str, words)])
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def own(tables, *more):
    return tables / "edges.csv", tables / "labels.csv", "--features", tables / "features.parquet", *more


def test_tables_of_ones_own(tables, tmp_path, capfd):
    code, out, err = call(capfd, *own(tables, "--out", tmp_path, "--review", "7", "--fdr", "0.05"))
    assert code == 0, err
    assert "112 of 120 nodes are labelled, 3 classes" in out
    assert "neighbours say" in out
    assert sorted(os.listdir(tmp_path)) == sorted([*FILES, "review.csv"])
    suspects = pandas.read_csv(tmp_path / "suspects.csv")
    lines = (tmp_path / "suspects.jsonl").read_text().splitlines()
    assert [json.loads(line)["node"] for line in lines] == list(suspects["node"])
    labels = pandas.read_csv(tmp_path / "labels.csv")
    assert len(labels) == 112
    assert labels["in_suspects"].sum() == len(suspects) > 5
    assert suspects["credibility"].mean() <= 0.05
    assert len(pandas.read_csv(tmp_path / "review.csv")) == 7
    corrected = pandas.read_csv(tmp_path / "corrected.csv").set_index("node")["label"]
    truth = pandas.Series(NAMES[data().y.numpy()], index=[f"n{i:03d}" for i in range(120)])
    given = labels.set_index("node")["given"]
    assert (corrected[given.index] == truth[given.index]).sum() > (given == truth[given.index]).sum()
    assert np.allclose(pandas.read_csv(tmp_path / "transition.csv").groupby("true")["probability"].sum(), 1, atol=1e-4)


def test_weights_of_edges_count(tables, tmp_path, capfd):
    edges = pandas.read_csv(tables / "edges.csv")
    same = data().y[edges["source"].str[1:].astype(int)] == data().y[edges["target"].str[1:].astype(int)]
    edges["weight"] = np.where(same, 1.0, 0.01)
    # Weights of a repeated edge add up; a self-loop is left out.
    halves = pandas.concat([edges.assign(weight=edges["weight"] / 2)] * 2)
    halves.loc[len(halves)] = ["n000", "n000", 5.0]
    for name, table in (("weighted", edges), ("halves", halves)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        words = tmp_path / f"{name}.csv", tables / "labels.csv", "--out", tmp_path / name
        assert call(capfd, *words)[0] == 0
    found = pandas.read_csv(tmp_path / "weighted" / "labels.csv").set_index("node")["credibility"]
    ends = torch.tensor([[int(name[1:]) for name in edges[key]] for key in ("source", "target")])
    arcs, weights = torch.cat([ends, ends.flip(0)], 1), torch.from_numpy(np.tile(edges["weight"], 2))
    graph = gn.Graph.from_edge_index(arcs, 120, weights, names=[f"n{i:03d}" for i in range(120)])
    given = NAMES[noisy().numpy()].copy()
    given[::15] = None
    expected = gn.Audit(graph, given).to_frame().set_index("node")["credibility"]
    assert np.allclose(found, expected[found.index], atol=1e-4)
    without = gn.Audit(gn.Graph.from_edge_index(arcs, 120, names=graph.names), given).to_frame().set_index("node")
    assert not np.allclose(found, without["credibility"][found.index], atol=0.05)
    halved = pandas.read_csv(tmp_path / "halves" / "labels.csv").set_index("node")["credibility"]
    assert np.allclose(halved[found.index], found, atol=1e-4)


def test_nodes_without_features_are_an_error(tables, tmp_path, capfd):
    pandas.read_csv(tables / "features.csv")[2:].to_csv(tmp_path / "some.csv", index=False)
    words = tables / "edges.csv", tables / "labels.csv", "--features", tmp_path / "some.csv", "--out", tmp_path / "out"
    code, _, err = call(capfd, *words)
    assert code == 1
    expected = "--features: expected a row for each of the 120 nodes, got 2 without one, the first 'n000'"
    assert err.splitlines() == [f"graphnoise: error: {expected}"]


def test_the_command_of_the_readme_runs(tables, monkeypatch, capfd):
    monkeypatch.chdir(tables)
    words = re.search(r"`graphnoise audit (.+?)`", (TOP / "README.md").read_text()).group(1).split()
    code, out, err = call(capfd, *words)
    assert (code, "written to runs/audit-edges" in out) == (0, True), err


def test_class_0_is_suggested_and_only_written_files_are_named(tmp_path, capfd):
    path = datasets.save_npz(data(), tmp_path / "planted.npz")
    pandas.DataFrame({"node": range(120), "label": noisy().numpy()}).to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    code, out, err = call(capfd, path, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "a", "--fdr", "0.05")
    assert code == 0, err
    suggested = pandas.read_csv(tmp_path / "a" / "suspects.csv")["suggested"][:10]
    assert 0 in set(suggested)
    rows = [line.split() for line in out.splitlines()]
    rows = rows[next(k for k, row in enumerate(rows) if row[:1] == ["node"]) + 1 :][: len(suggested)]
    assert [row[3] for row in rows] == [f"{code:g}" for code in suggested]
    assert "notes.txt" not in out


def test_decisions_are_recorded_and_count_in_later_runs(tables, tmp_path, capfd):
    folder, file = tmp_path / "out", tmp_path / "mine.csv"
    file.write_text("node,decision\nn001,cat\nn002,\n")
    code, out, err = call(capfd, *own(tables, "--out", folder, "--decisions", file))
    assert (code, "decided: 1 labels" in out) == (0, True), err
    file.write_text("node,decision\nn003,bee\n")
    code, out, _ = call(capfd, *own(tables, "--out", folder, "--decisions", file))
    assert (code, "decided: 2 labels" in out) == (0, True)
    code, out, _ = call(capfd, *own(tables, "--out", folder))
    assert (code, "decided: 2 labels" in out) == (0, True)
    corrected = pandas.read_csv(folder / "corrected.csv").set_index("node")["label"]
    assert (corrected["n001"], corrected["n003"]) == ("cat", "bee")
    recorded = (folder / "decisions.csv").read_text()
    file.write_text("node,decision\nx,bee\n")
    code, _, err = call(capfd, *own(tables, "--out", folder, "--decisions", file))
    assert (code, len(err.splitlines())) == (1, 1)
    assert "mine.csv: expected nodes of the graph, got 'x'" in err
    assert (folder / "decisions.csv").read_text() == recorded


def test_tables_of_earlier_runs_do_not_stay_and_what_was_filled_in_does(tables, tmp_path, capfd):
    words = own(tables, "--out", tmp_path)

    def fill_in(name, decision):
        table = pandas.read_csv(tmp_path / name, dtype=str, keep_default_na=False)
        table.loc[0, "decision"] = decision
        table.to_csv(tmp_path / name, index=False)
        return table["node"][0]

    assert call(capfd, *words, "--review", "5")[0] == 0
    assert call(capfd, *words)[0] == 0
    assert sorted(os.listdir(tmp_path)) == FILES
    # Decisions that are recorded are in no need of the table that they were in.
    node = fill_in("suspects.csv", "cat")
    code, out, _ = call(capfd, *words, "--decisions", tmp_path / "suspects.csv", "--review", "5")
    assert (code, "not recorded" in out) == (0, False)
    assert sorted(os.listdir(tmp_path)) == sorted([*FILES, "decisions.csv", "review.csv"])
    assert node in (tmp_path / "decisions.csv").read_text()
    fill_in("suspects.csv", "bee")
    fill_in("review.csv", "bee")
    texts = [(tmp_path / name).read_text() for name in ("suspects.csv", "review.csv")]
    code, out, _ = call(capfd, *words)
    assert (code, out.count("decisions that are not recorded")) == (0, 2)
    fill_in("suspects.csv", "bee")
    assert call(capfd, *words)[0] == 0
    aside = ["suspects-1.csv", "review-1.csv"]
    assert [(tmp_path / name).read_text() for name in aside] == texts
    assert sorted(os.listdir(tmp_path)) == sorted([*FILES, "decisions.csv", *aside, "suspects-2.csv"])


def test_a_folder_in_place_of_a_table_is_named_by_its_option(tables, tmp_path, capfd):
    for option in ("--decisions", "--features"):
        words = tables / "edges.csv", tables / "labels.csv", option, tmp_path, "--out", tmp_path / "out"
        code, _, err = call(capfd, *words)
        assert (code, len(err.splitlines())) == (1, 1)
        assert f"{option}: expected a file that ends in .csv" in err


def test_files_of_pyg_and_labels_beside_them(tmp_path, capfd):
    path = datasets.save_npz(data(), tmp_path / "planted.npz")
    labels = tmp_path / "labels.csv"
    pandas.DataFrame({"node": range(120), "label": noisy().numpy()}).to_csv(labels, index=False)
    code, out, err = call(capfd, path, "--labels", labels, "--out", tmp_path / "a")
    assert (code, "some labels are wrong" in out) == (0, True), err
    code, out, _ = call(capfd, path, "--out", tmp_path / "b")
    assert (code, "no sign that labels are wrong" in out) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "expected one of"),
        (["absent.npz"], "absent.npz"),
        (["edges.csv"], "labels: expected a table of labels"),
        (["edges.csv", "labels.csv", "more.csv"], "FILE: expected a graph"),
        (["edges.csv", "labels.csv", "--fdr", "2"], "--fdr: expected a rate in"),
        (["edges.csv", "labels.csv", "--review", "-2"], "--review: expected an integer"),
        (["edges.csv", "labels.csv", "--features", "absent.csv"], "absent.csv"),
        (["cora", "--features", "features.parquet"], "--features: expected a table of edges"),
        (["edges.csv", "labels.csv", "--out", "labels.csv"], "cannot be written"),
        (["edges.csv", "labels.csv", "--top", "20"], "--top: expected --clicks, got none"),
        (["edges.csv", "labels.csv", "--low-rating", "2"], "--low-rating: expected --clicks, got none"),
        (["--clicks", "labels.csv", "--fdr", "0.1"], "--fdr: expected a graph, got --clicks"),
        (["edges.csv", "--clicks", "labels.csv"], "FILE: expected no graph beside --clicks, got edges.csv"),
        (["--clicks", "."], "--clicks: expected a file that ends in .csv"),
        (["--clicks", "ml-100k", "--user", "who"], "--user: expected none for a data set by name, got who"),
        (["--clicks", "ml-100k", "--duplicates", "last"], "--duplicates: expected none for a data set by name"),
        (["edges.csv", "one.csv", "--features", "features.parquet"], "at least two classes"),
        (["edges.csv", "labels.csv", "--decisions", "absent.csv", "--features", "features.parquet"], "absent.csv"),
    ],
)
def test_bad_input_is_one_line(tables, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tables)
    (tables / "one.csv").write_text("node,label\nn000,a\nn001,a\n")
    before = sorted(os.listdir(tables))
    code, out, err = call(capfd, *words, *(["--out", "fresh"] if "--out" not in words else []))
    assert code != 0
    assert (out, len(err.splitlines())) == ("", 1)
    assert message in err
    assert sorted(os.listdir(tables)) == before


def test_interruption_leaves_no_half_written_file(tables, tmp_path):
    words = [sys.executable, "-m", "graphnoise.cli", "audit", *map(str, own(tables, "--out", tmp_path / "out"))]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the command was done before the signal")
    assert process.returncode == 130
    assert "to go on" in err
    files = os.listdir(tmp_path / "out") if (tmp_path / "out").exists() else []
    assert set(files) <= set(FILES)

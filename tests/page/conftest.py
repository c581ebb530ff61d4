"""A page of small parts of recorded results and of an audit whose names have HTML in them."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from audit.audits import data, noisy

from graphnoise import datasets
from graphnoise.cli import main as cli

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
NAMES = np.array(["ant", "bee & co", "<i>cat</i>"], dtype=object)


def part(name, target, **chosen):
    """Write the lines of a table of results that have one of the values chosen in each column."""
    frame = pandas.read_csv(RESULTS / name, dtype=str, keep_default_na=False)
    for column, values in chosen.items():
        frame = frame[frame[column].isin(values)]
    frame.to_csv(target, index=False)
    return target


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, words)])
    return stop.value.code


@pytest.fixture(scope="session")
def audited(tmp_path_factory):
    """The folder of an audit; names of nodes and classes have characters of HTML in them."""
    folder = tmp_path_factory.mktemp("audited")
    names = np.array([f"n{i:03d}<script>alert({i})</script>" for i in range(120)], dtype=object)
    arcs = data().edge_index.numpy()
    arcs = arcs[:, arcs[0] < arcs[1]]
    pandas.DataFrame({"source": names[arcs[0]], "target": names[arcs[1]]}).to_csv(folder / "edges.csv", index=False)
    pandas.DataFrame({"node": names, "label": NAMES[noisy().numpy()]}).to_csv(folder / "labels.csv", index=False)
    words = folder / "edges.csv", folder / "labels.csv", "--out", folder / "audit", "--fdr", "0.3"
    assert run("audit", *words) == 0
    return folder


@pytest.fixture(scope="session")
def made(audited, tmp_path_factory):
    """A page with all kinds of chapters, and what it was made of."""
    folder = tmp_path_factory.mktemp("page")
    nodes = part(
        *("robust.csv", folder / "nodes.csv"),
        dataset=["cora"],
        method=["ggp", "sgc", "lpc"],
        noise=["none", "pair"],
        grid=["citation"],
    )
    clusters = part("cluster-growth.csv", folder / "clusters.csv", dataset=["cora"])
    detect = part("detection.csv", folder / "detect.csv", grid=["cora"], row=["posterior", "self-confidence"])
    clicks = part("noise-sweep.csv", folder / "clicks.csv", grid=["rates"], row=["itemknn", "ease"])
    speeds = json.loads((RESULTS / "propagate.json").read_text())
    speeds["records"] = speeds["records"][:2]
    (folder / "speeds.json").write_text(json.dumps(speeds))
    sources = [nodes, clusters, detect, clicks, folder / "speeds.json", audited / "audit"]
    path = folder / "report.html"
    assert run("report", *sources, "--html", path) == 0
    return SimpleNamespace(path=path, sources=sources, nodes=nodes, html=path.read_text())


@pytest.fixture(scope="session")
def planted_file(tmp_path_factory):
    """Path of a small planted graph."""
    path = tmp_path_factory.mktemp("data") / "planted.npz"
    planted = datasets.planted_partition([30, 30], 0.25, 0.02, num_features=12, split=(8, 20, 20), seed=1)
    return str(datasets.save_npz(planted, path))

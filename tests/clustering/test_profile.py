import dataclasses
import itertools
import signal
import subprocess
import sys
import time

import networkx
import numpy as np
import pytest

from graphnoise import DataError, InputError
from graphnoise.clustering import (
    CommunityProfile,
    approximate_pagerank,
    as_undirected,
    community_profile,
    conductance,
    draw_profile,
    sweep_cut,
)


def caves():
    return as_undirected(networkx.connected_caveman_graph(12, 8))


def bucket(size, per_decade):
    """The bucket of a size: the largest edge ceil(10^(b / per_decade)) that is not above it."""
    edges = sorted({int(np.ceil(10 ** (b / per_decade) - 1e-9)) for b in range(40 * per_decade)})
    return sum(edge <= size for edge in edges) - 1


@pytest.mark.parametrize("labelled", [False, True])
def test_each_bucket_has_the_best_prefix_of_all_sweeps(labelled):
    graph = caves()
    labels = (np.arange(96) < 40).astype(int) if labelled else None
    seeds, grid = [0, 9, 33, 70], [1e-2, 1e-3]
    result = community_profile(graph, seeds, grid=grid, per_decade=5, labels=labels, label_eps=0.25, alpha=0.1)
    best = {}
    for seed, eps in itertools.product(seeds, grid):
        run = approximate_pagerank(graph, seed, 0.1, eps, labels, label_eps=0.25)
        known = None if labels is None else np.where(np.arange(96) == seed, 1, labels)
        sweep = sweep_cut(graph, run, labels=known, label_eps=0.25)
        volume = np.cumsum(graph.degree[sweep.order])
        for size in range(1, len(sweep.order) + 1):
            if volume[size - 1] <= graph.volume / 2:
                b = bucket(size, 5)
                best[b] = min(best.get(b, 2.0), sweep.profile[size - 1])
    assert result.conductances.tolist() == [best[b] for b in sorted(best)]
    assert [bucket(size, 5) for size in result.sizes.tolist()] == sorted(best)
    assert result.complete
    assert result.runs == 8
    for size, phi, nodes, seed, scale in zip(
        result.sizes, result.conductances, result.clusters, result.seeds, result.scales, strict=True
    ):
        assert len(nodes) == size
        assert (np.diff(nodes) > 0).all()
        known = None if labels is None else np.where(np.arange(96) == seed, 1, labels)
        assert conductance(graph, nodes, labels=known, label_eps=0.25) == pytest.approx(phi)
        assert seed in seeds
        assert scale in grid


def test_half_of_the_volume_is_the_most():
    graph = networkx.Graph([(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 3)])
    result = community_profile(graph, [0], grid=[1e-4], per_decade=20)
    assert result.sizes.tolist() == [1, 2, 3]
    assert result.conductances[-1] == pytest.approx(1 / 7)


@pytest.mark.parametrize("method", ["pagerank", "l1_pagerank", "heat_kernel", "flow"])
def test_the_dip_is_where_the_clusters_are(method):
    result = community_profile(caves(), method=method, per_decade=20)
    assert result.complete
    at = int(np.searchsorted(result.sizes, 8))
    assert result.sizes[at] == 8
    assert result.conductances[at] == pytest.approx(2 / 56)
    assert (result.conductances[:at] > 0.1).all()


def test_the_draw_and_the_threads_do_not_matter_but_the_seed_does():
    graph = caves()
    runs = [community_profile(graph, 10, seed=seed, num_threads=threads) for seed, threads in ((1, 1), (1, 2), (2, 1))]
    same = [[part.tolist() for part in run.clusters] for run in runs]
    assert same[0] == same[1]
    assert set(runs[0].seeds.tolist()) != set(runs[2].seeds.tolist())


def test_names_and_nodes_without_neighbours():
    graph = networkx.relabel_nodes(networkx.connected_caveman_graph(4, 5), lambda i: f"n{i}")
    graph.add_node("alone")
    assert community_profile(graph, ["n3", "n9"]).runs == 8
    everyone = community_profile(graph, 100, grid=[1e-3], labels=lambda names: [name < "n2" for name in names])
    assert everyone.runs == 20
    assert 20 not in everyone.seeds


LONG = """
import signal
import numpy as np
from graphnoise import datasets
from graphnoise.clustering import community_profile
signal.signal(signal.SIGINT, signal.default_int_handler)
data = datasets.planted_partition([50] * 100, 0.3, 0.001, seed=0)
print("ready", flush=True)
result = community_profile(data, 4000, grid=np.geomspace(1e-3, 1e-6, 50), num_threads=1)
print(result.complete, 0 < result.runs < 200_000, len(result.sizes) > 1, flush=True)
"""


def test_an_interrupt_returns_an_incomplete_profile():
    process = subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        accuracies, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (accuracies, errors, process.returncode) == ("False True True\n", "", 0)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_profile_is_drawn_into_a_file(tmp_path, suffix):
    result = community_profile(caves(), 5)
    path = draw_profile(result, tmp_path / f"profile{suffix}")
    assert path.read_bytes()[:4] == {".png": b"\x89PNG", ".svg": b"<?xm"}[suffix]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_errors_of_drawing_are_clear(tmp_path):
    result = community_profile(caves(), 5)
    with pytest.raises(InputError, match=r"path: expected a name that ends in one of .*\.png"):
        draw_profile(result, tmp_path / "profile.txt")
    with pytest.raises(InputError, match="profile: expected a CommunityProfile with clusters, got list"):
        draw_profile([1.0], tmp_path / "profile.png")
    empty = dataclasses.replace(result, sizes=result.sizes[:0])
    with pytest.raises(InputError, match="got one without clusters"):
        draw_profile(empty, tmp_path / "profile.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        draw_profile(result, tmp_path / "file" / "profile.png")
    assert isinstance(result, CommunityProfile)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds: expected an integer of at least 1"),
        ({"seeds": []}, "seeds: expected at least one node"),
        ({"seeds": [96]}, "seeds: expected positions"),
        ({"seeds": True}, "seeds: expected"),
        ({"method": "approximate_pagerank"}, "method: expected one of"),
        ({"grid": []}, "grid: expected numbers above 0"),
        ({"grid": [1e-3, 0.0]}, "grid: expected numbers above 0"),
        ({"eps": 1e-3}, "parameters of pagerank: expected eps in grid"),
        ({"beta": 1e-3}, "parameters of pagerank: expected alpha"),
        ({"per_decade": 0}, "per_decade: expected"),
        ({"progress": 1}, "progress: expected True, False or None"),
        ({"seed": -1}, "seed: expected"),
        ({"labels": [0, 1]}, "labels: expected 96 labels"),
        ({"num_threads": -1}, "num_threads: expected"),
    ],
)
def test_bad_input_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        community_profile(caves(), **settings)


def test_a_graph_without_edges_has_no_profile():
    with pytest.raises(InputError, match="graph: expected a graph with edges"):
        community_profile(networkx.empty_graph(4))


def test_the_progress_bar_is_shown_on_request(capsys):
    community_profile(caves(), 5, progress=True)
    accuracies = capsys.readouterr()
    assert accuracies.out == ""
    community_profile(caves(), 5)
    assert capsys.readouterr().err == "", "no terminal, no bar"

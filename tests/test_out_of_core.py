"""Graphs in folders, built within a bound on memory, and propagation over them: against the same in memory."""

import json
import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import graphnoise as gn
from graphnoise import out_of_core, propagation, stored
from graphnoise.checks import InputError
from graphnoise.datasets import build_graph
from graphnoise.errors import DataError

EDGES = np.random.default_rng(0).integers(0, 500, (4000, 2))


def frame(edges=EDGES, weighted=False):
    table = pandas.DataFrame(edges, columns=["source", "target"])
    if weighted:
        table["w"] = np.random.default_rng(1).random(len(edges)).astype(np.float32).astype(float)
    return table


def written(folder, table, suffix="csv"):
    path = folder / f"edges.{suffix}"
    if suffix == "npy":
        np.save(path, table.to_numpy())
    elif suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if "tsv" in suffix else ",")
    return path


def dense(graph):
    return graph.to_dense(torch.float64)


def in_memory(edges, weight=None, directed=False):
    source, target = torch.from_numpy(edges).T
    if not directed:
        other = source != target
        source, target = torch.cat([source, target[other]]), torch.cat([target, source[other]])
        weight = None if weight is None else torch.cat([weight, weight[other]])
    return gn.Graph.from_edge_index(torch.stack([source, target]), 500, weight)


@pytest.fixture(scope="module", params=["plain", "weighted", "directed"])
def graphs(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    weighted, directed = request.param == "weighted", request.param == "directed"
    table = frame(weighted=weighted)
    path = written(folder, table, "parquet")
    build_graph(path, folder / "graph", weight="w" if weighted else None, directed=directed, num_nodes=500)
    weight = torch.tensor(table["w"].to_numpy(), dtype=torch.float32) if weighted else None
    return gn.Graph.open(folder / "graph"), in_memory(EDGES, weight, directed)


def test_a_built_graph_is_the_graph_in_memory(graphs):
    ours, theirs = graphs
    assert torch.allclose(dense(ours), dense(theirs), atol=1e-6)
    assert ours.stored
    assert not theirs.stored
    assert torch.equal(ours.degree, theirs.degree) or ours.weight is not None
    assert torch.allclose(ours.out_degree, theirs.out_degree)
    # Columns ascend in each row.
    assert all((part.diff() >= 0).all() for part in ours.col.split(ours.rowptr.diff().tolist()))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "npy", "parquet"])
def test_every_form_of_file_gives_the_same_graph(suffix, tmp_path):
    built = build_graph(written(tmp_path, frame(), suffix), tmp_path / "graph")
    assert (built.num_nodes, built.weighted, built.names) == (500, False, None)
    assert torch.equal(dense(gn.Graph.open(tmp_path / "graph")), dense(in_memory(EDGES)))


def test_files_without_a_header_and_several_files(tmp_path):
    for k, part in enumerate(np.array_split(EDGES, 3)):
        np.savetxt(tmp_path / f"{k}.txt", part, fmt="%d", header="comment")
    build_graph(sorted(tmp_path.glob("*.txt")), tmp_path / "graph")
    assert torch.equal(dense(gn.Graph.open(tmp_path / "graph")), dense(in_memory(EDGES)))


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["007", "7", "α"], ["007", "7", "α"]),
        ([10**15, -3, 2**40], [-3, 2**40, 10**15]),
        (["5000000000", "1", "2"], [1, 2, 5_000_000_000]),
    ],
)
def test_ids_that_are_no_positions_become_names(ids, names, tmp_path):
    table = pandas.DataFrame({"source": [ids[0], ids[1]], "target": [ids[1], ids[2]]})
    build_graph(written(tmp_path, table), tmp_path / "graph")
    graph = gn.Graph.open(tmp_path / "graph")
    assert list(graph.names) == names
    assert graph.names[-1] == names[-1]
    assert graph.names[:2] == names[:2]
    position = graph.position
    for source, target in zip(table["source"], table["target"], strict=True):
        ends = [position[end if end in position else int(end)] for end in (source, target)]
        assert dense(graph)[ends[1], ends[0]] == dense(graph)[ends[0], ends[1]] == 1
    assert gn.propagate(graph, torch.eye(3), alpha=0.5, num_steps=2).names is graph.names


HEADER = "source,target\n"


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["\ufeffsource,target\na,b\n"], "ab"),
        (["\r\n\r\nsource,target\r\na,b\r\n\r\n"], "ab"),
        (['"x,y","source","target"\n1,a,b\n'], "ab"),
        ([HEADER + "#a,b#c\n"], ["#a", "b#c"]),
        # Integers among text, and blanks around integers.
        ([HEADER + "a,b\n7,007\n"], ["007", "7", "a", "b"]),
        (["source, target\n2, 1\n1, 0\n"], None),
        # Columns that blanks align.
        (["source   target  w\n a  b   1\n\nc       d 2\n"], "abcd"),
        (["# some  words and more\n0   1\n  10   2 \n"], None),
        (["w source target\n1 #a  b\n"], ["#a", "b"]),
        # Blanks and tabs at the end of a line, or between columns, are no part of an id.
        (["source target\na b\t\nc d \t \n"], "abcd"),
        (["a b\t\nc d\t\n"], "abcd"),
        (["source\ttarget\t\na\tb\n"], "ab"),
        (["source\ttarget \na\tb \nc\td\t\n"], "abcd"),
        (["source target\na\t b\n"], "ab"),
        # Each file has its own header.
        ([HEADER + "a,b\n", "target;source;x\nd;c;1\n", "e f\n# comment\n"], "abcdef"),
    ],
)
def test_text_files_as_programs_write_them(texts, names, tmp_path):
    for k, text in enumerate(texts):
        # DuckDB would take these names for patterns and for a column.
        folder = tmp_path / f"source=7 it's {k}"
        folder.mkdir()
        (folder / "e[*].csv").write_bytes(text.encode())
        (folder / "e[x].csv").write_text(HEADER + "x,y\n")
    build_graph(sorted(tmp_path.glob("*/e[[][*]].csv")), tmp_path / "graph", directed=True)
    graph = gn.Graph.open(tmp_path / "graph")
    assert (None if graph.names is None else list(graph.names)) == (names and list(names))
    if isinstance(names, str):
        assert [(graph.names[j], graph.names[i]) for i, j in dense(graph).nonzero().tolist()] == list(
            zip(names[::2], names[1::2], strict=True)
        )


@pytest.mark.parametrize(
    "text", ["src,dst\n1,2\n", "Source,Target\na,b\n", "a,b,w\nx,y,1\n", "source,target,source\n1,2,3\n"]
)
def test_names_of_other_columns_are_no_edge(text, tmp_path):
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(InputError, match=r"columns: expected .* got 'source'"):
        build_graph(tmp_path / "e.csv", tmp_path / "graph", weight="w" if "w" in text else None)
    with pytest.raises(InputError, match=r"columns: expected .* got 'from'"):
        build_graph(tmp_path / "e.csv", tmp_path / "graph", columns=("from", "to"))


def test_files_may_have_ids_of_several_types(tmp_path):
    columns = {'so"urce': np.array([0], np.int32), "target": np.array([1], np.uint64)}
    pandas.DataFrame(columns).to_parquet(tmp_path / "0.parquet")
    pandas.DataFrame({'so"urce': [5_000_000_000], "target": [1]}).to_parquet(tmp_path / "1.parquet")
    pandas.DataFrame({'so"urce': ["a"], "target": [1]}).to_parquet(tmp_path / "2.parquet")
    np.save(tmp_path / "3.npy", np.array([[1, 0]]))
    files, options = sorted(tmp_path.iterdir()), {"columns": ('so"urce', "target")}
    build_graph([*files[:2], files[3]], tmp_path / "integers", **options)
    build_graph(files, tmp_path / "text", **options)
    assert list(gn.Graph.open(tmp_path / "integers").names) == [0, 1, 5_000_000_000]
    assert list(gn.Graph.open(tmp_path / "text").names) == ["0", "1", "5000000000", "a"]
    pandas.DataFrame({'so"urce': [0.7], "target": [1]}).to_parquet(tmp_path / "4.parquet")
    with pytest.raises(InputError, match="ids that are integers or text"):
        build_graph([files[0], tmp_path / "4.parquet"], tmp_path / "graph", **options)
    np.save(tmp_path / "5.npy", np.array([[2**63, 0]], np.uint64))
    with pytest.raises(InputError, match=r"integers below 2\^63"):
        build_graph(tmp_path / "5.npy", tmp_path / "graph")


def test_edges_that_repeat_add_up_or_count_once(tmp_path):
    table = pandas.DataFrame({"source": [0, 1, 0, 2], "target": [1, 0, 1, 2], "w": [1.0, 1.0, 1.0, 3.0]})
    path = written(tmp_path, table)
    build_graph(path, tmp_path / "sum")
    build_graph(path, tmp_path / "once", once=True)
    build_graph(path, tmp_path / "weighted", once=True, weight="w")
    add, once, weighted = (dense(gn.Graph.open(tmp_path / name)) for name in ("sum", "once", "weighted"))
    assert add.tolist() == [[0, 3, 0], [3, 0, 0], [0, 0, 1]]
    assert once.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert weighted.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 3]]


BAD = [
    ({"source": ["a", "b"], "target": ["b", None]}, {}, "an id at both ends"),
    ({"source": [0], "to": [1]}, {}, "columns: expected one column of"),
    ({"source": [0], "target": [1], "w": [-1.0]}, {"weight": "w"}, "weight: expected numbers from 0"),
    ({"source": [0], "target": [1], "w": ["x"]}, {"weight": "w"}, "weight: expected numbers from 0"),
    ({"source": [0], "target": [1], "w": [1e39]}, {"weight": "w"}, "weight: expected numbers from 0"),
    ({"source": [0, 1], "target": [1, 0], "w": [1.0, 2.0]}, {"weight": "w", "once": True}, "the same weight"),
    ({"source": [0], "target": [9]}, {"num_nodes": 5}, "ids from 0 to 4"),
    ({"source": ["a"], "target": ["b"]}, {"num_nodes": 5}, "ids from 0 to 4, got text"),
    ({"source": EDGES[:0, 0], "target": EDGES[:0, 0]}, {}, "at least one edge"),
    ({"source": [0.5], "target": [1.5]}, {}, "ids that are integers or text"),
    ({"source": [0], "target": [1]}, {"memory": "1 banana"}, "memory: expected a number of bytes"),
    ({"source": [0], "target": [1]}, {"memory": 1000}, "at least 256 MiB"),
    ({"source": [0], "target": [1]}, {"num_nodes": 10**13}, "memory: expected at least 200000.00 GB"),
    ({"source": [0], "target": [1]}, {"columns": ("source",)}, "two different names"),
    ({"source": [0], "target": [1]}, {"columns": ("source", "source")}, "two different names"),
    ({"source": [0], "target": [1]}, {"progress": 3}, "a function of a text"),
]


@pytest.mark.parametrize(("columns", "options", "message"), BAD)
def test_bad_edges_are_refused_and_leave_nothing(columns, options, message, tmp_path):
    path = written(tmp_path, pandas.DataFrame(columns), "parquet")
    with pytest.raises(InputError, match=message) as error:
        build_graph(path, tmp_path / "graph", **options)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bad_files_are_refused(tmp_path):
    path = written(tmp_path, frame())
    for bad, message in [
        (tmp_path / "absent.csv", "no such file"),
        (tmp_path / "damaged.parquet", "damaged.parquet"),
        (tmp_path / "ragged.csv", "ragged.csv"),
    ]:
        (tmp_path / "damaged.parquet").write_bytes(b"PAR1 nothing")
        (tmp_path / "ragged.csv").write_text("source,target\n1,2\n3,4,5\n")
        with pytest.raises(DataError, match=message):
            build_graph(bad, tmp_path / "graph")
    np.save(tmp_path / "floats.npy", np.ones((3, 2)))
    with pytest.raises(InputError, match="integers of shape"):
        build_graph(tmp_path / "floats.npy", tmp_path / "graph")
    build_graph(path, tmp_path / "graph")
    with pytest.raises(DataError, match="does not exist yet"):
        build_graph(path, tmp_path / "graph")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "graph.json").unlink(), "no graph.json"),
        (lambda folder: (folder / "graph.json").write_text("{"), "graph.json"),
        (lambda folder: (folder / "graph.json").write_text(json.dumps({"format": 99})), "expected format 1, got 99"),
        (lambda folder: (folder / "graph.json").write_text(json.dumps({"format": 1})), "graph.json"),
        (lambda folder: (folder / "col.bin").unlink(), "col.bin"),
        (lambda folder: (folder / "col.bin").write_bytes(b"1234"), "incomplete or damaged"),
        (lambda folder: _overwrite(folder / "col.bin", 10, 10**6), "row bounds from 0 to"),
        (lambda folder: _overwrite(folder / "rowptr.bin", 1, 10**9, "<i8"), "row bounds from 0 to"),
    ],
)
def test_a_damaged_folder_is_not_opened(harm, message, tmp_path):
    build_graph(written(tmp_path, frame()), tmp_path / "graph")
    harm(tmp_path / "graph")
    with pytest.raises(DataError, match=message) as error:
        gn.Graph.open(tmp_path / "graph")
    assert "\n" not in str(error.value)


def _overwrite(path, place, value, dtype="<i4"):
    array = np.memmap(path, dtype, "r+")
    array[place] = value
    array.flush()


def values(width=7, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(2).random((500, width))).to(dtype)


# What each node and each arc of these graphs take is far below this.
SMALL = out_of_core.CHUNK_BYTES + 500 * 200


@pytest.mark.filterwarnings("ignore:normalise")
def test_blocks_give_the_bits_of_a_call_without_a_bound(graphs):
    graph = graphs[0]

    @given(
        width=st.integers(1, 9),
        columns=st.sampled_from([0, 2, 3, 4, 7]),
        mode=st.sampled_from(["restart", "lazy"]),
        normalisation=st.sampled_from(["sym", "row", "col", "none"]),
        dtype=st.sampled_from([torch.float32, torch.float64]),
        clamp=st.sampled_from([None, (0.0, 0.4)]),
        tol=st.sampled_from([None, 1e-2, 1e-4]),
        masked=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def same(width, columns, dtype, clamp, masked, **options):
        y, mask = values(width, dtype), torch.arange(500) % 3 > 0 if masked else None
        clamp = (0.0, 0.4) if options["normalisation"] == "none" else clamp
        call = {"alpha": 0.7, "num_steps": 12, "mask": mask, "clamp": clamp, **options}
        whole = gn.propagate(graph, y, **call)
        size = y.element_size()
        memory = out_of_core.CHUNK_BYTES + 500 * (
            max(out_of_core.PEAK, out_of_core.KEPT + 3 * size * columns) + width * size
        )
        blocks = gn.propagate(graph, y, memory=memory, **call)
        assert torch.equal(blocks.y, whole.y)
        assert (blocks.steps, blocks.residual, blocks.converged) == (whole.steps, whole.residual, whole.converged)

    same()


def test_values_and_result_may_be_files(graphs, tmp_path):
    graph, y = graphs[0], values(5)
    np.save(tmp_path / "y.npy", y.numpy())
    calls = []
    memory = out_of_core.CHUNK_BYTES + 500 * (out_of_core.KEPT + 2 * 12)
    result = gn.propagate(
        *(graph, tmp_path / "y.npy"),
        alpha=0.5,
        num_steps=6,
        memory=memory,
        out=tmp_path / "new.npy",
        progress=lambda done, total: calls.append((done, total)),
    )
    expected = gn.propagate(graph, y, alpha=0.5, num_steps=6).y
    assert torch.equal(result.y, expected)
    assert np.array_equal(np.load(tmp_path / "new.npy"), expected.numpy())
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.npy", "y.npy"]
    with pytest.raises(DataError, match="does not exist yet"):
        gn.propagate(graph, y, alpha=0.5, num_steps=6, out=tmp_path / "new.npy")


def test_an_interrupted_call_continues_after_its_last_block(graphs, tmp_path, monkeypatch):
    graph, y, runs = graphs[0], values(6), []
    call = {
        "alpha": 0.9,
        "num_steps": 50,
        "tol": 1e-3,
        "memory": out_of_core.CHUNK_BYTES + 500 * (out_of_core.KEPT + 2 * 12),
    }
    whole = gn.propagate(graph, y, alpha=0.9, num_steps=50, tol=1e-3)

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gn.propagate(graph, y, **call, out=tmp_path / "new.npy", progress=interrupt)
    assert not (tmp_path / "new.npy").exists()
    run = out_of_core.cpu.run
    monkeypatch.setattr(out_of_core.cpu, "run", lambda *a, **k: runs.append(k["tol"]) or run(*a, **k))
    result = gn.propagate(graph, y, **call, out=tmp_path / "new.npy")
    assert torch.equal(result.y, whole.y)
    assert result.steps == whole.steps
    # Two of three blocks were there.
    assert runs.count(1e-3) == 1
    # Other values begin anew.
    with pytest.raises(KeyboardInterrupt):
        gn.propagate(graph, y, **call, out=tmp_path / "other.npy", progress=interrupt)
    result = gn.propagate(graph, 2 * y, **call, out=tmp_path / "other.npy")
    assert torch.equal(result.y, gn.propagate(graph, 2 * y, alpha=0.9, num_steps=50, tol=1e-3).y)


def test_mapped_arrays_are_not_copied(graphs, tmp_path):
    np.save(tmp_path / "y.npy", values(4).numpy())
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    assert propagation.mapped_values(y).data_ptr() == y.ctypes.data
    for array in (y, y[::-1][::-1], y[:, ::-1]):
        new = gn.propagate(graphs[0], array, alpha=0.5, num_steps=3).y
        assert torch.equal(new, gn.propagate(graphs[0], torch.tensor(array.copy()), alpha=0.5, num_steps=3).y)


def test_one_column_stays_one_in_the_file(graphs, tmp_path):
    y = values(1)[:, 0]
    new = gn.propagate(graphs[0], y, alpha=0.5, num_steps=3, out=tmp_path / "new.npy").y
    assert torch.equal(new, gn.propagate(graphs[0], y, alpha=0.5, num_steps=3).y)
    assert np.load(tmp_path / "new.npy").shape == (500,)


def test_one_call_at_a_time_writes_a_file(graphs, tmp_path):
    y, messages = values(4), []
    call = {"alpha": 0.5, "num_steps": 3, "memory": out_of_core.CHUNK_BYTES + 500 * (out_of_core.KEPT + 2 * 12)}

    def other(done, total):
        with pytest.raises(DataError, match="another process writes it") as error:
            gn.propagate(graphs[0], 2 * y, **call, out=tmp_path / "new.npy")
        messages.append(str(error.value))

    new = gn.propagate(graphs[0], y, **call, out=tmp_path / "new.npy", progress=other).y
    assert torch.equal(new, gn.propagate(graphs[0], y, alpha=0.5, num_steps=3).y)
    assert len(messages) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["new.npy"]


def test_another_scaling_or_a_lost_list_of_blocks_begins_anew(tmp_path, monkeypatch):
    graph, y = in_memory(EDGES), values(4)
    half = torch.full((500,), 0.5, dtype=torch.float64)
    call = {"alpha": 0.5, "num_steps": 3, "normalisation": "none"}
    first, second = (gn.Graph(graph.rowptr, graph.col.clone(), left=left) for left in (half / 100, half / 50))

    def interrupt(*_):
        raise KeyboardInterrupt

    def interrupted(graph):
        with pytest.raises(KeyboardInterrupt):
            gn.propagate(graph, y, **call, out=tmp_path / "new.npy", progress=interrupt)

    interrupted(first)
    # The second call ends before it has written its own list.
    with monkeypatch.context() as context:
        context.setattr(out_of_core._Result, "_save", interrupt)
        interrupted(second)
    new = gn.propagate(first, y, **call, out=tmp_path / "new.npy").y
    assert torch.equal(new, gn.propagate(first, y, **call).y)
    (tmp_path / "new.npy").unlink()
    interrupted(first)
    new = gn.propagate(second, y, **call, out=tmp_path / "new.npy").y
    assert torch.equal(new, gn.propagate(second, y, **call).y)


def test_values_that_are_not_finite_leave_no_file(graphs, tmp_path):
    y = values(4)
    y[3, 2] = float("nan")
    with pytest.raises(InputError, match="y: expected finite"):
        gn.propagate(graphs[0], y, alpha=0.5, num_steps=3, out=tmp_path / "new.npy")
    assert not list(tmp_path.iterdir())
    # Rows outside the mask are not read.
    mask = torch.arange(500) != 3
    masked = gn.propagate(graphs[0], y, alpha=0.5, num_steps=3, mask=mask, out=tmp_path / "new.npy")
    assert torch.equal(masked.y, gn.propagate(graphs[0], y, alpha=0.5, num_steps=3, mask=mask).y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 1000}, "memory: expected at least 0.07 GB for 500 nodes .less with out=., got 0.00 GB"),
        ({"memory": "many"}, "memory: expected a number of bytes"),
        ({"memory": "1GB", "dtype": torch.bfloat16}, "float32 or float64 values"),
        ({"memory": "1GB", "order": "degree"}, "solver='iterate' and no order"),
        ({"memory": "1GB", "backend": "reference"}, "the tier 'native'"),
        ({"memory": "1GB", "num_steps": 0}, "at least one step"),
        ({"memory": "1GB", "progress": 3}, "a function of two numbers"),
    ],
)
def test_a_bound_that_cannot_be_kept_is_refused(options, message, graphs):
    options = dict(options)
    y = values(dtype=options.pop("dtype", torch.float32))
    with pytest.raises(InputError, match=message):
        gn.propagate(graphs[1], y, **{"alpha": 0.5, "num_steps": 3, "normalisation": "row", **options})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\r\n1 2\n2 3\r\n", "lines that all end in the same way"),
        (HEADER + "0,1\r\n1,2\n", "lines that all end in the same way"),
        ("0  1\n1   2  3\n", "expected 2 columns in each line, got 3: 1   2  3"),
        ("0  1\n1\n", "expected 2 columns in each line, got 1: 1"),
        ("0\t1\n1\n", "Line: 2, Original Line: 1, Expected Number of Columns: 2 Found: 1"),
    ],
)
def test_lines_of_different_forms_are_one_error(text, message, tmp_path):
    (tmp_path / "edges.txt").write_bytes(text.encode())
    with pytest.raises(DataError, match=message) as error:
        build_graph(tmp_path / "edges.txt", tmp_path / "graph")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "graph").exists()


MEASURE = """
import sys, threading, time, numpy as np, torch, graphnoise as gn
graph = gn.Graph.open(sys.argv[1])
def anonymous():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("RssAnon")).split()[1]) * 1024
# Imports and thread pools first.
gn.propagate(gn.Graph.from_edge_index(torch.tensor([[0], [0]])), torch.ones(1, 1), alpha=.5, num_steps=1, memory="1GB")
before, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.wait(.002):
        peak[0] = max(peak[0], anonymous())
thread = threading.Thread(target=watch); thread.start()
gn.propagate(graph, sys.argv[2], alpha=.9, num_steps=4, memory=int(sys.argv[3]), out=sys.argv[4])
done.set(); thread.join()
print(peak[0] - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("columns", "weighted"), [(0, False), (3, False), (3, True)])
def test_the_bound_holds(columns, weighted, tmp_path):
    # The weighted graph would exceed the bound by arcs of 64 bits, the others by one more array of all nodes.
    n, edges = (400_000, 4_000_000) if weighted else (4_000_000, 2_000_000)
    rng = np.random.default_rng(0)
    table = pandas.DataFrame(
        {"source": np.arange(edges) % n, "target": rng.integers(0, n, edges), "w": rng.random(edges)}
    )
    table.to_parquet(tmp_path / "edges.parquet")
    weight = "w" if weighted else None
    build_graph(tmp_path / "edges.parquet", tmp_path / "graph", weight=weight, num_nodes=n, memory="1GB")
    np.save(tmp_path / "y.npy", np.ones((n, 12), np.float32))
    memory = out_of_core.CHUNK_BYTES + n * max(out_of_core.PEAK, out_of_core.KEPT + 12 * columns)
    command = [sys.executable, "-c", MEASURE, tmp_path / "graph", tmp_path / "y.npy", str(memory), tmp_path / "new.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= memory
    expected = gn.propagate(gn.Graph.open(tmp_path / "graph"), torch.ones(n, 12), alpha=0.9, num_steps=4).y
    assert np.array_equal(np.load(tmp_path / "new.npy"), expected.numpy())


def test_a_folder_may_be_opened_without_a_check_of_its_columns(tmp_path):
    build_graph(written(tmp_path, frame()), tmp_path / "graph")
    assert gn.Graph.open(tmp_path / "graph", check=False).num_arcs == in_memory(EDGES).num_arcs
    assert stored.open_rows(tmp_path / "graph").undirected

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from oracles import assert_close, dense, normalised

from graphnoise import cli, propagation
from graphnoise.bench.speed import cases, gate, measure, peers, plots, records, report, run
from graphnoise.errors import DataError, InputError

SMALL = ["bench", "speed", "propagate", "--size", "40:120", "--width", "3", "--threads", "1", "--rounds", "2"]


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Samples of no length over a small copy: what is tested here is everything but the times."""
    monkeypatch.setattr(measure, "FLOOR", 1e-6)
    monkeypatch.setattr(measure, "COPY_BYTES", {"cpu": 1 << 12, "cuda": 1 << 12})


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def held(path):
    return json.loads(path.read_text())["records"]


def test_grid_is_every_combination_and_a_case_is_there_once():
    grid = cases.Grid(sizes=[(10, 20), (20, 40)], degrees=cases.DEGREES, widths=[1, 7], backward=[False, True])
    assert len(grid.cases()) == 16
    assert len(cases.cases([grid, grid])) == 16
    graphs = [case.graph for case in cases.cases([grid, grid])]
    assert len({g for g, before in zip(graphs, [None, *graphs], strict=False) if g != before}) == 4
    assert sum(case.kind == "call" for case in cases.cases([grid], calls=True)) == 2


@pytest.mark.parametrize("name", ["quick", "full"])
def test_suites(name):
    found = cases.cases(cases.suite(name), calls=True)
    assert {case.kind for case in found} == {"step", "call"}
    assert {case.backward for case in found} == {case.busy for case in found} == {False, True}
    if name == "full":
        assert {case.width for case in found} == {1, 7, 16, 40, 64, 128, 512}
        assert {(case.nodes, case.arcs) for case in found if case.kind == "step"} == set(cases.SIZES.values())
        assert {case.degrees for case in found} == set(cases.DEGREES)
        assert {case.dtype for case in found} == set(cases.DTYPES)


@pytest.mark.parametrize("degrees", cases.DEGREES)
def test_graphs_have_their_arcs_and_are_undirected(degrees):
    case = cases.Case(60, 400, degrees, weighted=True)
    arcs = cases.build(case, seed=3)
    A = dense(arcs.edge_index, 60)
    assert int(A.sum()) == 400
    assert torch.equal(A, A.t())
    assert float(A.max()) == 1
    assert torch.equal(arcs.edge_index, cases.build(case, seed=3).edge_index)


def test_reference_is_the_dense_product_and_its_gradient():
    for arcs in cases.awkward(weighted=True).values():
        S = normalised(dense(arcs.edge_index, arcs.num_nodes, arcs.weight), "sym")
        start = torch.rand(arcs.num_nodes, 2, dtype=torch.float64).requires_grad_()
        y = start
        for _ in range(3):
            y = cases.ALPHA * S @ y + (1 - cases.ALPHA) * start
        G = torch.rand_like(start)
        y.backward(G)
        found = gate.reference(arcs, start.detach().numpy(), {1, 3})
        assert_close(torch.from_numpy(found[3]), y)
        back = gate.reference(arcs, G.numpy(), {3}, transposed=True)
        assert_close(torch.from_numpy(back[3]), start.grad)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", peers.PEERS)
def test_every_peer_computes_the_same(name, weighted, backward):
    peer = peers.PEERS[name]
    for dtype in peer.dtypes:
        if peer.refusal(dtype, "cpu", backward) is not None:
            continue
        case = cases.Case(40, 120, weighted=weighted, dtype=dtype, width=3, backward=backward)
        arcs = cases.build(case, 0)
        values = gate.problem(case, arcs, 0)
        check = gate.Gate(case, arcs, values, 0)
        assert check.small(name, peer.make) <= gate.TOLERANCE[dtype]
        for variant in peer.make(values).values():
            assert check.own(name, variant, case.steps) <= gate.TOLERANCE[dtype]


def test_a_peer_that_is_not_installed_is_left_out_with_a_note(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(peers.PEERS, "scatter", peers.Peer(peers._scatter, package="no_such_package"))
    code, out, _ = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert code == 0
    assert "left out in 1 of 1 cases: scatter: no-such-package is not installed" in out


def test_too_large_peers_and_cases_are_left_out_and_the_record_says_so(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(run, "free", lambda device: 2 * 120 * 3 * 4 - 1 + 10**6 * (device == "x"))
    code, out, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert (code, out.count("\n")) == (1, 1)
    assert "skipped: 40:120 power-law float32 width 3 1 thread: needs about" in err
    assert "needs about" in held(tmp_path / "s.json")[0]["skipped"]
    monkeypatch.setattr(run, "_too_large", lambda case: None)
    code, _, err = call(capfd, *SMALL, "--peers", "addmm,pyg", "--out", tmp_path / "s.json")
    assert code == 0, err
    (record,) = [record for record in held(tmp_path / "s.json") if "times" in record]
    assert record["notes"] == {"pyg": "does not fit into memory"}


def wrong(problem, tier):
    right, name = peers_ours(problem, tier)
    return (lambda steps: right(steps) * 1.01), name


peers_ours = peers.ours


def test_a_wrong_tier_is_not_timed(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(peers, "ours", wrong)
    code, out, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert code == 1
    assert "ours" not in out
    assert "0 of 1 cases" in out
    assert re.search(r"failed: 40:120 .+: ours \(\w+\): expected values within 1e-05 of the float64 reference", err)
    assert not (tmp_path / "s.json").exists()
    monkeypatch.setattr(peers, "ours", peers_ours)
    assert call(capfd, *SMALL, "--out", tmp_path / "s.json")[0] == 0


def test_a_tier_that_is_wrong_on_one_awkward_graph_only_is_not_timed(monkeypatch, tmp_path, capfd):
    real = propagation.propagate

    def without_self_loops(graph, y, **options):
        result = real(graph, y, **options)
        if graph.num_nodes == 1:
            result.y.mul_(0)
        return result

    monkeypatch.setattr(propagation, "propagate", without_self_loops)
    code, out, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert code == 1
    assert "on one node" in err
    assert "0 of 1 cases" in out


def test_a_wrong_gradient_is_not_timed(monkeypatch):
    case = cases.Case(40, 120, width=3, backward=True)
    arcs = cases.build(case, 0)
    values = gate.problem(case, arcs, 0)

    def untransposed(problem):  # as if the graph were undirected
        start = peers.Problem(problem.graph, problem.gradient, problem.alpha)
        return {"x": peers.ours(start, None)[0]}

    check = gate.Gate(case, arcs, values, 0)
    with pytest.raises(gate.GateError, match=r"bold \(x\): expected gradients .+ on a hub"):
        check.small("bold", untransposed)


def test_a_crash_of_ours_is_a_failure(monkeypatch, tmp_path, capfd):
    def crash(problem, tier):
        def broken(steps):
            raise RuntimeError("no\nmemory")

        return broken, "native"

    monkeypatch.setattr(peers, "ours", crash)
    code, _, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert code == 1
    assert "ours: raises RuntimeError (no)" in err


def test_values_that_are_not_finite_do_not_pass(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(peers, "ours", lambda p, tier: (lambda steps: torch.full_like(p.start, torch.nan), "native"))
    assert call(capfd, *SMALL, "--out", tmp_path / "s.json")[0] == 1


def test_a_wrong_peer_is_not_timed_and_tried_again(monkeypatch, tmp_path, capfd):
    right = peers.PEERS["addmm"]
    bad = peers.Peer(lambda problem: {"int64": lambda steps: problem.start})
    monkeypatch.setitem(peers.PEERS, "addmm", bad)
    words = [*SMALL, "--peers", "addmm,scipy", "--out", tmp_path / "s.json"]
    for _ in range(2):  # no record hides it
        code, out, err = call(capfd, *words)
        assert code == 1
        assert "failed: 40:120 power-law float32 width 3 1 thread: addmm (int64)" in err
        header = next(line for line in out.splitlines() if line.startswith("width"))
        assert "scipy" in header
        assert "addmm" not in header
        (record,) = held(tmp_path / "s.json")
        assert "addmm" not in record["times"]
    monkeypatch.setitem(peers.PEERS, "addmm", right)
    assert call(capfd, *words)[0] == 0
    assert "addmm" in held(tmp_path / "s.json")[0]["times"]


def test_record_carries_what_a_reader_needs(tmp_path, capfd):
    code, out, err = call(
        capfd, *SMALL, "--backward", "--busy", "--weighted", "--unweighted", "--out", tmp_path / "s.json"
    )
    assert code == 0, err
    assert "8 of 8 cases" in out
    for record in held(tmp_path / "s.json"):
        assert record["environment"]["versions"]["torch"] == torch.__version__
        assert {"processor", "commit", "machine", "instruction_set"} <= set(record["environment"])
        assert record["protocol"]["rounds"] == 2
        assert record["protocol"]["seed"] == 0
        assert record["tier"] in ("native", "reference", "scatter")
        assert record["gaps"]["ours"] <= 1e-5
        mine = record["times"]["ours"]
        assert len(mine["samples"]) == 2
        assert mine["seconds"]["median"] == pytest.approx(np.median(mine["samples"]))
        other = record["times"]["addmm"]
        each = [a / b for a, b in zip(other["samples"], mine["samples"], strict=True)]
        assert other["ratio"]["low"] == pytest.approx(np.quantile(each, 0.25))
        assert ("bandwidth" in record) is not record["case"]["backward"]


def test_the_same_command_goes_on_and_again_measures_anew(tmp_path, capfd):
    words = [*SMALL, "--peers", "none", "--out", tmp_path / "s.json"]
    call(capfd, *words)
    before = (tmp_path / "s.json").read_bytes()
    code, out, _ = call(capfd, *words)
    assert (code, "1 of 1 cases" in out, "0 measured, 1 recorded before" in out) == (0, True, True)
    assert (tmp_path / "s.json").read_bytes() == before
    _, out, _ = call(capfd, *words, "--width", "3,5")
    assert "1 measured, 1 recorded before" in out
    _, out, _ = call(capfd, *words, "--rounds", "3")
    assert "1 measured, 0 recorded before" in out
    _, out, _ = call(capfd, *words, "--again")
    assert "1 measured" in out
    assert len(held(tmp_path / "s.json")) == 3


def test_another_commit_or_processor_is_another_key(monkeypatch):
    here = records.environment()
    keys = []
    for change in ({}, {"commit": "f" * 40}, {"processor": "abacus"}):
        monkeypatch.setattr(records, "environment", lambda change=change: {**here, **change})
        records._code.cache_clear()
        keys.append(records.key({"width": 1}, {"rounds": 2}))
    records._code.cache_clear()
    assert len(set(keys)) == 3


@pytest.mark.parametrize("commit", ["f" * 40, "f" * 40 + "+", None])
def test_another_binary_is_another_key_on_any_commit(commit, monkeypatch, tmp_path):
    here = records.environment()
    monkeypatch.setattr(records, "environment", lambda: {**here, "commit": commit})
    keys = []
    for code in (b"one", b"two"):
        (tmp_path / "native.so").write_bytes(code)
        monkeypatch.setattr(records._native, "__file__", str(tmp_path / "native.so"))
        records._code.cache_clear()
        keys.append(records.key({"width": 1}, {"rounds": 2}))
    records._code.cache_clear()
    assert keys[0] != keys[1]


@pytest.mark.parametrize("width", [1, 7, 40])
def test_the_floor_reads_padded_columns_and_values_in_large_pages(width, monkeypatch):
    case = cases.Case(300, 4000, width=width)
    values = gate.problem(case, cases.build(case, 0), 0)
    given = []

    def gather(rowptr, col, y, out, nodes, width, threads):
        given.append((rowptr, col, y))

    monkeypatch.setattr(peers._native, "gather_floor", gather)
    timed = peers.floor(values, 1)
    timed(2)
    rowptr, col = peers.propagate_cpu.structure(values.graph.arcs(torch.float32))
    assert col.numel() >= 4000 + peers.propagate_cpu.AHEAD
    assert {entry[:2] for entry in given} == {(rowptr.data_ptr(), col.data_ptr())}
    assert values.start.data_ptr() not in {entry[2] for entry in given}
    monkeypatch.undo()
    assert peers.floor(values, 1)(1).shape == (300,)


def test_a_floor_over_other_values_is_refused(monkeypatch):
    case = cases.Case(40, 120, width=3)
    values = gate.problem(case, cases.build(case, 0), 0)
    real = propagation.propagate

    def broken(graph, y, **options):
        return real(graph, y + 1, **options)

    monkeypatch.setattr(propagation, "propagate", broken)
    with pytest.raises(gate.GateError, match="alpha 0"):
        peers.floor(values, 1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "size", "own"), [("float32", 4, 4), ("float64", 8, 8), ("bfloat16", 2, 4)])
def test_bytes_of_a_step(weighted, dtype, size, own):
    row = 7 * size
    expected = 300 * (4 + row) + 50 * (8 + 2 * row) + own * (300 if weighted else 100)
    assert run.moved(cases.Case(50, 300, weighted=weighted, dtype=dtype, width=7)) == expected


def test_an_awkward_graph_has_a_row_that_is_cut():
    assert (
        max(
            int(arcs.edge_index[1].bincount().max())
            for arcs in cases.awkward(False).values()
            if arcs.edge_index.numel()
        )
        > 4096
    )


def test_show_prints_tables_and_draws(tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, *SMALL, "--width", "1,3", "--size", "40:120,80:300", "--out", path)
    code, out, err = call(capfd, "bench", "speed", "show", path, "--plot")
    assert (code, err) == (0, "")
    assert "ns per arc and step, by size" in out
    assert "…" not in out
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert f"wrote {tmp_path / 's.png'}" in out


def test_a_crowded_machine_is_told(tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, *SMALL, "--out", path)
    (record,) = held(path)
    for load, told in ((0.5, False), (record["environment"]["cores"] + 3.0, True)):
        records.Book(path).add({**record, "load": load})
        _, out, _ = call(capfd, "bench", "speed", "show", path)
        assert ("more ran than there are cores in 1 of 1 cases" in out) is told


def test_nothing_to_draw():
    from pathlib import Path

    with pytest.raises(InputError, match="plot: expected a measured case with a peer to draw"):
        plots.draw([], Path("x.png"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--size", "croa"], 1, "--size: expected one of .*did you mean 'cora'"),
        (["--size", "5:x"], 1, "--size: expected NODES:ARCS, got '5:x'"),
        (["--size", "5:7"], 1, "--arcs: expected an even number"),
        (["--size", "10:1000"], 1, "--arcs: expected an integer from 2 to 90, got 1000"),
        (["--nodes", "5"], 1, "--arcs: expected a number beside --nodes, got none"),
        (["--width", "0"], 1, "--width: expected an integer from 1 to"),
        (["--width", "a,b"], 1, "--width: expected integers separated by commas"),
        (["--threads", "4096"], 1, "--threads: expected an integer from 1 to"),
        (["--dtype", "int8"], 1, "--dtype: expected one of"),
        (["--degrees", "zipf"], 1, "--degrees: expected one of power-law, uniform"),
        (["--tier", "nativ"], 1, "--tier: expected one of"),
        (["--peers", "adm"], 1, "--peers: expected one of .*did you mean 'addmm'"),
        (["--rounds", "0"], 1, "--rounds: expected an integer from 1"),
        (["--rounds", "x"], 2, "--rounds"),
        (["--limit", "-1"], 1, "--limit: expected a number"),
        (["--seed", "-1"], 1, "--seed: expected an integer"),
        (["--steps", "0"], 1, "--steps: expected an integer"),
        (["--suite", "ful"], 1, "--suite: expected one of full, quick"),
        (["--plot", "a.xyz"], 1, "plot: expected a file name"),
    ],
)
def test_every_error_is_one_line(words, code, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    found, out, err = call(capfd, "bench", "speed", "propagate", *words)
    assert (found, out) == (code, "")
    assert re.fullmatch(r"graphnoise: error: .+\n", err), err
    assert re.search(message, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_one_clear_error(capfd):
    code, _, err = call(capfd, "bench", "speed", "propagate", "--device", "cuda")
    assert (code, err.count("\n")) == (1, 1)
    assert "--device: expected a device that is there, got 'cuda', and torch sees no CUDA device" in err


@pytest.mark.parametrize("text", ["not json", "[]", '{"format": 1}', '{"format": 9, "records": []}', "\xff"])
def test_another_file_is_refused_and_kept(text, tmp_path, capfd):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    code, _, err = call(capfd, *SMALL, "--out", path)
    assert (code, err.count("\n")) == (1, 1)
    assert str(path) in err
    assert path.read_bytes() == text.encode("latin-1")
    with pytest.raises(DataError):
        records.Book(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: [r.pop(name) for name in list(r) if name != "key"],
        lambda r: r.update(key=["a"]),
        lambda r: r.update(case=3),
        lambda r: r["case"].update(width="abc"),
        lambda r: r["case"].update(width=True),
        lambda r: r["case"].update(arcs=0),
        lambda r: r["case"].update(degrees="zipf"),
        lambda r: r["case"].pop("nodes"),
        lambda r: r.update(environment=None),
        lambda r: r["environment"].update(versions=[]),
        lambda r: r["environment"].update(cores="2"),
        lambda r: r.update(times={}),
        lambda r: r["times"]["addmm"].pop("ratio"),
        lambda r: r["times"]["ours"]["seconds"].update(median="fast"),
        lambda r: r.update(notes=["x"]),
        lambda r: r.update(bandwidth=1),
        lambda r: r.update(tier=None),
    ],
)
def test_damaged_records_are_one_clear_line(change, tmp_path, capfd):
    path = tmp_path / "s.json"
    call(capfd, *SMALL, "--peers", "addmm", "--out", path)
    (record,) = held(path)
    change(record)
    path.write_text(json.dumps({"format": 1, "records": [record]}))
    for words in (["bench", "speed", "show", path], [*SMALL, "--out", path]):
        code, out, err = call(capfd, *words)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"graphnoise: error: .+: expected .*speed records.+\n", err), err


def test_ctrl_c_before_the_first_case_names_no_file(monkeypatch, tmp_path, capfd):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure", stopped)
    code, _, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert code == 130
    assert "interrupted; nothing is recorded yet; again:" in err
    assert "stays in" not in err


class Ticking:
    """A clock that only moves when something is run."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def task(self, seconds):
        def run(steps):
            self.now += seconds * steps

        return run


def test_rounds_and_ratios_on_a_fake_clock():
    clock = Ticking()
    fast = measure.Contender("fast", clock.task(1e-3), 10, 1)
    slow = measure.Contender("slow", clock.task(0.5), 10, 1)
    for contender in (fast, slow):
        contender.warm(clock, 0.02)
    assert (fast.steps, fast.calls) == (10, 2)
    assert (slow.steps, slow.calls) == (1, 1)
    times = measure.interleave([fast, slow], 5, 0, clock)
    assert times["fast"] == pytest.approx([1e-3] * 5)
    assert measure.ratio(times["slow"], times["fast"]).median == pytest.approx(500)


def test_what_runs_before_a_call_is_not_measured():
    clock = Ticking()
    contender = measure.Contender("x", clock.task(1e-3), 1, 1, before=lambda: clock.task(7)(1))
    contender.warm(clock, 0.01)
    assert contender.sample(clock) == pytest.approx(1e-3)


def test_the_fastest_variant_is_found():
    clock = Ticking()
    tasks = {name: measure.Contender(name, clock.task(t), 5, 1) for name, t in (("a", 3e-3), ("b", 2e-3), ("c", 0.4))}
    assert measure.fastest(tasks, clock) == "b"
    assert measure.fastest({"c": tasks["c"]}, clock) == "c"
    assert tasks["c"].seconds == pytest.approx(0.4)  # warm, so that a limit can hold for it


def test_a_peer_beyond_the_limit_is_left_out(monkeypatch, tmp_path, capfd):
    right = peers.PEERS["scipy"].make

    def sleepy(problem):
        run = right(problem)["int32"]
        return {"int32": lambda steps: (time.sleep(0.02), run(steps))[1]}

    monkeypatch.setitem(peers.PEERS, "scipy", peers.Peer(sleepy))
    code, out, err = call(capfd, *SMALL, "--limit", "0.03", "--peers", "scipy", "--out", tmp_path / "s.json")
    assert code == 0, err
    assert "left out in 1 of 1 cases: scipy: takes longer than --limit 0.03 allows" in out


def test_every_round_has_every_contender_in_changing_order():
    order = []
    contenders = [measure.Contender(n, lambda steps, n=n: order.append(n), 1, 1) for n in "abc"]
    measure.interleave(contenders, 8, 0)
    rounds = [tuple(order[i : i + 3]) for i in range(0, 24, 3)]
    assert all(sorted(r) == list("abc") for r in rounds)
    assert len(set(rounds)) > 1


def test_quiet_gives_threads_back():
    before = torch.get_num_threads()
    with measure.quiet():
        torch.set_num_threads(before + 1)
        assert not gc.isenabled()
    assert gc.isenabled()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.50 s"), (0.0123, "12.3 ms"), (45e-6, "45.0 µs"), (3e-8, "0.03 µs"), (0.2504, "250 ms")],
)
def test_durations(seconds, text):
    shown = report.duration({"seconds": {"low": seconds, "median": seconds, "high": seconds}}).plain
    assert shown.startswith(text)


def test_ctrl_c_keeps_the_cases_and_prints_the_command_that_resumes(tmp_path):
    path = tmp_path / "s.json"
    words = [sys.executable, "-m", "graphnoise.cli", *SMALL, "--peers", "addmm", "--width", "1,2,3"]
    words += ["--out", str(path)]
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **heed)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "to go on:" in err
    assert f"--out {path}" in err
    assert "ours, a step" in out
    kept = len(held(path))
    assert 1 <= kept < 3
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"3 of 3 cases in {path} ({3 - kept} measured, {kept} recorded before" in done.stdout

"""Cases of propagation, and what must agree before anything is timed."""

import re

import pytest
import torch
from oracles import assert_close, dense, normalised
from speeds import SMALL, call, held

from graphnoise import propagation
from graphnoise.bench.speed import cases, gate, peers, run

pytestmark = pytest.mark.usefixtures("_brief")


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
    rowptr, col = peers.propagate_cpu.padded_rows(values.graph.arcs(torch.float32))
    assert col.numel() >= 4000 + peers.propagate_cpu.PADDING
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

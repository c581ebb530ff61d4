"""`bench speed propagate`: cases, and what must agree before anything is timed."""

import re
import time
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from oracles import assert_close, dense, normalised
from speeds import call, held, one_error

from graphnoise import Graph, propagation
from graphnoise.bench.speed import propagate
from graphnoise.bench.speed.harness import NotMeasurableError, VerificationError
from graphnoise.bench.speed.propagate import BASELINES, DEGREES, TOLERANCE, Baseline, Propagate, PropagateOptions
from graphnoise.errors import InputError

SMALL = ["propagate", "--size", "40:120", "--width", "3", "--threads", "1", "--rounds", "2"]


def case(**changes):
    (only,) = Propagate().cases(PropagateOptions(size=("40:120",), width=(3,), threads=(1,)))
    return {**only, **changes}


def test_cases_are_all_combinations():
    options = PropagateOptions(size=("pair", "40:120"), degrees=DEGREES, width=(1, 7), backward=(False, True))
    assert len(Propagate().cases(options)) == 16
    assert [propagate.read_size("size", text) for text in ("pair", "40:120")] == [(2, 2), (40, 120)]


@pytest.mark.parametrize("degrees", DEGREES)
def test_graphs_have_their_arcs_and_are_undirected(degrees):
    edge_index = propagate.draw_graph(60, 400, degrees, 3)
    A = dense(edge_index, 60)
    assert int(A.sum()) == 400
    assert torch.equal(A, A.t())
    assert float(A.max()) == 1
    propagate.draw_graph.cache_clear()
    assert torch.equal(edge_index, propagate.draw_graph(60, 400, degrees, 3))


@pytest.mark.parametrize("backward", [False, True])
def test_the_reference_is_the_dense_product_and_its_gradient(backward):
    generator = torch.Generator().manual_seed(7)
    # Directed, with self-loops, repeated arcs and isolated nodes.
    edge_index = torch.randint(0, 23, (2, 90), generator=generator)
    weight = torch.rand(90, dtype=torch.float64, generator=generator)
    values = propagate.problem(case(backward=backward), 0)
    values = replace(values, graph=Graph.from_edge_index(edge_index, 40, weight).normalise("sym"))
    S, start = normalised(dense(edge_index, 40, weight), "sym"), values.start.double().requires_grad_()
    y = start
    for _ in range(3):
        y = propagate.ALPHA * S @ y + (1 - propagate.ALPHA) * start
    expected = torch.autograd.grad(y, start, values.gradient.double())[0] if backward else y
    assert_close(torch.from_numpy(propagate.reference(values, 3, [0, 2])), expected[:, [0, 2]].detach())


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_computes_the_same(name, weighted, backward):
    baseline = BASELINES[name]
    for dtype in baseline.dtypes:
        here = case(weighted=weighted, dtype=dtype, backward=backward)
        if find_spec(baseline.package) is None or (backward and not baseline.gradient):
            with pytest.raises(NotMeasurableError, match=r"is not installed|has no gradient"):
                baseline.check(here, 120)
            continue
        baseline.check(here, 120)
        values = propagate.problem(here, 0)
        assert propagate.verify(name, values, baseline.make(values), 10, dtype) <= TOLERANCE[dtype]


def test_a_record_has_times_ratios_gaps_and_bandwidth(tmp_path, capfd):
    words = ["--backward", "no,yes", "--busy", "no,yes", "--weighted", "no,yes", "--baselines", "addmm"]
    code, out, err = call(capfd, *SMALL, *words, "--out", tmp_path / "s.json")
    assert code == 0, err
    assert "…" not in out
    records = held(tmp_path / "s.json")
    assert len(records) == 8
    for record in records:
        assert record["tier"] in ("native", "reference", "scatter")
        assert record["gaps"]["library"] <= 1e-5
        library, other = (record["times"][name] for name in ("library", "addmm"))
        each = [a / b for a, b in zip(other["samples"], library["samples"], strict=True)]
        assert min(each) <= other["ratio"]["median"] <= max(each)
        assert ("bandwidth" in record) is not record["case"]["backward"]


def test_what_cannot_take_part_is_left_out_with_a_note(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(BASELINES, "scatter", Baseline(propagate._scatter, package="no_such_package"))
    monkeypatch.setitem(BASELINES, "pyg", replace(BASELINES["pyg"], copies=10**12))
    words = [*SMALL, "--limit", "0.01", "--baselines", "scatter,pyg,scipy", "--out", tmp_path / "s.json"]
    slow = BASELINES["scipy"].make

    def sleepy(problem):
        run = slow(problem)["one thread"]
        return {"one thread": lambda steps: (time.sleep(0.05), run(steps))[1]}

    monkeypatch.setitem(BASELINES, "scipy", Baseline(sleepy))
    code, out, err = call(capfd, *words)
    assert code == 0, err
    assert "scatter: left out: no-such-package is not installed" in out
    assert "pyg: left out: does not fit into memory" in out
    assert "scipy: left out: takes longer than the limit allows" in out


def test_a_case_that_is_too_large_or_has_no_tier_is_skipped(monkeypatch, tmp_path, capfd):
    code, _, err = call(capfd, *SMALL, "--tier", "nativ", "--out", tmp_path / "s.json")
    assert (code, "tier: expected one of" in err) == (1, True)
    monkeypatch.setattr(propagate, "free_memory", lambda device: 1000)
    code, _, err = call(capfd, *SMALL, "--out", tmp_path / "s.json")
    assert (code, "needs about" in err) == (1, True)
    assert len(held(tmp_path / "s.json")) == 2


def broken(steps):
    raise RuntimeError("no\nmemory")


real = propagate.library


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda run, start: lambda steps: run(steps) * 1.01,
            r"library \(native\): expected values within 1e-05 of the",
        ),
        (lambda run, start: lambda steps: torch.full_like(start, torch.nan), "expected values within .+, got nan"),
        (lambda run, start: lambda steps: run(steps)[:-1], r"expected shape .+\[40, 3\]\), got .+\[39, 3\]"),
        (lambda run, start: broken, r"library: raises RuntimeError \(no\)"),
    ],
)
def test_a_wrong_result_is_not_timed(wrong, message, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(propagate, "library", lambda p, tier: (wrong(real(p, tier)[0], p.start), "native"))
    code, out, err = call(capfd, *SMALL, "--baselines", "none", "--out", tmp_path / "s.json")
    assert (code, "library" in out) == (1, False)
    assert re.search(message, err), err
    assert not (tmp_path / "s.json").exists()


def test_a_wrong_gradient_is_not_timed():
    values = propagate.problem(case(backward=True), 0)
    # As if the gradient were that of other weights.
    wrong = replace(values, gradient=values.gradient * 1.01)
    with pytest.raises(VerificationError, match="expected gradients within"):
        propagate.verify("library", values, {"x": real(wrong, "auto")[0]}, 10, "float32")


def test_a_wrong_baseline_is_not_timed(monkeypatch, tmp_path, capfd):
    monkeypatch.setitem(BASELINES, "addmm", Baseline(lambda problem: {"int64": lambda steps: problem.start}))
    code, out, err = call(capfd, *SMALL, "--baselines", "addmm,scipy", "--out", tmp_path / "s.json")
    assert code == 1
    assert "addmm (int64): expected values within" in err
    header = next(line for line in out.splitlines() if line.startswith("width"))
    assert ("scipy" in header, "addmm" in header) == (True, False)
    (record,) = held(tmp_path / "s.json")
    assert "addmm" not in record["times"]


@pytest.mark.parametrize("width", [1, 7, 40])
def test_the_gather_reads_padded_columns_and_values_in_large_pages(width, monkeypatch):
    values, arrays = propagate.problem(case(size="300:4000", width=width), 0), []
    with monkeypatch.context() as patch:
        patch.setattr(propagate._native, "gather_floor", lambda *words: arrays.append(words))
        propagate.gather(values, 1)(2)
    rowptr, col = propagate.propagate_cpu.padded_rows(values.graph.arcs(torch.float32))
    assert col.numel() >= 4000 + propagate.propagate_cpu.PADDING
    assert {entry[:2] for entry in arrays} == {(rowptr.data_ptr(), col.data_ptr())}
    assert values.start.data_ptr() not in {entry[2] for entry in arrays}
    assert propagate.gather(values, 1)(1).shape == (300,)


def test_a_gather_over_other_values_is_refused(monkeypatch):
    values, right = propagate.problem(case(), 0), propagation.propagate
    monkeypatch.setattr(propagation, "propagate", lambda graph, y, **options: right(graph, y + 1, **options))
    with pytest.raises(VerificationError, match="alpha 0"):
        propagate.gather(values, 1)


def test_the_operator_before_a_run_is_not_timed(monkeypatch):
    now = [0.0]

    def take(seconds):
        now[0] += seconds

    monkeypatch.setattr(propagate, "timer", lambda: now[0])
    monkeypatch.setattr(torch, "mul", lambda *values, out: take(7))
    assert propagate.after_torch(lambda steps: take(1e-3 * steps), "cpu")(10) == pytest.approx(1e-2)
    assert now == [pytest.approx(7.01)]


def test_bytes_of_a_step():
    # 20 arcs with an end and a row; 3 nodes with Y0, result and end; and two scales per node, or a weight per arc.
    assert propagate.traffic(3, 20, 7, 4, False) == 20 * 32 + 3 * 64 + 24
    assert propagate.traffic(3, 20, 7, 8, True) == 20 * 60 + 3 * 120 + 160
    assert propagate.traffic(3, 20, 7, 2, True) == 20 * 18 + 3 * 36 + 80


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_one_clear_error(capfd):
    code, _, err = call(capfd, "propagate", "--device", "cuda")
    assert (code, one_error(err)) == (1, True)
    assert "device: expected a device that is there, got 'cuda', and torch sees no CUDA device" in err


def test_cpu_time_is_that_of_one_thread():
    options = PropagateOptions(size=("pair",), clock="cpu", threads=(2,))
    with pytest.raises(InputError, match="clock: expected wall"):
        Propagate().cases(options)
    assert len(Propagate().cases(options.model_copy(update={"threads": (1,)}))) == 2

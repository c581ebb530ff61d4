"""`graphnoise bench speed recommend`: what is checked, what is recorded, what is refused. No time is judged."""

import json
import sys

import numpy as np
import pytest

from graphnoise.cli.main import main
from recsys.bench.speed import cases, gate, report, run
from recsys.bench.speed.cases import Case, contenders, from_dict, matrix, to_dict
from recsys.kernels import sgd
from recsys.kernels.negatives import Known

SMALL = ["--users", "80", "--items", "60", "--interactions", "700", "--factors", "8", "--rounds", "2", "--seeds", "0"]


def call(*words):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "speed", *words])
    return stop.value.code


def test_matrices_have_their_size_and_shape():
    M = matrix(Case(300, 200, 5_000))
    assert M.nnz == 5_000
    assert M.has_canonical_format
    count = np.bincount(M.indices, minlength=200)
    assert count[:20].mean() > 3 * count[-20:].mean()


def test_everybody_draws_as_many_samples_as_there_are_pairs():
    case = Case(80, 60, 700, 8)
    everybody = contenders(case, matrix(case))
    assert set(everybody) == {cases.PEER, *cases.RUNS, *cases.DRAWS}
    for name, epoch in everybody.items():
        seconds, drawn = epoch()
        assert seconds > 0
        assert drawn == (8_000_000 if name in cases.DRAWS else 700)


def test_records_and_tables(tmp_path, capsys):
    record = tmp_path / "speed.json"
    words = [
        "recommend",
        *SMALL,
        "--threads",
        "1,2",
        "--run",
        "bpr, lock-free; nbpo, deterministic",
        "--out",
        str(record),
    ]
    assert call(*words) == 0
    out = capsys.readouterr().out
    assert "80 users × 60 items, 700 pairs, 8 factors, 2 threads" in out
    held = report.read(record)
    assert [entry["case"]["threads"] for entry in held] == [1, 2]
    assert set(held[0]["ratio"]) == {"bpr, lock-free", "nbpo, deterministic"}
    assert all(len(values) == 2 for values in held[0]["samples"].values())
    assert call("show", str(record)) == 0
    assert "over implicit" in capsys.readouterr().out
    assert from_dict(held[0]["case"]) == from_dict(to_dict(from_dict(held[0]["case"])))
    assert call(*words) == 0  # measured again on the same code: replaced
    assert len(report.read(record)) == 2

    damaged = json.loads(record.read_text())
    damaged["records"][0]["rates"]["implicit"]["median"] = "fast"
    record.write_text(json.dumps(damaged))
    capsys.readouterr()
    assert call("show", str(record)) == 1
    assert "record 1 is damaged" in capsys.readouterr().err


def test_without_the_peer_the_rest_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.bpr", None)
    kept = []
    run.measure([Case(80, 60, 700, 8, runs=("bpr, lock-free",))], run.Protocol(1, 0), lambda text: None, kept.append)
    assert kept[0]["ratio"] == {}
    assert cases.PEER not in kept[0]["rates"]
    assert any("implicit is not installed" in str(part) for part in report.render(kept))


def test_the_gate_sees_wrong_steps(monkeypatch, capsys, tmp_path):
    assert gate.steps() < gate.TOLERANCE
    right = sgd.lock_free

    def wrong(rule, factors, *rest, **how):
        count = right(rule, factors, *rest, **how)
        factors.user[0, 0] += 0.01
        return count

    monkeypatch.setattr(sgd, "lock_free", wrong)
    with pytest.raises(gate.GateError, match="bpr, lock-free: expected the reference's steps"):
        gate.steps()
    assert call("recommend", *SMALL, "--threads", "1", "--out", str(tmp_path / "a.json")) == 1
    assert "nothing was timed" in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()


def test_the_gate_sees_known_negatives(monkeypatch):
    known = Known.of(matrix(Case(80, 60, 700)))
    assert gate.negatives(known, 0) == 2 * 5 * 20 * 80
    monkeypatch.setattr(
        gate, "draw", lambda known, users, each, *rest, **how: np.resize(known.col[:1], (len(users), each))
    )
    with pytest.raises(gate.GateError, match="negatives: expected none that is known"):
        gate.negatives(known, 0)


def test_the_gate_sees_lower_quality():
    peer = np.array([0.2, 0.201, 0.199])
    gate._compare("lock-free", peer * 0.995, peer)
    with pytest.raises(gate.GateError, match="lock-free: expected NDCG@20 of at least"):
        gate._compare("lock-free", peer * 0.97, peer)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "bprs"], "run: expected one of bpr, lock-free; bpr, deterministic; bpo, lock-free;"),
        (["--users", "0"], "users: expected an integer of at least 1"),
        (["--interactions", "999999999"], "interactions: expected at most half"),
        (["--threads", "x"], "--threads"),
        (["--rounds", "0"], "rounds: expected an integer of at least 1"),
    ],
)
def test_bad_options_are_one_line(words, said, capsys, tmp_path):
    assert call("recommend", *words, "--out", str(tmp_path / "a.json")) != 0
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1

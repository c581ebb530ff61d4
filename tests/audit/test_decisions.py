import os

import numpy as np
import pandas
import pytest
from audit.audits import NAMES, audit, data, named, noisy

import graphnoise as gn
from graphnoise import DataError, InputError
from graphnoise.audit.decisions import read_decisions, record_decisions


def truths(nodes):
    """Decisions of a reviewer who is always right."""
    return pandas.DataFrame({"node": nodes, "decision": data().y.numpy()[nodes]})


def test_decided_labels_are_known_and_the_rest_follows():
    looked = audit().review(25)["node"].to_numpy()
    after = audit().with_decisions(truths(looked))
    assert (after.decided[looked] == data().y.numpy()[looked]).all()
    assert (after.decided >= 0).sum() == 25
    right = noisy().numpy()[looked] == data().y.numpy()[looked]
    assert (after.credibility[looked] == right).all()
    assert (after.posterior.probability[looked] == np.eye(3)[data().y.numpy()[looked]]).all()
    assert (after.corrected().numpy()[looked] == data().y.numpy()[looked]).all()
    assert not set(after.review(120)["node"]) & set(looked)
    assert not set(after.suspects(0.3)["node"]) & set(looked)
    # The audit before is as it was, and the test is that of the given labels.
    assert (audit().decided == -1).all()
    assert after.test == audit().test
    frame = after.to_frame()
    assert len(frame) == 120
    assert frame["decision"].notna().sum() == 25
    assert frame["credibility"].is_monotonic_increasing
    assert "decided: 25 labels" in after.report()


def test_decisions_move_rate_and_matrix():
    # A reviewer who finds every looked-at label of class 0 to be wrong, and to be of class 1.
    given_zero = np.flatnonzero(noisy().numpy() == 0)
    after = audit().with_decisions(pandas.DataFrame({"node": given_zero, "label": [1] * len(given_zero)}))
    before, matrix = (a.posterior.transition.matrix.numpy() for a in (audit(), after))
    assert matrix[1, 0] > before[1, 0] + 0.2
    assert matrix[0, 0] < before[0, 0]
    assert after.estimate.rate.value > audit().estimate.rate.value + 0.1
    # All labels are decided: the rate is counted.
    every = audit().with_decisions(truths(np.arange(120)))
    assert every.estimate.rate.value == pytest.approx(float((noisy() != data().y).double().mean()))
    assert len(every.suspects(1.0)) == len(every.review(9)) == 0
    assert (every.corrected() == data().y).all()


def test_later_decisions_count_and_earlier_ones_stay():
    table = pandas.DataFrame({"node": [5, 5, 7, 9], "decision": [0, 1, "", None]})
    first = audit().with_decisions(table)
    assert first.decided[5] == 1
    assert (first.decided >= 0).sum() == 1
    second = first.with_decisions(pandas.DataFrame({"node": [7], "decision": [2]}))
    assert (second.decided[5], second.decided[7]) == (1, 2)


def test_files_of_decisions(tmp_path):
    result = named()
    suspects = result.suspects()
    names = NAMES[data().y.numpy()[suspects.index]]
    suspects.assign(decision=names).to_csv(tmp_path / "suspects.csv", index=False)
    after = result.with_decisions(tmp_path / "suspects.csv")
    assert (after.corrected()[suspects.index] == names).all()
    suspects.assign(decision=names).to_parquet(tmp_path / "suspects.parquet")
    assert (result.with_decisions(tmp_path / "suspects.parquet").decided == after.decided).all()
    # A node without a label may be decided.
    other = result.with_decisions(pandas.DataFrame({"node": ["n0"], "decision": ["cat"]}))
    assert other.corrected()[0] == "cat"
    assert len(other.to_frame()) == 109


def test_no_decision_is_no_change(tmp_path):
    (tmp_path / "none.csv").write_text("node,given,decision\n")
    after = audit().with_decisions(tmp_path / "none.csv")
    pandas.testing.assert_frame_equal(after.to_frame(), audit().to_frame())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node,decision\nn500,cat\n", "decisions: expected nodes of the graph, got 'n500'"),
        ("node,decision\nn1,dog\n", r"decisions: expected classes \(ant, bee, cat\), got 'dog'"),
        ("node,given,decision\nn1,dog,cat\n", "the given label of node n1, got 'dog', while .*another graph"),
        ("a,b\n1,2\n", r"the columns node and decision \(or label\), got 'a', 'b'"),
    ],
)
def test_files_of_another_graph(tmp_path, text, message):
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        named().with_decisions(path)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name in ("empty.csv", "absent.csv"):
        with pytest.raises(DataError, match=name):
            audit().with_decisions(tmp_path / name)
    with pytest.raises(InputError, match="decisions: expected a path, got 3"):
        audit().with_decisions(3)


def test_recorded_decisions_are_never_lost(tmp_path):
    path, result = tmp_path / "folder" / "decisions.csv", named()

    def record(rows):
        table = read_decisions("d", pandas.DataFrame(rows, columns=["node", "decision"]), result.posterior)
        return record_decisions(path, table)

    assert len(record([("n1", "cat"), ("n2", "ant")])) == 2
    stored = path.read_text()
    assert record([("n2", "ant")]).equals(pandas.read_csv(path, dtype=str))
    assert path.read_text() == stored
    record([("n2", "bee"), ("n3", "cat"), ("n3", "cat")])
    assert path.read_text().startswith(stored)
    table = pandas.read_csv(path)
    assert table[["node", "decision"]].to_numpy().tolist() == [
        ["n1", "cat"], ["n2", "ant"], ["n2", "bee"], ["n3", "cat"]
    ]  # fmt: skip
    assert result.with_decisions(path).decided[2] == 1
    # Back to an earlier decision: it is one more.
    assert len(record([("n2", "ant")])) == 5
    assert os.listdir(path.parent) == ["decisions.csv"]


def test_integer_names_stay_names():
    graph = gn.Graph.from_edge_index(data().edge_index, 120, names=[1000 + i for i in range(120)])
    result = gn.Audit(graph, noisy(), data().x)
    after = result.with_decisions(pandas.DataFrame({"node": [1003.0], "decision": [2.0]}))
    assert after.decided[3] == 2
    with pytest.raises(InputError, match="nodes of the graph"):
        result.with_decisions(pandas.DataFrame({"node": [3], "decision": [2]}))


def test_names_that_a_table_writes_otherwise():
    names, given = [float(i) for i in range(120)], [f" {name} " for name in NAMES[noisy().numpy()]]
    written = gn.Audit(gn.Graph.from_edge_index(data().edge_index, 120, names=names), given)
    looked = written.review(3)
    after = written.with_decisions(looked.assign(decision=looked["given"]))
    assert (after.decided[looked.index] == noisy().numpy()[looked.index]).all()
    twice = gn.Audit(gn.Graph.from_edge_index(data().edge_index, 120, names=[1, "1", *range(2, 120)]), noisy())
    assert (twice.with_decisions(pandas.DataFrame({"node": [2], "decision": [0]})).decided >= 0).sum() == 1
    with pytest.raises(InputError, match="expected nodes of the graph, got '1'"):
        twice.with_decisions(pandas.DataFrame({"node": [1], "decision": [0]}))

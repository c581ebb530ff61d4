"""What native kernels read is checked when it is made by hand, unpickled or copied."""

import copy
import pickle

import networkx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphnoise import Graph, InputError, nn, propagate
from graphnoise.clustering import (
    DiffusionBatch,
    UndirectedGraph,
    approximate_pagerank,
    as_undirected,
    diffuse_many,
    sweep_many,
)
from graphnoise.datasets import safe
from graphnoise.kernels.arcs import Arcs
from graphnoise.kernels.propagate import cpu
from graphnoise.nn.sparse import Pattern
from graphnoise.noise import flip_interactions
from recsys import MatrixFactorization, Popularity, TwoTower
from recsys.kernels.negatives import Alias, Known
from recsys.kernels.pairs import Groups, scores
from recsys.objectives import BPR, Derivatives
from recsys.samplers import Uniform, false_negatives

PATH = [[0, 1, 1, 2], [1, 0, 2, 1]]
CLICKS = sp.csr_array([[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1]])


def weighted():
    graph = networkx.Graph()
    graph.add_weighted_edges_from([("a", "b", 2.0), ("b", "c", 0.5), ("c", "c", 1.0)])
    return as_undirected(graph)


def batch():
    return diffuse_many(as_undirected(PATH), [0, [1, 2]], "pagerank")


# A valid object, a field, a wrong value, and what the message says.
BAD = [
    (weighted, "rowptr", lambda x: x.astype(np.int32), "rowptr: expected a NumPy array of type int64"),
    (weighted, "rowptr", lambda x: x[::-1].copy(), "rowptr: expected entries from 0 to 5"),
    (weighted, "rowptr", lambda x: x + np.array([0, 5, -1, 0]), "rowptr: expected entries that do not decrease"),
    (weighted, "col", lambda x: x.astype(np.int64), "col: expected a NumPy array of type int32"),
    (weighted, "col", lambda x: x + 1, "col: expected positions from 0 to 2"),
    (weighted, "col", lambda x: x - 1, "col: expected positions from 0 to 2"),
    (weighted, "col", lambda x: np.zeros_like(x), "expected an undirected graph"),
    (weighted, "col", lambda x: x.tolist(), "col: expected a NumPy array"),
    (weighted, "weight", lambda x: -x, "weight: expected finite weights above 0"),
    (weighted, "weight", lambda x: x * np.nan, "weight: expected finite weights above 0"),
    (weighted, "weight", lambda x: x[1:], "weight: expected a NumPy array"),
    (weighted, "weight", lambda x: np.arange(1.0, 6.0), "expected an undirected graph"),
    (weighted, "degree", lambda x: x[:-1], "degree: expected a NumPy array"),
    (weighted, "degree", lambda x: x + 1, "degree: expected the sum of the weights"),
    (weighted, "volume", lambda x: x + 1, "volume: expected the sum of all degrees"),
    (weighted, "names", lambda x: x[1:], "names: expected 3 distinct names"),
    (weighted, "position", lambda x: dict.fromkeys(x, 10**9), "names: expected 3 distinct names"),
    (weighted, "position", lambda x: None, "names: expected 3 distinct names"),
    (batch, "begin", lambda x: np.array([0, 10**12, 3]), "begin: expected entries from 0 to 3"),
    (batch, "begin", lambda x: np.array([0, -5, 3]), "begin: expected entries from 0 to 3"),
    (batch, "begin", lambda x: range(10**12), "begin: expected a NumPy array"),
    (batch, "seeds", lambda x: x + 10**9, "seeds: expected nodes from 0 to 2"),
    (batch, "seeds", lambda x: x - 1, "seeds: expected nodes from 0 to 2"),
    (batch, "values", lambda x: x.toarray(), "values: expected a SciPy CSR array"),
    (batch, "values", lambda x: sp.csr_array((x.data, x.indices[::-1], x.indptr)), "values: expected distinct nodes"),
    (batch, "status", lambda x: list(x), "status: expected an array of 2 texts"),
    (batch, "pushes", lambda x: x[1:], "pushes: expected a NumPy array"),
    (batch, "names", lambda x: ["a"], "names: expected a list of 3 names"),
    (lambda: Known.of(CLICKS), "rowptr", lambda x: x * 10**6, "rowptr: expected entries from 0 to 5"),
    (lambda: Known.of(CLICKS), "col", lambda x: x + 10**6, "col: expected items from 0 to 3"),
    (lambda: Known.of(CLICKS), "col", lambda x: x[::-1].copy(), "col: expected items from 0 to 3"),
    (lambda: Known.of(CLICKS), "num_items", lambda x: 1, "col: expected items from 0 to 0"),
    (lambda: Known.of(CLICKS), "bits", lambda x: x[:1], "bits: expected one bit for each pair"),
    (lambda: Alias.of([1.0, 3.0]), "columns", lambda x: x[:1], "columns: expected a NumPy array"),
    (lambda: Alias.of([1.0, 3.0]), "columns", lambda x: x[::-1].copy(), r"columns: expected those of Alias\.of"),
    (lambda: Groups.of(np.array([2, 0, 2], np.int32), 3), "order", lambda x: x + 5, "order: expected each entry once"),
    (lambda: Groups.of(np.array([2, 0, 2], np.int32), 3), "start", lambda x: x * 9, "start: expected entries from 0"),
    (lambda: nn.Block.full(Graph.from_edge_index(torch.tensor(PATH))).pattern, "col", lambda x: x + 9, "col: expected"),
    (lambda: nn.Block.full(Graph.from_edge_index(torch.tensor(PATH))).pattern, "order", lambda x: x + 9, "order: exp"),
    (lambda: nn.Block.full(Graph.from_edge_index(torch.tensor(PATH))).pattern, "shape", lambda x: (9, 9), "shape: exp"),
    (lambda: nn.Block.full(Graph.from_edge_index(torch.tensor(PATH))), "pattern", lambda x: None, "pattern: expected"),
    (lambda: nn.Block.full(Graph.from_edge_index(torch.tensor(PATH))), "value", lambda x: x[1:], "value: expected"),
]


@pytest.mark.parametrize(("make", "name", "change", "message"), BAD)
def test_wrong_fields_are_named(make, name, change, message):
    valid = make()
    fields = {key: getattr(valid, key) for key in valid.__dataclass_fields__}
    wrong = fields | {name: change(fields[name])}
    type(valid)(**fields)
    with pytest.raises(InputError, match=message):
        type(valid)(**wrong)
    # As a pickle made by hand, or of an object changed by force.
    unpickled = object.__new__(type(valid))
    with pytest.raises(InputError, match=message):
        unpickled.__setstate__(wrong)


@pytest.mark.parametrize("make", dict.fromkeys(case[0] for case in BAD))
def test_pickles_and_copies_are_whole(make):
    valid = make()
    for again in (pickle.loads(pickle.dumps(valid)), copy.copy(valid), copy.deepcopy(valid)):
        for name in valid.__dataclass_fields__:
            first, second = (getattr(x, name) for x in (valid, again))
            if isinstance(first, np.ndarray | torch.Tensor):
                assert (first == second).all()
                assert not isinstance(second, np.ndarray) or name in ("bits", "status") or not second.flags.writeable
    with pytest.raises(InputError, match="expected a state with"):
        object.__new__(type(valid)).__setstate__({})


def test_fields_of_other_layouts_give_the_same_results():
    valid = weighted()
    fields = {key: getattr(valid, key) for key in valid.__dataclass_fields__}
    arrays = {key: np.stack([x, x], -1)[..., 0] for key, x in fields.items() if isinstance(x, np.ndarray)}
    other = UndirectedGraph(**(fields | arrays))
    for labels in (None, [1, 0, 1]):
        first, second = (approximate_pagerank(graph, "a", labels=labels) for graph in (valid, other))
        np.testing.assert_array_equal(first.values, second.values)


def test_repeated_arcs_and_other_orders_stay_undirected():
    # Two arcs of weight 1 in one direction are one of weight 2 in the other.
    rowptr, col = np.array([0, 2, 3]), np.array([1, 1, 0], np.int32)
    graph = UndirectedGraph(rowptr, col, np.array([1.0, 1.0, 2.0]), np.array([2.0, 2.0]), 4.0)
    assert approximate_pagerank(graph, 0).values.sum() == pytest.approx(1, abs=1e-3)


def test_a_batch_changed_by_hand_does_not_hang():
    valid = batch()
    fields = {key: getattr(valid, key) for key in valid.__dataclass_fields__}
    same = sweep_many(as_undirected(PATH), DiffusionBatch(**fields), labels=[1, 1, 0])
    assert [x.nodes.tolist() for x in same] == [
        x.nodes.tolist() for x in sweep_many(as_undirected(PATH), valid, labels=[1, 1, 0])
    ]


def test_sparse_features_are_made_again():
    features = nn.SparseFeatures(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
    for again in (pickle.loads(pickle.dumps(features)), copy.deepcopy(features)):
        assert torch.equal(again @ torch.ones(2, 3), features @ torch.ones(2, 3))
    with pytest.raises(InputError, match=r"value: expected shape \(1,\)"):
        nn.SparseFeatures._of(features.pattern, torch.ones(5))
    with pytest.raises(InputError, match="rowptr: expected"):
        Pattern(torch.tensor([0, 9]), *(getattr(features.pattern, k) for k in ("col", "colptr", "order")), None, (1, 2))


def test_arcs_out_of_range_never_reach_the_kernel():
    graph = Graph.from_edge_index(torch.tensor(PATH))
    y = torch.eye(3)
    for arcs in (
        Arcs(graph.rowptr, graph.col + 10**6),
        Arcs(graph.rowptr * 10**6, graph.col),
        Arcs(graph.rowptr.flip(0), graph.col),
    ):
        with pytest.raises(InputError, match=r"(rowptr|col): expected"):
            cpu.run(arcs, y, y, None, 0.5, 0.5, 1, None, None)
    propagate(graph, y, alpha=0.5, num_steps=1)
    graph.col[0] = 10**6
    with pytest.raises(InputError, match=r"graph: expected arrays as they were when it was made .* got a changed col"):
        propagate(graph, y, alpha=0.5, num_steps=1)


class Own(Uniform):
    """A sampler with a result of its own."""

    name = "own"
    result: object = None

    def sample(self, users, k, rng, items=None):
        return self.result(users, k) if callable(self.result) else self.result


RESULTS = [
    (lambda users, k: np.full((len(users), k), 10**8), "own.sample: expected items from 0 to 3, or -1, got values"),
    (lambda users, k: np.full((len(users), k), 4), "own.sample: expected items from 0 to 3, or -1, got values from 4"),
    (lambda users, k: np.full((len(users), k), -2), "own.sample: expected items from 0 to 3, or -1"),
    (lambda users, k: np.full((len(users), k), 2**40), "own.sample: expected items from 0 to 3, or -1"),
    (lambda users, k: np.zeros((len(users), k)), "own.sample: expected an integer array of shape"),
    (lambda users, k: np.zeros((1, k), int), "own.sample: expected an integer array of shape"),
    (lambda users, k: np.zeros(len(users), int), "own.sample: expected an integer array of shape"),
    (lambda users, k: [[0]] * len(users), "own.sample: expected an integer array of shape"),
    (None, "own.sample: expected an integer array of shape"),
]


@pytest.mark.parametrize(("result", "message"), RESULTS)
def test_draws_of_a_sampler_are_checked(result, message):
    sampler = Own()
    sampler.result = result
    with pytest.raises(InputError, match=message):
        MatrixFactorization(4, sampler=sampler, iterations=1).fit(CLICKS, False)
    with pytest.raises(InputError, match=message):
        TwoTower(4, (4,), sampler=sampler, num_negatives=1, iterations=1).fit(CLICKS, False)
    with pytest.raises(InputError, match=message):
        false_negatives(sampler.fit(CLICKS), sp.csr_array(1 - CLICKS.toarray()))


def test_other_types_of_integers_are_taken():
    models = []
    for dtype in (np.int32, np.uint8, np.int64):
        sampler = Own()
        sampler.result = lambda users, k, dtype=dtype: np.full((len(users), k), 3, dtype)
        models.append(MatrixFactorization(4, sampler=sampler, iterations=2).fit(CLICKS, False).user_factors)
    np.testing.assert_array_equal(models[0], models[1])
    np.testing.assert_array_equal(models[0], models[2])


def test_what_else_a_sampler_or_an_objective_gives_is_checked():
    class Weights(Uniform):
        name = "weights"
        weights = np.ones(1)

    class Other(Uniform):
        name = "other"

        @property
        def known(self):
            return Known.of(sp.csr_array(np.eye(9)))

    class Asks(Uniform):
        needs_scores = True

        def _draw(self, users, k, rng, items):
            return self._scores(users, np.full((len(users), k), 10**8, np.int32))

    class Short(BPR):
        def _derivatives(self, p):
            slopes = super()._derivatives(p)
            return Derivatives(slopes.positive[:1], slopes.negative[:1])

    for settings, message in (
        ({"sampler": Weights()}, r"weights\.weights: expected an array of numbers of shape"),
        ({"sampler": Other()}, r"other\.known: expected a Known of 3 users and 4 items"),
        ({"sampler": Asks()}, "items: expected positions below 4"),
        ({"objective": Short()}, r"objective: expected derivatives of shape \(5, 1\)"),
    ):
        with pytest.raises(InputError, match=message):
            MatrixFactorization(4, iterations=1, **settings).fit(CLICKS, False)


def test_scores_refuse_rows_that_the_tables_do_not_have():
    table, users = np.ones((2, 2), np.float32), np.zeros(1, np.int32)
    assert scores(table, table, users, np.array([[1, -1]], np.int32)).tolist() == [[2.0, 0.0]]
    with pytest.raises(InputError, match="items: expected positions below 2"):
        scores(table, table, users, np.array([[2]], np.int32))
    with pytest.raises(InputError, match="users: expected positions below 2"):
        scores(table, table, users - 1, np.array([[1]], np.int32))
    with pytest.raises(InputError, match="items: expected users of shape"):
        scores(table, table, users, np.zeros((2, 1), np.int32))


def test_row_pointers_of_matrices_without_entries():
    # SciPy accepts these, and reads beyond its arrays.
    empty = np.zeros(0), np.zeros(0, np.int32), np.array([0, 1, 0], np.int32)
    broken = sp.csr_array((2, 2))
    broken.data, broken.indices, broken.indptr = empty
    with pytest.raises(ValueError, match="non-decreasing"):
        safe.csr(*empty, (2, 2))
    for call in (Graph.from_scipy, Popularity().fit, lambda m: flip_interactions(m, 0.1, 0.1, seed=0)):
        with pytest.raises(InputError, match="index pointer values must form a non-decreasing sequence"):
            call(broken)

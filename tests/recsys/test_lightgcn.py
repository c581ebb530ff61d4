"""LightGCN: propagation against dense products and torch_geometric, steps against autograd, conventions, bad input."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_recommenders import (
    HELD,
    TRAIN,
    a_file_brings_the_model_back,
    ctrl_c_keeps_the_last_whole_epoch,
    ndcg,
    same,
    validation_chooses_the_epoch,
)

from graphnoise.errors import InputError
from recsys.models.lightgcn import LightGCN, LightGCNNetwork, _Smooth, bipartite
from recsys.objectives import DeCA, NonNegativePU, TruncatedCE
from recsys.samplers import SAMPLERS, Uniform


def model(objective="bpr", **changes):
    arguments = {"iterations": 10, "learning_rate": 0.01, "num_threads": 1, "batch_size": 64, "random_state": 3}
    return LightGCN(8, 2, objective, **{**arguments, **changes})


def dense(X, layers):
    """Return the mean of the powers of D^-1/2 A D^-1/2, from its definition."""
    m, n = X.shape
    A = np.zeros((m + n, m + n))
    A[:m, m:], A[m:, :m] = X, X.T
    degree = A.sum(1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros(m + n), where=degree > 0)
    S = scale[:, None] * A * scale
    return sum(np.linalg.matrix_power(S, k) for k in range(layers + 1)) / (layers + 1)


@pytest.mark.parametrize("layers", [0, 1, 2, 3, 6])
def test_propagation_is_the_mean_of_dense_powers(layers):
    X = (np.random.default_rng(1).random((11, 7)) < 0.3).astype(float)
    # A user and an item without clicks.
    X[4], X[:, 2] = 0, 0
    M = dense(X, layers)
    graph = bipartite(sp.csr_array(X)).normalise("sym")
    x = torch.randn(18, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = _Smooth.apply(x, graph, layers, 2)
    np.testing.assert_allclose(y.detach().numpy(), M @ x.detach().numpy(), atol=1e-14)
    weight = torch.randn(18, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (y * weight).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), M.T @ weight.numpy(), atol=1e-14)


def test_vectors_are_those_of_torch_geometric():
    from torch_geometric.nn.models import LightGCN as Theirs

    learned = model().fit(TRAIN, False)
    network = LightGCNNetwork(TRAIN, 8, 2, 0.1, 1, {}, np.random.default_rng(0))
    network.prepare()
    theirs = Theirs(160, 8, 2)
    theirs.embedding.weight = network.embeddings
    users, items = (torch.from_numpy(x.astype(np.int64)) for x in TRAIN.nonzero())
    arcs = torch.stack([torch.cat([users, items + 90]), torch.cat([items + 90, users])])
    torch.testing.assert_close(network._table, theirs.get_embedding(arcs), atol=1e-6, rtol=1e-5)
    assert learned.user_factors.shape == (90, 8)


@pytest.mark.parametrize("negatives", [1, 3])
def test_steps_are_those_of_dense_autograd(negatives):
    """Two epochs of BPR with L2 and Adam, written down plainly on the dense matrix."""
    learned = model(iterations=2, num_negatives=negatives, regularization=0.05).fit(TRAIN, False)
    M = torch.from_numpy(dense(TRAIN.toarray(), 2)).float()
    rng = np.random.default_rng(3)
    E = torch.nn.Parameter(torch.from_numpy((0.1 * rng.standard_normal((160, 8))).astype(np.float32)))
    adam, sampler = torch.optim.Adam([E], lr=0.01), Uniform().fit(TRAIN)
    pairs = np.stack(TRAIN.nonzero(), 1).astype(np.int32)
    for _ in range(2):
        order = rng.permutation(len(pairs))
        for begin in range(0, len(order), 64):
            u, i = pairs[order[begin : begin + 64]].T
            j = sampler.sample(u, negatives, rng, items=i)
            e = M @ E
            margin = (e[u] * e[90 + i]).sum(1)[:, None] - (e[u][:, None] * e[90 + j]).sum(-1)
            squares = (E[u] ** 2).sum() + (E[90 + i] ** 2).sum() + (E[90 + j] ** 2).sum()
            loss = (torch.nn.functional.softplus(-margin).sum() + 0.5 * 0.05 * squares) / len(u)
            adam.zero_grad()
            loss.backward()
            adam.step()
    e = (M @ E).detach().numpy()
    np.testing.assert_allclose(learned.user_factors, e[:90], atol=2e-4)
    np.testing.assert_allclose(learned.item_factors, e[90:], atol=2e-4)


OBJECTIVES = [
    "bpr",
    "bpo",
    "nbpo",
    "nbpo-o",
    "r-ce",
    "softmax",
    "ubpr",
    DeCA(c1=10.0),
    NonNegativePU(0.1),
    TruncatedCE(ramp=20),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_every_kind_of_objective_learns(objective):
    learned = model(objective, num_negatives=2, iterations=15).fit(TRAIN, False)
    # Random: .08.
    assert ndcg(learned) > 0.17


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_learns(name):
    small = {"dns-mn": {"candidates": 10}, "srns": {"pool": 30}, "adasir": {"candidates": 30}}
    objective = "warp" if name == "warp" else "bpr"
    learned = model(objective, sampler={"name": name, **small.get(name, {})}, iterations=10).fit(TRAIN, False)
    assert ndcg(learned) > 0.15


def test_no_bit_depends_on_threads_and_a_seed_repeats_itself():
    X = sp.random_array((700, 300), density=0.05, format="csr", rng=1)
    one, two = (model(num_threads=k, iterations=2, batch_size=4096, num_negatives=9).fit(X, False) for k in (1, 2))
    before = torch.get_num_threads()
    assert same(one, two)
    assert torch.get_num_threads() == before
    torch.set_num_threads(1)
    assert same(one, model(num_threads=2, iterations=2, batch_size=4096, num_negatives=9).fit(X, False))
    torch.set_num_threads(before)
    other = model(iterations=2, batch_size=4096, num_negatives=9, random_state=4).fit(X, False)
    assert not same(one, other)


def test_ctrl_c_keeps_the_last_whole_epoch(monkeypatch):
    ctrl_c_keeps_the_last_whole_epoch(model, monkeypatch)


def test_validation_chooses_the_epoch():
    validation_chooses_the_epoch(lambda **given: model(learning_rate=0.1, **given))


def test_a_file_brings_the_model_back(tmp_path):
    learned = model(DeCA(c1=10.0), sampler={"name": "popularity", "power": 0.5}, iterations=2).fit(TRAIN, False)
    again = a_file_brings_the_model_back(learned, tmp_path)
    np.testing.assert_array_equal(again.scores_for(TRAIN[:3]), learned.scores_for(TRAIN[:3]))


def test_new_users_get_the_propagated_vectors_of_their_items():
    """With E_0 of a user at 0, its vector is that of the formula; and it ranks as that of the user who was there."""
    learned = model(iterations=20).fit(TRAIN, False)
    network = LightGCNNetwork(TRAIN, 8, 2, 0.1, 1, {}, np.random.default_rng(0))
    with torch.no_grad():
        network.embeddings[5] = 0
        network.prepare()
        brought = network._table[5].numpy()
    found = (TRAIN[[5]] @ network.fold_in_factors()) / np.sqrt(TRAIN[[5]].nnz)
    np.testing.assert_allclose(found[0], brought, atol=1e-7)
    new, old = learned.scores_for(TRAIN[:20]), learned.scores(np.arange(20))
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(new, old, strict=True)]) > 0.9
    assert not learned.scores_for(sp.csr_array((2, 70), dtype=np.float32)).any()
    assert learned.recommend([0], TRAIN[[0]], N=5, recalculate_user=True)[0].shape == (1, 5)


def test_users_who_have_everything_are_skipped_and_calls_are_counted():
    X, rows = TRAIN.tolil(), []
    X[5, :] = 1
    X = X.tocsr()
    learned = model(iterations=2).fit(X, False, lambda *row: rows.append(row))
    assert [row[0] for row in rows] == [0, 1]
    assert learned.counts == [(X.nnz, row[2], row[3]) for row in rows]
    assert [row[3] for row in rows] == [70, 70]
    assert np.isfinite(learned.user_factors).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: model("bprs"), "objective: expected one of"),
        (lambda: model(num_layers=-1), None),
        (lambda: LightGCN(num_layers=-1), "num_layers: expected an integer from 0"),
        (lambda: LightGCN(factors=0), "factors: expected an integer from 1"),
        (lambda: LightGCN(num_negatives=None), "num_negatives: expected a number, as only the sampler 'in-batch'"),
        (lambda: model(learning_rate=float("nan")), "learning_rate: expected a number"),
        (lambda: model(init_scale=-1), "init_scale: expected a number of at least 0"),
        (lambda: model(device=0), "device: expected 'cpu' or 'cuda', got 0"),
        (lambda: model(device="tpu").fit(TRAIN, False), "device: expected one of cpu, cuda"),
        (lambda: model(device="cpu:1").fit(TRAIN, False), "device: expected 'cpu', 'cuda'"),
        (lambda: model(learning_rate=1e30).fit(TRAIN, False), "learning_rate: expected one that is small enough"),
        (lambda: model().fit(sp.csr_array((3, 4), dtype=np.float32), False), "expected at least one interaction"),
        (lambda: model().fit(TRAIN, False, validation=TRAIN), "validation: expected no pair of user_items"),
        (lambda: model().fit(TRAIN, False, validation=HELD[:5]), "validation: expected 90 users"),
        (lambda: model().fit(TRAIN, False, validation=HELD * 0), "validation: expected at least one interaction"),
        (lambda: LightGCN(1 << 14).fit(sp.csr_array(([1.0], ([0], [0])), shape=(10**6, 5)), False), "GiB"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError if words else TypeError, match=words):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_gpu_is_named_before_anything_is_made():
    with pytest.raises(InputError, match=r"device: expected 'cpu', since torch sees no CUDA device here, got 'cuda:1'"):
        model(device="cuda:1").fit(TRAIN, False)

"""Two towers: the softmax over a batch against its formula, features, new ids, conventions, bad input."""

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
from recsys.evaluation import evaluate
from recsys.models.torch_steps import Training
from recsys.models.torch_training import torch_device
from recsys.models.two_tower import Towers, TwoTower
from recsys.objectives import DeCA, Pairs, SampledSoftmax, SymmetricSoftmax
from recsys.samplers import InBatch


def model(hidden=(16,), **changes):
    arguments = {"iterations": 8, "learning_rate": 0.01, "num_threads": 1, "batch_size": 64, "random_state": 3}
    return TwoTower(8, hidden, **{**arguments, **changes})


def test_towers_are_perceptrons_of_ids_and_features():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(6, 3)).astype(np.float32)
    towers = Towers((6, 5), (F, None), 4, [7], False, {}, rng)
    p = {name: value.detach().numpy() for name, value in towers.named_parameters()}
    x = np.concatenate([p["ids.user"], F @ p["project.user"]], 1)
    hidden = np.maximum(x @ p["layers.user 0 weight"] + p["layers.user 0 shift"], 0)
    U = hidden @ p["layers.user 1 weight"] + p["layers.user 1 shift"]
    hidden = np.maximum(p["ids.item"] @ p["layers.item 0 weight"] + p["layers.item 0 shift"], 0)
    V = hidden @ p["layers.item 1 weight"] + p["layers.item 1 shift"]
    left, right = towers.vectors(torch.tensor([5, 0]), torch.tensor([2]))
    np.testing.assert_allclose(left.detach().numpy(), U[[5, 0]], atol=1e-6)
    np.testing.assert_allclose(right.detach().numpy(), V[[2]], atol=1e-6)
    sparse = Towers((6, 5), (sp.csr_array(F), None), 4, [7], False, {}, rng)
    sparse.load_state_dict(towers.state_dict())
    torch.testing.assert_close(sparse.vectors(torch.tensor([5, 0]), torch.tensor([2])), (left, right))
    unit = Towers((6, 5), (F, None), 4, [7], True, {}, rng)
    unit.load_state_dict(towers.state_dict())
    np.testing.assert_allclose(
        unit.vectors(torch.tensor([5]), torch.tensor([2]))[0].detach()[0], U[5] / np.linalg.norm(U[5]), atol=1e-6
    )


@pytest.mark.parametrize("verify", [True, False])
def test_a_step_is_the_softmax_over_the_batch(verify):
    """Against the formula, pair by pair: e^R_uj / (B q_j) of all in the batch that the user does not have."""
    learned = model((), sampler=InBatch(verify=verify), regularization=0.0)
    towers = Towers(TRAIN.shape, (None, None), 8, [], False, {}, np.random.default_rng(0))
    objective, sampler = learned.objective_and_sampler()
    training = Training(towers, TRAIN, learned, objective, sampler, np.random.default_rng(1), torch.device("cpu"))
    pairs = training._pairs[np.random.default_rng(2).permutation(len(training._pairs))[:40]]
    users, items = (np.ascontiguousarray(pairs[:, side]) for side in (0, 1))
    U, V = towers.vectors(torch.arange(90), torch.arange(70))
    has, q = TRAIN.toarray() > 0, np.bincount(TRAIN.indices, minlength=70) / TRAIN.nnz
    total = 0
    for u, i in zip(users, items, strict=True):
        own = U[u] @ V[i]
        rest = [U[u] @ V[j] - np.log(40 * q[j]) for j in items if (not has[u, j] if verify else j != i)]
        total = total + torch.logsumexp(torch.stack([own, *rest]), 0) - own
    (total / 40).backward()
    expected = {name: value.grad.clone() for name, value in towers.named_parameters()}
    sampler.verify = verify
    training._update(users, items)
    for name, value in towers.named_parameters():
        torch.testing.assert_close(value.grad, expected[name], atol=1e-6, rtol=1e-4)


def batch_loss(scores, users, items, matrix=None, masked=True, **settings):
    """The symmetric softmax of a batch whose scores of user a for item b are given; the mean over positives."""
    users, items = np.array(users), np.array(items)
    matrix = sp.csr_array((np.ones(len(users)), (users, items))) if matrix is None else matrix
    objective = SymmetricSoftmax(**{"correct": False, "smoothing": 0.0, **settings})
    objective.fit(sp.csr_array(matrix), np.bincount(matrix.indices) / matrix.nnz)
    known = matrix.toarray()[users[:, None], items[None]] > 0
    weight = torch.from_numpy(~known if masked else ~np.eye(len(users), dtype=bool)).float()
    negatives = np.broadcast_to(items, (len(items), len(items)))
    context = {"users": users, "items": items, "negatives": negatives, "weight": weight}
    return objective.loss(scores.diagonal(), scores, **context) / len(users)


def test_the_symmetric_softmax_masks_false_negatives():
    eye = torch.eye(2)
    assert float(batch_loss(eye, [0, 1], [0, 1])) == pytest.approx(0.313262, abs=1e-6)
    # Of two orthogonal pairs, the logQ correction is 0.
    assert float(batch_loss(eye, [0, 1], [0, 1], correct=True)) == pytest.approx(0.313262, abs=1e-6)
    # User 2, who is like user 0, has the item of user 0 as well: it is in the batch twice.
    twice = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    arguments = (twice, [0, 1, 2], [0, 1, 0])
    assert float(batch_loss(twice[:2, :2], [0, 1], [0, 1])) == pytest.approx(0.313262, abs=1e-6)
    without = batch_loss(*arguments, masked=False)
    row = torch.tensor([1.0, 0, 1]).logsumexp(0) - 1
    middle = torch.tensor([1.0, 0, 0]).logsumexp(0) - 1
    assert float(without) == pytest.approx(float((2 * row + middle) / 3), abs=1e-6)
    pair = torch.tensor([1.0, 0]).logsumexp(0) - 1
    # User 1 and item 1 have two others; all that are masked are as if they were not there.
    assert float(batch_loss(*arguments)) == pytest.approx(float((2 * pair + middle) / 3), abs=1e-6)
    # The other positive of a user in the batch.
    other = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    found = batch_loss(other, [0, 0, 1], [0, 1, 2])
    assert float(found) == pytest.approx(float((2 * pair + middle) / 3), abs=1e-6)


def test_the_symmetric_softmax_is_its_formula_with_smoothing_and_correction():
    rng = np.random.default_rng(0)
    users, items = np.array([3, 0, 2, 3]), np.array([1, 4, 1, 0])
    matrix = sp.csr_array((np.ones(6), (np.array([3, 0, 2, 3, 1, 1]), np.array([1, 4, 1, 0, 2, 3]))))
    R, has = torch.from_numpy(rng.normal(size=(4, 4))), matrix.toarray() > 0
    q_items, q_users = np.bincount(matrix.indices) / 6, np.diff(matrix.indptr) / 6
    total = 0.0
    for b in range(4):
        sides = (
            [R[b, j] / 0.5 - np.log(4 * q_items[items[j]]) for j in range(4) if not has[users[b], items[j]]],
            [R[a, b] / 0.5 - np.log(4 * q_users[users[a]]) for a in range(4) if not has[users[a], items[b]]],
        )
        for rest in sides:
            z = torch.stack([R[b, b] / 0.5, *rest])
            log_p = z.log_softmax(0)
            total = total - (0.8 * log_p[0] + 0.2 * log_p.mean()) / 2
    found = batch_loss(R, users, items, matrix, correct=True, smoothing=0.2, temperature=0.5)
    torch.testing.assert_close(found, total / 4)
    objective = SymmetricSoftmax(0.5, smoothing=0.2).fit(matrix, q_items)
    weight = (~has[users[:, None], items[None]]).astype(float)
    negatives = np.broadcast_to(items, (4, 4))
    slopes = objective.derivatives(Pairs(R.diagonal().numpy(), R.numpy(), {}, users, items, negatives, weight))
    scores = R.clone().requires_grad_()
    (expected,) = torch.autograd.grad(
        -4 * batch_loss(scores, users, items, matrix, correct=True, smoothing=0.2, temperature=0.5), scores
    )
    both = slopes.negative + np.diag(slopes.positive.sum(1))
    np.testing.assert_allclose(both, expected.numpy(), atol=1e-6)


def test_the_temperature_is_learned_and_divides_all_scores(tmp_path):
    learned = model((16,), objective="symmetric-softmax", unit=True, temperature=1.0, iterations=3).fit(TRAIN, False)
    length = np.linalg.norm(learned.user_factors, axis=1)
    np.testing.assert_allclose(length, length[0], rtol=1e-5)
    assert abs(length[0] - 1) > 0.01
    np.testing.assert_allclose(np.linalg.norm(learned.item_factors, axis=1), 1, rtol=1e-5)
    fixed = model((16,), objective="symmetric-softmax", unit=True, iterations=3).fit(TRAIN, False)
    np.testing.assert_allclose(np.linalg.norm(fixed.user_factors, axis=1), 1, rtol=1e-5)
    with_features = model((4,), unit=True, temperature=1.0, iterations=1).fit(TRAIN, False, user_features=np.eye(90))
    again = a_file_brings_the_model_back(with_features, tmp_path)
    np.testing.assert_array_equal(again.embed("user", np.eye(90)), with_features.embed("user", np.eye(90)))


@pytest.mark.parametrize(
    ("hidden", "changes"),
    [
        ((16,), {}),
        ((), {}),
        ((16, 12), {"objective": SampledSoftmax(0.2), "unit": True}),
        ((16, 12), {"objective": SymmetricSoftmax(0.2), "unit": True}),
        ((16, 12), {"objective": "symmetric-softmax", "unit": True, "temperature": 0.5}),
        ((16,), {"objective": "bpr", "sampler": "uniform", "num_negatives": 2}),
        ((16,), {"objective": "bpr"}),
        ((16,), {"objective": "r-ce", "sampler": "popularity", "num_negatives": 2}),
        ((16,), {"objective": "nbpo", "sampler": "uniform", "num_negatives": 2}),
        ((16,), {"objective": DeCA(c1=10.0), "sampler": "uniform", "num_negatives": 1}),
        ((16,), {"objective": "bpr", "sampler": "aobpr", "num_negatives": 1}),
        ((16,), {"objective": "bpr", "sampler": {"name": "dns", "candidates": 3}, "num_negatives": 1}),
        ((16,), {"sampler": "in-batch", "num_negatives": 20}),
    ],
)
def test_every_kind_learns(hidden, changes):
    # Random: .08.
    assert ndcg(model(hidden, **changes).fit(TRAIN, False)) > 0.15


def test_features_rank_items_that_nobody_has_clicked():
    """A world in which features say all: new users and items are ranked from theirs alone."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(140, 3)), rng.normal(size=(100, 3))
    liked = np.argsort(-(left @ right.T), axis=1)[:, :12]
    X = np.zeros((140, 100), np.float32)
    np.put_along_axis(X, liked, 1, axis=1)
    for given in ((left[:100], right[:70]), (sp.csr_array(left[:100]), sp.csr_array(right[:70]))):
        learned = model((32,), use_ids=False, iterations=25)
        learned.fit(sp.csr_array(X[:100, :70]), False, user_features=given[0], item_features=given[1])
        U, V = learned.embed("user", left[100:]), learned.embed("item", right)
        np.testing.assert_allclose(V[:70], learned.item_factors, atol=1e-6)
        top = np.argsort(-(U @ V.T), axis=1)[:, :12]
        # Random: .12.
        assert np.take_along_axis(X[100:], top, 1).mean() > 0.6
    old = model((32,), iterations=2).fit(sp.csr_array(X[:, :70]), False, item_features=right[:70])
    assert old.embed("item", sp.csr_array(right[70:])).shape == (30, 8)
    with pytest.raises(InputError, match=r"side: expected a model that was fitted with user_features"):
        old.embed("user", left)
    with pytest.raises(InputError, match=r"side: expected 'user' or 'item'"):
        old.embed("users", left)
    with pytest.raises(InputError, match=r"values: expected 3 features, got 2"):
        old.embed("item", right[:, :2])


def test_no_bit_depends_on_threads_and_a_seed_repeats_itself():
    X = sp.random_array((400, 300), density=0.05, format="csr", rng=1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    two = model((300,), num_threads=2, iterations=1, batch_size=1024).fit(X, False)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert same(two, model((300,), num_threads=1, iterations=1, batch_size=1024).fit(X, False))
    assert not same(two, model((300,), iterations=1, batch_size=1024, random_state=4).fit(X, False))


def test_ctrl_c_keeps_the_last_whole_epoch(monkeypatch):
    ctrl_c_keeps_the_last_whole_epoch(model, monkeypatch)


def test_validation_chooses_the_epoch():
    validation_chooses_the_epoch(model)


def test_a_file_brings_the_model_back(tmp_path):
    learned = model((16, 4), iterations=2, unit=True).fit(TRAIN, False, item_features=np.eye(70))
    again = a_file_brings_the_model_back(learned, tmp_path)
    np.testing.assert_array_equal(again.embed("item", np.eye(70)), learned.embed("item", np.eye(70)))


def test_a_batch_of_one_and_users_with_every_item_have_no_gradient():
    X = TRAIN.tolil()
    X[5, :] = 1
    for size in (1, 64):
        learned = model(iterations=1, batch_size=size).fit(X.tocsr()[:8], False)
        assert np.isfinite(learned.scores(np.arange(8))).all()
    assert evaluate(model(iterations=1).fit(X.tocsr(), False), X.tocsr(), HELD - HELD.multiply(X.tocsr()), ["hit@5"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: model("16"), "hidden: expected a list of widths"),
        (lambda: model((0,)), "hidden: expected an integer from 1"),
        (lambda: model(unit=1), "unit: expected True or False"),
        (lambda: model(temperature=0.0), "temperature: expected a number"),
        (
            lambda: model(objective="symmetric-softmax", num_negatives=3).fit(TRAIN, False),
            "negatives: expected the items of the whole batch",
        ),
        (lambda: model(sampler="uniform"), "num_negatives: expected a number"),
        (lambda: model(use_ids=False).fit(TRAIN, False), "user_features: expected features, as use_ids is False"),
        (lambda: model().fit(TRAIN, False, user_features=np.eye(70)), "user_features: expected 90 rows, got 70"),
        (lambda: model().fit(TRAIN, False, item_features=["a"]), "item_features: expected numbers of shape"),
        (lambda: model().fit(TRAIN, False, item_features=np.full((70, 1), np.nan)), "item_features: expected finite"),
        (lambda: model().fit(TRAIN, False, item_features=np.full((70, 1), 1e300)), "item_features: expected finite"),
        (lambda: model(learning_rate=1e30).fit(TRAIN, False), "learning_rate: expected one that is small enough"),
        (lambda: model().fit(TRAIN * 0, False), "expected at least one interaction"),
        (lambda: model().fit(TRAIN, False, validation=TRAIN), "validation: expected no pair of user_items"),
        (lambda: model().embed("user", np.eye(3)), "expected a fitted model"),
        (lambda: torch_device("gpu"), "device: expected one of cpu, cuda"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_gpu_is_named():
    with pytest.raises(InputError, match=r"device: expected 'cpu', since torch sees no CUDA device here, got 'cuda'"):
        model(device="cuda").fit(TRAIN, False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_learns_too():
    assert ndcg(model(device="cuda").fit(TRAIN, False)) > 0.15

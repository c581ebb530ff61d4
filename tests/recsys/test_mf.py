"""Matrix factorisation: modes, threads, interrupts, validation, new users, saving, bad input."""

import contextlib
import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphnoise.errors import InputError
from recsys.evaluation import evaluate
from recsys.interactions import as_csr
from recsys.kernels.negatives import Known
from recsys.kernels.pairs import MIN_PARALLEL, Groups, scores
from recsys.models.baselines import Popularity
from recsys.models.initialisation import initial_parameters
from recsys.models.mf import MODES, MatrixFactorization, _UniformByItem
from recsys.models.minibatch import Minibatch
from recsys.models.optimizers import Adam
from recsys.objectives import BPO, NBPO, OBJECTIVES, DeCA, Forward, NonNegativePU, Pairs, RelevanceMF, TruncatedCE
from recsys.samplers import Uniform

# `test_strata` has the mode "distributed".
ALONE = [mode for mode in MODES if mode != "distributed"]


def clicks(users=90, items=70, rank=4, seed=0, each=12):
    """Each user takes `each` of the items that suit best, with some chance."""
    rng = np.random.default_rng(seed)
    liking = rng.normal(size=(users, rank)) @ rng.normal(size=(rank, items)) + 0.7 * rng.gumbel(size=(users, items))
    best = np.argsort(-liking, axis=1)[:, :each]
    X = np.zeros((users, items), np.float32)
    np.put_along_axis(X, best, 1, axis=1)
    held = rng.random(X.shape) < 0.25
    return sp.csr_array(X * ~held), sp.csr_array(X * held)


TRAIN, HELD = clicks()


def model(objective="bpr", **changes):
    arguments = {"iterations": 25, "learning_rate": 0.05, "num_threads": 1, "batch_size": 64, "random_state": 3}
    return MatrixFactorization(8, objective, **{**arguments, **changes})


def factors(fitted):
    found = [fitted.user_factors, fitted.item_factors, fitted.item_biases, fitted.extra_user_factors]
    return [x for x in found if x is not None]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(factors(a), factors(b), strict=True))


WITH_DISLIKES = {name for name, kind in OBJECTIVES.items() if kind.uses_dislikes}


def special(name):
    return {
        "nnpu": NonNegativePU(0.1),
        "rel-mf": RelevanceMF(clip=0.5),
        "t-ce": TruncatedCE(ramp=20),
        "deca": DeCA(c1=10.0),
        "forward": Forward(0.1),
    }.get(name, name)


NOT_LEARNED_HERE = {"warp", "nbpo-s", "backward", "symmetric-softmax", *WITH_DISLIKES}


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - NOT_LEARNED_HERE))
def test_every_objective_learns(name):
    """Better than the start by far, in minibatches."""
    learned = model(special(name), num_negatives=2, sampler="uniform", iterations=40).fit(TRAIN, False)
    # Random: .08.
    assert evaluate(learned, TRAIN, HELD, ["ndcg@10"], num_threads=1)["ndcg@10"] > 0.17


@pytest.mark.parametrize("mode", ["deterministic", "lock-free"])
@pytest.mark.parametrize("objective", ["bpr", "bpo", "nbpo", NBPO(0.3), "wbpr"])
@pytest.mark.parametrize("biases", [True, False])
def test_single_steps_learn(mode, objective, biases):
    learned = model(objective, mode=mode, biases=biases, iterations=40).fit(TRAIN, False)
    assert evaluate(learned, TRAIN, HELD, ["ndcg@10"], num_threads=1)["ndcg@10"] > 0.15


@pytest.mark.parametrize("mode", ["minibatch", "deterministic"])
@pytest.mark.parametrize("objective", ["bpr", "nbpo"])
@pytest.mark.parametrize("sampler", ["uniform", "popularity"])
def test_no_bit_depends_on_threads(mode, objective, sampler):
    X = sp.random_array((700, 300), density=0.05, format="csr", rng=1)
    one, two = (
        model(objective, mode=mode, sampler=sampler, num_threads=threads, iterations=3, batch_size=4096).fit(X, False)
        for threads in (1, 2)
    )
    assert same(one, two)
    assert not same(one, model(objective, mode=mode, sampler=sampler, random_state=4, iterations=3).fit(X, False))


@pytest.mark.parametrize("mode", ALONE)
def test_a_seed_repeats_itself_on_one_thread(mode):
    assert same(model(mode=mode).fit(TRAIN, False), model(mode=mode).fit(TRAIN, False))


@pytest.mark.parametrize("name", ["bpr", "bpo", "nbpo", "nbpo-o"])
@pytest.mark.parametrize("every", [True, False])
def test_a_minibatch_is_the_sum_over_its_draws(name, every):
    """Against a loop over draws, one after the other, at the old parameters; users and items come more than once."""
    options = {"l2": "all" if every else "touched", "extra_regularization": 0.3, "bias_regularization": 0.7}
    learned = model(name, dtype="float64", num_negatives=3, **options)
    kind, plan, known = learned.objective_and_sampler()[0], learned.plan(), Known.of(TRAIN)
    p = initial_parameters(*TRAIN.shape, 8, kind.logits, "positive", not every, "float64", np.random.default_rng(0))
    if p.bias is not None:
        p.bias += np.random.default_rng(1).normal(size=p.bias.shape)
    old = p.copy()
    training = Minibatch(known, p, kind, Uniform().fit(TRAIN), plan, np.random.default_rng(5))
    users, items = (np.ascontiguousarray(training._pairs[100:140, k]) for k in (0, 1))
    training._update(users, items, 0.1)

    drawn = Uniform().fit(TRAIN).sample(users, 3, np.random.default_rng(5))
    tables = {"": (old.user, old.item), **old.extra}
    sums = {name: (np.zeros_like(a), np.zeros_like(b)) for name, (a, b) in tables.items()}
    touched, bias = (np.zeros(len(old.user)), np.zeros(len(old.item))), np.zeros(len(old.item))
    add = np.zeros(len(old.item)) if old.bias is None else old.bias
    for u, i, row in zip(users, items, drawn, strict=True):
        for j in row:
            logits = {n: (np.array([a[u] @ b[i]]), np.array([[a[u] @ b[j]]])) for n, (a, b) in tables.items()}
            R, N = logits.pop("")
            found = kind.derivatives(Pairs(R + add[i], N + add[j], logits))
            for n, (up, down) in {"": (found.positive, found.negative), **found.extra}.items():
                a, b = tables[n]
                sums[n][0][u] += up[0, 0] * b[i] + down[0, 0] * b[j]
                sums[n][1][i] += up[0, 0] * a[u]
                sums[n][1][j] += down[0, 0] * a[u]
            bias[i] += found.positive[0, 0]
            bias[j] += found.negative[0, 0]
            touched[0][u] += 1
            touched[1][i] += 1
            touched[1][j] += 1
    new = {"": (p.user, p.item), **p.extra}
    for n, both in tables.items():
        l2 = 0.3 if n else plan.l2_user
        for side in (0, 1):
            keep = np.full(len(both[side]), 1 - 0.1 * l2) if every else (1 - 0.1 * l2) ** touched[side]
            assert np.abs(new[n][side] - (keep[:, None] * both[side] + 0.1 * sums[n][side])).max() < 1e-10
    if p.bias is not None:
        assert np.abs(p.bias - ((1 - 0.1 * 0.7) ** touched[1] * old.bias + 0.1 * bias)).max() < 1e-10


@pytest.mark.parametrize("mode", ALONE)
def test_ctrl_c_keeps_the_last_whole_epoch(mode, monkeypatch):
    whole = model(mode=mode, iterations=3).fit(TRAIN, False)
    stopped = model(mode=mode, iterations=9)

    def stop(epoch, seconds, correct, skipped):
        if epoch == 2:
            monkeypatch.setattr("recsys.models.minibatch.Minibatch._update", broken)
            monkeypatch.setattr("recsys.kernels._native.epoch_blocks", broken)
            monkeypatch.setattr("recsys.kernels._native.epoch_lock_free", broken)

    def broken(first, *rest):
        if hasattr(first, "parameters"):
            # What an interrupted epoch leaves.
            first.parameters.user[:] = np.nan
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.fit(TRAIN, False, stop)
    assert stopped.epochs == 3
    assert same(whole, stopped)
    assert stopped.recommend(0, TRAIN[[0]], N=5)[0].shape == (5,)


def test_ctrl_c_between_epochs_keeps_the_last_one_too(monkeypatch):
    whole, stopped = model(iterations=3).fit(TRAIN, False), model(iterations=9).fit(TRAIN, False, validation=HELD)

    @contextlib.contextmanager
    def bar(shown, epochs):
        ticks = iter(range(3))
        yield lambda: stop() if next(ticks) == 2 else None

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.models.fitting.progress", bar)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(TRAIN, False)
    assert same(whole, stopped)
    assert (stopped.epochs, stopped.history, stopped.best_epoch) == (3, [], None)


def test_new_users_have_the_propensities_of_fit(tmp_path):
    fitted = model("rel-mf").fit(TRAIN, False)
    alone, odd = TRAIN[[0]], model("rel-mf").fit(TRAIN, False)
    odd.propensities = np.ones(TRAIN.shape[1])
    fitted.save(tmp_path / "m")
    again = MatrixFactorization.load(tmp_path / "m")
    assert np.array_equal(fitted.propensities, fitted.objective_.theta)
    assert np.array_equal(fitted.fold_in(alone), again.fold_in(alone))
    assert not np.allclose(fitted.fold_in(alone), odd.fold_in(alone))


def test_validation_chooses_the_epoch():
    seen = []
    learned = model("bpo", learning_rate=0.3, regularization=0.0, iterations=60, patience=5, metric="ndcg@10")
    learned.fit(TRAIN, False, lambda epoch, *_: seen.append(learned.user_factors.copy()), validation=HELD)
    assert learned.epochs == len(learned.history) == learned.best_epoch + 6 < 60
    assert learned.history[learned.best_epoch] == max(learned.history)
    assert np.array_equal(learned.user_factors, seen[learned.best_epoch])
    assert evaluate(learned, TRAIN, HELD, ["ndcg@10"], num_threads=1)["ndcg@10"] == max(learned.history)


@pytest.mark.parametrize(("level", "epochs"), [(-1.0, 4), (1.0, 9)])
def test_the_earliest_of_equal_epochs_is_selected(level, epochs, monkeypatch):
    """Nothing is learned, so that all epochs are equal; patience counts from the first one above popularity."""
    monkeypatch.setattr("recsys.models.baselines.Popularity.scores", lambda self, users: level * HELD[users].toarray())
    kept = model(learning_rate=0.0, iterations=9, patience=3).fit(TRAIN, False, validation=HELD)
    assert (kept.best_epoch, kept.epochs, len(set(kept.history))) == (0, epochs, 1)


def test_patience_waits_for_popularity():
    """Two groups of users with items of their own: the first epochs only learn which items are frequent."""
    rng = np.random.default_rng(0)
    frequent = np.where(np.arange(80) % 40 < 8, 0.8, 0.15)
    X = np.kron(np.eye(2), np.ones((60, 40))) * (rng.random((120, 80)) < frequent)
    held = rng.random(X.shape) < 0.3
    train, validation = sp.csr_array(X * ~held), sp.csr_array(X * held)
    level = evaluate(Popularity().fit(train), train, validation, ["ndcg@20"], num_threads=1)["ndcg@20"]
    options = {"learning_rate": 0.02, "learning_rate_decay": 1.0, "regularization": 0.01}
    stopped = model(patience=3, iterations=300, **options).fit(train, False, validation=validation)
    best = np.maximum.accumulate(stopped.history)
    # Without the wait it would have stopped where three epochs brought nothing.
    assert ((best[3:] == best[:-3]) & (best[3:] < 1.1 * level)).any()
    assert stopped.epochs == stopped.best_epoch + 4 < 300
    assert best[-1] > 1.5 * level


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, "deterministic"),
        ({"objective": "nbpo", "sampler": "popularity"}, "deterministic"),
        ({"objective": "t-ce"}, "minibatch"),
        ({"sampler": "dns"}, "minibatch"),
        ({"optimizer": "adam"}, "minibatch"),
        ({"dtype": "float64"}, "minibatch"),
        ({"shuffle": False}, "minibatch"),
    ],
)
def test_the_mode_is_selected_by_what_single_steps_support(changes, mode):
    found, fixed = model(**{"iterations": 2, **changes}), model(**{"iterations": 2, "mode": mode, **changes})
    assert same(found.fit(TRAIN, False), fixed.fit(TRAIN, False))
    assert found.mode == "auto"


def test_a_sampler_of_ones_own_is_asked_for_its_draws_or_refused():
    class First(Uniform):
        def _draw(self, users, k, rng, items):
            asked.append(len(users))
            return super()._draw(users, k, rng, items)

    asked = []
    model(sampler=First(), iterations=1).fit(TRAIN, False)
    assert sum(asked) == TRAIN.nnz
    for mode in ("deterministic", "lock-free"):
        with pytest.raises(
            InputError, match=f"sampler: expected uniform or popularity, verified, in the mode '{mode}'"
        ):
            model(sampler=First(), mode=mode)


def test_the_learning_rate_decays_before_each_epoch():
    slow = model(learning_rate=0.4, learning_rate_decay=0.5, iterations=1).fit(TRAIN, False)
    assert same(slow, model(learning_rate=0.2, learning_rate_decay=1.0, iterations=1).fit(TRAIN, False))
    twice = model(learning_rate=0.4, learning_rate_decay=0.5, iterations=2).fit(TRAIN, False)
    assert not same(twice, model(learning_rate=0.2, learning_rate_decay=1.0, iterations=2).fit(TRAIN, False))


def test_positives_are_visited_by_user_without_a_shuffle(monkeypatch):
    seen, update = [], Minibatch._update
    monkeypatch.setattr(Minibatch, "_update", lambda self, u, i, eta: (seen.append((u, i)), update(self, u, i, eta))[1])
    orders = []
    for shuffle in (False, True):
        seen.clear()
        model(iterations=1, shuffle=shuffle, mode="minibatch").fit(TRAIN, False)
        assert [len(users) for users, _ in seen] == [64] * (TRAIN.nnz // 64) + [TRAIN.nnz % 64]
        orders.append(np.stack([np.concatenate(side) for side in zip(*seen, strict=True)]))
    np.testing.assert_array_equal(orders[0], TRAIN.nonzero())
    assert not np.array_equal(*orders)
    np.testing.assert_array_equal(orders[1][:, np.lexsort(orders[1][::-1])], orders[0])


def test_callbacks_count_as_implicit_does():
    rows = []
    model(iterations=2, sampler={"name": "uniform", "on_known": "skip"}).fit(
        TRAIN, False, lambda *row: rows.append(row)
    )
    assert [row[0] for row in rows] == [0, 1]
    share = TRAIN.nnz / (TRAIN.shape[0] * TRAIN.shape[1])
    assert all(row[3] / TRAIN.nnz == pytest.approx(share, abs=0.06) and row[2] + row[3] <= TRAIN.nnz for row in rows)


@pytest.mark.parametrize("mode", ALONE)
def test_users_who_have_everything_are_skipped(mode):
    X = TRAIN.tolil()
    X[5, :] = 1
    X = X.tocsr()
    learned = model(mode=mode, iterations=3).fit(X, False)
    assert learned.counts[0][2] >= (X.shape[1] if mode == "minibatch" else 1)
    assert np.isfinite(learned.user_factors).all()


def test_new_users_are_like_old_ones_with_the_same_items():
    learned = model("bpo", iterations=60).fit(TRAIN, False)
    places = learned.partial_fit(TRAIN[:20])
    assert places.tolist() == list(range(90, 110))
    old, new = (learned.scores(np.arange(20) + first) for first in (0, 90))
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(old, new, strict=True)]) > 0.9
    again = learned.recommend([0], TRAIN[[0]], N=5, recalculate_user=True)[0]
    assert len(set(again[0]) & set(learned.recommend([90], TRAIN[[0]], N=5)[0][0])) >= 3
    assert not learned.fold_in(sp.csr_array((2, 70), dtype=np.float32)).any()


@pytest.mark.parametrize("objective", ["bpr", "nbpo", "softmax"])
@pytest.mark.parametrize("how", [{}, {"optimizer": "adam"}, {"mode": "minibatch", "num_negatives": 3}])
def test_new_users_depend_on_their_rows_alone(objective, how):
    learned = model(objective, iterations=3, **how).fit(TRAIN, False)
    together = learned.fold_in(TRAIN[:9])
    for k in (0, 4, 8):
        np.testing.assert_allclose(learned.fold_in(TRAIN[[k]])[0], together[k], rtol=1e-5, atol=1e-7)
    before = factors(copy.deepcopy(learned))
    learned.partial_fit_users([92, 3], TRAIN[:2])
    np.testing.assert_allclose(learned.user_factors[[92, 3]], together[:2], rtol=1e-5, atol=1e-7)
    others = np.delete(np.arange(90), 3)
    np.testing.assert_array_equal(learned.user_factors[others], before[0][others])
    assert not learned.user_factors[90:92].any()
    if objective == "nbpo":
        assert learned.extra_user_factors.shape == (1, 93, learned.factors)
        np.testing.assert_array_equal(learned.extra_user_factors[:, others], before[3][:, others])
        assert learned.logits("flip", [92]).any()


def test_negatives_of_new_users_are_none_of_their_items():
    """A user who has all items but one: it is drawn, or nothing."""
    X = np.ones((2, 70))
    X[1, 33] = 0
    sampler = _UniformByItem().fit_checked(as_csr("X", sp.csr_array(X)))
    sampler.epoch(0, np.random.default_rng(0))
    items = np.arange(70, dtype=np.int32)
    assert (sampler._draw(np.zeros(70, np.int32), 3, None, items) == -1).all()
    assert set(sampler._draw(np.ones(70, np.int32), 3, None, items).ravel()) == {-1, 33}


@pytest.mark.parametrize("objective", ["bpr", NBPO(), NBPO(np.full(70, 0.1), "item")])
def test_saved_models_are_the_same(tmp_path, objective):
    learned = model(objective, iterations=3).fit(TRAIN, False)
    learned.save(tmp_path / "model")
    again = MatrixFactorization.load(tmp_path / "model.npz")
    assert same(learned, again)
    assert repr(again.objective_) == repr(learned.objective_)
    assert again.sampler == learned.sampler_.parameters()
    assert np.array_equal(again.scores(np.arange(9)), learned.scores(np.arange(9)))
    again.partial_fit(TRAIN[:2])


def test_flips_of_zero_train_as_bpo_to_the_bit():
    assert same(model(NBPO(0.0)).fit(TRAIN, False), model(BPO()).fit(TRAIN, False))
    kernel = [model(kind, mode="deterministic").fit(TRAIN, False) for kind in (NBPO(0.0), BPO())]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(*map(factors, kernel), strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_and_scores_of_many_pairs_at_any_number_of_threads(dtype):
    """Enough that the threads share the work."""
    rng = np.random.default_rng(0)
    ids, other = (rng.integers(0, 300, 40_000).astype(np.int32) for _ in range(2))
    table, weight = rng.normal(size=(300, 33)).astype(dtype), rng.normal(size=40_000).astype(dtype)
    assert ids.size * table.shape[1] >= MIN_PARALLEL
    groups = Groups.of(ids, 300)
    one, two = (groups.sums(weight, other, table, threads) for threads in (1, 2))
    assert np.array_equal(one, two)
    exact = np.zeros((300, 33))
    np.add.at(exact, ids, weight[:, None].astype(float) * table[other])
    assert np.allclose(one, exact[groups.rows], atol=1e-3 if dtype == np.float32 else 1e-10)
    pairs = other.reshape(-1, 4)
    one, two = (scores(table, table, ids[: len(pairs)], pairs, num_threads=threads) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_adam_on_all_rows_is_that_of_torch():
    rng = np.random.default_rng(0)
    table, rows, once = rng.normal(size=(7, 5)), np.arange(7, dtype=np.int32), np.ones(7)
    tensor, adam = torch.from_numpy(table.copy()).requires_grad_(), Adam()
    peer = torch.optim.Adam([tensor], lr=0.03, weight_decay=0.2, maximize=False)
    for _ in range(20):
        gradient = rng.normal(size=(7, 5))
        adam.move(table, rows, gradient, once, 0.03, 0.2)
        tensor.grad = torch.from_numpy(-gradient)
        peer.step()
    np.testing.assert_allclose(table, tensor.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(50, 13), (50,)])
def test_adam_changes_the_rows_of_a_step(shape, dtype):
    rng, adam = np.random.default_rng(1), Adam()
    table = rng.normal(size=shape).astype(dtype)
    expected, mean, square = table.copy(), np.zeros_like(table), np.zeros_like(table)
    for step in range(1, 9):
        rows = np.sort(rng.choice(50, rng.integers(0, 20), replace=False)).astype(np.int32)
        gradient = rng.normal(size=(len(rows), *shape[1:])).astype(dtype)
        counts = rng.integers(0, 4, len(rows)).astype(dtype)
        adam.move(table, rows, gradient, counts, 0.05, 0.1)
        # The same formula in NumPy, to the bit.
        slope = gradient - (0.1 * counts).reshape(-1, *[1] * (len(shape) - 1)) * expected[rows]
        mean[rows] = 0.9 * mean[rows] + (1 - 0.9) * slope
        square[rows] = 0.999 * square[rows] + (1 - 0.999) * slope * slope
        divisor = np.sqrt(square[rows] / (1 - 0.999**step)) + 1e-8
        expected[rows] += 0.05 / (1 - 0.9**step) * mean[rows] / divisor
    np.testing.assert_array_equal(table, expected)


def test_scores_of_pairs():
    rng = np.random.default_rng(0)
    for dtype, width in ((np.float32, 19), (np.float64, 8)):
        U, V, b = (
            rng.normal(size=(5, width)).astype(dtype),
            rng.normal(size=(9, width)).astype(dtype),
            rng.normal(size=9),
        )
        users, items = np.array([4, 0, 2], np.int32), rng.integers(-1, 9, (3, 7)).astype(np.int32)
        expected = np.where(items < 0, 0, np.einsum("bk,btk->bt", U[users], V[items]) + b[items])
        assert np.allclose(scores(U, V, users, items, bias=b.astype(dtype)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: model(factors=1), None),
        (lambda: model("bprs"), "objective: expected one of"),
        (lambda: model(mode="hogwild"), "mode: expected one of"),
        (lambda: model("t-ce", mode="lock-free"), "objective: expected bpr, bpo, or nbpo .* in the mode 'lock-free'"),
        (lambda: model(mode="deterministic", dtype="float64"), "dtype: expected 'float32' in the mode"),
        (
            lambda: model(mode="lock-free", sampler=Uniform(verify=False)),
            "sampler: expected uniform or popularity, verified",
        ),
        (lambda: model(optimizer="adam", l2="all"), "l2: expected 'touched'"),
        (lambda: model(learning_rate=float("nan")), "learning_rate: expected a number"),
        (lambda: model(iterations=0), "iterations: expected an integer of at least 1"),
        (
            lambda: model().fit(sp.csr_array((3, 4), dtype=np.float32), False),
            "user_items: expected at least one interaction",
        ),
        (lambda: model().fit(TRAIN, False, validation=TRAIN), "validation"),
        (lambda: MatrixFactorization(1 << 14).fit(sp.eye_array(10**7, format="csr"), False), "factors of .*GiB"),
        (lambda: model().fit(TRAIN, False, validation=HELD[:5]), "validation: expected 90 users"),
        (lambda: model().fit(TRAIN, False, validation=HELD * 0), "validation: expected at least one interaction"),
        (
            lambda: model("bpo", learning_rate=1e30).fit(TRAIN, False),
            "learning_rate: expected one that is small enough",
        ),
        (lambda: model().fit(TRAIN, False).partial_fit(sp.csr_array((2, 9))), "user_items: expected 70 items"),
        (lambda: model().fold_in(TRAIN), "expected a fitted model"),
        (lambda: model().fit(TRAIN, False).logits("flip", [0]), "name: expected one of"),
        (lambda: model(num_negatives=71, mode="minibatch").fit(TRAIN, False), "k: expected at most the 70 items"),
        (lambda: MatrixFactorization.from_preset("nbpo", "netflix"), "dataset: expected one of"),
        (lambda: model("nbpo").fit(TRAIN, False).logits("flip", [-1]), "userids: expected positions from 0 to 89"),
        (lambda: model(NBPO([0.1, 0.2])).fit(TRAIN, False), "flip_rate: expected 70 rates, one for each item, got 2"),
        (lambda: model(NBPO([0.1] * 71)).fit(TRAIN, False), "flip_rate: expected 70 rates"),
        (lambda: model(NBPO([0.1] * 90, "user")).fit(TRAIN, False).fold_in(TRAIN), "user_items: expected the users of"),
        (lambda: model(metric="nonsense"), 'metrics: expected names such as "ndcg@20"'),
        (lambda: model(metric=5), "metric: expected a name"),
        (lambda: model(metric="gini@5"), "metric: expected one of .* got 'gini'"),
        (lambda: model(biases="no"), "biases: expected True or False, got 'no'"),
        (
            lambda: model("bpo", learning_rate=1e42, dtype="float64", iterations=1, batch_size=9999).fit(TRAIN, False),
            "learning_rate: expected one that is small enough",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError if words else TypeError, match=words):
        call()

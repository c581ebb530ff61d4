"""Samplers that use scores: against brute force, limiting cases, and how often they draw hidden likes."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chi2_contingency, chisquare

from graphnoise.errors import InputError
from recsys.models.mf import MatrixFactorization
from recsys.samplers import (
    AHNS,
    AOBPR,
    BNS,
    DNS,
    DNSMN,
    SAMPLERS,
    SRNS,
    WARP,
    AdaSIR,
    FalseNegatives,
    InBatch,
    Popularity,
    Sampler,
    Uniform,
    false_negatives,
    sampler,
)  # fmt: skip
from recsys.samplers.base import fit_sampler

USERS, ITEMS = 30, 41
X = sp.random_array((USERS, ITEMS), density=0.3, format="csr", rng=1).sign()
RNG = np.random.default_rng(0)
U, V = RNG.normal(size=(USERS, 4)), RNG.normal(size=(ITEMS, 4))
R = U @ V.T
DENSE = X.toarray() > 0


def score(users, items):
    return np.take_along_axis(R[users], items.astype(np.int64), axis=1)


def ready(kind, matrix=X):
    return kind.fit(matrix).bind(score, lambda: (U, V))


def positives(repeats=1):
    users, items = (np.repeat(part, repeats) for part in X.nonzero())
    return users, items


ALL = [kind() for kind in SAMPLERS.values()]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_no_known_positive_and_none_for_those_who_have_all(kind):
    M = X.tolil()
    M[4, :] = 1
    M[5, :] = 1
    M[5, 13] = 0
    M = M.tocsr()
    kind = ready(sampler(kind.parameters()), M)
    users, items = M.nonzero()
    for epoch in range(3):
        kind.epoch(epoch, np.random.default_rng(epoch))
        drawn = kind.sample(users, 3, rng=epoch, items=items)
        assert drawn.dtype == np.int32
        assert drawn.shape == (len(users), 3)
        assert not (M.toarray()[users[:, None], np.maximum(drawn, 0)] > 0)[drawn >= 0].any()
        assert (drawn[users == 4] == -1).all()
        assert set(np.unique(drawn[users == 5])) <= {13, -1}
        # Which may find none.
        if kind.name not in ("warp", "in-batch"):
            assert (drawn[users != 4] >= 0).all()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_a_seed_gives_the_draws_at_any_number_of_threads(kind):
    users, items = positives()
    draws = []
    for threads in (1, 2):
        made = ready(sampler({**kind.parameters(), **({"num_threads": threads} if kind.name != "in-batch" else {})}))
        rng = np.random.default_rng(6)
        made.epoch(0, rng)
        draws.append(made.sample(users, 2, rng, items=items))
    assert np.array_equal(*draws)
    assert repr(sampler(kind.parameters()).parameters()) == repr(kind.parameters())


def frequencies(kind, users, items, k=4):
    """How often each item is drawn."""
    return np.bincount(ready(kind).sample(users, k, rng=3, items=items).ravel(), minlength=ITEMS)


def test_dns_m_n_may_give_all_of_the_best():
    users = np.full(50, 2)
    assert np.array_equal(frequencies(DNSMN(1, 6), users, None), frequencies(DNS(6), users, None))
    drawn = ready(DNSMN(3, 12, "all")).sample(users, 3, rng=1)
    found = DNS.fit(DNS(12), X).bind(score)._scored_candidates(users.astype(np.int32), 1, np.random.default_rng(1))
    best = np.take_along_axis(found[0][:, 0], np.argsort(-found[1][:, 0], kind="stable"), axis=1)[:, :3]
    assert np.array_equal(drawn, best)


def test_ranks_of_aobpr_fall_exponentially():
    """One factor and no known positives: the distribution is that of ranks."""
    empty = sp.csr_array(([1.0], ([29], [40])), shape=X.shape)
    kind = AOBPR(scale=5.0).fit(empty).bind(score, lambda: (np.ones((USERS, 1)), V[:, :1]))
    got = np.bincount(kind.sample(np.zeros(50_000, int), 1, rng=0).ravel(), minlength=ITEMS)
    q = np.exp(-np.arange(ITEMS) / 5.0)
    order = np.argsort(-V[:, 0])
    assert chisquare(got[order], q / q.sum() * got.sum()).pvalue > 1e-3
    down = AOBPR(scale=5.0).fit(empty).bind(score, lambda: (-np.ones((USERS, 1)), V[:, :1]))
    turned = np.bincount(down.sample(np.zeros(50_000, int), 1, rng=0).ravel(), minlength=ITEMS)
    assert chisquare(turned[order[::-1]], q / q.sum() * got.sum()).pvalue > 1e-3


def test_probabilities_of_a_true_negative():
    assert BNS.unbias(0.5, 0.1) == pytest.approx(0.9)
    assert BNS.unbias(np.array([1.0]), np.array([0.0])) == pytest.approx(0.5)
    F = np.linspace(0, 1, 11)
    assert (np.diff(BNS.unbias(F, np.full(11, 0.2))) < 0).all()


def test_in_batch_has_no_negative_of_a_user_alone():
    alone = ready(InBatch()).sample([3], 2, rng=0, items=[int(np.flatnonzero(DENSE[3])[0])])
    assert alone.tolist() == [[-1, -1]]
    assert InBatch().fit(X).probabilities() == pytest.approx(DENSE.sum(0) / DENSE.sum())


def simulated(seed=0):
    """Likes by a low-rank truth; a third of them is hidden."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(120, 4)) @ rng.normal(size=(4, 90)) + 0.3 * rng.normal(size=(120, 90))
    likes = truth > np.quantile(truth, 0.85, axis=1, keepdims=True)
    hidden = likes & (rng.random(likes.shape) < 1 / 3)
    return sp.csr_array((likes & ~hidden).astype(np.float32)), sp.csr_array(hidden.astype(np.float32))


def test_false_negatives_on_simulated_data():
    """Hard samplers draw more hidden likes than chance; debiased ones fewer than DNS."""
    known, hidden = simulated()
    model = MatrixFactorization(8, "bpo", iterations=30, batch_size=256, num_threads=1).fit(known, False)
    dense = np.asarray(model.scores(np.arange(120)))

    def rate(kind):
        kind.fit(known).bind(
            lambda users, items: np.take_along_axis(dense[users], items.astype(np.int64), axis=1),
            lambda: (model.user_factors, model.item_factors),
        )
        return false_negatives(kind, hidden, k=2, passes=8)

    names = ("uniform", "dns", "dns-mn", "warp", "srns", "adasir", "bns", "ahns")
    found = {**{name: rate(sampler(name)) for name in names}, "aobpr": rate(AOBPR(scale=20.0))}
    share = hidden.sum() / (known.shape[0] * known.shape[1] - known.sum())
    # Users with many positives weigh more.
    assert found["uniform"].uniform == pytest.approx(share, rel=0.15)
    assert found["uniform"].rate == pytest.approx(found["uniform"].uniform, rel=0.1)
    assert all(found[name].lift > 1.5 for name in ("dns", "dns-mn", "warp", "srns", "adasir", "aobpr"))
    assert max(found[name].lift for name in ("bns", "ahns")) < found["dns"].lift / 2
    assert found["dns"].skipped == 0


def test_false_negatives_of_one_item_and_by_default():
    known, hidden = sp.csr_array([[0.0, 1.0]]), sp.csr_array([[1.0, 0.0]])
    found = false_negatives(Uniform().fit(known), hidden)
    assert found == FalseNegatives(rate=1.0, uniform=1.0, draws=1, skipped=0)
    assert found.lift == 1.0
    assert np.isnan(false_negatives(Uniform().fit(known), sp.csr_array((1, 2))).lift)
    for name, value in {"k": 0, "passes": 0, "rng": -1, "epoch": -1, "hidden": None}.items():
        with pytest.raises(InputError, match=f"^{name}: expected "):
            false_negatives(Uniform().fit(known), **{"hidden": hidden} | {name: value})


def test_false_negatives_of_a_later_epoch():
    """Counting goes on where training stopped, so that SRNS has its weight of variation."""
    known, hidden = simulated()
    srns, epochs = SRNS(), []
    before, srns.epoch = srns.epoch, lambda number, rng: (epochs.append(number), before(number, rng))
    srns.fit(known).bind(lambda users, items: np.zeros(items.shape, np.float32))
    false_negatives(srns, hidden, passes=2)
    false_negatives(srns, hidden, passes=2, epoch=30)
    assert epochs == [0, 1, 30, 31]


@pytest.mark.parametrize(
    "kind", [k for k in ALL if k.name not in ("uniform", "popularity")], ids=lambda kind: kind.name
)
def test_models_learn_with_every_sampler(kind):
    known, hidden = simulated()
    given = {**kind.parameters(), **({"candidates": 10} if kind.name == "dns-mn" else {})}
    objective = "warp" if kind.name == "warp" else "softmax" if kind.name == "in-batch" else "bpr"
    made = MatrixFactorization(8, objective, given, iterations=12, batch_size=512, num_threads=1, learning_rate=0.1)
    before = MatrixFactorization(8, iterations=1, learning_rate=0.0).fit(known, False)
    auc = [
        np.mean([(m.scores([u])[0, hidden[[u]].indices][:, None] > m.scores([u])[0][None]).mean() for u in range(120)])
        for m in (made.fit(known, False), before)
    ]
    assert auc[0] > 0.62 > 0.55 > auc[1]


def test_popularity_draws_fewer_hidden_likes_with_verification():
    users, _ = positives(50)
    table = np.array([frequencies(Popularity(a), users, None) for a in (0.0, 1.0)])
    assert chi2_contingency(table).pvalue < 1e-6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DNS().fit(X).sample([0], 1, rng=0), "sampler: expected scores of a model, .* which 'dns' needs"),
        (lambda: ready(WARP()).sample([0], 1, rng=0), "items: expected the positives, which 'warp' needs"),
        (lambda: ready(AHNS()).sample([0, 1], 1, rng=0, items=[1]), "items: expected one positive for each of 2 users"),
        (lambda: ready(AHNS()).sample([0], 1, rng=0, items=[99]), "items: expected items from 0 to 40"),
        (lambda: AOBPR().fit(X).bind(score).sample([0], 1, rng=0), "sampler: expected the factors of a model"),
        (lambda: ready(DNSMN(2, 5, "all")).sample([0], 1, rng=0), "k: expected 2 negatives"),
        (lambda: DNSMN(6, 5), "top: expected an integer from 1 to 5"),
        (lambda: DNSMN(2, 5, "both"), "reading: expected one of"),
        (lambda: sampler({}), "sampler: expected one of .* got None"),
        (lambda: sampler("dsn"), "sampler: expected one of .*did you mean 'dns'"),
        (lambda: sampler({"name": "dns", "pool": 3}), "sampler: expected arguments of DNS"),
        (lambda: false_negatives(Uniform().fit(X), X), "hidden: expected likes that are not among"),
        (lambda: SRNS(history=1), "history: expected an integer of at least 2"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize("name", ["srns", "adasir"])
def test_pools_need_a_model(name):
    with pytest.raises(InputError, match=f"sampler: expected scores of a model, .* {name!r} needs"):
        false_negatives(SAMPLERS[name]().fit(X), sp.csr_array(X.shape))


@pytest.mark.parametrize(
    "greedy",
    [DNS(10**10), WARP(10**10), AdaSIR(pool=10**11), AdaSIR(10**11), SRNS(size=10**11), SRNS(pool=10**11), BNS(10**10)],
    ids=lambda sampler: sampler.name,
)
def test_more_candidates_than_memory_holds_are_refused(greedy):
    with pytest.raises(InputError, match=r" users: expected to need at most .* GiB of memory, got"):
        ready(greedy).sample(np.zeros(1000, int), 1, 0, items=np.zeros(1000, int))


def test_items_are_ranked_again_after_n_log_n_draws():
    fitted = ready(AOBPR())
    # 41 log 41 is 152.3.
    fitted.sample(np.zeros(151, int), 1, 0)
    ranked = fitted._order
    fitted.sample([0], 1, 0)
    assert fitted._order is ranked
    fitted.sample([0], 1, 0)
    assert fitted._order is not ranked


@pytest.mark.parametrize("kind", [Uniform, Popularity])
def test_attempts_are_draws_before_the_exact_one(kind):
    # Six of seven items are known: few draws are accepted at once.
    dense = sp.csr_array(np.arange(200).reshape(10, 20) % 7 > 0)
    first, last = (kind(attempts=attempts).fit(dense).sample(np.arange(10), 2, 0) for attempts in (1, 30))
    assert first.tolist() != last.tolist()


def test_defaults_of_a_sampler_of_a_user():
    class Own(Sampler):
        def _draw(self, users, k, rng, items): ...

    assert (Own().verify, Own().attempts, Own().num_threads) == (True, 16, 1)


def test_names_may_have_underscores():
    assert isinstance(sampler("dns_mn"), DNSMN)
    assert isinstance(sampler({"name": "in_batch"}), InBatch)


def test_a_copy_is_not_bound_to_the_model():
    copy = pickle.loads(pickle.dumps(ready(AOBPR())))
    assert repr(copy) == repr(AOBPR())
    with pytest.raises(InputError, match="sampler: expected scores of a model"):
        copy.sample([0], 1, 0)


def test_known_positives_of_a_sampler_are_checked():
    class Own(Uniform):
        known = None

    own, matrix = Own(), sp.csr_array(X)
    for known in (None, SimpleNamespace(num_users=USERS, num_items=ITEMS), Uniform().fit(X[1:]).known):
        Own.known = known
        with pytest.raises(InputError, match=r"^uniform\.known: expected a Known of 30 users and 41 items"):
            fit_sampler(own, matrix)


def test_ranks_of_another_matrix_are_discarded():
    fitted = ready(AOBPR())
    fitted.sample([0], 1, 0)
    few = fitted.fit(X[:, :7]).bind(score, lambda: (U, V[:7]))
    assert few.sample(np.arange(USERS), 3, 0).max() < 7

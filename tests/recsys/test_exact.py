"""Objectives and samplers with every argument at another value than its default, against their formulas written out."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.kernels.negatives import Alias, Known, draw, streams
from recsys.objectives import (
    BPO,
    BPR,
    NBPO,
    NBPOEM,
    WBPR,
    Backward,
    DeCA,
    DislikeBPR,
    DoublyRobust,
    Forward,
    Hinge,
    NBPOo,
    NBPOs,
    NonNegativePU,
    Pairs,
    RelevanceMF,
    ReweightedCE,
    SampledSoftmax,
    TruncatedCE,
    UnbiasedBPR,
)  # fmt: skip
from recsys.objectives.base import fit_objective
from recsys.samplers import AHNS, AOBPR, BNS, DNS, DNSMN, SRNS, WARP, AdaSIR, InBatch, Popularity, Uniform

# Four users and five items, of popularity 4, 2, 1, 1 and 0.
X = sp.csr_array(np.array([[1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 1, 0]], float))
POPULARITY = np.array([4, 2, 1, 1, 0])
USERS, ITEMS = np.array([0, 1, 3], np.int32), np.array([1, 2, 3], np.int32)
NEGATIVES = np.array([[2, 4], [1, 3], [1, 2]], np.int32)
WEIGHT = np.array([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]])
POSITIVE, NEGATIVE = np.array([0.7, -0.4, 1.3]), np.array([[0.2, -1.1], [0.9, 0.1], [-0.3, 0.6]])
Q = np.array([0.4, 0.1, 0.2, 0.1, 0.2])


def s(x):
    return 1 / (1 + math.exp(-x))


def log_s(x):
    return -math.log1p(math.exp(-x))


def forward(R, N, fn, fp):
    return math.log((1 - fn) * s(R) + fp * s(-R)), math.log((1 - fp) * s(-N) + fn * s(N))


def backward(R, N, fn, fp):
    shown = ((1 - fp) * log_s(R) - fn * log_s(-R)) / (1 - fn - fp)
    return shown, ((1 - fn) * log_s(-N) - fp * log_s(N)) / (1 - fn - fp)


def theta(item, power, clip):
    return max((POPULARITY[item] / 4) ** power, clip)


# By objective, the value of a draw from the scores R and N of the items i and j of the user u.
DRAWS = [
    (BPR(), lambda R, N, u, i, j: log_s(R - N)),
    (WBPR(), lambda R, N, u, i, j: log_s(R - N)),
    (BPO(), lambda R, N, u, i, j: log_s(R) + log_s(-N)),
    (Hinge(), lambda R, N, u, i, j: -max(0, 1 - (R - N))),
    (NBPOo(0.3), lambda R, N, u, i, j: sum(forward(R, N, 0.3, 0))),
    (NBPOs(0.3), lambda R, N, u, i, j: 0.7 * s(R) + s(-N) + 0.3 * s(N)),
    (NBPOo([0.1, 0.2, 0.3, 0.4], "user"), lambda R, N, u, i, j: sum(forward(R, N, (u + 1) / 10, 0))),
    (
        NBPOo([0.1, 0.2, 0.3, 0.4, 0.5], "item"),
        lambda R, N, u, i, j: forward(R, N, (i + 1) / 10, 0)[0] + forward(R, N, (j + 1) / 10, 0)[1],
    ),
    (Forward(0.2, 0.1), lambda R, N, u, i, j: sum(forward(R, N, 0.2, 0.1))),
    (Backward(0.2, 0.1), lambda R, N, u, i, j: sum(backward(R, N, 0.2, 0.1))),
    (
        RelevanceMF(0.7, 0.3),
        lambda R, N, u, i, j: log_s(R) / theta(i, 0.7, 0.3) + (1 - 1 / theta(i, 0.7, 0.3)) * log_s(-R) + log_s(-N),
    ),
    (UnbiasedBPR(0.7, 0.3), lambda R, N, u, i, j: log_s(R - N) / theta(i, 0.7, 0.3)),
]


def tensors(**fields):
    given = {"users": USERS, "items": ITEMS, "negatives": NEGATIVES} | fields
    if given.get("weight") is not None:
        given["weight"] = torch.tensor(given["weight"])
    return torch.tensor(POSITIVE, requires_grad=True), torch.tensor(NEGATIVE, requires_grad=True), given


def slopes(kind, **fields):
    """Return the derivatives, after a comparison with those of the torch form."""
    extra = fields.pop("extra", {})
    given = {"users": USERS, "items": ITEMS, "negatives": NEGATIVES} | fields
    found = kind.derivatives(Pairs(POSITIVE, NEGATIVE, extra, **given))
    positive, negative, context = tensors(**fields)
    if not extra:
        kind.loss(positive, negative, **context).backward()
        np.testing.assert_allclose(found.positive.sum(1), -positive.grad, atol=1e-12)
        np.testing.assert_allclose(found.negative, -negative.grad, atol=1e-12)
    return found


@pytest.mark.parametrize(("kind", "value"), DRAWS, ids=lambda x: repr(x) if hasattr(x, "loss") else "")
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_objectives_are_the_weighted_sum_over_draws(kind, value, weight):
    kind.fit(X, Q)
    positive, negative, context = tensors(weight=weight)
    expected = sum(
        (1 if weight is None else weight[b, t])
        * value(POSITIVE[b], NEGATIVE[b, t], USERS[b], ITEMS[b], NEGATIVES[b, t])
        for b in range(3)
        for t in range(2)
    )
    assert -kind.loss(positive, negative, **context).item() == pytest.approx(expected, rel=1e-12)
    slopes(kind, weight=weight)


DISLIKED = np.array([[True, False], [False, True], [False, False]])


def test_a_known_dislike_counts_more():
    found = slopes(DislikeBPR(3.0), weight=WEIGHT, disliked=DISLIKED)
    expected = WEIGHT * np.where(DISLIKED, 3, 1) * [[s(N - R) for N in NEGATIVE[b]] for b, R in enumerate(POSITIVE)]
    np.testing.assert_allclose(found.positive, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.negative, -found.positive)
    plain = slopes(BPR(), weight=WEIGHT)
    for same in (slopes(DislikeBPR(3.0), weight=WEIGHT), slopes(DislikeBPR(1.0), weight=WEIGHT, disliked=DISLIKED)):
        np.testing.assert_array_equal(same.negative, plain.negative)


def test_doubly_robust_error_of_a_pair():
    """The estimator of section 3 of the paper and the loss of its second model, a draw at a time."""
    dislikes = sp.csr_array(np.array([[0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]))
    kind = DoublyRobust(1.0, 0.3)
    fit_objective(kind, X, None, dislikes)
    # Ratings of the items: 4, 2, 2, 2 and 1.
    np.testing.assert_allclose(kind.theta, [1, 0.5, 0.5, 0.5, 0.3])
    Z = np.array([0.3, -0.8, 0.1]), np.array([[-0.2, 0.5], [1.0, -1.5], [0.4, 0.9]])
    given = {"disliked": DISLIKED, "weight": WEIGHT}
    found = slopes(kind, extra={"imputed": Z}, **given)
    total = 0

    def pair(R, Z, label, observed, theta):
        g = s(Z)
        imputed, error = (-y * log_s(R) - (1 - y) * log_s(-R) for y in (g, label))
        by_score = (s(R) - g) + observed * ((s(R) - label) - (s(R) - g)) / theta
        # The squared error of the imputed error, whose derivative by g is that of (g - y)² R².
        assert (error - imputed) ** 2 == pytest.approx(((g - label) * R) ** 2)
        by_imputed = observed * 2 * (g - label) * R**2 * g * (1 - g) / theta
        value = imputed + observed * (error - imputed) / theta + observed * (error - imputed) ** 2 / theta
        return value, by_score, by_imputed

    for b in range(3):
        for t in range(2):
            w, item = WEIGHT[b, t], NEGATIVES[b, t]
            like = pair(POSITIVE[b], Z[0][b], 1, True, kind.theta[ITEMS[b]])
            other = pair(NEGATIVE[b, t], Z[1][b, t], 0, DISLIKED[b, t], kind.theta[item])
            total += w * (like[0] + other[0])
            assert found.positive[b, t] == pytest.approx(-w * like[1], abs=1e-12)
            assert found.negative[b, t] == pytest.approx(-w * other[1], abs=1e-12)
            assert found.extra["imputed"][0][b, t] == pytest.approx(-w * like[2], abs=1e-12)
            assert found.extra["imputed"][1][b, t] == pytest.approx(-w * other[2], abs=1e-12)
    positive, negative, context = tensors(extra={"imputed": tuple(map(torch.tensor, Z))}, **given)
    assert kind.loss(positive, negative, **context).item() == pytest.approx(total, rel=1e-12)


def test_the_doubly_robust_estimate_is_that_of_all_pairs_if_one_model_is_right():
    """Ratings observed with known propensities; a wrong imputed label, or wrong propensities beside the right one."""
    rng = np.random.default_rng(0)
    R, label, n = rng.normal(size=400_000), 0.0, 400_000
    theta = np.array([0.2, 0.8])
    item = rng.integers(0, 2, n)
    observed = rng.random(n) < theta[item]
    for imputed_label, assumed in ((0.9, theta), (label, np.array([0.9, 0.3]))):
        kind = DoublyRobust()
        kind.theta = assumed
        Z = np.full(n, np.log(max(imputed_label, 1e-12) / (1 - imputed_label)))
        found = kind.derivatives(
            Pairs(np.zeros(n), R[:, None], {"imputed": (np.zeros(n), Z[:, None])}, items=item, negatives=item[:, None],
                  disliked=observed[:, None])
        ).negative  # fmt: skip
        # The derivative by the score, of all pairs.
        assert -found.mean() == pytest.approx((1 / (1 + np.exp(-R))).mean(), abs=4e-3)


@pytest.mark.parametrize("kind", [NBPO(0.3), NBPOEM(0.3), ReweightedCE(0.5)], ids=repr)
def test_derivatives_that_are_no_gradient(kind):
    found = slopes(kind, weight=WEIGHT)
    for b in range(3):
        R = POSITIVE[b]
        for t in range(2):
            N = NEGATIVE[b, t]
            hidden = 0.3 * s(N) / (s(-N) + 0.3 * s(N))
            up, down = {
                "nbpo": (0.7 * s(-R), 0.3 * s(-N) - s(N)),
                "nbpo-em": (s(-R), hidden * s(-N) - (1 - hidden) * s(N)),
                "r-ce": (s(R) ** 0.5 * s(-R), -(s(-N) ** 0.5) * s(N)),
            }[kind.name]
            assert found.positive[b, t] == pytest.approx(WEIGHT[b, t] * up, abs=1e-12)
            assert found.negative[b, t] == pytest.approx(WEIGHT[b, t] * down, abs=1e-12)


@pytest.mark.parametrize(("temperature", "correct"), [(0.5, True), (2.0, False)])
def test_sampled_softmax(temperature, correct):
    kind = SampledSoftmax(temperature, correct).fit(X, Q)
    positive, negative, context = tensors(weight=WEIGHT)
    total = 0
    for b in range(3):
        own = math.exp(POSITIVE[b] / temperature)
        share = [2 * Q[j] if correct else 1 for j in NEGATIVES[b]]
        others = sum(w * math.exp(N / temperature) / k for w, N, k in zip(WEIGHT[b], NEGATIVE[b], share, strict=True))
        total += math.log(own / (own + others))
    assert -kind.loss(positive, negative, **context).item() == pytest.approx(total, rel=1e-12)
    slopes(kind, weight=WEIGHT)
    uniform = SampledSoftmax(temperature, True).fit(X, None)
    np.testing.assert_allclose(
        uniform.derivatives(Pairs(POSITIVE, NEGATIVE, negatives=NEGATIVES)).negative,
        SampledSoftmax(temperature, True)
        .fit(X, np.full(5, 0.2))
        .derivatives(Pairs(POSITIVE, NEGATIVE, negatives=NEGATIVES))
        .negative,
    )


@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("direction", ["both", "positives", "negatives"])
def test_deca(direction, step):
    """The loss of section 4 of the paper, a draw at a time; a positive counts once per negative."""
    kind = DeCA(0.3, 4.0, 3.0, direction)
    rng = np.random.default_rng(0)
    extra = {name: (rng.normal(size=3), rng.normal(size=(3, 2))) for name in ("aux", "h1", "h2")}
    given = {name: tuple(map(torch.tensor, sides)) for name, sides in extra.items()}
    positive, negative, context = tensors(extra=given, step=step, weight=WEIGHT)
    trusted = direction == "positives" or (direction == "both" and step == 4)

    def divergence(a, b):
        return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))

    def side(R, aux, h1, h2, clicked):
        f, g = s(R), s(aux)
        if trusted:
            gain = (1 - f) * log_s(h1) if clicked else (1 - f) * log_s(-h1) - 4 * f
        else:
            gain = f * log_s(h2) - 3 * (1 - f) if clicked else f * log_s(-h2)
        return 0.3 * divergence(g, f) + 0.7 * divergence(f, g) - gain

    total = 0
    for b in range(3):
        for t in range(2):
            one = side(POSITIVE[b], *(extra[name][0][b] for name in extra), True)
            other = side(NEGATIVE[b, t], *(extra[name][1][b, t] for name in extra), False)
            total += WEIGHT[b, t] * (one + other)
    assert kind.loss(positive, negative, **context).item() == pytest.approx(total, rel=1e-12)


def test_truncation_grows_by_its_exponent_and_ignores_positives_of_no_weight():
    """At step 2 of 4 the rate is .8 / 4, a fifth; the positive of the lowest score has no weight."""
    kind = TruncatedCE(0.8, ramp=4, exponent=2.0)
    positive = np.array([0.1, -5.0, 0.3, 0.2, 0.5, 0.4])
    counts = np.arange(6) != 1
    assert kind.dropped(positive, counts, 2, 1).tolist() == [True, *[False] * 5]
    assert kind.dropped(positive, counts, 4, 1).sum() == 4
    # Equal scores: the earlier ones.
    assert np.flatnonzero(kind.dropped(np.zeros(5), np.ones(5, bool), 3, 1)).tolist() == [0, 1, 2]
    weight = np.ones((6, 2)) * counts[:, None]
    for found in (
        kind.derivatives(Pairs(positive, np.zeros((6, 2)), weight=weight, step=2)).positive,
        _slope(kind, positive, weight, 2),
    ):
        assert (found.reshape(6, -1).sum(1) == 0).tolist() == [True, True, False, False, False, False]


def _slope(kind, positive, weight, step):
    leaf = torch.tensor(positive, requires_grad=True)
    kind.loss(leaf, torch.zeros(weight.shape, dtype=leaf.dtype), weight=torch.tensor(weight), step=step).backward()
    return -leaf.grad.numpy()


@pytest.mark.parametrize(
    ("known", "guarded"),
    [([[True, True], [True, True], [True, True]], True), ([[True, False]] + [[False] * 2] * 2, False)],
)
def test_a_batch_of_negative_loss_is_no_step_of_ubpr(known, guarded):
    """A known negative j counts 1 - 1 / theta_j, below 0."""
    kind, known = UnbiasedBPR(0.5, 0.25).fit(X, None), np.array(known, bool)
    total, expected = 0, np.zeros((3, 2))
    for b in range(3):
        for t in range(2):
            weight = (1 - known[b, t] / theta(NEGATIVES[b, t], 0.5, 0.25)) / theta(ITEMS[b], 0.5, 0.25)
            total += weight * -log_s(POSITIVE[b] - NEGATIVE[b, t])
            expected[b, t] = weight * s(NEGATIVE[b, t] - POSITIVE[b])
    assert (total < 0) == guarded
    found = slopes(kind, known=known)
    np.testing.assert_allclose(found.positive, 0 if guarded else expected, rtol=1e-12)
    np.testing.assert_array_equal(found.negative, -found.positive)
    positive, negative, context = tensors(known=known)
    assert kind.loss(positive, negative, **context).item() == pytest.approx(max(total, 0), rel=1e-12)


@pytest.mark.parametrize(("beta", "guarded"), [(0.02, True), (0.1, False)])
def test_the_bracket_of_nnpu_may_be_as_low_as_minus_beta(beta, guarded):
    prior, gamma = 0.9, 0.5
    R, N = (np.vectorize(s)(x) for x in (POSITIVE[:, None], NEGATIVE))
    bracket = (WEIGHT * (N - prior * R)).sum()
    assert -0.1 * WEIGHT.sum() < bracket < -0.02 * WEIGHT.sum()
    found = slopes(NonNegativePU(prior, beta, gamma), weight=WEIGHT)
    rise, fall = WEIGHT * R * (1 - R), WEIGHT * N * (1 - N)
    np.testing.assert_allclose(found.positive, rise * prior * (-gamma if guarded else 2), rtol=1e-12)
    np.testing.assert_allclose(found.negative, fall * (gamma if guarded else -1), rtol=1e-12)


# A larger matrix for the samplers, and scores of a model.
RNG = np.random.default_rng(0)
CLICKS = sp.random_array((9, 23), density=0.3, format="csr", rng=1).sign()
U, V = RNG.normal(size=(9, 3)), RNG.normal(size=(23, 3))
R = U @ V.T
KNOWN = Known.of(CLICKS)
WHO, OWN = (part.astype(np.int32) for part in CLICKS.nonzero())
OPTIONS = {"verify": False, "attempts": 2, "num_threads": 2}


def score(users, items):
    return np.take_along_axis(R[users], items.astype(np.int64), axis=1)


def drawn(kind, k, epochs=()):
    """Return a draw by a sampler of a new generator, and the generator that has the same state before it."""
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    kind.fit(CLICKS).bind(score, lambda: (U, V))
    for epoch in epochs:
        kind.epoch(epoch, rng)
    return kind.sample(WHO, k, rng, items=OWN), same


def candidates(users, each, rng, attempts=16, verify=True, **options):
    """Draw uniformly by the reference."""
    options = {"attempts": attempts, "verify": verify, **options}
    return draw(KNOWN, users, each, streams(rng)[0], backend="reference", **options)


@pytest.mark.parametrize("on_known", ["redraw", "skip"])
@pytest.mark.parametrize("kind", [Uniform, Popularity])
@pytest.mark.parametrize("verify", [True, False])
def test_static_draws(kind, on_known, verify):
    power = {"power": 0.5} if kind is Popularity else {}
    found, rng = drawn(kind(on_known=on_known, verify=verify, attempts=2, num_threads=2, **power), 3)
    table = Alias.of(np.bincount(CLICKS.indices, minlength=23) ** 0.5) if power else None
    expected = candidates(WHO, 3, rng, 2, verify, redraw=on_known == "redraw", table=table)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("options", [{}, OPTIONS])
def test_dns_takes_the_best_candidate(options):
    found, rng = drawn(DNS(4, **options), 2)
    pool = candidates(WHO, 8, rng, options.get("attempts", 16), options.get("verify", True)).reshape(-1, 2, 4)
    for b, u in enumerate(WHO):
        assert found[b].tolist() == [max(part, key=lambda j, u=u: R[u, j]) for part in pool[b]]


def test_dns_m_n_takes_one_of_the_best():
    found, rng = drawn(DNSMN(2, 5, **OPTIONS), 3)
    pool = candidates(WHO, 15, rng, 2, False).reshape(-1, 3, 5)
    chosen = rng.integers(0, 2, (len(WHO), 3))
    for b, u in enumerate(WHO):
        for t in range(3):
            best = sorted(range(5), key=lambda n: -R[u, pool[b, t, n]])
            assert found[b, t] == pool[b, t, best[chosen[b, t]]]


def test_warp_counts_the_tries():
    kind = WARP(3, num_threads=2)
    found, rng = drawn(kind, 2)
    pool = candidates(WHO, 6, rng, redraw=False).reshape(-1, 2, 3)
    for b, (u, i) in enumerate(zip(WHO, OWN, strict=True)):
        for t in range(2):
            tries = [n for n, j in enumerate(pool[b, t]) if j >= 0 and R[u, j] > R[u, i] - 1]
            assert found[b, t] == (pool[b, t, tries[0]] if tries else -1)
            if tries:
                assert kind.weights[b, t] == pytest.approx(math.log(max(1, 22 // (tries[0] + 1))))


def test_aobpr_draws_a_factor_and_a_rank():
    found, rng = drawn(AOBPR(4.0, attempts=1), 2, epochs=[0])
    order, spread = np.argsort(-V, axis=0, kind="stable"), V.std(axis=0)
    target, noise = rng.random((len(WHO), 2)), rng.random((len(WHO), 2))
    rest = candidates(WHO, 2, rng, 1)
    for b, u in enumerate(WHO):
        mass = np.cumsum(np.abs(U[u]) * spread)
        for t in range(2):
            factor = next(f for f in range(3) if target[b, t] * mass[-1] < mass[f])
            # The inverse of the distribution of ranks below 23.
            rank = math.floor(-4 * math.log(1 - noise[b, t] * (1 - math.exp(-23 / 4))))
            j = order[rank if U[u, factor] >= 0 else 22 - rank, factor]
            assert found[b, t] == (rest[b, t] if CLICKS[u, j] else j)


def test_ahns_takes_the_nearest_to_its_target():
    found, rng = drawn(AHNS(4, 1.5, 0.7, -3.0, **OPTIONS), 2)
    pool = candidates(WHO, 8, rng, 2, False).reshape(-1, 2, 4)
    for b, (u, i) in enumerate(zip(WHO, OWN, strict=True)):
        target = 0.7 * max(R[u, i] + 1.5, 1e-3) ** -2
        assert found[b].tolist() == [min(part, key=lambda j, u=u, x=target: abs(R[u, j] - x)) for part in pool[b]]


def test_bns_takes_the_least_risk():
    found, rng = drawn(BNS(4, 2.0, 6, **OPTIONS), 2)
    pool = candidates(WHO, 8, rng, 2, False).reshape(-1, 2, 4)
    reference = candidates(WHO, 6, rng, 2, False)
    like = np.bincount(CLICKS.indices, minlength=23) / 9

    def risk(b, j):
        u, i = WHO[b], OWN[b]
        F, t = np.mean([R[u, other] < R[u, j] for other in reference[b]]), like[j]
        true, false = (1 - F) * (1 - t), F * t
        unbias = true / (true + false) if true + false else 0.5
        return (1 - s(R[u, i] - R[u, j])) * (1 - 3 * unbias)

    for b in range(len(WHO)):
        assert found[b].tolist() == [min(part, key=lambda j, b=b: risk(b, j)) for part in pool[b]]


def test_srns_keeps_a_memory_and_prefers_what_varies():
    options = {"size": 4, "alpha": 0.8, "temperature": 0.5, "pool": 12, "history": 2, "warm_up": 5}
    kind = SRNS(**options, attempts=2, num_threads=2).fit(CLICKS).bind(score)
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    everyone = np.arange(9, dtype=np.int32)
    pool, memory, past = candidates(everyone, 12, same, 2), None, []
    for epoch in range(4):
        scale = 1 + epoch
        kind._scorer = lambda users, items, scale=scale: scale * score(users, items)
        kind.epoch(epoch, rng)
        memory = same.integers(0, 12, (9, 4), dtype=np.int32) if memory is None else memory
        both = np.concatenate([memory, same.integers(0, 12, (9, 4), dtype=np.int32)], axis=1)
        noise = same.gumbel(size=both.shape)
        past.append(scale * score(everyone, pool))
        rows = []
        for u in range(9):
            key = [past[-1][u, both[u, n]] / 0.5 + noise[u, n] for n in range(8)]
            rows.append([both[u, n] for n in sorted(range(8), key=lambda n, key=key: -key[n])[:4]])
        memory = np.array(rows, np.int32)
        np.testing.assert_array_equal(kind._memory, memory)
    found = kind.sample(WHO, 2, rng, items=OWN)
    for b, (u, i) in enumerate(zip(WHO, OWN, strict=True)):
        gain = []
        for place in memory[u]:
            probabilities = [np.float32(s(scores[u, place])) for scores in past[-2:]]
            gain.append(s(4 * R[u, pool[u, place]] - 4 * R[u, i]) + 0.8 * 3 / 5 * np.std(probabilities))
        best = sorted(range(4), key=lambda n, gain=gain: -gain[n])[:2]
        assert found[b].tolist() == [pool[u, memory[u, n]] for n in best]


def test_adasir_resamples_half_of_its_pool():
    kind = AdaSIR(6, 4, 0.5, attempts=2, num_threads=2).fit(CLICKS).bind(score)
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    everyone, pool = np.arange(9, dtype=np.int32), None
    for epoch in range(3):
        kind.epoch(epoch, rng)
        options, uniform = candidates(everyone, 6, same, 2), same.random((9, 4))
        fresh = np.empty((9, 4), int)
        for u in range(9):
            share = np.cumsum([math.exp(R[u, j] / 0.5) for j in options[u]])
            for n in range(4):
                fresh[u, n] = next(
                    j for j, end in zip(options[u], share, strict=True) if uniform[u, n] * share[-1] < end
                )
        pool = fresh if pool is None else np.where(same.random((9, 4)) < 0.5, fresh, pool)
        np.testing.assert_array_equal(kind._memory, pool)
    found, places = kind.sample(WHO, 2, rng), same.integers(0, 4, (len(WHO), 2))
    assert found.tolist() == [[pool[u, n] for n in row] for u, row in zip(WHO, places, strict=True)]


@pytest.mark.parametrize("verify", [True, False])
def test_in_batch_draws_positives_of_others(verify):
    found, rng = drawn(InBatch(verify=verify, attempts=2), 2)
    first = OWN[rng.integers(0, len(WHO), (len(WHO), 2))]
    wrong = CLICKS.toarray()[WHO[:, None], first] > 0
    again = iter(OWN[rng.integers(0, len(WHO), int(wrong.sum()))])
    for b, u in enumerate(WHO):
        for t in range(2):
            j = first[b, t]
            if verify and wrong[b, t]:
                j = next(again)
                j = -1 if CLICKS[u, j] else j
            assert found[b, t] == j

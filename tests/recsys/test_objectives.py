"""Derivatives of every objective: finite differences, autograd, identities, large logits."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphnoise.errors import InputError
from recsys.objectives import (
    BPO,
    BPR,
    NBPO,
    NBPOEM,
    OBJECTIVES,
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
    objective,
)  # fmt: skip

B, K, USERS, ITEMS = 7, 3, 5, 11
MATRIX = sp.random_array((USERS, ITEMS), density=0.4, format="csr", rng=3)
DISTRIBUTION = np.random.default_rng(5).dirichlet(np.ones(ITEMS))


def every():
    rng = np.random.default_rng(9)
    kinds = [NBPO, NBPOo, NBPOs, NBPOEM]
    found = [BPR(), BPO(), Hinge(), *(kind() for kind in kinds), *(kind(0.3) for kind in kinds)]
    found += [NBPO(rng.random(USERS), "user"), NBPOo(rng.random(ITEMS), "item")]
    found += [TruncatedCE(0.4, ramp=1), TruncatedCE(0.4, ramp=1, of="batch"), ReweightedCE(0.5)]
    found += [DeCA(0.3, 4.0, 3.0, direction) for direction in ("positives", "negatives", "both")]
    found += [DislikeBPR(3.0), DoublyRobust()]
    found += [RelevanceMF(), UnbiasedBPR(), NonNegativePU(0.2), NonNegativePU(0.9, gamma=0.5)]
    found += [Forward(0.2, 0.1), Forward(0.3), Backward(0.2, 0.1), SampledSoftmax(0.7), SampledSoftmax(correct=False)]
    return [kind.fit(MATRIX, DISTRIBUTION) for kind in found]


def pairs(kind, dtype=np.float64, scale=3.0, seed=0, **fields):
    rng = np.random.default_rng(seed)

    def sides():
        return rng.uniform(-scale, scale, B).astype(dtype), rng.uniform(-scale, scale, (B, K)).astype(dtype)

    positive, negative = sides()
    given = {
        "users": rng.integers(0, USERS, B), "items": rng.integers(0, ITEMS, B),
        "negatives": rng.integers(0, ITEMS, (B, K)), "step": 5,
        "disliked": np.arange(B * K).reshape(B, K) % 3 == 0,
    }  # fmt: skip
    return Pairs(positive, negative, {name: sides() for name in kind.logits}, **{**given, **fields})


def tensors(p, grad=True):
    def one(x):
        return torch.tensor(x, requires_grad=grad)

    extra = {name: (one(a), one(b)) for name, (a, b) in p.extra.items()}
    weight = None if p.weight is None else torch.tensor(p.weight)
    context = {"users": p.users, "items": p.items, "negatives": p.negatives, "step": p.step, "known": p.known}
    context["disliked"] = p.disliked
    return one(p.positive), one(p.negative), {"extra": extra, "weight": weight, **context}


def leaves(positive, negative, context):
    return [positive, negative, *(side for both in context["extra"].values() for side in both)]


def flat(found):
    """Derivatives by positive [B] and negative [B, K], then by each further logit."""
    out = [found.positive.sum(1), found.negative]
    for a, b in found.extra.values():
        out += [a.sum(1), b]
    return out


def gap(found, expected):
    return max(
        float(np.abs(a - b).max()) / max(1.0, float(np.abs(b).max())) for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("kind", every(), ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
def test_derivatives_are_those_of_the_torch_form(kind, weighted):
    weight = np.random.default_rng(2).integers(0, 3, (B, K)).astype(float) if weighted else None
    p = pairs(kind, scale=8.0, weight=weight)
    positive, negative, context = tensors(p)
    kind.loss(positive, negative, **context).backward()
    expected = [
        np.zeros(tuple(x.shape)) if x.grad is None else -x.grad.numpy() for x in leaves(positive, negative, context)
    ]
    assert gap(flat(kind.derivatives(p)), expected) < 1e-10


@pytest.mark.parametrize("kind", [kind for kind in every() if kind.is_gradient and kind.name != "warp"], ids=repr)
def test_gradients_are_central_differences(kind):
    p = pairs(kind, scale=8.0)
    positive, negative, context = tensors(p, grad=False)
    expected = []
    for leaf in leaves(positive, negative, context):
        slope = np.zeros(leaf.numel())
        for k, h in enumerate([1e-5] * leaf.numel()):
            values = []
            for sign in (h, -h):
                leaf.view(-1)[k] += sign
                values.append(float(kind.loss(positive, negative, **context)))
                leaf.view(-1)[k] -= sign
            slope[k] = -(values[0] - values[1]) / (2 * h)
        expected.append(slope.reshape(leaf.shape))
    assert gap(flat(kind.derivatives(p)), expected) < 1e-6


def test_nbpo_is_no_gradient():
    """The field has a curl: by R of the derivative by G, less by G of the derivative by R, on both terms."""
    h, kind = 1e-5, NBPO()

    def field(R, G, side):
        one, other = np.array([R]), np.array([[R]])
        found = kind.derivatives(Pairs(one, other, {"flip": (np.array([G]), np.array([[G]]))}))
        a, b = found.extra["flip"]
        return (found.positive, a)[:] if side == 0 else (found.negative, b)

    for side in (0, 1):
        curls = []
        for R, G in np.random.default_rng(0).normal(0, 3, (200, 2)):
            r_by_g = (field(R, G + h, side)[0] - field(R, G - h, side)[0]) / (2 * h)
            g_by_r = (field(R + h, G, side)[1] - field(R - h, G, side)[1]) / (2 * h)
            curls.append(abs(float((r_by_g - g_by_r)[0, 0])))
        assert 0.2 < max(curls) < 0.2501
    # And those of the likelihoods have none.
    for term in (NBPOo(), NBPOs()):
        assert term.is_gradient


@pytest.mark.parametrize("kind", [NBPO, NBPOo, NBPOEM])
@pytest.mark.parametrize("learned", [True, False])
def test_a_flip_rate_of_zero_is_bpo_to_the_bit(kind, learned):
    p = pairs(BPO(), scale=20.0)
    minus = {"flip": (np.full(B, -np.inf), np.full((B, K), -np.inf))}
    own = kind().derivatives(Pairs(p.positive, p.negative, minus)) if learned else kind(0.0).derivatives(p)
    plain = BPO().derivatives(p)
    assert np.array_equal(own.positive, plain.positive)
    assert np.array_equal(own.negative, plain.negative)


def test_surrogate_alone_is_not_bpo_without_flips():
    p = pairs(BPO())
    assert not np.allclose(NBPOs(0.0).derivatives(p).positive, BPO().derivatives(p).positive)


def test_numbers_of_a_constant_rate():
    R = np.array([0.7])
    found = NBPO(0.5).derivatives(Pairs(R, R[:, None]))
    s = 1 / (1 + np.exp(0.7))
    assert found.positive == pytest.approx(0.5 * s)
    assert found.negative == pytest.approx(0.5 * s - (1 - s))


def test_a_step_of_em_is_a_step_on_the_likelihood():
    p = pairs(NBPOEM(), scale=6.0)
    assert gap(flat(NBPOEM().derivatives(p)), flat(NBPOo().derivatives(p))) < 1e-12


def test_original_is_forward_correction():
    p = pairs(BPO(), scale=6.0)
    assert gap(flat(NBPOo(0.3).derivatives(p)), flat(Forward(0.3).derivatives(p))) < 1e-12


def test_likelihood_depends_on_the_product_alone():
    """(p, gamma) with the same p (1 - gamma) are one model: gamma cannot be identified."""
    q = 0.3
    losses = [NBPOo(g).loss(*_logit(q / (1 - g))) for g in (0.0, 0.4)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)


def _logit(p):
    value = torch.logit(torch.tensor([p], dtype=torch.float64))
    return value, value[:, None]


def test_pairwise_and_pointwise():
    p = pairs(BPR())
    shifted = Pairs(p.positive + 5, p.negative + 5)
    assert gap(flat(BPR().derivatives(shifted)), flat(BPR().derivatives(p))) < 1e-12
    assert gap(flat(BPO().derivatives(shifted)), flat(BPO().derivatives(p))) > 1e-2
    logistic = torch.nn.functional.binary_cross_entropy_with_logits
    one = torch.tensor(p.positive), torch.tensor(p.negative[:, :1])
    both = logistic(one[0], torch.ones(B).double(), reduction="sum") + logistic(
        one[1], torch.zeros(B, 1).double(), reduction="sum"
    )
    assert BPO().loss(*one).item() == pytest.approx(both.item(), rel=1e-12)


@pytest.mark.parametrize(
    "kind", [TruncatedCE(0.0), ReweightedCE(0.0), Forward(), Backward(), RelevanceMF(power=0.0)], ids=repr
)
def test_nothing_to_correct_is_cross_entropy(kind):
    p = pairs(kind)
    assert gap(flat(kind.fit(MATRIX, None).derivatives(p)), flat(BPO().derivatives(p))) < 1e-12


@pytest.mark.parametrize(("of", "number"), [("positives", 2), ("batch", 6)])
def test_what_is_truncated(of, number):
    """Of 10 positives with 2 negatives each at a rate of .2: 2 by the paper, 30 - int(.8 · 30) = 6 by the code."""
    positive = np.random.default_rng(0).normal(size=10)
    found = TruncatedCE(0.2, ramp=4, of=of).derivatives(Pairs(positive, np.zeros((10, 2)), step=4))
    dropped = np.flatnonzero(found.positive[:, 0] == 0)
    assert sorted(dropped) == sorted(np.argsort(positive)[:number])
    half = TruncatedCE(0.2, ramp=4).dropped(positive, np.ones(10, bool), 2, 2)
    assert half.sum() == 1


def test_the_guard_of_nnpu_turns_the_step():
    p = Pairs(np.full(4, 3.0), np.full((4, 1), -3.0))
    assert (NonNegativePU(0.9).derivatives(p).negative > 0).all()
    assert (NonNegativePU(0.01).derivatives(p).negative < 0).all()


def test_risk_of_nnpu_is_unbiased():
    """Two normal classes: with the true prior, the risk from positives and unlabelled is the one from labels."""
    rng, prior, n = np.random.default_rng(0), 0.3, 400_000
    like, other = rng.normal(1, 1, n), rng.normal(-1, 1, n)
    unlabelled = np.where(rng.random(n) < prior, rng.normal(1, 1, n), rng.normal(-1, 1, n))
    found = NonNegativePU(prior).loss(torch.tensor(like), torch.tensor(unlabelled)[:, None]).item() / n
    clean = prior * (1 / (1 + np.exp(like))).mean() + (1 - prior) * (1 / (1 + np.exp(-other))).mean()
    assert found == pytest.approx(clean, abs=2e-3)


def test_sampled_softmax_tends_to_the_full_one():
    rng = np.random.default_rng(1)
    scores, k = rng.normal(size=ITEMS), 20_000
    others = np.setdiff1d(np.arange(ITEMS), [4])
    q = DISTRIBUTION.copy()
    q[4] = 0
    q /= q.sum()
    drawn = rng.choice(ITEMS, k, p=q)[None]
    kind = SampledSoftmax().fit(MATRIX, q)
    found = kind.derivatives(Pairs(scores[[4]], scores[drawn], negatives=drawn))
    full = np.exp(scores) / np.exp(scores).sum()
    assert np.bincount(drawn[0], -found.negative[0], ITEMS)[others] == pytest.approx(full[others], abs=0.01)
    assert found.positive.sum() == pytest.approx(1 - full[4], abs=0.01)


@pytest.mark.parametrize("kind", every(), ids=repr)
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_large_logits_stay_finite_in_float32(kind, scale):
    for seed in range(3):
        p = pairs(kind, np.float32, scale, seed)
        for d in flat(kind.derivatives(p)):
            assert np.isfinite(d).all()
            assert d.dtype == np.float32
        assert torch.isfinite(kind.loss(*tensors(p)[:2], **tensors(p)[2]))


def test_names_and_parameters():
    for kind in every():
        again = objective(kind.parameters())
        assert repr(again) == repr(kind)
    assert set(OBJECTIVES) >= {"bpr", "bpo", "nbpo", "nbpo-em", "t-ce", "r-ce", "deca", "ubpr", "nnpu", "wbpr", "warp"}
    assert isinstance(objective("nbpo_em"), NBPOEM)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: objective({}), "objective: expected one of .* got None"),
        (lambda: objective("bprr"), "objective: expected one of .*did you mean 'bpr'"),
        (lambda: objective("nnpu"), "objective: expected arguments of NonNegativePU"),
        (lambda: NBPO(1.0), r"flip_rate: expected rates in \[0, 1\)"),
        (lambda: NBPO(float("nan")), "flip_rate: expected rates"),
        (lambda: NBPO([0.1], by="users"), "by: expected one of item, user"),
        (lambda: NBPO().derivatives(Pairs(np.zeros(1), np.zeros((1, 1)))), "extra: expected logits 'flip'"),
        (lambda: NBPO([0.1]).derivatives(Pairs(np.zeros(1), np.zeros((1, 1)))), "items: expected indices"),
        (lambda: Forward(0.6, 0.4), "false_positive_rate: expected rates that sum to less than 1"),
        (lambda: RelevanceMF().derivatives(pairs(BPR())), "objective: expected a fitted objective"),
        (lambda: BPR().loss(torch.zeros(2), torch.zeros(3, 1)), r"negative: expected shape \[2, k\]"),
        (lambda: BPR().derivatives(Pairs(np.zeros((2, 1)), np.zeros((2, 3)))), r"negative: expected shape \[2, k\]"),
        (lambda: BPR().derivatives(Pairs(np.zeros(2), np.zeros(2))), r"negative: expected shape \[2, k\]"),
        (lambda: TruncatedCE(1.5), "drop_rate: expected a rate"),
    ],
)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_margin_that_is_exactly_kept_has_no_slope():
    found = Hinge().derivatives(Pairs(np.array([1.0]), np.array([[-0.5, 0.0, 0.5]])))
    assert found.positive.tolist() == [[0, 0, 1]]
    assert found.negative.tolist() == [[0, 0, -1]]


def test_rates_of_items_are_those_of_the_items_drawn():
    listed, two = (
        NBPOo([0.1, 0.9]),
        Pairs(np.zeros(2), np.array([[0.5], [0.5]]), items=np.array([1, 0]), negatives=np.array([[0], [1]])),
    )
    found = listed.derivatives(two)
    for place, (positive, negative) in enumerate([(0.9, 0.1), (0.1, 0.9)]):
        one = Pairs(np.zeros(1), np.array([[0.5]]))
        assert found.positive[place] == NBPOo(positive).derivatives(one).positive
        assert found.negative[place] == NBPOo(negative).derivatives(one).negative


def test_softmax_without_a_distribution_takes_the_uniform_one():
    softmax = SampledSoftmax().fit(MATRIX, None)
    found = softmax.derivatives(Pairs(np.zeros(1), np.zeros((1, 2)), negatives=np.array([[0, 3]])))
    # Two negatives stand for all items, each for half of them.
    np.testing.assert_allclose(found.positive, [[ITEMS / 2 / (1 + ITEMS)] * 2], rtol=1e-12)


def test_negatives_that_do_not_count_set_no_scale():
    """An item that nobody has is e^-690 of the distribution: with it, all the rest would vanish, and 0 / 0 be left."""
    distribution = np.array([0.0, 0.5, 0.5])
    softmax = SampledSoftmax().fit(sp.csr_array((1, 3)), distribution)
    scores = np.array([0.0], np.float32), np.array([[800.0, 4.0]], np.float32)
    items, weight = np.array([[0, 1]]), np.array([[0.0, 1.0]])
    found = softmax.derivatives(Pairs(*scores, negatives=items, weight=weight))
    # K q is 1.
    share = np.exp(4.0) / (np.exp(4.0) + 1)
    np.testing.assert_allclose(found.negative, [[0, -share]], rtol=1e-6)
    nothing = softmax.derivatives(Pairs(*scores, negatives=items, weight=weight * 0))
    assert not nothing.negative.any()
    assert not nothing.positive.any()


def test_derivatives_ask_for_shapes_that_fit():
    for pairs, words in (
        (Pairs(np.zeros(1), np.zeros((5, 2))), r"negative: expected shape \[1, k\], got \(5, 2\) beside \(1,\)"),
        (Pairs([0.0], [[1.0]]), "negative: expected shape"),
        (
            Pairs(np.zeros(3), np.zeros((3, 2)), {"flip": (np.zeros(2), np.zeros((3, 2)))}),
            "extra: expected logits 'flip'",
        ),
    ):
        with pytest.raises(InputError, match=words):
            NBPO(None if pairs.extra else 0.1).derivatives(pairs)

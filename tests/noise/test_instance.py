import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.noise.calibration import calibrate, sample_flips
from graphnoise.noise.noisy_labels import round_half_up, sample_columns

N, C = 6000, 4
RNG = np.random.default_rng(0)
Y = RNG.integers(0, C, N)
X = RNG.normal(size=(N, 5))
ARCS = RNG.integers(0, N, (2, 3 * N))
P = RNG.dirichlet(np.ones(C), N)
FAMILIES = {
    "feature": lambda **k: noise.feature_dependent(X, **k),
    "structure": lambda **k: noise.structure_dependent(ARCS, **k),
    "confidence": lambda **k: noise.confidence_dependent(P, **k),
}


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60), st.floats(1e-9, 1) | st.just(0.0))
def test_calibration_meets_the_rate_and_keeps_the_order(weights, rate):
    weights = np.array(weights)
    p = calibrate(weights, rate)
    assert p.mean() == pytest.approx(rate, abs=1e-9)
    assert (p >= 0).all()
    assert (p <= 1).all()
    assert (np.diff(p[np.argsort(weights)]) >= -1e-12).all()
    free = p < 1
    ratio = p[free] / weights[free]
    # One common scale.
    assert (np.abs(ratio - ratio[:1]) <= 1e-9 * ratio).all()


def test_keys_at_the_bounds_of_a_draw():
    class Keys:
        def random(self, size):
            return np.array([0.5, 0.49])

    assert sample_flips(np.ones(2), 0.5, False, Keys()).tolist() == [1]
    assert sample_columns(np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]]), np.array([0.0, 0.5])).tolist() == [1, 1]
    assert [round_half_up(share) for share in (0.4, 0.5, 1.4999999999, 2.5)] == [0, 1, 2, 3]


def test_exact_picks_are_weighted_without_replacement(plausible):
    weights, hits = np.array([6.0, 3.0, 1.0]), np.zeros(3)
    for seed in range(4000):
        picked = sample_flips(weights, 2 / 3, True, np.random.default_rng(seed))
        assert len(set(picked.tolist())) == 2
        hits[picked] += 1
    # The other two win.
    missed = (0.3 * 1 / 7 + 0.1 * 3 / 9, 0.6 * 1 / 4 + 0.1 * 6 / 9, 0.6 * 3 / 4 + 0.3 * 6 / 7)
    for count, miss in zip(hits, missed, strict=True):
        plausible(count, 4000, 1 - miss)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.55, 1.0])
def test_rate_mask_and_kind(name, rate, plausible):
    mask = np.arange(N) % 3 > 0
    before = Y.copy()
    result = FAMILIES[name](y=Y, rate=rate, mask=mask, seed=1)
    # a Poisson-binomial varies less than the binomial of the same mean
    plausible(result.flipped.sum(), mask.sum(), rate)
    assert result.rate == result.flipped[mask].mean()
    assert (result.y[~mask] == Y[~mask]).all()
    assert (before == Y).all()
    assert ((result.y >= 0) & (result.y < C)).all()
    exact = FAMILIES[name](y=torch.from_numpy(Y), rate=rate, mask=torch.from_numpy(mask), seed=1, exact=True)
    assert isinstance(exact.y, torch.Tensor)
    assert int(exact.flipped.sum()) == round(rate * mask.sum())
    assert FAMILIES[name](y=Y, rate=rate, mask=[], seed=1).rate == 0.0
    again = FAMILIES[name](y=Y, rate=rate, mask=mask, seed=np.random.default_rng(1))
    assert (again.y == result.y).all()


def test_features_decide_the_wrong_class():
    # Six sorts of node, strong logits.
    x = 40 * np.repeat(np.random.default_rng(1).normal(size=(6, 5)), 200, axis=0)
    y = np.arange(1200) % 2
    result = noise.feature_dependent(x, y, 0.6, num_classes=5, seed=0)
    for sort in range(6):
        for true in (0, 1):
            members = (np.arange(1200) // 200 == sort) & (y == true) & result.flipped
            assert members.sum() > 30
            assert np.bincount(result.y[members]).max() / members.sum() > 0.95
    assert len(set(zip(np.arange(1200)[result.flipped] // 200, result.y[result.flipped], strict=True))) > 8


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_features_give_the_dense_result():
    dense = np.where(X > 0.5, X, 0.0)
    expected = noise.feature_dependent(dense, Y, 0.4, seed=3).y
    t = torch.from_numpy(dense)
    for x in (sp.csr_array(dense), sp.coo_matrix(dense), t, t.to_sparse(), t.to_sparse_csr()):
        assert (noise.feature_dependent(x, Y, 0.4, seed=3).y == expected).all()


def test_model_seed_shares_the_maps():
    x, y = 1000 * X, np.zeros(N, dtype=int)

    def flips(model_seed, seed):
        r = noise.feature_dependent(x, y, 1.0, num_classes=C, seed=seed, model_seed=model_seed)
        return r.y

    assert (flips(5, 0) == flips(5, 1)).mean() > 0.99
    assert (flips(5, 0) == flips(6, 0)).mean() < 0.6


def test_borders_flip_first_and_to_the_class_beyond():
    path = np.stack([np.arange(29), np.arange(1, 30)])
    y = np.arange(30) // 10
    result = noise.structure_dependent(path, y, 4 / 30, exact=True, base=1e-9)
    assert result.flipped.nonzero()[0].tolist() == [9, 10, 19, 20]
    assert result.y[[9, 10, 19, 20]].tolist() == [1, 0, 2, 1]
    messy = np.concatenate([path, path[::-1], path[:, :5], np.tile(np.arange(30), (2, 1))], axis=1)
    assert (noise.structure_dependent(messy, y, 4 / 30, exact=True, base=1e-9).y == result.y).all()


def test_the_weight_is_a_share_of_simple_neighbours(plausible):
    # Centres of two sorts, each with four leaves of its own.
    n = 2000
    centres, leaves = np.arange(2 * n), 2 * n + np.arange(8 * n).reshape(2 * n, 4)
    y = np.zeros(10 * n, dtype=int)
    # The first sort has one leaf of another class, and only that one is joined to it.
    y[leaves[:n, 0]] = 1
    # The second has two of four.
    y[leaves[n:, :2]] = 1
    joined = [np.stack([centres[:n], leaves[:n, 0]]), np.stack([np.repeat(centres[n:], 4), leaves[n:].ravel()])]
    same = np.stack([centres[n:], leaves[n:, 3]])
    loops = np.stack([centres[:n], centres[:n]])
    # Repeats and loops do not count.
    arcs = np.concatenate([*joined, *[same] * 6, loops], axis=1)
    flipped = noise.structure_dependent(arcs, y, 0.3, mask=centres, seed=0, base=1e-9).flipped
    plausible(flipped[:n].sum(), n, 0.4)
    plausible(flipped[n : 2 * n].sum(), n, 0.2)


def test_structure_targets_are_in_proportion(plausible):
    star = np.array([[0, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    y = np.array([0, 1, 1, 1, 2, 0])
    targets = [noise.structure_dependent(star, y, 1.0, mask=[0], seed=s, num_classes=5).y[0] for s in range(1500)]
    plausible(targets.count(1), 1500, 0.75)
    plausible(targets.count(2), 1500, 0.25)


def test_nodes_without_others_are_least_likely_and_uniform(plausible):
    # Pairs of unlike classes, then 2 000 alone.
    arcs = np.stack([np.arange(0, 2000, 2), np.arange(1, 2000, 2)])
    y = np.concatenate([np.arange(2000) % 2, np.full(2000, 2)])
    result = noise.structure_dependent(arcs, y, 0.3, seed=0, num_classes=4, base=0.05)
    alone = result.flipped[2000:].sum()
    plausible(alone, 2000, 0.6 * 0.05 / 1.1)
    plausible(result.flipped[:2000].sum(), 2000, 0.6 * 1.05 / 1.1)
    assert (result.y[:2000][result.flipped[:2000]] == 1 - y[:2000][result.flipped[:2000]]).all()
    assert (noise.structure_dependent(arcs, y, 0.3, seed=0, num_classes=4).y == result.y).all()
    everyone = noise.structure_dependent(np.empty((2, 0), dtype=int), y, 1.0, num_classes=4)
    for target in (0, 1, 3):
        plausible((everyone.y[2000:] == target).sum(), 2000, 1 / 3)


def test_confidence_takes_the_runner_up_of_the_doubtful():
    result = noise.confidence_dependent(P, Y, 0.3, seed=0)
    others = P.copy()
    others[np.arange(N), Y] = -1
    assert (result.y[result.flipped] == others.argmax(1)[result.flipped]).all()
    own = P[np.arange(N), Y]
    assert own[result.flipped].mean() < own[~result.flipped].mean() - 0.05
    sure = np.eye(C)[Y]
    assert noise.confidence_dependent(sure, Y, 0.5, exact=True).flipped.sum() == N // 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.feature_dependent(X[:3], [0, 1], 0.1), "x: expected 2 rows, one per label, got 3"),
        (lambda: noise.feature_dependent([[np.nan], [1.0]], [0, 1], 0.1), "x: expected finite numbers"),
        (lambda: noise.feature_dependent(sp.csr_array([[np.inf], [1.0]]), [0, 1], 0.1), "x: expected finite numbers"),
        (lambda: noise.feature_dependent([1.0, 2.0], [0, 1], 0.1), "x: expected 2 dimensions"),
        (lambda: noise.feature_dependent([[1.0], [2.0]], [0, 0], 0.1), "rate: expected 0 where there is only one"),
        (lambda: noise.feature_dependent([[1.0], [2.0]], [0, 1], 1.1), "rate: expected a rate"),
        (lambda: noise.feature_dependent([[1.0], [2.0]], [0, 1], 0.1, 1), "y: expected labels from 0 to 0"),
        (lambda: noise.structure_dependent([[0], [2]], [0, 1], 0.1), "edge_index: expected node positions from 0 to 1"),
        (lambda: noise.structure_dependent([[0, 1]], [0, 1], 0.1), "edge_index: expected shape"),
        (lambda: noise.structure_dependent([[0], [1]], [0, 1], 0.1, base=0), "base: expected a number of at least"),
        (lambda: noise.structure_dependent([[0], [1]], [0, 1], 0.1, [True]), "mask: expected a mask of 2 entries"),
        (lambda: noise.confidence_dependent([[0.5, 0.6]], [0], 0.1), "probabilities: expected rows that sum to 1"),
        (lambda: noise.confidence_dependent([[0.5, 0.5]], [0, 1], 0.1), "probabilities: expected 2 rows"),
        (lambda: noise.confidence_dependent([[0.5, 0.5]], [2], 0.1), "y: expected labels from 0 to 1"),
        (lambda: noise.confidence_dependent([[1.0]], [0], 0.1), "rate: expected 0 where there is only one class"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_one_class_and_no_noise_is_fine():
    assert not noise.feature_dependent([[1.0], [2.0]], [0, 0], 0.0).flipped.any()
    assert not noise.structure_dependent([[0], [1]], [0, 0], 0.0).flipped.any()
    empty = torch.empty(0, dtype=torch.long)
    assert noise.feature_dependent(torch.empty(0, 2), empty, 0.5).rate == 0.0
    assert noise.structure_dependent(torch.empty(2, 0), empty, 0.5).rate == 0.0


def test_an_integer_model_seed_is_not_the_stream_of_the_draws():
    x, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 4
    ours = noise.feature_dependent(x, y, 1.0, seed=5, model_seed=5)
    same = noise.feature_dependent(x, y, 1.0, seed=5, model_seed=np.random.default_rng(5))
    assert (ours.y != same.y).any()
    assert (ours.y == noise.feature_dependent(x, y, 1.0, seed=np.random.default_rng(5), model_seed=5).y).all()

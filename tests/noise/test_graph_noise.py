import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from graphnoise import noise
from graphnoise.bench.tasks.node_noise import parse_noise
from graphnoise.checks import InputError
from graphnoise.noise.graph_noise import _forest
from graphnoise.noise.instance import adjacency_matrix


def moran(arcs, wrong):
    """Moran's I of the error indicator."""
    z = wrong - wrong.mean()
    return (z[arcs[0]] * z[arcs[1]]).mean() / (z**2).mean()


@given(st.integers(0, 500), st.floats(0, 1), st.floats(0, 1), st.integers(2, 4))
def test_spreading_hits_its_count_and_stays_in_the_mask(seed, rate, probability, classes):
    rng = np.random.default_rng(seed)
    y, arcs, mask = rng.integers(0, classes, 30), rng.integers(0, 30, (2, 60)), rng.random(30) < 0.7
    result = noise.cascade(arcs, y, rate, probability, mask, seed, num_classes=classes)
    assert abs(result.flipped.sum() - rate * mask.sum()) <= 0.5 + 1e-8
    assert (result.y[~mask] == y[~mask]).all()
    assert ((result.y >= 0) & (result.y < classes)).all()


def test_one_cascade_carries_one_label():
    chain = np.stack([np.arange(199), np.arange(1, 200)])
    both = np.concatenate([chain, chain[::-1]], axis=1)
    result = noise.cascade(both, np.zeros(200, dtype=int), 0.5, 1.0, seed=3, num_classes=10)
    assert len(set(result.y[result.flipped])) == 1
    where = result.flipped.nonzero()[0]
    # One stretch of the chain.
    assert (np.diff(where) == 1).all()
    alone = noise.cascade(both, np.zeros(200, dtype=int), 0.5, 0.0, seed=3, num_classes=10)
    assert len(set(alone.y[alone.flipped])) == 9


def test_each_arc_of_a_node_is_tried_on_its_own():
    complete = np.stack(np.nonzero(1 - np.eye(40, dtype=int)))
    for seed in range(10):
        result = noise.cascade(complete, np.zeros(40, dtype=int), 0.5, 0.5, seed=seed, num_classes=30)
        # The first error reaches about half of the others, never none: there is no second cascade.
        assert len(set(result.y[result.flipped])) == 1


def test_spreading_follows_the_arcs_direction():
    chain = np.stack([np.arange(49), np.arange(1, 50)])
    for seed in range(20):
        where = noise.cascade(chain, np.zeros(50, dtype=int), 0.02, 1.0, seed=seed, num_classes=2).flipped
        start = where.nonzero()[0][0]
        more = noise.cascade(chain, np.zeros(50, dtype=int), 0.1, 1.0, seed=seed, num_classes=2).flipped
        if start <= 45:
            assert more.nonzero()[0].tolist() == list(range(start, start + 5))


def test_a_copied_label_that_is_true_is_skipped():
    # With two classes the centre's wrong label is the leaves' true one.
    star = np.array([[0] * 6, list(range(1, 7))])
    y = np.array([0, 1, 1, 1, 1, 1, 1])
    for seed in range(30):
        result = noise.cascade(star, y, 2 / 7, 1.0, seed=seed)
        assert (result.y[result.flipped] == 1 - y[result.flipped]).all()
        assert result.flipped.sum() == 2


def test_the_probability_is_that_of_one_arc(plausible):
    n = 100_000
    # Every arc twice, but tried once.
    chain = np.tile(np.stack([np.arange(n - 1), np.arange(1, n)]), (1, 2))
    result = noise.cascade(chain, np.zeros(n, dtype=int), 0.01, 0.3, seed=0, num_classes=50)
    copies = result.flipped[1:] & (result.y[1:] == result.y[:-1])
    plausible(copies.sum(), 1000, 0.3)


def test_spread_errors_lie_together(sbm):
    arcs, y = sbm(0)
    spread, alone = (noise.cascade(arcs, y, 0.3, p, seed=1).flipped for p in (0.5, 0.0))
    assert moran(arcs, spread) > 0.1
    assert abs(moran(arcs, alone)) < 0.05


def test_no_arcs_and_all_wrong():
    y = torch.tensor([0, 1, 2, 0])
    result = noise.cascade(torch.empty(2, 0, dtype=torch.long), y, 1.0, 1.0)
    assert result.rate == 1.0
    assert isinstance(result.y, torch.Tensor)
    assert noise.cascade(torch.empty(2, 0, dtype=torch.long), y, 1.0, 1.0, mask=[]).rate == 0.0


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, -0.05, 0.05), (0.1, 0.15, 0.5), (0.02, 0.15, 0.6)])
def test_propagated_goes_from_local_to_global(share, low, high, sbm):
    arcs, y = sbm(0)
    result = noise.tree_propagated(arcs, y, 0.3, seed=2, seed_share=share)
    assert result.rate <= 0.3
    assert result.rate > 0.27
    assert low < moran(arcs, result.flipped) < high


def test_whole_components_turn_by_one_offset():
    rng = np.random.default_rng(0)
    # 60 paths of 5 nodes, neighbours of unlike class.
    y = np.repeat(np.arange(60) % 5, 5)
    arcs = np.stack([np.arange(299), np.arange(1, 300)])
    result = noise.tree_propagated(arcs, y, 0.5, seed=rng, seed_share=0.0)
    offsets = ((result.y - y) % 5).reshape(60, 5)
    assert (offsets == offsets[:, :1]).all()
    assert (offsets[:, 0] > 0).sum() == 30
    assert len(set(offsets[:, 0])) == 5
    following = noise.tree_propagated(arcs, y, 0.5, seed=0, seed_share=0.0, offset="next")
    assert set((following.y - y) % 5) == {0, 1}


def test_propagated_noise_flips_whole_trees_up_to_the_rate(sbm):
    arcs, y = sbm(0)
    adjacency = adjacency_matrix(arcs, 2000, directed=False)
    for share in (1.0, 0.1, 0.02):
        noisy = noise.tree_propagated(arcs, y, 0.3, seed=2, seed_share=share)
        # The draws of the function itself, again.
        rng = np.random.default_rng(2)
        tree, trees = _forest(adjacency, y, rng.permutation(2000), round(2000 * share), rng)
        offsets = (noisy.y - y) % 4
        assert all(len(np.unique(offsets[tree == t])) == 1 for t in range(trees))
        largest = np.bincount(tree).max()
        assert 0.3 - largest / 2000 < noisy.rate <= 0.3
        assert (largest == 1) == (share == 1.0)
        # Nodes flipped on their own, which the function would wrongly do, are not correlated over arcs.
        alone = np.random.default_rng(0).permutation(noisy.flipped)
        assert abs(moran(arcs, alone)) < 0.05
        assert (moran(arcs, noisy.flipped) > 0.15) == (share < 1)


def test_propagated_is_a_kind_of_the_transform_and_of_the_benchmark(sbm):
    arcs, y = map(torch.from_numpy, sbm(0))
    data = Data(y=y, edge_index=arcs, train_mask=torch.arange(2000) < 1500)
    noisy = noise.LabelNoise("propagated", 0.3, splits="train", seed=4, seed_share=0.05)(data)
    assert 0.2 < noisy.noise_rate["train"] <= 0.3
    assert moran(arcs.numpy(), noisy.flipped.numpy()) > 0.15
    assert parse_noise("noise", "propagated:seed_share=0.05").options == {"seed_share": 0.05}
    with pytest.raises(InputError, match="did you mean 'propagated'"):
        noise.LabelNoise("tree_propagated", 0.3)


def test_full_share_is_noise_without_spreading(sbm):
    arcs, y = sbm(1)
    mask = np.arange(2000) < 777
    result = noise.tree_propagated(arcs, y, 0.3, mask, seed=0, seed_share=1.0)
    assert result.flipped.sum() == int(0.3 * 777)
    assert not result.flipped[777:].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise.cascade([[0], [5]], [0, 1], 0.1, 0.5), "edge_index: expected node positions"),
        (lambda: noise.cascade([[0], [1]], [0, 1], 0.1, 1.5), "probability: expected a rate"),
        (lambda: noise.cascade([[0], [1]], [0, 0], 0.1, 0.5), "rate: expected 0 where there is only one class"),
        (lambda: noise.tree_propagated([[0], [1]], [0, 0], 0.1), "rate: expected 0 where there is only one class"),
        (lambda: noise.tree_propagated([[0], [1]], [0, 1], 0.1, seed_share=2), "seed_share: expected a rate"),
        (lambda: noise.tree_propagated([[0], [1]], [0, 1], 0.1, offset="nxt"), "offset: .*did you mean 'next'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()

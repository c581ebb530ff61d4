import math
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch_geometric.utils import to_networkx

from graphnoise import InputError
from graphnoise.datasets import degree_corrected, planted_partition, power_law, stochastic_block_model
from graphnoise.datasets.sampling import draw_distinct, propensities, triangle


def check_simple(data):
    assert data.edge_index.dtype == torch.int64
    assert data.is_undirected()
    assert data.is_coalesced()
    assert not data.has_self_loops()
    data.validate(raise_on_error=True)


def block_edges(data, blocks):
    """Return the number of undirected edges between each two blocks."""
    row, col = data.y[data.edge_index]
    counts = torch.bincount(row * blocks + col, minlength=blocks * blocks).reshape(blocks, blocks)
    return counts - torch.diag(counts.diag() // 2)


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    st.integers(0, 2**32),
)
def test_planted_partitions_are_simple_and_extreme_probabilities_exact(sizes, p_in, p_out, seed):
    data = planted_partition(sizes, p_in, p_out, seed=seed)
    check_simple(data)
    assert data.y.bincount().tolist() == sizes
    assert (data.num_classes, data.num_nodes) == (len(sizes), sum(sizes))
    edges = block_edges(data, len(sizes))
    for r, s in combinations(range(len(sizes)), 2):
        if p_out in (0.0, 1.0):
            assert int(edges[r, s]) == p_out * sizes[r] * sizes[s]
    for r, size in enumerate(sizes):
        if p_in in (0.0, 1.0):
            assert int(edges[r, r]) == p_in * math.comb(size, 2)


def test_numbers_of_edges_are_binomial():
    sizes, probs = [3000, 500, 1500], np.array([[0.01, 0.002, 0.0], [0.002, 0.6, 0.3], [0.0, 0.3, 0.05]])
    edges = block_edges(stochastic_block_model(sizes, probs, seed=3), 3)
    for r in range(3):
        for s in range(r, 3):
            pairs = math.comb(sizes[r], 2) if r == s else sizes[r] * sizes[s]
            low, high = stats.binom.interval(1 - 1e-9, pairs, probs[r, s])
            assert low <= int(edges[r, s]) <= high
    counts = [planted_partition([6, 4], 0.3, 0.2, seed=seed).edge_index.shape[1] // 2 for seed in range(3000)]
    mean, variance = 21 * 0.3 + 24 * 0.2, 21 * 0.21 + 24 * 0.16
    assert abs(np.mean(counts) - mean) < 5 * math.sqrt(variance / 3000)
    assert abs(np.var(counts) - variance) < 5 * variance * math.sqrt(2 / 3000)


@pytest.mark.parametrize("p", [0.15, 0.8])
def test_every_graph_of_a_small_model_is_as_likely_as_it_should_be(p):
    """All 8 graphs on 3 nodes, in and between blocks, by a chi-squared test."""
    draws = 3000
    for sizes in ([3], [1, 2], [1, 1, 1]):
        rng = np.random.default_rng(7)
        seen = np.zeros(8)
        for _ in range(draws):
            row, col = planted_partition(sizes, p, p, seed=rng).edge_index
            keys = {(0, 1): 1, (0, 2): 2, (1, 2): 4}
            seen[sum(keys.get(pair, 0) for pair in zip(row.tolist(), col.tolist(), strict=True))] += 1
        expected = [draws * p ** bin(code).count("1") * (1 - p) ** (3 - bin(code).count("1")) for code in range(8)]
        assert stats.chisquare(seen, expected).pvalue > 1e-6


def test_degrees_agree_with_networkx():
    data = planted_partition([400, 600], 0.02, 0.005, seed=2)
    oracle = nx.stochastic_block_model([400, 600], [[0.02, 0.005], [0.005, 0.02]], seed=2)
    ours = np.bincount(data.edge_index[0], minlength=1000)
    theirs = np.array([degree for _, degree in oracle.degree()])
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-4
    assert to_networkx(data, to_undirected=True).number_of_edges() == data.edge_index.shape[1] // 2


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), min_size=1, max_size=6), st.integers(0, 2**32))
def test_distinct_draws_have_their_sizes_and_ranges(ranges, seed):
    sizes = np.array([size for size, _ in ranges])
    counts = np.array([int(share * size) for size, share in ranges])
    keys = draw_distinct(np.random.default_rng(seed), sizes, counts)
    assert (np.diff(keys) > 0).all()
    bounds = np.append(0, np.cumsum(sizes))
    assert np.histogram(keys, bounds)[0].tolist() == counts.tolist() if sizes.all() else len(keys) == counts.sum()
    for start, end, count in zip(bounds[:-1], bounds[1:], counts, strict=True):
        assert ((keys >= start) & (keys < end)).sum() == count


@pytest.mark.parametrize("count", [2, 3, 4])
def test_distinct_draws_are_uniform_over_subsets(count):
    rng = np.random.default_rng(11)
    subsets = dict.fromkeys(combinations(range(6), count), 0)
    for _ in range(6000):
        subsets[tuple(draw_distinct(rng, np.array([6]), np.array([count])).tolist())] += 1
    assert stats.chisquare(list(subsets.values())).pvalue > 1e-6


def test_places_of_the_triangle_are_exact_at_any_size():
    low, high = triangle(np.arange(45))
    assert sorted(zip(low.tolist(), high.tolist(), strict=True)) == list(combinations(range(10), 2))
    j = np.array([10**4, 94906267, 10**9, 3 * 10**9])
    for i in (np.zeros_like(j), j - 1):
        low, high = triangle(j * (j - 1) // 2 + i)
        assert (low.tolist(), high.tolist()) == (i.tolist(), j.tolist())


def test_the_degree_corrected_model_has_the_expected_edges():
    """P(edge u, v) = 1 - exp(-lambda), against the mean over draws for each pair of blocks."""
    sizes, means, draws = [40, 25], np.array([[90.0, 30.0], [30.0, 50.0]]), 300
    totals, expected = np.zeros((2, 2)), np.zeros((2, 2))
    for seed in range(draws):
        data = degree_corrected(sizes, means, seed=seed)
        check_simple(data)
        totals += block_edges(data, 2).numpy()
        # The propensities are drawn first.
        rng = np.random.default_rng(seed)
        theta = [propensities(size, 2.5, m, rng) for size, m in zip(sizes, means.diagonal(), strict=True)]
        for r in range(2):
            for s in range(2):
                rates = np.outer(theta[r], theta[s]) * means[r, s] * (2 if r == s else 1)
                edges = -np.expm1(-rates)
                expected[r, s] += edges.sum() if r != s else (edges.sum() - edges.trace()) / 2
    assert (np.abs(totals - expected) < 5 * np.sqrt(expected)).all()


def test_propensities_are_a_power_law_up_to_the_cut_off():
    theta = np.sort(propensities(100_000, 2.5, 1e6, np.random.default_rng(0)))[::-1]
    assert theta.sum() == pytest.approx(1.0)
    ranks = np.arange(2000, 50_000)
    slope = np.polyfit(np.log(ranks), np.log(theta[ranks - 1]), 1)[0]
    assert slope == pytest.approx(-1 / 1.5, rel=1e-6)
    assert 2e6 * theta[0] == pytest.approx(math.sqrt(2e6), rel=0.2)


@given(st.integers(2, 60), st.floats(0, 0.3), st.integers(0, 2**32))
def test_power_law_graphs_have_exactly_their_arcs(nodes, share, seed):
    arcs = 2 * int(share * math.comb(nodes, 2))
    data = power_law(nodes, arcs, seed=seed)
    check_simple(data)
    assert (data.edge_index.shape[1], data.num_nodes) == (arcs, nodes)


def test_power_law_degrees_have_a_heavy_tail():
    degrees = np.bincount(power_law(20_000, 200_000, 2.3, seed=5).edge_index[0], minlength=20_000)
    assert degrees.max() > 20 * degrees.mean()
    tail = degrees[(degrees >= 10) & (degrees < 300)]
    exponent = (
        1 + len(tail) / np.log(tail / 9.5).sum()
        # Maximum likelihood (Clauset et al. 2009), the cut-off left out.
    )
    assert 2.0 < exponent < 2.8


def test_the_same_seed_gives_the_same_graph():
    makers = [
        lambda seed: planted_partition([30, 40], 0.3, 0.1, seed=seed, num_features=3, split=(2, 5, 5)),
        lambda seed: degree_corrected([30, 40], [[60, 20], [20, 80]], seed=seed, num_features=3, split=(2, 5, 5)),
        lambda seed: power_law(100, 400, seed=seed),
    ]
    for make in makers:
        once, again, other = make(1), make(1), make(2)
        assert all(torch.equal(once[key], again[key]) for key in once.keys() if torch.is_tensor(once[key]))  # noqa: SIM118
        assert not torch.equal(once.edge_index, other.edge_index)
        generator = np.random.default_rng(1)
        assert torch.equal(make(generator).edge_index, once.edge_index)


def test_features_are_gaussian_about_the_means_of_their_class():
    data = planted_partition([20_000, 20_000], 0.0, 0.0, num_features=5, separation=3.0, seed=1)
    assert data.x.dtype == torch.float32
    for label in (0, 1):
        x = data.x[data.y == label]
        assert torch.allclose(x.std(0), torch.ones(5), atol=0.03)
        assert abs(float(stats.kstest((x - x.mean(0)).flatten().numpy(), "norm").statistic)) < 0.01
    means = torch.stack([data.x[data.y == label].mean(0) for label in (0, 1)])
    assert 1.0 < float(means.std()) < 6.0
    assert "x" not in planted_partition([2, 2], 0.5, 0.5)
    flat = planted_partition([20_000, 20_000], 0.0, 0.0, num_features=5, separation=0.0, seed=1)
    assert float(flat.x[flat.y == 0].mean(0).abs().max()) < 0.05


def test_masks_are_drawn_where_asked_for():
    data = planted_partition([50, 60, 70], 0.1, 0.02, split=(5, 30, 40), seed=0)
    assert data.y[data.train_mask].bincount().tolist() == [5, 5, 5]
    assert (int(data.val_mask.sum()), int(data.test_mask.sum())) == (30, 40)
    assert "train_mask" not in planted_partition([5], 0.5, 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planted_partition([], 0.5, 0.5), "^block_sizes: expected at least one block"),
        (lambda: planted_partition([3, 0], 0.5, 0.5), r"^block_sizes\[1\]: expected an integer of at least 1"),
        (lambda: planted_partition([3], 1.5, 0.5), "^p_in: expected a rate"),
        (lambda: planted_partition([3], 0.5, float("nan")), "^p_out: expected a rate"),
        (lambda: planted_partition([3], 0.5, 0.5, seed=-1), "^seed: "),
        (lambda: planted_partition([3], 0.5, 0.5, num_features=-1), "^num_features: "),
        (lambda: planted_partition([3], 0.5, 0.5, num_features=1, separation=-1.0), "^separation: "),
        (lambda: planted_partition([3], 0.5, 0.5, split=(4, 0, 0)), "^train_per_class: "),
        (lambda: stochastic_block_model([3, 3], [[0.5]]), r"^edge_probs: expected shape \(2, 2\)"),
        (lambda: stochastic_block_model([3], [[1.5]]), "^edge_probs: expected probabilities"),
        (lambda: stochastic_block_model([3], [[float("nan")]]), "^edge_probs: expected finite"),
        (lambda: stochastic_block_model([3], "half"), "^edge_probs: "),
        (lambda: stochastic_block_model([3, 3], [[0, 1], [0, 0]]), "^edge_probs: expected a symmetric"),
        (lambda: degree_corrected([3], [[-1]]), "^edge_counts: expected finite numbers of at least 0"),
        (lambda: degree_corrected([3], [[1]], exponent=2.0), "^exponent: expected a number above 2"),
        (lambda: power_law(1, 0), "^num_nodes: "),
        (lambda: power_law(10, 91), "^num_arcs: "),
        (lambda: power_law(10, 7), "^num_arcs: expected an even number"),
        (lambda: power_law(10, 8, 1.5), "^exponent: "),
    ],
)
def test_impossible_arguments_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_large_sparse_graphs_are_drawn_without_a_dense_array():
    edges = planted_partition([50_000] * 4, 1e-5, 1e-6, seed=0).edge_index.shape[1] // 2
    expected = 4 * math.comb(50_000, 2) * 1e-5 + 6 * 50_000**2 * 1e-6
    assert abs(edges - expected) < 5 * math.sqrt(expected)
    assert power_law(200_000, 1_000_000, seed=0).edge_index.shape[1] == 1_000_000

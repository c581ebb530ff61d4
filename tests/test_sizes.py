"""Sizes beyond the memory are found before anything is allocated."""

import pytest
import torch

from graphnoise import (
    CodingRateReduction,
    InputError,
    coding_rate,
    coding_rate_reduction,
    datasets,
    effective_rank,
    nn,
    noise,
    resources,
)


@pytest.fixture(autouse=True)
def one_gigabyte(monkeypatch):
    monkeypatch.setattr(resources, "available_memory", lambda: 1 << 30)


WIDE = torch.zeros(1, 1).expand(40_000, 30_000)
GENERATOR = torch.Generator()
CALLS = [
    (lambda: noise.pair(10**5, 0.2), r"num_classes: expected to need at most 0\.9 GiB of memory, got 372\.5 GiB"),
    (lambda: noise.symmetric(10**30, 0.2), "num_classes: expected to need at most"),
    (lambda: noise.asymmetric(10**5, 0.2), "num_classes: expected to need at most"),
    (lambda: noise.random(10**5, 0.2), "num_classes: expected to need at most"),
    (lambda: noise.identity(10**5), "num_classes: expected to need at most"),
    (lambda: noise.from_mapping({0: 1}, 10**5, 0.2), "num_classes: expected to need at most"),
    (lambda: noise.from_counts(WIDE), "counts: expected to need at most"),
    (lambda: noise.Transition(WIDE), "matrix: expected to need at most"),
    (lambda: noise.erase_stream("asymmetric", [0, 1], 0.2, num_classes=10**5), "num_classes: expected to need"),
    (lambda: noise.feature_dependent(torch.ones(2, 2), [0, 1], 0.2, num_classes=10**5), "num_classes: expected to"),
    (lambda: noise.flip_membership([0], 10**15, a1=0.5, a0=0.5), "labels of num_nodes: expected to need"),
    (lambda: datasets.planted_partition([10**6] * 10, 0.5, 0.1), "a graph of 10000000 nodes and .* edges: expected"),
    (lambda: datasets.planted_partition([10**9], 0.0, 0.0), "a graph of 1000000000 nodes and 0 edges: expected"),
    (lambda: datasets.planted_partition([10**12], 0.0, 0.0), "sum of block_sizes: expected an integer from 1 to 2147"),
    (lambda: datasets.planted_partition([1] * 10**5, 0.0, 0.0), "100000 × 100000 probabilities: expected"),
    (lambda: datasets.planted_partition([9], 0.0, 0.0, num_features=10**12), "1000000000000 features of 9 nodes"),
    (lambda: datasets.degree_corrected([9], [[1e15]]), r"a graph of 9 nodes and 1e\+15 edges: expected"),
    (lambda: datasets.power_law(10**6, 10**10), r"a graph of 1000000 nodes and 5e\+09 edges: expected"),
    (lambda: effective_rank(WIDE), "6 Gram matrices of side 30000: expected to need"),
    (lambda: coding_rate(WIDE, 0.5), "3 Gram matrices of side 30000: expected to need"),
    (
        lambda: CodingRateReduction(10**6, memory=0.5)(torch.ones(2, 20), torch.tensor([0, 1])),
        "1000001 Gram matrices of side 20: expected to need",
    ),
    (lambda: nn.GraphConvolution(10**5, 10**5, generator=GENERATOR), "weights of inputs × outputs: expected to need"),
]


@pytest.mark.parametrize(("call", "message"), CALLS)
def test_sizes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_many_classes_without_rows_take_no_time():
    z, labels = torch.eye(8), torch.arange(8) // 4
    many = coding_rate_reduction(z, labels, 10**15, eps=0.5)
    assert torch.equal(many, coding_rate_reduction(z, labels, 2, eps=0.5))


BAD = [
    (lambda: datasets.planted_partition([5, 5], 0.5, 0.1, split=3), "split: expected three numbers"),
    (lambda: datasets.planted_partition([5, 5], 0.5, 0.1, split=(1, 2)), "split: expected three numbers"),
    (lambda: datasets.planted_partition(5, 0.5, 0.1), "block_sizes: expected a list of numbers of nodes"),
    (lambda: datasets.split_masks(torch.tensor([0, 10**12])), "train_per_class: expected at least 20 nodes of every"),
    (lambda: datasets.split_masks(torch.rand(3, 3)), "y: expected class labels of shape"),
    (lambda: datasets.save_npz({}, "x.npz"), "data: expected a torch_geometric Data, got dict"),
    (lambda: datasets.save_npz(None, 3), "path: expected a path, got 3"),
    (lambda: datasets.load_npz("a\0b"), "path: expected a path"),
    (lambda: datasets.catalogue("x" * 5000), "root: expected an existing folder"),
    (lambda: datasets.catalogue("~nosuch/x"), "root: expected a folder, got .* no such home folder"),
    (lambda: effective_rank(torch.eye(2), centre="no"), "centre: expected True or False"),
    (lambda: nn.Linear(2.0, 3, bias=True, generator=GENERATOR), "inputs: expected an integer of at least 1"),
    (lambda: nn.Linear(2, 0, bias=True, generator=GENERATOR), "outputs: expected an integer of at least 1"),
    (lambda: nn.GraphAttention(2, 3, -1, generator=GENERATOR), "heads: expected an integer of at least 1"),
    (lambda: nn.GraphConvolution(2, 3, generator=0), "generator: expected a torch.Generator, got int"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_arguments_of_the_wrong_kind_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()

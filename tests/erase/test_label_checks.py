"""What the parts of ERASE refuse: each bad input is named, none becomes NaN in silence."""

import pytest
import torch

from graphnoise import Graph, InputError, coding_rate_reduction
from graphnoise.coding_rates import coding_rates
from graphnoise.erase import Probe, class_means, denoise, fuse, prototype_labels
from graphnoise.nn import sample_neighbors

Z = torch.eye(3)
Y = torch.tensor([0, 1, 1])
NAN = torch.full((3, 3), torch.nan)
STAR = Graph.from_edge_index(torch.tensor([[1, 2, 3], [0, 0, 0]]))
GENERATOR = torch.Generator().manual_seed(0)

BAD = {
    "means of a vector": (lambda: class_means(Z[0], Y, 2), "z: expected a floating-point matrix"),
    "means of integers": (lambda: class_means(Z.long(), Y, 2), "z: expected a floating-point matrix"),
    "means of NaN": (lambda: class_means(NAN, Y, 2), "z: expected embeddings with a finite mean"),
    "means beyond float32": (lambda: class_means(Z * 0 + 3e38, Y, 2), "z: expected embeddings with a finite mean"),
    "means of no class": (lambda: class_means(Z, Y, 0), "num_classes: expected an integer from 1"),
    "means of other labels": (lambda: class_means(Z, Y[:2], 2), "y: expected 3 labels"),
    "prototypes of another width": (lambda: prototype_labels(Z, Z[:, :2]), "prototypes: expected a matrix as wide"),
    "prototypes of another type": (lambda: prototype_labels(Z, Z.double()), "prototypes: expected a matrix as wide"),
    "prototypes of NaN": (lambda: prototype_labels(Z, NAN), "prototypes: expected rows with a finite norm"),
    "cosines of NaN": (lambda: prototype_labels(NAN, Z), "z: expected rows with a finite norm"),
    "norms that overflow": (lambda: prototype_labels(Z * 1e30, Z), "z: expected rows with a finite norm"),
    "fusing other shapes": (lambda: fuse(Z, Z[:2], beta=0.5), r"prototype: expected shape \(3, 3\)"),
    "fusing NaN": (lambda: fuse(NAN, Z, beta=0.5), "propagated: expected finite labels"),
    "fusing with NaN": (lambda: fuse(Z, NAN, beta=0.5), "prototype: expected finite labels"),
    "fusing vectors": (lambda: fuse(Z[0], Z[0], beta=0.5), "propagated: expected a floating-point matrix"),
    "beta": (lambda: fuse(Z, Z, beta=2), "beta: expected a rate"),
    "too many classes": (
        lambda: denoise(STAR, torch.zeros(4, dtype=torch.int64), [0], 2**40, alpha=0.4, num_steps=1),
        "num_classes: expected at most",
    ),
    "a probe of nothing": (lambda: Probe(Z[:0], Y[:0], 2), "z: expected at least one node"),
    "a probe of NaN": (lambda: Probe(NAN, Y, 2), "z: expected finite numbers"),
    "a probe without strength": (lambda: Probe(Z, Y, 2, C=0.0), "C: expected"),
    "a probe of norms that overflow": (lambda: Probe(Z * 1e30, Y, 2), "z: expected rows with a finite norm"),
    "a probe on another width": (lambda: Probe(Z, Y, 2)(Z[:, :2]), "z: expected 3 columns"),
    "a probe on NaN": (lambda: Probe(Z, Y, 2)(NAN), "z: expected finite numbers"),
    "outputs out of range": (
        lambda: sample_neighbors(STAR, torch.tensor([9]), [2], GENERATOR),
        "outputs: expected positions from 0 to 3",
    ),
    "outputs twice": (
        lambda: sample_neighbors(STAR, torch.tensor([1, 1]), [2], GENERATOR),
        "outputs: expected distinct",
    ),
    "a mask of outputs": (
        lambda: sample_neighbors(STAR, torch.tensor([True] * 4), [2], GENERATOR),
        "outputs: expected positions of nodes, integers",
    ),
    "fanouts": (lambda: sample_neighbors(STAR, torch.tensor([1]), [-2], GENERATOR), "fanouts: expected an integer"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, message = BAD[name]
    with pytest.raises(InputError, match=f"^{message}"):
        call()


def test_labels_may_be_large_numbers():
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    few, large = torch.tensor([0, 2, 2, 1, 0, -1]), torch.tensor([5, 10**15, 10**15, 7, 5, -1])
    first, second = (coding_rates(z, labels, eps=0.5) for labels in (few, large))
    assert first.total == second.total
    assert first.within == second.within
    assert coding_rate_reduction(z, large, eps=0.5) == coding_rate_reduction(z, few, eps=0.5)

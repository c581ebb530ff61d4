"""Views of a graph: arcs that are dropped; outputs read first without gradients."""

import pytest
import torch
from training_steps import VIEW, context, step

from graphnoise.nn import SparseFeatures
from graphnoise.robust.training import View


def test_both_arcs_of_an_edge_are_dropped_together():
    seen = VIEW.drop_arcs(0.4, torch.Generator().manual_seed(0))
    arcs = {tuple(arc) for arc in seen.edge_index.T.tolist()}
    assert arcs == {(j, i) for i, j in arcs}
    assert 0.5 < len(arcs) / VIEW.edge_index.shape[1] < 0.7
    assert torch.equal(VIEW.drop_arcs(0.0, torch.Generator()).edge_index, VIEW.edge_index)


@pytest.mark.parametrize("density", [0.05, 0.5])
def test_masked_columns_are_zero_in_both_forms_of_the_features(density):
    x = (torch.rand(40, 30, generator=torch.Generator().manual_seed(0)) < density).float()
    seen = View(x, VIEW.edge_index[:, :0]).mask_features(0.5, torch.Generator().manual_seed(0))
    masked = (seen.x == 0).all(0)
    assert 5 < int(masked.sum()) < 25
    assert torch.equal(seen.x, torch.where(masked, 0.0, x))
    assert isinstance(seen.features, SparseFeatures) == (density == 0.05)
    features = seen.features @ torch.eye(30)
    assert torch.equal(features, seen.x)


def test_logits_have_gradients_whoever_reads_them_first():
    at = context(logits=torch.zeros(60, 3, requires_grad=True), embedding=torch.zeros(60, 5, requires_grad=True))
    seen = step(at)
    with torch.no_grad():
        assert seen.one_hot.shape == (8, 3)
        assert seen.embedding.requires_grad
    assert seen.logits.requires_grad

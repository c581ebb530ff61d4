"""Views of a graph: arcs that are dropped; outputs read first without gradients."""

import torch
from graph_steps import VIEW, context, step


def test_both_arcs_of_an_edge_are_dropped_together():
    seen = VIEW.drop_arcs(0.4, torch.Generator().manual_seed(0))
    arcs = {tuple(arc) for arc in seen.edge_index.T.tolist()}
    assert arcs == {(j, i) for i, j in arcs}
    assert 0.5 < len(arcs) / VIEW.edge_index.shape[1] < 0.7
    assert torch.equal(VIEW.drop_arcs(0.0, torch.Generator()).edge_index, VIEW.edge_index)


def test_logits_have_gradients_whoever_reads_them_first():
    at = context(logits=torch.zeros(60, 3, requires_grad=True), embedding=torch.zeros(60, 5, requires_grad=True))
    seen = step(at)
    with torch.no_grad():
        assert seen.one_hot.shape == (8, 3)
        assert seen.embedding.requires_grad
    assert seen.logits.requires_grad

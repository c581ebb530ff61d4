"""Influence contradiction against the dense matrix, and the mixture that divides scores."""

import numpy as np
import pytest
import torch

from graphnoise import datasets
from graphnoise.graph import Graph
from graphnoise.influence import influence_contradictions
from graphnoise.noise.mixture import lower_component

DATA = datasets.planted_partition([20, 20, 20], 0.3, 0.05, num_features=4, seed=0)
MATRIX = Graph.from_edge_index(DATA.edge_index, 60).with_self_loops().normalise("sym")


@pytest.mark.parametrize("per_class", [True, False])
def test_contradictions_are_those_of_the_dense_matrix(per_class):
    y = DATA.y.clone()
    y[::4] = -1
    dense = 0.3 * torch.linalg.inv(torch.eye(60).double() - 0.7 * MATRIX.to_dense().double())
    expected = []
    for i in (y >= 0).nonzero().view(-1).tolist():
        by_class = [dense[i, y == c] for c in range(3) if c != y[i]]
        expected.append(sum(float(v.mean() if per_class else v.sum()) for v in by_class))
    scores = influence_contradictions(MATRIX, y, 3, alpha=0.7, per_class=per_class)
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_a_class_without_nodes_adds_nothing():
    two = torch.where(DATA.y == 2, -1, DATA.y)
    scores = [influence_contradictions(MATRIX, two, classes, alpha=0.7) for classes in (2, 3)]
    assert torch.equal(*scores)


def test_scores_are_divided_where_they_differ():
    low = lower_component(np.array([3.0, 0.1, 3.1, 0.0, 0.2]))
    np.testing.assert_allclose(low, [0, 1, 0, 1, 1], atol=1e-3)
    np.testing.assert_array_equal(lower_component(np.full(3, 2.0)), [0.5] * 3)

import math

import pytest
import torch
from coding_problems import EXACT, orthogonal, orthonormal_classes, random_problem, shapes
from hypothesis import given, settings

from graphnoise.coding_rates import effective_rank


def test_effective_rank_of_known_matrices(draw):
    assert effective_rank(torch.zeros(4, 3)) == 0
    for n in (6, 200):
        z, _ = orthonormal_classes(n - n % 3, 7, 3, draw)
        assert effective_rank(z) == pytest.approx(3, rel=1e-9)
    line = torch.randn(90, 1, generator=draw) @ torch.randn(1, 40, generator=draw)
    assert effective_rank(line) == pytest.approx(1, abs=1e-9)
    # Line + 5 is rounded to float32.
    assert effective_rank(line + 5, centre=True) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.full((50, 4), 0.1), centre=True) == 0
    assert effective_rank(torch.full((3, 4), 0.1), centre=True) == 0
    two = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert effective_rank(two) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-9)


@given(shapes)
@settings(max_examples=40, deadline=None)
def test_effective_rank_is_that_of_the_singular_values(shape):
    n, d, _, seed, scale = shape
    z, _, draw = random_problem(n, d, 1, seed)
    p = torch.linalg.svdvals(z)
    p = p[p > 1e-6 * p[0]] / p[p > 1e-6 * p[0]].sum()
    expected = math.exp(-float((p * p.log()).sum()))
    for other in (z, z.t(), z * scale * 1e200, z * 1e-200, z @ orthogonal(d, draw), orthogonal(n, draw) @ z):
        assert effective_rank(other) == pytest.approx(expected, rel=1e-4)
    assert 1 - EXACT <= effective_rank(z) <= min(n, d) + EXACT
    if n > 2:
        shifted = effective_rank(z + 3, centre=True)
        assert shifted == pytest.approx(effective_rank(z - z.mean(0)), rel=1e-4)

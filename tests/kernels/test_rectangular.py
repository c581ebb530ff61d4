"""Products of rectangular matrices: SciPy's, for all shapes, widths, types and numbers of threads."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphnoise.errors import InputError
from graphnoise.kernels.propagate.rectangular import multiply, rectangular


def draw(rows, columns, density=0.2, seed=0):
    rng = np.random.default_rng(seed)
    pattern = sp.csr_array(sp.random_array((rows, columns), density=density, format="csr", rng=rng) != 0)
    scales = [rng.uniform(0.5, 2, size).astype(np.float32) for size in (rows, columns)]
    dense = scales[0][:, None].astype(float) * pattern.toarray() * scales[1]
    return rectangular(pattern, *scales), dense, rng


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (40, 7), (300, 5), (5, 300)])
@pytest.mark.parametrize("width", [1, 3, 6, 16, 33, 70])
def test_the_product_is_scipys(shape, width):
    matrix, dense, rng = draw(*shape)
    x, y = (torch.from_numpy(rng.normal(size=(size, width)).astype(np.float32)) for size in (shape[1], shape[0]))
    assert multiply(matrix, x).numpy() == pytest.approx(dense @ x.numpy(), abs=1e-4)
    out = torch.full_like(y, torch.nan)
    assert multiply(matrix, x, y, alpha=-4.0, beta=0.5, out=out) is out
    assert out.numpy() == pytest.approx(-4 * dense @ x.numpy() + 0.5 * y.numpy(), abs=1e-4)


def test_long_rows_and_threads_do_not_change_bits():
    pattern = sp.csr_array(np.ones((3, 60_000), np.float32))
    ones = [np.ones(size, np.float32) for size in pattern.shape]
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(60_000, 8)).astype(np.float32))
    results = [multiply(rectangular(pattern, *ones), x, num_threads=count) for count in (1, 2, 3)]
    assert results[0].numpy() == pytest.approx(np.tile(x.numpy().sum(0, np.float64), (3, 1)), abs=1e-2)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_sixteen_bits_are_summed_in_single_precision():
    matrix, dense, rng = draw(50, 80, density=0.8)
    x = torch.from_numpy(rng.normal(size=(80, 12)).astype(np.float32)).bfloat16()
    exact = torch.from_numpy(dense @ x.double().numpy())
    # One rounding to 8 bits.
    assert ((multiply(matrix, x).double() - exact).abs() <= 2**-8 * exact.abs() + 1e-5).all()


def test_rows_without_entries_and_empty_matrices():
    matrix = rectangular(sp.csr_array((2, 3)), np.ones(2, np.float32), np.ones(3, np.float32))
    assert multiply(matrix, torch.full((3, 4), torch.nan)).tolist() == [[0.0] * 4] * 2
    assert multiply(matrix, torch.ones(3, 0)).shape == (2, 0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(4, 2), None, r"x: expected a contiguous CPU tensor of shape \[3, width\], got shape \(4, 2\)"),
        (torch.ones(3), None, r"x: expected a contiguous"),
        (torch.ones(3, 2), torch.ones(2, 3), r"y: expected a contiguous CPU tensor of shape \[2, width\]"),
        (torch.ones(2, 3).T, None, r"x: expected a contiguous"),
        (torch.ones(3, 2, dtype=torch.int64), None, r"x: expected float32 or bfloat16, the same for all"),
        (torch.ones(3, 2), torch.ones(2, 2).bfloat16(), r"y: expected float32 or bfloat16, the same for all"),
    ],
)
def test_bad_arguments(x, y, message):
    matrix = rectangular(sp.csr_array(np.ones((2, 3))), np.ones(2, np.float32), np.ones(3, np.float32))
    with pytest.raises(InputError, match=message):
        multiply(matrix, x, y)

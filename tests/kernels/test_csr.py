import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise import InputError
from graphnoise.kernels.csr import compress


@given(rows=st.lists(st.integers(0, 11), max_size=60))
@settings(deadline=None)
def test_both_tiers_sort_stably_by_row(rows):
    row = torch.tensor(rows, dtype=torch.long)
    expected = sorted(range(len(rows)), key=lambda k: rows[k])
    for backend in ("native", "reference"):
        rowptr, order = compress(row, 12, backend=backend)
        assert order.tolist() == expected
        assert rowptr.tolist() == [sum(r < i for r in rows) for i in range(13)]


def test_input_that_is_not_contiguous():
    row = torch.tensor([[2, 9], [0, 9], [1, 9]])[:, 0]
    assert compress(row, 3)[1].tolist() == [1, 2, 0]


def test_a_tier_that_cannot_serve_says_why():
    row = torch.zeros(3, dtype=torch.long, device="meta")
    with pytest.raises(InputError, match="'native' needs CPU tensors"):
        compress(row, 3, backend="native")


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("row", "num_rows", "message"),
    [
        (torch.tensor([0, 10**9]), 2, "row: expected positions from 0 to 1, got values from 0 to 1000000000"),
        (torch.tensor([-1]), 2, "row: expected positions from 0 to 1"),
        (torch.tensor([0], dtype=torch.int32), 2, "row: expected a one-dimensional int64 tensor"),
        (torch.tensor([[0]]), 2, "row: expected a one-dimensional int64 tensor"),
        (torch.tensor([0]), -1, "num_rows: expected an integer of at least 0"),
    ],
)
def test_bad_rows_are_named(backend, row, num_rows, message):
    with pytest.raises(InputError, match=message):
        compress(row, num_rows, backend=backend)

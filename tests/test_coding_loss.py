"""The loss over mini-batches with a memory, and bad input of all functions."""

import math

import pytest
import torch
from coding_problems import EXACT, memberships, one_hot, oracle, problem
from oracles import assert_close

from graphnoise import InputError
from graphnoise.coding_rates import CodingRateReduction, coding_rate, coding_rate_reduction, effective_rank


@pytest.mark.parametrize("soft", [False, True])
def test_memory_of_all_batches_is_the_whole_set(soft, draw):
    z, y, C = problem("Grams in blocks, rows in pieces", draw)
    labels = memberships(len(z), C, draw) if soft else y
    x = z.clone().requires_grad_()
    settings = {"eps": 0.3, "gamma1": 1.2, "gamma2": 1.5}
    whole = -coding_rate_reduction(x, labels, C, **settings)
    (expected,) = torch.autograd.grad(whole, x)
    loss = CodingRateReduction(C, **settings, memory=1 - 1e-14)
    for a, b in zip(z.split(500), labels.split(500), strict=True):
        batch = a.clone().requires_grad_()
        value = loss(batch, b)
        (grad,) = torch.autograd.grad(value, batch)
    assert_close(value, whole, EXACT)
    # The gradient goes to the batch alone.
    assert_close(grad, expected[-len(batch) :], EXACT)
    # The loss of the batch alone differs.
    assert bool((-coding_rate_reduction(batch, b, C, **settings) - whole).abs() > 0.1)
    assert loss.grams.shape == (C + 1, z.shape[1], z.shape[1])
    assert not loss.grams.requires_grad


def test_memory_fades_and_rests_in_evaluation(draw):
    z, y, C = problem("wide and narrow", draw)
    first, second, plain = (z[:30], y[:30]), (z[30:], y[30:]), CodingRateReduction(C)
    loss = CodingRateReduction(C, memory=0.25)
    assert_close(loss(*first), plain(*first), EXACT)
    # Grams count a quarter, and so must rows.
    faded = torch.cat([first[0] / 2, second[0]])
    n, pi = 0.25 * 30 + 31, one_hot(y, C) * torch.where(torch.arange(len(z)) < 30, 0.25, 1.0)[:, None].double()
    shares = oracle(z, pi, 0.05)[1] * len(z) / n
    whole = torch.logdet(torch.eye(12).double() + 12 / (n * 0.05) * faded.t() @ faded) / 2
    assert_close(loss(*second), shares - whole, EXACT)
    kept = loss.grams.clone()
    loss.eval()
    assert_close(loss(*first), plain(*first), EXACT)
    assert torch.equal(loss.grams, kept)
    loss.train()
    loss.reset()
    assert loss.grams is None
    assert_close(loss(*second), plain(*second), EXACT)
    assert loss.state_dict() == {}
    assert loss.double().grams.dtype == torch.float64
    assert "memory=0.25" in repr(loss)
    assert CodingRateReduction(dtype=torch.float64)(z.float(), y).dtype == torch.float64


def test_memory_names_what_does_not_fit_and_stays_as_it_was(draw):
    z, y, C = problem("wide and narrow", draw, torch.float32)
    loss = CodingRateReduction(C, memory=0.9)
    loss(z, y)
    kept = loss.grams.clone()
    bad = z.clone()
    bad[3, 4] = torch.nan
    for wrong, message in (
        (z[:, :5], r"z: expected 12 columns for torch.float32 on cpu, as before \(reset\(\) forgets\), got 5 for"),
        (z.double(), "z: expected 12 columns for torch.float32 on cpu"),
        (bad, "z: expected finite numbers, got 1 NaN"),
        (z * 1e5, r"z: expected d / eps · mean \|z_i\|² of at most 8.4e\+04"),
    ):
        with pytest.raises(InputError, match=message):
            loss(wrong, y)
        assert torch.equal(loss.grams, kept)
    with pytest.raises(InputError, match="num_classes: expected the number of classes, which memory needs, got None"):
        CodingRateReduction(memory=0.5)


Z, Y = torch.eye(6, 3), torch.tensor([0, 1, 2, 0, 1, -1])

SPOILT = torch.tensor([[0.0, 1.0, torch.nan], [1.0, torch.inf, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": torch.ones(6)}, r"z: expected shape \[n, d\], n and d at least 1, got shape \(6,\)"),
        ({"z": torch.ones(0, 3)}, r"z: expected shape \[n, d\]"),
        ({"z": torch.ones(6, 0)}, r"z: expected shape \[n, d\]"),
        ({"z": torch.ones(6, 3).long()}, "z: expected floating-point values, got values of type torch.int64"),
        ({"z": torch.ones(6, 3, dtype=torch.complex64)}, "z: expected floating-point values"),
        ({"z": "rows"}, "z: expected"),
        ({"z": SPOILT.repeat(3, 1)}, "z: expected finite numbers, got 6 NaN or infinite entries"),
        ({"z": SPOILT.repeat(3, 7)}, "z: expected finite numbers, got 42 NaN or infinite entries"),
        ({"eps": 0}, "eps: expected a finite number above 0, got 0"),
        ({"eps": -0.1}, "eps: expected a finite number above 0, got -0.1"),
        ({"eps": math.nan}, "eps: expected a finite number above 0, got nan"),
        ({"eps": math.inf}, "eps: expected a finite number above 0, got inf"),
        ({"eps": 1e-320}, "z: expected d / eps"),
        ({"gamma1": -1}, "gamma1: expected a number of at least 0"),
        ({"gamma2": math.nan}, "gamma2: expected a number of at least 0"),
        ({"dtype": torch.bfloat16}, "dtype: expected torch.float32, torch.float64 or None, got torch.bfloat16"),
        ({"num_classes": 0}, "num_classes: expected an integer of at least 1, got 0"),
        ({"num_classes": 2.0}, "num_classes: expected an integer of at least 1, got 2.0"),
        ({"num_classes": 2}, "labels: expected classes from 0 to 1, or -1 for none, got values from -1 to 2"),
        ({"labels": Y[:5]}, "labels: expected 6 labels, one per row of z, got 5"),
        ({"labels": Y - 1}, "labels: expected classes from 0 to 1, or -1 for none, got values from -2 to 1"),
        ({"labels": Y.double()}, r"labels: expected integer classes of shape \[6\] or floating memberships"),
        ({"labels": Y > 0}, "labels: expected integer classes"),
        ({"labels": torch.ones(6, 2).long()}, "labels: expected integer classes"),
        ({"labels": None}, "labels: expected"),
        ({"labels": torch.ones(5, 2)}, r"labels: expected shape \[6, num_classes\], got shape \(5, 2\)"),
        ({"labels": torch.ones(6, 2), "num_classes": 3}, r"labels: expected shape \[6, 3\], got shape \(6, 2\)"),
        ({"labels": torch.ones(6, 0)}, r"labels: expected shape \[6, num_classes\], got shape \(6, 0\)"),
        ({"labels": SPOILT.repeat(3, 1)}, "labels: expected finite numbers"),
        ({"labels": torch.eye(6, 2) - 0.25}, "labels: expected memberships of at least 0, got -0.25"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"z": Z, "labels": Y, "num_classes": None, "eps": 0.05, "gamma1": 1.0, "gamma2": 1.0, "dtype": None}
    assert torch.isfinite(coding_rate_reduction(**arguments))
    with pytest.raises(InputError, match=message):
        coding_rate_reduction(**arguments | change)
    module = {key: value for key, value in (arguments | change).items() if key not in ("z", "labels")}
    with pytest.raises(InputError, match=message):
        CodingRateReduction(**module)((arguments | change)["z"], (arguments | change)["labels"])


def test_bad_input_of_the_others_is_named():
    with pytest.raises(InputError, match="eps: expected a finite number above 0"):
        coding_rate(Z, 0.0)
    with pytest.raises(InputError, match="z: expected finite numbers, got 2 NaN"):
        coding_rate(SPOILT, 0.1)
    with pytest.raises(InputError, match="z: expected finite numbers, got 2 NaN"):
        effective_rank(SPOILT)
    with pytest.raises(InputError, match=r"z: expected shape \[n, d\]"):
        effective_rank(torch.ones(3))
    for memory in (1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="memory: expected a number of at least 0 and below 1"):
            CodingRateReduction(3, memory=memory)

"""Exchange rate: planted worths, what is not identified, the yardstick against a linear rule."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from graphnoise import InputError
from graphnoise.reports import collect_runs, exchange_rate, expected_exchange_rate

CLEAN, NOISY = (axis.ravel() for axis in np.meshgrid([20.0, 50.0, 100.0, 200.0, 400.0], [0.0, 50.0, 200.0, 800.0]))


def error_curve(clean, noisy, kappa, limit=0.1, scale=1.0, exponent=0.5):
    return limit + scale * (clean + kappa * noisy) ** -exponent


@pytest.mark.parametrize("kappa", [0.02, 0.2, 0.7, 1.0])
@pytest.mark.parametrize(("limit", "exponent"), [(0.1, 0.5), (0.0, 0.3), (0.2, 1.0)])
def test_a_planted_worth_is_recovered(kappa, limit, exponent):
    result = exchange_rate(CLEAN, NOISY, error_curve(CLEAN, NOISY, kappa, limit, exponent=exponent))
    assert result.kappa == pytest.approx(kappa, rel=0.05)
    assert result.limit == pytest.approx(limit, abs=0.01)
    assert result.exponent == pytest.approx(exponent, rel=0.05)
    assert result.residual < 1e-3


def test_labels_that_are_worth_nothing_have_worth_zero():
    result = exchange_rate(CLEAN, NOISY, error_curve(CLEAN, NOISY, 0.0))
    assert result.kappa == pytest.approx(0, abs=1e-3)


def test_the_bootstrap_interval_holds_the_planted_worth():
    clean, noisy = np.repeat(CLEAN, 8), np.repeat(NOISY, 8)
    error = error_curve(clean, noisy, 0.2) + np.random.default_rng(0).normal(0, 0.003, len(clean))
    result = exchange_rate(clean, noisy, error, resamples=50)
    assert result.low < 0.2 < result.high
    assert result.high - result.low < 0.2
    assert "95 % interval" in result.text
    assert exchange_rate(clean, noisy, error, resamples=50).low == result.low


@pytest.mark.parametrize(
    ("clean", "noisy", "reason"),
    [
        ([20, 50, 100, 200], [0, 0, 0, 0], "no run has noisy labels"),
        ([0, 0, 0, 0], [20, 50, 100, 200], "no run has clean labels"),
        ([20, 50, 100, 200], [40, 100, 200, 400], "all runs have one ratio"),
        ([20, 50, 20], [0, 0, 100], "four parameters need at least four"),
    ],
)
def test_counts_that_leave_the_worth_open_are_said(clean, noisy, reason):
    clean, noisy = np.array(clean, dtype=float), np.array(noisy, dtype=float)
    result = exchange_rate(clean, noisy, error_curve(clean, noisy, 0.2))
    assert result.kappa is None
    assert reason in result.reason
    assert "not identified" in result.text


def test_an_error_that_does_not_fall_identifies_nothing():
    result = exchange_rate(CLEAN, NOISY, np.full(len(CLEAN), 0.3))
    assert result.kappa is None
    assert "does not fall" in result.reason


def test_one_run_of_each_pair_has_no_interval():
    result = exchange_rate(CLEAN, NOISY, error_curve(CLEAN, NOISY, 0.2))
    assert (result.low, result.high) == (None, None)
    assert "at least two runs" in result.text


def test_the_local_worth_is_the_planted_one_at_every_step():
    result = exchange_rate(CLEAN, NOISY, error_curve(CLEAN, NOISY, 0.2))
    local = result.local
    assert len(local) == 15
    known = local.dropna()
    assert np.allclose(known["worth"], 0.2, rtol=1e-3)
    assert len(known) >= 10
    # 400 clean labels and more noisy ones are beyond the measured clean counts.
    assert local[local["clean"] == 400]["worth"].isna().all()


def test_a_worth_that_falls_is_seen_step_by_step():
    worth = np.where(NOISY > 200, 0.2 * 200 + 0.02 * (NOISY - 200), 0.2 * NOISY)
    local = exchange_rate(CLEAN, NOISY, 0.1 + (CLEAN + worth) ** -0.5).local.dropna()
    assert np.allclose(local[local["noisy_to"] <= 200]["worth"], 0.2, rtol=0.02)
    assert np.allclose(local[local["noisy_to"] == 800]["worth"], 0.02, rtol=0.05)


def test_the_yardstick_agrees_with_linear_discriminants():
    rate, dimensions, errors = 0.3, 20, {}
    kappa = expected_exchange_rate(rate, 2)
    assert kappa == pytest.approx(0.16)
    for name, count, flip in (("clean", 32, 0.0), ("noisy", 200, rate)):
        rng, found = np.random.default_rng(0), []
        for _ in range(60):
            y = rng.integers(0, 2, count)
            x = rng.normal(size=(count, dimensions)) + (2 * y[:, None] - 1) * 0.25
            given = np.where(rng.random(count) < flip, 1 - y, y)
            rule = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1.0).fit(x, given)
            truth = rng.integers(0, 2, 500)
            found.append(
                (rule.predict(rng.normal(size=(500, dimensions)) + (2 * truth[:, None] - 1) * 0.25) != truth).mean()
            )
        errors[name] = np.mean(found)
    # 200 · .16 = 32.
    assert errors["noisy"] == pytest.approx(errors["clean"], abs=0.02)


def test_runs_are_collected_by_configuration_and_seed():
    table = collect_runs(
        lambda config, seed: {"accuracy": 1 - error_curve(config["clean"], config["noisy"], 0.5) + 1e-3 * seed},
        [{"clean": float(c), "noisy": float(n)} for c, n in zip(CLEAN, NOISY, strict=True)],
        2,
    )
    assert len(table) == 40
    result = exchange_rate(table["clean"], table["noisy"], 1 - table["accuracy"], resamples=10)
    assert result.kappa == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("clean", "noisy", "error", "message"),
    [
        ([1, 2], [0], [0.5, 0.5], "clean, noisy, error: expected one length"),
        ([1, -2], [0, 0], [0.5, 0.5], "clean: expected numbers in"),
        ([1, 0], [0, 0], [0.5, 0.5], "clean, noisy: expected at least one label in every run, got none in 1 runs"),
        ([1, 2], [0, 1], [0.5, np.nan], "error: expected finite numbers"),
        ([1, 2], [0, 1], [0.5, 1.5], "error: expected numbers in"),
        ([], [], [], "expected one length, of at least 1"),
    ],
)
def test_bad_input_is_named(clean, noisy, error, message):
    with pytest.raises(InputError, match=message):
        exchange_rate(clean, noisy, error)


@pytest.mark.parametrize("error", [0.0, 0.3, 1.0])
def test_errors_that_do_not_fall_identify_no_worth(error):
    result = exchange_rate(CLEAN, NOISY, np.full_like(CLEAN, error))
    assert result.kappa is None
    assert result.reason == "the error does not fall with the number of labels"
    assert len(result.local)
    assert result.local["worth"].isna().all()


def test_a_measure_that_is_not_a_number_is_named():
    with pytest.raises(InputError, match=r"run\(\{'n': 1\}, 0\): accuracy: expected a finite number, got nan"):
        collect_runs(lambda config, seed: {"accuracy": float("nan")}, [{"n": 1}], 1)
    with pytest.raises(InputError, match="run: expected the measure 'accuracy', got error"):
        collect_runs(lambda config, seed: {"error": 0.1}, [{"n": 1}], 1)

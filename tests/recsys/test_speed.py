"""`graphnoise bench speed recommend`: what is checked, what is recorded, what is refused. No time is judged."""

import numpy as np
import pytest
from speeds import call, held

from graphnoise.bench.speed import harness
from graphnoise.bench.speed.harness import VerificationError
from recsys.bench import spectral_speed, speed
from recsys.bench.speed import BASELINE, RUNS, SAMPLERS, Recommend, RecommendOptions
from recsys.kernels import sgd
from recsys.kernels.negatives import Known
from recsys.models.item_graph import ItemGraph
from recsys.samplers import Uniform

SIZE = {"users": 80, "items": 60, "interactions": 700, "factors": 8}
SMALL = ["recommend", "--rounds", "2", "--quality-seeds", "0"]
SMALL += [word for name, value in SIZE.items() for word in (f"--{name}", str(value))]


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(harness, "MIN_SAMPLE", 1e-6)
    speed.verify_steps.cache_clear()


def case(**changes):
    return Recommend().cases(RecommendOptions(**{**SIZE, "threads": (1,), **changes}))[0]


def test_matrices_have_their_size_and_shape():
    M = speed.draw_matrix(case(users=300, items=200, interactions=5_000))
    assert (M.nnz, M.shape) == (5_000, (300, 200))
    assert M.has_canonical_format
    count = np.bincount(M.indices, minlength=200)
    assert count[:20].mean() > 3 * count[-20:].mean()


def test_everybody_draws_as_many_samples_as_there_are_pairs():
    here = case()
    matrix = speed.draw_matrix(here)
    for name in RUNS:
        model = speed.library(name, here)
        assert speed.epochs(name, model, matrix).run(1) > 0
        assert [drawn for drawn, _, _ in model.counts] == [700], name
    draws = [run.run(1).size for run in speed.sampler_runs(here, matrix)]
    assert draws == [speed.DRAWS] * len(SAMPLERS)


def test_records_and_tables(tmp_path, capfd):
    path = tmp_path / "speed.json"
    words = [*SMALL, "--threads", "1,2", "--run", "bpr, lock-free; nbpo, deterministic", "--out", path]
    code, out, err = call(capfd, *words)
    assert code == 0, err
    assert "80 users × 60 items, 700 pairs, 8 factors, 2 threads" in out
    records = held(path)
    assert [record["case"]["threads"] for record in records] == [1, 2]
    assert set(records[0]["ratio"]) == {"bpr, lock-free", "nbpo, deterministic"}
    assert all(len(entry["samples"]) == 2 for entry in records[0]["times"].values())
    assert records[0]["environment"]["versions"]["implicit"]
    samples = (records[0]["times"][name]["samples"] for name in (BASELINE, "bpr, lock-free"))
    each = [a / b for a, b in zip(*samples, strict=True)]
    assert records[0]["ratio"]["bpr, lock-free"]["median"] == pytest.approx(np.median(each))
    code, shown, _ = call(capfd, "show", path)
    assert (code, "over implicit" in shown) == (0, True)
    assert "(0 measured, 2 recorded before)" in call(capfd, *words)[1]


def test_fits_of_filters_beside_their_products(tmp_path, capfd):
    path = tmp_path / "speed.json"
    size = ["--users", "80", "--items", "60", "--interactions", "700"]
    words = ["spectral", "--rounds", "2", *size, "--preset", "auto,gf-cf", "--threads", "1", "--out", path]
    code, out, err = call(capfd, *words)
    assert code == 0, err
    assert "80 users × 60 items, 700 pairs" in out
    learned, fixed = held(path)
    assert 0 < learned["checks"]["scores"] <= spectral_speed.TOLERANCE
    # Four rounds of two products of all columns, and one for the values; 256 vectors of 60 items are 60.
    assert (fixed["columns"], learned["operations"]) == (9 * 60, 4 * 700 * learned["columns"])
    # Of three powers and two folds, polynomials of degree 8 for most of the users.
    assert learned["columns"] > 3 * 2 * 8 * 30
    assert all(len(entry["samples"]) == 2 for entry in learned["times"].values())
    assert call(capfd, "show", path)[0] == 0
    assert not hasattr(ItemGraph.multiply, "__wrapped__")


def test_wrong_scores_of_filters_are_not_timed(monkeypatch):
    monkeypatch.setattr(spectral_speed, "dense_scores", lambda model: 2 * model.scores(np.arange(300)))
    with pytest.raises(VerificationError, match=r"auto: expected the dense scores within 0\.001, got 0\.5"):
        spectral_speed.verify()


def test_without_the_baseline_the_rest_is_measured(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(speed, "find_spec", lambda name: None)
    code, out, err = call(capfd, *SMALL, "--threads", "1", "--run", "bpr, lock-free", "--out", tmp_path / "a.json")
    assert code == 0, err
    (record,) = held(tmp_path / "a.json")
    assert (record["ratio"], BASELINE in record["rates"]) == ({}, False)
    assert "implicit: left out: is not installed" in out


def test_wrong_steps_are_not_timed(monkeypatch, capfd, tmp_path):
    assert speed.verify_steps() < speed.TOLERANCE
    speed.verify_steps.cache_clear()
    right = sgd.lock_free

    def wrong(rule, factors, *rest, **how):
        count = right(rule, factors, *rest, **how)
        factors.user[0, 0] += 0.01
        return count

    monkeypatch.setattr(sgd, "lock_free", wrong)
    code, out, err = call(capfd, *SMALL, "--threads", "1", "--out", tmp_path / "a.json")
    assert (code, "million" in out) == (1, False)
    assert "bpr, lock-free: expected the reference's steps" in err
    assert not (tmp_path / "a.json").exists()


def test_known_negatives_are_not_timed(monkeypatch):
    matrix = speed.draw_matrix(case())
    first = Known.of(matrix).col[0]
    monkeypatch.setattr(Uniform, "sample", lambda self, users, count, rng: np.full((len(users), count), first))
    with pytest.raises(VerificationError, match="uniform, verified: expected no negative that is known"):
        speed.sampler_runs(case(), matrix)


def test_lower_quality_is_not_timed():
    baseline = np.array([0.2, 0.201, 0.199])
    speed.compare_quality("lock-free", baseline * 0.995, baseline)
    with pytest.raises(VerificationError, match="lock-free: expected NDCG@20 of at least"):
        speed.compare_quality("lock-free", baseline * 0.97, baseline)

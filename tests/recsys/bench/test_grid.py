"""Cells of the recommender benchmark: what they are made of, what they record, what methods may see."""

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise import DataError, InputError
from graphnoise.bench.runner import Store
from recsys import EASE, Interactions, Popularity, Split, evaluate
from recsys.bench import grid, problem
from recsys.bench.grid import Grid, run, run_cell
from recsys.bench.users import STEPS, pack, unpack

DATA = "planted(users=80,items=50,density=0.2,seed=1)"


def cell(method="ease", noise="none", rate=0.0, **more):
    given = {"seeds": 1, "trials": 3, **more}
    cells = Grid([DATA], [method], noise=[noise], rates=[rate], **given).cells()
    return next(c for c in cells if c["method"] == method)


def test_every_list_is_crossed_and_two_methods_are_always_there():
    cells = Grid([DATA], ["ease", "linear:low_pass=0"], ["none", "both"], [0.0, 0.2], seeds=2, trials=7).cells()
    assert len(cells) == 2 * 2 * 4  # seeds, noise (at rate 0 one), methods
    assert [c["method"] for c in cells[:4]] == ["popularity", "itemknn-plain", "ease", "linear"]
    assert [c["trials"] for c in cells[:4]] == [1, 1, 7, 7]
    assert [c["seed"] for c in cells] == [0] * 8 + [1] * 8
    assert cells[0]["noise"] == {"kind": "none", "rate": 0.0}


def test_a_cell_records_the_search_and_what_it_chose():
    result = run_cell(cell())
    loaded = problem.load(DATA)
    scores = []
    for trial in result["trials"]:
        model = EASE(**trial["parameters"]).fit(loaded.split.train)
        scores.append(evaluate(model, loaded.split.train, loaded.split.validation)["ndcg@20"])
    assert [t["score"] for t in result["trials"]] == pytest.approx(scores, abs=1e-6)
    assert result["best_trial"] == int(np.argmax(scores))
    assert result["parameters"] == result["trials"][result["best_trial"]]["parameters"]
    model = EASE(**result["parameters"]).fit(loaded.split.train)
    tested = evaluate(model, loaded.split.train, loaded.split.test, grid.METRICS)
    assert result["test"] == pytest.approx(tested.means, abs=1e-6)
    assert unpack(result["users"]) == pytest.approx(tested.values["ndcg@20"], abs=0.51 / STEPS)
    assert result["epochs"] is None


def test_cells_are_repeatable_and_seeds_differ():
    def without_time(result):
        trials = [{k: v for k, v in t.items() if k != "seconds"} for t in result["trials"]]
        return {**{k: v for k, v in result.items() if k != "run"}, "trials": trials}

    config = cell("bpr", "false-positive", 0.2, trials=2)
    first = without_time(run_cell(config))
    assert first == without_time(run_cell(config))
    assert first["parameters"] != run_cell({**config, "seed": 1})["parameters"]


def test_validation_picks_the_epoch_and_the_oracle_stands_beside_it():
    result = run_cell(cell("bpr", trials=2))
    epochs = result["epochs"]
    assert epochs["run"] == len(epochs["validation"]) == len(epochs["test"])
    assert epochs["picked"] == int(np.argmax(epochs["validation"])) + 1
    assert epochs["test"][epochs["picked"] - 1] == pytest.approx(result["test"]["ndcg@20"], abs=1e-5)
    assert epochs["oracle_test"] == pytest.approx(max(epochs["test"]), abs=1e-5)
    assert epochs["oracle_test"] >= result["test"]["ndcg@20"] - 1e-6
    assert "validation" in epochs["rule"]


def test_a_setting_that_diverges_is_a_failed_trial(monkeypatch):
    from recsys.bench.spaces import One

    method = grid.methods.METHODS["bpr"]
    wild = grid.methods.Method(method.build, {"learning_rate": One(1e30, 0.05)}, True, "", method.defaults)
    monkeypatch.setitem(grid.methods.METHODS, "bpr", wild)
    result = run_cell(cell("bpr", trials=4))
    failed = [t for t in result["trials"] if t["score"] is None]
    assert 0 < len(failed) < 4
    assert all("diverged" in t["error"] for t in failed)
    monkeypatch.setitem(wild.space, "learning_rate", One(1e30))
    with pytest.raises(InputError, match=r"bpr: expected a setting that can be fitted, got none: .*diverged"):
        run_cell(cell("bpr", trials=2))


@pytest.mark.parametrize("select", ["noisy", "clean"])
def test_noise_enters_training_and_chosen_validation_and_never_the_test_part(select):
    loaded = problem.load(DATA)
    noisy, rates = problem.corrupt(loaded, problem.entry("both", 0.25), select, 3)
    assert rates == {"false_positive": pytest.approx(0.25, abs=0.01), "false_negative": pytest.approx(0.25, abs=0.01)}
    assert noisy.test is loaded.split.test
    assert (noisy.validation is loaded.split.validation) == (select == "clean")
    assert len(noisy.train) == len(loaded.split.train)
    assert (noisy.train.matrix - loaded.split.train.matrix).nnz > 0
    again, _ = problem.corrupt(loaded, problem.entry("both", 0.25), select, 4)
    assert (again.train.matrix - noisy.train.matrix).nnz > 0
    assert run_cell(cell("popularity", "both", 0.25, select=select))["realised_rate"] == rates


def test_users_that_trained_nothing_are_asked_of_nobody(monkeypatch):
    train = sp.csr_array([[1.0, 0, 0], [0, 0, 0], [0, 1, 0]])
    held = [sp.csr_array(x) for x in ([[0, 1.0, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1.0], [0, 0, 1], [1, 0, 0]])]
    parts = Split(*(Interactions.from_csr(part) for part in (train, *held)))
    monkeypatch.setattr(problem.datasets, "load", lambda name, root: parts)
    found = problem.load.__wrapped__("gowalla").split
    assert found.validation.matrix.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert np.diff(found.test.matrix.indptr).tolist() == [1, 0, 1]


def test_a_set_without_validation_gets_a_tenth_of_training(monkeypatch):
    rng = np.random.default_rng(0)
    dense = rng.random((40, 60)) < 0.5
    test = sp.csr_array((~dense & (rng.random((40, 60)) < 0.1)).astype(float))
    whole = Interactions.from_csr(sp.csr_array(dense.astype(float)))
    parts = Split(whole, whole.subset(np.zeros(len(whole), bool)), Interactions.from_csr(test))
    monkeypatch.setattr(problem.datasets, "load", lambda name, root: parts)
    found = problem.load.__wrapped__("gowalla")
    assert len(found.split.validation) == pytest.approx(len(whole) / 10, rel=0.1)
    assert len(found.split.train) + len(found.split.validation) == len(whole)
    assert found.digest != problem.load.__wrapped__("gowalla", None, 1).digest


def test_other_data_are_refused():
    with pytest.raises(DataError, match="expected data with hash 00"):
        run_cell({**cell(), "data": "00"})


def test_a_run_goes_on_where_it_stopped(tmp_path):
    small = Grid([DATA], ["ease"], seeds=1, trials=2)
    assert run(small, Store(tmp_path)).done == 3
    again = run(Grid([DATA], ["ease"], seeds=2, trials=2), Store(tmp_path))
    assert (again.done, again.skipped) == (3, 3)


def test_popularity_is_what_it_is_by_hand():
    result = run_cell(cell("popularity"))
    split = problem.load(DATA).split
    expected = evaluate(Popularity().fit(split.train), split.train, split.test, grid.METRICS).means
    assert result["test"] == pytest.approx(expected, abs=1e-6)


def test_users_whom_noise_leaves_nothing_are_asked_of_nobody():
    sparse = "planted(users=150,items=60,density=0.1,seed=2)"
    loaded = problem.load(sparse)
    noisy, _ = problem.corrupt(loaded, problem.entry("false-negative", 0.8), "noisy", 0)
    lost = np.diff(noisy.train.matrix.indptr) == 0
    asked = np.flatnonzero(np.diff(loaded.split.test.matrix.indptr))
    assert lost[asked].any()
    assert not np.diff(noisy.test.matrix.indptr)[lost].any()
    config = Grid([sparse], ["ease"], ["false-negative"], [0.8], seeds=1, trials=1).cells()[0]
    result = run_cell(config)
    values = unpack(result["users"])
    assert np.isnan(values).tolist() == lost[asked].tolist()
    assert np.nanmean(values) == pytest.approx(result["test"]["ndcg@20"], abs=1e-5)


def test_packed_values():
    values = np.random.default_rng(0).random(1000)
    values[[3, 500]] = [1.0, np.nan]
    assert unpack(pack(values)) == pytest.approx(values, abs=0.51 / STEPS, nan_ok=True)
    assert len(pack(np.zeros(100_000))) < 300
    for text in ("?", "AAAA", 3):
        with pytest.raises(DataError, match="users: expected packed values"):
            unpack(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"datasets": []}, "datasets: expected a list"),
        ({"methods": "ease"}, "methods: expected a list"),
        ({"noise": ["false"]}, "noise: expected one of"),
        ({"rates": [1.5]}, "rate: expected a rate"),
        ({"seeds": 0}, "seeds: expected an integer"),
        ({"trials": 0}, "trials: expected an integer"),
        ({"select": "best"}, "select: expected one of clean, noisy"),
        ({"datasets": ["planted(users=10)"]}, "dataset: expected planted"),
        ({"datasets": ["planted(users=ten,items=5)"]}, "dataset: users: expected a number"),
        ({"datasets": ["planted(users=10,items=5,x=1)"]}, "dataset: expected one of"),
        ({"datasets": ["planted(users=4,items=3,density=0.99)"]}, "expected interactions in every part|free pairs"),
        ({"datasets": ["planted(users=10,users=20,items=5)"]}, "dataset: users: expected one value, got two"),
        ({"datasets": ["planted(users=10,items=5,density=1)"]}, "density: expected a number above 0 and below 1"),
        ({"datasets": ["cora"]}, r"dataset: expected one of .*ml-100k.*planted\(users=400,items=200\), got 'cora'"),
        (
            {"noise": ["false-negative"], "rates": [1.0]},
            "at rate 1: expected interactions in every part, got none in the train",
        ),
    ],
)
def test_bad_grids_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        Grid(**{"datasets": [DATA], "noise": ["false-positive"], **given}).cells()

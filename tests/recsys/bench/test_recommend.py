"""Cells of the recommender benchmark: configurations, results, and the data that methods see."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise import DataError, InputError
from graphnoise.bench.task import CellIndex
from recsys import EASE, Interactions, Popularity, Split, evaluate
from recsys.bench import data, methods
from recsys.bench.recommend import Recommend, RecommendGrid
from recsys.bench.report import METRICS
from recsys.bench.search import choice

DATA = "planted(users=80,items=50,density=0.2,seed=1)"
TASK = Recommend()


def cells(*names, **settings):
    return TASK.cells(RecommendGrid(datasets=[DATA], methods=names, **settings))


def cell(method="ease", noise="none", rate=0.0, **settings):
    configs = cells(method, noise=[noise], rates=[rate], **{"seeds": 1, "trials": 3, **settings})
    return next(config for config in configs if config["method"] == method)


def corrupt(noise, select, seed, name=DATA):
    return data.corrupt(name, data.load(name)[0], noise, select, seed)


def test_every_list_is_crossed_and_two_methods_are_always_there():
    configs = cells("ease", "linear:low_pass=0", noise=["none", "both"], rates=[0.0, 0.2], seeds=2, trials=7)
    # Seeds, noise (one at rate 0), methods.
    assert len(configs) == 2 * 2 * 4
    assert [c["method"] for c in configs[:4]] == ["popularity", "itemknn-plain", "ease", "linear"]
    assert [c["trials"] for c in configs[:4]] == [1, 1, 7, 7]
    assert [c["seed"] for c in configs] == [0] * 8 + [1] * 8
    assert configs[0]["noise"] == {"kind": "none", "rate": 0.0}


def test_a_cell_records_the_search_and_its_choice():
    result = TASK.run_cell(cell())
    split, _ = data.load(DATA)
    scores = []
    for trial in result["trials"]:
        model = EASE(**trial["parameters"]).fit(split.train)
        scores.append(evaluate(model, split.train, split.validation)["ndcg@20"])
    assert [trial["score"] for trial in result["trials"]] == pytest.approx(scores, abs=1e-6)
    assert result["best_trial"] == int(np.argmax(scores))
    assert result["parameters"] == result["trials"][result["best_trial"]]["parameters"]
    model = EASE(**result["parameters"]).fit(split.train)
    tested = evaluate(model, split.train, split.test, METRICS)
    assert result["test"] == pytest.approx(tested.means, abs=1e-6)
    assert data.unpack(result["users"]) == pytest.approx(tested.values["ndcg@20"], abs=0.51 / data.PACKED_STEPS)
    assert result["epochs"] is None


def test_validation_picks_the_epoch_and_the_best_test_epoch_is_recorded():
    result = TASK.run_cell(cell("bpr", trials=2))
    epochs = result["epochs"]
    assert epochs["run"] == len(epochs["validation"]) == len(epochs["test"])
    assert epochs["picked"] == int(np.argmax(epochs["validation"])) + 1
    assert epochs["test"][epochs["picked"] - 1] == pytest.approx(result["test"]["ndcg@20"], abs=1e-5)
    assert epochs["oracle_test"] == pytest.approx(max(epochs["test"]), abs=1e-5)
    assert epochs["oracle_test"] >= result["test"]["ndcg@20"] - 1e-6
    assert "validation" in epochs["rule"]


def test_a_setting_that_diverges_is_a_failed_trial(monkeypatch):
    def diverging(*rates):
        space = {"learning_rate": choice(*rates)}
        monkeypatch.setattr(methods, "BPR", methods.Method(methods.BPR.build, space, True, True, methods.TRAINING))

    diverging(1e30, 0.05)
    failed = [trial for trial in TASK.run_cell(cell("bpr", trials=4))["trials"] if trial["score"] is None]
    assert 0 < len(failed) < 4
    assert all("diverged" in trial["error"] for trial in failed)
    diverging(1e30)
    with pytest.raises(InputError, match=r"bpr: expected a setting that can be fitted, got none: .*diverged"):
        TASK.run_cell(cell("bpr", trials=2))


@pytest.mark.parametrize("select", ["noisy", "clean"])
def test_noise_enters_training_and_chosen_validation_and_never_the_test_part(select):
    split, _ = data.load(DATA)
    noise = {"kind": "both", "rate": 0.25}
    noisy, rates = corrupt(noise, select, 3)
    assert rates == {"false_positive": pytest.approx(0.25, abs=0.01), "false_negative": pytest.approx(0.25, abs=0.01)}
    assert noisy.test is split.test
    assert (noisy.validation is split.validation) == (select == "clean")
    assert len(noisy.train) == len(split.train)
    assert (noisy.train.matrix - split.train.matrix).nnz > 0
    assert (corrupt(noise, select, 4)[0].train.matrix - noisy.train.matrix).nnz > 0
    assert TASK.run_cell(cell("popularity", "both", 0.25, select=select, first_seed=3))["realised_rate"] == rates


def test_propagated_noise_adds_as_many_clicks_as_static_noise():
    static, propagated = (
        corrupt({"kind": kind, "rate": 0.25}, "noisy", 3) for kind in ("false-positive", "propagated")
    )
    assert static[1] == propagated[1]
    assert len(static[0].train) == len(propagated[0].train)
    assert (static[0].train.matrix != propagated[0].train.matrix).nnz > 0
    assert TASK.run_cell(cell("popularity", "propagated", 0.25, first_seed=3))["realised_rate"] == propagated[1]


def published(monkeypatch, train, validation, test):
    parts = [Interactions.from_csr(sp.csr_array(np.asarray(part, float))) for part in (train, validation, test)]
    monkeypatch.setattr(data.datasets, "load", lambda name, root: Split(*parts))
    return parts


def test_users_without_training_interactions_are_in_no_held_out_part(monkeypatch):
    held_out = [[[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1], [1, 0, 0]]]
    published(monkeypatch, [[1, 0, 0], [0, 0, 0], [0, 1, 0]], *held_out)
    split, _ = data.load.__wrapped__("gowalla")
    assert split.validation.matrix.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert np.diff(split.test.matrix.indptr).tolist() == [1, 0, 1]


def test_a_data_set_without_validation_gets_a_tenth_of_training(monkeypatch):
    rng = np.random.default_rng(0)
    dense = rng.random((40, 60)) < 0.5
    test = ~dense & (rng.random((40, 60)) < 0.1)
    train, *_ = published(monkeypatch, dense, np.zeros_like(dense), test)
    split, digest = data.load.__wrapped__("gowalla")
    assert len(split.validation) == pytest.approx(len(train) / 10, rel=0.1)
    assert len(split.train) + len(split.validation) == len(train)
    assert digest != data.load.__wrapped__("gowalla", None, 1)[1]


def test_users_whose_training_clicks_are_all_hidden_have_no_value():
    sparse = "planted(users=150,items=60,density=0.1,seed=2)"
    split, digest = data.load(sparse)
    noise = {"kind": "false-negative", "rate": 0.8}
    noisy, _ = corrupt(noise, "noisy", 0, sparse)
    lost = np.diff(noisy.train.matrix.indptr) == 0
    held = np.flatnonzero(np.diff(split.test.matrix.indptr))
    assert 0 < lost[held].sum() < len(held)
    assert not lost[np.flatnonzero(np.diff(noisy.test.matrix.indptr))].any()
    result = TASK.run_cell({**cell("itemknn-plain"), "dataset": sparse, "data": digest, "noise": noise})
    values = data.unpack(result["users"])
    assert np.isnan(values).tolist() == lost[held].tolist()
    assert np.nanmean(values) == pytest.approx(result["test"]["ndcg@20"], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": ["false"]}, "noise: expected one of"),
        ({"rates": [1.5]}, "rates: expected a rate"),
        ({"select": "best"}, "select: expected one of clean, noisy"),
        ({"datasets": ["planted(users=4,items=3,density=0.99)"]}, "expected interactions in every part|free pairs"),
        ({"datasets": ["planted(users=10,items=5,density=1)"]}, "density: expected a number above 0 and below 1"),
        ({"datasets": ["cora"]}, r"dataset: expected one of .*ml-100k.*planted\(users=400,items=200\).*, got 'cora'"),
        ({"protocol": "published"}, "dataset: expected one with a published split.* got 'planted"),
        ({"protocol": "published", "refit": True}, "dataset: expected one with a published split.* got 'planted"),
        ({"protocol": "public"}, "protocol: expected one of honest, published, got 'public'"),
        ({"refit": 1}, "refit: expected true or false"),
        (
            {"noise": ["false-negative"], "rates": [1.0]},
            "at rate 1: expected interactions in every part, got none in the train",
        ),
    ],
)
def test_bad_grids_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TASK.cells(RecommendGrid(**{"datasets": [DATA], "noise": ["false-positive"], **settings}))


def test_a_refit_trains_the_chosen_setting_on_training_and_validation_and_masks_both():
    honest, refit = (TASK.run_cell(cell(refit=again)) for again in (False, True))
    for name in ("parameters", "best_trial", "validation"):
        assert refit[name] == honest[name]
    split, _ = data.load(DATA)
    both = split.train.matrix + split.validation.matrix
    tested = evaluate(EASE(**refit["parameters"]).fit(both), both, split.test, METRICS)
    assert refit["test"] == pytest.approx(tested.means, abs=1e-6)
    assert data.unpack(refit["users"]) == pytest.approx(tested.values["ndcg@20"], abs=0.51 / data.PACKED_STEPS)
    assert refit["test"]["ndcg@20"] != honest["test"]["ndcg@20"]


def test_choices_are_made_on_a_limited_number_of_users(monkeypatch):
    whole = TASK.run_cell(cell())
    split, _ = data.load(DATA)
    assert data.for_choices(split) is split
    monkeypatch.setattr(data, "MAX_VALIDATION_USERS", 20)
    few = data.for_choices(split)
    assert int((np.diff(few.validation.matrix.indptr) > 0).sum()) == 20
    kept = few.validation.rows[0]
    assert few.validation.matrix[[kept]].indices.tolist() == split.validation.matrix[[kept]].indices.tolist()
    result = TASK.run_cell(cell())
    model = EASE(**result["parameters"]).fit(split.train)
    assert result["validation"] == pytest.approx(evaluate(model, split.train, few.validation)["ndcg@20"], abs=1e-6)
    assert result["validation"] != whole["validation"]
    assert len(data.unpack(result["users"])) == len(data.unpack(whole["users"]))


def test_a_refit_runs_as_many_epochs_as_validation_picked():
    honest, refit = (TASK.run_cell(cell("bpr", trials=1, refit=again)) for again in (False, True))
    assert refit["epochs"] is None
    assert refit["parameters"] == {**honest["parameters"], "iterations": honest["epochs"]["picked"]}
    split, _ = data.load(DATA)
    both = split.train.matrix + split.validation.matrix
    model = methods.BPR.model(refit["parameters"], 0).fit(both, False)
    assert refit["test"]["ndcg@20"] == pytest.approx(evaluate(model, both, split.test)["ndcg@20"], abs=1e-6)
    assert model.epochs == honest["epochs"]["picked"]


@pytest.fixture
def published_set(monkeypatch):
    """A published split with validation, under the name of a data set."""
    rng = np.random.default_rng(0)
    part = rng.choice(4, p=[0.7, 0.2, 0.05, 0.05], size=(60, 40))
    parts = published(monkeypatch, *(part == number for number in (1, 2, 3)))
    data.load.cache_clear()
    yield parts
    data.load.cache_clear()


def test_the_published_protocol_trains_on_the_training_part_as_it_is(published_set):
    train, _, test = published_set
    grid = RecommendGrid(datasets=["gowalla"], methods=["ease:regularization=7", "bpr"], noise=["none"], seeds=1)
    both = [TASK.cells(grid.model_copy(update={"protocol": name})) for name in ("honest", "published")]
    assert {config["data"] for config in both[0]}.isdisjoint({config["data"] for config in both[1]})
    ease, bpr = both[1][2:]
    assert (ease["trials"], bpr["trials"], bpr["procedure"]) == (1, 1, "published")
    result = TASK.run_cell(ease)
    nothing = {
        "parameters": {"regularization": 7},
        "validation": None,
        "best_trial": None,
        "epochs": None,
        "trials": [],
    }
    assert {name: result[name] for name in nothing} == nothing
    tested = evaluate(EASE(7).fit(train), train, test, METRICS)
    assert result["test"] == pytest.approx(tested.means, abs=1e-6)
    result = TASK.run_cell(bpr)
    model = methods.BPR.model({}, 0).fit(train, False)
    assert (result["parameters"], model.epochs) == ({}, methods.TRAINING["iterations"])
    assert result["test"] == pytest.approx(evaluate(model, train, test, METRICS).means, abs=1e-6)


def test_noise_of_the_published_protocol_is_in_training_only(published_set):
    grid = RecommendGrid(datasets=["gowalla"], methods=["ease"], noise=["both"], seeds=1, protocol="published")
    result = TASK.run_cell(TASK.cells(grid)[-1])
    split, _ = data.load("gowalla", None, 0, True)
    noisy, rates = data.corrupt("gowalla", split, {"kind": "both", "rate": 0.2}, "noisy", 0)
    assert (len(noisy.validation), result["realised_rate"]) == (0, rates)
    assert rates["false_positive"] == pytest.approx(0.2, abs=0.02)


def test_cells_of_one_protocol_are_in_no_grid_of_another(published_set):
    grids = [
        RecommendGrid(datasets=["gowalla"], methods=["ease:regularization=7"], seeds=1, **settings)
        for settings in ({}, {"refit": True}, {"protocol": "published"}, {"protocol": "published", "refit": True})
    ]
    cells_of = [TASK.cells(grid) for grid in grids]
    # With refit both protocols are the same.
    assert cells_of[1] == cells_of[3]
    for index in (CellIndex(TASK, grid) for grid in grids[:3]):
        found = [all(index.position(config) is not None for config in configs) for configs in cells_of[:3]]
        assert found.count(True) == 1


def test_tables_of_clicks(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"u{u},{i},{rng.integers(1, 6)}" for u in range(30) for i in rng.choice(20, 8, replace=False)]
    path = tmp_path / "clicks.csv"
    path.write_text("\n".join(["user,item,stars", *rows]))
    (config,) = (
        c for c in TASK.cells(RecommendGrid(datasets=[str(path)], noise=["none"], seeds=1)) if c["method"] == "als"
    )
    split, digest = data.load(str(path))
    assert [len(part) for part in split] == [180, 30, 30]
    assert (config["dataset"], config["data"]) == (str(path), digest)
    few, _ = data.load(f"{path}:rating=stars,at_least=3")
    assert sum(map(len, few)) == sum(int(row[-1]) >= 3 for row in rows)
    path = tmp_path / "log.csv"
    path.write_text("who,what\n7,1\n7,1\n8,2\n")
    assert len(data.read_clicks(f"{path}:user=who,item=what,duplicates=last")) == 2
    for text, message in [
        ("", r"log\.csv: user: expected one of what, who, got 'user'"),
        (":user=who,item=what", r"log\.csv: users, items: expected every pair"),
        (":user=who,item=what,rating=r,at_least=x", r"log\.csv: at_least: expected a finite number, got 'x'"),
        (":users=who", r"log\.csv: expected one of .*, got 'users' \(did you mean 'user'"),
        (":user=who,item=what,rating=r", r"log\.csv: expected rating=COLUMN and at_least=NUMBER together"),
        (":user", r"dataset: expected .*KEY=VALUE"),
    ]:
        with pytest.raises(InputError, match=message):
            TASK.cells(RecommendGrid(datasets=[f"{path}{text}"], methods=["ease"]))
    with pytest.raises(DataError, match=r"absent\.csv: "):
        TASK.cells(RecommendGrid(datasets=[str(tmp_path / "absent.csv")], methods=["ease"]))


def test_dislikes_of_tables_are_never_recommended(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{u},{i},{1 if rng.random() < 0.7 else -1}" for u in range(30) for i in rng.choice(20, 10, replace=False)]
    path = tmp_path / "clicks.csv"
    path.write_text("\n".join(["user,item,stars", *rows]))
    name = f"{path}:rating=stars,at_least=0"
    split, digest = data.load(name)
    assert split.train.dislikes.nnz == sum(row.endswith("-1") for row in rows)
    for procedure, known in (("honest", split.train), ("refit", split.train.matrix + split.validation.matrix)):
        grid = RecommendGrid(datasets=[name], methods=["als"], noise=["none"], seeds=1, refit=procedure == "refit")
        (config,) = (c for c in TASK.cells(grid) if c["method"] == "popularity")
        dislikes = split.train.dislikes
        given = Interactions(getattr(known, "matrix", known), dislikes=dislikes)
        expected = evaluate(Popularity().fit(given), given, split.test)
        assert TASK.run_cell(config)["test"]["ndcg@20"] == pytest.approx(expected["ndcg@20"], abs=1e-6)
    # Dislikes are part of the data.
    path.write_text(path.read_text().replace(next(row for row in rows if row.endswith("-1")) + "\n", "", 1))
    data.load.cache_clear()
    assert data.load(name)[1] != digest


def test_what_exceeds_the_memory_is_refused_before_any_cell(monkeypatch):
    monkeypatch.setattr("graphnoise.resources.available_memory", lambda: 2**34)
    monkeypatch.setattr(methods, "available_memory", lambda: 2**34)
    wide = Interactions(sp.csr_array(([1.0], ([0], [299_999])), shape=(1000, 300_000)))
    monkeypatch.setattr(data, "load", lambda *_: (SimpleNamespace(train=wide), "x"))
    with pytest.raises(
        InputError,
        match=r"ease on planted.*, 300000 items: expected to need at most 14\.4 GiB of memory, got 335\.3 GiB; "
        r"less than that: popularity, itemknn-plain, itemknn, .*ease-sparse.*rp3beta.*spectral",
    ):
        TASK.load(DATA, RecommendGrid(datasets=[DATA], methods=["itemknn", "ease"]), None)


def test_packed_values():
    values = np.random.default_rng(0).random(1000)
    values[[3, 500]] = [1.0, np.nan]
    assert data.unpack(data.pack(values)) == pytest.approx(values, abs=0.51 / data.PACKED_STEPS, nan_ok=True)
    assert len(data.pack(np.zeros(100_000))) < 300
    for text in ("?", "AAAA", 3):
        with pytest.raises(DataError, match="users: expected packed values"):
            data.unpack(text)

"""Stacked credibility and the audit of clicks against simulated truth and brute force; the command and its errors."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from graphnoise.cli.audit_clicks import audit_clicks_command
from graphnoise.errors import DataError
from recsys import (
    EASE,
    InputError,
    Interactions,
    ItemKNN,
    Recommender,
    audit_clicks,
    clean,
    simulation,
    stacked_credibility,
    stacking,
)
from recsys.agreement import agree_with_truth
from recsys.stacking import _describe, _draw_unobserved

CLEAN = simulation.low_rank(120, 80, rank=5, density=0.15, scale=4.0, seed=2).interactions
NOISY = simulation.corrupt(CLEAN, 0.2, seed=2)
CLICKS = NOISY.interactions
FOUND = stacked_credibility(CLICKS, models=[ItemKNN(), EASE(20.0)], top=4, num_threads=1)
AUDIT = audit_clicks(CLICKS, truth=NOISY.false_positive, scorer="itemknn", top=3)


class Numbered(Recommender):
    """Scores each pair by its number, and remembers what it was fitted on."""

    fitted: list = []  # noqa: RUF012 - shared by the copies on purpose

    def __init__(self):
        pass

    def _fit(self, user_items, show_progress, callback):
        self.size = user_items.shape[1]
        self.fitted.append(user_items.toarray())

    def scores(self, userids):
        return (userids[:, None] * self.size + np.arange(self.size)).astype(np.float32)


class Remembers:
    """A classifier that fails for rows that it was trained on, known by the score of `Numbered`."""

    def __init__(self, **options):
        pass

    def fit(self, X, y):
        assert set(np.unique(y)) == {0, 1}
        self.pairs = X[:, 0]
        return self

    def predict_proba(self, X):
        assert not np.isin(X[:, 0], self.pairs).any()
        return np.column_stack([X[:, 0], X[:, 0]]) / X[:, 0].max()


def test_no_pair_is_scored_by_what_was_trained_on_it(monkeypatch):
    monkeypatch.setattr(stacking, "HistGradientBoostingClassifier", Remembers)
    Numbered.fitted.clear()
    found = stacked_credibility(CLICKS, models=[Numbered], folds=3, top=80, num_threads=1)
    full = CLICKS.matrix.toarray()
    np.testing.assert_array_equal(sum(full - part for part in Numbered.fitted), full)
    assert not full[found.users, found.items].any()
    assert len(np.unique(found.users * 80 + found.items)) == len(found.users)


def test_planted_mistakes_are_found_and_their_share():
    assert roc_auc_score(NOISY.false_positive, -FOUND.positive) > 0.75
    assert FOUND.false_positive_share == pytest.approx(NOISY.false_positive.mean(), abs=0.12)
    assert FOUND.method == "stacked"
    removed = clean(CLICKS, FOUND, share=0.1).removed
    assert NOISY.added.matrix.multiply(removed.matrix).sum() > 2 * NOISY.false_positive.mean() * len(removed)


def test_mistakes_by_popularity_are_found_where_they_are_assumed():
    clicks = simulation.low_rank(200, 120, rank=4, density=0.15, scale=4.0, popularity=1.5, seed=4).interactions
    noisy = simulation.corrupt(clicks, 0.2, popularity=1.0, seed=4)
    options = {"models": [EASE(20.0)], "top": 0, "num_threads": 1}
    right, other = (stacked_credibility(noisy.interactions, popularity=p, **options) for p in (1.0, 0.0))
    wrong = noisy.false_positive
    assert roc_auc_score(wrong, right.position) > roc_auc_score(wrong, other.position) + 0.01
    assert abs(right.false_positive_share - wrong.mean()) < abs(other.false_positive_share - wrong.mean())


def test_hidden_likes_are_unobserved_ordered_and_few_per_user():
    assert not CLICKS.matrix.toarray()[FOUND.users, FOUND.items].any()
    assert (np.bincount(FOUND.users, minlength=120) == 4).all()
    for user in range(120):
        assert (np.diff(FOUND.hidden[FOUND.users == user]) <= 0).all()
    hit = CLEAN.matrix.toarray()
    hidden = simulation.corrupt(CLEAN, 0.0, 0.3, seed=1)
    likely = stacked_credibility(hidden.interactions, models=[EASE(20.0)], top=4, num_threads=1)
    assert hit[likely.users, likely.items].mean() > 2 * hit[hidden.interactions.matrix.toarray() == 0].mean()


def test_a_seed_repeats_itself_at_any_number_of_threads(monkeypatch):
    monkeypatch.setattr("recsys.base.BATCH", 4000)
    again = stacked_credibility(CLICKS, models=[ItemKNN(), EASE(20.0)], top=4, num_threads=2)
    for name in ("positive", "position", "users", "items", "hidden"):
        np.testing.assert_array_equal(getattr(again, name), getattr(FOUND, name))
    one, two = (stacked_credibility(CLICKS, models=[ItemKNN()], boosting=False, top=0, seed=k) for k in (0, 1))
    assert not np.array_equal(one.positive, two.positive)
    assert one.method == "score"


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 7), st.sampled_from([0.0, 0.5, 1.0]))
def test_drawn_pairs_are_unobserved_and_follow_popularity(seed, m, n, popularity):
    rng = np.random.default_rng(seed)
    full = rng.random((m, n)) < rng.random()
    full[0, 0] = False
    users, items = _draw_unobserved(Interactions.from_csr(sp.csr_array(full)), 20_000, popularity, rng)
    counts = sp.coo_array((np.ones(20_000), (users, items)), shape=(m, n)).toarray()
    chance = (1 + full.sum(0)) ** popularity * ~full
    assert not counts[full].any()
    # Six standard deviations.
    expected = 20_000 * chance / chance.sum()
    assert (abs(counts - expected) <= 6 * np.sqrt(expected) + 1).all()


def test_places_count_the_other_unobserved_items():
    """Ties by half, a positive and an unobserved pair of equal score alike."""
    rng = np.random.default_rng(1)
    full, score = rng.random((4, 9)) < 0.4, rng.integers(0, 4, (4, 9)).astype(np.float32)
    clicks = Interactions.from_csr(sp.csr_array(full))
    model = Numbered()
    model.num_items, model.scores = 9, lambda users: score[users]
    users, items = (part.ravel() for part in np.mgrid[:4, :9])
    train = clicks.subset(rng.random(len(clicks)) < 0.7)
    who, what, origin, features = _describe([model], train, clicks, (users, items, np.arange(36)), None, 0, slice(0, 4))
    assert origin.tolist() == list(range(36))
    for row, (u, i) in enumerate(zip(who, what, strict=True)):
        others = [score[u, j] for j in range(9) if not full[u, j] and j != i]
        place = sum(s > score[u, i] for s in others) + sum(s == score[u, i] for s in others) / 2
        counts = train.matrix.toarray()
        assert features[row].tolist() == [score[u, i], place, counts[:, i].sum(), counts[u].sum()]


def test_tables_of_an_audit_are_sums_of_its_probabilities():
    assert AUDIT.suspects["rank"].tolist() == list(range(1, len(CLICKS) + 1))
    assert (np.diff(AUDIT.suspects["mistake"]) <= 0).all()
    for table, name in ((AUDIT.users, "user"), (AUDIT.items, "item")):
        for row in table.itertuples():
            own = AUDIT.suspects[AUDIT.suspects[name] == getattr(row, name)]
            assert row.clicks == len(own)
            assert row.expected_mistakes == pytest.approx(own["mistake"].sum())
            assert row.share == pytest.approx(own["mistake"].mean())
        assert table["clicks"].sum() == len(CLICKS)
        assert (np.diff(table["expected_mistakes"]) <= 0).all()
    assert AUDIT.hidden_likes.groupby("user").size().tolist() == [3] * 120
    at = {(u, i): p for u, i, p in AUDIT.suspects[["user", "item", "mistake"]].itertuples(index=False)}
    expected = [at[u, i] for u, i in zip(CLICKS.rows, CLICKS.matrix.indices, strict=True)]
    np.testing.assert_allclose(1 - AUDIT.credibility.positive.astype(float), expected)


def test_the_realised_auc_is_that_of_the_order():
    assert AUDIT.auc == pytest.approx(roc_auc_score(AUDIT.suspects["truth"], -AUDIT.suspects["rank"]), abs=1e-3)
    part = np.where(np.arange(len(CLICKS)) % 3 == 0, np.nan, NOISY.false_positive)
    some = audit_clicks(CLICKS, truth=part, scorer="itemknn", top=0)
    known = some.suspects.dropna()
    assert len(known) == (~np.isnan(part)).sum()
    assert some.auc == pytest.approx(roc_auc_score(known["truth"], -known["rank"]), abs=1e-3)
    assert f"{some.auc:.3f}" in some.summary()
    assert audit_clicks(CLICKS, scorer="popularity", top=0).auc is None


@given(st.integers(0, 10**6))
def test_the_auc_within_users_is_over_pairs_of_one_user(seed):
    rng = np.random.default_rng(seed)
    users, value, truth = rng.integers(0, 4, 20), rng.integers(0, 5, 20), rng.integers(0, 2, 20)
    pairs = [(value[a] > value[b]) + (value[a] == value[b]) / 2 for a in range(20) for b in range(20)
             if users[a] == users[b] and truth[a] > truth[b]]  # fmt: skip
    if len(set(truth)) < 2:
        return
    found = agree_with_truth(value, 9 - value, users, truth)
    assert found.within_users == (pytest.approx(np.mean(pairs)) if pairs else None)
    assert found.auc == pytest.approx(roc_auc_score(truth, value))
    # The popularity given is the reverse order.
    assert found[2:] == found[:2]


def test_popularity_alone_is_shown_beside_the_order_of_suspicion():
    clicks = np.bincount(CLICKS.matrix.indices, minlength=CLICKS.num_items)[CLICKS.matrix.indices]
    alone = roc_auc_score(NOISY.false_positive, -clicks)
    assert AUDIT.agreement.popularity == pytest.approx(alone)
    assert str(AUDIT.agreement) in AUDIT.summary()
    assert f"popularity alone {alone:.3f} (" in AUDIT.summary()


def test_dislikes_are_told_from_clicks():
    """Pairs that are disliked at random look like mistakes, in every scorer; none of them is a likely like."""
    rng = np.random.default_rng(0)
    free = np.argwhere(CLICKS.matrix.toarray() == 0)
    chosen = free[rng.choice(len(free), 400, replace=False)]
    dislikes = sp.csr_array((np.ones(400), tuple(chosen.T)), shape=CLICKS.matrix.shape)
    clicks = Interactions(CLICKS.matrix, dislikes=dislikes)
    for scorer in ("itemknn", "stacked"):
        credible = audit_clicks(clicks, scorer=scorer, top=20).credibility
        hidden = sp.csr_array(
            (np.ones(len(credible.users)), (credible.users, credible.items)), shape=CLICKS.matrix.shape
        )
        assert not hidden.multiply(dislikes).nnz
        assert credible.dislikes.auc > max(0.75, credible.dislikes.popularity)
        assert 0.5 < credible.dislikes.within_users < 1
        assert f"dislikes: AUC {credible.dislikes.auc:.3f} (" in repr(credible)
        assert audit_clicks(CLICKS, scorer=scorer, top=0).credibility.dislikes is None
    cleaned = clean(clicks, credible, add=0.0)
    assert cleaned.interactions.dislikes.nnz == 400
    assert "Dislikes against clicks: AUC 0." in audit_clicks(clicks, scorer="itemknn", top=0).summary()


BAD = [
    (lambda: audit_clicks(CLICKS, scorer="bpr"), "scorer: expected one of"),
    (lambda: audit_clicks(CLICKS, truth=[1, 0]), r"truth: expected \d+ values"),
    (lambda: audit_clicks(CLICKS, truth=np.full(len(CLICKS), 2)), "truth: expected values of 0"),
    (lambda: audit_clicks(CLICKS, truth=np.zeros(len(CLICKS))), "truth: expected both mistakes and likes"),
    (lambda: audit_clicks(sp.csr_array([[1, 0, 1, 1, 1, 1]])), "at least two users and two items, got 1 and 6"),
    (lambda: audit_clicks(sp.csr_array(np.ones((4, 4)))), "a pair that is not observed, got none"),
    (lambda: audit_clicks(sp.csr_array([[1, 0], [0, 1]])), "at least as many as folds, 5"),
    (lambda: audit_clicks(sp.csr_array(1 - np.eye(4)[:, :3] * [1, 0, 0])), "more pairs that are not observed, got 1"),
    (lambda: audit_clicks(CLICKS, scorer="ease", popularity=1.0), "popularity: expected 0 with the scorer ease"),
    (lambda: stacked_credibility(CLICKS, models=[]), "models: expected a list of models"),
    (lambda: stacked_credibility(CLICKS, models="ease"), "models: expected a list of models"),
    (lambda: stacked_credibility(CLICKS, models=["ease"]), "model: expected a Recommender"),
    (lambda: stacked_credibility(CLICKS, progress=3), "progress: expected a function"),
    (lambda: stacked_credibility(sp.csr_array([[1, 1, 1, 1, 1, 0]])), "at least two users"),
]


@pytest.mark.parametrize(("call", "words"), BAD)
def test_bad_input_is_one_clear_error(call, words):
    with pytest.raises(InputError, match=words):
        call()


def table(tmp_path, **changes):
    """Write clicks of users with text ids, and their truth."""
    frame = pd.DataFrame({"user": [f"u{u}" for u in CLICKS.rows], "item": CLICKS.matrix.indices,
                          "wrong": NOISY.false_positive.astype(int)})  # fmt: skip
    for name, value in changes.items():
        frame[name] = value(frame[name].astype(object))
    frame.to_csv(tmp_path / "clicks.csv", index=False)
    return str(tmp_path / "clicks.csv")


def test_the_command_writes_tables_and_says_what_they_mean(tmp_path, capsys):
    out = tmp_path / "new" / "out"
    audit_clicks_command(table(tmp_path), out, truth="wrong", top=2, show=3)
    printed = capsys.readouterr()
    assert re.search(r"\d+ of 1\d steps", printed.err)
    lines = printed.out.splitlines()
    assert lines[0].split() == ["user", "item", "P(mistake)", "rank", "truth"]
    assert len(lines) == 1 + 3 + 2
    assert "AUC 0." in printed.out
    assert "hardly visible" in printed.out
    clicks, likes, users, items = (
        pd.read_csv(out / f"{name}.csv") for name in ("clicks", "hidden-likes", "users", "items")
    )
    given = set(zip([f"u{u}" for u in CLICKS.rows], CLICKS.matrix.indices, strict=True))
    assert set(zip(clicks["user"], clicks["item"], strict=True)) == given
    assert not set(zip(likes["user"], likes["item"], strict=True)) & given
    assert users["clicks"].sum() == items["clicks"].sum() == len(given)
    records = [json.loads(line) for line in (out / "clicks.jsonl").read_text().splitlines()]
    pd.testing.assert_frame_equal(pd.DataFrame(records), clicks, atol=1e-5, check_dtype=False)
    assert sorted(path.name for path in out.iterdir()) == [
        "clicks.csv", "clicks.jsonl", "hidden-likes.csv", "items.csv", "users.csv"]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": "who"}, "^--user: expected one of .*, got 'who'"),
        ({"truth": "right"}, "^--truth: expected one of .*, got 'right'"),
        ({"rating": "right", "low_rating": 2}, "^--rating: expected one of .*, got 'right'"),
        ({"scorer": "bpr"}, "scorer: expected one of"),
        ({"truth": "wrong", "low_rating": 2}, "low-rating: expected none together with --truth"),
        ({"rating": "wrong"}, "--rating: expected the column of ratings, together with --low-rating"),
        ({"seed": -1}, "seed: expected an integer of at least 0"),
    ],
)
def test_bad_options_of_the_command(tmp_path, options, words):
    with pytest.raises(InputError, match=words) as error:
        audit_clicks_command(table(tmp_path), tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": lambda c: "ann", "item": lambda c: c.index}, "at least two users"),
        ({"user": lambda c: c.where(c.index != 3)}, "user: expected a value in every row, got 1 missing"),
        ({"wrong": lambda c: c.where(c.index != 3)}, "wrong: expected a value in every row"),
        ({"wrong": lambda c: 3}, "truth: expected values of 0"),
        ({"wrong": lambda c: "no"}, "expected numbers"),
        ({"item": lambda c: c.where(c.index != 1, c[0])}, "every pair of user and item once"),
    ],
)
def test_bad_tables_of_the_command(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        audit_clicks_command(table(tmp_path, **change), tmp_path / "out", truth="wrong")
    assert not (tmp_path / "out").exists()


def test_files_that_are_absent_or_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.csv"):
        audit_clicks_command(str(tmp_path / "nothing.csv"), tmp_path / "out")
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        audit_clicks_command(table(tmp_path), tmp_path / "out")


def test_low_ratings_are_the_truth_and_repeated_pairs_can_count_once(tmp_path, capsys):
    path = table(tmp_path, item=lambda c: c.where(c.index != 1, c[0]), wrong=lambda c: 5 - 4 * c.astype(int))
    options = {"rating": "wrong", "low_rating": 2, "duplicates": "first", "scorer": "popularity", "show": 0}
    audit_clicks_command(path, tmp_path / "out", **options)
    assert "AUC 0." in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "out" / "clicks.csv")["truth"].sum() == pytest.approx(
        NOISY.false_positive.sum(), abs=1
    )


def test_the_table_of_the_page_is_the_record():
    top = Path(__file__).parents[2]
    record = pd.read_csv(top / "benchmarks/results/click-credibility.csv").query("seed == 0")
    page = (top / "docs/click-audit.md").read_text()
    lines = [
        line.strip("| ").split(" | ") for line in page.splitlines() if re.search(r"\(\.\d{3}\)|MovieLens 100K, ", line)
    ]
    names = {"MovieLens 100K": "ml-100k", "ModCloth": "modcloth", "Last.fm": "lastfm"}
    noise = {"at random": "uniform", "by popularity": "popularity", "real": "real"}
    columns = [(names[head.split(", ")[0]], noise[head.split(", ")[1]]) for head in lines[0]]
    figures = {}
    for row in lines[1:]:
        scorer = row[0].replace("`", "").replace(", ", ":")
        for column, cell in zip(columns, row[1:], strict=True):
            if cell.strip() != "–":
                figures[(*column, scorer)] = [float(number) for number in re.findall(r"\.\d{3}", cell)]
    assert len(figures) == len(record) > 20
    for row in record.itertuples():
        shown = figures[row.dataset, row.noise, row.scorer]
        assert shown == pytest.approx([row.auc, row.auc_within_users, row.estimated_share], abs=6e-4)


def test_what_cleaning_gains_on_the_page_is_the_record():
    top = Path(__file__).parents[2]
    record = pd.read_csv(top / "benchmarks/results/click-cleaning.csv")
    page = (top / "docs/click-audit.md").read_text()
    part = page[page.index("## What cleaning gains") : page.index("## Where it fails")]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| M")]
    assert len(lines) == len(record) >= 2
    names = {"MovieLens 100K": "ml-100k", "ModCloth": "modcloth"}
    columns = ["trial_gain", "trial_low", "gain", "gain_low", "gain_high", "oracle_gain", "oracle_low", "oracle_high"]
    for line, row in zip(lines, record.itertuples(), strict=True):
        assert (names[line[0]], line[1].strip("`")) == (row.dataset, row.scorer)
        assert float(line[2].rstrip("%")) / 100 == pytest.approx(row.tried_share, abs=6e-4)
        assert int(line[4].replace(",", "")) == row.removed
        found = [float(text) for text in re.findall(r"[+-]\.\d{4}", " ".join(line))]
        assert found == [getattr(row, name) for name in columns]
    # What the text says of them.
    assert (record.removed == 0).all()
    assert (record.trial_low <= 0).all()

"""Real data sets have their published counts; files of every format are read; damaged ones raise."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise.cli.main import main
from graphnoise.datasets.feedback import READERS, read_parts
from graphnoise.datasets.manifest import File, SourceFiles, feedback_info, feedback_names
from recsys import DataError, InputError, datasets
from recsys.bench import data


@pytest.mark.parametrize(
    ("name", "shape", "stars"),
    [
        ("ml-latest-small", (610, 9724), {0.5: 1370, 5.0: 13211}),
        ("ml-100k", (943, 1682), {1: 6110, 2: 11370, 3: 27145, 4: 34174, 5: 21201}),
    ],
)
def test_movielens_counts(feedback, name, shape, stars):
    clicks = feedback(name)
    assert clicks.matrix.shape == shape
    values, counts = np.unique(clicks.ratings, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert {star: found[star] for star in stars} == stars
    assert sum(found.values()) == len(clicks)
    assert clicks.times.min() > 8e8


def test_movielens_latest_small_is_the_release_of_2018(feedback):
    clicks = feedback("ml-latest-small")
    assert len(clicks) == 100836
    days = clicks.times[[clicks.times.argmin(), clicks.times.argmax()]].astype("datetime64[s]").astype("datetime64[D]")
    assert days.astype(str).tolist() == ["1996-03-29", "2018-09-24"]


def test_modcloth_has_a_clean_and_a_noisy_test_set(feedback):
    clean, noisy = feedback("modcloth"), feedback("modcloth-noisy")
    assert clean.train.matrix.shape == (44784, 1020)
    assert [len(part) for part in (clean.train, clean.validation, clean.test, noisy.test)] == [79914, 9990, 5433, 9989]
    assert set(clean.test.ratings.tolist()) == {5}
    assert np.array_equal(noisy.test.at_least(5).matrix.indices, clean.test.matrix.indices)
    assert set(clean.train.ratings.tolist()) == {1, 2, 3, 4, 5}


def test_gowalla_is_the_split_of_lightgcn(feedback):
    split = feedback("gowalla")
    assert split.train.matrix.shape == (29858, 40981)
    assert (len(split.train), len(split.validation), len(split.test)) == (810128, 0, 217242)
    assert np.diff(split.test.matrix.indptr).min() >= 1
    # Test clicks are no random part of a user's: many are on the tenth of the items that has the
    # largest ids.
    parts = [part.matrix for part in (split.train, split.test)]
    user = np.concatenate([np.repeat(np.arange(29858), np.diff(part.indptr)) for part in parts])
    item, tested = np.concatenate([part.indices for part in parts]), np.repeat([False, True], [810128, 217242])
    order, count = np.lexsort((item, user)), np.bincount(user)
    place = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    last = place / np.repeat(np.maximum(count - 1, 1), count) >= 0.9
    assert last.mean() == pytest.approx(0.11, abs=0.01)
    assert last[tested[order]].mean() == pytest.approx(0.16, abs=0.01)


def test_other_splits_have_their_counts(feedback):
    nbpo = feedback("amazon-nbpo")
    assert [len(part) for part in (nbpo.train, nbpo.validation, nbpo.test)] == [31887, 4044, 4044]
    per_user = np.diff(nbpo.train.matrix.indptr)
    assert (per_user.min(), np.median(per_user), per_user.max()) == (11, 18, 129)
    per_item = np.bincount(nbpo.train.matrix.indices)
    assert (len(per_item), per_item.min(), np.median(per_item), per_item.max()) == (1522, 9, 16, 256)


def test_lastfm_and_beauty_have_their_counts(feedback):
    lastfm, beauty = feedback("lastfm"), feedback("amazon-beauty")
    assert (lastfm.train.matrix.shape, len(lastfm.train), len(lastfm.test)) == ((1880, 4489), 42135, 10533)
    assert (beauty.matrix.shape, len(beauty)) == ((22363, 12101), 198502)
    first = beauty.matrix.indices[: beauty.matrix.indptr[1]]
    assert beauty.items[first][beauty.times[: len(first)].argsort()].tolist() == [1, 2, 3, 4, 5]


def test_retail_rocket_learns_from_views_carts_or_purchases_and_tests_on_one_purchase_a_user(feedback):
    splits = {kind: feedback(f"retail-rocket-{kind}") for kind in ("views", "carts", "purchases")}
    sizes = {kind: (len(split.train), len(split.validation)) for kind, split in splits.items()}
    assert sizes == {"views": (75374, 0), "carts": (12456, 0), "purchases": (9551, 0)}
    for split in splits.values():
        assert split.train.matrix.shape == (2174, 30113)
        assert np.diff(split.test.matrix.indptr).tolist() == [1] * 2174
        assert np.array_equal(split.test.matrix.indices, splits["views"].test.matrix.indices)
    viewed, bought = (splits[kind].train.matrix for kind in ("views", "purchases"))
    assert (viewed.multiply(bought).nnz, int((np.diff(viewed.indptr) == 0).sum())) == (8423, 91)
    # Float32 would round seconds to multiples of 128.
    assert splits["views"].train.times[:2].tolist() == [1433222501, 1433222323]


def test_coat_tests_on_likes_among_items_drawn_at_random(feedback):
    split = feedback("coat")
    assert (split.train.matrix.shape, len(split.train), len(split.validation)) == ((290, 300), 6960, 0)
    assert np.unique(split.train.ratings, return_counts=True)[1].tolist() == [1901, 1437, 1717, 1275, 630]
    assert np.diff(split.train.matrix.indptr).tolist() == [24] * 290
    # Of 860 likes, 91 are of items that the user chose to rate as well.
    assert (len(split.test), set(split.test.ratings.tolist())) == (769, {4, 5})


def test_likes_of_coat_come_with_dislikes(feedback):
    split, ratings = feedback("coat-likes"), feedback("coat")
    assert (len(split.train), split.train.dislikes.nnz) == (1275 + 630, 1901 + 1437)
    assert (split.test.matrix != ratings.test.matrix).nnz == 0


MADE_UP = {
    "movielens-csv": {"ratings.csv": "userId,movieId,rating,timestamp\r\n1,10,3.5,99\r\n2,10,1.0,98\r\n"},
    "movielens-dat": {"ratings.dat": "1::10::3.5::99\n2::10::1::98\n"},
    "recbole": {
        "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t3.5\t99\n2\t10\t1\t98\n"
    },
}


@pytest.mark.parametrize("reader", MADE_UP)
def test_tables_of_ratings(reader, tmp_path):
    ((name, text),) = MADE_UP[reader].items()
    (tmp_path / name).write_text(text, newline="")
    part = READERS[reader](tmp_path, [name])["all"]
    assert [part.users.tolist(), part.items.tolist()] == [[1, 2], [10, 10]]
    assert [part.ratings.tolist(), part.times.tolist()] == [[3.5, 1], [99, 98]]
    (tmp_path / name).write_text(text + "1,x", newline="")
    with pytest.raises(DataError, match=name):
        READERS[reader](tmp_path, [name])


def test_parts_in_files_of_their_own(tmp_path):
    (tmp_path / "v").write_text("user,item,time\n0,7,1433222501\n")
    (tmp_path / "t").write_text("user,item\n0,9\n")
    parts = READERS["retail-rocket"](tmp_path, ["v", "v", "v", "t"])
    assert list(parts) == ["views", "carts", "purchases", "test"]
    assert (parts["views"].items.tolist(), parts["views"].times.tolist()) == ([7], [1433222501])
    assert (parts["test"].items.tolist(), parts["test"].ratings, parts["test"].times) == ([9], None, None)
    (tmp_path / "r").write_text("0,72,2\n1,3,5\n")
    parts = READERS["coat"](tmp_path, ["r", "r"])
    assert (parts["random"].users.tolist(), parts["random"].ratings.tolist()) == ([0, 1], [2, 5])
    (tmp_path / "r").write_text("0,72\n")
    with pytest.raises(DataError, match="/r: "):
        READERS["coat"](tmp_path, ["r", "r"])


def test_validation_by_purchases(tmp_path, monkeypatch):
    """The last purchase of each user is held out; the views are without it, as they are without the test purchase."""
    texts = {
        "views": "0,1,10\n0,2,11\n0,3,12\n1,2,9\n2,4,8\n2,1,7\n",
        "carts": "0,1,20\n1,2,20\n",
        "purchases": "0,1,31\n0,2,30\n1,2,40\n2,3,50\n2,4,50\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text("user,item,time\n" + text)
    (tmp_path / "test").write_text("user,item\n0,4\n1,1\n2,2\n3,1\n")
    parts = READERS["retail-rocket"](tmp_path, [*texts, "test"])
    monkeypatch.setattr(datasets, "available", lambda *_: SimpleNamespace(folder=tmp_path, variant=None))
    monkeypatch.setattr(datasets, "read_feedback", lambda *_: parts)

    def pairs(part):
        return sorted(zip(part.rows.tolist(), part.items[part.matrix.indices].tolist(), strict=True))

    as_published, split = (datasets.load("retail-rocket-views", validation=kind) for kind in (None, "purchases"))
    assert pairs(split.validation) == [(0, 1), (1, 2), (2, 4)]
    assert pairs(split.train) == [(0, 2), (0, 3), (2, 1)]
    assert sorted(pairs(split.train) + pairs(split.validation)) == pairs(as_published.train)
    assert pairs(split.test) == pairs(as_published.test) == [(0, 4), (1, 1), (2, 2), (3, 1)]
    assert (len(as_published.validation), split.train.times.tolist()) == (0, [11, 12, 7])
    assert pairs(datasets.load("retail-rocket-carts", validation="purchases").train) == []
    # In the benchmark, users without a training click are in no other part.
    data.load.cache_clear()
    here, _ = data.load("retail-rocket-views:validation=purchases")
    assert [pairs(part) for part in here] == [pairs(split.train), [(0, 1), (2, 4)], [(0, 4), (2, 2)]]
    for call, words in (
        (lambda: datasets.load("retail-rocket-views", validation="views"), "validation: expected one of purchases"),
        (
            lambda: datasets.load("coat", validation="purchases"),
            "validation: expected None, unless the data set is one",
        ),
        (lambda: data.load("retail-rocket-views:test=views"), "dataset: retail-rocket-views: expected .*validation"),
        (lambda: data.load("coat:validation=purchases"), "validation: expected None"),
        (
            lambda: data.load("retail-rocket-views:validation=purchases", published=True),
            "dataset: expected one without",
        ),
    ):
        with pytest.raises(InputError, match=words):
            call()
    data.load.cache_clear()


def test_lists_and_graphs(tmp_path):
    for name, content in (("a", [[3, 1], []]), ("b", [[0], [2]]), ("c", [[], [1]])):
        (tmp_path / name).write_text(json.dumps(content))
    parts = READERS["json-lists"](tmp_path, ["a", "b", "c"])
    assert parts["train"].users.tolist() == [0, 0]
    assert parts["validation"].items.tolist() == [0, 2]
    (tmp_path / "test.txt").write_text("0 1\n1 0 2\n")
    train = sp.csr_matrix([[1, 0, 0], [0, 1, 0]])
    sp.save_npz(tmp_path / "g.npz", sp.csr_matrix(sp.bmat([[None, train], [train.T, None]])))
    parts = READERS["gowalla"](tmp_path, ["g.npz", "test.txt"])
    assert [parts["train"].users.tolist(), parts["train"].items.tolist()] == [[0, 1], [0, 1]]
    assert [parts["test"].users.tolist(), parts["test"].items.tolist()] == [[0, 1, 1], [1, 0, 2]]
    sp.save_npz(tmp_path / "g.npz", sp.csr_matrix(np.ones((5, 5))))
    with pytest.raises(DataError, match=r"g\.npz: expected edges between 2 users and items only"):
        READERS["gowalla"](tmp_path, ["g.npz", "test.txt"])
    (tmp_path / "test.txt").write_text("0 1\n0 2\n")
    with pytest.raises(DataError, match=r"test\.txt: a user has two lines"):
        READERS["sequences"](tmp_path, ["test.txt"])


@pytest.mark.parametrize("content", ["[[1, 2]", '{"a": 1}', "[1]", "[[1.5]]", "[[true]]", ""])
def test_damaged_lists_are_named(content, tmp_path):
    (tmp_path / "a").write_text(content)
    with pytest.raises(DataError, match=r"/a: "):
        READERS["json-lists"](tmp_path, ["a", "a", "a"])


def test_files_that_are_absent_are_named(tmp_path):
    with pytest.raises(InputError, match="root: expected a path or None, got 5"):
        datasets.load("ml-100k", 5)
    for reader in READERS:
        with pytest.raises(DataError, match=r"No such file|not found"):
            read_parts(
                tmp_path, SourceFiles(reader, tuple(File(name) for name in "abcd"[: 3 if reader[0] == "j" else 4]))
            )


def test_the_users_own_movielens_is_held_to_its_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "root" / "ml-1m"
    folder.mkdir(parents=True)
    (folder / "ratings.dat").write_text(MADE_UP["movielens-dat"]["ratings.dat"])
    with pytest.raises(DataError, match=r"ml-1m: users: expected 6040, got 2"):
        datasets.load("ml-1m", tmp_path / "root")
    with pytest.raises(DataError, match=r"ml-20m: no source has the files(.|\n)*put ratings.csv of your own copy into"):
        datasets.load("ml-20m", tmp_path / "root")
    with pytest.raises(InputError, match=r"did you mean 'gowalla'"):
        datasets.load("gowala")


def test_every_set_of_the_manifest_can_be_read():
    for name in feedback_names():
        dataset = feedback_info(name)
        assert all(variant.reader in READERS and variant.files for variant in dataset.variants)
        assert dataset.licence
        assert all(file.size for v in dataset.variants if v.address or v.wheel for file in v.files)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_tables_of_ones_own(ending, tmp_path):
    pandas = pytest.importorskip("pandas")
    days = pandas.to_datetime(["2020-01-02", "2020-01-01", "1970-01-02"])
    frame = pandas.DataFrame({"u": ["x", "y", "x"], "i": [5, 5, 4], "r": [1, 2, 3], "t": days, "n": days})
    path = tmp_path / f"clicks{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    options = {} if ending == ".parquet" else {"parse_dates": ["t"]}
    clicks = datasets.read_table(path, "u", "i", "r", "t", **options)
    assert (clicks.users.tolist(), clicks.items.tolist()) == (["x", "y"], [4, 5])
    assert (clicks.ratings.tolist(), clicks.times.tolist()) == ([3, 1, 2], [86400, 1577923200, 1577836800])


def test_wrong_tables_are_named(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "clicks.csv"
    path.write_text("u,i,r\n1,2,3\n1,2,4\n,3,5\n")
    with pytest.raises(InputError, match=r"^user: expected one of i, r, u, got 'user'"):
        datasets.read_table(path, "user", "i")
    with pytest.raises(InputError, match=r"u: expected a value in every row, got 1 missing"):
        datasets.read_table(path, "u", "i")
    path.write_text("u,i,r\n1,2,3\n1,2,4\n")
    with pytest.raises(InputError, match=r"users, items: expected every pair"):
        datasets.read_table(path, "u", "i")
    assert datasets.read_table(path, "u", "i", "r", duplicates="last").ratings.tolist() == [4]
    with pytest.raises(InputError, match=r"path: expected a file that ends in"):
        datasets.read_table(tmp_path / "clicks.xls", "u", "i")
    with pytest.raises(DataError, match=r"absent\.csv: "):
        datasets.read_table(tmp_path / "absent.csv", "u", "i")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match=r"b\.parquet: "):
        datasets.read_table(tmp_path / "b.parquet", "u", "i")


def test_the_command_line_lists_and_verifies(feedback, monkeypatch, tmp_path, capsys):
    split = feedback("amazon-nbpo")
    assert len(split.train) == 31887
    with pytest.raises(SystemExit) as stop:
        main(["data", "verify", "amazon-nbpo", "--verbose"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "amazon-nbpo: ok: interactions, train: 31887" in out
    assert "amazon-nbpo: 8 of 8 checks hold" in out
    monkeypatch.setenv("GRAPHNOISE_DATA", str(tmp_path))
    for words, text in [
        (
            ["data", "verify", "ml-1m"],
            "ml-1m: the root folder has no folder 'ml-1m' with its files; they are not fetched",
        ),
        (["data", "verify", "ml-1n"], "did you mean 'ml-1m'?"),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 1
        assert text in capsys.readouterr().err


def test_the_list_has_every_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path))
    monkeypatch.delenv("GRAPHNOISE_DATA", raising=False)
    with pytest.raises(SystemExit):
        main(["data", "list"])
    out = capsys.readouterr().out
    for name in feedback_names():
        assert name in out
    assert [line.split() for line in out.splitlines() if line.startswith("modcloth")] == [
        ["modcloth", "44,784", "1,020", "99,893", "absent"]
    ]


@pytest.mark.parametrize(
    ("text", "options"),
    [("who,what\n0,2,3\n1,5,6\n", {}), ("0::2::5::8\n1::5::4::7\n", {"sep": "::", "names": ["who", "what"]})],
)
def test_rows_with_more_fields_than_names_are_not_shifted(text, options, tmp_path):
    """Pandas would take the first fields for an index, and ratings for users."""
    (tmp_path / "long.csv").write_text(text)
    with pytest.raises(DataError, match=r"long\.csv: rows have more fields than there are names of columns"):
        datasets.read_table(tmp_path / "long.csv", "who", "what", engine="python", **options)


def test_dates_of_every_kind_are_seconds(tmp_path):
    text = tmp_path / "dates.csv"
    for when in ("2024-01-02", "2024-01-02T00:00:00Z", "2024-01-02T02:00:00+02:00"):
        text.write_text(f"who,what,when\nann,1,{when}\n")
        for options in ({}, {"parse_dates": ["when"]}):
            found = datasets.read_table(text, "who", "what", time="when", **options)
            assert found.times.tolist() == [1704153600.0]
    text.write_text("who,what,when\nann,1,soon\n")
    with pytest.raises(InputError, match=r"times: expected numbers or dates, got .*soon"):
        datasets.read_table(text, "who", "what", time="when")
    pandas, far = pytest.importorskip("pandas"), tmp_path / "far.parquet"
    pandas.DataFrame({"u": [1], "i": [2], "t": np.array(["3000-01-01"], "datetime64[s]")}).to_parquet(far)
    assert datasets.read_table(far, "u", "i", time="t").times.tolist() == [32503680000.0]


def test_tables_without_a_header_or_with_odd_options(tmp_path):
    text = tmp_path / "bare.csv"
    text.write_text("7,1\n8,2\n")
    assert datasets.read_table(text, "0", "1", header=None).users.tolist() == [7, 8]
    with pytest.raises(InputError, match="options: expected such that pandas returns one table"):
        datasets.read_table(text, "7", "1", chunksize=1)
    with pytest.raises(InputError, match=r"^user: expected names of different columns, got '7' twice"):
        datasets.read_table(text, "7", "7")


@pytest.mark.parametrize("content", ["", "userId,movieId,rating,timestamp\n"])
def test_an_empty_movielens_has_no_users(content, tmp_path):
    (tmp_path / "ml-20m").mkdir()
    (tmp_path / "ml-20m" / "ratings.csv").write_text(content)
    with pytest.raises(DataError, match="users: expected 138493, got 0"):
        datasets.load("ml-20m", tmp_path)

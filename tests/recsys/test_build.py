"""Interactions built from tables within a bound on memory: those of `Interactions.from_frame`, array by array."""

import datetime
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise.cli import main as cli
from graphnoise.errors import DataError, InputError
from recsys import Interactions, build, build_interactions
from recsys.datasets import read_table

FRAME = pandas.DataFrame({"user": [5, 2, 5], "item": ["b", "a", "a"], "stars": [3.0, -1.0, 4.5], "day": [9, 8, 7]})


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    with pytest.MonkeyPatch.context() as context:
        context.setattr(build, "BATCH", 7)
        context.setattr(build, "ID_BYTES", 20)
        yield


def same(ours, theirs):
    for name in ("ratings", "times", "users", "items"):
        x, y = getattr(ours, name), getattr(theirs, name)
        assert (x is None) == (y is None), name
        assert x is None or (np.array_equal(x, y) and x.dtype == y.dtype), name
    for name in ("matrix", "dislikes"):
        x, y = getattr(ours, name), getattr(theirs, name)
        assert (x is None) == (y is None), name
        assert x is None or (x.shape == y.shape and np.array_equal(x.indptr, y.indptr)), name
        assert x is None or (np.array_equal(x.indices, y.indices) and np.array_equal(x.data, y.data)), name


def written(folder, table, suffix="parquet"):
    path = Path(folder, f"clicks.{suffix}")
    if suffix == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if "tsv" in suffix else " " if suffix == "txt" else ",")
    return path


# No surrogates, which are no UTF-8, and no NUL, which NumPy drops at the end.
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=3)
IDS = st.sampled_from(
    [
        st.integers(-3, 3),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(2**63, 2**64 - 1),
        st.sampled_from(["7", "07", "é", "", "z"]),
        WORDS,
    ]
)
ZONES = [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))]
MOMENTS = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))
DATES = st.builds(
    lambda moment, zone, between: moment.replace(tzinfo=zone).isoformat(between),
    *(MOMENTS, st.sampled_from(ZONES), st.sampled_from("T ")),
) | MOMENTS.map(lambda moment: moment.date().isoformat())
FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)


@st.composite
def tables(draw):
    size = draw(st.integers(1, 40))

    def column(values):
        return draw(st.lists(values, min_size=size, max_size=size))

    table = {"user": column(draw(IDS)), "item": column(draw(IDS))}
    for name, kinds in (
        ("rating", [None, st.integers(-2, 2), FLOATS, st.booleans()]),
        ("time", [None, st.integers(-2, 2), FLOATS, MOMENTS, DATES]),
    ):
        values = draw(st.sampled_from(kinds))
        if values is not None:
            table[name] = column(values)
    return pandas.DataFrame(table)


@given(tables(), st.sampled_from(["error", "first", "last"]), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_it_equals_from_frame(table, duplicates, parts):
    columns = {"user": "user", "item": "item", "duplicates": duplicates}
    columns |= {name: name for name in ("rating", "time") if name in table}
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for k, rows in enumerate(np.array_split(np.arange(len(table)), parts)):
            files.append(Path(folder, f"{k}.parquet"))
            table.iloc[rows].to_parquet(files[-1], row_group_size=3)
        try:
            expected = Interactions.from_frame(table, **columns)
        except InputError:
            with pytest.raises(InputError, match="every pair of user and item once"):
                build_interactions(files, f"{folder}/clicks", **columns)
            return
        same(build_interactions(files, f"{folder}/clicks", **columns), expected)
        # With all checks.
        same(Interactions.open(f"{folder}/clicks"), expected)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "txt", "parquet"])
@pytest.mark.parametrize("text", [False, True])
def test_every_form_of_file_gives_the_same_clicks(suffix, text, tmp_path):
    table = FRAME.assign(day=["2026-05-17", "2026-05-16T12:30:15.25+02:00", "1969-01-01T00:00Z"]) if text else FRAME
    columns = {"user": "user", "item": "item", "rating": "stars", "time": "day"}
    clicks = build_interactions(written(tmp_path, table, suffix), tmp_path / "clicks", **columns)
    same(clicks, Interactions.from_frame(table, **columns))
    assert clicks.dislikes.nnz == 1


@pytest.mark.parametrize(
    ("text", "users"),
    [
        # Integers as they would be written; others are text.
        ("user,item\n10,1\n9,1\n", [9, 10]),
        ("user,item\n10,1\n09,1\n", ["09", "10"]),
        ("user,item\n10,1\nann,1\n", ["10", "ann"]),
        ("user,item\n1.5,1\n2.5,1\n", ["1.5", "2.5"]),
        # No names of columns.
        ("9\t1\t5\t100\n10\t1\t4\t200\n", [9, 10]),
        ("# users and items\nann 1\nbob  2\t\n", ["ann", "bob"]),
        ("user\titem\t\nann\t1 \nbob\t2\t\n", ["ann", "bob"]),
        ("item\tuser\n1\tann \n2\tann\n", ["ann"]),
    ],
)
def test_ids_of_text_files(text, users, tmp_path):
    (tmp_path / "clicks.txt").write_text(text)
    clicks = build_interactions(tmp_path / "clicks.txt", tmp_path / "clicks")
    assert clicks.users.tolist() == users
    assert clicks.items.dtype == np.int64
    if text.startswith("user,item") and users != ["1.5", "2.5"]:
        (tmp_path / "clicks.txt").rename(tmp_path / "clicks.csv")
        same(clicks, read_table(tmp_path / "clicks.csv", "user", "item"))


def test_files_without_names_have_four_columns(tmp_path):
    (tmp_path / "u.data").write_text("9\t1\t5\t100\n10\t1\t-4\t200\n")
    clicks = build_interactions(tmp_path / "u.data", tmp_path / "clicks", rating="rating", time="time")
    assert (clicks.ratings.tolist(), clicks.times.tolist(), clicks.dislikes.nnz) == ([5], [100], 1)
    assert build_interactions(tmp_path / "u.data", tmp_path / "timed", time="time").times.tolist() == [100, 200]
    (tmp_path / "two.txt").write_text("9 1\n10 1\n")
    with pytest.raises(InputError, match=r"time: expected a fourth column of .* got 2 columns without names"):
        build_interactions(tmp_path / "two.txt", tmp_path / "none", time="time")


def test_files_may_have_ids_and_times_of_several_types(tmp_path):
    pandas.DataFrame({"user": [1], "item": [1], "t": pandas.to_datetime(["2026-05-17"])}).to_parquet(
        tmp_path / "0.parquet"
    )
    (tmp_path / "1.csv").write_text("t,item,user\n2026-05-16,2,1\n")
    pandas.DataFrame({"user": ["2"], "item": [3], "t": ["2026-05-17"]}).to_parquet(tmp_path / "2.parquet")
    files = sorted(tmp_path.iterdir())
    two = build_interactions(files[:2], tmp_path / "two", time="t")
    assert (two.users.tolist(), two.times.tolist()) == ([1], [1778976000, 1778889600])
    three = build_interactions(files, tmp_path / "three", time="t")
    assert (three.users.tolist(), three.items.tolist()) == (["1", "2"], [1, 2, 3])
    np.save(tmp_path / "pairs.npy", np.array([[3, 1], [4, 0]], np.int32))
    assert build_interactions(tmp_path / "pairs.npy", tmp_path / "pairs").users.tolist() == [3, 4]


def test_the_order_of_large_files_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 1 << 15)
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"user": rng.integers(0, 9, 300_000), "item": rng.integers(0, 9, 300_000)})
    table["stars"] = np.arange(len(table))
    table.to_parquet(tmp_path / "clicks.parquet", row_group_size=2_000)
    columns = {"user": "user", "item": "item", "rating": "stars"}
    for duplicates in ("first", "last"):
        clicks = build_interactions(
            tmp_path / "clicks.parquet", tmp_path / duplicates, **columns, duplicates=duplicates, memory="256MiB"
        )
        same(clicks, Interactions.from_frame(table, **columns, duplicates=duplicates))


LONG = {"user": ["x" * 100_000, *map(str, range(999))], "item": [0] * 1000}
BAD = [
    ({"user": [0], "what": [1]}, {}, "item: expected one column of .*user, what.*got 'item'"),
    ({"user": [0], "item": [1]}, {"rating": "stars"}, "rating: expected one column of"),
    ({"user": [0, None], "item": [1, 2]}, {}, "user: expected ids that are integers or text"),
    ({"user": ["a", None], "item": [1, 2]}, {}, "user: expected an id in every row, got 1 of 2 rows without"),
    ({"user": [1], "item": [1], "x": ["good"]}, {"rating": "x"}, "rating: expected a finite number"),
    ({"user": [1], "item": [1], "x": [np.inf]}, {"rating": "x"}, "rating: expected a finite number"),
    ({"user": [1], "item": [1], "x": [1e39]}, {"rating": "x"}, "rating: expected a finite number of float32"),
    ({"user": [1], "item": [1], "x": pandas.to_datetime(["2026-05-17"])}, {"rating": "x"}, "rating: expected numbers"),
    ({"user": [1], "item": [1], "x": [[1, 2]]}, {"rating": "x"}, "rating: expected numbers"),
    ({"user": [1], "item": [1], "x": [[1, 2]]}, {"time": "x"}, "time: expected numbers or dates"),
    ({"user": [1, 2], "item": [1, 2], "x": ["2026-05-17", "epoch"]}, {"time": "x"}, "time: .* got 1 of 2 rows"),
    ({"user": [1], "item": [1], "x": [np.nan]}, {"time": "x"}, "time: expected a finite number or a date"),
    ({"user": ["b", "b"], "item": [7, 7]}, {}, "every pair of user and item once .*got 1 repeated.* b, 7"),
    ({"user": [0], "item": [1]}, {"duplicates": "most"}, "duplicates: expected one of"),
    ({"user": FRAME["user"][:0], "item": FRAME["user"][:0]}, {}, "files: expected at least one click, got none"),
    ({"user": [0], "item": [1]}, {"memory": 1000}, "memory: expected at least 256 MiB"),
    (LONG, {"memory": "300MB"}, "memory: expected at least 0.40 GB for 1000 ids of users"),
    ({"user": ["a\0"], "item": [1]}, {}, "user: expected ids without NUL"),
    ({"user": [0], "item": [1]}, {"item": "user"}, "a column that no other argument names"),
    ({"user": [0], "item": [1]}, {"user": None}, "user: expected the name of a column"),
    ({"user": [0], "item": [1]}, {"progress": 3}, "a function of a text"),
]


@pytest.mark.parametrize(("columns", "options", "message"), BAD)
def test_bad_clicks_are_refused_and_leave_nothing(columns, options, message, tmp_path):
    path = written(tmp_path, pandas.DataFrame(columns))
    with pytest.raises(InputError, match=message) as error:
        build_interactions(path, tmp_path / "clicks", **options)
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "ragged.csv").write_text("user,item\n1,2\n3\n")
    with pytest.raises(
        DataError, match=r"ragged\.csv: .*Line: 3, Original Line: 3, Expected Number of Columns: 2"
    ) as error:
        build_interactions(tmp_path / "ragged.csv", tmp_path / "clicks")
    assert "\n" not in str(error.value)
    (tmp_path / "latin.csv").write_bytes("user,item\n1,2\né,4\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv"):
        build_interactions(tmp_path / "latin.csv", tmp_path / "clicks")
    with pytest.raises(DataError, match="no such file"):
        build_interactions(tmp_path / "absent.csv", tmp_path / "clicks")
    path = written(tmp_path, FRAME)
    build_interactions(path, tmp_path / "clicks")
    with pytest.raises(DataError, match="does not exist yet"):
        build_interactions(path, tmp_path / "clicks")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
@pytest.mark.parametrize("size", [0, 20_000])
def test_a_full_disk_leaves_nothing(size, tmp_path):
    import resource

    # 24 kB of ids; the database has 12.
    table = pandas.DataFrame({"user": [f"{k:0100}a" for k in range(60)], "item": range(60)})
    path, before = written(tmp_path, table), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(DataError) as error:
            build_interactions(path, tmp_path / "clicks")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_builds_clicks(tmp_path, capfd):
    path = str(written(tmp_path, FRAME, "csv"))
    words = ["data", "build-clicks", path, "--out", str(tmp_path / "clicks"), "--rating", "stars", "--time", "day"]
    for code, message in (
        (0, "2 users × 2 items, 2 interactions, with ratings, times and dislikes"),
        (1, "does not exist"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([*words, "--memory", "300MB", "--duplicates", "last"])
        assert stop.value.code == code
        text = capfd.readouterr()
        assert message in (text.err if code else text.out)
    assert json.loads((tmp_path / "clicks/interactions.json").read_text())["dislikes"] == 1

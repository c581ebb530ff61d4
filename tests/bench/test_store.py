import errno
import hashlib
import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphnoise.bench import store as module
from graphnoise.bench.store import Store, cell_key
from graphnoise.errors import DataError, InputError

CONFIG = {"method": "gcn", "rate": 0.25, "seed": 3}
KEY = cell_key(CONFIG)


def names(store):
    return sorted(os.listdir(store.folder))


# Keys

SCALARS = [None, False, True, 0, 0.0, -0.0, 1, 1.0, 0.1, -1, 2**53, 2.0**53, 2**53 + 1, 1e300, "", "0", "1", "é"]
VALUES = st.recursive(
    st.sampled_from(SCALARS) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
CONFIGS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def same(a, b):
    """Equality of configurations, written without JSON: numbers by value, Booleans are no numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b)]
    return a == b and (all(numbers) or type(a) is type(b))


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return tuple(map(reordered, value)) if isinstance(value, list) else value


@given(CONFIGS, CONFIGS)
@settings(max_examples=250, deadline=None)
def test_keys_are_equal_exactly_when_configurations_are(a, b):
    assert (cell_key(a) == cell_key(b)) == same(a, b)
    assert cell_key(reordered(a)) == cell_key(a)


def test_keys_of_tricky_scalars_and_the_key_that_never_changes():
    for a, b in itertools.product(SCALARS, SCALARS):
        assert (cell_key({"x": a}) == cell_key({"x": b})) == same(a, b), (a, b)
    text = b'{"method":"gcn","rate":0.25,"seed":3}'
    assert cell_key(CONFIG) == hashlib.blake2b(text, digest_size=16).hexdigest() == "1f6db9388a9b6c057c84c3c85e4054a8"


def endless():
    loop = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"a": {"b": [1, float("nan")]}}, r"config\['a'\]\['b'\]\[1\]: expected a finite number or None, got nan"),
        ({"a": float("-inf")}, r"config\['a'\]: expected a finite number or None, got -inf"),
        ({"a": {1: 2}}, r"config\['a'\]: expected strings as keys, got 1"),
        ({"a": {2, 3}}, r"config\['a'\]: expected None, a bool, .*, got set"),
        ({"a": b"x"}, r"config\['a'\]: .* got bytes"),
        ({"a": 10**400}, r"config\['a'\]: expected an integer of at most 1024 bits, got one of 1329 bits"),
        ({"a": endless()}, r"config: expected a value of modest depth"),
        ([1], r"config: expected a mapping, got list"),
    ],
)
def test_what_json_lacks_is_refused_where_it_is(bad, says):
    with pytest.raises(InputError, match=says):
        cell_key(bad)


def test_integers_have_at_most_1024_bits():
    assert cell_key({"a": 2**1024 - 1}) != cell_key({"a": -(2**1024) + 1})
    with pytest.raises(InputError, match=r"config\['a'\]: expected an integer of at most 1024 bits, got one of 1025"):
        cell_key({"a": 2**1024})


def test_a_key_cannot_leave_the_folder(store):
    for bad in ("../" + "0" * 29, "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n"):
        with pytest.raises(InputError, match="key: expected 32 hexadecimal digits"):
            store.read(bad)


# Records


def test_a_record_comes_back_as_it_was_written(store):
    results = [{"accuracy": 1.0, "curve": [0.1, 1e-300, -0.0, 2**80], "text": "\udc80é\n", "none": None}, {}]
    for seed, result in enumerate(results):
        store.write(cell_key({"seed": seed}), {"seed": float(seed)}, result)
    assert store.keys() == sorted(cell_key({"seed": seed}) for seed in range(2))
    for seed, result in enumerate(results):
        record = store.read(cell_key({"seed": seed}))
        assert record == {"key": cell_key({"seed": seed}), "config": {"seed": seed}, "result": result}
        assert repr(record["result"]) == repr(dict(sorted(result.items())))
    assert [record["key"] for record in store.records()] == store.keys()
    assert json.loads(store.path(store.keys()[0]).read_text())["format"] == 1
    assert store.read(KEY) is None


def test_a_result_that_is_not_json_is_refused_and_leaves_nothing(store):
    for bad in ({"x": float("nan")}, {"x": {1}}, [1], None):
        with pytest.raises(InputError, match="result"):
            store.write(KEY, CONFIG, bad)
    assert names(store) == []


def test_every_truncation_and_every_flipped_bit_is_noticed(store):
    store.write(KEY, CONFIG, {"accuracy": 0.8125, "seconds": 1})
    path, damaged = store.path(KEY), 0
    whole = path.read_bytes()
    variants = [whole[:size] for size in range(len(whole))]
    bits = itertools.product(range(len(whole)), range(8))
    variants += [whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :] for place, bit in bits]
    variants += [whole + b"\n", whole + whole, b"\0" * len(whole), b"null", b"[]", b"{}", b"\xff\xfe"]
    for variant in variants:
        path.write_bytes(variant)
        damaged += store.read(KEY) is None
    assert damaged == len(variants) > 1000
    assert store.keys() == []
    assert store.damaged() == [path]
    assert path.read_bytes() == variants[-1], "reading must not touch a damaged file"
    store.write(KEY, CONFIG, {"accuracy": 0.8125, "seconds": 1})
    assert path.read_bytes() == whole
    assert store.damaged() == []


def test_a_well_formed_record_of_another_cell_or_format_counts_as_damaged(store, monkeypatch):
    other_cell = module._encode(cell_key({"seed": 4}), {"seed": 4}, {"x": 1})
    monkeypatch.setattr(module, "FORMAT", 2)
    other_format = module._encode(KEY, CONFIG, {"x": 1})
    monkeypatch.undo()
    other_entries = b'"format":1,"other":2}'
    for data in (other_cell, other_format, module._head(other_entries) + other_entries):
        store.path(KEY).write_bytes(data)
        assert store.read(KEY) is None
        assert store.damaged() == [store.path(KEY)]


def test_cells_of_other_versions_are_reported_and_kept(store, monkeypatch):
    for version, count in ((7, 2), (12, 1)):
        monkeypatch.setattr(module, "FORMAT", version)
        for seed in range(count):
            store.write(cell_key({"seed": seed}), {"seed": seed}, {"x": version})
    monkeypatch.undo()
    before = {path: path.read_bytes() for path in store.other_versions()}
    assert len(before) == 3
    assert store.keys() == []
    assert store.damaged() == []
    (remark,) = store.remarks()
    assert str(store.folder) in remark
    assert "cells of another version are ignored and kept (1 of v12, 2 of v7; not v1)" in remark
    store.write(cell_key({"seed": 0}), {"seed": 0}, {"x": 1})
    store.sweep()
    assert {path: path.read_bytes() for path in store.other_versions()} == before


def test_foreign_files_are_ignored_and_kept(store):
    foreign = ["README", "x.json", f"{KEY}.json", f"{KEY}.v1.json.bak", f"{KEY[:-1]}.v1.json", ".hidden", "a.tmp"]
    for name in foreign:
        (store.folder / name).write_text("mine")
        os.utime(store.folder / name, (0, 0))
    (store.folder / "folder").mkdir()
    store.sweep()
    assert not any((list(store.records()), store.damaged(), store.other_versions(), store.remarks()))
    assert names(store) == sorted([*foreign, "folder"])


def test_sweep_removes_only_what_nobody_needs(store):
    done, open_ = cell_key({"seed": 0}), cell_key({"seed": 1})
    claims = [store.claim(key) for key in (done, open_)]
    store.write(done, {"seed": 0}, {})
    old, new = store.folder / f".{'0' * 16}.tmp", store.folder / f".{'1' * 16}.tmp"
    for path in (old, new):
        path.write_text("half")
    now = new.stat().st_mtime
    os.utime(old, (now - 3610, now - 3610))
    os.utime(new, (now - 3500, now - 3500))
    store.sweep()
    assert names(store) == sorted([store.path(done).name, claims[1].path.name, new.name])


# Faults

CALLS = ("open", "write", "fsync", "close", "replace")


def faulty(patch, point, error, dead=False):
    """Let the file call number `point` fail, and if `dead` all after it, as if the process had been killed.

    Returns a function that tells whether that call was reached.
    """
    calls, reached = itertools.count(), []

    def faulty_call(name, real):
        def call(*args, **kwargs):
            hit = name in CALLS and next(calls) == point
            if not hit and not (dead and reached):
                return real(*args, **kwargs)
            if name == "close":
                real(*args)
            elif name == "write" and hit:
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            reached.append(name)
            raise OSError(error, os.strerror(error))

        return call

    for name in (*CALLS, "unlink"):
        patch.setattr(os, name, faulty_call(name, getattr(os, name)))
    return lambda: bool(reached)


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("old", [None, {"x": "old"}])
def test_a_write_that_fails_anywhere_leaves_the_old_or_the_new_record(store, old, error, dead):
    neighbour = cell_key({"seed": 9})
    store.write(neighbour, {"seed": 9}, {"x": "kept"})
    outcomes = []
    for point in itertools.count():
        store.path(KEY).unlink(missing_ok=True)
        if old:
            store.write(KEY, CONFIG, old)
        with pytest.MonkeyPatch.context() as patch:
            reached = faulty(patch, point, error, dead)
            try:
                store.write(KEY, CONFIG, {"x": "new"})
            except DataError as raised:
                assert str(store.folder) in str(raised)  # noqa: PT017 - not every point raises
                assert os.strerror(error) in str(raised)  # noqa: PT017
            else:
                assert not reached(), "a failing call was passed over in silence"
                break
        record = store.read(KEY)
        outcomes.append(record and record["result"]["x"])
        assert outcomes[-1] in ((old or {}).get("x"), "new")
        assert store.read(neighbour)["result"] == {"x": "kept"}
        assert store.damaged() == []
        litter = [name for name in names(store) if name.endswith(".tmp")]
        assert dead or not litter
        for name in litter:
            (store.folder / name).unlink()
    assert store.read(KEY)["result"] == {"x": "new"}
    # open, write, fsync, close, replace fail before the change; open, fsync, close of the folder after it
    assert outcomes == [(old or {}).get("x")] * 5 + ["new"] * 3


def test_a_short_write_is_continued(store, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:7]))
    store.write(KEY, CONFIG, {"x": "y" * 100})
    assert store.read(KEY)["result"] == {"x": "y" * 100}


def test_a_file_system_that_cannot_sync_folders_is_accepted(store, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink() == store.folder:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.write(KEY, CONFIG, {})
    assert store.read(KEY) is not None


def test_an_interrupted_write_leaves_nothing(store, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write(KEY, CONFIG, {})
    assert names(store) == []


def test_a_folder_that_cannot_be_one_or_went_away(store, tmp_path):
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=f"{bad}: cannot make the folder"):
            Store(bad)
    store.folder.rmdir()
    assert store.read(KEY) is None
    for action in (store.keys, store.sweep, lambda: store.claim(KEY), lambda: store.write(KEY, CONFIG, {})):
        with pytest.raises(DataError, match=str(store.folder)):
            action()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_claim_that_fails_anywhere_says_so_and_blocks_nobody(store, error):
    for point in itertools.count():
        with pytest.MonkeyPatch.context() as patch:
            faulty(patch, point, error)
            try:
                claim = store.claim(KEY)
            except DataError as raised:
                assert str(store.folder) in str(raised)  # noqa: PT017
            else:
                assert claim is not None
                break
        assert not store.held(KEY)
    assert point >= 3
    assert store.held(KEY)

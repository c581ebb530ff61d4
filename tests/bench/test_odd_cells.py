"""Sealed cells with a missing or an odd entry: named and left out of reports, by the schema of tables."""

import copy
import json

import pytest
from fuzz import files

from graphnoise.bench.record import Table, by_task
from graphnoise.bench.store import Store, cell_key
from graphnoise.errors import DataError

CELLS = {record["config"]["task"]: record for record in Store(files.CORPUS / "cell").records()}
GONE = object()
VALUES = [GONE, None, {}, [], "", "x", -1, 1.5, True, 1e308, "\ud800"]


def entries(tree, *path):
    """The paths of all entries of a JSON object; of lists the first one only."""
    for key in tree if isinstance(tree, dict) else range(min(len(tree), 1)):
        yield (*path, key)
        if isinstance(tree[key], dict | list):
            yield from entries(tree[key], *path, key)


def changed(record, path, value):
    record = copy.deepcopy(record)
    *steps, last = path
    place = record
    for step in steps:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return record


def write(folder, record):
    """Seal a cell, whatever it holds."""
    store = Store(folder)
    key = cell_key({"file": json.dumps(record, sort_keys=True)})
    config, result = record.get("config"), record.get("result")
    store.write(key, config if isinstance(config, dict) else {}, result if isinstance(result, dict) else {})
    return store


@pytest.mark.parametrize("task", CELLS)
def test_no_entry_of_a_cell_ends_a_report(task, tmp_path):
    record = {name: CELLS[task][name] for name in ("config", "result")}
    named = 0
    paths = [path for path in entries(record) if len(path) > 1]
    for number, path in enumerate(paths):
        for place, value in enumerate(VALUES):
            store = write(tmp_path / f"{number}-{place}", changed(record, path, value))
            try:
                files.report(store)
            except DataError as error:
                named += ".v1.json: expected" in str(error)
    assert named > len(paths), "most odd values are noticed"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("config", "noise"), GONE, "expected a value of noise, got"),
        (("config", "dataset"), GONE, "expected a value of dataset, got"),
        (("config", "parameters"), [], "expected a value of parameters, got"),
        (("result", "run", "seconds"), {}, "expected a value of seconds, got"),
        (("result", "test_accuracy"), 2, "expected a value of test_accuracy, got"),
        (("result", "init_seed"), GONE, "expected a value of init_seed, got"),
        (("result", "curves"), {"loss": "x"}, "expected lists of numbers as curves, got"),
    ],
)
def test_an_odd_cell_is_named_and_the_rest_is_reported(path, value, says, tmp_path):
    good = {name: CELLS["nodes"][name] for name in ("config", "result")}
    store = write(tmp_path, good)
    odd = write(tmp_path, changed(good, path, value))
    (name,) = set(odd.keys()) - {cell_key({"file": json.dumps(good, sort_keys=True)})}
    parts, remarks = by_task(store)
    assert [len(cells) for cells in parts.values()] == [1]
    (remark,) = remarks
    assert f"{name}.v1.json: {says}" in remark
    assert "left out" in remark


@pytest.mark.parametrize("task", CELLS)
def test_a_folder_and_its_table_hold_the_same(task):
    folder = by_task(Store(files.CORPUS / "cell"), task)[0][task]
    table = by_task(Table(files.CORPUS / "records" / f"{task}.csv"), task)[0][task]
    result = {key: value for key, value in folder[0]["result"].items() if key != "curves"}
    assert result == table[0]["result"]
    assert table[0]["config"].items() <= folder[0]["config"].items() or task == "nodes"

"""Options of `graphnoise bench speed`: what is wrong is one line of error, before anything is drawn or written."""

import pytest
from speeds import refused

from graphnoise.bench.speed.operation import load_operation, operations
from graphnoise.bench.speed.propagate import PropagateOptions
from graphnoise.errors import InputError


@pytest.mark.parametrize(
    ("operation", "option", "value", "message"),
    [
        ("propagate", "size", "croa", "did you mean 'cora'"),
        ("propagate", "size", "5:x", "size: expected NODES:ARCS, got '5:x'"),
        ("propagate", "size", "5:7", "size: arcs: expected an even number"),
        ("propagate", "size", "10:1000", "size: arcs: expected an integer from 2 to 90, got 1000"),
        ("propagate", "dtype", "int8", "dtype: expected one of"),
        ("propagate", "degrees", "zipf", "degrees: expected one of power-law, uniform"),
        ("propagate", "weighted", "maybe", "--weighted: expected true or false, got 'maybe'"),
        ("propagate", "baselines", "adm", "did you mean 'addmm'"),
        ("propagate", "width", "a,b", "--width: expected an integer from 1 to 65536, got 'a'"),
        ("propagate", "threads", "4096", "threads: expected an integer from 1 to"),
        ("propagate", "limit", "-1", "limit: expected a number"),
        ("propagate", "rounds", "0", "rounds: expected an integer from 1"),
        ("propagate", "seed", "-1", "seed: expected an integer from 0"),
        ("cluster", "part", "runs", "part: expected one of batch, growth, locality, posterior, walks, got 'runs'"),
        ("cluster", "scale", "0", r"scale: expected a number in \[0.0001, 10\], got 0.0"),
        ("node-order", "graph", "citeseer", "graph: expected one of cora, planted, power-law, got 'citeseer'"),
        ("node-order", "order", "rmc", "did you mean 'rcm'"),
        ("engines", "engine", "disc", "did you mean 'disk'"),
        ("erase", "dataset", "croa", "one of .*cora"),
        ("erase", "dataset", "50:61", "dataset: arcs: expected an even number"),
        ("erase", "dataset", "7:4", "dataset: nodes: expected an integer of at least 8"),
        ("erase", "preset", "robst", "preset: expected one of .*did you mean 'robust'"),
        ("erase", "preset", "robust:widht=3", "did you mean 'width'"),
        ("erase", "preset", "robust:width", "preset: expected robust:KEY=VALUE"),
        ("erase", "preset", "robust:width=x", "width: expected an integer"),
        ("erase", "preset", "robust:epochs=3", "what decides an epoch"),
        ("recommend", "run", "bprs", "run: expected one of bpo, lock-free, bpr, deterministic"),
        ("recommend", "users", "0", "users: expected an integer from 1"),
        ("recommend", "interactions", "999999999", "interactions: expected at most half"),
    ],
)
def test_a_bad_value_is_one_line(operation, option, value, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    refused(capfd, message, operation, f"--{option}", value, folder=tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["propagate", "--rounds", "x"], 2, "--rounds"),
        (["propagate", "--widht", "1"], 2, "No such option: --widht"),
        (["flow"], 2, "No such command 'flow'"),
        (["erase", "--dataset", "50:60", "--classes", "13"], 1, "classes: expected at least 4 nodes per class, got 13"),
    ],
)
def test_bad_words_are_one_line(words, code, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    refused(capfd, message, *words, code=code, folder=tmp_path)


def test_python_gets_the_same_error():
    with pytest.raises(InputError, match="width: expected an integer from"):
        PropagateOptions(width=(0,))


@pytest.mark.parametrize("name", operations())
def test_records_hold_no_folder(name):
    options = load_operation(name).options()
    kept = options.values(protocol=True) | options.values(protocol=False)
    assert {"folder", "root"}.isdisjoint(kept)
    assert set(type(options).model_fields) - set(kept) <= {"folder", "root"}
    assert {"rounds", "seed"} <= set(kept)

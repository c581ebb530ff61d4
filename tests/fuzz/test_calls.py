"""Public functions return or raise a GraphnoiseError, whatever the arguments (see `calls.py`)."""

import importlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def calls():
    """The module as `python -m tests.fuzz.calls` imports it; what it calls runs in children of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2])
        yield importlib.import_module("tests.fuzz.calls")


def run(calls, monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "argv", ["calls", *options])
    # Set by the run.
    monkeypatch.setenv("GRAPHNOISE_DATA", "")
    return calls.main(), capsys.readouterr().out


def test_every_public_callable_has_a_case(calls):
    assert calls.missing() == []


@pytest.mark.parametrize("package", ["graphnoise", "recsys"])
def test_odd_arguments_give_a_result_or_a_typed_error(calls, package, monkeypatch, capsys):
    code, out = run(calls, monkeypatch, capsys, "--calls", "150", "--seed", "1", "--only", package)
    assert code == 0, out
    assert "150 calls" in out
    assert "0 defects" in out


def test_defects_are_counted_and_named(calls, monkeypatch, capsys):
    def fails(value):
        raise KeyError("raw")

    def ends(value):
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(value):
        time.sleep(60)

    def takes(value):
        return np.ones(10**10)

    case = type(next(iter(calls.CASES.values())))
    broken = {function.__name__: case(function, lambda: {"value": 1}) for function in (fails, ends, hangs, takes)}
    monkeypatch.setattr(calls, "CASES", broken)
    monkeypatch.setattr(calls, "SECONDS", 1)
    code, out = run(calls, monkeypatch, capsys, "--calls", "12", "--seed", "1")
    assert code == 1
    for text in ("fails(value=", "KeyError: 'raw'", "end of the process", "no end within 1 s", "MemoryError"):
        assert text in out
    assert "; 12 defects" in out

"""Public functions return or raise a GraphnoiseError, whatever the arguments (see `calls.py`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CODE = """
from tests.fuzz.calls import CASES, main, missing
assert not missing(), missing()
raise SystemExit(main())
"""


def calls(*options):
    command = [sys.executable, "-c", CODE, *options]
    return subprocess.run(
        command, cwd=TOP, capture_output=True, text=True, timeout=600, env=os.environ | {"PYTHONPATH": str(TOP)}
    )


@pytest.mark.parametrize("package", ["graphnoise", "recsys"])
def test_odd_arguments_give_a_result_or_a_typed_error(package):
    done = calls("--calls", "150", "--seed", "1", "--only", package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 calls" in done.stdout
    assert "0 defects" in done.stdout


def test_defects_are_counted_and_named():
    broken = """
import os, time
import numpy as np
from tests.fuzz import calls
from tests.fuzz.cases import Case
def fails(value): raise KeyError("raw")
def ends(value): os.abort()
def hangs(value): time.sleep(60)
def takes(value): return np.ones(10**10)
calls.SECONDS = 1
calls.CASES.clear()
for function in (fails, ends, hangs, takes):
    calls.CASES[function.__name__] = Case(function, lambda: {"value": 1})
raise SystemExit(calls.main())
"""
    command = [sys.executable, "-c", broken, "--calls", "12", "--seed", "1"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    for text in ("fails(value=", "KeyError: 'raw'", "end of the process", "no end within 1 s", "MemoryError"):
        assert text in done.stdout
    assert "; 12 defects" in done.stdout

"""Runs mutmut on a copy of the tree, and prints the score of each module and the mutants that no test notices.

`make mutants` starts it. Its arguments are those of `mutmut run`, such as names of mutants with wildcards; the settings
are in `pyproject.toml`. `equivalent.toml` lists mutants that behave as the original does, which are not counted.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

TOP = Path(__file__).parents[2]
COPY = TOP / "build" / "mutants"
MODULES = ("graphnoise.kernels._native", "recsys.kernels._native")
# An editable installation would import the original sources; mutmut 3.8 reads a name that pytest 9.2 no longer has.
START = """
import sys
import pytest
sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("_editable_")]
pytest.Item._nodeid = pytest.Item.nodeid
from mutmut.__main__ import cli
cli()
"""


def copy_tree():
    """Copy what the tests need, and the native modules, which an editable installation has elsewhere."""
    shutil.rmtree(COPY, ignore_errors=True)
    for part in ("graphnoise", "recsys", "tests", "benchmarks", "datasets"):
        shutil.copytree(TOP / part, COPY / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(TOP / "pyproject.toml", COPY)
    for name in MODULES:
        shutil.copy(find_spec(name).origin, COPY.joinpath(*name.split(".")[:-1]))


def change(name):
    """Return the lines that a mutant changes, before and after."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = [line for line in get_diff_for_mutant(name).splitlines() if not line.startswith(("---", "+++"))]
    return tuple(" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")


def report():
    """Print the modules with the numbers of mutants, and the survivors with their lines."""
    from mutmut.stats import status_by_exit_code

    entries = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text())["mutant"]
    equivalent = {(entry["before"], entry["after"]) for entry in entries}
    os.chdir(COPY)
    for file in sorted(Path("mutants").rglob("*.py.meta")):
        codes = json.loads(file.read_text())["exit_code_by_key"]
        status = {name: status_by_exit_code[code] for name, code in codes.items() if code is not None}
        changes = {name: change(name) for name in status if status[name] not in ("killed", "timeout")}
        alive = {name: lines for name, lines in changes.items() if lines not in equivalent}
        if counted := len(status) - len(changes) + len(alive):
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(status.values()).items()))
            share = 1 - len(alive) / counted
            print(f"\n{file.relative_to('mutants').with_suffix('')}: {share:.1%} of {counted} ({counts};", end=" ")
            print(f"{len(changes) - len(alive)} of these equivalent, {len(codes) - len(status)} not run)")
        for name, (before, after) in alive.items():
            print(f"  {name}: {status[name]}\n    - {before}\n    + {after}")


if __name__ == "__main__":
    copy_tree()
    subprocess.run([sys.executable, "-c", START, "run", *sys.argv[1:]], cwd=COPY, check=True)
    report()

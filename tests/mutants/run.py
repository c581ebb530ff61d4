"""Runs mutmut on a copy of the tree, and prints the score of each module and the mutants that no test notices.

`make mutants` starts it. Its arguments are those of `mutmut run`, such as names of mutants with wildcards; the settings
are in `pyproject.toml`. `--sample N --seed S` before them runs N random mutants of each module. `equivalent.toml` lists
mutants that behave as the original does, which are not counted.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from scipy.stats import binomtest

TOP = Path(__file__).parents[2]
COPY = TOP / "build" / "mutants"
MODULES = ("graphnoise.kernels._native", "recsys.kernels._native")
# An editable installation would import the original sources; mutmut 3.8 reads a name that pytest 9.2 no longer has.
START = """
import random
import sys
from itertools import groupby
import pytest
sys.meta_path[:] = [finder for finder in sys.meta_path if not type(finder).__module__.startswith("_editable_")]
pytest.Item._nodeid = pytest.Item.nodeid
import mutmut.__main__ as mutmut
count, seed, collect = int(sys.argv.pop(1)), sys.argv.pop(1), mutmut.collect_source_file_mutation_data
def sample(**names):
    mutants, files = collect(**names)
    modules = [list(of_module) for _, of_module in groupby(mutants, lambda mutant: mutant[0].path)]
    drawn = [random.Random(seed).sample(of_module, min(count, len(of_module))) for of_module in modules]
    return sum(drawn, []), files
if count:
    mutmut.collect_source_file_mutation_data = sample
mutmut.cli()
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
            killed = counted - len(alive)
            low, high = binomtest(killed, counted).proportion_ci()
            print(f"\n{file.relative_to('mutants').with_suffix('')}: {killed / counted:.1%} of {counted}", end=" ")
            print(f"(95 % interval of a sample {low:.1%} to {high:.1%}; {counts};", end=" ")
            print(f"{len(changes) - len(alive)} of these equivalent, {len(codes) - len(status)} not run)")
        for name, (before, after) in alive.items():
            print(f"  {name}: {status[name]}\n    - {before}\n    + {after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="mutants of each module; all by default")
    parser.add_argument("--seed", type=int, default=0)
    options, words = parser.parse_known_args()
    copy_tree()
    command = [sys.executable, "-c", START, str(options.sample), str(options.seed), "run", *words]
    subprocess.run(command, cwd=COPY, check=True)
    report()

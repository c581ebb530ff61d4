"""Run cells of a committed record anew and compare the results, of any task.

    python benchmarks/verify_records.py benchmarks/results/erase.csv --cells 20

Cells are drawn at random (--seed). All columns of the CSV but times, memory, processor and commit must be the same;
numbers to --tolerance, since sums differ in the last digit between processors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from graphnoise.bench import registry
from graphnoise.bench.record import Table

VOLATILE = ("seconds", "trial_seconds", "peak_memory", "processor", "commit")


def values(text: str) -> Any:
    """Return a CSV cell as JSON has it, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Return whether two values are equal, numbers up to the tolerance."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key], tolerance) for key in a)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return bool(a == b)


def main() -> int:
    """Verify the record that the command line names; return 1 if a cell differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="CSV file that `graphnoise report --csv` wrote")
    parser.add_argument("--cells", type=int, default=20, help="number of cells")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice")
    parser.add_argument("--max-seconds", type=float, default=math.inf, help="leave out cells that took longer")
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference of numbers")
    parser.add_argument("--root", default=os.environ.get("GRAPHNOISE_DATA"), help="folder of raw data sets")
    options = parser.parse_args()
    records = [r for r in Table(options.record).records() if r["result"]["run"]["seconds"] <= options.max_seconds]
    chosen = random.Random(options.seed).sample(records, min(options.cells, len(records)))
    # Cells of a data set one after the other: it is loaded once.
    chosen.sort(key=lambda record: record["config"]["dataset"])
    different = 0
    for record in chosen:
        task, began = registry.task(record["config"]["task"]), time.perf_counter()
        again = {"config": record["config"], "result": task.run_cell(record["config"], options.root)}
        wrong = []
        for column in task.columns:
            before, after = (values(column.text(side)) for side in (record, again))
            # Records of before a column have its default.
            unknown = column.default is not None and column.text(record) == column.default
            if column.name not in VOLATILE and not unknown and not same(before, after, options.tolerance):
                wrong.append(f"{column.name}: recorded {str(before)[:80]}, now {str(after)[:80]}")
        different += bool(wrong)
        seconds = time.perf_counter() - began
        print(f"{'DIFFERS' if wrong else 'same'}: {task.describe(record['config'])} ({seconds:.1f} s)", flush=True)
        print("".join(f"    {line}\n" for line in wrong), end="")
    print(f"{len(chosen) - different} of {len(chosen)} cells are the same")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

"""Peak memory of training, in a process of its own: `python -m graphnoise.bench.speed.erase_memory JSON`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import torch

from graphnoise.bench.environment import Meter
from graphnoise.bench.speed.erase_cases import Case, build, from_dict, to_dict
from graphnoise.bench.speed.erase_dense import Dense
from graphnoise.bench.speed.erase_epochs import Ours
from graphnoise.bench.speed.erase_gate import planted, training

EPOCHS = 2  # the second one finds all that the first one has left
FEW = 10  # mini-batches of an epoch


def peak(case: Case, dense: bool = False, root: str | None = None) -> dict[str, Any]:
    """Return what training takes at its peak, in bytes above what the process had after its imports.

    The peak of drawing a graph does not count, its size does.

    Returns:
        "imports", "data" and "peak" (with the data), the last two above the imports; and "of", whose peak it is.

    Raises:
        RuntimeError: The process failed; its last words.
    """
    words = json.dumps({"case": to_dict(case), "dense": dense, "root": root})
    command = [sys.executable, "-m", __name__, words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"signal {-done.returncode}"]
        raise RuntimeError(last[0])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measure(case: Case, dense: bool, root: str | None) -> dict[str, Any]:
    torch.set_num_threads(case.threads)
    training(planted(), case.settings).epoch()  # what torch imports at the first step is there now
    meter = Meter()
    meter.start()
    imports = meter.read()["peak_memory"]
    data = build(case, root)
    meter.start()
    held = meter.read()["peak_memory"] - imports
    if dense:
        run = Dense(data, case.settings, training(data, case.settings, case.seed).encoder)
        run.epoch()
    else:
        ours = Ours(case, data, FEW)
        for _ in range(EPOCHS):
            ours.epoch()
    found = meter.read()
    return {
        "imports": imports,
        "data": held,
        "peak": found["peak_memory"] - imports,
        "of": found["peak_memory_of"],
    }


def _main() -> None:
    given = json.loads(sys.argv[1])
    print(json.dumps(_measure(from_dict(given["case"]), given["dense"], given["root"])))


if __name__ == "__main__":
    _main()

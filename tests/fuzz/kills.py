"""End `bench nodes` by signals at random moments, resume it, count what was lost: `python -m tests.fuzz.kills`."""

import argparse
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from graphnoise import datasets
from graphnoise.bench.store import Store

SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT, "HUP": signal.SIGHUP}


def _defaults():
    # In the background of a shell these are ignored, which children inherit.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _start(words):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, **pipes, start_new_session=True, preexec_fn=_defaults)


def _handles_signals(process):
    """Return whether the command line has begun; before, Python itself answers."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"SigCgt:\s*(\w+)", status)
    return caught is None or bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def _group_ends(group, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def results(folder):
    return {r["key"]: {k: v for k, v in r["result"].items() if k != "run"} for r in Store(folder).records()}


def end(process, name, moment, before, folder):
    """End a command at a moment in seconds after its start; yield what is wrong, or "finished" if it was sooner."""
    while process.poll() is None and not _handles_signals(process):
        time.sleep(0.002)
    time.sleep(moment)
    number = SIGNALS[name]
    if process.poll() is None:
        # A terminal that closes tells the whole group.
        os.killpg(process.pid, number) if name == "HUP" else process.send_signal(number)
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        yield "did not end"
        return
    if not _group_ends(process.pid):
        yield "left processes"
    after = results(folder) if folder.exists() else {}
    if Store(folder).damaged() or not before.items() <= after.items():
        yield "lost cells"
    if process.returncode == 0:
        yield "finished"
    elif name != "KILL":
        if process.returncode != 128 + number:
            yield f"exit code {process.returncode}"
        if err.count("to go on:") != 1 or "Traceback" in err or "leaked" in err:
            yield f"said {err[-300:]!r}"
    elif process.returncode != -number:
        yield f"exit code {process.returncode}"


def run(kills, seed=0, report=lambda line: None, *, signals=tuple(SIGNALS), seeds=4):
    """Return counts by signal of what happened, and lines of what is wrong, after a number of kills."""
    chance, counts, wrong = random.Random(seed), Counter(), []
    with tempfile.TemporaryDirectory() as place:
        data = datasets.planted_partition([30, 30], 0.25, 0.02, num_features=12, split=(8, 20, 20), seed=1)
        file, fresh = datasets.save_npz(data, f"{place}/planted.npz"), itertools.count()
        more = ["--noise", "pair", "--method", "gcn:epochs=40,sgc", "--rate", "0,0.2,0.4", "--seeds", str(seeds)]
        words = [sys.executable, "-m", "graphnoise.cli", "bench", "nodes", "--dataset", str(file), *more]
        folder = Path(place, "reference")
        began = time.monotonic()
        subprocess.run([*words, "--jobs", "1", "--out", str(folder)], check=True, capture_output=True)
        expected, length = results(folder), time.monotonic() - began
        folder = Path(place, f"{next(fresh)}")
        for kill, name in zip(range(kills), itertools.cycle(signals), strict=False):
            before = results(folder) if folder.exists() else {}
            process = _start([*words, "--jobs", str(1 + kill // 4 % 2), "--out", str(folder)])
            outcomes = list(end(process, name, chance.uniform(0, length), before, folder)) or ["ended"]
            counts.update((name, outcome if outcome in ("ended", "finished") else "wrong") for outcome in outcomes)
            wrong += [f"kill {kill} ({name}): {text}" for text in outcomes if text not in ("ended", "finished")]
            report(f"{kill + 1} of {kills} kills: {name} {', '.join(outcomes)}; {len(results(folder))} cells")
            if "finished" in outcomes or kill == kills - 1:
                subprocess.run([*words, "--jobs", "1", "--out", str(folder)], check=True, capture_output=True)
                if results(folder) != expected or list(folder.glob("*.claim")):
                    wrong.append(f"after kill {kill}: other results than without interruption")
                folder = Path(place, f"{next(fresh)}")
    return counts, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, wrong = run(options.kills, options.seed, lambda line: print(line, flush=True))
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name}: {count} {outcome}")
    print("\n".join(wrong) or "nothing lost, nothing left behind; all but KILL said how to go on")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

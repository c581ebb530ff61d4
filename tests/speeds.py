"""What tests of `graphnoise bench speed` share."""

import json

import pytest

from graphnoise import cli
from graphnoise.bench.speed import erase_cases

SMALL = ["propagate", "--size", "40:120", "--width", "3", "--threads", "1", "--rounds", "2"]

TINY = ["--nodes", "60", "--arcs", "240", "--features", "8", "--classes", "3", "--threads", "1"]
TINY += ["--set", "hidden=16", "--set", "width=12", "--rounds", "2"]
CASE = erase_cases.Case("synthetic", 60, 240, 8, 3, "faithful-cora", (("hidden", 16), ("width", 12)))
PEAK = {"imports": 500_000_000, "data": 1_000, "peak": 151_000_000, "of": "cell"}


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", "speed", *[str(word) for word in words]])
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def held(path):
    return json.loads(path.read_text())["records"]


class Ticking:
    """A clock that only moves where something is said to cost."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def task(self, seconds):
        def run(steps):
            self.now += seconds * steps

        return run

    def cost(self, owner, name, seconds):
        before = getattr(owner, name)

        def run(*args, **options):
            self.now += seconds
            return before(*args, **options)

        setattr(owner, name, run)

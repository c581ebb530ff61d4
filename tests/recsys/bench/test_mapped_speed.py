"""`bench speed mapped-clicks` on few pairs: what is measured, and what is checked first."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from speeds import held

from graphnoise.bench.speed.harness import NotMeasurableError, VerificationError
from recsys.bench.mapped_speed import MappedClicks, MappedOptions, parts

FEW = {"pairs": (2_000,), "each": 20, "items": 200, "factors": 8, "threads": (1,)}


def measured(folder, **changes):
    options = MappedOptions(**FEW | changes, folder=str(folder))
    (case,), record = MappedClicks().cases(options), {}
    MappedClicks().measure(case, options, record, lambda text: None)
    return record


def test_memory_and_seconds_are_measured(tmp_path):
    record = measured(tmp_path)
    assert (record["users"], record["pairs"]) == (100, 2_000)
    assert len(record["train"]["epochs"]) == 1
    assert all(record[name]["seconds"] > 0 for name in ("write", "open", "train"))
    assert not list(tmp_path.iterdir())


def test_pairs_are_distinct_and_of_the_seed():
    case = {"pairs": 2_000, "each": 20, "items": 200}
    first, again, other = (np.concatenate([p.matrix.indices for p in parts(case, seed)]) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (np.diff(first.reshape(100, 20), axis=1) > 0).all()


def test_other_bits_and_too_few_items_are_refused(tmp_path, monkeypatch):
    with pytest.raises(NotMeasurableError, match="need as many items"):
        measured(tmp_path, items=19)
    trained, seeds = MappedClicks._trained, itertools.count()
    monkeypatch.setattr(
        MappedClicks, "_trained", lambda self, case, seed, *rest: trained(self, case, next(seeds), *rest)
    )
    with pytest.raises(VerificationError, match="bit for bit"):
        measured(tmp_path)


def test_the_record_is_that_of_the_page():
    top = Path(__file__).parents[3]
    records = {r["case"]["pairs"]: r for r in held(top / "benchmarks" / "results" / "mapped-clicks.json")}
    page = (top / "docs" / "scale.md").read_text(encoding="utf-8").partition("## Clicks in files")[2]
    rows = re.findall(r"^\| (5·)?10([⁷⁸]) \|[^|]*\|(.*)\|$", page.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) == len(records) == 3
    for times, power, row in rows:
        record = records[(5 if times else 1) * 10 ** "⁰¹²³⁴⁵⁶⁷⁸".index(power)]
        seconds = [record["write"]["seconds"], record["train"]["epochs"][0]]
        memory = [record[name]["own"] / 1e9 for name in ("write", "train")]
        shown = [float(re.match(r" *([\d.]+)", cell)[1]) for cell in row.split("|")]
        assert shown[:2] == pytest.approx(seconds, rel=0.05)
        assert shown[2:] == pytest.approx(memory, abs=0.006 if times == "" else 0.03)
    assert records[5 * 10**8]["train"]["own"] < 12e9

"""`bench speed mapped-clicks` on few pairs: what is measured, and what is checked first."""

import itertools

import numpy as np
import pytest

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

"""`bench speed out-of-core` on small graphs: what is checked, what is recorded, what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from speeds import call, held, one_error

from graphnoise.bench.speed import out_of_core

FEW = ["out-of-core", "--arcs", "20000", "--rounds", "2", "--steps", "2", "--threads", "1", "--width", "3"]


def test_sizes_are_measured_written_and_shown(tmp_path, capfd):
    pytest.importorskip("duckdb")
    code, out, err = call(capfd, *FEW, "--folder", tmp_path / "build", "--out", tmp_path / "o.json")
    assert code == 0, err
    (record,) = held(tmp_path / "o.json")
    assert record["nodes"] == 1000
    # Pairs of a node with itself are one arc.
    assert 19_900 < record["arcs"] <= 20_000
    assert set(record["times"]) == {"bounded", "memory"}
    assert record["bounded"]["own"] < 2e9
    # Row bounds, columns with their padding, the manifest, and three columns of values.
    assert record["disk"]["bytes"] > 8 * 1001 + 4 * record["arcs"] + 4 * 3 * 1000
    assert record["disk"]["bytes_per_second"] > 0
    assert "over memory" in out
    assert not list((tmp_path / "build").iterdir())


def test_the_share_of_the_speed_of_the_disk_is_of_files_that_were_read():
    disk = {"bytes": 1000, "bytes_per_second": 500.0}
    bounded = {"read": 500.0, "seconds": 4.0}
    share = out_of_core.TABLE["share of disk speed"]
    assert share({"case": {"steps": 2}, "bounded": bounded, "disk": disk}) == "25%"
    # Half of the files was in the cache.
    assert share({"case": {"steps": 1}, "bounded": bounded, "disk": disk}) == "not measured"
    assert share({"case": {"steps": 2}, "bounded": bounded}) == "not measured"


def test_a_result_of_other_bits_is_not_timed(tmp_path, capfd, monkeypatch):
    pytest.importorskip("duckdb")
    propagate = out_of_core.gn.propagate

    def wrong(graph, y, **options):
        result = propagate(graph, y, **options)
        return replace(result, y=result.y * 1.0000002) if isinstance(y, torch.Tensor) else result

    monkeypatch.setattr(out_of_core.gn, "propagate", wrong)
    code, _, err = call(capfd, *FEW, "--folder", tmp_path / "build", "--out", tmp_path / "o.json")
    assert code == 1
    assert "bit for bit" in err
    assert not (tmp_path / "o.json").exists() or not json.loads((tmp_path / "o.json").read_text())["records"]


def test_a_bound_that_is_none_is_one_line(tmp_path, capfd):
    code, _, err = call(capfd, *FEW, "--memory", "much", "--folder", tmp_path / "b", "--out", tmp_path / "o.json")
    assert code == 1
    assert one_error(err)
    assert "memory: expected a number of bytes" in err


def exponents(records, arcs):
    chosen = [r for r in records if r["case"]["arcs"] in arcs]
    seconds = [[r["build"]["seconds"] for r in chosen], [r["times"]["bounded"]["seconds"]["median"] for r in chosen]]
    return [np.polyfit(np.log([r["case"]["arcs"] for r in chosen]), np.log(part), 1)[0] for part in seconds]


def test_exponents_are_those_of_the_records():
    top = Path(__file__).parents[3]
    page = (top / "docs" / "scale.md").read_text(encoding="utf-8")
    first, second = (held(top / "benchmarks" / "results" / f"out-of-core{end}.json") for end in ("", "-size"))
    paragraph = page.partition("Cost against size")[2].partition("\n\n")[0]
    found = [float(number) for number in re.findall(r"\b[01]\.\d\d\b", paragraph)]
    expected = [
        *exponents(first, (10**6, 10**7, 10**8)),
        *exponents(first, (10**7, 10**8)),
        *exponents(second, (10**5, 10**6, 10**7)),
    ]
    assert found == pytest.approx(expected, abs=0.006)


def test_the_record_is_that_of_the_page():
    top = Path(__file__).parents[3]
    records = {r["case"]["arcs"]: r for r in held(top / "benchmarks" / "results" / "out-of-core.json")}
    graphs = (top / "docs" / "scale.md").read_text(encoding="utf-8").partition("## Clicks in files")[0]
    rows = re.findall(r"^\| 10([⁶⁷⁸]) \|(.*)\|$", graphs, re.MULTILINE)
    assert len(rows) == len(records) == 3
    for power, row in rows:
        record = records[10 ** "⁰¹²³⁴⁵⁶⁷⁸".index(power)]
        built, building, step, own, ratio = (float(re.match(r" *([\d.]+)", cell)[1]) for cell in row.split("|"))
        expected = [record["build"]["seconds"], record["build"]["own"] / 1e9, record["bounded"]["seconds"]]
        assert [built, building, step] == pytest.approx(expected, rel=0.05)
        assert own == pytest.approx(record["bounded"]["own"] / 1e9, abs=0.05)
        assert ratio == pytest.approx(record["times"]["bounded"]["ratio"]["median"], rel=0.05)
    largest = records[10**8]
    assert largest["bounded"]["own"] < 2e9
    assert largest["times"]["bounded"]["ratio"]["median"] < 3

"""`bench speed out-of-core` on small graphs: what is checked, what is recorded, what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from speeds import call, held, one_error

from graphnoise import out_of_core as out_of_core_module
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


TOP = Path(__file__).parents[3]
PAGE = (TOP / "docs" / "scale.md").read_text(encoding="utf-8")
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"


@pytest.fixture(scope="module")
def records():
    """The committed records by number of arcs."""
    folder = TOP / "benchmarks" / "results"
    return {r["case"]["arcs"]: r for end in ("", "-largest") for r in held(folder / f"out-of-core{end}.json")}


def test_exponents_are_those_of_the_records(records):
    paragraph = PAGE.partition("Cost against size")[2].partition("\n\n")[0]
    expected = []
    for least in (10**6, 10**7):
        arcs = [size for size in sorted(records) if size >= least]
        for name in ("build", "bounded"):
            seconds = [records[size][name]["seconds"] for size in arcs]
            expected.append(np.polyfit(np.log(arcs), np.log(seconds), 1)[0])
    found = [float(number) for number in re.findall(r"\b[01]\.\d\d\b", paragraph)]
    assert found == pytest.approx(expected, abs=0.006)


def test_the_record_is_that_of_the_page(records):
    rows = re.findall(r"^\| 10([⁶⁷⁸⁹]) \|(.*)\|$", PAGE.partition("The same of whole calls")[0], re.MULTILINE)
    assert len(rows) == len(records) == 4
    for power, row in rows:
        record = records[10 ** SUPERSCRIPTS.index(power)]
        bound, *cells = row.split("|")
        assert bound.strip().replace(" ", "") == record["case"]["memory"]
        built, building, step, own = (float(re.match(r" *([\d.]+)", cell)[1]) for cell in cells[:4])
        expected = [record["build"]["seconds"], record["build"]["own"] / 1e9, record["bounded"]["seconds"]]
        assert [built, building, step] == pytest.approx(expected, rel=0.05)
        assert own == pytest.approx(record["bounded"]["own"] / 1e9, abs=0.05)
        assert record["bounded"]["own"] < float(bound.strip().removesuffix(" GB")) * 1e9
        if record["times"]:
            ratio = float(re.match(r" *([\d.]+)", cells[4])[1])
            assert ratio == pytest.approx(record["times"]["bounded"]["ratio"]["median"], rel=0.05)
    record = records[10**8]
    assert record["times"]["bounded"]["ratio"]["median"] < 3
    row = re.search(r"^\| propagation within 2 GB .*$", (TOP / "README.md").read_text(encoding="utf-8"), re.MULTILINE)[
        0
    ]
    found = [float(number) for number in re.findall(r"(\d\.\d) (?:×|GB)", row)]
    assert found == pytest.approx(
        [record["times"]["bounded"]["ratio"]["median"], record["bounded"]["own"] / 1e9], abs=0.05
    )
    assert ("AVX-512" in row) == (record["environment"]["instruction_set"] == "v4")


def test_the_computed_sizes_of_the_page():
    rows = re.findall(r"^\| \S+, \S+(?: \(\w+\))? \|(.*)\|$", PAGE.partition("## Build a graph")[0], re.MULTILINE)
    sizes = ((5e6, 1e8), (1.11e8, 3.2e9), (5e8, 1e10))
    for row, (n, m) in zip(rows[1:], sizes, strict=True):
        files, own, column = 8 * n + 4 * m, n / 8, 4 * n
        least = out_of_core_module.PEAK * n + out_of_core_module.CHUNK_BYTES
        by_rows = 4 * m / 8 + (2 * n + own) * 16 * 4
        expected = [files, files + 3 * 16 * column, least, 4 * m, by_rows, (n - own) * 16 * 4, 3 * 2 * column]
        assert [1e9 * float(cell) for cell in row.split("|")] == pytest.approx(expected, rel=0.06)


def test_the_engines_are_those_of_the_page():
    records = held(TOP / "benchmarks" / "results" / "engines.json")
    part = PAGE.partition("The same of whole calls")[2]
    rows = re.findall(r"^\| 10([⁵⁶⁷⁸]) \|(.*)\|$", part.partition("\n## ")[0], re.MULTILINE)
    assert len(rows) == len(records) == 4
    for power, row in rows:
        (record,) = (r for r in records if r["case"]["arcs"] == 10 ** SUPERSCRIPTS.index(power))
        for engine, cell in zip(("memory", "disk", "processes", "spark"), row.split("|"), strict=True):
            if engine in record["times"]:
                assert float(cell) == pytest.approx(record["times"][engine]["seconds"]["median"], rel=0.05)
            else:
                assert cell.strip() == "not measured"
    numbers = [
        float(number)
        for number in re.findall(r"\b[01]\.\d\d\b", part.partition("Exponents of a step")[2].partition("\n\n")[0])
    ]
    expected = []
    for least, engines in ((10**5, ("memory", "disk", "processes", "spark")), (10**7, ("memory", "disk", "processes"))):
        for engine in engines:
            chosen = [r for r in records if r["case"]["arcs"] >= least and engine in r["times"]]
            seconds = [r["times"][engine]["seconds"]["median"] for r in chosen]
            expected.append(np.polyfit(np.log([r["arcs"] for r in chosen]), np.log(seconds), 1)[0])
    assert numbers == pytest.approx(expected, abs=0.006)

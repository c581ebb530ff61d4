"""`bench speed engines` on small graphs: what is checked, what is recorded, what is left out."""

import json
import shutil

import pytest
from speeds import call, held

from graphnoise.bench.speed import engines

FEW = ["engines", "--rounds", "2", "--steps", "2", "--cores", "1", "--width", "3"]


@pytest.mark.parametrize("names", ["memory,disk,processes", "spark"])
def test_sizes_are_measured_written_and_shown(tmp_path, capfd, names):
    pytest.importorskip("duckdb")
    if names == "spark":
        pytest.importorskip("pyspark")
        if not shutil.which("java"):
            pytest.skip("Spark needs Java")
    sizes = ["--arcs", "2000,6000" if names != "spark" else "2000", "--engine", names]
    code, out, err = call(capfd, *FEW, *sizes, "--folder", tmp_path / "build", "--out", tmp_path / "e.json")
    assert code == 0, err
    records = held(tmp_path / "e.json")
    assert [record["nodes"] for record in records] == ([100, 300] if names != "spark" else [100])
    for record in records:
        assert set(record["times"]) == {"memory", *names.split(",")}
        assert all(len(entry["samples"]) == 2 and min(entry["samples"]) > 0 for entry in record["times"].values())
    assert out.count("exponent of ") == 3 * (names != "spark")
    assert not list((tmp_path / "build").iterdir())


BASE = {"nodes": 10, "notes": {}, "load": 0.0, "environment": {"cores": 2}}


def test_exponents_are_of_one_case_at_several_sizes():
    def record(arcs, width=3):
        times = {"memory": {"seconds": {"low": 0.0, "median": 1e-6 * arcs**1.25, "high": 1.0}}}
        case = {"arcs": arcs, "width": width, "cores": 1}
        return {**BASE, "case": case, "arcs": arcs, "times": times}

    def exponents(*records):
        return [str(text) for text in engines.Engines().tables(records) if "exponent of" in str(text)]

    assert exponents(record(1000), record(100), record(10_000)) == ["exponent of memory, 100 to 10,000 arcs: 1.25"]
    assert exponents(record(1000), record(100, width=4)) == []
    assert exponents(record(1000)) == []


def test_other_values_are_not_recorded(tmp_path, capfd, monkeypatch):
    pytest.importorskip("duckdb")
    from_disk = engines._from_disk
    monkeypatch.setattr(engines, "_from_disk", lambda *options: (from_disk(*options)[0], from_disk(*options)[1] + 1))
    options = ["--arcs", "2000", "--engine", "disk", "--folder", tmp_path / "build", "--out", tmp_path / "e.json"]
    code, _, err = call(capfd, *FEW, *options)
    assert code == 1
    assert "disk: expected the values of the graph in memory" in err
    assert not (tmp_path / "e.json").exists() or not json.loads((tmp_path / "e.json").read_text())["records"]


def test_without_java_spark_is_left_out(tmp_path, capfd, monkeypatch):
    pytest.importorskip("duckdb")
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    options = ["--arcs", "2000", "--engine", "spark", "--folder", tmp_path / "build", "--out", tmp_path / "e.json"]
    code, out, _ = call(capfd, *FEW, *options)
    assert code == 0
    assert set(held(tmp_path / "e.json")[0]["times"]) == {"memory"}
    assert "left out: PySpark or Java is not installed" in out

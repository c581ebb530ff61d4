"""`bench speed erase`: drawn graphs, what must agree before anything is timed, stages, memory, tables."""

import re

import numpy as np
import pytest
import torch
from speeds import call, held, killed

from graphnoise import coding_rates as coding
from graphnoise.bench.speed import erase
from graphnoise.bench.speed.erase import STAGES, Erase, EraseOptions, planted, training
from graphnoise.datasets import save_npz
from graphnoise.erase import train
from graphnoise.erase.settings import PRESETS, settings

PRESET = "faithful-cora:hidden=16,width=12"
TINY = ["erase", "--dataset", "60:240", "--features", "8", "--classes", "3", "--preset", PRESET]
TINY += ["--threads", "1", "--rounds", "2", "--no-memory"]
SMALL = {"hidden": 16, "width": 12}
PEAK = {"peak": 151_000_000}


@pytest.fixture
def _verified(monkeypatch):
    """The verification has tests of its own."""
    monkeypatch.setattr(erase, "verify", lambda s: {"float64": 1e-9})


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_drawn_graphs(classes):
    data = erase.read("203:1000", 8, classes, 0, None)
    assert 600 < data.edge_index.shape[1] <= 1_000
    assert data.is_undirected()
    assert not data.has_self_loops()
    assert data.x.shape == (203, 8)
    labelled = torch.bincount(data.y[data.train_mask], minlength=classes)
    assert (labelled == min(20, 203 // classes // 3)).all()
    assert int((data.train_mask & data.val_mask).sum()) == 0
    assert int(data.val_mask.sum()) > 10
    same = (data.y[data.edge_index[0]] == data.y[data.edge_index[1]]).float().mean()
    assert 0.5 < float(same) < 0.85
    erase.read.cache_clear()
    assert torch.equal(erase.read("203:1000", 8, classes, 0, None).x, data.x)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_passes_the_verification(preset):
    s = settings(preset, SMALL)
    if erase.unsupported_reason(erase.replace(s, batch_size=None)) is None:
        assert max(erase.verify(s).values()) < 1e-3


def wrong_rates(z, labels, num_classes=None, **options):
    total, within = coding.coding_rates(z, labels, num_classes, **options)
    return coding.CodingRates(total * 1.001, within)


right_labels = train.Training.pseudo_labels


def other_labels(self, z):
    return (right_labels(self, z) + 1) % 3


def crash(*_, **__):
    raise RuntimeError("no\nmemory")


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "message"),
    [
        (train, "coding_rates", wrong_rates, r"library \(float64\): expected loss within"),
        (train.Training, "pseudo_labels", other_labels, r"library \(float64\): expected the labels of the dense form"),
        (train.Training, "pseudo_labels", crash, r"library \(float64\): raises RuntimeError \(no\)"),
    ],
)
def test_no_time_is_printed_where_the_verification_fails(owner, name, wrong, message, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(owner, name, wrong)
    erase.verify.cache_clear()
    code, out, err = call(capfd, *TINY, "--out", tmp_path / "e.json")
    assert (code, "per epoch" in out) == (1, False)
    assert re.search(f"graphnoise: failed: .+: {message}", err), err
    assert not list(tmp_path.iterdir())


def test_a_record_carries_what_a_reader_needs_and_show_prints_it(monkeypatch, tmp_path, capfd):
    path = tmp_path / "e.json"
    monkeypatch.setattr(erase, "peak_memory", lambda case, dense, root: dict(PEAK))
    code, out, err = call(capfd, *TINY, "--memory", "--out", path)
    assert code == 0, err
    assert re.search(
        "drawn: 60 nodes, .+ 8 features, 3 classes, faithful-cora, gat 16/12, full batch, float32, 1 thread", out
    )
    assert re.search(r"^dense .+ [mµ]?s +151 MB +2$", out, re.M)
    (record,) = held(path)
    assert set(record["gaps"]) == {"float64", "float32", "one mini-batch"}
    times = record["times"]
    each = [a / b for a, b in zip(times["dense"]["samples"], times["library"]["samples"], strict=True)]
    assert times["dense"]["ratio"]["median"] == pytest.approx(np.median(each))
    assert record["memory"]["library"]["peak"] == PEAK["peak"]
    code, shown, _ = call(capfd, "show", path)
    assert (code, shown.splitlines()[:-1]) == (0, out.splitlines()[:-1])


@pytest.mark.usefixtures("_verified")
def test_the_dense_form_is_left_out_beyond_half_of_the_memory(monkeypatch, tmp_path, capfd):
    need = 3 * 60 * 60 * 4
    words = [*TINY, "--rounds", "1", "--out", tmp_path / "e.json"]
    monkeypatch.setattr(erase, "available_memory", lambda: 2 * need - 1)
    out = call(capfd, *words)[1]
    assert f"memberships (3 x 60 x 60) take {need:,} bytes, more than half of the {2 * need - 1:,} available" in out
    monkeypatch.setattr(erase, "available_memory", lambda: 2 * need)
    assert call(capfd, *words, "--again")[0] == 0
    (record,) = held(tmp_path / "e.json")
    assert "dense" in record["times"]


@pytest.mark.usefixtures("_verified")
def test_mini_batches_and_settings_without_a_dense_form(tmp_path, capfd):
    words = [*TINY, "--rounds", "1", "--preset", f"{PRESET},batch_size=7,components=4,encoder=sgc"]
    code, out, err = call(capfd, *words, "--out", tmp_path / "e.json")
    assert code == 0, err
    assert "mini-batches of 7" in out
    assert "dense: left out: the dense form is written out for the encoder 'gat', not for 'sgc'" in out
    assert "verification: with the preset faithful-cora, since the dense form" in out
    (record,) = held(tmp_path / "e.json")
    assert {"sampling", "probe", "optimiser", "coding rate, gradient"} <= set(record["stages"])


def test_stages_cover_the_epoch():
    library = training(planted(), settings("faithful-cora", SMALL))
    stages = erase.stages(library, 10)
    assert list(stages) == [stage for stage in STAGES if stage != "sampling"]
    assert sum(stages.values()) >= sum(library.history["seconds"]) / 10 * 0.9
    assert stages["rest"] < sum(stages.values()) / 2


def test_peak_memory_is_that_of_a_process_of_its_own():
    case = {"dataset": "2000:8000", "features": 500, "classes": 4, "seed": 0, "threads": 1, "preset": "faithful-cora"}
    peak = erase.peak_memory(case | {"overrides": SMALL}, False, None)
    # The features, and those that dropout has left.
    assert 2 * 2_000 * 500 * 4 < peak["peak"] < 300e6


@pytest.mark.usefixtures("_verified")
def test_a_process_that_is_killed_is_told(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(erase, "_peak_memory", killed)
    code, out, _ = call(capfd, *TINY, "--memory", "--no-dense", "--rounds", "1", "--out", tmp_path / "e.json")
    assert code == 0
    assert "memory of library is not known: A process in the process pool was terminated abruptly" in out


@pytest.mark.usefixtures("_verified")
def test_a_data_set_is_measured_with_its_preset(monkeypatch, tmp_path, capfd):
    path = save_npz(planted(), tmp_path / "x.npz")
    words = ["--preset", PRESET, "--rounds", "1", "--threads", "1", "--no-memory", "--no-dense"]
    code, _, err = call(capfd, "erase", "--dataset", path, *words, "--out", tmp_path / "e.json")
    assert code == 0, err
    (record,) = held(tmp_path / "e.json")
    assert (record["case"]["nodes"], record["case"]["features"], record["case"]["preset"]) == (84, 48, "faithful-cora")
    monkeypatch.setattr(erase, "load", lambda name, root, seed: planted())
    assert [case["preset"] for case in Erase().cases(EraseOptions(dataset=("pubmed",)))] == ["faithful-pubmed"]

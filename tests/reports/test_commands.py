"""`graphnoise report rank-stability`, `exchange-rate`, `frontier` and `memorisation`, of cells and of callables."""

import re
import sys

import pandas as pd
import pytest

from graphnoise import datasets
from graphnoise.cli import main as cli

RUNS = """
import numpy as np

Y = np.arange(60) % 3


def accuracy(config, seed):
    noisy = config.get("noisy", config.get("weak"))
    clean = config.get("clean", config.get("strong"))
    return {"accuracy": max(0.9 - (clean + 0.2 * noisy) ** -0.5, 0.1) + 0.001 * seed}


def rank(config, seed):
    given = np.where(np.arange(60) < 10, (Y + 1) % 3, Y)
    other = np.where(np.arange(60) >= 56, (Y + 1) % 3, Y)
    return {"predictions": {"follows": given, "robust": other}, "given": given, "corrected": Y}


def memorise(config, seed):
    seen = np.isin(np.arange(60), config["included"])
    wrong = np.arange(60) < 10
    return {"correct": seen | ~wrong, "test_correct": [seen[0]], "groups": {"wrong": wrong}}


def memorise_all(config, seed):
    return {"correct": np.ones(60), "test_correct": [1]}


def accuracy_of_none(config, seed):
    return {"accuracy": 0.5}


def unlike(config, seed):
    raise ZeroDivisionError("no labels")


def nothing(config, seed):
    return None


def percent(config, seed):
    return {"accuracy": 50}


def text(config, seed):
    return {"accuracy": "high"}


def lengths(config, seed):
    return {"predictions": {"a": Y, "b": Y[: 50 + seed]}, "given": Y, "corrected": Y}


def memorise_more(config, seed):
    return {"correct": np.ones(LABELLED), "test_correct": [1]}


value = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"own_runs_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(RUNS)
    return tmp_path, name


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Cells of two methods at three sizes of training, without and with noise."""
    folder = tmp_path_factory.mktemp("cells")
    data = datasets.planted_partition([60, 60], 0.2, 0.03, num_features=8, separation=0.8, seed=1)
    path = datasets.save_npz(data, folder / "planted.npz")
    sizes = ",".join(f"{path}:split_sizes={size}/20/60" for size in (2, 6, 18))
    words = ["bench", "nodes", "--dataset", sizes, "--method", "lp,sgc", "--noise", "symmetric", "--rate", "0,0.3"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--seeds", "2", "--out", str(folder / "runs"), "--jobs", "1"])
    assert stop.value.code == 0
    return folder / "runs"


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", *map(str, words)])
    out, err = capfd.readouterr()
    return stop.value.code, out, err


def test_rank_stability_of_cells_and_of_a_callable(cells, folder, capfd):
    top, module = folder
    code, out, err = call(capfd, "rank-stability", cells, "--rate", "0.2", "--orders", "5", "--plot", "rank.png")
    assert code == 0, err
    assert out.count("of the test labels are wrong") == 6
    assert (top / "rank.png").stat().st_size > 1000
    code, out, err = call(capfd, "rank-stability", "--run", f"{module}:rank", "--orders", "50", "--csv", "models.csv")
    assert code == 0, err
    # d_c = 4/50 and d_e = 1.
    assert re.search(r"follows +robust .* 7\.4 ", out)
    assert pd.read_csv("models.csv")["model"].tolist() == ["follows", "robust"]


def test_exchange_rate_of_cells_and_of_a_callable(cells, folder, capfd):
    top, module = folder
    code, out, err = call(capfd, "exchange-rate", cells, "--resamples", "3", "--plot", "exchange.png")
    assert code == 0, err
    assert out.count("symmetric noise 0.3") == 2
    assert (top / "exchange.png").exists()
    words = ["exchange-rate", "--run", f"{module}:accuracy", "--seeds", "2", "--resamples", "3", "--out", "stored"]
    code, out, err = call(capfd, *words, "--csv", "runs.csv")
    assert code == 0, err
    worth = float(re.search(r"a noisy label is worth ([0-9.]+) clean ones \(95 %", out)[1])
    assert worth == pytest.approx(0.2, rel=0.05)
    assert len(pd.read_csv("runs.csv")) == 24
    # Stored runs are read, and not run again.
    (top / f"{module}.py").unlink()
    again = call(capfd, "exchange-rate", "stored", "--resamples", "3")
    assert again[0] == 0
    assert f"worth {worth:.3f}" in again[1]


def test_a_worth_that_runs_leave_open_is_said(folder, capfd):
    _, module = folder
    code, out, _ = call(capfd, "exchange-rate", "--run", f"{module}:accuracy", "--noisy", "0", "--plot", "open.png")
    assert code == 0
    assert "kappa is not identified: no run has noisy labels" in out


def test_frontier_of_cells_and_of_a_callable(cells, folder, capfd):
    top, module = folder
    code, out, err = call(capfd, "frontier", cells, "--plot", "frontier.png")
    assert code == 0, err
    assert "Pareto set" in out
    assert (top / "frontier.png").exists()
    words = ["frontier", "--run", f"{module}:accuracy", "--budgets", "0,2,100", "--strong-cost", "4", "--seeds", "2"]
    code, out, err = call(capfd, *words, "--csv", "points.csv")
    assert code == 0, err
    # A clean label is worth five noisy ones, and costs four.
    rows = out[out.index("what a budget should buy") :].splitlines()[2:]
    assert [row.split()[0] for row in rows[:3]] == ["none", "quantity", "quality"]
    assert (pd.read_csv("points.csv")["cost"] <= 100).all()


def test_memorisation_of_a_callable_and_its_stored_runs(folder, capfd):
    top, module = folder
    words = ["memorisation", "--run", f"{module}:memorise", "--labelled", "60", "--runs", "20", "--out", "stored"]
    code, out, err = call(capfd, *words, "--plot", "memorised.png", "--csv", "scores.csv")
    assert code == 0, err
    scores = pd.read_csv("scores.csv")
    assert scores["wrong"].sum() == 10
    assert (scores[scores["wrong"]]["memorisation"] == 1).all()
    assert (scores[~scores["wrong"]]["memorisation"] == 0).all()
    assert (top / "memorised.png").exists()
    again = call(capfd, "memorisation", "stored")
    assert again[0] == 0
    assert again[1].splitlines() == [line for line in out.splitlines() if not line.startswith("wrote")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rank-stability"], "FOLDER, --run: expected one of them, got none"),
        (
            ["rank-stability", "x", "--run", "a:b"],
            "FOLDER, --run: expected one of them, got FOLDER and --run",
        ),
        (["frontier"], "FOLDER, --run, --dataset: expected one of them, got none"),
        (["frontier", "nowhere"], "nowhere: expected a folder of cells"),
        (["exchange-rate", "--run", "nomodule:f"], "--run: expected MODULE:FUNCTION .*ModuleNotFoundError"),
        (["exchange-rate", "--run", "MODULE:missing"], "--run: expected MODULE:FUNCTION .*AttributeError"),
        (
            ["exchange-rate", "--run", "nomodule"],
            "--run: expected MODULE:FUNCTION that can be imported, got 'nomodule'",
        ),
        (["exchange-rate", "--run", "MODULE:value"], "--run: expected MODULE:FUNCTION .* called, got .*int"),
        (["exchange-rate", "--run", "MODULE:unlike"], "--run: expected a result of .*ZeroDivisionError: no labels"),
        (["exchange-rate", "--run", "MODULE:rank"], "run: expected the measure 'accuracy', got predictions"),
        (["exchange-rate", "--run", "MODULE:accuracy", "--clean", "x"], "--clean: expected an integer"),
        (["exchange-rate", "--run", "MODULE:percent"], r"accuracy: expected numbers in \[0, 1\], got from 50 to 50"),
        (
            ["exchange-rate", "--run", "MODULE:accuracy", "--clean", "0", "--noisy", "0"],
            "--clean, --noisy: expected counts of which one is above 0",
        ),
        (["rank-stability", "--run", "MODULE:lengths", "--seeds", "2"], r"predictions\['b'\]: expected classes of one"),
        (["memorisation", "--run", "MODULE:memorise", "--labelled", "60", "--top", "-5"], "--top: expected an integer"),
        (["frontier", "--run", "MODULE:accuracy", "--budgets", "0"], "--budgets: expected a budget that buys a label"),
        (["frontier", "--run", "MODULE:accuracy", "--weak-cost", "0"], "--weak-cost: expected a number of at least"),
        (["memorisation", "--run", "MODULE:memorise"], "--labelled: expected the number of labelled nodes"),
        (["memorisation", "--run", "MODULE:memorise", "--labelled", "5"], "run: correct, test_correct: expected 5"),
        (["memorisation", "--run", "MODULE:nothing", "--labelled", "5"], "run: expected a mapping of measures"),
        (["rank-stability", "--run", "MODULE:rank", "--plot", "x.abc"], "plot: expected a file name that ends in"),
        (["rank-stability", "--run", "MODULE:rank", "--rate", "2"], "--rate: expected a rate"),
    ],
)
def test_bad_input_is_one_line(words, message, folder, capfd):
    _, module = folder
    code, _, err = call(capfd, *(word.replace("MODULE", module) for word in words))
    assert code == 1
    # A slow machine gets lines of progress before.
    assert len([line for line in err.splitlines() if "error: " in line]) == 1
    assert "Traceback" not in err
    assert re.search(message, err), err


def test_stored_runs_are_complete_and_of_one_callable(folder, capfd):
    _, module = folder
    words = ["memorisation", "--labelled", "60", "--runs", "4", "--out", "stored", "--run"]
    assert call(capfd, *words, f"{module}:accuracy_of_none")[0] == 1
    code, _, err = call(capfd, "memorisation", "stored")
    assert (code, "expected cells of" in err) == (1, True)
    assert call(capfd, *words, f"{module}:memorise")[0] == 0
    assert call(capfd, *words, f"{module}:memorise_all")[0] == 0
    code, _, err = call(capfd, "memorisation", "stored")
    assert code == 1
    assert f"expected runs of one callable (a folder for each), got {module}:memorise, {module}:memorise_all" in err


def test_stored_runs_that_do_not_fit_are_one_line(folder, capfd):
    _, module = folder
    words = ["exchange-rate", "--run", f"{module}:text", "--out", "words"]
    assert call(capfd, *words)[0] == 1
    code, _, err = call(capfd, "exchange-rate", "words")
    assert (code, "accuracy: expected numbers, got" in err) == (1, True)
    for labelled in (60, 80):
        sys.modules[module].LABELLED = labelled
        words = ["memorisation", "--labelled", labelled, "--runs", "3", "--out", "sizes", "--run"]
        assert call(capfd, *words, f"{module}:memorise_more")[0] == 0
    code, _, err = call(capfd, "memorisation", "sizes")
    assert (code, "sizes: expected runs of the same numbers of labelled and test nodes" in err) == (1, True)


def test_cells_of_the_benchmark_withhold_no_labels(cells, capfd):
    code, _, err = call(capfd, "memorisation", cells)
    assert (code, "expected runs that withhold labels" in err) == (1, True)


def test_a_folder_is_reported_as_before(cells, capfd):
    code, out, err = call(capfd, cells)
    assert code == 0, err
    assert "Test accuracy in %, symmetric noise" in out
    code, out, _ = call(capfd, "frontier", "--help")
    assert (code, "Usage: graphnoise report frontier" in out or "report frontier" in out) == (0, True)

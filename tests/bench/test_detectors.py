"""Detectors of the benchmark: what every one returns, what a cell records of it, and what is refused."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from graphnoise import InputError
from graphnoise.audit import crossfit
from graphnoise.bench import registry
from graphnoise.bench.methods import detectors
from graphnoise.bench.methods.detectors import Detection, Trial
from graphnoise.bench.tasks import detect
from graphnoise.bench.tasks.detect_metrics import checked_detection, measure_detection
from graphnoise.bench.tasks.nodes import corrupt, load

NAMES = tuple(registry.names("detectors"))
PLANTED = "planted(n=120,block=40,p=0.2,q=0.02)"
NOISE = {"kind": "symmetric", "rate": 0.2, "exact": False, "erase_stream": False, "options": {}}
INSTANCE = load(PLANTED, None, 0)
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True, scope="module")
def _few_epochs():
    """Networks on graphs this small need no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphnoise.audit.out_of_fold.EPOCHS", 40)
        yield


def trial(labelled="all"):
    y, problem = detect.corrupted(INSTANCE, NOISE, labelled, 1), INSTANCE.problem
    return Trial(problem.graph, problem.x, y, 0)


def run(name, given, **settings):
    found = registry.create("detectors", name, settings)[0].detect(given)
    return checked_detection(found, name, len(given.given), 3)


@pytest.fixture(scope="module")
def found():
    return {name: run(name, trial()) for name in NAMES}


def test_the_detectors_are_there():
    assert {"posterior", "ggp", "self-confidence", "self-confidence-gcn", "margin", "loss-mixture"} <= set(NAMES)
    assert {"confident-joint", "disagreement", "credibility"} <= set(NAMES)
    assert {"neighbours", "lp", "graphcleaner", "icgnn", "rank-average"} <= set(NAMES)


@each
def test_wrong_labels_are_found_and_corrected(name, found):
    result, given = found[name], trial()
    measured = measure_detection(INSTANCE.truth.numpy(), given.given, result)
    assert measured["error_rate"] > 0.1
    assert measured["auroc"] > 0.95
    assert measured["f1"] > 0.6
    assert result.labels is None or measured["corrected_accuracy"] > measured["given_accuracy"]
    assert not result.probability or measured["brier"] < 0.25
    assert measured["rate"] is None or abs(measured["rate_error"]) < 0.25
    assert result.transition is None or measured["transition_max"] < 0.5


@each
def test_nodes_without_a_label_and_absent_classes_are_left_out(name):
    given = trial("train")
    given.y[given.y == 1] = -1
    result = run(name, given)
    assert len(result.credibility) == (given.y >= 0).sum()
    assert result.labels is None or set(result.labels) <= {0, 2}
    assert result.transition is None or result.transition.shape == (2, 2)
    measure_detection(INSTANCE.truth.numpy()[given.nodes], given.given, result)


@each
def test_results_repeat_at_any_thread_count_and_leave_the_trial_as_it_is(name, found):
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            given = trial()
            before = given.y.clone()
            with threadpool_limits(count):
                result = run(name, given)
            np.testing.assert_array_equal(result.credibility, found[name].credibility)
            assert torch.equal(given.y, before)
    finally:
        torch.set_num_threads(threads)


@each
def test_only_labels_graph_features_and_the_trial_s_seed_are_read(name, found):
    copied = run(name, trial().copy())
    np.testing.assert_array_equal(copied.credibility, found[name].credibility)


def test_probabilities_are_computed_once_and_their_time_counts_for_each():
    given = trial()
    registry.create("detectors", "self-confidence")[0].detect(given)
    assert given.reused == 0
    registry.create("detectors", "margin")[0].detect(given)
    assert given.reused > 0
    np.testing.assert_array_equal(given.probabilities("sgc", 5), crossfit(given.graph, given.y, given.x))


def test_labels_of_training_nodes_are_those_of_the_task_nodes():
    expected, _ = corrupt(INSTANCE, NOISE, "clean", 7)
    mask = INSTANCE.problem.train_mask
    labels = detect.corrupted(INSTANCE, NOISE, "train", 7)
    assert torch.equal(labels[mask], expected[mask])
    assert (labels[~mask] == -1).all()
    assert (detect.corrupted(INSTANCE, NOISE, "all", 7) >= 0).all()


def test_a_detector_that_reads_features_refuses_a_graph_without():
    given = trial()
    given.features = torch.zeros(120, 0)
    with pytest.raises(InputError, match=r"data\.x: expected features, which this detector reads"):
        run("self-confidence", given)
    run("lp", given)


# Ten labels, of which the first three are wrong.
TRUTH = np.array([0, 1, 2, 0, 0, 1, 1, 2, 2, 2])
GIVEN = np.array([1, 2, 0, 0, 0, 1, 1, 2, 2, 2])
WRONG = TRUTH != GIVEN
CREDIBILITY = np.array([0.05, 0.1, 0.8, 0.12, 0.6, 0.7, 0.9, 0.9, 1.0, 1.0])


def test_measures_are_their_definitions():
    found = Detection(CREDIBILITY, None, np.array([0, 1, 0, 0, 0, 1, 1, 2, 2, 2]), True)
    result = measure_detection(TRUTH, GIVEN, found)
    assert result["error_rate"] == pytest.approx(0.3)
    assert result["auroc"] == pytest.approx(roc_auc_score(WRONG, -CREDIBILITY))
    # Of the three of least credibility two are wrong, and these are flagged.
    assert result["precision"] == pytest.approx(2 / 3)
    assert result["flagged"] == pytest.approx(0.3)
    assert result["f1"] == pytest.approx(2 / 3)
    # Means .05, .075, .09 and then .2175: three are in the set.
    assert result["fdr"] == pytest.approx(1 / 3)
    assert result["fdr_power"] == pytest.approx(2 / 3)
    assert result["brier"] == pytest.approx(np.mean((CREDIBILITY - ~WRONG) ** 2))
    # Bins: .05 | .1 .12 | .6 | .7 | .8 | .9 .9 1 1.
    gaps = [0.05, abs(0.22 - 1), 0.4, 0.3, 0.8, 0.2]
    assert result["calibration"] == pytest.approx(sum(gaps) / 10)
    assert (result["given_accuracy"], result["corrected_accuracy"]) == (0.7, 0.9)
    assert result["rate"] == pytest.approx(1 - CREDIBILITY.mean())
    assert result["rate_error"] == pytest.approx(0.7 - CREDIBILITY.mean())


def test_errors_of_the_transition_matrix_are_against_the_frequencies():
    frequencies = np.array([[2 / 3, 1 / 3, 0], [0, 2 / 3, 1 / 3], [1 / 4, 0, 3 / 4]])
    exact = measure_detection(TRUTH, GIVEN, Detection(CREDIBILITY, transition=frequencies))
    assert exact["transition_max"] == pytest.approx(0)
    other = measure_detection(TRUTH, GIVEN, Detection(CREDIBILITY, transition=np.eye(3)))
    assert other["transition_max"] == pytest.approx(1 / 3)
    assert other["transition_mean"] == pytest.approx(2 * (1 / 3 + 1 / 3 + 1 / 4) / 9)


def test_bounds_of_measures():
    # A mean of exactly 0.1 is in the set; a class that only given labels have has no row.
    truth, given = np.zeros(2, dtype=int), np.array([1, 0])
    found = Detection(np.array([0.1, 1.0]), probability=True, transition=np.array([[0.5, 0.5], [0.0, 1.0]]))
    result = measure_detection(truth, given, found)
    assert (result["fdr"], result["fdr_power"], result["transition_max"]) == (0, 1, 0)


def test_without_errors_or_probabilities_there_is_less_to_measure():
    clean = measure_detection(TRUTH, TRUTH, Detection(CREDIBILITY, probability=True))
    assert [clean[key] for key in ("auroc", "precision", "f1", "fdr_power")] == [None] * 4
    assert clean["fdr"] == 1
    empty = measure_detection(TRUTH, GIVEN, Detection(CREDIBILITY + 0.2 * (CREDIBILITY < 0.2), probability=True))
    assert (empty["fdr"], empty["fdr_power"]) == (0, 0)
    plain = measure_detection(TRUTH, GIVEN, Detection(CREDIBILITY))
    missing = ("fdr", "fdr_power", "brier", "calibration", "rate", "rate_error", "corrected_accuracy", "transition_max")
    assert [plain[key] for key in missing] == [None] * len(missing)


REFUSED = {
    "nothing": (None, "result of NAME: expected a Detection, got NoneType"),
    "an array": (CREDIBILITY, "result of NAME: expected a Detection"),
    "no credibility": (Detection(None), r"credibility of NAME: expected values of shape \[10\]"),
    "length": (Detection(CREDIBILITY[1:]), r"credibility of NAME: expected values in \[0, 1\] of shape \[10\]"),
    "NaN": (Detection(CREDIBILITY * np.nan), "credibility of NAME: expected values in"),
    "above 1": (Detection(2 * CREDIBILITY), r"credibility of NAME: .*from 0.1 to 2"),
    "texts": (Detection(np.array(["a"] * 10)), "credibility of NAME: expected"),
    "flags": (Detection(CREDIBILITY, flagged=np.full(10, 2)), "flagged of NAME: expected"),
    "classes": (Detection(CREDIBILITY, labels=GIVEN + 1), r"labels of NAME: expected values in \[0, 2\]"),
    "rate": (Detection(CREDIBILITY, rate=1.5), "rate of NAME: expected a rate"),
    "matrix": (Detection(CREDIBILITY, transition=np.ones((2, 3))), "transition of NAME: expected"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_detection_is_refused(case):
    found, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        checked_detection(found, "NAME", 10, 3)


def test_a_detector_of_another_package_gets_a_copy(monkeypatch):
    class Greedy:
        version = "1"

        def detect(self, given):
            size = len(given.given)
            given.y.fill_(0)
            given.features.zero_()
            return Detection(np.full(size, 0.5))

    class Leaving(Greedy):
        def detect(self, given):
            raise SystemExit(3)

    task = registry.task("detect")
    (cell,) = task.cells(task.Grid(datasets=[PLANTED], methods=["lp"], noise=["pair"], seeds=1))
    before = task.run_cell(cell)
    load_ = registry.load
    for kind in (Greedy, Leaving):
        monkeypatch.setattr(registry, "load", lambda group, name, what="method", kind=kind: kind)
        if kind is Greedy:
            assert task.run_cell({**cell, "parameters": {}})["auroc"] == 0.5
        else:
            with pytest.raises(InputError, match=r"lp: expected a Detection, got a call of sys.exit\(3\)"):
                task.run_cell({**cell, "parameters": {}})
    monkeypatch.setattr(registry, "load", load_)
    after = task.run_cell(cell)
    assert {**before, "run": 0} == {**after, "run": 0}
    json.dumps(after)


def test_settings_of_detectors_are_checked():
    for name, settings, message in (
        ("lp", {"alpha": 2.0}, "lp.alpha: expected a rate"),
        ("self-confidence", {"folds": 1}, "self-confidence.folds: expected an integer of at least 2"),
        ("margin", {"model": "svm"}, "margin.model: expected one of gat, gcn, mlp, sgc"),
        ("confident-joint", {"rule": "rate"}, "confident-joint.rule: expected one of"),
        ("disagreement", {"draws": 0}, "disagreement.draws: expected an integer"),
        ("credibility", {"view": "text"}, "credibility.view: expected one of"),
        ("graphcleaner", {"hops": -1}, "graphcleaner.hops: expected an integer"),
        ("icgnn", {"alpha": 1.0}, "icgnn.alpha: expected a number"),
        ("rank-average", {"folds": 0}, "rank-average.folds: expected an integer"),
    ):
        with pytest.raises(InputError, match=message):
            registry.create("detectors", name, settings)


def test_the_margin_and_the_confidence_flag_the_same_labels(found):
    np.testing.assert_array_equal(found["margin"].flagged, found["margin"].credibility < 0.5)
    np.testing.assert_array_equal(found["margin"].flagged, found["self-confidence"].flagged)
    assert found["rank-average"].flagged.sum() == (found["posterior"].credibility < 0.5).sum()
    assert detectors.SelfConfidence.version

"""Pruning with a teacher: plain training as a special case, the frozen teacher, pruning within classes, the formula."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from training_steps import context, draw, step

from graphnoise import InputError, datasets, noise
from graphnoise.reports import pruning_curve
from graphnoise.robust import RobustGNN
from graphnoise.robust.methods.prune_distil import PruneDistil


def noisy(seed=0):
    data = datasets.planted_partition([40, 40], 0.2, 0.03, num_features=8, split=(12, 15, 20), seed=seed)
    return noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=seed)(data)


def fitted(method, data, epochs=15):
    return RobustGNN(method, epochs=epochs, hidden=8, seed=3).fit(data)


def test_all_labels_without_the_teacher_are_plain_training():
    data = noisy()
    plain = fitted("ce", data).predict_proba(data)
    assert torch.equal(fitted(PruneDistil(kept=1.0, weight=0.0), data).predict_proba(data), plain)
    assert not torch.equal(fitted(PruneDistil(kept=0.5, weight=0.0), data).predict_proba(data), plain)
    assert not torch.equal(fitted(PruneDistil(kept=1.0, weight=0.5), data).predict_proba(data), plain)


@pytest.mark.parametrize("selection", ["random", "small-loss"])
def test_the_teacher_has_learned_from_all_labels_and_stays(selection):
    data = noisy()
    plain = fitted("ce", data).predict_proba(data)
    method = fitted(PruneDistil(kept=0.3, selection=selection), data).method_
    # Were it trained on the kept labels, or trained on, it would be another network.
    assert torch.allclose(method.teacher.softmax(1), plain.to(method.teacher), atol=1e-6)
    assert not method.teacher.requires_grad
    assert int(method.kept_labels.sum()) == 2 * 4


@pytest.mark.parametrize("selection", ["random", "small-loss"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.4])
def test_no_class_is_lost(selection, kept):
    data = noisy(1)
    # A class of one label, which the teacher hardly learns.
    data.y = torch.where(data.train_mask, 0, data.y)
    data.y[data.train_mask.nonzero()[0]] = 1
    method = fitted(PruneDistil(kept=kept, selection=selection), data, epochs=3).method_
    given = data.y[data.train_mask]
    assert set(given[method.kept_labels].tolist()) == {0, 1}


def prepared(**settings):
    """A method with a given teacher, and a step of all labelled nodes."""
    state = context(logits=draw(60, 3, seed=5))
    method = PruneDistil(**settings)
    method.register_buffer("teacher", draw(60, 3, seed=6, scale=3.0))
    return method, step(state)


def test_the_loss_is_that_of_the_formula():
    method, now = prepared(weight=0.25, temperature=2.0)
    t = torch.distributions.Categorical(logits=method.teacher[now.context.labelled].double() / 2)
    f = torch.distributions.Categorical(logits=now.logits.double() / 2)
    expected = 0.75 * F.cross_entropy(now.logits, now.given, reduction="none")
    expected = expected + 0.25 * 4 * torch.distributions.kl_divergence(t, f)
    assert torch.allclose(method.loss(now, now.given).double(), expected, atol=1e-5)


def test_a_student_that_agrees_with_its_teacher_has_no_loss_from_it():
    method, now = prepared(weight=1.0)
    method.teacher = now.outputs[0].logits + 1
    assert method.loss(now, now.given).abs().max() < 1e-5


@pytest.mark.parametrize(("kept", "weight"), [(1.0, 0.3), (0.5, 0.5), (0.05, 0.9)])
def test_the_default_weight_grows_as_fewer_labels_are_kept(kept, weight):
    assert PruneDistil(kept=kept).teacher_weight == pytest.approx(weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kept": 1.5}, "kept: expected a rate"),
        ({"weight": -0.1}, "weight: expected a rate"),
        ({"temperature": 0.0}, "temperature: expected a number in"),
        ({"selection": "largest"}, "selection: expected one of random, small-loss"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        PruneDistil(**settings)


def ridge(noise_sd, biased=True, width=40, count=200):
    """A run of ridge regression, whose teacher is fitted to all targets with a large, biased penalty."""

    def solve(x, y, penalty):
        return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)

    def run(config, seed):
        rng = np.random.default_rng(seed)
        x, truth = rng.normal(size=(count, width)), rng.normal(size=width) / np.sqrt(width)
        y = x @ truth + noise_sd * rng.normal(size=count)
        teacher = solve(x, y, 100.0 if biased else 1.0)
        chosen = rng.permutation(count)[: round(config["kept"] * count)]
        targets = (1 - config["weight"]) * y + config["weight"] * (x @ teacher)
        student = solve(x[chosen], targets[chosen], 1.0)
        return {"accuracy": float(np.exp(-np.sum((student - truth) ** 2)))}

    return run


def test_the_best_weight_rises_with_noise_and_with_pruning():
    weights = np.linspace(0, 1, 11).tolist()
    best = {}
    for level in (0.3, 1.0):
        table = pruning_curve(ridge(level), (0.25, 0.4, 0.8), weights, seeds=20).best
        best[level] = table.set_index("kept")["weight"]
        assert best[level].is_monotonic_decreasing
        assert best[level][0.25] > best[level][0.8]
    assert (best[1.0] > best[0.3]).all()
    # A teacher without bias is followed alone.
    unbiased = pruning_curve(ridge(1.0, biased=False), (0.25, 0.8), weights, seeds=20).best
    assert (unbiased["weight"] >= 0.9).all()


def test_the_table_has_random_subsets_and_hard_labels():
    def run(config, seed):
        return {"accuracy": 0.5 + 0.1 * config["weight"] + 0.05 * (config["selection"] == "small-loss")}

    report = pruning_curve(run, (0.2,), (0.5,), selections=["small-loss"], seeds=1)
    assert report.best["selection"].tolist() == ["small-loss", "random"]
    assert report.best["hard"].round(9).tolist() == [0.55, 0.5]
    assert report.best["gain"].round(9).tolist() == [0.05, 0.0]
    assert report.curve["half_width"].isna().all()
    # Of equal means the smallest weight is the best, whatever their last digits.
    means = {0.0: (0.3, 0.2, 0.1), 0.5: (0.1, 0.2, 0.3), 1.0: (0.2, 0.2, 0.2)}
    ties = pruning_curve(lambda config, seed: {"accuracy": means[config["weight"]][seed]}, (0.2,), list(means))
    assert ties.best["weight"].tolist() == [0.0]
    with pytest.raises(InputError, match="kept: expected at least one share, got none"):
        pruning_curve(run, ())
    # Also where the mean is in [0, 1].
    with pytest.raises(InputError, match=r"run: accuracy: expected numbers in \[0, 1\], got from -0.5 to 1.5"):
        pruning_curve(lambda config, seed: {"accuracy": seed - 0.5}, (0.2,), seeds=3)
    called = []
    with pytest.raises(InputError, match="steps: expected an integer of at least 0"):
        pruning_curve(lambda config, seed: called.append(1), steps=-1)
    assert not called
    with pytest.raises(InputError, match="accuracy: expected a finite number, got nan"):
        pruning_curve(lambda config, seed: {"accuracy": float("nan")}, (0.2,))

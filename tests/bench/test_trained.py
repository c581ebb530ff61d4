"""Methods of robust training in the benchmark: settings, searches, classes without labels."""

import pytest
import torch

from graphnoise.bench import registry
from graphnoise.bench.methods.problem import Instance, Trial
from graphnoise.bench.methods.robust import with_corrected_labels
from graphnoise.checks import InputError
from graphnoise.datasets import planted_partition
from graphnoise.robust import RobustGNN, methods

DATA = planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=1.5, split=(10, 30, 60), seed=0)
INSTANCE = Instance(DATA)


def trial(seed=0, **changes):
    known = INSTANCE.problem.train_mask | INSTANCE.problem.val_mask
    labels = torch.where(known, INSTANCE.truth, -1)
    for node, label in changes.get("labels", {}).items():
        labels[node] = label
    return Trial(INSTANCE.problem, labels, seed, changes.get("report", lambda loss, predicted: None))


def create(name, **settings):
    return registry.create("node_methods", name, settings)


def test_every_method_of_robust_training_is_registered():
    assert set(methods.names()) <= set(registry.names("node_methods"))
    for name in methods.names():
        made, parameters = create(name)
        assert (made.name, made.version, made.stochastic) == (name, methods.load(name).version, True)
        assert parameters["epochs"] == 200
        # Settings of the network and of the method have different names.
        assert not {"hidden", "dropout", "lr", "search", "val_labels"} & set(methods.load(name).defaults())


def test_a_cell_is_a_fit_of_the_estimator():
    seen = []
    settings = {"epochs": 15, "hidden": 8}
    ours = create("gce", q=0.5, **settings)[0].fit_predict(trial(3, report=lambda *row: seen.append(row)))
    model = RobustGNN(methods.create_method("gce", q=0.5), seed=3, **settings).fit(DATA)
    assert torch.allclose(ours, model.predict_proba(DATA), atol=1e-6)
    assert [loss for loss, _ in seen] == pytest.approx(model.history_["loss"])
    assert all(len(predicted) == int(DATA.train_mask.sum()) for _, predicted in seen)


def test_validation_labels_may_train():
    scores = [create("ce", epochs=15, val_labels=how)[0].fit_predict(trial()) for how in ("select", "train", "none")]
    assert not torch.allclose(scores[0], scores[1])
    model = RobustGNN("ce", epochs=15, val_labels="train").fit(DATA)
    assert torch.allclose(scores[1], model.predict_proba(DATA), atol=1e-6)


def test_a_search_keeps_the_best_of_its_trials():
    pytest.importorskip("optuna")
    made = create("gce", search=4, epochs=10, hidden=8)[0]
    first, second = trial(), trial()
    scores = made.fit_predict(first)
    assert torch.equal(scores, made.fit_predict(second))
    assert first.searched == second.searched
    assert first.searched.keys() == {"lr", "weight_decay", "hidden", "dropout", "q"}
    val = INSTANCE.problem.val
    once = create("gce", epochs=10, hidden=8, lr=1e-4)[0].fit_predict(trial())
    right = [(p.argmax(1) == INSTANCE.truth)[val].float().mean() for p in (scores, once)]
    assert right[0] >= right[1]


def test_a_class_without_training_labels_is_not_predicted():
    labels = {int(node): 0 for node in INSTANCE.problem.train[INSTANCE.truth[INSTANCE.problem.train] == 2]}
    scores = create("ce", epochs=10)[0].fit_predict(trial(labels=labels))
    assert scores.shape == (120, 3)
    assert not scores[:, 2].any()
    alike = create("ce")[0].fit_predict(trial(labels=dict.fromkeys(INSTANCE.problem.train.tolist(), 1)))
    assert bool((alike.argmax(1) == 1).all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": -1}, "^method gce: search: expected an integer from 0 to 10000, got -1"),
        ({"search": 2, "val_labels": "none"}, "^method gce: search: expected 0 without val_labels=select"),
        ({"val_labels": "all"}, "^method gce: val_labels: expected one of none, select, train"),
        ({"q": 2}, "^method gce: q: expected a rate"),
        ({"seed": 1}, "hyper-parameter of gce: expected one of dropout, epochs"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        create("gce", **settings)


def test_labels_may_be_corrected_first_by_the_graph_gaussian_process():
    generator, given = torch.Generator().manual_seed(0), INSTANCE.truth.clone()
    known = (INSTANCE.problem.train_mask | INSTANCE.problem.val_mask).nonzero().view(-1)
    wrong = known[torch.rand(len(known), generator=generator) < 0.3]
    given[wrong] = (given[wrong] + 1) % 3
    noisy = trial(labels=dict(zip(wrong.tolist(), given[wrong].tolist(), strict=True)))
    before, mended = noisy.y.clone(), with_corrected_labels(noisy)
    errors = [(labels != INSTANCE.truth)[known].sum() for labels in (noisy.y, mended.y)]
    assert errors[1] < errors[0] / 2
    assert torch.equal(noisy.y, before)
    assert torch.equal(mended.y < 0, before < 0)
    scores = create("ce", epochs=10, labels="graph-gp")[0].fit_predict(noisy)
    assert torch.equal(scores, create("ce", epochs=10)[0].fit_predict(mended))
    # Recorded only where it is set.
    assert "labels" not in create("ce")[1]
    with pytest.raises(InputError, match="labels: expected"):
        create("ce", labels="other")

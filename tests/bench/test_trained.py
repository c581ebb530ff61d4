"""Methods of robust training in the benchmark: the estimator's results, search, and what their settings may be."""

import pytest
import torch

from graphnoise import InputError, datasets
from graphnoise.bench import registry
from graphnoise.bench.methods.problem import Instance, Trial
from graphnoise.robust import RobustGNN, methods


@pytest.fixture(scope="module")
def data():
    return datasets.planted_partition([30, 30, 30], 0.2, 0.02, num_features=6, split=(8, 20, 40), seed=0)


def create(name, **settings):
    return registry.create("node_methods", name, settings)[0]


def trial(data, y=None):
    instance = Instance(data)
    problem = instance.problem
    labelled = problem.train_mask | problem.val_mask
    return Trial(problem, torch.where(labelled, data.y if y is None else y, -1), 5)


@pytest.mark.parametrize("name", ["ce", "co-teaching", "nrgnn"])
def test_it_is_the_estimator(name, data):
    p = create(name, epochs=3).fit_predict(trial(data))
    expected = RobustGNN(name, epochs=3, seed=5).fit(data).predict_proba(data)
    torch.testing.assert_close(p, expected, atol=1e-5, rtol=1e-4)


def test_all_names_are_installed():
    for name in methods.names():
        assert type(create(name)).version == methods.load(name).version


def test_a_class_without_given_labels_is_not_predicted(data):
    scores = create("gce", epochs=3).fit_predict(trial(data, data.y.clamp(max=1)))
    assert (scores[:, 2] == 0).all()


def test_a_search_depends_on_the_seed_alone(data):
    first, second = (create("gce", epochs=4, search=3).fit_predict(trial(data)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, create("gce", epochs=4).fit_predict(trial(data)))


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

"""Golden draws on the labels of the public Planetoid training nodes (0-139, 0-119, 0-59)."""

import numpy as np
import pytest
import torch

from graphnoise import noise
from graphnoise.checks import InputError

TRAINING = {
    "cora": (
        "3440320332004333231353463363243604201544366433253453021463220004204526"
        "5222045640004241460424660065060211126561221555656551661516555151111111"
    ),
    "citeseer": (
        "3155313035242123244015535252422245234533212151142332525141422345513342"
        "41150203524114404453554531443130111300000000000000"
    ),
    "pubmed": ("110212212122222012122122212221112100110201011110000000000000"),
}
MAPS = {"cora": [6, 3, 5, 2, 1, 3, 2], "citeseer": [3, 5, 3, 1, 3, 2], "pubmed": [1, 2, 0]}
RATES = (0.1, 0.2, 0.3, 0.4, 0.5)
REALISED = {
    ("symmetric", "cora"): [5.7, 15.0, 20.0, 30.0, 40.7],
    ("symmetric", "citeseer"): [3.3, 10.8, 17.5, 27.5, 41.7],
    ("symmetric", "pubmed"): [5.0, 11.7, 21.7, 36.7, 48.3],
    ("asymmetric", "cora"): [5.7, 15.7, 25.0, 40.0, 54.3],
    ("asymmetric", "citeseer"): [5.8, 17.5, 23.3, 37.5, 51.7],
    ("asymmetric", "pubmed"): [1.7, 6.7, 23.3, 35.0, 45.0],
}


def training_labels(name):
    return np.array([int(digit) for digit in TRAINING[name]])


def test_the_labels_are_twenty_a_class():
    for name, mapping in MAPS.items():
        assert np.bincount(training_labels(name)).tolist() == [20] * len(mapping)


@pytest.mark.parametrize(("kind", "name"), REALISED)
def test_realised_rates_at_seed_123(kind, name):
    y = training_labels(name)
    realised = [100 * noise.erase_stream(kind, y, rate)[1].rate for rate in RATES]
    assert [round(rate, 1) for rate in realised] == REALISED[kind, name]


@pytest.mark.parametrize("name", MAPS)
def test_asymmetric_maps(name):
    transition, _ = noise.erase_stream("asymmetric", training_labels(name), 0.3)
    assert transition.matrix.fill_diagonal_(0).argmax(1).tolist() == MAPS[name]


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "pair"])
def test_it_is_the_stream_of_one_choice_a_node(kind):
    y = np.concatenate([training_labels("cora"), np.arange(7)])
    mask = np.arange(y.size) % 3 != 0
    transition, noisy = noise.erase_stream(kind, y, 0.4, mask, seed=9)
    stream = np.random.RandomState(9)
    if kind == "asymmetric":
        targets = [stream.choice([j for j in range(7) if j != i]) for i in range(7)]
        assert transition == noise.from_mapping({i: int(j) for i, j in enumerate(targets)}, 7, 0.4)
    expected = y.copy()
    for node in mask.nonzero()[0]:
        expected[node] = stream.choice(7, p=transition.matrix[y[node]].numpy())
    assert (noisy.y == expected).all()
    assert noisy.rate == pytest.approx((expected != y)[mask].mean())


def test_the_global_stream_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    result = noise.erase_stream("symmetric", torch.arange(6), 0.5)[1]
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert isinstance(result.y, torch.Tensor)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("symetric", [0, 1], 0.1), "kind: .*did you mean 'symmetric'"),
        (("random", [0, 1], 0.1), "kind: expected one of asymmetric, pair, symmetric"),
        (("pair", [0, 0], 0.1), "rate: expected 0 where there is only one class"),
        (("pair", [0, 1], 2), "rate: expected a rate"),
        (("pair", [0, 1], 0.1, None, np.random.default_rng(0)), "seed: expected an integer"),
        (("pair", [0, 1], 0.1, None, 2**32), "seed: expected an integer from 0 to 4294967295"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        noise.erase_stream(*arguments)

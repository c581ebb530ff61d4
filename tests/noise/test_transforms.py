from functools import partial

import numpy as np
import pytest
import torch
import torch_geometric.transforms as transforms
from torch_geometric.data import Data

from graphnoise import noise
from graphnoise.checks import InputError
from graphnoise.noise import LabelNoise, Transition

N = 600


def graph():
    rng = np.random.default_rng(0)
    part = torch.from_numpy(np.arange(N) % 3)
    return Data(
        x=torch.from_numpy(rng.normal(size=(N, 4))).float(),
        y=torch.from_numpy(rng.integers(0, 4, N)),
        edge_index=torch.from_numpy(rng.integers(0, N, (2, 4 * N))),
        train_mask=part == 0,
        val_mask=part == 1,
        test_mask=part == 2,
    )


OPTIONS = {"cascade": {"probability": 0.5}, "confidence": {"probabilities": np.full((N, 4), 0.25)}}
KINDS = (
    "symmetric",
    "pair",
    "asymmetric",
    "random",
    "feature",
    "structure",
    "confidence",
    "cascade",
    "propagated",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind):
    data = graph()
    before = {key: value.clone() for key, value in data.to_dict().items()}
    options = OPTIONS.get(kind, {})
    noisy = LabelNoise(kind, 0.4, seed=1, **options)(data)
    assert set(data.keys()) == set(before)
    assert all(torch.equal(data[key], value) for key, value in before.items())
    assert torch.equal(noisy.y_true, data.y)
    assert noisy.y_true.data_ptr() != data.y.data_ptr()
    assert torch.equal(noisy.flipped, noisy.y != data.y)
    assert not noisy.flipped[data.test_mask].any()
    assert set(noisy.noise_rate) == {"train", "val"}
    for split, rate in noisy.noise_rate.items():
        assert rate == pytest.approx(noisy.flipped[data[f"{split}_mask"]].float().mean().item())
        assert 0.25 < rate < 0.55
    alone = LabelNoise(kind, 0.4, "train", seed=1, **options)(data)
    assert torch.equal(alone.y[data.train_mask], noisy.y[data.train_mask])
    late = LabelNoise(kind, 0.4, ["val", "train"], seed=1, **options)(data)
    assert torch.equal(late.y, noisy.y)
    assert not torch.equal(LabelNoise(kind, 0.4, seed=2, **options)(data).y, noisy.y)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "feature", "structure", "confidence"])
def test_exact_counts_in_each_split(kind):
    noisy = LabelNoise(kind, 0.3, ("train", "test"), exact=True, **OPTIONS.get(kind, {}))(graph())
    assert noisy.noise_rate == {"train": 0.3, "test": 0.3}


def test_splits_have_streams_of_their_own_and_share_the_map():
    data = graph()
    # The same labels in the same order in every split.
    data.y[:] = torch.arange(N) // 3 % 4
    noisy = LabelNoise("asymmetric", 0.5, seed=4)(data)
    targets = {(int(a), int(b)) for a, b in zip(data.y[noisy.flipped], noisy.y[noisy.flipped], strict=True)}
    assert len(targets) == 4
    # Every node weighs the same.
    alike = LabelNoise("confidence", 0.5, seed=4, **OPTIONS["confidence"])(data)
    flips = [alike.flipped[data[f"{split}_mask"]] for split in ("train", "val")]
    assert (flips[0] == flips[1]).float().mean() < 0.7


def test_a_transition_as_kind():
    data = graph()
    noisy = LabelNoise(noise.from_mapping({0: 3}, 4, 1.0), splits="all")(data)
    assert torch.equal(noisy.y, torch.where(data.y == 0, 3, data.y))
    assert set(noisy.noise_rate) == {"all"}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"confidence"}))
def test_a_function_as_kind_is_the_kind_of_its_name(kind):
    names = {"feature": "feature_dependent", "structure": "structure_dependent", "propagated": "tree_propagated"}
    function, data, options = getattr(noise, names.get(kind, kind)), graph(), OPTIONS.get(kind, {})
    assert torch.equal(LabelNoise(function, 0.4, **options)(data).y, LabelNoise(kind, 0.4, **options)(data).y)


def test_options_of_a_function_as_kind():
    def towards(num_classes, rate, target):
        return noise.from_mapping({c: target for c in range(num_classes) if c != target}, num_classes, rate)

    noisy = LabelNoise(towards, 1.0, "all", target=2)(graph())
    assert (noisy.y == 2).all()
    assert repr(LabelNoise(towards, 1.0, target=2)).startswith("LabelNoise('towards', 1, ")
    assert repr(LabelNoise(partial(towards, target=2), 1.0)).startswith("LabelNoise('partial', 1, ")


def test_noise_on_noise_keeps_the_first_truth():
    data = graph()
    chain = transforms.Compose(
        [transforms.NormalizeFeatures(), LabelNoise("pair", 1.0, "train"), LabelNoise("pair", 1.0)]
    )
    noisy = chain(data)
    assert torch.equal(noisy.y_true, data.y)
    assert torch.equal(noisy.y[data.train_mask], (data.y[data.train_mask] + 2) % 4)
    assert torch.equal(noisy.y[data.val_mask], (data.y[data.val_mask] + 1) % 4)
    back = transforms.Compose([LabelNoise("pair", 1.0, "all")] * 4)(data)
    assert torch.equal(back.y, data.y)
    assert back.noise_rate == {"all": 0.0}
    kept = transforms.Compose([LabelNoise("pair", 1.0, "train"), LabelNoise("pair", 1.0, "val")])(data)
    assert kept.noise_rate == {"train": 1.0, "val": 1.0}


def test_legacy_is_one_stream():
    data = graph()
    noisy = LabelNoise("asymmetric", 0.3, "train", seed=123, erase_stream=True)(data)
    assert torch.equal(noisy.y, noise.erase_stream("asymmetric", data.y, 0.3, data.train_mask)[1].y)


def test_overlapping_splits_flip_once():
    data = graph()
    data.val_mask = data.train_mask.clone()
    noisy, alone = LabelNoise("pair", 0.5)(data), LabelNoise("pair", 0.5, "train")(data)
    assert torch.equal(noisy.y, alone.y)
    assert noisy.noise_rate["train"] == noisy.noise_rate["val"] == alone.noise_rate["train"]


def test_classes_can_be_more_than_the_labels_show():
    data = graph()
    noisy = LabelNoise("pair", 1.0, "all", num_classes=9)(data)
    assert torch.equal(noisy.y, data.y + 1)
    assert repr(LabelNoise("pair", 0.25)) == "LabelNoise('pair', 0.25, splits=('train', 'val'), seed=0)"


MATRIX = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.2, 0.4, 0.4], [0, 0, 0, 1]]


def flips(clean, noisy, classes):
    counts = torch.zeros(classes, classes, dtype=torch.long)
    return counts.index_put((clean, noisy), torch.tensor(1), accumulate=True)


@pytest.mark.parametrize(
    ("make", "maps"),
    [
        (lambda: LabelNoise("symmetric", 0.3, "all", seed=1), False),
        (lambda: LabelNoise("pair", 0.3, "all", seed=1), True),
        (lambda: LabelNoise("asymmetric", 0.3, "all", seed=1), True),
        (lambda: LabelNoise("random", 0.3, "all", seed=1), False),
        (lambda: LabelNoise("asymmetric", 0.3, "all", seed=1, erase_stream=True), True),
        (lambda: LabelNoise("asymmetric", 0.3, "all", seed=1, exact=True, num_classes=4), True),
        (lambda: LabelNoise(Transition(MATRIX), splits="all"), False),
    ],
)
def test_the_transition_is_the_one_drawn_from(make, maps, plausible):
    y = torch.arange(20_000) % 4
    transform = make()
    noisy, matrix = transform(Data(y=y)), transform.transition(4).matrix
    # a further pass has the same map, and other draws.
    again = transform(noisy)
    for before, after in ((y, noisy.y), (noisy.y, again.y)):
        counts = flips(before, after, 4)
        assert torch.equal(counts > 0, matrix > 0)
        if maps:
            assert ((counts > 0).sum(1) == 2).all()
        if not transform.exact:
            for i in range(4):
                for j in range(4):
                    plausible(int(counts[i, j]), int(counts[i].sum()), matrix[i, j].item())


def test_legacy_says_its_published_map():
    transform = LabelNoise("asymmetric", 0.3, seed=123, erase_stream=True)
    assert transform.transition(4) == noise.erase_stream("asymmetric", torch.arange(4), 0.3)[0]
    given = noise.pair(4, 0.2)
    assert LabelNoise(given).transition(4) is given


@pytest.mark.parametrize("erase_stream", [False, True])
def test_passes_of_one_seed_are_independent(erase_stream, plausible):
    y, transform = torch.arange(20_000) % 4, LabelNoise("symmetric", 0.3, "all", erase_stream=erase_stream)
    t, data = transform.transition(4), Data(y=y)
    for passes, composed in ((1, t), (2, t @ t), (3, t @ t @ t)):
        data = transform(data)
        assert data.noise_passes == passes
        plausible(int((data.y != y).sum()), y.numel(), composed.expected_rate())
        assert torch.equal(data.y_true, y)


@pytest.mark.parametrize("kind", ["feature", "structure", "confidence", "cascade", "propagated"])
def test_passes_of_instance_noise_differ(kind):
    transform = LabelNoise(kind, 0.3, "all", **OPTIONS.get(kind, {}))
    once = transform(graph())
    twice = transform(once)
    # Not the same nodes again.
    assert ((once.y != once.y_true) != (twice.y != once.y)).float().mean() > 0.1


def test_noise_after_noise_with_more_classes():
    data = Data(y=torch.arange(700) % 7)
    more = LabelNoise("symmetric", 0.5, "all", num_classes=9)(data)
    assert int(more.y.max()) == 8
    for kind in ("symmetric", "random", "propagated"):
        data = Data(y=more.y, y_true=more.y_true, edge_index=torch.empty(2, 0, dtype=torch.long))
        assert LabelNoise(kind, 0.3, "all")(data).flipped.any()
    assert torch.equal(LabelNoise("pair", 1.0, "all")(more).y, (more.y + 1) % 9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelNoise("feature", 0.1).transition(3), "kind: expected class-conditional noise.*got 'feature'"),
        (lambda: LabelNoise("pair", 0.1, num_classes=4).transition(3), "num_classes: expected 4, as in this noise"),
        (lambda: LabelNoise(noise.identity(4)).transition(3), "num_classes: expected 4, as in this noise, got 3"),
        (lambda: LabelNoise("pair", 0.1).transition(0), "num_classes: expected an integer of at least 1"),
        (lambda: LabelNoise(lambda y, rate: y, 0.1), r"kind: expected a function of y, rate, mask and seed, or of"),
        (lambda: LabelNoise(lambda num_classes, rate, p: 0, 0.1), "options: expected p=… for <lambda> noise"),
        (lambda: LabelNoise(lambda num_classes, rate: 0, 0.1)(graph()), "kind: expected .* returns Transition, got"),
        (lambda: LabelNoise(lambda y, rate, mask, seed: y, 0.1)(graph()), "kind: expected .* returns NoisyLabels, got"),
        (lambda: LabelNoise(noise.identity(2), erase_stream=True), "erase_stream: expected symmetric"),
        (lambda: LabelNoise("symetric", 0.1), "kind: .*did you mean 'symmetric'"),
        (lambda: LabelNoise("pair"), r"rate: expected a rate in \[0, 1\], got None"),
        (lambda: LabelNoise("pair", 1.5), "rate: expected a rate"),
        (lambda: LabelNoise(noise.identity(2), 0.5), "rate: expected None with a Transition"),
        (lambda: LabelNoise("cascade", 0.1), "options: expected probability=… for cascade noise"),
        (lambda: LabelNoise("cascade", 0.1, probability=0.1, exact=True), "exact: expected False with cascade"),
        (lambda: LabelNoise("pair", 0.1, base=0.1), "options: expected one of num_classes, offset, got 'base'"),
        (lambda: LabelNoise("structure", 0.1, bas=0.1), "options: .*did you mean 'base'"),
        (lambda: LabelNoise(noise.identity(2), num_classes=2), "options: "),
        (lambda: LabelNoise("random", 0.1, erase_stream=True), "erase_stream: expected symmetric, asymmetric or pair"),
        (
            lambda: LabelNoise("pair", 0.1, erase_stream=True, exact=True),
            "erase_stream: expected symmetric, asymmetric or pair",
        ),
        (lambda: LabelNoise("pair", 0.1, seed=np.random.default_rng(0)), "seed: expected an integer"),
        (lambda: LabelNoise("pair", 0.1, splits=()), "splits: expected names"),
        (lambda: LabelNoise("pair", 0.1, splits=("all", "val")), "splits: expected names"),
        (lambda: LabelNoise("pair", 0.1, splits="trian")(graph()), "splits: .*did you mean 'train'"),
        (lambda: LabelNoise("pair", 0.1)(Data(y=torch.arange(3))), "splits: expected one of all, got 'train'"),
        (lambda: LabelNoise("pair", 0.1)(Data(x=torch.ones(3, 1))), "data: expected labels in data.y"),
        (lambda: LabelNoise("pair", 0.1)(None), "data: expected a torch_geometric Data, got NoneType"),
        (lambda: LabelNoise("feature", 0.1, "all")(Data(y=torch.arange(3))), "data: expected data.x for feature"),
        (lambda: LabelNoise("structure", 0.1, "all")(Data(y=torch.arange(3))), "data: expected data.edge_index"),
        (lambda: LabelNoise("pair", 0.1, "all")(Data(y=torch.tensor([0, -2]))), "y: expected labels of at least 0"),
        (
            lambda: LabelNoise("pair", 0.1)(Data(y=torch.arange(3), train_mask=torch.ones(2, dtype=torch.bool))),
            "data.train_mask: expected a mask of 3 entries",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()

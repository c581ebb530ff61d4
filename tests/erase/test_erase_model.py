"""The ERASE estimator: what it learns from, what it keeps, how it goes on, and what it refuses."""

import copy
import dataclasses

import pytest
import torch
from estimators import SMALL, altered, same, weights
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch_geometric.data import Data

from graphnoise import ERASE, Graph, InputError, datasets
from graphnoise.erase import PRESETS, CollapseWarning
from graphnoise.erase.blend import SHARES, candidate_probabilities, weigh
from graphnoise.erase.train import Training
from graphnoise.noise import LabelNoise
from graphnoise.resources import torch_threads


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns_and_repeats_itself(preset, planted):
    more = {**SMALL, "batch_size": 40, "epochs": 20} if preset == "faithful-arxiv" else SMALL
    first, second = (ERASE(preset, seed=5, **more).fit(planted) for _ in range(2))
    assert same(weights(first), weights(second))
    assert first.score(planted) > 0.8
    assert first.history["loss"] == second.history["loss"]
    assert first.history["loss"][-1] < first.history["loss"][0]
    other = ERASE(preset, seed=6, **more).fit(planted)
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("encoder", ["gat", "gcn", "gin", "sgc", "mlp"])
@pytest.mark.parametrize("batch", [None, 30])
def test_every_encoder_learns(encoder, batch, planted):
    model = ERASE("faithful-cora", encoder=encoder, batch_size=batch, **SMALL).fit(planted)
    assert model.embed(planted).shape == (120, 24)
    probabilities = model.predict_proba(planted)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(120))
    assert torch.equal(model.predict(planted), probabilities.argmax(1))
    assert model.score(planted) > (0.5 if encoder == "mlp" else 0.75)


@pytest.mark.parametrize("preset", ["robust", "faithful-cora", "faithful-arxiv"])
def test_labels_outside_the_labelled_nodes_do_not_train(preset, planted):
    rest = ~(planted.train_mask | planted.val_mask)
    hidden = altered(planted, y=torch.where(rest, -7, planted.y))
    del hidden.y_true
    first, second = (ERASE(preset, **SMALL).fit(data) for data in (planted, hidden))
    assert same(weights(first), weights(second))
    assert torch.equal(first.predict_proba(planted), second.predict_proba(planted))
    unwatched = altered(planted, y=torch.where(planted.train_mask, planted.y, 2 - planted.y.clamp(max=2)))
    first, second = (ERASE(preset, select="last", **SMALL).fit(data) for data in (planted, unwatched))
    assert same(weights(first), weights(second))


def test_validation_labels_choose_the_epoch_and_nothing_else(planted):
    other = altered(planted, y=torch.where(planted.val_mask, (planted.y + 1) % 3, planted.y))
    first, second = (ERASE(class_sizes="free", **SMALL).fit(data) for data in (planted, other))
    assert first.history["loss"] == second.history["loss"]
    assert first.history["val_accuracy"] != second.history["val_accuracy"]
    # Those of a blend, which keeps the last epoch.
    assert same(weights(first), weights(second))


def test_the_first_best_epoch_is_kept(planted):
    model = ERASE("faithful-cora", **SMALL).fit(planted)
    accuracies = model.history["val_accuracy"]
    assert model.best_epoch_ == 1 + accuracies.index(max(accuracies))
    val = planted.val_mask
    assert float((model.predict(planted) == planted.y)[val].float().mean()) == pytest.approx(max(accuracies))


def test_patience_ends_training(planted):
    model = ERASE("faithful-cora", **{**SMALL, "epochs": 200, "patience": 4}).fit(planted)
    assert len(model.history["loss"]) == model.best_epoch_ + 5


def test_history_has_a_row_for_each_epoch(planted):
    history = ERASE("faithful-cora", **SMALL).fit(planted).history
    assert set(history) >= {"loss", "rate", "rate_within", "val_accuracy", "pseudo_label_accuracy", "rank", "seconds"}
    assert {len(column) for column in history.values()} == {12}
    assert all(0 <= value <= 1 for value in history["pseudo_label_accuracy"])
    assert [i for i, value in enumerate(history["rank"]) if value is not None] == [9, 11]
    assert history["loss"][0] == pytest.approx(history["rate_within"][0] - 2 * history["rate"][0])


def test_the_pseudo_label_accuracy_needs_the_truth(planted):
    unknown = copy.copy(planted)
    del unknown.y_true
    assert ERASE("faithful-cora", **SMALL).fit(unknown).history["pseudo_label_accuracy"] == [None] * 12


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_trains_where_gradients_are_off(mode, planted):
    expected = weights(ERASE(**SMALL).fit(planted))
    with mode():
        actual = weights(ERASE(**SMALL).fit(planted))
    assert same(expected, actual)


def test_the_default_type_and_gradients_of_features_do_not_matter(planted):
    expected = weights(ERASE("faithful-cora", **SMALL).fit(planted))
    learns = altered(planted, x=planted.x.clone().requires_grad_())
    assert same(expected, weights(ERASE("faithful-cora", **SMALL).fit(learns)))
    torch.set_default_dtype(torch.float64)
    try:
        model = ERASE("faithful-cora", **SMALL).fit(planted)
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.embed(planted).dtype == torch.float32


def test_a_collapsed_embedding_warns(planted):
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.row = torch.nn.Parameter(torch.ones(6))

        def forward(self, x, edge_index):
            return self.row.expand(x.shape[0], 6)

    with pytest.warns(CollapseWarning, match=r"effective rank of 1\.0"):
        model = ERASE("faithful-cora", encoder=Constant(), **SMALL).fit(planted)
    assert model.rank_ == pytest.approx(1.0, abs=1e-3)
    assert torch.isfinite(model.predict_proba(planted)).all()


def test_a_class_without_labelled_nodes_is_never_predicted(planted):
    train = planted.train_mask & (planted.y != 1)
    model = ERASE(num_classes=3, **SMALL).fit(altered(planted, train_mask=train))
    assert not (model.predict(planted) == 1).any()
    assert model.predict_proba(planted).shape == (120, 3)
    assert not (model.labels_ == 1).any()


def test_a_node_that_no_label_reaches_gets_no_absent_class(planted):
    train = planted.train_mask & (planted.y != 0)
    alone = altered(planted, train_mask=train, edge_index=torch.empty(2, 0, dtype=torch.long))
    model = ERASE("faithful-cora", num_classes=3, propagate_from="train", **SMALL).fit(alone)
    assert (model.labels_[~train] == 1).all()


def test_one_labelled_node_a_class(planted):
    first = torch.stack([((planted.y == c) & planted.train_mask).nonzero()[0, 0] for c in range(3)])
    model = ERASE(**SMALL).fit(
        altered(planted, train_mask=torch.zeros(120, dtype=torch.bool).index_fill(0, first, True))
    )
    assert torch.isfinite(model.predict_proba(planted)).all()


def test_no_edges_and_isolated_nodes(planted):
    none = altered(planted, edge_index=planted.edge_index[:, :0])
    some = altered(planted, edge_index=planted.edge_index[:, (planted.edge_index > 60).all(0)])
    for data in (none, some):
        for encoder in ("gat", "gcn", "gin", "sgc"):
            model = ERASE(encoder=encoder, **SMALL).fit(data)
            assert torch.isfinite(model.predict_proba(data)).all()


def test_it_predicts_for_another_graph(planted):
    fresh = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=12, split=(8, 20, 40), seed=1)
    model = ERASE(**SMALL).fit(planted)
    half = fresh.subgraph(torch.arange(0, 120, 2))
    assert model.predict(half).shape == (60,)
    with pytest.raises(InputError, match=r"^data\.x: expected 12 features, as in fit, got 5"):
        model.predict(altered(fresh, x=fresh.x[:, :5]))


def test_it_clones_like_a_scikit_learn_estimator(planted):
    model = ERASE("faithful-citeseer", seed=4, lr=0.01, **SMALL)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert twin.set_params(lr=0.02).settings == dataclasses.replace(model.settings, lr=0.02)
    with pytest.raises(InputError, match=r"hyper-parameter of ERASE: .*did you mean 'epochs'"):
        model.set_params(epoch=3)
    assert "faithful-citeseer" in repr(model)


def test_a_blend_weighs_its_candidates_by_noisy_validation(planted):
    model = ERASE(**{**SMALL, "epochs": 23}).fit(planted)
    probed = [i + 1 for i, value in enumerate(model.history["val_accuracy"]) if value is not None]
    assert probed == [10, 15, 20, 23]
    assert model.best_epoch_ == 23
    assert sum(model.blend_weights_) == pytest.approx(1)
    val = planted.val_mask
    agreed = float((model.predict(planted) == planted.y)[val].float().mean())
    assert agreed == pytest.approx(model.history["val_accuracy"][-1])
    torch.testing.assert_close(model.predict_proba(planted).sum(1), torch.ones(120))
    unwatched = ERASE(select="last", **SMALL).fit(planted)
    assert unwatched.blend_weights_ == [0, 0, 0, 0, 1, 0, 0]
    assert unwatched.history["val_accuracy"] == [None] * 12


def test_candidates_and_weights_of_a_blend():
    plain, given = torch.eye(3), torch.eye(3)
    # Right at the middle node only.
    semantic = torch.tensor([[0.0, 0.9, 0.1], [0.1, 0.9, 0.0], [0.7, 0.0, 0.3]])
    actual = candidate_probabilities(plain, given, semantic)
    assert actual.shape == (7, 3, 3)
    torch.testing.assert_close(actual.sum(2), torch.ones(7, 3))
    torch.testing.assert_close(actual[4, 0], torch.tensor([2 / 3, 0.3, 0.1 / 3]))
    weights = weigh(actual, torch.arange(3), 0.2)
    torch.testing.assert_close(weights, torch.softmax(0.2 * torch.tensor([3.0, 3, 3, 3, 3, 3, 1]), 0))
    assert torch.equal(weigh(actual, torch.arange(3), 0.0), torch.full((7,), 1 / 7))


@pytest.mark.parametrize("k", range(3))
def test_each_probe_is_a_candidate_alone(k):
    parts = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(k)).softmax(2)
    alone = candidate_probabilities(*parts)[SHARES.index(tuple(float(k == j) for j in range(3)))]
    torch.testing.assert_close(alone, parts[k])


def test_a_blend_that_goes_on_forgets_the_epoch_that_was_last(planted, tmp_path):
    file = tmp_path / "run.pt"
    ERASE(checkpoint=file, **SMALL).fit(planted)
    longer = {**SMALL, "epochs": 20}
    resumed = ERASE(checkpoint=file, **longer).fit(planted)
    assert torch.equal(resumed.predict_proba(planted), ERASE(**longer).fit(planted).predict_proba(planted))


def test_features_are_reduced_to_their_principal_directions(planted):
    model = ERASE(components=5, **SMALL).fit(planted)
    x = planted.x / planted.x.sum(1, keepdim=True).clamp(min=1e-12) if planted.x.min() >= 0 else planted.x
    looped = Graph.from_data(planted).with_self_loops().normalise().to_dense()
    smooth = torch.nn.functional.normalize(looped @ (looped @ x))
    expected = torch.linalg.svd(smooth.double()).Vh[:5].t()
    actual = model.encoder_.directions.double()
    torch.testing.assert_close(actual @ actual.t(), expected @ expected.t(), atol=1e-4, rtol=0)
    few = ERASE(components=11, num_classes=3, **SMALL)
    part = planted.subgraph(torch.arange(0, 120, 15))
    part.train_mask = torch.arange(part.num_nodes) < 6
    part.val_mask = ~part.train_mask
    assert torch.isfinite(few.fit(part).predict_proba(part)).all()


def test_a_learning_rate_too_high_is_an_error_not_nan_weights(planted):
    with pytest.raises(InputError, match=r"lr"):
        ERASE("faithful-cora", encoder="gcn", norm="none", hidden_norm="none", lr=1e30, **SMALL).fit(planted)


BAD = {
    "no masks": ({"train_mask": None}, "data: expected a Data with train_mask, got none"),
    "no validation mask": ({"val_mask": None}, "data: expected a Data with val_mask"),
    "no labels": ({"y": None}, "data: expected a Data with y"),
    "no labelled nodes": ({"train_mask": torch.zeros(120, dtype=torch.bool)}, r"data\.train_mask: .* none"),
    "no validation nodes": ({"val_mask": torch.zeros(120, dtype=torch.bool)}, r"data\.val_mask: .*select=\"last\""),
    "splits in common": (
        {"val_mask": torch.ones(120, dtype=torch.bool)},
        r"data\.val_mask: expected nodes outside data\.train_mask",
    ),
    "labels all equal": ({"y": torch.zeros(120, dtype=torch.long)}, r"data\.y of train_mask: .*two classes.* class 0"),
    "negative labels": ({"y": torch.full((120,), -1)}, r"data\.y of train_mask: expected a label for every node"),
    "labels of another length": ({"y": torch.zeros(7)}, r"data\.y of train_mask: expected 120 labels"),
    "fractional labels": ({"y": torch.full((120,), 0.5)}, r"data\.y of train_mask: expected integer"),
    "NaN features": ({"x": torch.full((120, 12), torch.nan)}, r"data\.x: expected finite numbers"),
    "no features": ({"x": torch.zeros(120, 0)}, r"data\.x: expected at least one node and one feature"),
    "features beyond float32": (
        {"x": torch.full((120, 12), 1e300, dtype=torch.float64)},
        r"data\.x: expected finite numbers",
    ),
    "rows beyond float32": ({"x": torch.full((120, 12), 3e38)}, r"data\.x: expected features of at most"),
    "no x": ({"x": None}, "data: expected a Data with x"),
    "a mask of another length": ({"train_mask": torch.ones(7, dtype=torch.bool)}, r"data\.train_mask: .* 120 entries"),
    "arcs out of range": ({"edge_index": torch.tensor([[0], [500]])}, "edge_index: expected node positions"),
    "weighted arcs": ({"edge_weight": torch.ones(3)}, "edge_weight: expected 1130 weights, one per arc"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_named(name, planted):
    fields, message = BAD[name]
    with pytest.raises(InputError, match=f"^{message}"):
        ERASE(**SMALL).fit(altered(planted, **fields))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "robst"}, r"preset: expected one of .*did you mean 'robust'"),
        ({"epoch": 3}, "hyper-parameter of ERASE: .*did you mean 'epochs'"),
        ({"epochs": 0}, "epochs: expected an integer from 1"),
        ({"epochs": 2.5}, "epochs: expected an integer"),
        ({"lr": float("nan")}, "lr: expected"),
        ({"eps": 0.0}, "eps: expected"),
        ({"beta": 1.5}, "beta: expected a rate"),
        ({"alpha": -0.1}, "alpha: expected a rate"),
        ({"dropout": 1.0}, "dropout: expected"),
        ({"encoder": "gatt"}, "encoder: expected one of .*did you mean 'gat'"),
        ({"encoder": 3}, "encoder: expected a name or a torch.nn.Module"),
        ({"encoder": torch.nn.Identity()}, "encoder: expected a module with parameters"),
        ({"encoder": "gat", "hidden": 30}, r"hidden: expected a multiple of heads \(8\)"),
        ({"clamp": "yes"}, "clamp: expected True or False"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1"),
        ({"encoder": "gat", "batch_size": 10, "layers": 3}, r"fanouts: expected 3 numbers"),
        ({"fanouts": 5}, "fanouts: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"num_classes": 1}, "num_classes: expected"),
        ({"device": "gpu"}, "device: expected 'cpu', 'cuda'"),
        ({"checkpoint_every": 0}, "checkpoint_every: expected"),
        ({"checkpoint": 3}, "checkpoint: expected the path of a file"),
        ({"progress": "yes"}, "progress: expected True, False or None"),
        ({"encoder": torch.nn.LazyLinear(3)}, "encoder: expected a module whose weights have their shapes"),
    ],
)
def test_bad_arguments_are_named(arguments, message, planted):
    with pytest.raises(InputError, match=f"^{message}"):
        ERASE(**{**SMALL, **arguments}).fit(planted)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(planted):
    with pytest.raises(InputError, match=r"^device: expected a device of this machine, got 'cuda'"):
        ERASE(device="cuda", **SMALL).fit(planted)


def test_an_unfitted_model_says_so(planted):
    with pytest.raises(InputError, match=r"^ERASE: expected a fitted model"):
        ERASE().predict(planted)
    with pytest.raises(InputError, match=r"^data: expected a torch_geometric Data"):
        ERASE().fit(Data)


def test_scores_are_against_the_truth_where_it_is_known(planted):
    model = ERASE(**SMALL).fit(planted)
    right = (model.predict(planted) == planted.y_true).double()
    assert model.score(planted) == pytest.approx(float(right[planted.test_mask].mean()))
    assert model.score(planted, [0, 1, 2]) == pytest.approx(float(right[:3].mean()))
    with pytest.raises(InputError, match=r"^mask: expected at least one node"):
        model.score(planted, torch.zeros(120, dtype=torch.bool))


@pytest.mark.parametrize("preset", ["robust", "faithful-cora"])
def test_threads_do_not_change_what_is_learnt(preset):
    # Large enough that torch splits sums between threads.
    data = datasets.planted_partition([700] * 3, 0.01, 0.001, num_features=40, split=(20, 50, 100), seed=1)
    data, sizes = LabelNoise("symmetric", 0.3, seed=0)(data), {"hidden": 128, "width": 64, "epochs": 3}
    actual = []
    for threads in (1, 2, 4):
        with torch_threads(threads):
            model = ERASE(preset, progress=False, **sizes).fit(data)
            actual.append((model.embed(data), model.predict_proba(data)))
            assert torch.get_num_threads() == threads
    assert all(torch.equal(a, b) for other in actual[1:] for a, b in zip(actual[0], other, strict=True))


def test_the_state_of_training_is_open_to_callbacks(planted):
    seen = []
    ERASE(**SMALL).fit(planted, on_epoch=lambda training: seen.append(type(training)))
    assert seen == [Training] * 12


def test_scikit_learn_knows_what_it_is(planted):
    model = ERASE(**SMALL)
    assert is_classifier(model)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    check_is_fitted(model.fit(planted))


def test_arguments_that_change_after_fit_do_not_change_what_was_learnt(planted):
    data = altered(planted, x=5 * planted.x.abs())
    model = ERASE(**SMALL).fit(data)
    before = model.predict_proba(data)
    assert torch.equal(before, model.set_params(normalise_features=False, preset="faithful-arxiv").predict_proba(data))


@pytest.mark.parametrize("encoder", ["sgc", "gat", "gcn"])
def test_autocast_around_it_does_not_matter(encoder, planted):
    plain = ERASE(encoder=encoder, **SMALL).fit(planted).predict_proba(planted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = ERASE(encoder=encoder, **SMALL).fit(planted)
        assert torch.equal(plain, model.predict_proba(planted))


def test_features_whose_squares_overflow_are_refused(planted):
    with pytest.raises(InputError, match=r"^data.x: expected features of at most 1e\+16 in size"):
        ERASE(**SMALL).fit(altered(planted, x=planted.x * 1e20))


def test_a_wrong_truth_is_named(planted):
    model = ERASE(**SMALL).fit(planted)
    with pytest.raises(InputError, match=r"^data.y_true: expected 120 labels, one per node, got 7"):
        model.score(altered(planted, y_true=torch.zeros(7, dtype=torch.int64)))
    with pytest.raises(InputError, match=r"^data.y_true: expected labels of at least 0"):
        model.score(altered(planted, y_true=planted.y_true - 5))


def test_more_than_500_validation_nodes_weigh_like_500():
    generator = torch.Generator().manual_seed(0)
    actual = torch.rand(5, 500, 3, generator=generator)
    watched = torch.randint(3, (500,), generator=generator)
    assert torch.equal(weigh(actual, watched, 0.1), weigh(actual.repeat(1, 8, 1), watched.repeat(8), 0.1))
    assert not torch.equal(weigh(actual, watched, 0.1), weigh(actual[:, :250], watched[:250], 0.1))

"""ERASE from several initialisations: labels left out, blended probes, checkpoints, sizes of classes, homophily."""

import pytest
import torch
from estimators import SMALL, altered, same

from graphnoise import ERASE, InputError, datasets
from graphnoise.erase import HeterophilyWarning
from graphnoise.erase.inputs import Labels, read, read_training_labels
from graphnoise.erase.labels import _balance
from graphnoise.homophily import label_homophily
from graphnoise.noise import LabelNoise

SEVERAL = {**SMALL, "n_init": 3, "val_labels": "train"}


def training_labels(data):
    return read_training_labels(data, read(data, True, None), None, validated=True)


def homophily(graph, labels):
    nodes, given = torch.cat([labels.train, labels.val]), torch.cat([labels.given, labels.val_labels])
    return label_homophily(graph, nodes, given, labels.num_classes)


def test_parts_leave_out_each_labelled_node_once_and_each_class_evenly(planted):
    labels = training_labels(planted)
    parts = labels.parts(3, seed=0)
    everyone = torch.cat([labels.train, labels.val]).sort().values
    assert torch.equal(torch.cat([part.val for part in parts]).sort().values, everyone)
    for part in parts:
        assert torch.equal(torch.cat([part.train, part.val]).sort().values, everyone)
        assert torch.equal(part.train, part.train.sort().values)
        assert torch.equal(part.given, planted.y[part.train])
        assert torch.equal(part.val_labels, planted.y[part.val])
    left_out = torch.stack([torch.bincount(part.val_labels, minlength=3) for part in parts])
    assert int((left_out.max(0).values - left_out.min(0).values).max()) <= 1
    assert torch.equal(parts[0].val, labels.parts(3, seed=0)[0].val)
    assert not torch.equal(parts[0].val, labels.parts(3, seed=1)[0].val)


def test_validation_nodes_of_other_classes_train_no_one():
    labels = Labels(torch.tensor([1, 4]), torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([-1, 1]), [0, 1])
    parts = labels.parts(2, seed=0)
    assert sorted(torch.cat([part.val for part in parts]).tolist()) == [1, 2, 4]
    assert labels.shares.tolist() == [0.5, 1.5]
    with pytest.raises(InputError, match=r"^n_init: expected at most 3, the number of labelled nodes, got 4"):
        labels.parts(4, seed=0)


def test_each_run_leaves_out_its_part(planted):
    states = []
    ERASE(seed=1, **SEVERAL).fit(planted, on_epoch=states.append)
    for run, part in zip(states[-1].runs, training_labels(planted).parts(3, seed=1), strict=True):
        assert all(torch.equal(getattr(run.labels, name), getattr(part, name)) for name in ("train", "given", "val"))
        # What is propagated before training starts at the labels that are not left out.
        assert torch.equal(run.train_mask.nonzero().view(-1), part.train)
    shared = []
    ERASE(seed=1, **{**SEVERAL, "val_labels": "select"}).fit(planted, on_epoch=shared.append)
    assert all(torch.equal(run.labels.train, training_labels(planted).train) for run in shared[-1].runs)


def test_a_blend_of_several_is_the_mean_of_their_probes(planted):
    states = []
    model = ERASE(**SEVERAL).fit(planted, on_epoch=states.append)
    runs = states[-1].runs
    alone = []
    for k, run in enumerate(runs):
        one = ERASE(**SMALL).fit(planted)
        one._state = {**run.fitted, "weights": states[-1].fitted["weights"]}
        one.encoder_ = run.encoder
        # Mixtures of means are means of mixtures where all candidates but one have no weight.
        one._state["weights"] = torch.eye(7)[3]
        alone.append(one.predict_proba(planted))
        assert run.generator.initial_seed() == k * 2**32 + 1
    model._state["weights"] = torch.eye(7)[3]
    torch.testing.assert_close(model.predict_proba(planted), torch.stack(alone).mean(0))


def test_weights_of_a_blend_come_from_labels_left_out(planted):
    states = []
    model = ERASE(**SEVERAL).fit(planted, on_epoch=states.append)
    weights = torch.tensor(model.blend_weights_)
    correct = sum(
        ((weights.view(-1, 1, 1) * run.val_candidates()).sum(0).argmax(1) == run.labels.val_labels).sum()
        for run in states[-1].runs
    )
    assert model.history["val_accuracy"][-1] == pytest.approx(float(correct) / 44)
    assert model.history["val_accuracy"][:9] == [None] * 9
    shared = ERASE(**{**SEVERAL, "val_labels": "select"}).fit(planted)
    agreed = float((shared.predict(planted) == planted.y)[planted.val_mask].float().mean())
    assert shared.history["val_accuracy"][-1] == pytest.approx(agreed)
    unread = ERASE(select="last", **SEVERAL).fit(planted)
    assert unread.blend_weights_ == [0, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("more", [{}, {"preset": "faithful-cora"}, {"batch_size": 30}])
def test_an_interrupted_run_of_several_goes_on(more, planted, tmp_path):
    settings = {**SEVERAL, **more}
    whole = ERASE(**settings).fit(planted)
    file = tmp_path / "run.pt"

    def interrupt(training):
        if training.epochs_done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ERASE(checkpoint=file, checkpoint_every=2, **settings).fit(planted, on_epoch=interrupt)
    resumed = ERASE(checkpoint=file, **settings).fit(planted)
    assert torch.equal(whole.predict_proba(planted), resumed.predict_proba(planted))
    assert torch.equal(whole.labels_, resumed.labels_)
    for name in ("loss", "val_accuracy", "rank"):
        assert whole.history[name] == resumed.history[name]


def test_probes_of_the_best_epochs_of_several_are_averaged(planted):
    states = []
    model = ERASE("faithful-cora", **{**SEVERAL, "epochs": 60, "patience": 3}).fit(planted, on_epoch=states.append)
    ends = [run.epochs_done for run in states[-1].runs]
    assert ends == [run.best_epoch + 4 for run in states[-1].runs]
    assert len(model.history["loss"]) == max(ends)
    alone = []
    for run in states[-1].runs:
        one = ERASE("faithful-cora", **SMALL).fit(planted)
        one._state, one.encoder_ = run.fitted, run.encoder
        one.probe_ = None
        alone.append(one.predict_proba(planted))
    torch.testing.assert_close(model.predict_proba(planted), torch.stack(alone).mean(0))


def test_several_initialisations_repeat_themselves(planted):
    first, second = (ERASE(seed=4, **SEVERAL).fit(planted) for _ in range(2))
    assert torch.equal(first.predict_proba(planted), second.predict_proba(planted))
    assert same(first.encoder_.state_dict(), second.encoder_.state_dict())
    assert not torch.equal(first.predict_proba(planted), ERASE(seed=5, **SEVERAL).fit(planted).predict_proba(planted))


def test_one_initialisation_cannot_leave_labels_out():
    with pytest.raises(InputError, match=r"^n_init: expected at least 2 with val_labels='train'.*, got 1"):
        ERASE(n_init=1)
    assert ERASE(n_init=1, select="last").settings.n_init == 1


def test_balanced_scores_have_the_given_sizes():
    scores = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.2, 1.0])
    shares = torch.tensor([5.0, 3.0, 2.0])
    logits = _balance(scores.clone(), shares)
    torch.testing.assert_close(logits.softmax(1).mean(0), shares / 10, atol=2e-3, rtol=0)
    # The same offset in each row, on a common scale.
    moved = logits - logits.mean(1, keepdim=True)
    centred = scores.log() - scores.log().mean(1, keepdim=True)
    offset = moved - centred / centred.square().mean().sqrt()
    torch.testing.assert_close(offset, offset[:1].expand_as(offset), atol=1e-4, rtol=0)
    # The size of the scores does not matter.
    torch.testing.assert_close(_balance(scores * 7, shares), logits, atol=1e-4, rtol=0)


def test_semantic_labels_are_held_to_the_sizes_of_classes(planted):
    # Validation labels that name class 2 at most nodes.
    many = altered(planted, y=torch.where(planted.val_mask & (torch.arange(120) % 4 > 0), 2, planted.y))
    sizes = {}
    for name in ("free", "validation"):
        sizes[name] = torch.bincount(ERASE(**SMALL, class_sizes=name).fit(many).labels_, minlength=3)
    assert sizes["validation"][2] > sizes["free"][2] + 10


def test_absent_classes_stay_absent_where_sizes_are_held(planted):
    train = planted.train_mask & (planted.y != 1)
    model = ERASE(num_classes=3, **SMALL).fit(altered(planted, train_mask=train))
    assert not (model.labels_ == 1).any()


def test_self_loops_that_are_there_are_not_doubled(planted):
    loops = torch.arange(120).expand(2, -1)
    looped = altered(planted, edge_index=torch.cat([planted.edge_index, loops], 1))
    plain, more = (read(data, True, None) for data in (planted, looped))
    assert more.looped.num_arcs == plain.looped.num_arcs
    torch.testing.assert_close(more.looped.to_dense(), plain.looped.to_dense())
    torch.testing.assert_close(more.smoothed, plain.smoothed)


def test_the_homophily_of_labels_is_that_of_their_mixing_matrix(planted):
    labels, graph = training_labels(planted), read(planted, True, None).graph
    y = torch.full((120,), -1)
    y[labels.train], y[labels.val] = labels.given, labels.val_labels
    row, col = graph.edge_index
    known = (y[row] >= 0) & (y[col] >= 0)
    mixing = torch.zeros(3, 3, dtype=torch.float64).index_put_(
        (y[row[known]], y[col[known]]), torch.ones(()).double(), accumulate=True
    )
    mixing /= mixing.sum()
    chance = float((mixing.sum(0) * mixing.sum(1)).sum())
    actual, error = homophily(graph, labels)
    assert actual == pytest.approx((float(mixing.trace()) - chance) / (1 - chance), rel=1e-12)
    same_label, pairs = float(mixing.trace()), int(known.sum()) / 2
    assert error == pytest.approx((same_label * (1 - same_label) / pairs) ** 0.5 / (1 - chance), rel=1e-12)


def heterophilous(rate=0.0):
    data = datasets.planted_partition([60, 60, 60], 0.02, 0.15, num_features=6, split=(20, 20, 20), seed=0)
    return LabelNoise("symmetric", rate, seed=0)(data) if rate else data


def test_a_heterophilous_graph_warns_and_a_homophilous_one_does_not(planted):
    with pytest.warns(
        HeterophilyWarning, match=r"given labels of neighbours agree by -0\.\d+ ± 0\.\d+ beyond"
    ) as caught:
        model = ERASE(**SMALL).fit(heterophilous())
    assert [warning.filename for warning in caught] == [__file__]
    assert model.homophily_ < 0
    # Warnings are errors here.
    half = LabelNoise("symmetric", 0.5, seed=0)(datasets.load("cora"))
    assert ERASE(epochs=1, progress=False).fit(half).homophily_ > 0.1


def test_without_arcs_between_labels_nothing_is_known(planted):
    none = altered(planted, edge_index=planted.edge_index[:, :0])
    assert homophily(read(none, True, None).graph, training_labels(none)) is None
    assert ERASE(**SMALL).fit(none).homophily_ is None

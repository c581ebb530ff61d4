"""Pre-training without labels, distillation, and Gaussians of classes."""

import pytest
import torch
from torch.nn import functional as F
from training_steps import VIEW, draw

from graphnoise import InputError, datasets
from graphnoise.robust import RobustGNN, methods
from graphnoise.robust.methods.class_gaussians import class_gaussians, sampled_embeddings, trimmed
from graphnoise.robust.methods.pretraining import ClassGaussians, PretrainDistil, Student, grace

DATA = datasets.planted_partition([30, 30], 0.3, 0.03, num_features=6, split=(8, 10, 12), seed=0)


def generator():
    return torch.Generator().manual_seed(0)


def weights_after(name, data, epochs):
    """The network's weights after so many of 40 epochs, of which 40 % are pre-training."""
    kept = {}

    def keep(run):
        if run.epochs_done == epochs:
            kept.update({k: v.clone() for k, v in run.context.networks[0].state_dict().items()})
        return run.epochs_done >= epochs

    RobustGNN(methods.create_method(name, pretrain=0.4), epochs=40, hidden=8, seed=0).fit(data, callbacks=[keep])
    return kept


@pytest.mark.parametrize("name", ["pretrain-distil", "class-gaussians"])
# Of shuffled labels.
@pytest.mark.filterwarnings("ignore::graphnoise.homophily.HeterophilyWarning")
def test_pre_training_reads_no_label(name):
    shuffled = DATA.clone()
    train = DATA.train_mask.nonzero().view(-1)
    shuffled.y[train] = DATA.y[train[torch.randperm(len(train), generator=generator())]]
    assert not torch.equal(shuffled.y, DATA.y)
    first, second = (weights_after(name, data, 16) for data in (DATA, shuffled))
    assert all(torch.equal(first[key], second[key]) for key in first)
    start = weights_after(name, DATA, 1)
    assert any(not torch.equal(first[key], start[key]) for key in first)
    if name == "pretrain-distil":
        # The first epoch of fine-tuning does read them.
        first, second = (weights_after(name, data, 17) for data in (DATA, shuffled))
        assert any(not torch.equal(first[key], second[key]) for key in first)


def test_the_contrast_has_negatives_in_both_views():
    a, b, tau = draw(7, 4), draw(7, 4, seed=1), 0.4
    first, second = F.normalize(a), F.normalize(b)
    total = 0.0
    for rows, others in ((first, second), (second, first)):
        for i in range(7):
            between = (rows[i] @ others.t() / tau).exp()
            within = (rows[i] @ rows.t() / tau).exp()
            total -= (between[i] / (between.sum() + within.sum() - within[i])).log() / 14
    torch.testing.assert_close(grace(a, b, tau), total)


def test_the_student_learns_from_the_fixed_teacher_on_all_nodes():
    rows = {}

    def keep(run):
        if run.epochs_done in (25, 40):
            rows[run.epochs_done] = [p.detach().clone() for p in run.context.networks[0].parameters()]

    method = PretrainDistil(0.25, 0.375, alpha=0.7, temperature=2.0)
    fitted = RobustGNN(method, epochs=40, hidden=8, val_labels="none", seed=0).fit(DATA, callbacks=[keep])
    assert all(torch.equal(*pair) for pair in zip(rows[25], rows[40], strict=True))
    found, context = fitted.method_, fitted._context
    torch.testing.assert_close(found.taught, (context.evaluate().logits / 2).softmax(1))
    view = context.full
    torch.testing.assert_close(fitted.predict_proba(DATA), found.small(view.features, view)[0].softmax(1))
    batch = next(iter(RobustGNN()._batches(view, context.labelled, None).epoch(generator())))
    from graphnoise.robust.training import Step

    step = Step(context, batch, found.forward(context, batch))
    log_p = step.output.logits.log_softmax(1)
    divergence = (found.taught * (found.taught.log() - log_p)).sum(1).mean()
    torch.testing.assert_close(found.terms(step), 0.7 * divergence)
    own = 0.3 * F.cross_entropy(step.logits, step.given, reduction="none")
    torch.testing.assert_close(found.loss(step, step.given), own)


def test_only_epochs_of_the_last_part_are_selected():
    for method, first in ((PretrainDistil(), 27), (PretrainDistil(distil=0.0), 13), (ClassGaussians(), 21)):
        fitted = RobustGNN(method, epochs=40, hidden=8, seed=0).fit(DATA)
        assert fitted.best_epoch_ >= first


def test_students_read_smoothed_features_or_features_alone():
    other = VIEW.with_arcs(VIEW.edge_index[:, ::3])
    for kind, same in (("mlp", True), ("sgc", False)):
        student = Student(kind, 4, 3, generator())
        # It is 0 at first.
        torch.nn.init.ones_(student.layers[-1].weight)
        logits = [student(view.features, view)[0] for view in (VIEW, other)]
        assert torch.equal(*logits) is same
        assert logits[0].shape == (60, 3)


def clumped(share, seed=0):
    """200 rows of a class at 0, of which a share is at distance 6 in one direction."""
    rows = draw(200, 8, seed=seed)
    rows[: int(200 * share), 0] += 6.0
    return rows


@pytest.mark.parametrize("share", [0.15, 0.3, 0.4])
def test_the_trimmed_mean_is_not_drawn_to_a_clump_of_wrong_labels(share):
    errors = [float(trimmed(clumped(share, seed)).mean(0).norm()) for seed in range(5)]
    plain = [float(clumped(share, seed).mean(0).norm()) for seed in range(5)]
    assert sum(errors) / 5 < 0.8
    assert sum(plain) / 5 > 0.85


def test_removal_by_density_keeps_a_clump():
    """Local outlier factors do not see wrong labels that lie together."""
    from sklearn.neighbors import LocalOutlierFactor

    rows = clumped(0.3)
    factors = -LocalOutlierFactor(20).fit(rows.numpy()).negative_outlier_factor_
    kept = rows[torch.from_numpy(factors).argsort()[:160]]
    assert float(kept.mean(0).norm()) > 1.5


def test_gaussians_of_small_classes_take_from_large_ones():
    z = torch.cat([draw(30, 3, seed=1), draw(25, 3, seed=2) + 10, draw(40, 3, seed=3) - 10, draw(22, 3, seed=4) + 99])
    z = torch.cat([z, torch.tensor([[1.0, 1.0, 1.0]])])
    y = torch.arange(5).repeat_interleave(torch.tensor([30, 25, 40, 22, 1]))
    means, covariances = class_gaussians(z, y, 6)
    torch.testing.assert_close(means[0], trimmed(z[:30]).mean(0))
    torch.testing.assert_close(means[4], torch.stack([z[-1], means[0], means[1], means[2]]).mean(0))
    torch.testing.assert_close(covariances[4], covariances[:3].mean(0) + 0.1 * torch.eye(3))
    # A class without a row.
    assert not means[5].any()
    for covariance in covariances:
        assert float(torch.linalg.eigvalsh(covariance).min()) > 0
    alone = class_gaussians(z[-1:], y[-1:] - 4, 1)[1]
    assert float(torch.linalg.eigvalsh(alone[0]).min()) > 0


def test_drawn_rows_have_the_gaussian_of_their_class():
    means, covariances = torch.tensor([[0.0, 0.0], [5.0, -5.0]]), torch.stack([torch.eye(2), torch.eye(2) * 4])
    covariances[1, 0, 1] = covariances[1, 1, 0] = 3.0
    labels = torch.arange(2).repeat_interleave(4000)
    rows = sampled_embeddings(means, covariances, labels, generator())
    for c in range(2):
        torch.testing.assert_close(rows[labels == c].mean(0), means[c], atol=0.15, rtol=0)
        torch.testing.assert_close(rows[labels == c].t().cov(), covariances[c], atol=0.3, rtol=0)


def test_rows_are_drawn_up_to_the_largest_class_and_the_graph_stays():
    data = DATA.clone()
    train = data.train_mask.nonzero().view(-1)
    data.train_mask[train[data.y[train] == 1][3:]] = False
    sizes = torch.bincount(data.y[data.train_mask])
    fitted = RobustGNN(ClassGaussians(), epochs=40, hidden=8, seed=0).fit(data)
    assert torch.bincount(fitted.method_.drawn_labels, minlength=2).tolist() == (sizes.max() - sizes).tolist()
    assert fitted.method_.embedded.shape[0] == fitted.predict_proba(data).shape[0] == 60
    assert bool(fitted.method_.drawn.any())


def test_bad_input():
    for call, words in (
        (lambda: PretrainDistil(0.6, 0.4), "distil: expected a share that leaves epochs for fine-tuning"),
        (lambda: PretrainDistil(student="gat"), "student: expected one of"),
        (lambda: ClassGaussians(block=1), "block: expected an integer"),
    ):
        with pytest.raises(InputError, match=words):
            call()

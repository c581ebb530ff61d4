"""Training on the posteriors of a Graph Gaussian process."""

import pytest
import torch
from torch.nn import functional as F
from training_steps import context_of, step_of

from graphnoise import InputError, datasets, noise
from graphnoise.robust import AmbiguousTransitionWarning, GraphGP, RobustGNN, fit
from graphnoise.robust.methods import create_method
from graphnoise.robust.methods.ggp_targets import GGPTargets, fit_graph_gp

DATA = datasets.planted_partition([60, 60, 60], 0.2, 0.02, num_features=8, split=(40, 10, 10), seed=0)
NOISY = noise.LabelNoise("pair", 0.3, splits=("train", "val"), seed=0)(DATA)


def set_up(weight=1.0):
    nodes = NOISY.train_mask.nonzero().view(-1)
    order = torch.cat([nodes, (~NOISY.train_mask).nonzero().view(-1)])
    position = order.argsort()
    context = context_of(NOISY.y[nodes], arcs=position[NOISY.edge_index], x=NOISY.x[order].float(), num_nodes=180)
    method = GGPTargets(weight)
    method.setup(context)
    return method, context, order


def test_targets_are_the_posteriors_and_predictions_of_the_process():
    method, context, _ = set_up()
    model, smoothed = fit_graph_gp(context)
    step = step_of(context, torch.zeros(180, 3))
    torch.testing.assert_close(method.targets(step).double(), torch.from_numpy(model.posterior_), atol=1e-3, rtol=0)
    predicted = model._probabilities(smoothed)[120:]
    torch.testing.assert_close(method.expected[120:].double(), predicted, atol=1e-3, rtol=0)
    torch.testing.assert_close(method.transition, model.transition_.matrix, atol=1e-3, rtol=0)


def test_targets_are_nearer_to_the_truth_than_the_given_labels():
    method, context, order = set_up()
    truth = NOISY.y_true[order][:120]
    right = (method.expected[:120].argmax(1) == truth).double().mean()
    assert right > (context.given == truth).double().mean() + 0.15


def test_the_process_learns_from_training_labels_as_the_estimator_does():
    data = NOISY.clone()
    data.x = data.x.float()
    method = RobustGNN("ggp-targets", epochs=1).fit(data).method_
    expected = GraphGP(val_labels=False).fit(data)
    torch.testing.assert_close(method.transition, expected.transition_.matrix, atol=0.02, rtol=0)


def test_the_loss_of_unlabelled_nodes():
    method, context, _ = set_up(0.5)
    logits = torch.randn(180, 3, generator=torch.Generator().manual_seed(0))
    entropies = -(method.expected[120:] * logits[120:].log_softmax(1)).sum(1)
    torch.testing.assert_close(method.terms(step_of(context, logits)), 0.5 * entropies.mean())
    assert set_up(0.0)[0].terms(step_of(context, logits)) == 0.0


def test_labels_of_one_class_are_the_target():
    context = context_of([1, 1], arcs=[[0, 1], [1, 0]], x=torch.ones(3, 2), num_nodes=3)
    method = GGPTargets()
    method.setup(context)
    assert method.expected.tolist() == [[0.0, 1.0]] * 3
    assert torch.equal(method.transition, torch.eye(2).double())


@pytest.mark.filterwarnings("ignore::graphnoise.homophily.HeterophilyWarning")
def test_useless_features_leave_targets_near_the_given_labels():
    generator = torch.Generator().manual_seed(0)
    data = NOISY.clone()
    data.x = torch.zeros(180, 4)
    data.edge_index = torch.randint(180, (2, 900), generator=generator)
    data.edge_index = torch.cat([data.edge_index, data.edge_index.flip(0)], 1)
    with pytest.warns(AmbiguousTransitionWarning, match="classes may be exchanged"):
        fitted = RobustGNN("ggp-targets", epochs=2, seed=0).fit(data)
    q = fitted.method_.expected[data.train_mask]
    assert bool(torch.isfinite(fitted.method_.expected).all())
    assert float(q.gather(1, data.y[data.train_mask].unsqueeze(1)).mean()) > 0.85


def test_fit_trains_a_module_on_the_targets():
    from torch_geometric.nn import GCN

    torch.manual_seed(0)
    model = fit(NOISY, model=GCN(8, 16, 2, 3))
    assert isinstance(model.method_, GGPTargets)
    assert model.score(NOISY) > 0.9
    plain = fit(NOISY, model=GCN(8, 16, 2, 3), method="ce")
    wrong = NOISY.train_mask & (NOISY.y != NOISY.y_true)
    soft = [F.nll_loss(m.predict_proba(NOISY)[wrong].log(), NOISY.y_true[wrong]) for m in (model, plain)]
    assert float(soft[0]) < float(soft[1])


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="weight: expected a number of at least 0"):
        create_method("ggp-targets", weight=-1)

"""Contract of the methods of robust training: each is run on small planted partitions."""

import functools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_steps import context

from graphnoise import datasets, noise
from graphnoise.checks import InputError
from graphnoise.robust import RobustGNN, methods

EPOCHS = 40
# The graphs are small, and few labels leave the transition matrix open.
pytestmark = pytest.mark.filterwarnings("ignore::graphnoise.robust.AmbiguousTransitionWarning")


@functools.cache
def planted(seed=0):
    sizes, split = [40, 40, 40], (10, 30, 60)
    return datasets.planted_partition(sizes, 0.2, 0.02, num_features=8, separation=1.5, split=split, seed=seed)


@functools.cache
def noisy(seed=0):
    return noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=seed)(planted(seed))


def trained(name, data, **settings):
    return RobustGNN(name, **{"epochs": EPOCHS, "hidden": 16, "seed": 1, **settings}).fit(data)


@functools.cache
def fitted_to_noise(name):
    return trained(name, noisy())


@functools.cache
def probabilities(name):
    return fitted_to_noise(name).predict_proba(noisy())


@functools.cache
def accuracy(name):
    # The curriculum of tss takes 100 epochs.
    return trained(name, planted(), epochs=120 if name == "tss" else EPOCHS).score(planted())


@pytest.fixture(params=methods.names())
def name(request):
    return request.param


def test_clean_labels_are_learned_as_well_as_by_cross_entropy(name):
    assert accuracy(name) >= accuracy("ce") - 0.05


def test_probabilities_are_probabilities(name):
    p = probabilities(name)
    assert p.shape == (120, 3)
    assert float(p.min()) >= 0
    assert torch.allclose(p.sum(1), torch.ones(120).to(p), atol=1e-5)


def test_labels_outside_the_masks_and_true_labels_are_not_read(name):
    data = noisy().clone()
    # Validation labels select the epoch, and no more: without a mask they are not read either.
    del data.val_mask
    changed = data.clone()
    changed.y = torch.where(data.train_mask, data.y, (data.y + 1) % 3)
    changed.y_true = (data.y_true + 1) % 3
    first, second = (trained(name, part, epochs=15).predict_proba(data) for part in (data, changed))
    assert torch.equal(first, second)


def test_losses_and_weights_stay_finite_and_weights_change(name):
    fitted = fitted_to_noise(name)
    assert all(torch.isfinite(torch.tensor(fitted.history_["loss"])))
    for module in (*fitted.networks_, fitted.method_):
        assert all(bool(torch.isfinite(p).all()) for p in module.parameters())
    untrained = RobustGNN(name, epochs=1, lr=1e-12, weight_decay=0, hidden=16, seed=1).fit(noisy())
    before, after = ([p.detach() for p in model.networks_[0].parameters()] for model in (untrained, fitted))
    assert any(not torch.allclose(old, new) for old, new in zip(before, after, strict=True))


def test_mini_batches(name):
    fitted = trained(name, planted(), batch_size=8, fanouts=(5, 5), epochs=10)
    assert fitted.score(planted()) > 0.6


def test_isolated_nodes_and_a_missing_class(name):
    data = noisy().clone()
    lonely = torch.arange(0, 120, 10)
    kept = ~torch.isin(data.edge_index, lonely).any(0)
    data.edge_index = data.edge_index[:, kept]
    # No training label of class 2 is left; validation labels have it.
    data.y = torch.where(data.train_mask & (data.y == 2), 0, data.y)
    p = trained(name, data, epochs=15).predict_proba(data)
    assert p.shape == (120, 2)
    assert bool(torch.isfinite(p).all())


def test_a_run_resumed_from_a_checkpoint_equals_one_of_the_same_seed(name, tmp_path):
    file = tmp_path / "run.ckpt"
    stopped = RobustGNN(name, epochs=EPOCHS, hidden=16, seed=1, checkpoint=file, checkpoint_every=1)
    stopped.fit(noisy(), callbacks=[lambda run: run.epochs_done >= 15])
    resumed = RobustGNN(name, epochs=EPOCHS, hidden=16, seed=1, checkpoint=file).fit(noisy())
    assert len(resumed.history_["loss"]) == EPOCHS
    assert torch.equal(resumed.predict_proba(noisy()), probabilities(name))


def test_warm_ups_are_shares_of_the_epochs(name):
    share = methods.load(name).defaults().get("warm_up", 0.0)
    assert 0 <= share < 1
    if share:
        with pytest.raises(InputError, match=r"warm_up: expected a (rate|number) in"):
            methods.create_method(name, warm_up=30)


@pytest.mark.parametrize(("share", "epochs", "count"), [(0.15, 200, 30), (0.07, 100, 7), (0.101, 10, 2), (0.0, 5, 0)])
def test_a_share_of_the_epochs_is_rounded_up(share, epochs, count):
    state = context(epochs=epochs)
    assert state.epochs_in(share) == count
    for state.epoch in range(epochs):
        assert (state.epoch < count) == (state.progress < share)


class Largest(TorchDispatchMode):
    """Keeps the largest number of elements that a tensor holds, of all that operations return."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else [out]:
            if isinstance(part, torch.Tensor) and part.layout == torch.strided:
                # Of an expanded tensor, what it has in memory.
                self.size = max(self.size, part.untyped_storage().nbytes() // part.element_size())
        return out


def test_no_tensor_has_an_entry_for_each_pair_of_nodes(name):
    """In the field's benchmark, several of these methods hold the square of the adjacency matrix, or an inverse."""
    sizes, split = [400, 400, 400], (10, 30, 60)
    data = datasets.planted_partition(sizes, 0.015, 0.0015, num_features=8, separation=1.5, split=split, seed=0)
    defaults = methods.load(name).defaults()
    often = {key: 1 for key in ("every", "refresh") if key in defaults}
    with Largest() as largest:
        trained(methods.create_method(name, **often), data, epochs=8)
    assert 1200 * 8 <= largest.size < 1200**2 / 4


def test_settings_are_attributes_and_shown(name):
    method = methods.create_method(name)
    assert method.settings() == type(method).defaults()
    assert repr(method).startswith(type(method).__name__)
    with pytest.raises(InputError, match=r"setting of|no setting"):
        methods.create_method(name, colour="red")


def test_a_user_module_is_trained(name):
    from torch_geometric.nn import GCN

    torch.manual_seed(0)
    model = GCN(8, 16, 2, 3)
    before = [p.detach().clone() for p in model.parameters()]
    fitted = trained(name, planted(), model=model, epochs=20)
    assert fitted.score(planted()) > 0.6
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))

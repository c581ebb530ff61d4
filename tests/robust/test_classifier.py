"""RobustGNN and fit: what is trained, batches of a loader, selection, checkpoints, callbacks, bad input."""

import copy
import functools
import pickle

import pytest
import torch
from sklearn.base import clone
from torch_geometric.data import Data
from torch_geometric.nn import GAT, SAGEConv
from torch_geometric.utils import k_hop_subgraph

import graphnoise as gn
from graphnoise import datasets, noise
from graphnoise.checks import DataError, InputError
from graphnoise.robust import RobustGNN, fit
from graphnoise.robust.training import Method


@functools.cache
def noisy():
    split = (10, 30, 60)
    data = datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=1.5, split=split, seed=0)
    return noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(data)


def changed(**fields):
    data = noisy().clone()
    for name, value in fields.items():
        data[name] = value
    return data


class Constant(torch.nn.Module):
    """Outputs of a fixed form, with a parameter that does nothing."""

    def __init__(self, out):
        super().__init__()
        self.weight, self.out = torch.nn.Parameter(torch.ones(())), out

    def forward(self, x, edge_index):
        return self.out(x, self.weight)


class Sage(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = SAGEConv(8, 16), SAGEConv(16, 3)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Loader:
    """Batches as NeighborLoader makes them: some labelled nodes and all their neighbours of two hops."""

    def __init__(self, data, size):
        self.data, self.size = data, size

    def __iter__(self):
        for seeds in torch.split(self.data.train_mask.nonzero().view(-1), self.size):
            nodes, arcs, place, _ = k_hop_subgraph(seeds, 2, self.data.edge_index, relabel_nodes=True)
            order = torch.cat([place, torch.tensor([k for k in range(len(nodes)) if k not in set(place.tolist())])])
            back = torch.empty_like(order)
            back[order] = torch.arange(len(order))
            x = self.data.x[nodes[order]]
            yield Data(x=x, edge_index=back[arcs], n_id=nodes[order], batch_size=len(seeds))


@pytest.mark.filterwarnings("ignore::graphnoise.robust.AmbiguousTransitionWarning")
def test_the_short_way_trains_what_the_method_names():
    assert isinstance(fit(noisy()), gn.robust.GraphGP)
    assert isinstance(fit(noisy(), method="erase"), gn.ERASE)
    fitted = fit(noisy(), Sage(), "ce", seed=3)
    assert (fitted.method, fitted.seed) == ("ce", 3)
    assert isinstance(fitted.networks_[0].module, Sage)
    assert fitted.score(noisy()) > 0.6


def test_the_embedding_is_the_input_of_the_last_layer():
    fitted = RobustGNN("ce", model=Sage(), epochs=2).fit(noisy())
    module = fitted.networks_[0].module
    x, arcs = fitted._context.full.x, noisy().edge_index
    output = fitted._context.evaluate()
    assert torch.equal(output.embedding, module.first(x, arcs).relu())
    assert torch.equal(output.logits, module(x, arcs))


class DoubleSage(Sage):
    def __init__(self):
        super().__init__()
        self.double()

    def forward(self, x, edge_index):
        return super().forward(x.double(), edge_index)


@pytest.mark.parametrize("method", ["ce", "unionnet", "clnode", "cp", "cgnn", "nested-dropout"])
def test_a_module_may_compute_in_double(method):
    fitted = RobustGNN(method, model=DoubleSage(), epochs=3).fit(noisy())
    assert fitted._context.evaluate().embedding.dtype == torch.float32
    assert fitted.predict_proba(noisy()).isfinite().all()


def test_default_network_equals_torch_geometric():
    from torch_geometric.nn import GCNConv

    fitted = RobustGNN("ce", epochs=2, hidden=5).fit(noisy())
    view, layers = fitted._context.full, fitted.networks_[0].module.layers
    weights = torch.rand(view.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
    for weight in (None, weights):
        x = view.x
        for k, layer in enumerate(layers):
            theirs = GCNConv(*layer.linear.weight.shape)
            theirs.load_state_dict({"lin.weight": layer.linear.weight.t(), "bias": layer.bias})
            x = theirs(x.relu() if k else x, view.edge_index, weight)
        ours = fitted.networks_[0](view.with_arcs(view.edge_index, weight)).logits
        torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)


def test_batches_of_a_loader():
    data = noisy()
    for more in ({}, {"normalise_features": False}):
        fitted = RobustGNN("ce", model=Sage(), epochs=20, **more).fit(data, loader=Loader(data, 8))
        assert fitted.score(data) > 0.6
    with pytest.raises(InputError, match="loader: expected batches with n_id"):
        RobustGNN("ce", epochs=1).fit(data, loader=[Data(x=data.x, edge_index=data.edge_index, batch_size=3)])
    with pytest.raises(InputError, match="loader: expected batches with labelled nodes, got none"):
        RobustGNN("ce", epochs=1).fit(data, loader=[])
    with pytest.raises(InputError, match="loader: expected None next to batch_size"):
        RobustGNN("ce", epochs=1, batch_size=5).fit(data, loader=[])
    with pytest.raises(InputError, match="loader: expected an iterable of batches, got int"):
        RobustGNN("ce", epochs=1).fit(data, loader=3)


def test_features_of_a_loader_are_normalised_as_those_of_predictions():
    data, seen = changed(x=noisy().x.abs() + 1), []
    whole = Data(edge_index=data.edge_index, n_id=torch.arange(120), batch_size=120)
    fitted = RobustGNN("ce", model=Constant(lambda x, w: seen.append(x) or x[:, :3] * w), epochs=1)
    fitted.fit(data, loader=[whole])
    assert all(torch.equal(x, fitted._context.full.x) for x in seen)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_id": torch.arange(120) + 1}, "loader: n_id: expected node positions from 0 to 119, got values from 1"),
        ({"n_id": torch.arange(3)}, "loader: edge_index: expected node positions from 0 to 2"),
        ({"batch_size": 500}, "loader: batch_size: expected an integer from 0 to 120, got 500"),
        ({"edge_index": torch.zeros(3, 2).long()}, r"loader: edge_index: expected shape \[2, num_arcs\]"),
    ],
)
def test_batches_of_other_data_are_refused(fields, message):
    batch = Data(**{"edge_index": noisy().edge_index, "n_id": torch.arange(120), "batch_size": 120, **fields})
    with pytest.raises(InputError, match=message):
        RobustGNN("ce", epochs=1).fit(noisy(), loader=[batch])


def test_whole_neighbourhoods_are_the_full_batch():
    data, losses = noisy(), []
    for settings in ({}, {"batch_size": 1000, "fanouts": (-1, -1)}):
        fitted = RobustGNN("ce", dropout=0.0, epochs=3, val_labels="none", **settings).fit(data)
        losses.append(torch.tensor(fitted.history_["loss"]))
    torch.testing.assert_close(*losses, atol=1e-4, rtol=1e-4)


def test_the_best_epoch_is_kept():
    fitted = RobustGNN("ce", epochs=30).fit(noisy())
    accuracy = fitted.history_["val_accuracy"]
    assert accuracy[fitted.best_epoch_ - 1] == max(accuracy)
    predicted = fitted.predict(noisy())[noisy().val_mask]
    assert float((predicted == noisy().y[noisy().val_mask]).double().mean()) == pytest.approx(max(accuracy))
    both = RobustGNN("ce", epochs=30, val_labels="train").fit(noisy())
    assert both.best_epoch_ == 30
    assert len(both._context.given) == int((noisy().train_mask | noisy().val_mask).sum())
    short = RobustGNN("ce", epochs=200, patience=3).fit(noisy())
    assert len(short.history_["loss"]) == short.best_epoch_ + 3


def test_targets_are_detached_and_selections_weigh():
    class Own(Method):
        def targets(self, step):
            return step.logits.softmax(1)

        def select(self, step):
            return step.given == 0

        def weights(self, step):
            return torch.arange(len(step.rows)).float()

    def once(own, seed=0):
        fitted = RobustGNN(own, epochs=1, lr=1e-12, weight_decay=0.0, dropout=0.0, seed=seed).fit(noisy())
        return fitted._context, fitted.history_["loss"][0]

    context, loss = once(Own())
    logits = context.evaluate().logits[context.labelled]
    rows, weights = context.given == 0, torch.arange(len(context.given)).float()
    entropies = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    assert loss == pytest.approx(float((weights * entropies)[rows].sum() / weights[rows].sum()), abs=1e-5)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("select", lambda rows: torch.ones(3, dtype=torch.bool), r"select of Own: expected a value for each .* \(3,\)"),
        ("weights", lambda rows: torch.full((len(rows),), torch.nan), "weights of Own: expected finite numbers"),
        ("weights", lambda rows: -torch.ones(len(rows)), "weights of Own: expected finite numbers of at least 0"),
        ("loss", lambda rows: torch.tensor(1.0), "loss of Own: expected a value for each of the 30 labelled nodes"),
    ],
)
def test_what_a_method_of_the_user_returns_is_checked(part, value, message):
    own = type("Own", (Method,), {part: lambda self, step, *targets: value(step.rows)})
    with pytest.raises(InputError, match=message):
        RobustGNN(own(), epochs=1).fit(noisy())


def test_callbacks_end_training():
    seen = []
    fitted = RobustGNN("ce", epochs=50).fit(
        noisy(), callbacks=[lambda run: seen.append(run.epochs_done) or len(seen) > 6]
    )
    assert seen == list(range(1, 8))
    assert len(fitted.history_["loss"]) == 7
    with pytest.raises(InputError, match="callbacks: expected a sequence of callables"):
        RobustGNN("ce").fit(noisy(), callbacks=[3])


def test_names_of_classes_and_clones():
    names = [["a", "b", "c"][k] for k in noisy().y]
    fitted = clone(RobustGNN("ce", epochs=20, hidden=8)).fit(changed(y=names, y_true=None))
    assert fitted.hidden == 8
    assert set(fitted.predict(noisy())) <= {"a", "b", "c"}


def test_checkpoints_of_others_are_refused(tmp_path):
    file = tmp_path / "run.ckpt"
    RobustGNN("ce", epochs=3, checkpoint=file).fit(noisy())
    with pytest.raises(InputError, match="checkpoint: expected one of the same data, seed and settings"):
        RobustGNN("ce", epochs=3, checkpoint=file, seed=1).fit(noisy())
    with pytest.raises(InputError, match="epochs: expected 3 or more"):
        RobustGNN("ce", epochs=2, checkpoint=file).fit(noisy())
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DataError, match="expected a checkpoint of RobustGNN, got another or a damaged file"):
        RobustGNN("ce", epochs=3, checkpoint=file).fit(noisy())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "gcee"}, "method: expected one of"),
        ({"method": 3}, "method: expected one of"),
        ({"model": "gcn"}, "model: expected a torch.nn.Module or None, got str"),
        ({"model": torch.nn.ReLU()}, "model: expected a module with parameters to train"),
        ({"model": torch.nn.Linear(5, 3, device="meta")}, "model: expected a module whose weights hold data"),
        ({"epochs": 0}, "epochs: expected an integer"),
        ({"lr": 0.0}, "lr: expected a number of at least"),
        ({"dropout": 1.0}, "dropout: expected a number in"),
        ({"val_labels": "all"}, "val_labels: expected one of none, select, train"),
        ({"fanouts": 3}, "fanouts: expected a number of neighbours for each layer"),
        ({"batch_size": 0}, "batch_size: expected an integer"),
        ({"seed": -1}, "seed: expected an integer"),
        ({"model": Constant(lambda x, w: x[:, :3] * w * torch.nan)}, "model: expected finite outputs of Constant"),
        ({"model": Constant(lambda x, w: x[:, :2] * w)}, r"model: expected logits of shape \(120, 3\) from Constant"),
        ({"model": Constant(lambda x, w: "scores")}, r"model: expected logits .* got str"),
        ({"model": Constant(lambda x, w: x @ x)}, "model: expected a module that takes features of shape"),
        ({"model": GAT(5, 8, 2, 3)}, "model: expected a module that takes features of shape"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(InputError, match=message):
        RobustGNN(**{"method": "ce", "epochs": 2, **settings}).fit(noisy())


def test_bad_data():
    with pytest.raises(InputError, match=r"data.train_mask: expected at least one labelled node"):
        fit(changed(train_mask=torch.zeros(120, dtype=torch.bool)), method="ce")
    with pytest.raises(InputError, match="labels of at least two classes"):
        fit(changed(y=torch.zeros(120, dtype=torch.long)), method="ce")
    with pytest.raises(InputError, match="model: expected None with method='ggp'"):
        fit(noisy(), Sage(), "ggp")
    with pytest.raises(InputError, match="features, as in fit"):
        RobustGNN("ce", epochs=1).fit(noisy()).predict_proba(changed(x=torch.rand(120, 5)))


def test_all_labels_wrong_are_learned_as_given():
    data = changed(y=(noisy().y_true + 1) % 3)
    fitted = RobustGNN("ce", epochs=40).fit(data)
    assert fitted.score(data) < 0.2


def test_fewer_labels_than_classes():
    mask = torch.zeros(120, dtype=torch.bool)
    mask[[0, 119]] = True
    fitted = RobustGNN("ce", epochs=10).fit(changed(train_mask=mask, val_mask=noisy().val_mask & ~mask))
    assert len(fitted.classes_) == 2
    assert fitted.predict_proba(noisy()).shape == (120, 2)


def test_validation_labels_of_other_classes_select_nothing():
    y, train = noisy().y_true, noisy().train_mask & (noisy().y_true < 2)
    fitted = RobustGNN("ce", epochs=5).fit(changed(y=y, train_mask=train, val_mask=noisy().val_mask & (y == 2)))
    assert fitted.best_epoch_ == 5
    assert fitted.history_["val_loss"] == [None] * 5
    some = RobustGNN("ce", epochs=5).fit(changed(y=y, train_mask=train))
    assert all(loss > 0 for loss in some.history_["val_loss"])


def test_fitted_models_are_copied_and_pickled():
    fitted = RobustGNN("ce", epochs=3).fit(noisy())
    for again in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert torch.equal(again.predict_proba(noisy()), fitted.predict_proba(noisy()))
    user = RobustGNN("ce", model=Sage(), epochs=3).fit(noisy())
    for again in (copy.deepcopy(user), pickle.loads(pickle.dumps(user))):
        assert torch.equal(again.predict_proba(noisy()), user.predict_proba(noisy()))
        assert torch.equal(again._context.evaluate().embedding, user._context.evaluate().embedding)


@pytest.mark.filterwarnings("ignore::graphnoise.robust.AmbiguousTransitionWarning")
@pytest.mark.parametrize("method", ["gce", "ggp-targets", "rtgnn"])
def test_modes_of_the_caller_do_not_matter(method):
    expected = RobustGNN(method, epochs=3).fit(noisy()).predict_proba(noisy())
    torch.set_default_dtype(torch.float64)
    try:
        found = RobustGNN(method, epochs=3).fit(noisy()).predict_proba(noisy())
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)
    with torch.inference_mode(), torch.device("meta"), torch.autocast("cpu"):
        assert torch.equal(RobustGNN(method, epochs=3).fit(noisy()).predict_proba(noisy()), expected)

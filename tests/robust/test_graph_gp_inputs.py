"""Data that GraphGP refuses, data that it takes though little can be learnt, and the estimator as an object."""

import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from estimators import altered
from sklearn.base import clone

from graphnoise import InputError, NotFittedError, datasets, noise
from graphnoise.noise import LabelNoise
from graphnoise.robust import AmbiguousTransitionWarning, GraphGP, fit

N = 120
NOWHERE = torch.zeros(N, dtype=torch.bool)
LABELS = r"data\.y of the labelled nodes"

REFUSED = {
    "one class": ({"y": torch.zeros(N)}, rf"{LABELS}: expected labels of at least two classes, got class 0 only"),
    "no label at a labelled node": ({"y": torch.full((N,), -1)}, f"{LABELS}: expected a label for every node"),
    "labels of other nodes": ({"y": torch.zeros(7)}, f"{LABELS}: expected 120 labels"),
    "no labels": ({"y": None}, "data: expected a Data with y"),
    "no mask": ({"train_mask": None}, "data: expected a Data with train_mask"),
    "nothing labelled": ({"train_mask": NOWHERE, "val_mask": NOWHERE}, r"data\.train_mask: expected at least one"),
    "several splits": ({"train_mask": NOWHERE.view(N, 1).repeat(1, 2)}, r"data\.train_mask: .*choose one \(split=0"),
    "no features": ({"x": None}, r"data: expected a Data with x \(label propagation needs no features"),
    "features of no width": ({"x": torch.zeros(N, 0)}, r"data\.x: expected at least one node and one feature"),
    "features of other nodes": ({"x": torch.ones(9, 2)}, r"data\.x: expected 120 rows, one per node, got 9"),
    "NaN": ({"x": torch.full((N, 2), torch.nan)}, r"data\.x: expected finite numbers, got 240 NaN"),
    "large features": ({"x": torch.full((N, 2), 1e300, dtype=torch.float64)}, r"data\.x: expected features of at most"),
    "small features": ({"x": torch.full((N, 2), 1e-15)}, r"data\.x: expected some feature of at least"),
    "complex features": ({"x": torch.ones(N, 2, dtype=torch.complex64)}, r"data\.x: expected real numbers"),
    "weights below 0": ({"edge_weight": -torch.ones(1130)}, "edge_weight: expected weights of at least 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_data_are_named(name, planted):
    change, message = REFUSED[name]
    with pytest.raises(InputError, match=f"^{message}"):
        GraphGP().fit(altered(planted, **change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hops": (2, 1)}, "hops: expected increasing numbers of steps"),
        ({"hops": ()}, "hops: expected a sequence of numbers of steps"),
        ({"hops": 3}, "hops: expected a sequence of numbers of steps"),
        ({"hops": "12"}, "hops: expected an integer from 0 to 1000"),
        ({"val_labels": 1}, "val_labels: expected True or False"),
        ({"transition": [[1.0]]}, "transition: expected a graphnoise.noise.Transition or None, got list"),
        ({"max_exact": 0}, "max_exact: expected an integer of at least 1"),
        ({"seed": -1}, "seed: expected an integer from 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message, planted):
    with pytest.raises(InputError, match=f"^{message}"):
        GraphGP(**arguments)
    model = GraphGP()
    ((name, value),) = arguments.items()
    setattr(model, name, value)
    with pytest.raises(InputError, match=f"^{message}"):
        model.fit(planted)


def test_other_calls_are_refused(planted):
    for call, message in (
        (lambda: GraphGP().fit(3), "data: expected a torch_geometric Data, got int"),
        (
            lambda: GraphGP(transition=noise.symmetric(4, 0.2)).fit(planted),
            "transition: expected a matrix of 3 classes",
        ),
        (
            lambda: GraphGP().fit(planted).predict(altered(planted, x=planted.x[:, :5])),
            r"data\.x: expected 12 features",
        ),
        (lambda: fit(planted, method="gp"), "method: expected one of adaptive-smoothing, adele, auto, backward"),
        (lambda: fit(planted, "ggp"), r"model: expected a torch.nn.Module or None \(a name of a method is method=NAME"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            call()
    with pytest.raises(NotFittedError, match=r"^GraphGP: expected a fitted model"):
        GraphGP().predict(planted)


def few(*nodes):
    return NOWHERE.index_fill(0, torch.tensor(nodes), True)


def single(planted):
    """Class 2 has one label."""
    labelled = (planted.train_mask | planted.val_mask).nonzero().view(-1)
    y = torch.where(planted.y == 2, 0, planted.y)
    return y.index_fill(0, labelled[:1], 2)


# Changes of the data from which little, or nothing, can be learnt.
POOR = {
    "two classes with two labels": lambda p: {"y": p.y_true, "train_mask": few(0, 50), "val_mask": NOWHERE},
    "a label of each class": lambda p: {"y": p.y_true, "train_mask": few(0, 50, 100), "val_mask": NOWHERE},
    "as many classes as labels": lambda p: {"y": torch.arange(N)},
    "a class with a single label": lambda p: {"y": single(p)},
    "all labels wrong": lambda p: {"y": (p.y_true + 1 + torch.arange(N) % 2) % 3},
    "random labels": lambda p: {"y": torch.from_numpy(np.random.default_rng(0).integers(0, 3, N))},
    "features of zeros": lambda p: {"x": torch.zeros(N, 5)},
    "features of zeros, classes of one size": lambda p: {"x": torch.zeros(N, 5), "y": p.y_true},
    "equal rows without edges": lambda p: {"x": torch.ones(N, 5), "edge_index": torch.zeros(2, 0, dtype=torch.long)},
    "no edges": lambda p: {"edge_index": torch.zeros(2, 0, dtype=torch.long)},
    "isolated nodes": lambda p: {"edge_index": p.edge_index[:, (p.edge_index % 7 > 0).all(0)]},
    "all nodes labelled": lambda p: {"train_mask": torch.ones(N, dtype=torch.bool)},
}


@pytest.mark.filterwarnings(
    "ignore::graphnoise.robust.AmbiguousTransitionWarning", "ignore::graphnoise.homophily.HeterophilyWarning"
)
@pytest.mark.parametrize("name", POOR)
def test_poor_data_give_finite_probabilities(name, planted):
    data = altered(planted, **POOR[name](planted))
    model = GraphGP().fit(data)
    probabilities = model.predict_proba(data)
    assert probabilities.shape == (N, len(model.classes_))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(N, dtype=torch.float64))
    assert np.isfinite(model.posterior_).all()
    assert (model.transition_.matrix.argmax(1) == torch.arange(len(model.classes_))).all()


@pytest.mark.parametrize("name", ["two classes with two labels", "random labels", "features of zeros"])
def test_data_that_tell_no_transition_matrix_warn(name, planted):
    with pytest.warns() as caught:
        GraphGP().fit(altered(planted, **POOR[name](planted)))
    (text,) = [str(w.message) for w in caught if w.category is AmbiguousTransitionWarning]
    assert "lower by -" not in text
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.filterwarnings("ignore::graphnoise.homophily.HeterophilyWarning")
@pytest.mark.parametrize("seed", range(3))
def test_two_classes_that_noise_makes_equal_warn(seed):
    data = datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, split=(15, 40, 40), seed=0)
    noisy = LabelNoise("pair", 0.5, splits=("train", "val"), seed=seed)(data)
    with pytest.warns(AmbiguousTransitionWarning):
        model = GraphGP().fit(noisy)
    assert model.transition_margin_ < 3
    # Neither without noise nor with a known matrix; warnings are errors here.
    GraphGP().fit(data)
    GraphGP(transition=noise.pair(2, 0.4)).fit(noisy)


@pytest.mark.filterwarnings("ignore::graphnoise.robust.AmbiguousTransitionWarning")
def test_weights_of_arcs_are_used(planted):
    """Weights of 1 are none, and arcs of weight 0 are not there."""

    def probabilities(**fields):
        data = altered(planted, **fields)
        return GraphGP().fit(data).predict_proba(data)

    plain = probabilities()
    torch.testing.assert_close(probabilities(edge_weight=torch.ones(1130)), plain, atol=1e-3, rtol=0)
    unconnected = probabilities(edge_index=torch.zeros(2, 0, dtype=torch.long))
    torch.testing.assert_close(probabilities(edge_weight=torch.zeros(1130)), unconnected, atol=1e-3, rtol=0)
    assert (plain - unconnected).abs().max() > 0.5


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_equal_data_in_other_forms_give_the_same(planted):
    expected = GraphGP().fit(planted).predict_proba(planted)
    labelled = planted.train_mask | planted.val_mask
    forms = {
        "overlapping masks": {"val_mask": labelled},
        "one mask": {"train_mask": labelled, "val_mask": None},
        "no other labels": {"y": torch.where(labelled, planted.y, -1)},
        "features as an array": {"x": planted.x.numpy()},
        "labels as a list": {"y": planted.y.tolist()},
        "sparse features": {"x": planted.x.to_sparse_csr()},
        "sparse features of SciPy": {"x": scipy.sparse.csr_array(planted.x.numpy())},
        "features with a gradient": {"x": planted.x.clone().requires_grad_()},
        "several splits": {
            f"{name}_mask": torch.stack([~labelled, planted[f"{name}_mask"]], 1) for name in ("train", "val")
        },
    }
    for name, fields in forms.items():
        data = altered(planted, **fields)
        model = GraphGP().fit(data, split=1 if name == "several splits" else None)
        assert torch.equal(model.predict_proba(data), expected), name


def test_labels_may_be_strings(planted):
    names = np.array(["a", "b", "c"])
    data = altered(planted, y=names[planted.y], y_true=names[planted.y_true])
    model, plain = GraphGP().fit(data), GraphGP().fit(planted)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.predict(data).tolist() == names[plain.predict(planted)].tolist()
    assert model.score(data) == plain.score(planted)


def test_it_predicts_on_another_graph(planted):
    keep = torch.arange(N) % 10 > 0
    other = planted.subgraph(keep)
    model = GraphGP().fit(other)
    assert model.predict_proba(planted).shape == (N, 3)
    right = model.predict(planted) == planted.y_true
    assert right[~keep].float().mean() > 0.9


def test_a_fitted_model_survives_pickle_and_clone(planted):
    known = noise.symmetric(3, 0.25)
    model = GraphGP(transition=known, hops=(1, 2)).fit(planted)
    expected = model.predict_proba(planted)
    assert torch.equal(pickle.loads(pickle.dumps(model)).predict_proba(planted), expected)
    again = clone(model)
    assert not hasattr(again, "classes_")
    assert again.get_params() == model.get_params()
    assert torch.equal(again.fit(planted).predict_proba(planted), expected)


def test_a_change_counts_from_the_next_fit(planted):
    model = GraphGP().fit(planted)
    expected = model.predict_proba(planted)
    model.hops = (1, 2)
    assert torch.equal(model.predict_proba(planted), expected)
    with pytest.raises(InputError):
        model.fit(altered(planted, y=torch.zeros(N)))
    assert torch.equal(model.predict_proba(planted), expected)
    fresh = GraphGP(hops=(1, 2)).fit(planted)
    assert torch.equal(model.fit(planted).predict_proba(planted), fresh.predict_proba(planted))


@pytest.mark.parametrize("method", ["auto", "ggp"])
def test_fit_by_name(method, planted):
    model = fit(planted, method=method, seed=4)
    assert type(model) is GraphGP
    assert model.seed == 4
    assert torch.equal(model.predict_proba(planted), GraphGP(seed=4).fit(planted).predict_proba(planted))

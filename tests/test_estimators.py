"""Every estimator of both packages under scikit-learn's checks, and the parameters that those do not reach."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as TheirNotFittedError
from sklearn.neighbors import kneighbors_graph
from sklearn.utils.estimator_checks import check_estimator
from torch_geometric.data import Data

from graphnoise import ERASE, InputError, NotFittedError
from graphnoise.clustering import LocalCluster
from graphnoise.robust import GraphGP, RobustGNN
from recsys import (
    ALS,
    EASE,
    SLIM,
    DenoisingLinear,
    ItemKNN,
    LightGCN,
    MatrixFactorization,
    Popularity,
    RobustFactorization,
    RP3beta,
    SpectralFilter,
    TwoTower,
    UserKNN,
)
from recsys.objectives import BPR, NonNegativePU, RelevanceMF
from recsys.samplers import DNS, SRNS


def positives(X):
    """Return the entries above 0 of an array, or all of them if there is none, as interactions."""
    found = (X.toarray() if sp.issparse(X) else np.asarray(X)) > 0
    return sp.csr_array((found if found.any() else ~found).astype(float))


def tags(self):
    """Return tags by which the checks give arrays."""
    found = super(type(self), self).__sklearn_tags__()
    found.input_tags.two_d_array = found.input_tags.sparse = found.no_validation = True
    found.estimator_type = None
    return found


def of_arrays(kind):
    """Return a recommender that is fitted to arrays [users, items], as the checks call it."""

    def fit(self, X, y=None):
        return kind.fit(self, positives(X), show_progress=False)

    def predict(self, X):
        self.check_fitted()
        if kind in (TwoTower, RobustFactorization):
            return self.scores(np.arange(X.shape[0]) % self.num_users).max(1)
        return self.scores_for(positives(X)).max(1)

    members = {"fit": fit, "predict": predict, "__sklearn_tags__": tags, "__init__": kind.__init__}
    return type(f"{kind.__name__}OfArrays", (kind,), members | {"__module__": __name__})


class LocalClusterOfArrays(LocalCluster):
    """The cluster around the first row, on the graph of nearest neighbours."""

    def fit(self, X, y=None):
        near = kneighbors_graph(X, min(4, X.shape[0] - 1)) if X.shape[0] > 1 else sp.csr_array((1, 1))
        return super().fit(near.maximum(near.T), 0)

    def predict(self, X):
        return super().predict(np.arange(X.shape[0]))

    __sklearn_tags__ = tags


class OfPaths:
    """A classifier of nodes on the path through the rows."""

    def fit(self, X, y):
        return super().fit(path(X, torch.tensor(np.array(y))))

    def predict(self, X):
        return np.asarray(super().predict(X))

    def predict_proba(self, X):
        return np.asarray(super().predict_proba(X))

    def score(self, X, y):
        return (self.predict(X) == y).mean()


class ERASEOfArrays(OfPaths, ERASE):
    def _read(self, data):
        return super()._read(path(data))

    __sklearn_tags__ = tags


class GraphGPOfArrays(OfPaths, GraphGP):
    def predict_proba(self, X):
        return super().predict_proba(path(X) if self.__sklearn_is_fitted__() else X)

    __sklearn_tags__ = tags


class RobustGNNOfArrays(OfPaths, RobustGNN):
    def predict_proba(self, X):
        return super().predict_proba(path(X) if self.__sklearn_is_fitted__() else X)

    __sklearn_tags__ = tags


def path(X, y=None):
    """Return the path through the rows of an array, as data of which all nodes are for training."""
    ends = torch.arange(X.shape[0] - 1)
    edges = torch.stack([torch.cat([ends, ends + 1]), torch.cat([ends + 1, ends])])
    X = X.toarray() if sp.issparse(X) else X
    return Data(torch.tensor(X, dtype=torch.float32), edges, y=y, train_mask=torch.ones(X.shape[0]) > 0)


KINDS = (
    Popularity,
    ItemKNN,
    EASE,
    SLIM,
    UserKNN,
    RP3beta,
    SpectralFilter,
    ALS,
    DenoisingLinear,
    MatrixFactorization,
    LightGCN,
    TwoTower,
    RobustFactorization,
)
globals().update((kind.__name__, kind) for kind in map(of_arrays, KINDS))
RECOMMENDERS = [globals()[f"{kind.__name__}OfArrays"]() for kind in KINDS]
for model in RECOMMENDERS:
    if hasattr(model, "iterations"):
        # SLIM warns before it has converged.
        model.set_params(iterations=200 if isinstance(model, SLIM) else 2)
ESTIMATORS = [*RECOMMENDERS, LocalClusterOfArrays(), ERASEOfArrays(epochs=2, hidden=8, width=4, select="last")]
ESTIMATORS += [GraphGPOfArrays(), RobustGNNOfArrays(epochs=3, hidden=4)]


# Checks that cannot hold, and why.
CHECKED = {"check_do_not_raise_errors_in_init_or_set_params": "arguments are checked where they are given"}
NAMES = {"check_dont_overwrite_parameters": "what fit learns has the names of `implicit`: user_factors, num_users"}
SEED = {"check_set_params": "random_state=None becomes the seed that was drawn"}
ROWS = dict.fromkeys(
    ("check_methods_sample_order_invariance", "check_methods_subset_invariance"),
    "a row is a node or a user among others, not a sample by itself",
)
ONE_CLASS = {"check_fit2d_1sample": "the error says that there is one class, in other words"}
EXPECTED = {
    "Popularity": NAMES,
    "MatrixFactorization": CHECKED
    | NAMES
    | SEED
    | {"check_fit_score_takes_y": "partial_fit adds users, which have no y"},
    "LightGCN": CHECKED | NAMES | SEED,
    "TwoTower": CHECKED | NAMES | SEED | ROWS,
    "LocalCluster": CHECKED | ROWS,
    "GraphGP": CHECKED | ROWS | ONE_CLASS,
    "RobustGNN": CHECKED | ROWS | ONE_CLASS,
    "RobustFactorization": CHECKED | NAMES | ROWS,
    "ERASE": CHECKED
    | ROWS
    | ONE_CLASS
    | {
        "check_dont_overwrite_parameters": "history is an attribute, as in Keras",
        "check_no_attributes_set_in_init": "hyper-parameters of the preset are kept together, in `overrides`",
    },
}


@pytest.mark.filterwarnings(
    "ignore:ERASE. embeddings have collapsed",
    "ignore:GraphGP. a clearly different transition matrix",
    "ignore:.*given labels of neighbours agree",
    "ignore:.*It is recommended to delay parameter validation until fit",
)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_checks_of_scikit_learn(estimator):
    found = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in found if result["status"] == "failed"}
    expected = EXPECTED.get(type(estimator).__name__.removesuffix("OfArrays"), CHECKED | NAMES)
    assert failed.keys() == expected.keys(), failed
    # The one that is skipped is of arrays on other devices.
    assert len(found) - len(failed) > 24


X = sp.csr_array((np.random.default_rng(0).random((20, 15)) < 0.3).astype(float))


def test_an_unfitted_estimator_says_so():
    text = r"^\w+: expected a fitted model \(call fit first\), got one that is not$"
    for call in (
        lambda: ItemKNN().recommend(0, X[[0]]),
        lambda: LightGCN().similar_items(0),
        lambda: MatrixFactorization().fold_in(X),
        lambda: LocalCluster().predict([0]),
        lambda: LocalCluster().nodes_,
        lambda: ERASE().predict(path(np.eye(3))),
        lambda: GraphGP().predict(path(np.eye(3))),
        lambda: RobustGNN().predict(path(np.eye(3))),
    ):
        with pytest.raises(NotFittedError, match=text) as raised:
            call()
        assert isinstance(raised.value, InputError)
        assert isinstance(raised.value, TheirNotFittedError)
    assert type(pickle.loads(pickle.dumps(raised.value))) is NotFittedError
    fitted = LocalCluster().fit(sp.csr_array(np.ones((3, 3)) - np.eye(3)), 0)
    with pytest.raises(AttributeError, match="no attribute 'labels_'"):
        _ = fitted.labels_


def test_help_does_not_import_scikit_learn():
    program = """
import sys
from graphnoise.cli.main import main
try:
    main(["--help"])
except SystemExit:
    assert "sklearn" not in sys.modules
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EASE().set_params(regularisation=3), "parameter: expected one of .*did you mean 'regularization'"),
        (lambda: EASE().set_params(regularization=-3), "regularization: expected a number of at least"),
        (lambda: Popularity().set_params(k=3), "parameter: expected one of"),
        (lambda: MatrixFactorization().set_params(mode="lock-free", sampler="dns"), "sampler: expected uniform or"),
        (lambda: TwoTower().set_params(hidden=[8, 0]), "hidden: expected an integer from 1"),
    ],
)
def test_parameters_are_checked(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_what_is_assigned_is_checked_by_fit():
    model = MatrixFactorization(4, iterations=1)
    model.sampler, model.factors = "dsn", np.int64(5)
    with pytest.raises(InputError, match=r"sampler: expected one of .*did you mean 'dns'"):
        model.fit(X, False)
    assert model.set_params(sampler="dns").fit(X, False).user_factors.shape == (20, 5)
    assert type(model.factors) is int
    ease = EASE()
    ease.regularization = -3
    with pytest.raises(InputError, match="regularization: expected a number of at least"):
        ease.fit(X)


def test_parameters_are_what_was_given():
    given = RelevanceMF(power=0.7)
    model = MatrixFactorization(4, given, iterations=3)
    assert model.get_params()["objective"] is given
    assert (
        " ".join(repr(model).split())
        == "MatrixFactorization(factors=4, iterations=3, objective=RelevanceMF(power=0.7, clip=0.1))"
    )
    again = clone(model.fit(X, False))
    assert again.num_items == 0
    assert repr(model) == f"{again!r}, fitted to 20 users × 15 items"
    np.testing.assert_array_equal(again.fit(X, False).user_factors, model.user_factors)
    # The sampler follows an objective that is changed later.
    assert model.set_params(objective="warp").fit(X, False).sampler_.name == "warp"
    assert "sampler=DNS(candidates=3, verify=True, attempts=16, num_threads=1)" in repr(
        MatrixFactorization(sampler=DNS(3))
    )


@pytest.mark.parametrize("kind", [MatrixFactorization, LightGCN, TwoTower])
def test_models_do_not_share_an_objective_or_a_sampler(kind):
    """The second fit would change the propensities of the first one, and its sampler's memory."""
    objective, sampler = RelevanceMF(), SRNS(size=4, pool=9)
    options = {"objective": objective, "sampler": sampler, "num_negatives": 1, "iterations": 2, "batch_size": 16}
    one = kind(4, **options).fit(X, False)
    theta = one.objective_.theta.copy()
    two = kind(4, **options).fit(X[:, ::-1][:, :9], False)
    assert objective.theta is None
    assert sampler._known is None
    np.testing.assert_array_equal(one.objective_.theta, theta)
    assert len(two.objective_.theta) == 9
    assert (one.sampler_.known.num_items, two.sampler_.known.num_items) == (15, 9)
    alone = kind(4, **options | {"objective": RelevanceMF(), "sampler": SRNS(size=4, pool=9)}).fit(X, False)
    np.testing.assert_array_equal(one.scores(np.arange(20)), alone.scores(np.arange(20)))
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.scores(np.arange(20)), again.scores(np.arange(20)))
    with pytest.raises(InputError, match="sampler: expected scores of a model"):
        again.sampler_.sample([0], 1, 0, items=[0])


def test_a_fit_that_fails_leaves_the_last_one():
    model = MatrixFactorization(4, "nbpo", iterations=2).fit(X, False)
    flips = model.logits("flip", [0])
    with pytest.raises(InputError, match="learning_rate: expected one that is small enough"):
        model.set_params(objective=BPR(), learning_rate=1e30).fit(X, False)
    np.testing.assert_array_equal(model.logits("flip", [0]), flips)
    with pytest.raises(InputError, match="objective: expected arguments of NonNegativePU"):
        model.set_params(objective="nnpu")
    model.set_params(objective=NonNegativePU(0.1))

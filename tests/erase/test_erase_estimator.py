"""ERASE as an object that others hold: assigned to, fitted again, called under other settings of torch."""

import pickle

import pytest
import torch
from estimators import SMALL, altered
from sklearn.base import clone

from graphnoise import ERASE, InputError
from graphnoise.erase import CollapseWarning
from graphnoise.erase.encoders import build, full_graph_inputs
from graphnoise.erase.inputs import read
from graphnoise.erase.settings import settings


class Constant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.row = torch.nn.Parameter(torch.ones(6))

    def forward(self, x, edge_index):
        return self.row.expand(x.shape[0], 6)


def test_a_preset_that_is_assigned_counts_from_the_next_fit(planted):
    model = ERASE(**SMALL).fit(planted)
    before = model.predict_proba(planted)
    model.preset = "faithful-cora"
    assert torch.equal(before, model.predict_proba(planted))
    assert model.settings == clone(model).settings == ERASE("faithful-cora", **SMALL).settings
    expected = ERASE("faithful-cora", **SMALL).fit(planted).predict_proba(planted)
    assert torch.equal(expected, model.fit(planted).predict_proba(planted))


@pytest.mark.parametrize(("name", "value"), [("seed", "one"), ("preset", "robst"), ("checkpoint_every", 0)])
def test_what_is_assigned_is_checked_by_fit(name, value, planted):
    model = ERASE(**SMALL)
    setattr(model, name, value)
    with pytest.raises(InputError, match=f"^{name}: expected"):
        model.fit(planted)


def test_hyper_parameters_are_not_assigned_in_vain():
    with pytest.raises(InputError, match=r"^lr: expected a change by set_params\(lr=\.\.\.\), got an assignment"):
        ERASE().lr = 0.1
    with pytest.raises(AttributeError):
        ERASE().settings = settings("robust", {})


def test_a_fit_that_fails_leaves_the_last_one(planted):
    model = ERASE(**SMALL).fit(planted)
    before = model.predict_proba(planted)
    with pytest.raises(InputError, match=r"^encoder: expected a module that takes"):
        model.set_params(encoder=torch.nn.Linear(5, 8)).fit(planted)
    assert torch.equal(before, model.predict_proba(planted))


def test_it_predicts_where_it_was_fitted(planted):
    model = ERASE(**SMALL).fit(planted)
    before = model.predict_proba(planted)
    model.device = "cuda"
    assert torch.equal(before, model.predict_proba(planted))


@pytest.mark.parametrize("more", [{}, {"preset": "faithful-cora", "batch_size": 30}])
def test_the_default_device_does_not_matter(more, planted):
    expected = ERASE(**SMALL, **more).fit(planted).predict_proba(planted)
    with torch.device("meta"):
        assert torch.equal(expected, ERASE(**SMALL, **more).fit(planted).predict_proba(planted))


def test_a_fitted_model_survives_pickle(planted):
    model = ERASE(**SMALL).fit(planted)
    assert torch.equal(model.predict_proba(planted), pickle.loads(pickle.dumps(model)).predict_proba(planted))


def test_the_warning_of_a_collapse_points_at_the_call(planted):
    with pytest.warns(CollapseWarning) as caught:
        ERASE("faithful-cora", encoder=Constant(), **SMALL).fit(planted)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("size", [1e-15, 1e-38])
@pytest.mark.parametrize("sign", [torch.abs, torch.neg])
def test_features_that_would_count_as_zero_are_refused(size, sign, planted):
    with pytest.raises(InputError, match=r"^data\.x: expected some feature of at least 1e-09 in size \(scale them\)"):
        ERASE(**SMALL).fit(altered(planted, x=sign(planted.x) * size))


def test_features_that_are_all_zero_are_allowed(planted):
    model = ERASE(**SMALL).fit(planted)
    assert torch.isfinite(model.predict_proba(altered(planted, x=torch.zeros(120, 12)))).all()


def test_scores_of_something_else_are_refused(planted):
    with pytest.raises(InputError, match=r"^data: expected a torch_geometric Data, got int"):
        ERASE(**SMALL).fit(planted).score(3)


@pytest.mark.parametrize("encoder", ["mlp", "sgc"])
def test_encoders_without_graph_layers_build_no_graph(encoder, planted):
    inputs = read(planted, True, None)
    made = build(12, settings("robust", {"encoder": encoder}), torch.Generator().manual_seed(0))
    _, heard, blocks = full_graph_inputs(made, inputs)
    assert heard is inputs.graph
    assert blocks == []

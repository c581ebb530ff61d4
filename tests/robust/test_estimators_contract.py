"""What every estimator of `gn.robust.fit` keeps to: GraphGP and ERASE beside the trained networks."""

import pytest
import torch

from graphnoise import ERASE
from graphnoise.robust import GraphGP, RobustGNN
from tests.estimators import SMALL
from tests.robust.test_methods import accuracy, noisy, planted

pytestmark = pytest.mark.filterwarnings("ignore::graphnoise.robust.AmbiguousTransitionWarning")
MAKERS = {
    "ggp": GraphGP,
    "erase": lambda: ERASE(**{**SMALL, "epochs": 30}),
    "ggp-targets": lambda: RobustGNN("ggp-targets", epochs=40, val_labels="train"),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def test_clean_labels_are_learned_as_well_as_by_cross_entropy(make):
    assert make().fit(planted()).score(planted()) >= accuracy("ce") - 0.05


def test_the_same_seed_gives_the_same_result_and_other_labels_are_not_read(make):
    data = noisy().clone()
    data.y = torch.where(data.train_mask | data.val_mask, data.y, (data.y + 1) % 3)
    data.y_true = (data.y_true + 1) % 3
    first, second = (make().fit(part).predict_proba(part) for part in (noisy(), data))
    assert torch.equal(first, second)
    assert torch.allclose(first.sum(1), torch.ones(120).to(first), atol=1e-5)


def test_isolated_nodes_and_a_missing_class(make):
    data = noisy().clone()
    lonely = torch.arange(0, 120, 10)
    data.edge_index = data.edge_index[:, ~torch.isin(data.edge_index, lonely).any(0)]
    data.y = torch.where((data.train_mask | data.val_mask) & (data.y == 2), 0, data.y)
    p = make().fit(data).predict_proba(data)
    assert p.shape == (120, 2)
    assert bool(torch.isfinite(p).all())

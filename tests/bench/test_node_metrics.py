import pytest
import torch
from torch_geometric.data import Data

from graphnoise import DataError
from graphnoise.bench.methods.problem import Instance
from graphnoise.bench.tasks.node_metrics import Curves, measure, pack, unpack


@pytest.fixture
def instance():
    """Training nodes 0 to 2, validation node 3; of the test nodes 4 has neighbour 0, 5 has 0 and 1, 6 none, 7 has 3."""
    arcs = torch.tensor([[0, 0, 1, 3], [4, 5, 5, 7]])
    mask = torch.arange(8)
    return Instance(
        Data(
            x=torch.eye(8),
            edge_index=torch.cat([arcs, arcs.flip(0)], dim=1),
            y=torch.tensor([0, 1, 2, 0, 0, 1, 2, 0]),
            train_mask=mask < 3,
            val_mask=mask == 3,
            test_mask=mask > 3,
        )
    )


def test_each_group_of_nodes_is_counted_by_itself(instance):
    noisy = torch.tensor([0, 2, 2, 1, -1, -1, -1, -1])
    predicted = torch.tensor([0, 2, 0, 1, 0, 2, 2, -1])
    assert measure(instance.problem, instance.truth, noisy, predicted) == {
        "test_accuracy": 0.5,
        "test_near_right": 1.0,
        "test_near_wrong": 0.0,
        "test_far": 0.5,
        "train_right": 0.5,
        "train_wrong": 0.0,
        "train_misled": 1.0,
        "val_accuracy": 1.0,
        "val_accuracy_clean": 0.0,
        "test_unreached": 0.25,
    }


def test_neighbours_are_at_the_beginning_of_arcs():
    mask = torch.arange(5)
    masks = {"train_mask": mask < 2, "val_mask": mask == 2, "test_mask": mask > 2}
    # From training node 0 to 3, and from 4 to training node 1.
    arcs, y = torch.tensor([[0, 4], [3, 1]]), torch.tensor([0, 1, 0, 0, 0])
    directed = Instance(Data(x=torch.eye(5), edge_index=arcs, y=y, **masks))
    result = measure(directed.problem, y, y, torch.tensor([0, 1, 0, 0, 1]))
    assert (result["test_near_right"], result["test_near_wrong"], result["test_far"]) == (1.0, None, 0.0)


def test_a_share_of_no_nodes_is_none(instance):
    result = measure(instance.problem, instance.truth, torch.tensor([0, 1, 2, 0, -1, -1, -1, -1]), instance.truth)
    assert [result[name] for name in ("train_wrong", "train_misled", "test_near_wrong")] == [None] * 3
    assert result["test_near_right"] == 1.0


def test_curves_follow_right_and_wrong_labels(instance):
    curves = Curves(instance.problem, instance.truth, torch.tensor([0, 2, 2, 0, -1, -1, -1, -1]))
    curves.record(1.5, torch.tensor([0, 1, 0]))
    curves.record(0.5, torch.tensor([0, 2, 2]))
    assert curves.rows == {"loss": [1.5, 0.5], "right": [0.5, 1.0], "wrong": [1.0, 0.0], "misled": [0.0, 1.0]}


@pytest.mark.parametrize("classes", [torch.arange(7), torch.tensor([0, 70_000]), torch.tensor([3, -1])])
def test_predictions_survive_packing(classes):
    assert torch.equal(unpack(pack(classes)), classes)


@pytest.mark.parametrize("change", [{"length": 8}, {"zlib_base64": "AAAA"}, {"dtype": "no such"}])
def test_damaged_predictions_are_refused(change):
    with pytest.raises(DataError, match="predictions: expected"):
        unpack(pack(torch.arange(7)) | change)

"""Workflows of torch_geometric: data after its transforms, and from NetworkX."""

import networkx
import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.utils import from_networkx

import graphnoise as gn
from graphnoise import as_graph, clustering
from graphnoise.clustering import as_undirected

pytestmark = pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|BSR|invariant):UserWarning")


def blocks():
    data = gn.datasets.planted_partition([60, 60], 0.2, 0.01, seed=0)
    data.x = torch.eye(2)[data.y] + torch.rand(120, 2, generator=torch.Generator().manual_seed(0))
    return data


def reordered(data):
    """The same graph by way of NetworkX, whose names are in the order of the first ends."""
    graph = networkx.Graph(data.edge_index.t().tolist())
    return from_networkx(graph), torch.tensor(list(graph))


@pytest.mark.parametrize(
    "transform",
    [
        T.ToSparseTensor(),
        T.ToSparseTensor(layout=torch.sparse_coo),
        T.AddSelfLoops(),
        T.GDC(sparsification_kwargs={"method": "threshold", "avg_degree": 20}, exact=True),
        T.ToUndirected(),
        T.Compose([T.RandomNodeSplit(num_val=20, num_test=20), T.ToSparseTensor(remove_edge_index=False)]),
    ],
    ids=["ToSparseTensor", "COO", "AddSelfLoops", "GDC", "ToUndirected", "RandomNodeSplit"],
)
def test_workflows_of_torch_geometric(transform):
    data = transform(blocks())
    for name in ("train_mask", "val_mask"):
        data[name] = torch.arange(120) % 3 == ("train_mask", "val_mask").index(name)
    weighted = isinstance(transform, T.GDC)
    y = data.y.clone()
    soft = gn.LabelPropagation(3, 0.9)(y, data, mask=data.train_mask)
    assert (soft.argmax(1) == data.y).float().mean() > 0.9
    graph = as_undirected(data, symmetrise=True)
    posterior = clustering.membership_posterior(graph, (data.y == 0).long(), 0.95, 0.95)
    assert clustering.precision_recall_f1(posterior.nodes, data.y == 0).f1 > 0.9
    assert clustering.LocalCluster().fit(graph, 0).predict(0).all()
    assert clustering.LocalCluster().fit(graph, [0, 119, 0]).predict([0, 119, 0]).tolist() == [True] * 3
    model = gn.ERASE(seed=0, epochs=3, encoder="gcn")
    if weighted:
        with pytest.warns(
            UserWarning, match=r"weights of arcs \(edge_weight, edge_attr or values of adj_t\) are not"
        ) as caught:
            model.fit(data)
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="are not used"):
            assert model.predict(data).shape == (120,)
    else:
        assert model.fit(data).predict(data).shape == (120,)
        plain = blocks()
        plain.train_mask, plain.val_mask = data.train_mask, data.val_mask
        same = gn.ERASE(seed=0, epochs=3, encoder="gcn").fit(plain).predict_proba(plain)
        torch.testing.assert_close(
            torch.as_tensor(model.predict_proba(data)), torch.as_tensor(same), rtol=1e-3, atol=1e-3
        )


def test_from_networkx_of_torch_geometric():
    data, names = reordered(blocks())
    graph = as_graph(data)
    assert torch.equal(graph.to_dense(), as_graph(blocks()).to_dense()[names][:, names])

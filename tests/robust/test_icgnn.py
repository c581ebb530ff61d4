"""ICGNN against its formulas with dense matrices."""

import networkx
import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from training_steps import LABELLED, VIEW, context, draw, step

from graphnoise.noise.mixture import lower_component
from graphnoise.robust import methods
from graphnoise.robust.methods.icgnn import nearest_graph


def diffusion(matrix, epsilon):
    return epsilon * np.linalg.inv(np.eye(len(matrix)) - (1 - epsilon) * matrix)


def normalised(adjacency):
    looped = adjacency + np.eye(len(adjacency))
    scale = looped.sum(1) ** -0.5
    return scale[:, None] * looped * scale


def contradictions(matrix, labelled, y):
    return np.array(
        [
            sum(matrix[labelled[y == c], i].mean() for c in range(3) if c != label)
            for i, label in zip(labelled, y, strict=True)
        ]
    )


def nearest(embedding, count):
    similarity = cosine_similarity(embedding)
    np.fill_diagonal(similarity, -np.inf)
    adjacency = np.zeros_like(similarity)
    np.put_along_axis(adjacency, np.argsort(-similarity, 1)[:, :count], 1.0, 1)
    return np.maximum(adjacency, adjacency.T)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_targets_mix_given_labels_with_aggregated_predictions(alpha):
    at = context(epoch=30)
    method = methods.create_method("icgnn", alpha=alpha, epsilon=0.3, num_neighbours=4, temperature=0.7)
    method.setup(at)
    method.start_epoch(at)
    output, labelled, y = at.networks[0](VIEW), LABELLED.numpy(), at.given.numpy()
    structure = diffusion(dense(), 0.3)
    attributes = diffusion(normalised(nearest(output.embedding.numpy(), 4)), 0.3)
    scores = (1 - alpha) * contradictions(structure, labelled, y) + alpha * contradictions(attributes, labelled, y)
    clean = lower_component(scores)
    np.testing.assert_allclose(method.structure, contradictions(structure, labelled, y), atol=1e-7)
    p = output.logits.softmax(1).double().numpy()
    aggregated = (structure @ p) ** (1 / 0.7)
    aggregated /= aggregated.sum(1, keepdims=True)
    expected = clean[:, None] * np.eye(3)[y] + (1 - clean[:, None]) * aggregated[labelled]
    # Propagation of predictions ends at a change of 1e-4.
    np.testing.assert_allclose(method.clean, clean, atol=1e-4)
    np.testing.assert_allclose(method.targets(step(at)), expected, atol=1e-3)
    np.testing.assert_allclose(method.aggregated, aggregated, atol=1e-3)


def dense():
    graph = networkx.Graph(VIEW.edge_index.T.tolist())
    return normalised(networkx.to_numpy_array(graph, nodelist=range(60)))


def test_pseudo_labels_of_all_other_nodes_have_a_weight_that_does_not_grow():
    terms = []
    for epoch in (15, 99):
        at = context(epoch=epoch)
        method = methods.create_method("icgnn", pseudo_weight=0.5)
        method.setup(at)
        method.start_epoch(at)
        terms.append(float(method.terms(step(at))))
        rest = np.setdiff1d(np.arange(60), LABELLED)
        logits = at.networks[0](VIEW).logits[rest]
        assert terms[-1] == pytest.approx(-0.5 * float((method.aggregated[rest] * logits.log_softmax(1)).sum(1).mean()))
    assert terms[0] == terms[1]


def test_the_warm_up_trains_on_the_given_labels_and_is_not_selected():
    at = context(epoch=14)
    method = methods.create_method("icgnn")
    method.setup(at)
    method.start_epoch(at)
    assert torch.equal(method.targets(step(at)).argmax(1), at.given)
    assert (method.targets(step(at)).max(1).values == 1).all()
    assert method.terms(step(at)) == 0.0
    # `ready` is asked after the epoch.
    assert [method.ready(context(epoch=epoch)) for epoch in (1, 15, 16)] == [False, False, True]


def test_nearest_embeddings_are_searched_again_after_some_epochs():
    method, clean = methods.create_method("icgnn", alpha=1.0, num_neighbours=3, refresh=2), []
    for epoch in range(15, 18):
        at = context(epoch=epoch, embedding=draw(60, 5, seed=epoch))
        if not clean:
            method.setup(at)
        method.start_epoch(at)
        clean.append(method.clean.clone())
    assert torch.equal(clean[0], clean[1])
    assert not torch.equal(clean[1], clean[2])


def test_a_graph_of_nearest_nodes_has_no_more_than_there_are():
    torch.testing.assert_close(nearest_graph(torch.eye(3), 20).to_dense(), torch.full((3, 3), 1 / 3))

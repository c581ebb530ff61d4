"""Steps of training made of given outputs of networks, for tests of methods against their formulas."""

import torch

from graphnoise import datasets
from graphnoise.robust.training import Batch, Context, Output, Step, View

DATA = datasets.planted_partition([20, 20, 20], 0.3, 0.05, num_features=4, seed=0)
VIEW = View(DATA.x, DATA.edge_index)
# Not the first nodes, and not in order.
LABELLED = torch.tensor([59, 7, 23, 41, 30, 12, 55, 3])


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def context_of(
    given,
    *,
    view=None,
    arcs=None,
    x=None,
    num_nodes=None,
    num_classes=None,
    labelled=None,
    epoch=0,
    epochs=200,
    networks=(),
    val=(),
    val_given=(),
    seed=0,
):
    """A context whose labelled nodes are the first ones, unless they are given."""
    given = torch.as_tensor(given)
    if view is None:
        arcs = torch.zeros(2, 0, dtype=torch.long) if arcs is None else torch.as_tensor(arcs)
        view = View(torch.eye(num_nodes or len(given)) if x is None else x, arcs)
    return Context(
        view,
        torch.arange(len(given)) if labelled is None else labelled,
        given,
        num_classes or int(given.max()) + 1,
        epochs,
        list(networks),
        torch.Generator().manual_seed(seed),
        torch.as_tensor(val, dtype=torch.long),
        torch.as_tensor(val_given, dtype=torch.long),
        epoch,
    )


def context(view=VIEW, *, labelled=LABELLED, given=None, logits=None, embedding=None, epoch=0, epochs=100):
    """A context of a small graph whose only network returns these outputs, whatever the view."""
    given = DATA.y[labelled].clone() if given is None else given
    logits = draw(view.num_nodes, 3, scale=2.0) if logits is None else logits
    output = Output(logits, draw(view.num_nodes, 5, seed=1) if embedding is None else embedding)
    networks = [lambda view, generator=None: output]
    return context_of(given, view=view, labelled=labelled, epoch=epoch, epochs=epochs, networks=networks, num_classes=3)


def step(context, rows=None, outputs=None, network=0):
    """A step of all labelled nodes, or of some rows of them."""
    rows = torch.arange(len(context.labelled)) if rows is None else rows
    batch = Batch(context.full, torch.arange(context.full.num_nodes), context.labelled[rows], rows)
    return Step(context, batch, outputs or [context.networks[0](context.full)], network)


def step_of(context, *logits, network=0):
    """A step of all labelled nodes; the embeddings are the logits."""
    return step(context, outputs=[Output(rows, rows) for rows in logits], network=network)

"""A small graph with fixed outputs of a network, for tests of methods against their formulas."""

import torch

from graphnoise import datasets
from graphnoise.robust.training import Batch, Context, Output, Step, View

DATA = datasets.planted_partition([20, 20, 20], 0.3, 0.05, num_features=4, seed=0)
VIEW = View(DATA.x, DATA.edge_index)
# Not the first nodes, and not in order.
LABELLED = torch.tensor([59, 7, 23, 41, 30, 12, 55, 3])


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def context(view=VIEW, *, labelled=LABELLED, given=None, logits=None, embedding=None, epoch=0, epochs=100):
    """A context whose only network returns these outputs, whatever the view."""
    given = DATA.y[labelled].clone() if given is None else given
    logits = draw(view.num_nodes, 3, scale=2.0) if logits is None else logits
    output = Output(logits, draw(view.num_nodes, 5, seed=1) if embedding is None else embedding)
    generator, none = torch.Generator().manual_seed(0), torch.tensor([], dtype=torch.long)
    networks = [lambda view, generator=None: output]
    return Context(view, labelled, given, 3, epochs, networks, generator, none, none, epoch)


def step(context, rows=None, outputs=None, network=0):
    """A step of all labelled nodes, or of some rows of them."""
    rows = torch.arange(len(context.labelled)) if rows is None else rows
    batch = Batch(context.full, torch.arange(context.full.num_nodes), context.labelled[rows], rows)
    return Step(context, batch, outputs or [context.networks[0](context.full)], network)

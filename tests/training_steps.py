"""Steps of training made of given logits."""

import torch

from graphnoise.robust.training import Batch, Context, Output, Step, View


def context_of(given, *, arcs=None, x=None, num_nodes=None, epoch=0, networks=(), val=(), val_given=(), seed=0):
    """A context whose labelled nodes are the first ones."""
    given = torch.as_tensor(given)
    n = num_nodes or len(given)
    arcs = torch.zeros(2, 0, dtype=torch.long) if arcs is None else torch.as_tensor(arcs)
    x = torch.eye(n) if x is None else x
    return Context(
        View(x, arcs),
        torch.arange(len(given)),
        given,
        int(given.max()) + 1,
        200,
        list(networks),
        torch.Generator().manual_seed(seed),
        torch.as_tensor(val, dtype=torch.long),
        torch.as_tensor(val_given, dtype=torch.long),
        epoch=epoch,
    )


def step_of(context, *logits, network=0):
    """A step for all nodes; the embeddings are the logits."""
    n = context.full.num_nodes
    batch = Batch(context.full, torch.arange(n), context.labelled, torch.arange(len(context.given)))
    return Step(context, batch, [Output(rows, rows) for rows in logits], network)

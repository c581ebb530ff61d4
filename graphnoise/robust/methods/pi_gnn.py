"""PI-GNN: logits of neighbours are to be alike, those of other pairs not, weighted by a second network's confidence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.robust.methods.edges import pair_products
from graphnoise.robust.training import GCN, Batch, Context, Method, Output, Step


class PIGNN(Method):
    r"""Cross-entropy and a loss on pairs of nodes: is there an edge between them?

    With f the logits, g the output of a second network, A_ij whether i and j have an edge, and sigma the logistic
    function, each step minimises

        CE(f)  +  coefficient · M_ij(c_ij · BCE(sigma(f_i · f_j), A_ij))  +  M_ij(BCE(sigma(g_i · g_j), A_ij))

    where M_ij is half the mean over edges plus half the mean over pairs without one. The confidence c_ij is 1 at first;
    from the share `start` of the epochs on it is what the second network gives to the truth, without a gradient:
    sigma(g_i · g_j) on edges, 1 - sigma(g_i · g_j) on the others. The paper sums over all n^2 pairs, with weights that
    give M; here all edges and as many drawn pairs are used in each step.

    Args:
        coefficient: Weight of the loss on pairs.
        start: Share of the epochs before confidences weigh the pairs.
        width: Width of the hidden layer of the second network.

    Raises:
        InputError: A setting out of its range.

    Example:
        >>> PIGNN(start=0.25)
        PIGNN(coefficient=1.0, start=0.25, width=64)

    Source:
        Du, Bian, Rong, Han, Liu, Xu, Huang, Li and Huang, "Noise-robust Graph Learning by Estimating and Leveraging
        Pairwise Interactions", TMLR 2023, section 3 ("PI-GNN", 2021).
    """

    needs_graph = True

    def __init__(self, coefficient: float = 1.0, start: float = 0.5, width: int = 64) -> None:
        super().__init__()
        self.coefficient = checks.real("coefficient", coefficient, 0.0)
        self.start = checks.rate("start", start)
        self.width = checks.integer("width", width, 1)
        # Outputs of the second network in the step that is computed.
        self._outputs: Tensor | None = None

    def setup(self, context: Context) -> None:
        """Make the second network."""
        x = context.full.x
        size = (x.shape[1], self.width, context.num_classes)
        self.second = GCN(*size, generator=context.generator).to(x.device)

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of the network, and compute those of the second one."""
        self._outputs = self.second(batch.view.features, batch.view, context.generator)[0]
        return super().forward(context, batch)

    def terms(self, step: Step) -> Tensor | float:
        """Return the losses of both networks on pairs."""
        view, context, second = step.batch.view, step.context, self._outputs
        assert second is not None
        self._outputs = None
        edges = view.edges
        others = view.non_edges(max(1, edges.shape[1]), context.generator)
        pairs = torch.cat([edges, others], 1)
        signs = torch.ones(pairs.shape[1], device=pairs.device)
        signs[edges.shape[1] :] = -1.0
        agreement = signs * pair_products(second, pairs)
        confidence = agreement.detach().sigmoid() if context.progress >= self.start else torch.ones_like(signs)
        own = -F.logsigmoid(signs * pair_products(step.output.logits, pairs))
        losses = self.coefficient * confidence * own - F.logsigmoid(agreement)
        return sum(
            (part.mean() / 2 for part in torch.split(losses, [edges.shape[1], others.shape[1]]) if len(part)), 0.0
        )

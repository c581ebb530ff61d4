"""Methods that first train the network without labels, by contrast of two random views: distillation, Gaussians."""

from __future__ import annotations

import itertools
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.nn import Linear, SparseFeatures, dropout
from graphnoise.robust.methods.class_gaussians import class_gaussians, sampled_embeddings
from graphnoise.robust.methods.contrast import Projection, augmented, sampled_rows
from graphnoise.robust.training import Batch, Context, Method, Output, Step, View
from graphnoise.robust.training.networks import Transform, ViewNetwork

# Shares of arcs and of features that each of the two views lacks.
VIEWS = ((0.2, 0.3), (0.4, 0.4))


def grace(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    r"""Return the mean of -log(e^(s_ii / τ) / (Σ_j e^(s_ij / τ) + Σ_{j ≠ i} e^(r_ij / τ))) over i and both directions.

    s are the cosines of one view with the other, r those within one view.

    Args:
        first: Projections in one view, shape [size, width].
        second: Those of the same nodes in the other view.
        temperature: Temperature τ.

    Example:
        >>> grace(torch.eye(2), torch.eye(2), 1.0)      # log(e + 2) - 1
        tensor(0.5514)

    Source:
        Zhu et al., "Deep Graph Contrastive Representation Learning" (GRACE), 2020, equation 1.
    """
    a, b = F.normalize(first), F.normalize(second)
    between = a @ b.t() / temperature
    total = torch.zeros((), device=a.device)
    for rows, scores in ((a, between), (b, between.t())):
        within = (rows @ rows.t() / temperature).fill_diagonal_(-torch.inf)
        total = total + (torch.logaddexp(scores.logsumexp(1), within.logsumexp(1)) - scores.diagonal()).mean() / 2
    return total


class Pretrained(Method):
    """A method whose first epochs contrast two random views of the graph, and read no label.

    Args:
        pretrain: Share of the epochs.
        contrast_temperature: Temperature of the contrast.
        block: Number of nodes that are contrasted in a step.
    """

    needs_graph = True

    def __init__(self, pretrain: float, contrast_temperature: float, block: int) -> None:
        super().__init__()
        self.pretrain, self.block = checks.rate("pretrain", pretrain), checks.integer("block", block, 2)
        self.contrast_temperature = checks.real("contrast_temperature", contrast_temperature, 1e-3)

    def setup(self, context: Context) -> None:
        """Make the projection that is contrasted."""
        embedding = context.evaluate().embedding
        self.projection = Projection(embedding.shape[1], context.generator).to(embedding.device)

    def pretraining(self, context: Context) -> bool:
        """Return whether the epoch that begins, or runs, is one of the pre-training."""
        return context.epoch < context.epochs_in(self.pretrain)

    def ready(self, context: Context) -> bool:
        """Return whether the epoch that has just ended was not one of the pre-training."""
        return context.epoch > context.epochs_in(self.pretrain)

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch; zeros in the pre-training."""
        # Of the embedding, so that the last layer has no gradient, and Adam leaves it as it is.
        return step.embedding.sum(1) * 0.0 if self.pretraining(step.context) else super().loss(step, targets)

    def terms(self, step: Step) -> Tensor | float:
        """Return the contrast of a random block of nodes in the pre-training."""
        context = step.context
        if not self.pretraining(context):
            return 0.0
        rows, projections = sampled_rows(len(step.batch.nodes), self.block, context.generator), []
        for arcs, features in VIEWS:
            seen = augmented(step.batch.view, arcs, features, context.generator)
            embedding = context.networks[step.network](seen, context.generator).embedding
            projections.append(self.projection(embedding[rows]))
        return grace(projections[0], projections[1], self.contrast_temperature)


class Student(ViewNetwork):
    """A small network: a linear map of features smoothed twice ("sgc"), or a perceptron of features alone ("mlp").

    The last layer starts at 0.

    Args:
        kind: "sgc" or "mlp".
        num_features: Number of features.
        num_classes: Number of classes.
        generator: Source of the initial weights.
    """

    WIDTH = 64

    def __init__(self, kind: str, num_features: int, num_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        widths = [num_features, num_classes] if kind == "sgc" else [num_features, self.WIDTH, num_classes]
        layers = [Linear(*size, bias=True, generator=generator) for size in itertools.pairwise(widths)]
        # In few epochs, large initial weights would still decide.
        torch.nn.init.zeros_(layers[-1].weight)
        self.layers = torch.nn.ModuleList(layers)

    def forward(
        self,
        x: Tensor | SparseFeatures,
        view: View,
        generator: torch.Generator | None = None,
        transform: Transform | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return logits and the input of the last layer."""
        h = view.smoothed(2, 1.0) if self.kind == "sgc" else F.normalize(view.x)
        for layer in self.layers[:-1]:
            hidden = dropout(F.relu(layer(h)), 0.5, generator)
            assert isinstance(hidden, Tensor)
            h = hidden
        return self.layers[-1](h), h


class PretrainDistil(Pretrained):
    r"""Pre-training without labels, fine-tuning on the labels, and distillation of a small student on all nodes.

    In the first `pretrain` of the epochs the network learns from the contrast of two views (`grace`), in the next ones
    from cross-entropy, and in the last `distil` of them it is the fixed teacher q of a student p:

        L = (1 - alpha) mean_labelled CE(y_i, p_i) + alpha mean_all KL(softmax(q_i / temperature) || p_i)

    The student predicts; with distil = 0 there is none, and the network predicts. To see what pre-training gives,
    compare with pretrain = 0, whose epochs are as many and are all on labels. Learning rate and epochs are those of
    the whole run; GRACE has 5e-4 and 200 for pre-training on Cora.

    Args:
        pretrain: Share of the epochs of pre-training.
        distil: Share of the epochs of distillation.
        student: "sgc", a linear map of smoothed features, or "mlp", a perceptron of features without the graph.
        alpha: Weight of the teacher.
        temperature: Temperature of the teacher.
        contrast_temperature: Temperature of the contrast.
        block: Number of nodes that are contrasted in a step.

    Raises:
        InputError: A setting out of its range.

    Source:
        In the spirit of Chen et al., "Big Self-Supervised Models are Strong Semi-Supervised Learners" (SimCLRv2),
        NeurIPS 2020, with the contrast of Zhu et al. 2020 (GRACE); alpha and the students are ours.
    """

    search = MappingProxyType({"alpha": (0.1, 0.9), "temperature": (0.5, 4.0)})
    taught: Tensor
    distilling: Tensor

    def __init__(
        self,
        pretrain: float = 0.3,
        distil: float = 0.35,
        student: str = "sgc",
        alpha: float = 0.5,
        temperature: float = 1.0,
        contrast_temperature: float = 0.4,
        block: int = 512,
    ) -> None:
        super().__init__(pretrain, contrast_temperature, block)
        self.distil = checks.rate("distil", distil)
        if self.pretrain + self.distil >= 1:
            checks.fail("distil", "a share that leaves epochs for fine-tuning: pretrain + distil < 1", distil)
        self.student, self.alpha = checks.choice("student", student, ("sgc", "mlp")), checks.rate("alpha", alpha)
        self.temperature = checks.real("temperature", temperature, 1e-3)

    def setup(self, context: Context) -> None:
        """Make projection and student."""
        super().setup(context)
        x = context.full.x
        self.small = Student(self.student, x.shape[1], context.num_classes, context.generator).to(x.device)
        self.register_buffer("taught", torch.zeros(len(x), context.num_classes, device=x.device))
        self.register_buffer("distilling", torch.tensor(False))

    def ready(self, context: Context) -> bool:
        """Return whether the epoch that has just ended was one of the last part."""
        return bool(self.distilling) if self.distil else super().ready(context)

    def start_epoch(self, context: Context) -> None:
        """Keep the teacher's predictions, where the distillation begins."""
        if self.distil and context.epoch == context.epochs - context.epochs_in(self.distil):
            self.taught.copy_((context.evaluate().logits / self.temperature).softmax(1))
            self.distilling.fill_(True)

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of the network, or of the student."""
        if not self.distilling:
            return super().forward(context, batch)
        return [Output(*self.small(batch.view.features, batch.view, context.generator))]

    def loss(self, step: Step, targets: Tensor) -> Tensor:
        """Return the loss of each labelled node of the batch."""
        losses = super().loss(step, targets)
        return losses * (1 - self.alpha) if self.distilling else losses

    def terms(self, step: Step) -> Tensor | float:
        """Return the contrast, or the divergence from the teacher."""
        if not self.distilling:
            return super().terms(step)
        taught, log_p = self.taught[step.batch.nodes], step.output.logits.log_softmax(1)
        return self.alpha * F.kl_div(log_p, taught, reduction="batchmean")

    def predict(self, context: Context, view: View) -> Tensor:
        """Return class probabilities of the view's nodes, by the student once there is one."""
        if not self.distilling:
            return super().predict(context, view)
        logits: Tensor = self.small(view.features, view)[0]
        return logits.softmax(1)


class ClassGaussians(Pretrained):
    r"""A linear head on embeddings learned without labels, trained with rows drawn from robust Gaussians of classes.

    After pre-training the network is fixed. Its embeddings z, standardised, of the labelled nodes give a Gaussian of
    each class (`class_gaussians`), and classes of fewer labels get as many drawn rows as they have fewer than the
    largest one. The head minimises the sum of cross-entropies of the labelled nodes and of the drawn rows, over the
    number of the former. Drawn rows have no edges, and never enter the network.

    Args:
        pretrain: Share of the epochs of pre-training.
        contrast_temperature: Temperature of the contrast.
        block: Number of nodes that are contrasted in a step.

    Raises:
        InputError: A setting out of its range.

    Source:
        In the spirit of Zhang et al., "When Noisy Labels Meet Long Tail Dilemmas: A Representation Calibration Method"
        (RCAL), ICCV 2023.
    """

    embedded: Tensor
    drawn: Tensor
    drawn_labels: Tensor

    def __init__(self, pretrain: float = 0.5, contrast_temperature: float = 0.4, block: int = 512) -> None:
        super().__init__(pretrain, contrast_temperature, block)

    def setup(self, context: Context) -> None:
        """Make projection and head."""
        super().setup(context)
        z, counts = context.evaluate().embedding, torch.bincount(context.given, minlength=context.num_classes)
        self.head = Linear(z.shape[1], context.num_classes, bias=True, generator=context.generator).to(z.device)
        missing = torch.where(counts > 0, counts.max() - counts, 0)
        self.register_buffer("embedded", torch.zeros_like(z))
        self.register_buffer("drawn_labels", torch.arange(len(counts), device=z.device).repeat_interleave(missing))
        self.register_buffer("drawn", z.new_zeros(len(self.drawn_labels), z.shape[1]))

    def start_epoch(self, context: Context) -> None:
        """Estimate the Gaussians and draw rows, where pre-training ends."""
        if context.epoch != context.epochs_in(self.pretrain):
            return
        self.embedded.copy_(_standardised(context.evaluate().embedding))
        gaussians = class_gaussians(self.embedded[context.labelled], context.given, context.num_classes)
        self.drawn.copy_(sampled_embeddings(*gaussians, self.drawn_labels, context.generator))

    def forward(self, context: Context, batch: Batch) -> list[Output]:
        """Return the outputs of the network, and of the head afterwards."""
        if self.pretraining(context):
            return super().forward(context, batch)
        z = self.embedded[batch.nodes]
        return [Output(self.head(z), z)]

    def terms(self, step: Step) -> Tensor | float:
        """Return the contrast, or the loss of the drawn rows."""
        if self.pretraining(step.context) or not len(self.drawn):
            return super().terms(step)
        total = F.cross_entropy(self.head(self.drawn), self.drawn_labels, reduction="sum")
        return total / len(step.context.given)

    def predict(self, context: Context, view: View) -> Tensor:
        """Return class probabilities of the view's nodes."""
        logits: Tensor = self.head(_standardised(context.evaluate_view(view)[0].embedding))
        return logits.softmax(1)


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-6)

"""Hyper-parameters of ERASE, and the presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from graphnoise import checks

ENCODERS = ("gat", "gcn", "gin", "sgc", "mlp")


@dataclass(frozen=True)
class Settings:
    """All hyper-parameters; the defaults are those that the presets share.

    Attributes:
        encoder: "gat", "gcn", "gin", "sgc" (linear layers on features that are smoothed twice over the graph, with rows
            of length 1), "mlp", or a `torch.nn.Module` called as `module(x, edge_index)`, of which a copy is trained.
        layers: Layers of a named encoder.
        hidden: Width of its hidden layers, over all heads.
        heads: Attention heads of the hidden layers ("gat").
        width: Width of the embedding.
        dropout: Probability of dropping an entry of the input of every layer but the last (of the only one, if so).
        activation: After hidden layers: "leaky_relu" (slope .01) or "relu".
        hidden_norm: Row normalisation of hidden layers: "l1", "l2" or "none".
        norm: Row normalisation of the embedding, before a ReLU; of what a module returns, with no ReLU.
        normalise_features: Whether the features' rows are scaled to sum to 1 (where all are at least 0).
        components: Principal directions (not centred) that the features of "sgc" are reduced to; None for all features.
        denoise: Structural denoising of the given labels: "train" (over edges between training nodes), "full" or
            "none".
        propagation: "lazy" or "restart", see `graphnoise.propagate`; of denoising and of the fused labels.
        normalisation: "col", "sym" or "row".
        alpha: Weight of the **neighbours** in propagation (ERASE's papers and code give the node's own weight).
        num_steps: Steps of propagation.
        clamp: Whether each step of propagation ends by a clamp to [0, 1].
        label_scope: Whose denoised labels enter the fusion: those of "train" nodes or "all" nodes'.
        prototypes: Mean embeddings of "train" nodes by denoised label, or "mixed": the sum of the training nodes' mean
            share by given label and all nodes' by their labels of the epoch before.
        beta: Weight of the denoised labels beside the prototype labels in the fusion.
        softmax: Whether fused labels pass through a softmax.
        class_sizes: Sizes of the classes of the semantic labels: "free", or "validation": the propagated scores are
            weighted by class, so that expected sizes are the shares of classes among the labels of `val_mask` (where
            they are read; those of `train_mask` are often chosen evenly by class).
        propagate_from: Whose fused labels are propagated: "all" nodes' or those of "train" nodes.
        gamma1: Weight of the coding rate within classes.
        gamma2: Weight of the coding rate of the whole.
        eps: Squared distortion of the coding rate.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty.
        amsgrad: Whether Adam is its AMSGrad variant.
        epochs: Epochs at most.
        patience: Training ends when the best epoch is more than this many epochs ago (epochs, not probes: with
            `probe_every` above 1 fewer looks are taken in that time), so at epoch best + patience + 1. Only where
            "validation" selects, and not for a "blend".
        select: "validation" (keep the epoch with the highest accuracy on the labels of `val_mask`, the first of equals)
            or "last" (validation labels are not read).
        val_labels: What validation labels do: "select", as `select` says, or "train": they train as those of
            `train_mask` do, and each initialisation leaves out another of `n_init` parts of all labelled nodes, whose
            labels select in their place.
        n_init: Initialisations, whose probabilities are averaged.
        probe: Labels that the linear probe is fitted on: "semantic" (the epoch's fused labels of the training nodes),
            "given", or "blend": both, averaged over all probed epochs, and a probe of the smoothed features, weighted
            by the validation labels; training then runs to its last epoch.
        probe_c: Inverse strength of the probe's L2 penalty.
        probe_every: Epochs between two probes; the last epoch is always probed.
        probe_from: The first epoch that may be probed.
        blend_temperature: Log-weight in the blend per validation node that is predicted as labelled (an inverse
            temperature: 0 weighs all candidates alike); of more than 500 validation nodes the share counts, as if
            there were 500.
        batch_size: Nodes in a mini-batch, or None for the full batch.
        fanouts: Neighbours sampled at each layer in a mini-batch, -1 for all.
        memory: Share of the earlier batches' Gram matrices that the coding rate of a batch keeps, in [0, 1).

    Example:
        >>> Settings(encoder="gcn", epochs=50).width
        512
    """

    encoder: str | torch.nn.Module = "gat"
    layers: int = 2
    hidden: int = 256
    heads: int = 8
    width: int = 512
    dropout: float = 0.5
    activation: str = "leaky_relu"
    hidden_norm: str = "l1"
    norm: str = "l1"
    normalise_features: bool = True
    components: int | None = None
    denoise: str = "train"
    propagation: str = "lazy"
    normalisation: str = "col"
    alpha: float = 0.4
    num_steps: int = 5
    clamp: bool = False
    label_scope: str = "train"
    prototypes: str = "train"
    beta: float = 0.6
    softmax: bool = True
    class_sizes: str = "free"
    propagate_from: str = "all"
    gamma1: float = 1.0
    gamma2: float = 2.0
    eps: float = 0.05
    lr: float = 1e-3
    weight_decay: float = 5e-4
    amsgrad: bool = True
    epochs: int = 400
    patience: int = 150
    select: str = "validation"
    val_labels: str = "select"
    n_init: int = 1
    probe: str = "semantic"
    probe_c: float = 1.0
    probe_every: int = 1
    probe_from: int = 1
    blend_temperature: float = 0.2
    batch_size: int | None = None
    fanouts: tuple[int, ...] = (5, 5)
    memory: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, torch.nn.Module):
            if not isinstance(self.encoder, str):
                checks.fail("encoder", "a name or a torch.nn.Module", type(self.encoder).__name__)
            checks.choice("encoder", self.encoder, ENCODERS)
        for name, low, high in _INTEGERS:
            checks.integer(name, getattr(self, name), low, high)
        for name in ("alpha", "beta"):
            checks.rate(name, getattr(self, name))
        for name in ("dropout", "memory"):
            checks.real(name, getattr(self, name), 0.0, 0.999_999, "a rate of at least 0 and below 1")
        for name in ("gamma1", "gamma2", "weight_decay", "blend_temperature"):
            checks.real(name, getattr(self, name), 0.0)
        for name in ("eps", "lr", "probe_c"):
            checks.real(name, getattr(self, name), 1e-12)
        for name, options in _CHOICES.items():
            checks.choice(name, getattr(self, name), options)
        for name in ("normalise_features", "clamp", "softmax", "amsgrad"):
            if not isinstance(getattr(self, name), bool):
                checks.fail(name, "True or False", repr(getattr(self, name)))
        if self.encoder == "gat" and self.layers > 1 and self.hidden % self.heads:
            checks.fail("hidden", f"a multiple of heads ({self.heads})", self.hidden)
        if self.held_out and self.n_init == 1:
            checks.fail("n_init", "at least 2 with val_labels='train', as each leaves out a part of the labels", 1)
        if self.components is not None:
            checks.integer("components", self.components, 1)
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size, 1)
        if not isinstance(self.fanouts, tuple | list) or not self.fanouts:
            checks.fail("fanouts", "a tuple of integers, one per layer", repr(self.fanouts))
        # Other encoders read as many fanouts as there are, or none.
        layered = self.encoder in ("gat", "gcn", "gin")
        if self.batch_size is not None and layered and len(self.fanouts) != self.layers:
            checks.fail("fanouts", f"{self.layers} numbers, one per layer", len(self.fanouts))
        for i, fanout in enumerate(self.fanouts):
            checks.integer(f"fanouts[{i}]", fanout, -1)

    @property
    def held_out(self) -> bool:
        """Whether each initialisation leaves out a part of the labelled nodes."""
        return self.select == "validation" and self.val_labels == "train"


_INTEGERS = (
    ("layers", 1, 1000),
    ("hidden", 1, 65_536),
    ("heads", 1, 1024),
    ("width", 1, 65_536),
    ("num_steps", 0, 1_000_000),
    ("epochs", 1, 100_000_000),
    ("patience", 0, None),
    ("probe_every", 1, None),
    ("probe_from", 1, None),
    ("n_init", 1, 1000),
)
_CHOICES = {
    "activation": ("leaky_relu", "relu"),
    "hidden_norm": ("l1", "l2", "none"),
    "norm": ("l1", "l2", "none"),
    "denoise": ("train", "full", "none"),
    "propagation": ("lazy", "restart"),
    "normalisation": ("col", "sym", "row"),
    "label_scope": ("train", "all"),
    "prototypes": ("train", "mixed"),
    "propagate_from": ("all", "train"),
    "class_sizes": ("free", "validation"),
    "select": ("validation", "last"),
    "val_labels": ("select", "train"),
    "probe": ("semantic", "given", "blend"),
}

# As the official code runs them; alpha there is the node's own weight on the four small sets.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "faithful-cora": {},
    "faithful-citeseer": {"beta": 0.7, "num_steps": 4, "eps": 0.4},
    "faithful-pubmed": {"num_steps": 3, "gamma2": 3.0},
    "faithful-corafull": {"alpha": 0.3, "beta": 0.7, "num_steps": 2, "eps": 0.01, "normalise_features": False},
    "faithful-arxiv": {
        "hidden": 64,
        "activation": "relu",
        "norm": "l2",
        "normalise_features": False,
        "denoise": "full",
        "propagation": "restart",
        "normalisation": "sym",
        "alpha": 0.5,
        "num_steps": 50,
        "clamp": True,
        "softmax": False,
        "propagate_from": "train",
        "lr": 1e-2,
        "amsgrad": False,
        "epochs": 5,
        "patience": 15,
        "batch_size": 200,
    },
    "robust": {
        "encoder": "sgc",
        "components": 32,
        "hidden": 128,
        "width": 64,
        "dropout": 0.0,
        "hidden_norm": "l2",
        "norm": "l2",
        "denoise": "full",
        "propagation": "restart",
        "normalisation": "sym",
        "alpha": 0.9,
        "num_steps": 10,
        "label_scope": "all",
        "prototypes": "mixed",
        "class_sizes": "validation",
        "eps": 5.0,
        "lr": 5e-3,
        "epochs": 20,
        "val_labels": "train",
        "n_init": 5,
        "probe": "blend",
        "blend_temperature": 0.4,
        "probe_every": 5,
        "probe_from": 10,
    },
}


def settings(preset: str, overrides: Mapping[str, Any]) -> Settings:
    """Return the settings of a preset with some of them replaced.

    Raises:
        InputError: No such preset or hyper-parameter (the nearest name is suggested), or a value out of its range.

    Example:
        >>> settings("faithful-citeseer", {"epochs": 10}).beta
        0.7
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in overrides:
        checks.choice("hyper-parameter of ERASE", name, known)
    return Settings(**{**PRESETS[checks.choice("preset", preset, PRESETS)], **overrides})

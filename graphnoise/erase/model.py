"""ERASE as an estimator with the interface of scikit-learn."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checkpoint import check_file, checkpoint_path, resume, run_epochs
from graphnoise.erase.blend import blend
from graphnoise.erase.encoders import full_graph_inputs
from graphnoise.erase.ensemble import Ensemble, start
from graphnoise.erase.inputs import Inputs, Labels, digest, read, read_training_labels
from graphnoise.erase.probe import Probe
from graphnoise.erase.settings import Settings, settings
from graphnoise.erase.train import COLLAPSED_RANK, CollapseWarning, Training
from graphnoise.errors import InputError
from graphnoise.homophily import label_homophily, warn_of_heterophily
from graphnoise.node_classifier import NodeClassifier
from graphnoise.process_group import agree, checking
from graphnoise.resources import default_modes, read_device, thread_count


class ERASE(NodeClassifier):
    r"""Error-resilient representations on a graph with wrong labels, and a linear probe on them.

    Each epoch embeds all nodes, labels each one by the propagated given labels and by its cosine with the mean
    embedding of each class, propagates the mixture over the graph, and takes a step of Adam on

        loss = gamma1 · Rc(Z | labels) - gamma2 · R(Z)

    with R the coding rate (`graphnoise.coding_rate`): embeddings of a class are compressed, and all of them together
    expanded. Labels of `val_mask` select the epoch, as in ERASE's own code, or train like those of `train_mask`, as in
    the default preset: each of its initialisations leaves out another part of all labelled nodes, and the parts weigh
    the blended probes (`val_labels`). With `select="last"` they are not read. Of other nodes no label is.

    Args:
        preset: "robust" (the default), or as ERASE's own code runs: "faithful-cora", "faithful-citeseer",
            "faithful-pubmed", "faithful-corafull", "faithful-arxiv".
        seed: Seed of initial weights, dropout, mini-batches and parts that are left out.
        num_classes: Number of classes, whose labels are then 0 to num_classes - 1; by default the classes are the
            distinct training labels. Classes without labels have a share in softmax and so in the fused labels.
        device: Where to train, and then to predict; by default where `data.x` is in `fit`.
        progress: Whether to show a progress bar; by default where standard error is a terminal.
        num_threads: Threads of `fit` and of predictions, whatever number torch is set to; 0 for one per core. Results
            depend on this number by rounding; more than one is faster on large graphs.
        checkpoint: A file that training is saved to; `fit` resumes from it if it exists.
        checkpoint_every: Epochs between two saves.
        distributed: Whether the processes of torch.distributed's default group share the mini-batches; all of them call
            `fit` with the same arguments, and have the same encoder at the end. Weights are those of one process with
            the same batches, to rounding; sampled neighbours and dropout depend on the number of processes.
        **overrides: Hyper-parameters in place of the preset's, see `graphnoise.erase.Settings`.

    Attributes:
        history: For each epoch: loss, rate, rate_within, val_accuracy, pseudo_label_accuracy (where the data hold
            `y_true`), rank (effective rank of the embeddings in the epoch's loss, with dropout; with mini-batches, of
            those before the epoch, without) and seconds; None where not computed. Where probes are blended by the
            validation labels, val_accuracy is measured on the same labels, and so optimistic. Of several
            initialisations: means, the seconds of all, and the accuracy of the blend.
        best_epoch_: The selected epoch, counted from 1 (of a blend, the last).
        blend_weights_: The weights of a blend's candidates (from the plain probe alone to the semantic ones alone), or
            None.
        classes_: Names of the classes, in the order of the columns of `predict_proba`.
        encoder_: The trained encoder, of the first initialisation.
        homophily_: Agreement of the given labels of neighbours beyond chance (1: always, 0: by chance), or None where
            no arc joins labelled nodes. Wrong labels lower it. Where it is small beyond doubt, `fit` warns
            (`HeterophilyWarning`).
        labels_: The pseudo-labels of all nodes in the last epoch (of several initialisations, the most frequent one),
            shape [num_nodes].
        rank_: Effective rank of the selected embeddings (of several initialisations, the smallest).

    Raises:
        InputError: An unknown preset or hyper-parameter, or a value out of its range.

    Example:
        >>> from graphnoise import datasets, noise
        >>> data = datasets.planted_partition([40, 40], 0.3, 0.02, num_features=8, split=(10, 10, 20), seed=0)
        >>> noisy = noise.LabelNoise("symmetric", 0.3, seed=0)(data)
        >>> model = ERASE(seed=0).fit(noisy)
        >>> model.predict(noisy).shape, model.score(noisy) > 0.9
        (torch.Size([80]), True)

    Source:
        Chen et al., "ERASE: Error-Resilient Representation Learning on Graphs for Label Noise Tolerance", CIKM 2024,
        arXiv 2312.08852. The documentation of the presets lists the differences from its code.
    """

    def __init__(
        self,
        preset: str = "robust",
        *,
        seed: int = 0,
        num_classes: int | None = None,
        device: str | torch.device | None = None,
        progress: bool | None = None,
        num_threads: int = 1,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 10,
        distributed: bool = False,
        **overrides: Any,
    ) -> None:
        self.preset, self.overrides = preset, overrides
        self.seed, self.num_classes, self.device = seed, num_classes, device
        self.progress, self.num_threads = progress, num_threads
        self.checkpoint, self.checkpoint_every, self.distributed = checkpoint, checkpoint_every, distributed
        self._check()

    def _check(self) -> Settings:
        """Check all arguments and return the hyper-parameters."""
        self.seed = checks.integer("seed", self.seed, 0, 2**62)
        if self.num_classes is not None:
            self.num_classes = checks.integer("num_classes", self.num_classes, 2, 2**31)
        if self.progress is not None and not isinstance(self.progress, bool):
            checks.fail("progress", "True, False or None", repr(self.progress))
        thread_count(self.num_threads)
        check_file(self.checkpoint)
        self.checkpoint_every = checks.integer("checkpoint_every", self.checkpoint_every, 1)
        read_device(self.device)
        if checks.flag("distributed", self.distributed) and self.settings.batch_size is None:
            checks.fail("distributed", "a batch_size, of which the processes take shares", "None")
        return self.settings

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HYPER_PARAMETERS:
            checks.fail(name, f"a change by set_params({name}=...)", "an assignment")
        super().__setattr__(name, value)

    @property
    def settings(self) -> Settings:
        """All hyper-parameters: the preset's, and those in their place."""
        return settings(self.preset, self.overrides)

    def fit(
        self, data: Data, *, split: int | None = None, on_epoch: Callable[[Training | Ensemble], object] | None = None
    ) -> ERASE:
        """Train on `data.y` at `data.train_mask`, selecting by `data.val_mask`.

        One labelled node of two classes is enough. A class without any is never predicted. A node without arcs is
        known by its features alone. Embeddings that all point one way end in a `CollapseWarning`, not in an error.

        Args:
            data: A torch_geometric `Data` with x, edge_index, y, train_mask and, unless `select="last"`, val_mask.
                Labels are integers or strings, in any container (see `graphnoise.labels.read_labels`), and read in
                these masks alone. `y_true`, if it is there, is read for `history` alone.
            split: Column of masks of shape [num_nodes, number of splits].
            on_epoch: Called after each epoch with the state of training.

        Returns:
            The estimator itself.

        Raises:
            InputError: The data are not what is needed, an encoder does not fit them, training left the finite numbers,
                or the checkpoint belongs to other data or settings.
            DataError: The checkpoint is damaged or cannot be written.
        """
        if on_epoch is not None and not callable(on_epoch):
            checks.fail("on_epoch", "a callable or None", repr(on_epoch))
        # As in scikit-learn, attributes may have been assigned since the constructor checked them.
        with checking("distributed", self.distributed is True):
            s = self._check()
        with default_modes(self.num_threads), torch.enable_grad():
            with checking("distributed", self.distributed):
                inputs = read(data, s.normalise_features, read_device(self.device))
                selecting = s.select == "validation"
                labels = read_training_labels(data, inputs, self.num_classes, validated=selecting, split=split)
            return self._fit(s, inputs, labels, on_epoch)

    def _fit(
        self,
        s: Settings,
        inputs: Inputs,
        labels: Labels,
        on_epoch: Callable[[Training | Ensemble], object] | None = None,
    ) -> ERASE:
        nodes, given = torch.cat([labels.train, labels.val]), torch.cat([labels.given, labels.val_labels])
        homophily = label_homophily(inputs.graph, nodes, given, labels.num_classes)
        warn_of_heterophily("ERASE", homophily, stacklevel=4)
        file, mark = checkpoint_path(self.checkpoint), ""
        with checking("distributed", self.distributed):
            training = start(inputs, labels, s, self.seed)
            if file is not None or self.distributed:
                mark = self._mark(s, digest(inputs.x, inputs.graph.edge_index, labels, training.encoder))
            if file is not None and file.exists():
                resume(training, file, mark, s.epochs, "ERASE")
        if self.distributed:
            agree((mark, s.epochs, s.patience, training.epochs_done))
            for run in training.runs if isinstance(training, Ensemble) else [training]:
                if any(isinstance(m, _BatchNorm) for m in run.encoder.modules()):
                    checks.fail("distributed", "an encoder without batch normalisation", "one with")
                run.distributed = True
        if training.epochs_done == s.epochs and not training.fitted:
            training.fit_probe()
        every = self.checkpoint_every
        run_epochs(
            training, "ERASE", s.epochs, progress=self.progress, on_epoch=on_epoch, file=file, every=every, mark=mark
        )
        self._set_fitted(training)
        self.homophily_ = None if homophily is None else homophily[0]
        return self

    def _set_fitted(self, training: Training | Ensemble) -> None:
        """Set the fitted attributes, and warn where the embeddings have collapsed."""
        encoder = training.encoder
        encoder.load_state_dict(training.fitted["encoder"])
        for name, value in encoder.named_parameters():
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"weights: expected finite numbers, got NaN or infinite ones in {name} (lower lr)")
        self.rank_ = training.rank()
        self.encoder_, self._settings = encoder.eval(), training.s
        self.num_classes_ = training.labels.num_classes
        self.classes_ = training.labels.classes
        self.n_features_in_ = training.inputs.x.shape[1]
        self._state = training.fitted
        blended = "members" in self._state
        last = self._state["members"][-1]["semantic"] if blended else self._state["probe"]
        self.probe_ = Probe.restored(last, self.num_classes_)
        self.blend_weights_ = self._state["weights"].tolist() if blended else None
        self.labels_, self.denoised_ = training.semantic, training.denoised
        self.best_epoch_, self.history = training.best_epoch, training.history
        if self.rank_ < COLLAPSED_RANK:
            advice = "fewer layers, a larger eps or gamma2, a smaller lr or another encoder may help"
            warnings.warn(
                f"ERASE: embeddings have collapsed to an effective rank of {self.rank_:.2f}; {advice}",
                CollapseWarning,
                stacklevel=4,
            )

    def embed(self, data: Data) -> Tensor:
        """Return the embeddings of a data set's nodes, shape [num_nodes, width].

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The data have other features.
        """
        with default_modes(self.num_threads), torch.no_grad():
            return next(self._embeddings(self._read(data), [self.encoder_.state_dict()]))

    def predict_proba(self, data: Data) -> Tensor:
        """Return the class probabilities of the probe (or of the blend), shape [num_nodes, num_classes].

        Raises:
            InputError, NotFittedError: As `embed`.
        """
        with default_modes(self.num_threads), torch.no_grad():
            return self._predict_proba(self._read(data))

    def _read(self, data: Data) -> Inputs:
        if not hasattr(self, "encoder_"):
            checks.unfitted("ERASE")
        # The settings of the fit, whatever `set_params` has changed since.
        inputs = read(data, self._settings.normalise_features, next(self.encoder_.parameters()).device)
        if inputs.x.shape[1] != self.n_features_in_:
            checks.fail("data.x", f"{self.n_features_in_} features, as in fit", inputs.x.shape[1])
        return inputs

    def _predict_proba(self, inputs: Inputs) -> Tensor:
        if "members" not in self._state:
            runs = self._state.get("runs", [self._state])
            probes = [Probe.restored(run["probe"], self.num_classes_) for run in runs]
            embeddings = self._embeddings(inputs, [run["encoder"] for run in runs])
            return torch.stack([probe.predict(z) for probe, z in zip(probes, embeddings, strict=True)]).mean(0)
        embeddings = self._embeddings(inputs, [member["encoder"] for member in self._state["members"]])
        return blend(self._state, inputs, embeddings, self.num_classes_)

    def _embeddings(self, inputs: Inputs, weights: list[dict[str, Tensor]]) -> Iterator[Tensor]:
        """Yield the embeddings by the encoder with each of these weights."""
        features, _, blocks = full_graph_inputs(self.encoder_, inputs)
        for state in weights:
            # A module may write to its buffers.
            copies = {name: value.clone() for name, value in state.items()}
            z = torch.func.functional_call(self.encoder_, copies, (features, blocks), tie_weights=False)
            if not bool(torch.isfinite(z.norm(dim=1)).all()):
                checks.fail("encoder", "finite embeddings", "some that are NaN or infinite")
            yield z

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments that this estimator was made with, as scikit-learn's `clone` reads them."""
        return {**{name: getattr(self, name) for name in _ARGUMENTS}, **self.overrides}

    def set_params(self, **parameters: Any) -> ERASE:
        """Change arguments.

        Raises:
            InputError: As the constructor.
        """
        fresh = type(self)(**{**self.get_params(), **parameters})
        for name in (*_ARGUMENTS, "overrides"):
            setattr(self, name, getattr(fresh, name))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "encoder_")

    def _mark(self, s: Settings, data: str) -> str:
        """Return what a checkpoint must have been written for; epochs and patience may be raised later."""
        fixed = {name: value for name, value in vars(s).items() if name not in ("epochs", "patience")}
        # A module may show addresses.
        shown = re.sub(r" at 0x[0-9a-fA-F]+", "", str(fixed))
        return f"{shown} seed={self.seed} num_classes={self.num_classes} data={data}"

    def __repr__(self) -> str:
        arguments = {"preset": self.preset, "seed": self.seed, **self.overrides}
        return f"ERASE({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


_ARGUMENTS = (
    "preset",
    "seed",
    "num_classes",
    "device",
    "progress",
    "num_threads",
    "checkpoint",
    "checkpoint_every",
    "distributed",
)
_HYPER_PARAMETERS = frozenset(field.name for field in dataclasses.fields(Settings))

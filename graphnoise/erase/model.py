"""The ERASE estimator."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checks import DataError, InputError
from graphnoise.erase import checkpoint as checkpoints
from graphnoise.erase.blend import probabilities
from graphnoise.erase.encoders import full_graph_inputs
from graphnoise.erase.inputs import Inputs, digest, read, read_labels
from graphnoise.erase.probe import Probe
from graphnoise.erase.settings import Settings, settings
from graphnoise.erase.train import COLLAPSED, CollapseWarning, Training


class ERASE:
    r"""Error-resilient representations on a graph with wrong labels, and a linear probe on them.

    Each epoch embeds all nodes, labels each one by what the given labels say after propagation and by its cosine with
    the mean embedding of each class, propagates that over the graph, and takes a step of Adam on

        loss = gamma1 · Rc(Z | labels) - gamma2 · R(Z)

    with R the coding rate (`graphnoise.coding_rate`): embeddings of a class are pressed together, and all of them
    spread out. No label outside `train_mask` enters the loss; those of `val_mask` decide which epoch is kept (in the
    default preset: how probes are blended), unless `select="last"`.

    Args:
        preset: "robust" (the default), or as ERASE's own code runs: "faithful-cora", "faithful-citeseer",
            "faithful-pubmed", "faithful-corafull", "faithful-arxiv".
        seed: Seed of initial weights, dropout and mini-batches.
        num_classes: Number of classes; by default one more than the largest given training label. Classes without
            labels have a share in softmax and so in the fused labels.
        device: Where to train, and then to predict; by default where `data.x` is in `fit`.
        progress: Whether to show a progress bar; by default where standard error is a terminal.
        checkpoint: A file that training is saved to now and then; `fit` goes on from it if it is there.
        checkpoint_every: Epochs between two saves.
        **overrides: Hyper-parameters in place of the preset's, see `graphnoise.erase.Settings`.

    Attributes:
        history: For each epoch: loss, rate, rate_within, val_accuracy, pseudo_label_accuracy (where the data hold
            `y_true`), rank (effective rank of the embeddings that the epoch's loss was taken of, with dropout; with
            mini-batches, of those before the epoch, without) and seconds; None where not computed. Where probes are
            blended by the validation labels, val_accuracy is theirs too, and so optimistic.
        best_epoch_: The epoch that was kept, counted from 1 (of a blend, the last).
        blend_weights_: The weights of a blend's candidates (from the plain probe alone to the semantic ones alone), or
            None.
        encoder_: The trained encoder.
        labels_: The labels that all nodes had in the last epoch, shape [num_nodes].
        rank_: Effective rank of the embeddings that were kept.

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
        arXiv 2312.08852. What departs from its code is said with each preset in the documentation.
    """

    def __init__(
        self,
        preset: str = "robust",
        *,
        seed: int = 0,
        num_classes: int | None = None,
        device: str | torch.device | None = None,
        progress: bool | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 10,
        **overrides: Any,
    ) -> None:
        self.preset, self.overrides = preset, overrides
        settings(preset, overrides)
        self.seed = checks.integer("seed", seed, 0, 2**62)
        self.num_classes = None if num_classes is None else checks.integer("num_classes", num_classes, 2, 2**31)
        self.device = device
        if progress is not None and not isinstance(progress, bool):
            checks.fail("progress", "True, False or None", repr(progress))
        named = isinstance(checkpoint, str | Path) and Path(checkpoint).name and "\0" not in str(checkpoint)
        if checkpoint is not None and not named:
            checks.fail("checkpoint", "the path of a file", repr(checkpoint))
        self.progress, self.checkpoint = progress, checkpoint
        self.checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, 1)

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HYPER_PARAMETERS:
            checks.fail(name, f"a change by set_params({name}=...)", "an assignment")
        super().__setattr__(name, value)

    @property
    def settings(self) -> Settings:
        """All hyper-parameters: the preset's, and those in their place."""
        return settings(self.preset, self.overrides)

    def fit(self, data: Data, *, on_epoch: Callable[[Training], object] | None = None) -> ERASE:
        """Train on `data.y` at `data.train_mask`, selecting by `data.val_mask`.

        One labelled node of two classes is enough. A class without any is never predicted. A node without arcs is
        known by its features alone. Embeddings that all point one way end in a `CollapseWarning`, not in an error.

        Args:
            data: A torch_geometric `Data` with x, edge_index, y, train_mask and, unless `select="last"`, val_mask.
                `y_true`, if it is there, is read for `history` alone.
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
        with _plain(), torch.enable_grad():
            return self.set_params()._fit(data, on_epoch)  # checked again: attributes can be assigned

    def _fit(self, data: Data, on_epoch: Callable[[Training], object] | None) -> ERASE:
        s = self.settings
        inputs = read(data, s.normalise_features, _device(self.device))
        labels = read_labels(data, inputs, self.num_classes, validated=s.select == "validation")
        training = Training(inputs, labels, s, self.seed)
        mark = self._mark(digest(inputs, labels, training.encoder))
        file = None if self.checkpoint is None else _expanded(self.checkpoint)
        if file is not None and file.exists():
            _restore(training, file, mark)
            if training.epochs_done > s.epochs:
                wanted = f"{training.epochs_done} or more, as {file} has them"
                checks.fail("epochs", wanted, f"{s.epochs} (remove the file to start anew)")
        if training.epochs_done == s.epochs and not training.kept:
            training.keep()
        try:
            self._run(training, on_epoch, file, mark)
        except KeyboardInterrupt as stop:
            if file is not None:
                anew = f"nothing is saved in {file} yet: the same call begins anew"
                stop.add_note(f"the same call goes on from {file}" if file.exists() else anew)
            raise
        self._take(training)
        return self

    def _run(
        self, training: Training, on_epoch: Callable[[Training], object] | None, file: Path | None, mark: str
    ) -> None:
        shown = sys.stderr.isatty() if self.progress is None else self.progress
        columns = (TextColumn("ERASE"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        with Progress(*columns, TimeRemainingColumn(), disable=not shown) as bar:
            task = bar.add_task("", total=training.s.epochs, completed=training.epochs_done)
            while not training.over:
                training.epoch()
                if on_epoch is not None:
                    on_epoch(training)
                if file is not None and (training.over or training.epochs_done % self.checkpoint_every == 0):
                    checkpoints.save(file, training.state(), mark)
                loss, best = training.history["loss"][-1], training.best_accuracy
                text = f"loss {loss:.3f}" + (f"  best on validation {best:.1%}" if best >= 0 else "")
                bar.update(task, completed=training.epochs_done, description=text)

    def _take(self, training: Training) -> None:
        """Keep what was learnt, and look whether it has collapsed."""
        encoder = training.encoder
        encoder.load_state_dict(training.kept["encoder"])
        for name, value in encoder.named_parameters():
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"weights: expected finite numbers, got NaN or infinite ones in {name} (lower lr)")
        rank = training.rank()
        self.encoder_, self._fitted = encoder.eval(), training.s
        self.num_classes_ = training.labels.num_classes
        self.classes_ = torch.arange(self.num_classes_)
        self.n_features_in_ = training.inputs.x.shape[1]
        self._kept = training.kept
        blended = "members" in self._kept
        last = self._kept["members"][-1]["semantic"] if blended else self._kept["probe"]
        self.probe_ = Probe.restored(last, self.num_classes_)
        self.blend_weights_ = self._kept["weights"].tolist() if blended else None
        self.labels_, self.denoised_ = training.semantic, training.denoised
        self.best_epoch_, self.history = training.best_epoch, training.history
        self.rank_ = rank
        if self.rank_ < COLLAPSED:
            advice = "fewer layers, a larger eps or gamma2, a smaller lr or another encoder may help"
            warnings.warn(
                f"ERASE: embeddings have collapsed to an effective rank of {self.rank_:.2f}; {advice}",
                CollapseWarning,
                stacklevel=4,
            )

    def embed(self, data: Data) -> Tensor:
        """Return the embeddings of a data set's nodes, shape [num_nodes, width].

        Raises:
            InputError: The model is not fitted, or the data have other features.
        """
        with _plain(), torch.no_grad():
            return next(self._embeddings(self._inputs(data), [self.encoder_.state_dict()]))

    def predict_proba(self, data: Data) -> Tensor:
        """Return the class probabilities of the probe (or of the blend), shape [num_nodes, num_classes].

        Raises:
            InputError: As `embed`.
        """
        with _plain(), torch.no_grad():
            inputs = self._inputs(data)
            if "members" not in self._kept:
                return self.probe_(next(self._embeddings(inputs, [self.encoder_.state_dict()])))
            embeddings = self._embeddings(inputs, [member["encoder"] for member in self._kept["members"]])
            return probabilities(self._kept, inputs, embeddings, self.num_classes_)

    def _inputs(self, data: Data) -> Inputs:
        if not hasattr(self, "encoder_"):
            checks.fail("model", "a fitted ERASE (call fit first)", "one that is not")
        where = next(self.encoder_.parameters()).device
        inputs = read(data, self._fitted.normalise_features, where)  # whatever `set_params` says since
        if inputs.x.shape[1] != self.n_features_in_:
            checks.fail("data.x", f"{self.n_features_in_} features, as in fit", inputs.x.shape[1])
        return inputs

    def _embeddings(self, inputs: Inputs, weights: list[dict[str, Tensor]]) -> Iterator[Tensor]:
        """Yield the embeddings by the encoder with each of these weights."""
        features, _, blocks = full_graph_inputs(self.encoder_, inputs)
        for state in weights:
            own = {name: value.clone() for name, value in state.items()}  # a module may write to its buffers
            z = torch.func.functional_call(self.encoder_, own, (features, blocks), tie_weights=False)
            yield checks.finite("encoder (its embeddings)", z)

    def predict(self, data: Data) -> Tensor:
        """Return the most probable class of each node, int64, shape [num_nodes].

        Raises:
            InputError: As `embed`.
        """
        return self.predict_proba(data).argmax(1)

    def score(self, data: Data, mask: Tensor | None = None) -> float:
        """Return the accuracy on some nodes against `data.y_true` where it is there, `data.y` otherwise.

        Args:
            data: The data set.
            mask: The nodes, a Boolean mask or positions; by default `data.test_mask`.

        Raises:
            InputError: As `embed`; there are no labels, no mask, or no node in it.
        """
        predicted = self.predict(data).cpu()
        name = "data.y_true" if data.get("y_true") is not None else "data.y"
        truth = data.get(name.removeprefix("data."))
        if truth is None:
            checks.fail("data", "a Data with y_true or y", "none")
        chosen = data.get("test_mask") if mask is None else mask
        if chosen is None:
            checks.fail("mask", "nodes to score, or a data.test_mask", "none")
        keep = checks.mask("mask", chosen, predicted.numel()).cpu()
        if not bool(keep.any()):
            checks.fail("mask", "at least one node", "none")
        truth = checks.tensor(name, truth).reshape(-1).cpu()
        if truth.numel() != predicted.numel():
            checks.fail(name, f"{predicted.numel()} labels, one a node", truth.numel())
        known = checks.labels(name, truth[keep])
        return float((predicted[keep] == known).double().mean())

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

    def __sklearn_tags__(self) -> Tags:
        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False),
        )

    def _mark(self, data: str) -> str:
        """Return what a checkpoint must have been made for; more epochs or more patience may be asked for later."""
        s = dataclasses.replace(self.settings, epochs=1, patience=0)
        shown = re.sub(r" at 0x[0-9a-fA-F]+", "", str(s))  # a module may show addresses
        return f"{shown} seed={self.seed} num_classes={self.num_classes} data={data}"

    def __repr__(self) -> str:
        given = {"preset": self.preset, "seed": self.seed, **self.overrides}
        return f"ERASE({', '.join(f'{name}={value!r}' for name, value in given.items())})"


_ARGUMENTS = ("preset", "seed", "num_classes", "device", "progress", "checkpoint", "checkpoint_every")
_HYPER_PARAMETERS = frozenset(field.name for field in dataclasses.fields(Settings))


@contextlib.contextmanager
def _plain() -> Iterator[None]:
    """Undo what the caller may have switched on around a call: inference mode, autocast, a default device."""
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def _expanded(file: str | Path) -> Path:
    """Return the path of a file, ~ spelt out."""
    try:
        return Path(file).expanduser()
    except RuntimeError as error:
        raise InputError(f"checkpoint: expected a home folder that is there, got {str(file)!r}") from error


def _restore(training: Training, file: Path, mark: str) -> None:
    """Go on from a checkpoint.

    Raises:
        InputError: It was written for other data or settings.
        DataError: It is damaged.
    """
    state = checkpoints.load(file, mark)
    try:
        training.restore(state)
    except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: expected a checkpoint of ERASE, got a damaged one") from error


def _device(device: object) -> torch.device | None:
    """Return a device that is there, or None for that of the data."""
    if device is None:
        return None
    if not isinstance(device, str | torch.device):
        checks.fail("device", "'cpu', 'cuda' or a torch.device", repr(device))
    try:
        found = torch.device(device)
    except RuntimeError:
        checks.fail("device", "'cpu', 'cuda' or a torch.device", repr(device))
    if found.type not in ("cpu", "cuda"):
        checks.fail("device", "'cpu' or 'cuda'", repr(str(found)))
    if found.type == "cuda" and (not torch.cuda.is_available() or (found.index or 0) >= torch.cuda.device_count()):
        checks.fail(
            "device", "a device of this machine", f"{str(found)!r}, and torch sees {torch.cuda.device_count()} GPUs"
        )
    return found

"""Node classifier that trains a network on labels of which some are wrong, by a method of `gn.robust.methods`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.checkpoint import check_file, checkpoint_path, resume, run_epochs
from graphnoise.erase.inputs import Inputs, Labels, digest, read, read_training_labels
from graphnoise.homophily import label_homophily, warn_of_heterophily
from graphnoise.node_classifier import NodeClassifier
from graphnoise.process_group import agree, checking, gathered
from graphnoise.resources import default_modes, read_device, thread_count
from graphnoise.robust.methods import create_method
from graphnoise.robust.training import Context, Method, Network, Training, View
from graphnoise.robust.training.batches import Batches, FullBatch, LoadedBatches, SampledBatches, SharedBatches
from graphnoise.robust.training.loop import Optimisation

VAL_LABELS = ("select", "train", "none")


class RobustGNN(NodeClassifier):
    r"""A graph neural network trained on labels of which some are wrong.

    Args:
        method: Name of a method (`gn.robust.methods.names()`), or a `Method` with its settings.
        model: A torch_geometric module, or any module that is called as `model(x, edge_index)` and returns logits,
            shape [num_nodes, num_classes]. It is copied, and trained from the weights it has. None: the
            method's own, a graph convolutional network for most.
        hidden: Width of the hidden layer of the default network.
        dropout: Probability of dropping an input of a layer of the default network.
        epochs: Largest number of epochs.
        lr: Learning rate of Adam.
        weight_decay: L2 penalty of the network's weights.
        patience: Epochs without a better validation score before training ends; None: all epochs are run.
        val_labels: What given labels of `data.val_mask` are used for: "select" (the epoch of the highest accuracy on
            them is kept, though some are wrong), "train" (they are training labels, and the last epoch is kept), or
            "none". Without a val_mask, or where its labels are of none of the trained classes, the last epoch is kept.
        batch_size: Number of labelled nodes of a mini-batch; None: the whole graph at once.
        fanouts: Number of sampled neighbours per node for each layer, with mini-batches; -1 for all.
        distributed: Whether the processes of torch.distributed's default group share the mini-batches; all of them call
            `fit` with the same arguments, and have the same networks at the end. Weights are those of one process with
            the same batches, to rounding; sampled neighbours and dropout depend on the number of processes. Methods
            with a forward pass of their own, or that read the arcs of a batch, and batch normalisation are refused.
        normalise_features: Whether rows of features are scaled to length 1. Networks learn slowly from rows that sum to
            1, where many entries are not 0.
        seed: Seed of initial weights of the default network, dropout, batches, and what is random in the method.
        device: Where to train, and then to predict; by default where `data.x` is in `fit`.
        progress: Whether to show a progress bar; by default where standard error is a terminal.
        num_threads: Threads of `fit` and of predictions; 0 for one per core. Results depend on it by rounding.
        checkpoint: A file that training is saved to; `fit` resumes from it if it exists.
        checkpoint_every: Epochs between two saves.

    Attributes:
        classes_: Names of the classes, in the order of the columns of `predict_proba`.
        method_: The method with its state after training, such as an estimated `transition`.
        networks_: The trained networks.
        best_epoch_: The epoch that is kept, counted from 1.
        history_: For each epoch: loss, kept (share of the labelled nodes that count), val_accuracy, val_loss, seconds.
        homophily_: Agreement of the given labels of neighbours beyond chance, or None where no two are neighbours.

    Raises:
        InputError: An argument out of its range.

    Example:
        >>> from graphnoise import datasets, noise
        >>> data = datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, split=(15, 40, 40), seed=0)
        >>> noisy = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(data)
        >>> RobustGNN("ce", epochs=60).fit(noisy).score(noisy) > 0.8
        True
    """

    def __init__(
        self,
        method: str | Method = "ce",
        *,
        model: torch.nn.Module | None = None,
        hidden: int = 64,
        dropout: float = 0.5,
        epochs: int = 200,
        lr: float = 0.01,
        weight_decay: float = 5e-4,
        patience: int | None = None,
        val_labels: str = "select",
        batch_size: int | None = None,
        fanouts: Sequence[int] = (10, 10),
        distributed: bool = False,
        normalise_features: bool = True,
        seed: int = 0,
        device: str | torch.device | None = None,
        progress: bool | None = None,
        num_threads: int = 1,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 10,
    ) -> None:
        self.method, self.model, self.hidden, self.dropout = method, model, hidden, dropout
        self.epochs, self.lr, self.weight_decay, self.patience = epochs, lr, weight_decay, patience
        self.val_labels, self.batch_size, self.fanouts = val_labels, batch_size, fanouts
        self.distributed = distributed
        self.normalise_features, self.seed, self.device = normalise_features, seed, device
        self.progress, self.num_threads = progress, num_threads
        self.checkpoint, self.checkpoint_every = checkpoint, checkpoint_every
        self._check()

    def _check(self) -> Method:
        """Check all arguments, and return a method of its own."""
        if self.model is not None and not isinstance(self.model, torch.nn.Module):
            checks.fail("model", "a torch.nn.Module or None", type(self.model).__name__)
        for name, high in (("hidden", 65_536), ("epochs", 1_000_000), ("checkpoint_every", None)):
            checks.integer(name, getattr(self, name), 1, high)
        for name in ("patience", "batch_size"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 1)
        checks.real("dropout", self.dropout, 0.0, 0.99)
        checks.real("lr", self.lr, 1e-12)
        checks.real("weight_decay", self.weight_decay, 0.0)
        checks.choice("val_labels", self.val_labels, VAL_LABELS)
        if not isinstance(self.fanouts, list | tuple) or not self.fanouts:
            checks.fail("fanouts", "a number of neighbours for each layer", repr(self.fanouts))
        for fanout in self.fanouts:
            checks.integer("fanouts", fanout, -1)
        checks.flag("normalise_features", self.normalise_features)
        if checks.flag("distributed", self.distributed) and self.batch_size is None:
            checks.fail("distributed", "a batch_size, of which the processes take shares", "None")
        checks.integer("seed", self.seed, 0, 2**62)
        if self.progress is not None:
            checks.flag("progress", self.progress)
        thread_count(self.num_threads)
        check_file(self.checkpoint)
        read_device(self.device)
        if isinstance(self.method, Method):
            return copy.deepcopy(self.method)
        return create_method(self.method)

    def fit(
        self,
        data: Data,
        *,
        split: int | None = None,
        loader: Iterable[Any] | None = None,
        callbacks: Sequence[Callable[[Training], object]] = (),
    ) -> RobustGNN:
        """Train on `data.y` at `data.train_mask`.

        Args:
            data: A torch_geometric `Data` with x, edge_index or adj_t, y, train_mask and, if there is one, val_mask.
                Of other nodes no label is read. Weights of arcs are not used, of which a warning tells.
            split: Column of masks of shape [num_nodes, number of splits].
            loader: Batches of the data, as `torch_geometric.loader.NeighborLoader` yields them, in place of
                `batch_size`; features are those of `data`, normalised alike.
            callbacks: Each is called with the training run after each epoch; training ends when one returns True.

        Returns:
            The estimator itself.

        Raises:
            InputError: The data are not what is needed, the model does not fit them, or training left the finite
                numbers.
            DataError: The checkpoint is damaged or cannot be written.
        """
        with checking("distributed", self.distributed is True):
            method = self._check()
            if not isinstance(callbacks, Sequence) or not all(callable(callback) for callback in callbacks):
                checks.fail("callbacks", "a sequence of callables", repr(callbacks))
        with default_modes(self.num_threads), torch.enable_grad():
            with checking("distributed", self.distributed):
                inputs = read(data, False, read_device(self.device))
                labels = self._labels(data, inputs, split)
            nodes, given = torch.cat([labels.train, labels.val]), torch.cat([labels.given, labels.val_labels])
            homophily = label_homophily(inputs.graph, nodes, given, labels.num_classes)
            warn_of_heterophily("RobustGNN", homophily, stacklevel=3)
            self._fit(method, view_of(inputs, self.normalise_features), labels, callbacks, loader)
        self.homophily_ = None if homophily is None else homophily[0]
        return self

    def _labels(self, data: Data, inputs: Inputs, split: int | None) -> Labels:
        has_val = getattr(data, "val_mask", None) is not None
        if has_val and self.val_labels == "train" and getattr(data, "train_mask", None) is not None:
            n = inputs.graph.num_nodes
            masks = [checks.mask(f"data.{k}_mask", data[f"{k}_mask"], n, split=split) for k in ("train", "val")]
            data = copy.copy(data)
            data.train_mask, split, has_val = masks[0] | masks[1], None, False
        validated = has_val and self.val_labels == "select" and bool(torch.as_tensor(data.val_mask).any())
        return read_training_labels(data, inputs, None, validated=validated, split=split)

    def _fit(
        self,
        method: Method,
        view: View,
        labels: Labels,
        callbacks: Sequence[Callable[[Training], object]] = (),
        loader: Iterable[Any] | None = None,
    ) -> None:
        file = checkpoint_path(self.checkpoint)
        with checking("distributed", self.distributed):
            training, networks, mark = self._training(method, view, labels, loader, file)
        if self.distributed:
            agree((mark, self.epochs, self.patience, training.epochs_done))

        def on_epoch(run: Training) -> None:
            for callback in callbacks:
                run.stopped |= callback(run) is True
            if self.distributed:
                run.stopped = any(gathered(run.finished))

        name, every = f"RobustGNN {type(method).__name__}", self.checkpoint_every
        run_epochs(
            training,
            name,
            self.epochs,
            progress=self.progress,
            on_epoch=on_epoch,
            file=file,
            every=every,
            mark=mark,
        )
        training.select_best()
        self.method_, self.networks_, self._context = method, networks, training.context
        self.best_epoch_, self.history_ = training.best_epoch, training.history
        self.classes_, self.n_features_in_ = labels.classes, view.x.shape[1]
        self._normalised = self.normalise_features

    def _training(
        self, method: Method, view: View, labels: Labels, loader: Iterable[Any] | None, file: Path | None
    ) -> tuple[Training, list[Network], str]:
        """Return the run, resumed where there is a checkpoint, its networks, and what a checkpoint is written for."""
        networks = self._networks(method, view, labels.num_classes)
        if self.distributed:
            if type(method).forward is not Method.forward:
                checks.fail("distributed", "a method without a forward pass of its own", type(method).__name__)
            if any(isinstance(m, _BatchNorm) for network in networks for m in network.modules()):
                checks.fail("distributed", "a model without batch normalisation", "one with")
        generator = torch.Generator(view.x.device).manual_seed(self.seed + 1)
        context = Context(
            view,
            labels.train,
            labels.given,
            labels.num_classes,
            self.epochs,
            list(networks),
            generator,
            labels.val,
            labels.val_labels,
        )
        training = Training(
            method,
            context,
            self._batches(view, labels.train, loader),
            Optimisation(self.epochs, self.lr, self.weight_decay, self.patience),
        )
        mark = ""
        if file is not None or self.distributed:
            mark = self._mark(method, digest(view.x, view.edge_index, labels, training.modules))
        if file is not None and file.exists():
            resume(training, file, mark, self.epochs, "RobustGNN")
        return training, networks, mark

    def _networks(self, method: Method, view: View, num_classes: int) -> list[Network]:
        networks = []
        for k in range(method.num_networks):
            generator = torch.Generator().manual_seed(self.seed + 7919 * k)
            module = self.model
            if module is None:
                module = method.default_network(view.x.shape[1], self.hidden, num_classes, self.dropout, generator)
            network = Network(module, num_classes).to(view.x.device)
            if self.model is not None and k:
                network.reset(self.seed + 7919 * k)
            networks.append(network)
        return networks

    def _batches(self, view: View, labelled: Tensor, loader: Iterable[Any] | None) -> Batches:
        if loader is not None:
            if self.batch_size is not None:
                checks.fail("loader", "None next to batch_size", type(loader).__name__)
            return LoadedBatches(view, labelled, loader)
        if self.batch_size is None:
            return FullBatch(view, labelled)
        kind = SharedBatches if self.distributed else SampledBatches
        return kind(view, labelled, self.batch_size, self.fanouts)

    def predict_proba(self, data: Data) -> Tensor:
        """Return the class probabilities of all nodes, shape [num_nodes, num_classes].

        Raises:
            NotFittedError: The model is not fitted.
            InputError: The data have other features.
        """
        if not hasattr(self, "networks_"):
            checks.unfitted("RobustGNN")
        with default_modes(self.num_threads), torch.no_grad():
            device = next(self.networks_[0].parameters()).device
            inputs = read(data, False, device)
            if inputs.x.shape[1] != self.n_features_in_:
                checks.fail("data.x", f"{self.n_features_in_} features, as in fit", inputs.x.shape[1])
            return self.method_.predict(self._context, view_of(inputs, self._normalised))

    def _mark(self, method: Method, data: str) -> str:
        """Return what a checkpoint must have been written for; epochs and patience may be raised later."""
        fixed = ("hidden", "dropout", "lr", "weight_decay", "val_labels", "batch_size", "fanouts", "seed")
        return f"{method!r} {[getattr(self, name) for name in fixed]} data={data}"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "networks_")


def view_of(inputs: Inputs, normalise_features: bool) -> View:
    """Return features, with rows of length 1 if asked, and arcs as networks read them."""
    return View(F.normalize(inputs.x) if normalise_features else inputs.x, inputs.graph.edge_index)

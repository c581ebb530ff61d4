"""Training of ERASE, epoch by epoch."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from graphnoise import checks
from graphnoise.coding_rates import CodingRateReduction, coding_rates, effective_rank
from graphnoise.erase.blend import DEFAULT_WEIGHTS, candidate_probabilities, plain_probe, weigh
from graphnoise.erase.encoders import build, full_graph_inputs
from graphnoise.erase.inputs import Inputs, Labels
from graphnoise.erase.labels import _balance, _class_means, _denoise, _fuse, _prototype_labels
from graphnoise.erase.probe import Probe
from graphnoise.erase.settings import Settings
from graphnoise.kernels.propagate import PropagationSettings, choose
from graphnoise.nn import SparseFeatures, sample_neighbors
from graphnoise.process_group import Share, private_generator, sum_gradients
from graphnoise.propagation import _propagate

# Epochs between two ranks, each an eigenvalue problem as wide as the embedding.
RANK_EVERY = 10
# Effective rank below which the embeddings count as collapsed to one direction.
COLLAPSED_RANK = 1.5

COLUMNS = ("loss", "rate", "rate_within", "val_accuracy", "pseudo_label_accuracy", "rank", "seconds")


class CollapseWarning(UserWarning):
    """Embeddings have collapsed to nearly one direction."""


class Training:
    """The state of a training run of one initialisation, advanced by `epoch`; randomness comes from its generator.

    Each part of an epoch is a range of `torch.profiler`, named `erase/` and the part.

    Args:
        inputs: Features and graph.
        labels: Labels that training reads.
        s: Hyper-parameters.
        seed: Seed of initial weights, dropout and mini-batches.
        shares: Shares of the classes that the semantic labels are held to; by default those of the validation labels.
    """

    def __init__(self, inputs: Inputs, labels: Labels, s: Settings, seed: int, shares: Tensor | None = None) -> None:
        self.inputs, self.labels, self.s = inputs, labels, s
        # Whether the processes of torch.distributed share the mini-batches.
        self.distributed = False
        self.shares = (labels.shares if shares is None else shares) if s.class_sizes == "validation" else None
        device = inputs.graph.device
        self.encoder = build(inputs.x.shape[1], s, torch.Generator().manual_seed(seed))
        self.encoder.to(device, torch.float32)
        self.generator = torch.Generator(device).manual_seed(seed + 1)
        parameters = [p for p in self.encoder.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(
            parameters, s.lr, weight_decay=s.weight_decay, amsgrad=s.amsgrad, fused=device.type in ("cpu", "cuda")
        )
        self.loss = CodingRateReduction(
            labels.num_classes, eps=s.eps, gamma1=s.gamma1, gamma2=s.gamma2, memory=s.memory
        ).to(device)
        self.features, self.encoder_graph, self.blocks = full_graph_inputs(self.encoder, inputs)
        self.propagation_graph = inputs.graph.normalise(s.normalisation)
        self.train_mask = torch.zeros(inputs.graph.num_nodes, dtype=torch.bool, device=device)
        self.train_mask[labels.train] = True
        self.denoised = _denoise(
            inputs.graph,
            labels.given,
            self.train_mask,
            labels.num_classes,
            alpha=s.alpha,
            num_steps=0 if s.denoise == "none" else s.num_steps,
            scope="full" if s.denoise == "full" else "train",
            mode=s.propagation,
            normalisation=s.normalisation,
            clamp=s.clamp,
        )
        # Classes of the labelled nodes for the prototypes, and which classes have any.
        self.hard = self.denoised[labels.train].argmax(1)
        self.present = torch.bincount(self.hard, minlength=labels.num_classes) > 0
        self.epochs_done, self.best_epoch, self.best_accuracy = 0, 0, -1.0
        self.semantic = self.hard.new_empty(0)
        # What prediction needs: of the best epoch, or of all that are blended.
        self.fitted: dict[str, Any] = {}
        self.history: dict[str, list[float | None]] = {name: [] for name in COLUMNS}

    def embed(self, training: bool = False) -> Tensor:
        """Return the embeddings of all nodes.

        Raises:
            InputError: A row has no finite norm.
        """
        z: Tensor = self.encoder(self.features, self.blocks, self.generator if training else None)
        if not bool(torch.isfinite(z.detach().norm(dim=1)).all()):
            got = f"some that are NaN or infinite, in epoch {self.epochs_done + 1}"
            checks.fail("encoder", "finite embeddings (a lower lr may help)", got)
        return z

    @torch.no_grad()
    def pseudo_labels(self, z: Tensor) -> Tensor:
        """Return the fused and propagated label of every node, given its embedding, int64, shape [num_nodes]."""
        s, train = self.s, self.labels.train
        with record_function("erase/prototypes"):
            if s.prototypes == "mixed" and self.semantic.numel():
                prototypes = self._class_shares(z[train], self.labels.given) + self._class_shares(z, self.semantic)
            else:
                prototypes = _class_means(z[train], self.hard, self.labels.num_classes)
            similarity = _prototype_labels(z, z.norm(dim=1), prototypes)
        with record_function("erase/fusion"):
            known = self.denoised
            if s.label_scope == "train":
                known = torch.zeros_like(known).index_copy_(0, train, known[train])
            fused = _fuse(known.to(z.dtype), similarity, s.beta, softmax=s.softmax)
        with record_function("erase/propagation"):
            mask = self.train_mask if s.propagate_from == "train" else None
            clamp, tier = (0.0, 1.0) if s.clamp else None, choose(None, fused)
            settings = PropagationSettings(float(s.alpha), s.num_steps, s.propagation == "lazy", clamp, None)
            propagated = _propagate(self.propagation_graph, fused, mask, settings, tier).y
        if self.shares is not None:
            propagated[:, self.present] = _balance(propagated[:, self.present], self.shares[self.present])
        return propagated.masked_fill_(~self.present, -math.inf).argmax(1)

    def _class_shares(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the contribution of each class to the mean embedding, shape [num_classes, width]."""
        return z.new_zeros(self.labels.num_classes, z.shape[1]).index_add_(0, labels, z) / z.shape[0]

    def epoch(self) -> None:
        """Train one epoch, and fit the probes where they are due."""
        start = time.perf_counter()
        self.encoder.train()
        s = self.s
        last = self.epochs_done + 1 >= s.epochs
        z, row = self._full_batch() if s.batch_size is None else self._mini_batches(s.batch_size)
        self.epochs_done += 1
        if self.epochs_done % RANK_EVERY == 0 or last:
            with record_function("erase/rank"):
                row["rank"] = float(effective_rank(z.detach()))
        if self.labels.truth is not None:
            known = self.labels.truth >= 0
            correct = (self.semantic == self.labels.truth)[known].float()
            row["pseudo_label_accuracy"] = float(correct.mean()) if correct.numel() else None
        due = self.epochs_done >= s.probe_from and self.epochs_done % s.probe_every == 0
        if last or (due and (s.select == "validation" or s.probe == "blend")):
            row["val_accuracy"] = self.fit_probe()
        row["seconds"] = time.perf_counter() - start
        for name, column in self.history.items():
            column.append(row.get(name))

    def _full_batch(self) -> tuple[Tensor, dict[str, float | None]]:
        s = self.s
        with record_function("erase/encoder"):
            z = self.embed(training=True)
        self.semantic = self.pseudo_labels(z.detach())
        with record_function("erase/coding rate"):
            rates = coding_rates(z, self.semantic, self.labels.num_classes, eps=s.eps, gamma1=s.gamma1)
            loss = s.gamma1 * rates.within - s.gamma2 * rates.total
        self._step(loss)
        return z, {"loss": loss.item(), "rate": rates.total.item(), "rate_within": rates.within.item()}

    def _step(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            checks.fail("encoder", "an output with a gradient", "one without")
        if not math.isfinite(loss.item()):
            got = f"{loss.item()} in epoch {self.epochs_done + 1}"
            checks.fail("loss", "a finite coding rate (a lower lr may help)", got)
        with self.encoder.stepping():
            self.optimiser.zero_grad()
            with record_function("erase/gradient"):
                loss.backward()  # type: ignore[no-untyped-call]
                if self.distributed:
                    sum_gradients(self.encoder.parameters())
            with record_function("erase/optimiser"):
                self.optimiser.step()

    def _mini_batches(self, size: int) -> tuple[Tensor, dict[str, float | None]]:
        """Train an epoch of mini-batches on the pseudo-labels computed at its beginning."""
        self.encoder.eval()
        with torch.no_grad(), record_function("erase/encoder"):
            z = self.embed()
        self.encoder.train()
        self.semantic = self.pseudo_labels(z)
        order = torch.randperm(z.shape[0], generator=self.generator, device=z.device)
        # A small last batch is dropped: its gradient would be noise.
        count = order.numel() - order.numel() % size if size < order.numel() else order.numel()
        losses = [self._mini_batch(nodes) for nodes in torch.split(order[:count], size)]
        return z, {"loss": math.fsum(losses) / len(losses)}

    def _mini_batch(self, nodes: Tensor) -> float:
        share = Share.of(nodes) if self.distributed else None
        generator = self.generator if share is None else private_generator(self.generator)
        with record_function("erase/sampling"):
            fanouts, own = self.s.fanouts[: self.encoder.depth], nodes if share is None else share.nodes
            field, blocks = sample_neighbors(self.encoder_graph, own, fanouts, generator)
            x = self.features.rows(field) if isinstance(self.features, SparseFeatures) else self.features[field]
        with record_function("erase/encoder"):
            z = self.encoder(x, blocks, generator)
            # The rate of a batch is no sum over its nodes: each process computes that of all.
            z = z if share is None else share.gather(z)
        with record_function("erase/coding rate"):
            loss = self.loss(z, self.semantic[nodes])
        self._step(loss)
        return float(loss.item())

    def fit_probe(self) -> float | None:
        """Fit the probes on the current embeddings; return the accuracy on validation labels."""
        with record_function("erase/probe"):
            return self._fit_blend() if self.s.probe == "blend" else self._fit_best()

    @torch.no_grad()
    def _fit_best(self) -> float | None:
        """Fit the probe; record it and the encoder where this is the best epoch, or where the last one counts."""
        s, labels = self.s, self.labels
        self.encoder.eval()
        z = self.embed()
        target = self.semantic[labels.train] if s.probe == "semantic" else labels.given
        probe = Probe.fitted(z[labels.train], target, labels.num_classes, s.probe_c)
        accuracy = None
        if s.select == "validation":
            accuracy = _accuracy(probe.predict(z[labels.val]), labels.val_labels)
            # The last epoch is probed wherever it falls; where training is resumed, it was not the last.
            counts = not self.fitted or self.best_epoch % s.probe_every == 0
            if counts and accuracy <= self.best_accuracy:
                return accuracy
            self.best_accuracy = accuracy
        self.best_epoch = self.epochs_done
        self.fitted = {"encoder": _copy(self.encoder), "probe": probe.state()}
        return accuracy

    @torch.no_grad()
    def _fit_blend(self) -> float | None:
        """Add the probes of this epoch to the blend, and compute the weights of the candidates."""
        s, labels, classes = self.s, self.labels, self.labels.num_classes
        self.encoder.eval()
        z = self.embed()
        # The last epoch is a member wherever it falls; if training is resumed, it was not the last.
        members = [m for m in self.fitted.get("members", []) if m["epoch"] % s.probe_every == 0]
        member: dict[str, Any] = {"epoch": self.epochs_done, "encoder": _copy(self.encoder)}
        for name, target in (("given", labels.given), ("semantic", self.semantic[labels.train])):
            probe = Probe.fitted(z[labels.train], target, classes, s.probe_c)
            member |= {name: probe.state(), f"{name}_val": probe.predict(z[labels.val])}
        members.append(member)
        plain = self.fitted["plain"] if self.fitted else [plain_probe(self.inputs, labels, s.probe_c).state()]
        weights, accuracy = torch.tensor(DEFAULT_WEIGHTS), None
        self.fitted = {"members": members, "plain": plain, "weights": weights, "encoder": member["encoder"]}
        if s.select == "validation":
            self.fitted["weights"], accuracy = weighted(self.val_candidates(), labels.val_labels, s.blend_temperature)
            self.best_accuracy = accuracy
        self.best_epoch = self.epochs_done
        return accuracy

    def val_candidates(self) -> Tensor:
        """Return what each candidate of the blend predicts for the validation nodes, as `weigh` takes it."""
        members, labels = self.fitted["members"], self.labels
        plain = Probe.restored(self.fitted["plain"][0], labels.num_classes)
        return candidate_probabilities(
            plain.predict(self.inputs.smoothed[labels.val]),
            torch.stack([m["given_val"] for m in members]).mean(0),
            torch.stack([m["semantic_val"] for m in members]).mean(0),
        )

    @torch.no_grad()
    def rank(self) -> float:
        """Return the effective rank of the embeddings, without dropout."""
        self.encoder.eval()
        return float(effective_rank(self.embed()))

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        waited = self.epochs_done - self.best_epoch
        probed = self.best_epoch > 0 and self.s.select == "validation" and self.s.probe != "blend"
        return self.epochs_done >= self.s.epochs or (probed and waited > self.s.patience)

    def state(self) -> dict[str, Any]:
        """Return all that is needed to resume training, as tensors and plain values only."""
        return {
            **{name: getattr(self, name) for name in _STATE},
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "memory": (self.loss.grams, self.loss.counts),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""
        for name in _STATE:
            setattr(self, name, state[name])
        device = self.inputs.graph.device
        self.semantic, self.fitted = self.semantic.to(device), _moved(self.fitted, device)
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.loss.grams, self.loss.counts = _moved(state["memory"], device)
        self.generator.set_state(state["generator"])
        if len(self.semantic) not in (0, self.inputs.graph.num_nodes):
            raise ValueError("labels of another number of nodes")
        for weight, moments in self.optimiser.state.items():
            if any(isinstance(m, Tensor) and m.dim() and m.shape != weight.shape for m in moments.values()):
                raise ValueError("moments of the optimiser of another shape than their weights")


_STATE = ("epochs_done", "best_epoch", "best_accuracy", "semantic", "fitted", "history")


def weighted(candidates: Tensor, val_labels: Tensor, blend_temperature: float) -> tuple[Tensor, float]:
    """Return the weights of a blend's candidates, and the accuracy of the blend on the same labels."""
    weights = weigh(candidates, val_labels, blend_temperature)
    return weights, _accuracy((weights.view(-1, 1, 1) * candidates).sum(0), val_labels)


def _accuracy(probabilities: Tensor, labels: Tensor) -> float:
    return float((probabilities.argmax(1) == labels).float().mean())


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _moved(value: Any, device: torch.device) -> Any:
    """Return tensors inside lists and dictionaries on a device."""
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(part, device) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value

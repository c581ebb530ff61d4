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
from graphnoise.erase.blend import UNWATCHED, candidates, plain_probe, weigh
from graphnoise.erase.encoders import build, full_graph_inputs
from graphnoise.erase.inputs import Inputs, Labels
from graphnoise.erase.labels import class_means, denoise, fuse, prototype_labels
from graphnoise.erase.probe import Probe
from graphnoise.erase.settings import Settings
from graphnoise.nn import SparseFeatures, sample_neighbors
from graphnoise.propagation import propagate

RANK_EVERY = 10  # epochs between two looks at the rank, an eigenvalue problem as wide as the embedding
COLLAPSED = 1.5  # effective rank below which all embeddings point one way

COLUMNS = ("loss", "rate", "rate_within", "val_accuracy", "pseudo_label_accuracy", "rank", "seconds")


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _moved(value: Any, device: torch.device) -> Any:
    """Return tensors inside lists and dictionaries on a device."""
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(part, device) for part in value)
    return value.to(device) if isinstance(value, Tensor) else value


class CollapseWarning(UserWarning):
    """Embeddings have collapsed to nearly one direction."""


class Training:
    """The state of a training run, which `epoch` moves on; everything random comes from its generator.

    Args:
        inputs: Features and graph.
        labels: Labels that may be seen.
        s: Hyper-parameters.
        seed: Seed of initial weights, dropout and mini-batches.
    """

    def __init__(self, inputs: Inputs, labels: Labels, s: Settings, seed: int) -> None:
        self.inputs, self.labels, self.s = inputs, labels, s
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
        self.features, self.heard, self.blocks = full_graph_inputs(self.encoder, inputs)
        self.walk = inputs.graph.normalise(s.normalisation)
        self.denoised = self._denoised()
        self.hard = self.denoised[labels.train].argmax(1)  # the labels that prototypes are made of
        self.present = torch.bincount(self.hard, minlength=labels.num_classes) > 0
        self.epochs_done, self.best_epoch, self.best_accuracy = 0, 0, -1.0
        self.semantic = self.hard.new_empty(0)
        self.kept: dict[str, Any] = {}
        self.history: dict[str, list[float | None]] = {name: [] for name in COLUMNS}

    def _denoised(self) -> Tensor:
        s, labels = self.s, self.labels
        y = torch.zeros(self.inputs.graph.num_nodes, dtype=torch.int64, device=labels.given.device)
        y[labels.train] = labels.given
        return denoise(
            self.inputs.graph,
            y,
            labels.train,
            labels.num_classes,
            alpha=s.alpha,
            num_steps=0 if s.denoise == "none" else s.num_steps,
            scope="full" if s.denoise == "full" else "train",
            mode=s.propagation,
            normalisation=s.normalisation,
            clamp=s.clamp,
        )

    def embed(self, training: bool = False) -> Tensor:
        """Return the embeddings of all nodes."""
        z: Tensor = self.encoder(self.features, self.blocks, self.generator if training else None)
        if not bool(torch.isfinite(z.detach().sum())):
            at = f"some that are NaN or infinite, in epoch {self.epochs_done + 1}"
            checks.fail("encoder", "finite embeddings (a lower lr may help)", at)
        return z

    @torch.no_grad()
    def pseudo_labels(self, z: Tensor) -> Tensor:
        """Return the fused and propagated label of every node, given its embedding, int64, shape [num_nodes]."""
        s, train = self.s, self.labels.train
        known = self.denoised
        if s.label_scope == "train":
            known = torch.zeros_like(known).index_copy_(0, train, known[train])
        known = known.to(z.dtype)
        with record_function("erase/prototypes"):
            prototypes = class_means(z[train], self.hard, self.labels.num_classes)
            if s.prototypes == "mixed" and self.semantic.numel():
                prototypes = self._share(z[train], self.labels.given) + self._share(z, self.semantic)
            similarity = prototype_labels(z, prototypes)
        with record_function("erase/fusion"):
            fused = fuse(known, similarity, beta=s.beta, softmax=s.softmax)
        with record_function("erase/propagation"):
            spread = propagate(
                self.walk,
                fused,
                alpha=s.alpha,
                num_steps=s.num_steps,
                mode=s.propagation,
                mask=train if s.propagate_from == "train" else None,
                clamp=(0.0, 1.0) if s.clamp else None,
            ).y
        return spread.masked_fill_(~self.present, -math.inf).argmax(1)

    def _share(self, z: Tensor, y: Tensor) -> Tensor:
        """Return what each class adds to the mean embedding, shape [num_classes, width]."""
        return z.new_zeros(self.labels.num_classes, z.shape[1]).index_add_(0, y, z) / z.shape[0]

    def epoch(self) -> None:
        """Train one epoch; probe and keep it where it is the best."""
        start = time.perf_counter()
        self.encoder.train()
        s = self.s
        last = self.epochs_done + 1 >= s.epochs
        if s.batch_size is None:
            with record_function("erase/encoder"):
                z = self.embed(training=True)
            self.semantic = self.pseudo_labels(z.detach())
            with record_function("erase/coding rate"):
                rates = coding_rates(z, self.semantic, self.labels.num_classes, eps=s.eps, gamma1=s.gamma1)
            loss = s.gamma1 * rates.within - s.gamma2 * rates.total
            self._step(loss)
            row: dict[str, float | None] = {"loss": loss.item()}
            row |= {"rate": rates.total.item(), "rate_within": rates.within.item()}
        else:
            z, row = self._batches(s.batch_size)
        self.epochs_done += 1
        if self.epochs_done % RANK_EVERY == 0 or last:
            with record_function("erase/rank"):
                row["rank"] = float(effective_rank(z.detach()))
        if self.labels.truth is not None:
            known = self.labels.truth >= 0
            right = (self.semantic == self.labels.truth)[known].float()
            row["pseudo_label_accuracy"] = float(right.mean()) if right.numel() else None
        due = self.epochs_done >= s.probe_from and self.epochs_done % s.probe_every == 0
        if last or (due and (s.select == "validation" or s.probe == "blend")):
            with record_function("erase/probe"):
                row["val_accuracy"] = self.keep()
        row["seconds"] = time.perf_counter() - start
        for name, column in self.history.items():
            column.append(row.get(name))

    def _step(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            checks.fail("encoder", "an output with a gradient", "one without")
        if not math.isfinite(loss.item()):
            checks.fail(
                "loss", "a finite coding rate (a lower lr may help)", f"{loss.item()} in epoch {self.epochs_done + 1}"
            )
        with self.encoder.stepping():
            self.optimiser.zero_grad()
            with record_function("erase/gradient"):
                loss.backward()  # type: ignore[no-untyped-call]
            with record_function("erase/optimiser"):
                self.optimiser.step()

    def _batches(self, size: int) -> tuple[Tensor, dict[str, float | None]]:
        """Train an epoch of mini-batches, on pseudo-labels that stay as they were at its beginning."""
        self.encoder.eval()
        with torch.no_grad(), record_function("erase/encoder"):
            z = self.embed()
        self.encoder.train()
        self.semantic = self.pseudo_labels(z)
        order = torch.randperm(z.shape[0], generator=self.generator, device=z.device)
        whole = order.numel() - order.numel() % size if size < order.numel() else order.numel()
        losses = [self._batch(nodes) for nodes in torch.split(order[:whole], size)]  # a last small batch would be noise
        return z, {"loss": math.fsum(losses) / len(losses)}

    def _batch(self, nodes: Tensor) -> float:
        fanouts = self.s.fanouts[: self.encoder.depth]
        with record_function("erase/sampling"):
            field, blocks = sample_neighbors(self.heard, nodes, fanouts, self.generator)
            x = self.features.rows(field) if isinstance(self.features, SparseFeatures) else self.features[field]
        with record_function("erase/encoder"):
            z = self.encoder(x, blocks, self.generator)
        with record_function("erase/coding rate"):
            loss = self.loss(z, self.semantic[nodes])
        self._step(loss)
        return float(loss.item())

    def keep(self) -> float | None:
        """Probe the embeddings of now, and keep what prediction needs; return the accuracy on validation labels."""
        return self._blend() if self.s.probe == "blend" else self._select()

    @torch.no_grad()
    def _select(self) -> float | None:
        """Fit the probe; keep it and the encoder where no epoch before was as good, or where the last one counts."""
        s, labels = self.s, self.labels
        self.encoder.eval()
        z = self.embed()
        target = self.semantic[labels.train] if s.probe == "semantic" else labels.given
        probe = Probe(z[labels.train], target, labels.num_classes, s.probe_c)
        accuracy = None
        if s.select == "validation":
            accuracy = float((probe(z[labels.val]).argmax(1) == labels.val_labels).float().mean())
            # A last epoch is probed wherever it falls; once training goes on, it was not the last and does not count.
            counts = not self.kept or self.best_epoch % s.probe_every == 0
            if counts and accuracy <= self.best_accuracy:
                return accuracy
            self.best_accuracy = accuracy
        self.best_epoch = self.epochs_done
        self.kept = {"encoder": _copy(self.encoder), "probe": probe.state()}
        return accuracy

    @torch.no_grad()
    def _blend(self) -> float | None:
        """Add this epoch's probes to those that are blended, and weigh the candidates anew."""
        s, labels, classes = self.s, self.labels, self.labels.num_classes
        self.encoder.eval()
        z = self.embed()
        # The last epoch is a member wherever it falls; once training goes on, it is the last no more.
        members = [m for m in self.kept.get("members", []) if m["epoch"] % s.probe_every == 0]
        member: dict[str, Any] = {"epoch": self.epochs_done, "encoder": _copy(self.encoder)}
        for name, target in (("given", labels.given), ("semantic", self.semantic[labels.train])):
            probe = Probe(z[labels.train], target, classes, s.probe_c)
            member |= {name: probe.state(), f"{name}_val": probe(z[labels.val])}
        members.append(member)
        plain = self.kept["plain"] if self.kept else plain_probe(self.inputs, labels, s.probe_c).state()
        weights, accuracy = torch.tensor(UNWATCHED), None
        if s.select == "validation":
            known = Probe.restored(plain, classes)(self.inputs.smoothed[labels.val])
            given, semantic = (
                torch.stack([m[name] for m in members]).mean(0) for name in ("given_val", "semantic_val")
            )
            found = candidates(known, given, semantic)
            weights = weigh(found, labels.val_labels, s.blend_temperature)
            predicted = (weights.view(-1, 1, 1) * found).sum(0).argmax(1)
            accuracy = float((predicted == labels.val_labels).float().mean())
            self.best_accuracy = accuracy
        self.best_epoch = self.epochs_done
        self.kept = {"members": members, "plain": plain, "weights": weights, "encoder": member["encoder"]}
        return accuracy

    @torch.no_grad()
    def rank(self) -> float:
        """Return the effective rank of the embeddings, without dropout."""
        self.encoder.eval()
        return float(effective_rank(self.embed()))

    @property
    def over(self) -> bool:
        """Whether training has come to its end."""
        waited = self.epochs_done - self.best_epoch
        probed = self.best_epoch > 0 and self.s.select == "validation" and self.s.probe != "blend"
        return self.epochs_done >= self.s.epochs or (probed and waited > self.s.patience)

    def state(self) -> dict[str, Any]:
        """Return all that training needs to go on, tensors and plain values only."""
        names = ("epochs_done", "best_epoch", "best_accuracy", "semantic", "kept", "history")
        return {
            **{name: getattr(self, name) for name in names},
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "memory": (self.loss.grams, self.loss.counts),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        for name in ("epochs_done", "best_epoch", "best_accuracy", "semantic", "kept", "history"):
            setattr(self, name, state[name])
        device = self.inputs.graph.device
        self.semantic, self.kept = self.semantic.to(device), _moved(self.kept, device)
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.loss.grams, self.loss.counts = _moved(state["memory"], device)
        self.generator.set_state(state["generator"])

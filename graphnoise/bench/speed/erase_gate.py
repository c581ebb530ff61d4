"""What may be timed: only a training that goes the same way as the dense form, on a small graph without dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise.bench.speed.erase_dense import Dense, paired, refusal, unknown
from graphnoise.bench.speed.gate import GateError
from graphnoise.datasets import planted_partition
from graphnoise.erase.inputs import Inputs, read, read_labels
from graphnoise.erase.probe import Probe
from graphnoise.erase.settings import Settings
from graphnoise.erase.train import Training
from graphnoise.errors import InputError
from graphnoise.nn.features import compact, row_normalised
from graphnoise.noise import LabelNoise

# Largest difference over the largest expected entry. The dense form adds 1e-8 to the number of nodes of each class, and
# rounding to float32 grows where gradients cancel, as those along an embedding do behind its normalisation.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
EPOCHS = 3
ENDLESS = 10**6
_PROBED = 0.05  # share of nodes that two fits of a probe in float32 may predict otherwise


def planted(sparse: bool = True) -> Data:
    """Return a graph of 84 nodes in three classes with wrong labels, on bags of words or on dense features."""
    data = planted_partition([30, 28, 26], 0.2, 0.02, num_features=48, split=(8, 12, 12), seed=5)
    if sparse:
        data.x = (data.x > 2.2).float()
    return LabelNoise("symmetric", 0.3, splits=("train",), seed=1)(data)


def training(data: Data, s: Settings, seed: int = 0, dtype: torch.dtype = torch.float32) -> Training:
    """Return the library's training, all of it in one type."""
    inputs = read(data, s.normalise_features, None)
    if dtype != torch.float32:
        x = row_normalised(data.x.to(dtype)) if s.normalise_features else data.x.to(dtype)
        inputs = Inputs(x, compact(x), inputs.graph)
    labels = read_labels(data, inputs, None, validated=s.select == "validation")
    made = Training(inputs, labels, s, seed)
    made.encoder.to(dtype)
    made.denoised = made.denoised.to(dtype)
    return made


@dataclass(frozen=True)
class Gap:
    """What was compared, and by how much it differs."""

    what: str
    size: float


def trace(ours: Training, dense: Dense, epochs: int = EPOCHS, parameters: bool = True) -> Iterator[Gap]:
    """Yield the gaps of epochs that both train from the same weights, without dropout.

    Args:
        ours: The library's training.
        dense: The dense form with the same weights, which may be of another type.
        epochs: Number of epochs.
        parameters: Whether the weights after each step are compared; Adam's first step is the sign of the gradient, so
            that roundings of a gradient near 0 show in them.

    Raises:
        GateError: They give some node another label.
    """
    yield Gap("denoised labels", gap(ours.denoised, dense.Y0.to(torch.float32)))  # ours are float32 in any case
    for done in range(1, epochs + 1):
        at = f"of epoch {done}"
        with torch.no_grad():
            yield Gap(f"embeddings {at}", gap(ours.embed(), dense.embed()))
        ours.epoch()
        dense.epoch()
        different = int((ours.semantic != dense.labels).sum())
        if different:
            raise GateError(f"expected the labels of the dense form {at}, got {different} others")
        values = [torch.tensor(losses[-1:], dtype=torch.float64) for losses in (ours.history["loss"], dense.history)]
        yield Gap(f"loss {at}", gap(*values))
        for what, wanted in (("gradients", True), ("parameters", parameters)):
            pairs = list(paired(dense.encoder, ours.encoder, what == "gradients")) if wanted else []
            yield from (Gap(f"{what} {at}", gap(found, expected)) for expected, found in pairs)


def gap(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest expected entry; infinite for another shape or NaN."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.detach().double(), expected.detach().double()
    size = float((found - expected).abs().max()) / max(float(expected.abs().max()), 1e-30)
    return size if size == size else float("inf")


def check(s: Settings) -> tuple[dict[str, float], str | None]:
    """Hold the library to the dense form in float64: three epochs in float64, one in float32, one as a mini-batch.

    Settings without a dense form are held to it with the encoder "gat" and the paper's values of what it does not know;
    the second value says so.

    Returns:
        The largest gap by type, and a remark.

    Raises:
        GateError: Something differs by more than the tolerance.
    """
    full = replace(s, dropout=0.0, epochs=ENDLESS, patience=ENDLESS, batch_size=None, memory=0.0)
    full = replace(full, select="last")
    remark = None
    if refusal(full) is not None:
        changes = {name: getattr(Settings(), name) for name in unknown(full)}
        if full.encoder != "gat":
            changes = {"encoder": "gat", "heads": 1, **changes}
        full = replace(full, **changes)
        shown = ", ".join(f"{name}={value}" for name, value in changes.items())
        remark = f"checked with {shown}, as the dense form has it"
    doubles, singles, together = (f"ours ({name})" for name in ("float64", "float32", "one mini-batch"))
    data = planted()
    worst = {"float64": _within(doubles, trace(*_pair(data, full, torch.float64)), TOLERANCE[torch.float64])}
    worst["float32"] = 0.0
    for given in (data, planted(sparse=False)):
        ours, dense = _pair(given, full, torch.float32)
        found = _within(singles, trace(ours, dense, 1, parameters=False), TOLERANCE[torch.float32])
        worst["float32"] = max(worst["float32"], found)
        _same_probe(singles, ours, dense)
    # One mini-batch of all nodes, with all their neighbours, is the full batch.
    batched = replace(full, batch_size=data.num_nodes, fanouts=(-1,) * full.layers)
    ours, dense = _pair(data, full, torch.float64, batched)
    worst["one mini-batch"] = _within(together, trace(ours, dense, 1), TOLERANCE[torch.float64])
    return worst, remark


def _pair(data: Data, s: Settings, dtype: torch.dtype, ours: Settings | None = None) -> tuple[Training, Dense]:
    """Return both with the same weights, the dense form in float64."""
    made = training(data, ours or s, dtype=dtype)
    return made, Dense(data, s, made.encoder, dtype=torch.float64)


def _within(name: str, gaps: Iterator[Gap], limit: float) -> float:
    worst = 0.0
    try:
        for found in gaps:
            if not found.size <= limit:
                raise GateError(f"expected {found.what} within {limit:g} of the dense form, got {found.size:.2g}")
            worst = max(worst, found.size)
    except GateError as error:
        raise GateError(f"{name}: {error}") from None
    except (InputError, RuntimeError, ValueError, TypeError) as error:
        raise GateError(f"{name}: raises {type(error).__name__} ({str(error).splitlines()[0]})") from error
    return worst


def _same_probe(name: str, ours: Training, dense: Dense) -> None:
    dense.encoder.take(ours.encoder)
    with torch.no_grad():
        z = ours.embed()
    s, labels = ours.s, ours.labels
    target = ours.semantic[labels.train] if s.probe == "semantic" else labels.given
    found = Probe(z[labels.train], target, labels.num_classes, s.probe_c)(z).argmax(1)
    share = float((found != dense.probe()).double().mean())
    if share > _PROBED:
        raise GateError(f"{name}: expected the predictions of the dense form's probe, got {share:.0%} others")

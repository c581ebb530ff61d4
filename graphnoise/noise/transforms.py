"""Label noise as a torch_geometric transform."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphnoise import checks
from graphnoise.labels import ClassLabels, read_labels, with_common_classes
from graphnoise.noise.graph_noise import cascade, tree_propagated
from graphnoise.noise.instance import confidence_dependent, feature_dependent, structure_dependent
from graphnoise.noise.noisy_labels import CheckedLabels, NoisyLabels, stream
from graphnoise.noise.published_stream import erase_stream
from graphnoise.noise.transition import Transition, asymmetric, pair, random, symmetric

NoiseFunction: TypeAlias = Callable[..., Transition | NoisyLabels]

# What is read from the data, and the options of a kind, follow from the signature of its function.
_KINDS: dict[str, NoiseFunction] = {
    "symmetric": symmetric,
    "pair": pair,
    "asymmetric": asymmetric,
    "random": random,
    "feature": feature_dependent,
    "structure": structure_dependent,
    "confidence": confidence_dependent,
    "cascade": cascade,
    "propagated": tree_propagated,
}
# Names of kinds elsewhere.
SYNONYMS = {
    **dict.fromkeys(("uniform", "sym", "symm", "rand"), "symmetric"),
    **dict.fromkeys(("pairflip", "pair_flip", "flip"), "pair"),
    **dict.fromkeys(("asym", "asymm"), "asymmetric"),
    **dict.fromkeys(("instance", "idn"), "feature"),
    **dict.fromkeys(("tree_propagated", "dynamic"), "propagated"),
}
Result = TypeVar("Result", Transition, NoisyLabels)
_READ = ("x", "edge_index")
_SHARED = (*_READ, "y", "rate", "mask", "seed", "model_seed", "exact")


class LabelNoise(BaseTransform):  # type: ignore[misc]
    """Corrupt `data.y` in the named splits; composes with the transforms of `torch_geometric`.

    It sets `data.y` (noisy), `data.y_true` (clean; kept if it is there, so that noise on noise composes),
    `data.flipped` (Boolean [n], y differs from y_true), `data.noise_rate` (a dictionary: the realised share of
    flipped labels in each split named so far) and `data.noise_passes` (the number of passes of noise). The input
    data and its tensors are not changed. Labels may be integers or strings in any container (see
    `graphnoise.labels.read_labels`), and come back in the same; nodes without a label stay without.

    Each split has its own random stream, derived from the seed and its name: the training labels are the same
    whether or not "val" is named too. Class maps (asymmetric, random) and feature maps (feature) come from a
    further stream that all splits share, see `transition`. A further pass over the same data has its own streams,
    so that its flips are independent of those of earlier passes; its maps are those of the seed.

    Args:
        kind: "symmetric", "pair", "asymmetric", "random", "feature", "structure", "confidence", "cascade",
            "propagated"; a `Transition`; or a function as in `graphnoise.noise`, called by keyword:
            `f(num_classes, rate, …)` returns a `Transition` (an argument `seed` is a generator that all splits share);
            `f(y, rate, mask, seed, …)` returns `NoisyLabels`. The latter gets the labels of all nodes, the mask of one
            split and its generator, and those of `x`, `edge_index` (of the data), `num_classes`, `exact` and
            `model_seed` (a generator that all splits share) that it has as arguments. Labels are positions of classes
            there, from 0, and -1 where there is none.
        rate: Flip rate; None with a `Transition`.
        splits: Names of splits; "train" is `data.train_mask`, and so on; "all" is every node. A node in two splits is
            corrupted once, with the first.
        seed: A non-negative integer.
        exact: Exact counts in each split instead of independent draws ("cascade" and "propagated" have none).
        erase_stream: Whether the random stream is that of ERASE's code (symmetric, asymmetric, pair), one for all
            splits, see `graphnoise.noise.erase_stream`; further passes draw from its matrix as other noise does.
        split: Column of masks of shape [n, number of splits].
        **options: Further arguments of the function: base (structure), probabilities (confidence), probability
            (cascade), seed_share and offset (propagated); num_classes, for all named kinds but confidence.

    Raises:
        InputError: An unknown kind, split or option, a function with other arguments or results, a missing mask,
            attribute or rate, or bad labels.

    Example:
        >>> data = Data(y=torch.tensor([0, 1, 0, 1]), train_mask=torch.tensor([True, True, False, False]))
        >>> noisy = LabelNoise("pair", 0.5, splits="train", seed=1, exact=True)(data)
        >>> noisy.y.tolist(), noisy.noise_rate
        ([1, 1, 0, 1], {'train': 0.5})
    """

    kinds: ClassVar[tuple[str, ...]] = tuple(_KINDS)

    def __init__(
        self,
        kind: str | Transition | NoiseFunction,
        rate: float | None = None,
        splits: str | Sequence[str] = ("train", "val"),
        seed: int = 0,
        exact: bool = False,
        erase_stream: bool = False,
        split: int | None = None,
        **options: Any,
    ) -> None:
        if isinstance(kind, Transition):
            if rate is not None:
                checks.fail("rate", "None with a Transition", rate)
            self.kind, self.rate = "transition", kind.expected_rate()
        else:
            if callable(kind):
                self.kind = getattr(kind, "__name__", type(kind).__name__)
                _check_function(self.kind, kind)
            else:
                self.kind, kind = checks.choice("kind", kind, self.kinds, SYNONYMS), _KINDS[kind]
            self.rate = checks.rate("rate", rate)
        self._noise, exact, erase_stream = kind, checks.flag("exact", exact), checks.flag("erase_stream", erase_stream)
        if erase_stream and (exact or kind not in (symmetric, asymmetric, pair)):
            checks.fail("erase_stream", "symmetric, asymmetric or pair noise that is not exact", self.kind)
        _check_options(self.kind, kind, exact, options)
        names = (splits,) if isinstance(splits, str) else tuple(splits) if isinstance(splits, Iterable) else ()
        if not names or ("all" in names and len(names) > 1):
            checks.fail("splits", 'names of splits, or "all" alone', names)
        self.splits, self.exact, self.erase_stream, self.options = names, exact, erase_stream, options
        self.split = None if split is None else checks.integer("split", split, 0)
        self.seed = checks.integer("seed", seed, 0)

    def forward(self, data: Data) -> Data:
        """Return the data (a shallow copy, made by `__call__`) with noisy labels."""
        if not isinstance(data, Data):
            checks.fail("data", "a torch_geometric Data", type(data).__name__)
        if data.get("y") is None:
            checks.fail("data", "labels in data.y", "none")
        known = self._noise.num_classes if isinstance(self._noise, Transition) else self.options.get("num_classes")
        labels = truth = read_labels(data.y, known, name="data.y")
        clean = data.get("y_true", data.y)
        if clean is not data.y:
            # Earlier noise may have removed a class, or added one.
            truth = read_labels(clean, known, size=len(labels.codes), name="data.y_true")
            labels, truth = with_common_classes(labels, truth)
        size, codes = len(labels.codes), labels.codes
        passes = int(torch.as_tensor(data.get("noise_passes", 0)).max())
        masks = {name: _mask(data, name, size, self.split) for name in self.splits}
        noisy = codes.clone()
        if self.erase_stream:
            union = torch.stack(list(masks.values())).any(0)
            first = erase_stream(self.kind, codes, self.rate, union, self.seed, labels.num_classes)
            draws = stream(self.seed, f"legacy, pass {passes}")
            noisy = (first[0].corrupt(codes, union, draws) if passes else first[1]).y
        else:
            done = codes.cpu() < 0
            transition = None if _is_instance(self._noise) else self.transition(labels.num_classes)
            for name, mask in masks.items():
                fresh = (mask & ~done).to(noisy.device)
                purpose = f"{name}, pass {passes}" if passes else name
                noisy[fresh] = self._corrupt(data, labels, fresh, purpose, transition).y[fresh]
                done |= mask
        changed = (noisy != codes).nonzero().view(-1)
        data.y = labels.replaced(changed.cpu().numpy(), noisy[changed].cpu().numpy())
        data.y_true = clean.clone() if isinstance(clean, Tensor) else copy.copy(clean)
        data.flipped = (noisy != truth.codes) & (truth.codes >= 0)
        data.noise_passes = passes + 1
        earlier = [name for name in data.get("noise_rate", {}) if name == "all" or f"{name}_mask" in data]
        labelled = codes.cpu() >= 0
        others = {name: _mask(data, name, size, self.split) for name in earlier if name not in masks}
        masks = {name: (others | masks)[name] & labelled for name in (*earlier, *masks)}
        wrong = data.flipped.cpu()
        data.noise_rate = {
            name: float(wrong[mask].double().mean()) if mask.any() else 0.0 for name, mask in masks.items()
        }
        return data

    def transition(self, num_classes: int) -> Transition:
        """Return the T[i, j] = P(observed j | true i), [C, C], that the labels of every pass are drawn from.

        Args:
            num_classes: C; where the option `num_classes` is not set, the number of distinct labels in the data.

        Raises:
            InputError: The noise is not class-conditional, or has another number of classes.

        Example:
            >>> noise = LabelNoise("asymmetric", 1.0, splits="all", seed=1)
            >>> noisy = noise(Data(y=torch.arange(4)))
            >>> bool((noise.transition(4).matrix.argmax(1) == noisy.y).all())
            True
        """
        noise = self._noise
        if _is_instance(noise):
            checks.fail("kind", "class-conditional noise, which has a transition", f"{self.kind!r}")
        classes = checks.integer("num_classes", num_classes, 1)
        fixed = noise.num_classes if isinstance(noise, Transition) else self.options.get("num_classes", classes)
        if classes != fixed:
            checks.fail("num_classes", f"{fixed}, as in this noise", classes)
        if isinstance(noise, Transition):
            return noise
        if self.erase_stream:
            return erase_stream(self.kind, [], self.rate, seed=self.seed, num_classes=classes)[0]
        seeded = {"seed": stream(self.seed, "shared")} if "seed" in signature(noise).parameters else {}
        return self._expect(Transition, noise(**self.options | {"num_classes": classes, "rate": self.rate} | seeded))

    def _corrupt(
        self, data: Data, labels: ClassLabels, mask: Tensor, purpose: str, transition: Transition | None
    ) -> NoisyLabels:
        """Draw the noise of one split, in positions of classes, from its own stream."""
        draws, codes = stream(self.seed, purpose), labels.codes
        if transition is not None:
            nodes, positions = mask.cpu().numpy().nonzero()[0], replace(labels, distinct=None, original=codes)
            checked = CheckedLabels(positions, codes.cpu().numpy(), nodes, labels.num_classes)
            return transition._corrupt(checked, draws, self.exact)
        function: Any = self._noise
        model = stream(self.seed, "shared")
        shared = {"num_classes": labels.num_classes, "model_seed": model, "exact": self.exact}
        arguments = {name: value for name, value in shared.items() if name in signature(function).parameters}
        for name in _READ:
            if name in signature(function).parameters:
                if data.get(name) is None:
                    checks.fail("data", f"data.{name} for {self.kind} noise", "none")
                arguments[name] = data[name]
        noisy = function(y=codes, rate=self.rate, mask=mask, seed=draws, **(arguments | self.options))
        return self._expect(NoisyLabels, noisy)

    def _expect(self, result: type[Result], value: object) -> Result:
        """Return what a noise function returned, of the type that its arguments imply."""
        if not isinstance(value, result):
            checks.fail("kind", f"a function that returns {result.__name__}", f"{self.kind}, {type(value).__name__}")
        return value

    def __repr__(self) -> str:
        return f"LabelNoise({self.kind!r}, {self.rate:g}, splits={self.splits}, seed={self.seed})"


def _is_instance(noise: Transition | NoiseFunction) -> bool:
    """Return whether the noise depends on more than the class: whether it is a function of labels."""
    return not isinstance(noise, Transition) and "y" in signature(noise).parameters


def _check_function(kind: str, function: NoiseFunction) -> None:
    """Refuse functions without the arguments that every kind of noise gets."""
    arguments = ("y", "rate", "mask", "seed") if _is_instance(function) else ("num_classes", "rate")
    if not set(arguments) <= set(signature(function).parameters):
        expected = "a function of y, rate, mask and seed, or of num_classes and rate"
        checks.fail("kind", expected, f"{kind}{signature(function)}")


def _check_options(kind: str, noise: Transition | NoiseFunction, exact: bool, options: dict[str, Any]) -> None:
    """Refuse unknown and missing options of a kind."""
    parameters = {} if isinstance(noise, Transition) else signature(noise).parameters
    if exact and _is_instance(noise) and "exact" not in parameters:
        checks.fail("exact", f"False with {kind} noise, which has no such argument", exact)
    known = [name for name in parameters if name not in _SHARED]
    for name in options:
        checks.choice("options", name, known)
    for name in known:
        if parameters[name].default is Parameter.empty and name not in (*options, "num_classes"):
            checks.fail("options", f"{name}=… for {kind} noise", "none")


def _mask(data: Data, name: str, size: int, split: int | None) -> Tensor:
    """Return the Boolean mask of a split, on the CPU."""
    if name == "all":
        return torch.ones(size, dtype=torch.bool)
    checks.choice("splits", name, ["all", *(key[:-5] for key in data.to_dict() if key.endswith("_mask"))])
    return checks.mask(f"data.{name}_mask", data[f"{name}_mask"], size, split=split).cpu()

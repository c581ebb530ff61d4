"""Two-tower model: multi-layer perceptrons embed users and items from ids and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, normalize, relu

from graphnoise.checks import fail, flag, integer, real
from graphnoise.resources import torch_threads
from recsys.base import Callback
from recsys.interactions import InteractionsLike
from recsys.models.torch_steps import Network, all_vectors, parameter
from recsys.models.torch_training import TorchModel, torch_device
from recsys.objectives import Objective
from recsys.samplers import Sampler

SIDES = ("user", "item")
# Numbers [rows, features].
FeaturesLike: TypeAlias = NDArray[Any] | sp.sparray | sp.spmatrix | Sequence[Sequence[float]]


class TwoTower(TorchModel):
    r"""Scores <f(u), g(i)>; each tower is a multi-layer perceptron on the embedding of an id and features, if any.

    f(u) = W_2 relu(W_1 [E_u, F_u W_0] + c_1) + c_2, with as many hidden layers as `hidden` names. By default the loss
    is a softmax of each positive against the other positives of the batch, e^(R_uj) / (B q_j) each, where q_j is the
    share of j among all positives (logQ correction), an estimate of the softmax over the catalogue; known positives of
    the user are excluded. The published form also subtracts log q from the score of the positive, this one does not:
    the positive is drawn from the data, not from q.

    Args:
        factors: Length of the vectors, and of the embeddings of ids.
        hidden: Widths of the hidden layers; without any, towers are linear.
        objective: A name of `recsys.objectives.OBJECTIVES`, or an object.
        sampler: A name of `recsys.samplers.SAMPLERS`, or an object; None is the objective's sampler, else uniform.
        learning_rate: Learning rate of Adam.
        regularization: L2 of the embeddings of ids that a draw touches, and of the weights, once per positive.
        iterations: Epochs.
        num_threads: Threads of draws and ranking; 0 is one per core. On the CPU the towers run on one thread, and
            results are bit-identical.
        random_state: Seed; None draws one, which the attribute then holds.
        num_negatives: Negatives per positive; None with the sampler "in-batch": all of the batch.
        batch_size: Positives per step.
        use_ids: Whether ids have embeddings; without them, both sides must have features.
        unit: Whether vectors have length 1; then use a softmax with a temperature, such as SampledSoftmax(0.1).
        temperature: First value of a learned temperature, which divides all scores; None is none.
        metric: Metric that selects the epoch if `fit` receives a validation set.
        patience: Epochs without improvement after which to stop; None runs all. The best epoch is restored either way.
        device: "cpu", "cuda" or "cuda:1".

    Attributes:
        epochs, best_epoch, history, counts: As in `MatrixFactorization`.

    Raises:
        InputError: An argument out of range.

    Example:
        >>> clicks = sp.csr_array(np.kron(np.eye(2), np.ones((4, 4))) * (1 - np.eye(8)))
        >>> model = TwoTower(4, (8,), learning_rate=0.02, iterations=30).fit(clicks, show_progress=False)
        >>> model.recommend(1, clicks[[1]], N=1)[0].tolist()
        [1]

    Source: Yi et al., Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys 2019,
    sections 3 and 4; the form of the estimate is that of Bengio and Senécal, IEEE TNN 19, 2008.
    """

    _arrays = ("user_factors", "item_factors", "item_biases", "weights", "widths")
    # Weights of both towers without the embeddings of ids, flattened.
    weights: Any = None
    # Numbers of features of users and of items.
    widths: Any = None
    _features: tuple[Any, Any] = (None, None)

    def __init__(
        self,
        factors: int = 64,
        hidden: tuple[int, ...] | list[int] = (128,),
        objective: Objective | str | Mapping[str, Any] = "softmax",
        sampler: Sampler | str | Mapping[str, Any] | None = "in-batch",
        learning_rate: float = 1e-3,
        regularization: float = 1e-6,
        iterations: int = 30,
        num_threads: int = 0,
        random_state: int | None = 0,
        *,
        num_negatives: int | None = None,
        batch_size: int = 1024,
        use_ids: bool = True,
        unit: bool = False,
        temperature: float | None = None,
        metric: str = "ndcg@20",
        patience: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.factors = integer("factors", factors, 1, 1 << 14)
        if not isinstance(hidden, tuple | list):
            fail("hidden", "a list of widths, such as (128,)", repr(hidden))
        for width in hidden:
            integer("hidden", width, 1, 1 << 16)
        self.hidden = tuple(hidden)
        for name, value in (("use_ids", use_ids), ("unit", unit)):
            if not isinstance(value, bool):
                fail(name, "True or False", repr(value))
        self.use_ids, self.unit = use_ids, unit
        self.temperature = None if temperature is None else real("temperature", temperature, 1e-6)
        self._set_common(
            objective, sampler, learning_rate, regularization, iterations, num_threads, random_state, num_negatives,
            batch_size, metric, patience, device,
        )  # fmt: skip

    def fit(
        self,
        user_items: InteractionsLike,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        validation: InteractionsLike | None = None,
        user_features: FeaturesLike | None = None,
        item_features: FeaturesLike | None = None,
    ) -> Self:
        """Learn from positives. Ctrl-C restores the last complete epoch and is raised again.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix.
            show_progress: Show a progress bar.
            callback: Called after each epoch as callback(epoch, seconds, correct, skipped), epochs from 0; the model
                has that epoch's vectors. Training stops if it returns True.
            validation: Users × items, held out: `metric` on it selects the epoch.
            user_features: Numbers [users, any], an array or a SciPy sparse matrix; scale them to about 1.
            item_features: Numbers [items, any].

        Raises:
            InputError: No interaction at all, a validation set that overlaps or is empty, features of another number of
                rows or not finite, a device that is not available, or training that diverges.
        """
        matrix = self._check_fit(user_items, callback)
        users, items = matrix.shape
        self._features = (
            None if user_features is None else check_features("user_features", user_features, users),
            None if item_features is None else check_features("item_features", item_features, items),
        )
        if not self.use_ids:
            for side, part in zip(SIDES, self._features, strict=True):
                if part is None:
                    fail(f"{side}_features", "features, as use_ids is False", None)
        try:
            return self._fit_epochs(matrix, flag("show_progress", show_progress), callback, validation)
        finally:
            self._features = (None, None)

    def _network(self, user_items: sp.csr_array, extra: Any, rng: np.random.Generator) -> Network:
        ids = user_items.shape if self.use_ids else (0, 0)
        return Towers(ids, self._features, self.factors, self.hidden, self.unit, extra, rng, self.temperature)

    def _store(self, network: Network) -> None:
        assert isinstance(network, Towers)
        self.weights = np.concatenate([x.detach().cpu().numpy().ravel() for x in network.shared()])
        self.widths = np.array(network.widths, np.int64)

    def embed(self, side: str, values: FeaturesLike) -> NDArray[np.float32]:
        """Return vectors of new users or items from their features alone, with zeros as the embedding of the id.

        Args:
            side: "user" or "item".
            values: Features as in `fit`, [any, features].

        Returns:
            float32 [rows, factors]; scores are their inner products with the vectors of the other side.

        Raises:
            NotFittedError: The model is not fitted.
            InputError: It was fitted without features of that side, or their number differs.
        """
        self.check_fitted()
        if side not in SIDES:
            fail("side", "'user' or 'item'", repr(side))
        index = SIDES.index(side)
        if not self.widths[index]:
            fail("side", f"a model that was fitted with {side}_features", "one without")
        features = check_features("values", values, None)
        if features.shape[1] != self.widths[index]:
            fail("values", f"{self.widths[index]} features", features.shape[1])
        none = np.zeros((0, int(self.widths[1 - index])), np.float32) if self.widths[1 - index] else None
        parts = (features, none) if index == 0 else (none, features)
        device = torch_device(self.device)
        with torch_threads(1):
            rng = np.random.default_rng(0)
            ids = (1, 1) if self.use_ids else (0, 0)
            network = Towers(ids, parts, self.factors, self.hidden, self.unit, {}, rng, self.temperature)
            network.restore(self.weights, features.shape[0])
            sizes = (features.shape[0], 0) if index == 0 else (0, features.shape[0])
            return all_vectors(network.to(device), sizes)[index]


def check_features(name: str, value: FeaturesLike, size: int | None) -> sp.csr_array | NDArray[np.float32]:
    """Return features as float32, CSR or a matrix.

    Raises:
        InputError: Another shape, or values that are not finite numbers.
    """
    features = sp.csr_array(value) if sp.issparse(value) else np.asarray(value)
    if features.ndim != 2 or features.dtype.kind not in "biuf" or features.shape[1] == 0:
        fail(name, "numbers of shape [rows, features]", f"{features.dtype} of shape {features.shape}")
    if size is not None and features.shape[0] != size:
        fail(name, f"{size} rows", features.shape[0])
    with np.errstate(over="ignore"):
        features = features.astype(np.float32)
    bad = ~np.isfinite(features.data if sp.issparse(features) else features)
    if bad.any():
        fail(name, "finite numbers", f"{int(bad.sum())} NaN or infinite entries")
    return features


class Towers(Network):
    """Both towers: the embedding of the id and the projected features, concatenated, then the layers."""

    def __init__(
        self,
        ids: tuple[int, int],
        features: tuple[Any, Any],
        factors: int,
        hidden: tuple[int, ...],
        unit: bool,
        extra: Any,
        rng: np.random.Generator,
        temperature: float | None = None,
    ) -> None:
        super().__init__(extra)
        self._features, self._unit, self._factors = features, unit, factors
        self.widths = tuple(0 if part is None else part.shape[1] for part in features)
        self.ids, self.project, self.layers = (torch.nn.ParameterDict() for _ in range(3))
        self.depth = len(hidden) + 1
        for side, count, width in zip(SIDES, ids, self.widths, strict=True):
            if count:
                self.ids[side] = parameter(rng.standard_normal((count, factors)) / np.sqrt(factors))
            if width:
                self.project[side] = parameter(rng.standard_normal((width, factors)) / np.sqrt(width))
            sizes = [factors * (bool(count) + bool(width)), *hidden, factors]
            for k in range(self.depth):
                # He et al. 2015 before a relu.
                scale = np.sqrt((2.0 if k + 1 < self.depth else 1.0) / sizes[k])
                self.layers[f"{side} {k} weight"] = parameter(scale * rng.standard_normal((sizes[k], sizes[k + 1])))
                self.layers[f"{side} {k} shift"] = parameter(np.zeros(sizes[k + 1]))
        # Its logarithm, so that steps keep it above 0.
        self.temperature = torch.nn.ParameterList([] if temperature is None else [parameter(np.log([temperature]))])

    def shared(self) -> list[torch.nn.Parameter]:
        """Return all parameters but the embeddings of ids, in order."""
        return [*self.project.values(), *self.layers.values(), *self.temperature]

    def restore(self, flat: NDArray[np.float32], rows: int) -> None:
        """Set the shared parameters from a flat array; the embeddings of `rows` ids become zeros."""
        begin = 0
        with torch.no_grad():
            for part in self.shared():
                values = flat[begin : begin + part.numel()].reshape(tuple(part.shape))
                part.copy_(torch.from_numpy(np.array(values)))
                begin += part.numel()
        for side in SIDES:
            if side in self.ids:
                self.ids[side] = parameter(np.zeros((rows, self._factors)))

    def vectors(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the towers to ids and features; the temperature divides the vectors of users."""
        U, V = self._tower(0, users), self._tower(1, items)
        for log in self.temperature:
            U = U * torch.exp(-log)
        return U, V

    def _tower(self, index: int, ids: Tensor) -> Tensor:
        side, parts = SIDES[index], []
        if side in self.ids:
            parts.append(embedding(ids, self.ids[side]))
        if side in self.project:
            rows = self._features[index][ids.cpu().numpy()]
            dense = rows.toarray() if sp.issparse(rows) else rows
            parts.append(torch.from_numpy(np.ascontiguousarray(dense)).to(ids.device) @ self.project[side])
        x = torch.cat(parts, 1)
        for k in range(self.depth):
            x = x @ self.layers[f"{side} {k} weight"] + self.layers[f"{side} {k} shift"]
            x = relu(x) if k + 1 < self.depth else x
        return normalize(x, dim=1) if self._unit else x

    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of ids."""
        user_rows, item_rows = (
            embedding(ids, self.ids[side]) if side in self.ids else torch.zeros(len(ids), 1, device=ids.device)
            for side, ids in zip(SIDES, (users, items), strict=True)
        )
        return user_rows, item_rows

    def weights(self) -> list[Tensor]:
        """Return the matrices of the towers."""
        return [x for x in self.shared() if x.dim() == 2]

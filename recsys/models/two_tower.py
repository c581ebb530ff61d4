"""Two towers: small networks make the vector of a user and of an item from its id and its features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, normalize, relu

from graphnoise.checks import fail, integer
from graphnoise.resources import torch_threads
from recsys.base import Callback
from recsys.models.torch_steps import Network, all_vectors, parameter
from recsys.models.torch_training import TorchModel, torch_device
from recsys.validation import as_csr

SIDES = ("user", "item")


class TwoTower(TorchModel):
    r"""Scores <f(u), g(i)>; each tower is a multi-layer perceptron on an id's vector beside the features, if any.

    f(u) = W_2 relu(W_1 [E_u, F_u W_0] + c_1) + c_2, with as many hidden layers as `hidden` names. By default the loss
    is a softmax of each positive against the positives of the rest of the batch, e^(R_uj) / (B q_j) each, where q_j is
    the share of j among all positives (logQ correction), so that it estimates the softmax over the catalogue; what the
    user is known to like is left out. The published form subtracts log q from the positive's own score too, this one
    does not: the positive is drawn from the data, not from q.

    Args:
        factors: Length of the vectors, and of the ids' vectors.
        hidden: Widths of the hidden layers; none makes a tower linear.
        objective: A name of `recsys.objectives.OBJECTIVES`, or an object.
        sampler: A name of `recsys.samplers.SAMPLERS`, or an object; None is what the objective asks for, else uniform.
        learning_rate: Adam's.
        regularization: L2 of the ids' vectors that a draw touches, and of the weights, once a positive.
        iterations: Epochs.
        num_threads: Of draws and ranking, 0 is one a core; on the CPU the towers run on one thread, and results are the
            same to the bit.
        random_state: A seed; None draws one, which is kept as the attribute.
        num_negatives: Negatives beside each positive; None with the sampler "in-batch": all of the batch.
        batch_size: Positives of a step.
        use_ids: Whether ids have vectors; without, only features speak, and both sides must have them.
        unit: Whether vectors have length 1; then give the softmax a temperature, as SampledSoftmax(0.1).
        metric: What chooses the epoch where `fit` gets a validation set.
        patience: Stop after so many epochs without a better value; None runs all. The best epoch is kept either way.
        device: "cpu", "cuda" or "cuda:1".

    Attributes:
        epochs, best_epoch, history, counts: As of `MatrixFactorization`.

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
    # Of both towers without the ids' vectors, in one row.
    weights: Any = None
    # Features of users, of items.
    widths: Any = None

    def __init__(
        self,
        factors: int = 64,
        hidden: tuple[int, ...] | list[int] = (128,),
        objective: Any = "softmax",
        sampler: Any = "in-batch",
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
        metric: str = "ndcg@20",
        patience: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.factors = integer("factors", factors, 1, 1 << 14)
        if not isinstance(hidden, tuple | list):
            fail("hidden", "a list of widths, such as (128,)", repr(hidden))
        self.hidden = [integer("hidden", width, 1, 1 << 16) for width in hidden]
        for name, value in (("use_ids", use_ids), ("unit", unit)):
            if not isinstance(value, bool):
                fail(name, "True or False", repr(value))
        self.use_ids, self.unit = use_ids, unit
        self._common(
            objective, sampler, learning_rate, regularization, iterations, num_threads, random_state, num_negatives,
            batch_size, metric, patience, device,
        )  # fmt: skip
        self._features: tuple[Any, Any] = (None, None)

    def fit(
        self,
        user_items: Any,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        validation: Any = None,
        user_features: Any = None,
        item_features: Any = None,
    ) -> Self:
        """Learn from positives. Ctrl-C leaves the last whole epoch in the model, and is passed on.

        Args:
            user_items: Users × items, `Interactions` or a SciPy sparse matrix.
            show_progress: Show a progress bar.
            callback: Called after each epoch as callback(epoch, seconds, correct, skipped), epochs from 0; the model
                has that epoch's vectors.
            validation: Users × items, held out: `metric` on it chooses the epoch that is kept.
            user_features: Numbers [users, any], an array or a SciPy sparse matrix; scale them to about 1.
            item_features: Numbers [items, any].

        Raises:
            InputError: No interaction at all, a validation set that overlaps or is empty, features of another number of
                rows or not finite, a device that is not there, or training that diverges.
        """
        rows = as_csr("user_items", user_items).shape
        given = (user_features, item_features)
        self._features = (
            features("user_features", given[0], rows[0]),
            features("item_features", given[1], rows[1]),
        )
        if not self.use_ids:
            for side, part in zip(SIDES, self._features, strict=True):
                if part is None:
                    fail(f"{side}_features", "features, as use_ids is False", None)
        try:
            return super().fit(user_items, show_progress, callback, validation=validation)
        finally:
            self._features = (None, None)

    def _network(self, user_items: Any, extra: Any, rng: np.random.Generator) -> Network:
        ids = user_items.shape if self.use_ids else (0, 0)
        return Towers(ids, self._features, self.factors, self.hidden, self.unit, extra, rng)

    def _keep(self, network: Network) -> None:
        assert isinstance(network, Towers)
        self.weights = np.concatenate([x.detach().cpu().numpy().ravel() for x in network.shared()])
        self.widths = np.array(network.widths, np.int64)

    def embed(self, side: str, values: Any) -> NDArray[np.float32]:
        """Return vectors of new users or items from their features alone; an id that is unknown adds nothing.

        Args:
            side: "user" or "item".
            values: Features as those of `fit`, [any, features].

        Returns:
            float32 [rows, factors]; scores are their inner products with the vectors of the other side.

        Raises:
            InputError: The model is not fitted, was fitted without features of that side, or their number differs.
        """
        self.check_fitted()
        if side not in SIDES:
            fail("side", "'user' or 'item'", repr(side))
        place = SIDES.index(side)
        if not self.widths[place]:
            fail("side", f"a model that was fitted with {side}_features", "one without")
        found = features("values", values, None)
        if found.shape[1] != self.widths[place]:
            fail("values", f"{self.widths[place]} features", found.shape[1])
        none = np.zeros((0, int(self.widths[1 - place])), np.float32) if self.widths[1 - place] else None
        parts = (found, none) if place == 0 else (none, found)
        device = torch_device(self.device)
        with torch_threads(1):
            rng = np.random.default_rng(0)
            ids = (1, 1) if self.use_ids else (0, 0)
            network = Towers(ids, parts, self.factors, self.hidden, self.unit, {}, rng)
            network.restore(self.weights, found.shape[0])
            sizes = (found.shape[0], 0) if place == 0 else (0, found.shape[0])
            return all_vectors(network.to(device), sizes)[place]


def features(name: str, value: Any, size: int | None) -> Any:
    """Return checked features as float32: CSR or a matrix; None for none.

    Raises:
        InputError: Another shape, or values that are not finite numbers.
    """
    if value is None and size is not None:
        return None
    found = sp.csr_array(value) if sp.issparse(value) else np.asarray(value)
    if found.ndim != 2 or found.dtype.kind not in "biuf" or found.shape[1] == 0:
        fail(name, "numbers of shape [rows, features]", f"{found.dtype} of shape {found.shape}")
    if size is not None and found.shape[0] != size:
        fail(name, f"{size} rows", found.shape[0])
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    bad = ~np.isfinite(found.data if sp.issparse(found) else found)
    if bad.any():
        fail(name, "finite numbers", f"{int(bad.sum())} NaN or infinite entries")
    return found


class Towers(Network):
    """Both towers: [the id's vector, the projected features], then the layers."""

    def __init__(
        self,
        ids: tuple[int, int],
        given: tuple[Any, Any],
        factors: int,
        hidden: list[int],
        unit: bool,
        extra: Any,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(extra)
        self._given, self._unit, self._factors = given, unit, factors
        self.widths = tuple(0 if part is None else part.shape[1] for part in given)
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
                spread = np.sqrt((2.0 if k + 1 < self.depth else 1.0) / sizes[k])
                self.layers[f"{side} {k} weight"] = parameter(spread * rng.standard_normal((sizes[k], sizes[k + 1])))
                self.layers[f"{side} {k} shift"] = parameter(np.zeros(sizes[k + 1]))

    def shared(self) -> list[torch.nn.Parameter]:
        """Return the parameters that belong to no id, in order."""
        return [*self.project.values(), *self.layers.values()]

    def restore(self, flat: NDArray[np.float32], rows: int) -> None:
        """Take the shared parameters from one row of numbers; the vectors of `rows` ids become zeros."""
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
        """Send ids and features through the towers."""
        return self._tower(0, users), self._tower(1, items)

    def _tower(self, place: int, chosen: Tensor) -> Tensor:
        side, parts = SIDES[place], []
        if side in self.ids:
            parts.append(embedding(chosen, self.ids[side]))
        if side in self.project:
            rows = self._given[place][chosen.cpu().numpy()]
            dense = rows.toarray() if sp.issparse(rows) else rows
            parts.append(torch.from_numpy(np.ascontiguousarray(dense)).to(chosen.device) @ self.project[side])
        x = torch.cat(parts, 1)
        for k in range(self.depth):
            x = x @ self.layers[f"{side} {k} weight"] + self.layers[f"{side} {k} shift"]
            x = relu(x) if k + 1 < self.depth else x
        return normalize(x, dim=1) if self._unit else x

    def rows(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ids' vectors."""
        found = [
            embedding(some, self.ids[side]) if side in self.ids else torch.zeros(len(some), 1, device=some.device)
            for side, some in zip(SIDES, (users, items), strict=True)
        ]
        return found[0], found[1]

    def weights(self) -> list[Tensor]:
        """Return the matrices of the towers."""
        return [x for x in self.shared() if x.dim() == 2]

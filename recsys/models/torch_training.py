"""Training with torch and Adam that LightGCN and two towers share: epochs, validation, interrupts, devices."""

from __future__ import annotations

import json
import secrets
from abc import abstractmethod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from graphnoise.checks import choice, fail, integer, real
from graphnoise.resources import torch_threads
from recsys.base import Callback
from recsys.models.fitting import EpochModel
from recsys.models.initialisation import initial_parameters
from recsys.models.torch_steps import Network, Training, all_vectors
from recsys.objectives import objective as make_objective
from recsys.samplers import InBatch
from recsys.samplers import sampler as make_sampler
from recsys.validation import check_memory


def torch_device(name: str) -> torch.device:
    """Return the device, "cpu" or "cuda" or "cuda:1".

    Raises:
        InputError: Another name, or a CUDA device that torch does not see.
    """
    kind, _, place = str(name).partition(":")
    choice("device", kind, ("cpu", "cuda"))
    if kind == "cpu":
        if place:
            fail("device", "'cpu', 'cuda' or 'cuda:' and a number", repr(name))
        return torch.device("cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        fail("device", "'cpu', since torch sees no CUDA device here", repr(name))
    if place and not (place.isdecimal() and int(place) < found):
        fail("device", f"'cuda:' and a number from 0 to {found - 1}", repr(name))
    return torch.device(name)


class TorchModel(EpochModel):
    """A model whose vectors come out of a `Network`; a subclass supplies `_network` and, where it keeps more, `_keep`.

    On the CPU all but the propagation over a graph runs on one thread, since the sums of wide matrix products change
    with their number; so results are the same to the bit at any `num_threads`. On a GPU they repeat as far as CUDA's
    libraries do.
    """

    factors: int

    def _common(
        self,
        objective: Any,
        sampler: Any,
        learning_rate: float,
        regularization: float,
        iterations: int,
        num_threads: int,
        random_state: int | None,
        num_negatives: int | None,
        batch_size: int,
        metric: str,
        patience: int | None,
        device: str,
    ) -> None:
        self.objective = make_objective(objective)
        self.sampler = make_sampler(self.objective.sampler or "uniform" if sampler is None else sampler)
        self.learning_rate = real("learning_rate", learning_rate, 0.0)
        self.regularization = real("regularization", regularization, 0.0)
        self.iterations = integer("iterations", iterations, 1)
        self.num_threads = integer("num_threads", num_threads, 0)
        self.random_state = secrets.randbits(32) if random_state is None else integer("random_state", random_state, 0)
        self.num_negatives = None if num_negatives is None else integer("num_negatives", num_negatives, 1)
        if num_negatives is None and not isinstance(self.sampler, InBatch):
            expected = "a number, as only the sampler 'in-batch' has a whole batch to take"
            fail("num_negatives", expected, f"None with {self.sampler.name!r}")
        self.batch_size = integer("batch_size", batch_size, 1)
        self._chosen_by(metric, patience)
        self.device = device
        if not isinstance(device, str):
            fail("device", "'cpu' or 'cuda'", repr(device))

    @abstractmethod
    def _network(self, user_items: Any, extra: Any, rng: np.random.Generator) -> Network:
        """Return the network before training, on the CPU."""

    def _keep(self, network: Network) -> None:
        """Keep what the model has beside its vectors."""

    def _fit(self, user_items: Any, show_progress: bool, callback: Callback | None) -> None:
        shape = user_items.shape
        device = torch_device(self.device)
        # values, gradient, two moments, the last and the best epoch, and the tables of vectors
        size = 4.0 * sum(shape) * self.factors * (8 + 6 * len(self.objective.logits))
        check_memory(f"{type(self).__name__} of {shape[0]} users and {shape[1]} items", size)
        rng = np.random.default_rng(self.random_state)
        m, n = shape
        extra = {}
        if self.objective.logits:
            extra = initial_parameters(m, n, self.factors, self.objective.logits, "small", False, np.float32, rng).extra
        with torch_threads(1):
            network = self._network(user_items, extra, rng).to(device)
            training = Training(network, user_items, self, rng, device)

            def copy(epoch: int) -> dict[str, Tensor]:
                found = {name: value.detach().clone() for name, value in network.state_dict().items()}
                if not all(bool(torch.isfinite(value).all()) for value in found.values()):
                    self._diverged(self.learning_rate, epoch)
                return found

            self._epochs(
                user_items, show_progress, callback, training.epoch, copy,
                lambda found: self._take(network, found, shape),
            )  # fmt: skip

    def _take(self, network: Network, state: Any, shape: tuple[int, int]) -> None:
        """Make these parameters the model's."""
        network.load_state_dict(state)
        with torch.no_grad():
            network.prepare()
        self.user_factors, self.item_factors = all_vectors(network, shape)
        self._keep(network)
        self.num_users, self.num_items = shape

    def _parameters(self) -> dict[str, Any]:
        found = super()._parameters()
        found["objective"] = json.dumps(self.objective.parameters())
        found["sampler"] = json.dumps(self.sampler.parameters())
        return found

    @classmethod
    def _from_parameters(cls, parameters: dict[str, Any]) -> Self:
        given = {key: json.loads(parameters[key]) for key in ("objective", "sampler")}
        return cls(**{**parameters, **given})

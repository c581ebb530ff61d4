"""Base class of the models trained with torch and Adam (LightGCN, two-tower)."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphnoise.checks import choice, fail, integer, real
from graphnoise.resources import check_memory, torch_threads
from recsys.base import Callback
from recsys.models.fitting import EpochModel
from recsys.models.initialisation import initial_parameters
from recsys.models.torch_steps import Network, Training, all_vectors
from recsys.objectives import Objective
from recsys.samplers import InBatch, Sampler

State = dict[str, Tensor]


def torch_device(name: str) -> torch.device:
    """Return the device, "cpu" or "cuda" or "cuda:1".

    Raises:
        InputError: Another name, or a CUDA device that is not available.
    """
    kind, _, index = str(name).partition(":")
    choice("device", kind, ("cpu", "cuda"))
    if kind == "cpu":
        if index:
            fail("device", "'cpu', 'cuda' or 'cuda:' and a number", repr(name))
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        fail("device", "'cpu', since torch sees no CUDA device here", repr(name))
    if index and not (index.isdecimal() and int(index) < count):
        fail("device", f"'cuda:' and a number from 0 to {count - 1}", repr(name))
    return torch.device(name)


class TorchModel(EpochModel):
    """A model with vectors from a `Network`; a subclass implements `_network` and, for further arrays, `_store`.

    On the CPU, all but the propagation over a graph runs on one thread, since sums of wide matrix products depend on
    the number of threads; results are bit-identical at any `num_threads`. On a GPU they are as repeatable as CUDA's
    libraries.
    """

    factors: int
    iterations: int

    def _set_common(
        self,
        objective: Objective | str | Mapping[str, Any],
        sampler: Sampler | str | Mapping[str, Any] | None,
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
        self.objective, self.sampler = objective, sampler
        _, chosen = self.objective_and_sampler()
        self.learning_rate = real("learning_rate", learning_rate, 0.0)
        self.regularization = real("regularization", regularization, 0.0)
        self.iterations = integer("iterations", iterations, 1)
        self.num_threads = integer("num_threads", num_threads, 0)
        self.random_state = secrets.randbits(32) if random_state is None else integer("random_state", random_state, 0)
        self.num_negatives = None if num_negatives is None else integer("num_negatives", num_negatives, 1)
        if num_negatives is None and not isinstance(chosen, InBatch):
            expected = "a number, as only the sampler 'in-batch' can use the whole batch"
            fail("num_negatives", expected, f"None with {chosen.name!r}")
        self.batch_size = integer("batch_size", batch_size, 1)
        self._set_selection(metric, patience)
        self.device = device
        if not isinstance(device, str):
            fail("device", "'cpu' or 'cuda'", repr(device))

    @abstractmethod
    def _network(self, user_items: sp.csr_array, extra: Any, rng: np.random.Generator) -> Network:
        """Return the network before training, on the CPU."""

    def _store(self, network: Network) -> None:
        """Store the model's arrays other than its vectors."""

    def _fit(self, user_items: sp.csr_array, show_progress: bool, callback: Callback | None) -> None:
        objective, sampler = self.objective_and_sampler()
        users, items = shape = user_items.shape
        device = torch_device(self.device)
        # Values, gradient, two moments, two copies of epochs and the best one, and the tables of vectors.
        size = 4.0 * sum(shape) * self.factors * (9 + 7 * len(objective.logits))
        check_memory(f"{type(self).__name__} of {users} users and {items} items", size)
        rng = np.random.default_rng(self.random_state)
        extra = {}
        if objective.logits:
            extra = initial_parameters(
                users, items, self.factors, objective.logits, "small", False, np.float32, rng
            ).extra
        with torch_threads(1):
            network = self._network(user_items, extra, rng).to(device)
            training = Training(network, user_items, self, objective, sampler, rng, device)

            def copy(epoch: int, into: State | None) -> State:
                values = {name: value.detach() for name, value in network.state_dict().items()}
                if not all(bool(torch.isfinite(value).all()) for value in values.values()):
                    self._diverged(self.learning_rate, epoch)
                if into is None:
                    return {name: value.clone() for name, value in values.items()}
                for name, value in values.items():
                    into[name].copy_(value)
                return into

            def restore(state: State) -> None:
                self.objective_, self.sampler_ = objective, sampler
                self._restore(network, state, shape)

            self._run_epochs(user_items, show_progress, callback, self.iterations, training.epoch, copy, restore)

    def _restore(self, network: Network, state: State, shape: tuple[int, int]) -> None:
        """Load parameters into the network, and store the vectors they give."""
        network.load_state_dict(state)
        with torch.no_grad():
            network.prepare()
        self.user_factors, self.item_factors = all_vectors(network, shape)
        self._store(network)
        self.num_users, self.num_items = shape

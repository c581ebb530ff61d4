"""A case of a callable, and small inputs of all kinds."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx
import numpy as np
import scipy.sparse as sp
import torch

from graphnoise import Graph, datasets


class Case(NamedTuple):
    """A callable, its valid arguments, and further arguments that may be changed."""

    call: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]]
    more: tuple[str, ...] = ()


def arcs() -> torch.Tensor:
    return torch.tensor(list(networkx.karate_club_graph().to_directed().edges)).t().contiguous()


def karate() -> Graph:
    return Graph.from_edge_index(arcs())


def y() -> torch.Tensor:
    return torch.arange(34) % 2


def few(n: int = 34, width: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, width, generator=torch.Generator().manual_seed(seed))


def probabilities() -> torch.Tensor:
    return few().add(0.1).softmax(1).double()


@functools.cache
def data() -> Any:
    return datasets.planted_partition([30, 30], 0.3, 0.02, num_features=4, split=(5, 10, 20), seed=1)


def clicks(seed: int = 0, density: float = 0.4) -> Any:
    return sp.csr_array((np.random.default_rng(seed).random((12, 9)) < density).astype(np.float32))


def frame() -> Any:
    import pandas

    return pandas.DataFrame({"user": [1, 1, 2], "item": [3, 4, 3], "stars": [5.0, 4.0, 1.0], "time": [1, 2, 3]})


def table() -> str:
    frame().to_csv("clicks.csv", index=False)
    return "clicks.csv"

"""Recommenders of the benchmark, each with the hyper-parameter ranges that its search covers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import scipy.sparse as sp

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.options import Spec
from graphnoise.errors import InputError
from graphnoise.resources import available_memory, check_memory
from recsys.base import Recommender
from recsys.bench.search import Range, choice, integer, log_real, real
from recsys.models import baselines, neighbours, slim
from recsys.models.lightgcn import LightGCN
from recsys.models.linear import DenoisingLinear
from recsys.models.mf import MatrixFactorization
from recsys.models.robust import RobustFactorization
from recsys.models.spectral import SpectralFilter

# Patience: runs start on a plateau, as the popularity of items is learned first.
TRAINING = {"iterations": 80, "patience": 10}
FACTORS: dict[str, Range] = {
    "factors": integer(16, 128),
    "learning_rate": log_real(2e-2, 0.5),
    "regularization": log_real(1e-3, 0.15),
    "num_negatives": integer(1, 4),
}
ADAM: dict[str, Range] = {**FACTORS, "learning_rate": log_real(1e-3, 5e-2)}
SAMPLER = choice("uniform", "popularity")
FLIP_RATE = real(0.05, 0.7)


@dataclass(frozen=True)
class Method:
    """A recommender with its search space; others are plugged in by entry points of `graphnoise.recommenders`.

    Attributes:
        build: Constructor, called with `num_threads`, `random_state` and hyper-parameters.
        space: Ranges by hyper-parameter.
        epochs: Whether it trains by epochs, of which validation picks one.
        plain: Whether it is a plain method; the others are compared with the best of these.
        defaults: Hyper-parameters that are not searched but may be set.
        version: Changes whenever the method or its ranges would give other results.
    """

    build: Callable[..., Recommender]
    space: Mapping[str, Range] = field(default_factory=dict)
    epochs: bool = False
    plain: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    version: str = "3"

    def searched(self, fixed: Mapping[str, Any]) -> dict[str, Range]:
        """Return the ranges that are left to search."""
        return {name: values for name, values in self.space.items() if name not in fixed}

    def start(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults of what is left to search, where the search starts.

        What has no default in its range starts in the middle of it.
        """
        model: Any = self.model(fixed, 0)
        values = model.get_params(deep=False)
        if hasattr(model, "objective_and_sampler"):
            values = {**model.objective_and_sampler()[0].parameters(), **values}
        searched = self.searched(fixed).items()
        return {
            name: values[name] if name in values and space.place(values[name]) is not None else space(0.5)
            for name, space in searched
        }

    def model(self, parameters: Mapping[str, Any], seed: int) -> Recommender:
        """Return the model with these hyper-parameters, and defaults for the others."""
        return self.build(num_threads=1, random_state=seed, **{**self.defaults, **parameters})


def _deterministic(model: Callable[..., Recommender]) -> Callable[..., Recommender]:
    return lambda random_state, **parameters: model(**parameters)


def _factors(objective: str, *, adam: bool = False, plain: bool = False, **ranges: Range) -> Method:
    """Return a factorisation with an objective; those that the compiled epochs lack train in minibatches with Adam."""
    options: dict[str, Any] = {"optimizer": "adam", "batch_size": 1024} if adam else {"mode": "deterministic"}
    options["learning_rate_decay"] = 1.0
    of_objective = ranges.keys() - {"sampler", "extra_regularization", "dislike_share"}

    def build(**parameters: Any) -> Recommender:
        loss = {"name": objective, **{name: parameters.pop(name) for name in of_objective & parameters.keys()}}
        if "dislike_share" in parameters:
            parameters["sampler"] = {"name": "uniform", "dislike_share": parameters.pop("dislike_share")}
        return MatrixFactorization(objective=loss, **options, **parameters)

    return Method(build, {**(ADAM if adam else FACTORS), **ranges}, True, plain, TRAINING, "3")


def _preset(name: str) -> Method:
    """Return a factorisation with the settings of NBPO's authors' code for Amazon; nothing is searched."""
    defaults = {"num_negatives": 4, "iterations": 200}
    build = functools.partial(MatrixFactorization.from_preset, name)
    return Method(build, epochs=True, defaults=defaults, version="2")


POPULARITY = Method(lambda **_: baselines.Popularity(), plain=True, version="2")
ITEMKNN_PLAIN = Method(
    _deterministic(baselines.ItemKNN), plain=True, defaults={"neighbours": None, "shrinkage": 0.0}, version="2"
)
ITEMKNN = Method(
    _deterministic(baselines.ItemKNN),
    {"neighbours": integer(5, 1000, none=0.2), "shrinkage": log_real(0.1, 200, zero=0.25)},
    plain=True,
)
ALS = Method(
    functools.partial(baselines.ALS, weights="ones"),
    {
        "factors": integer(16, 512),
        "regularization": log_real(1e-2, 500),
        "alpha": log_real(0.3, 100),
        "iterations": integer(5, 30),
    },
    plain=True,
    version="4",
)
EASE = Method(
    _deterministic(baselines.EASE),
    {"regularization": log_real(1, 3000)},
    plain=True,
    defaults={"dropout": 0.0, "neighbours": None},
)
EASE_SPARSE = Method(functools.partial(EASE.build, neighbours=200), EASE.space, plain=True, defaults={"dropout": 0.0})
EDLAE = Method(EASE.build, {**EASE.space, "dropout": real(0.0, 0.9, zero=0.1)}, plain=True)
SLIM_CD = Method(
    _deterministic(slim.SLIM),
    {"l1_regularization": log_real(1e-2, 30), "l2_regularization": log_real(1, 1000)},
    plain=True,
    defaults={"nonnegative": True, "solver": "cd"},
)
USERKNN = Method(
    _deterministic(neighbours.UserKNN),
    {"neighbours": integer(5, 1000), "shrinkage": log_real(0.1, 200, zero=0.25)},
    plain=True,
)
RP3BETA = Method(
    _deterministic(neighbours.RP3beta),
    {"neighbours": integer(5, 1000), "alpha": real(0.2, 1.6), "beta": real(0.0, 1.2)},
    plain=True,
)
# Its own training data choose all: nothing is searched.
SPECTRAL = Method(
    SpectralFilter,
    defaults={
        "preset": "auto",
        "degree": 8,
        "directions": None,
        "low_pass": None,
        "flatness": 1.5,
        "degree_power": None,
        "user_power": 0.5,
        "item_power": 0.5,
    },
    version="1",
)
BPR = _factors("bpr", plain=True, sampler=SAMPLER)
LINEAR = Method(
    _deterministic(DenoisingLinear),
    {
        "core": choice("autoencoder", "neighbourhood"),
        "regularization": log_real(0.05, 50),
        "dropout": real(0.0, 0.8),
        "user_power": real(0.0, 0.7),
        "item_power": real(0.0, 0.6, zero=0.1),
        "low_pass": log_real(1e-2, 1, zero=0.25),
        "directions": integer(4, 600),
        "intercept": log_real(1e-4, 0.3, zero=0.2),
    },
)
BPO = _factors("bpo")
NBPO = _factors("nbpo", extra_regularization=log_real(1e-3, 0.5))
NBPO_CONSTANT = _factors("nbpo", flip_rate=FLIP_RATE)
NBPO_EM = _factors("nbpo-em", adam=True, flip_rate=FLIP_RATE)
BCE = _factors("bpo", adam=True)
T_CE = _factors("t-ce", adam=True, drop_rate=real(0.02, 0.4), ramp=integer(100, 10_000))
R_CE = _factors("r-ce", adam=True, alpha=real(0.05, 1.0))
DECA = _factors(
    "deca",
    adam=True,
    c1=log_real(1.0, 1000.0),
    c2=log_real(1.0, 100.0),
    direction=choice("both", "positives", "negatives"),
)
# Data with known dislikes only.
DISLIKE_SHARE = real(0.0, 0.9, zero=0.1)
BPR_DISLIKES = _factors("bpr-dislikes", adam=True, dislike_weight=log_real(0.5, 20), dislike_share=DISLIKE_SHARE)
DOUBLY_ROBUST = _factors(
    "doubly-robust", adam=True, power=real(0.0, 1.0), clip=log_real(0.02, 0.5), dislike_share=DISLIKE_SHARE
)
BPR_ADAM = _factors("bpr", adam=True, sampler=SAMPLER)
# Nothing is searched, so that methods of training are compared at the same settings.
ROBUST = Method(
    lambda num_threads, **parameters: RobustFactorization(**parameters),
    defaults={
        "method": "ce",
        "factors": 64,
        "learning_rate": 0.01,
        "regularization": 1e-5,
        "iterations": 30,
        "num_negatives": 4,
    },
    version="1",
)
LIGHTGCN = Method(
    functools.partial(LightGCN, batch_size=4096),
    {
        "factors": integer(16, 128),
        "num_layers": choice(1, 2, 3),
        "learning_rate": log_real(2e-3, 5e-2),
        "regularization": log_real(1e-5, 1e-1),
    },
    epochs=True,
    defaults=TRAINING,
    version="3",
)
NBPO_OFFICIAL = _preset("nbpo")
BPO_OFFICIAL = _preset("bpo")
BPR_OFFICIAL = _preset("bpr")


def parse(spec: Spec) -> tuple[Method, dict[str, Any]]:
    """Return the method of `NAME:PARAMETER=VALUE,…` and the hyper-parameters that are set, which are not searched.

    Raises:
        InputError: The method or a hyper-parameter is unknown, or the model refuses a value.
    """
    method: Method = registry.load("recommenders", spec.name)
    parameters = [*method.space, *method.defaults]
    fixed: dict[str, Any] = {}
    for key, value in spec.options.items():
        if not parameters:
            checks.fail(f"method {spec.name}", "no hyper-parameter", repr(key))
        fixed[checks.choice(f"method {spec.name}", key, parameters)] = None if value == "none" else value
    try:
        method.model({key: values(0.5) for key, values in method.searched(fixed).items()} | fixed, 0)
    except InputError as error:
        raise InputError(f"{spec.name}: {error}") from error
    return method, fixed


def check_fits(specs: Iterable[Spec], dataset: str, matrix: sp.csr_array) -> None:
    """Raise `InputError` if a method with its defaults exceeds the available memory.

    The message names those that do not: the plain ones, and the filter for large catalogues.

    Raises:
        InputError: A method needs too much memory for this matrix.
    """

    def needed(method: Method, fixed: Mapping[str, Any]) -> float:
        return method.model({**method.start(fixed), **fixed}, 0).memory_needed(matrix)

    for spec in specs:
        try:
            check_memory(f"{spec.label} on {dataset}, {matrix.shape[1]} items", needed(*parse(spec)))
        except InputError as error:
            known = {name: registry.load("recommenders", name) for name in registry.names("recommenders")}
            fitting = [
                name
                for name, method in known.items()
                if (method.plain or name == "spectral") and needed(method, {}) <= 0.9 * available_memory()
            ]
            raise InputError(f"{error}; less than that: {', '.join(fitting)}") from error

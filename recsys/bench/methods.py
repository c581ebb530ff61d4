"""Recommenders of the benchmark, each with the hyper-parameter ranges that its search covers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphnoise import checks
from graphnoise.bench import registry
from graphnoise.bench.options import Spec
from graphnoise.errors import InputError
from recsys import baselines
from recsys.base import Recommender
from recsys.bench.search import Choice, Integer, Range, Real
from recsys.linear import DenoisingLinear
from recsys.models.mf import MatrixFactorization

# Patience: runs start on a plateau, as the popularity of items is learned first.
TRAINING = {"iterations": 80, "patience": 10}
FACTORS: dict[str, Range] = {
    "factors": Integer(16, 128),
    "learning_rate": Real(2e-2, 0.5, log=True),
    "regularization": Real(1e-3, 0.15, log=True),
    "num_negatives": Integer(1, 4),
}
ADAM: dict[str, Range] = {**FACTORS, "learning_rate": Real(1e-3, 5e-2, log=True)}
SAMPLER = Choice("uniform", "popularity")
FLIP_RATE = Real(0.05, 0.7)


@dataclass(frozen=True)
class Method:
    """A recommender with its search space; others are plugged in by entry points of `graphnoise.recommenders`.

    Attributes:
        build: Constructor, called with `num_threads`, `random_state` and hyper-parameters.
        about: Description in one line.
        space: Ranges by hyper-parameter.
        epochs: Whether it trains by epochs, of which validation picks one.
        plain: Whether it is a plain method; the others are compared with the best of these.
        defaults: Hyper-parameters that are not searched but may be set.
        version: Changes whenever the method or its ranges would give other results.
    """

    build: Callable[..., Recommender]
    about: str
    space: Mapping[str, Range] = field(default_factory=dict)
    epochs: bool = False
    plain: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    version: str = "2"

    def searched(self, fixed: Mapping[str, Any]) -> dict[str, Range]:
        """Return the ranges that are left to search."""
        return {name: values for name, values in self.space.items() if name not in fixed}

    def model(self, parameters: Mapping[str, Any], seed: int) -> Recommender:
        """Return the model with these hyper-parameters, and defaults for the others."""
        return self.build(num_threads=1, random_state=seed, **{**self.defaults, **parameters})


def _deterministic(model: Callable[..., Recommender]) -> Callable[..., Recommender]:
    return lambda random_state, **parameters: model(**parameters)


def _popularity(num_threads: int, random_state: int) -> Recommender:
    return baselines.Popularity()


def _lightgcn(**parameters: Any) -> Recommender:
    # Imports torch.
    from recsys.models.lightgcn import LightGCN

    return LightGCN(batch_size=4096, **parameters)


def _factors(objective: str, about: str, *, adam: bool = False, plain: bool = False, **ranges: Range) -> Method:
    """Return a factorisation with an objective; those that the compiled epochs lack train in minibatches with Adam."""
    options = {"optimizer": "adam", "batch_size": 1024} if adam else {"mode": "deterministic"}
    of_objective = ranges.keys() - {"sampler", "extra_regularization"}

    def build(**parameters: Any) -> Recommender:
        loss = {"name": objective, **{name: parameters.pop(name) for name in of_objective & parameters.keys()}}
        return MatrixFactorization(objective=loss, **options, **parameters)

    return Method(build, about, {**(ADAM if adam else FACTORS), **ranges}, True, plain, TRAINING)


def _preset(name: str) -> Method:
    about = f"{name} with the settings of its authors' code for Amazon"
    defaults = {"num_negatives": 4, "iterations": 200}
    return Method(functools.partial(MatrixFactorization.official, name), about, epochs=True, defaults=defaults)


POPULARITY = Method(_popularity, "the items with the most users, the same for all")
ITEMKNN_PLAIN = Method(
    _deterministic(baselines.ItemKNN), "cosine between items, untuned", plain=True, defaults={"neighbours": None}
)
ITEMKNN = Method(
    _deterministic(baselines.ItemKNN),
    "shrunk cosine between items, nearest neighbours",
    {"neighbours": Integer(5, 1000, none=0.2), "shrinkage": Real(0.1, 200, log=True, zero=0.25)},
    plain=True,
)
ALS = Method(
    baselines.ALS,
    "factors by alternating least squares on all pairs (implicit)",
    {
        "factors": Integer(8, 192),
        "regularization": Real(1e-2, 100, log=True),
        "alpha": Real(0.3, 40, log=True),
        "iterations": Integer(5, 30),
    },
    plain=True,
)
EASE = Method(
    _deterministic(baselines.EASE), "linear autoencoder", {"regularization": Real(1, 3000, log=True)}, plain=True
)
BPR = _factors("bpr", "factors by pairwise ranking", plain=True, sampler=SAMPLER)
LINEAR = Method(
    _deterministic(DenoisingLinear),
    "linear model of noisy clicks (DenoisingLinear)",
    {
        "core": Choice("autoencoder", "neighbourhood"),
        "regularization": Real(0.05, 50, log=True),
        "dropout": Real(0.0, 0.8),
        "user_power": Real(0.0, 0.7),
        "item_power": Real(0.0, 0.6, zero=0.1),
        "low_pass": Real(1e-2, 1, log=True, zero=0.25),
        "directions": Integer(4, 600),
        "intercept": Real(1e-4, 0.3, log=True, zero=0.2),
    },
)
BPO = _factors("bpo", "factors by pointwise likelihood")
NBPO = _factors("nbpo", "BPO with learned flip rates", extra_regularization=Real(1e-3, 0.5, log=True))
NBPO_CONSTANT = _factors("nbpo", "NBPO with one flip rate", flip_rate=FLIP_RATE)
NBPO_EM = _factors("nbpo-em", "BPO with one flip rate, by Bayes' theorem", adam=True, flip_rate=FLIP_RATE)
BCE = _factors("bpo", "cross-entropy, trained as those below", adam=True)
T_CE = _factors(
    "t-ce",
    "cross-entropy without the worst positives",
    adam=True,
    drop_rate=Real(0.02, 0.4),
    ramp=Integer(100, 10_000),
)
R_CE = _factors("r-ce", "cross-entropy reweighted by fit", adam=True, alpha=Real(0.05, 1.0))
DECA = _factors(
    "deca",
    "two models with a penalty on disagreement",
    adam=True,
    c1=Real(1.0, 1000.0, log=True),
    c2=Real(1.0, 100.0, log=True),
    direction=Choice("both", "positives", "negatives"),
)
BPR_ADAM = _factors("bpr", "pairwise ranking with any sampler", adam=True, sampler=SAMPLER)
LIGHTGCN = Method(
    _lightgcn,
    "pairwise ranking with vectors smoothed over the graph",
    {
        "factors": Integer(16, 128),
        "num_layers": Choice(1, 2, 3),
        "learning_rate": Real(2e-3, 5e-2, log=True),
        "regularization": Real(1e-5, 1e-1, log=True),
    },
    epochs=True,
    defaults=TRAINING,
)
NBPO_OFFICIAL = _preset("nbpo")
BPO_OFFICIAL = _preset("bpo")
BPR_OFFICIAL = _preset("bpr")


def parse(spec: Spec) -> tuple[Method, dict[str, Any]]:
    """Return the method of `NAME:PARAMETER=VALUE,…` and the hyper-parameters that are set, which are not searched.

    Raises:
        InputError: The method or a hyper-parameter is unknown, or the model refuses a value.

    Example:
        >>> from graphnoise.bench import options
        >>> parse(options.parse("method", "linear:low_pass=0"))[1]
        {'low_pass': 0}
    """
    method: Method = registry.load("recommenders", spec.name)
    known = [*method.space, *method.defaults]
    fixed: dict[str, Any] = {}
    for key, value in spec.options.items():
        if not known:
            checks.fail(f"method {spec.name}", "no hyper-parameters, as it has none to set", key)
        fixed[checks.choice(f"method {spec.name}", key, known)] = None if value == "none" else value
    try:
        method.model({**{key: values.at(0.5) for key, values in method.searched(fixed).items()}, **fixed}, 0)
    except InputError as error:
        raise InputError(f"{spec.name}: {error}") from error
    return method, fixed

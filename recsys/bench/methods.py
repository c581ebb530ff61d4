"""The methods of `graphnoise bench recommend`, each with the ranges that its search covers.

A name may set hyper-parameters, which are not searched then: `linear:low_pass=0`, `bpr:factors=64,num_negatives=1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphnoise import checks
from graphnoise.checks import InputError
from recsys.base import Recommender
from recsys.bench.spaces import One, Range, Real, Whole
from recsys.models.baselines import ALS, EASE, ItemKNN, Popularity
from recsys.models.linear import DenoisingLinear
from recsys.models.mf import MatrixFactorization

VERSION = "2"  # changes whenever a method or its ranges would give other results
PLAIN = ("itemknn", "itemknn-plain", "als", "ease", "bpr")  # what a noise-robust method has to beat
ALWAYS = ("popularity", "itemknn-plain")  # in every table
EPOCHS = 80
PATIENCE = 10  # as many start on a plateau: the popularity of items is learned first

Build = Callable[[dict[str, Any], int], Recommender]


@dataclass(frozen=True)
class Method:
    """A method of the benchmark.

    Attributes:
        build: makes the model from searched and set hyper-parameters and a seed.
        space: ranges by hyper-parameter.
        epochs: whether it trains by epochs, of which validation picks one.
        about: in words.
        defaults: values of further hyper-parameters that a name may set.
    """

    build: Build
    space: Mapping[str, Range] = field(default_factory=dict)
    epochs: bool = False
    about: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _plain(kind: Callable[..., Recommender]) -> Build:
    return lambda given, seed: kind(num_threads=1, **given)


def _als(given: dict[str, Any], seed: int) -> Recommender:
    return ALS(num_threads=1, random_state=seed, **given)


def _factorised(objective: str, fast: bool, *of_objective: str) -> Build:
    """Return what builds a factorisation; some of the hyper-parameters are the objective's own.

    The C++ steps know few objectives; the others take minibatches with Adam.
    """
    mode = {"mode": "deterministic"} if fast else {"optimizer": "adam", "batch_size": 1024}

    def build(given: dict[str, Any], seed: int) -> Recommender:
        own = {key: value for key, value in given.items() if key in of_objective}
        rest = {key: value for key, value in given.items() if key not in of_objective}
        return MatrixFactorization(
            objective={"name": objective, **own}, num_threads=1, random_state=seed, **mode, **rest
        )

    return build


def _lightgcn(given: dict[str, Any], seed: int) -> Recommender:
    from recsys.models.lightgcn import LightGCN  # torch

    return LightGCN(num_threads=1, random_state=seed, batch_size=4096, **given)


def _official(name: str) -> Method:
    def build(given: dict[str, Any], seed: int) -> Recommender:
        return MatrixFactorization.from_preset(name, num_threads=1, random_state=seed, **given)

    defaults = {"num_negatives": 4, "iterations": 200}
    return Method(build, {}, True, f"{name} with the settings of its authors' code for Amazon", defaults)


_FACTORS: dict[str, Range] = {
    "factors": Whole(16, 128),
    "learning_rate": Real(2e-2, 0.5, log=True),
    "regularization": Real(1e-3, 0.15, log=True),
    "num_negatives": Whole(1, 4),
}
_ADAM = {"learning_rate": Real(1e-3, 5e-2, log=True)}
_TRAINING = {"iterations": EPOCHS, "patience": PATIENCE}


def _searched(objective: str, about: str, fast: bool = True, **own: Range) -> Method:
    names = [name for name in own if name not in ("sampler", "extra_regularization")]
    ranges = {**_FACTORS, **({} if fast else _ADAM), **own}
    return Method(_factorised(objective, fast, *names), ranges, True, about, _TRAINING)


METHODS: dict[str, Method] = {
    "popularity": Method(lambda given, seed: Popularity(), about="the items with the most users, for everybody"),
    "itemknn-plain": Method(
        _plain(ItemKNN), about="cosine between items, all neighbours, nothing to tune", defaults={"neighbours": None}
    ),
    "itemknn": Method(
        _plain(ItemKNN),
        {"neighbours": Whole(5, 1000, none=0.2), "shrinkage": Real(0.1, 200, log=True, zero=0.25)},
        about="cosine between items, shrunk, of the nearest neighbours",
    ),
    "als": Method(
        _als,
        {
            "factors": Whole(8, 192),
            "regularization": Real(1e-2, 100, log=True),
            "alpha": Real(0.3, 40, log=True),
            "iterations": Whole(5, 30),
        },
        about="factors by alternating least squares on all pairs (implicit)",
    ),
    "ease": Method(_plain(EASE), {"regularization": Real(1, 3000, log=True)}, about="a linear autoencoder"),
    "bpr": _searched("bpr", "factors by pairwise ranking", sampler=One("uniform", "popularity")),
    "linear": Method(
        _plain(DenoisingLinear),
        {
            "core": One("autoencoder", "neighbourhood"),
            "regularization": Real(0.05, 50, log=True),
            "dropout": Real(0.0, 0.8),
            "user_power": Real(0.0, 0.7),
            "item_power": Real(0.0, 0.6, zero=0.1),
            "low_pass": Real(1e-2, 1, log=True, zero=0.25),
            "directions": Whole(4, 600),
            "intercept": Real(1e-4, 0.3, log=True, zero=0.2),
        },
        about="a linear model that takes clicks for noisy (DenoisingLinear)",
    ),
    "bpo": _searched("bpo", "factors by pointwise likelihood"),
    "nbpo": _searched(
        "nbpo", "BPO with learned flips, as its authors'", extra_regularization=Real(1e-3, 0.5, log=True)
    ),
    "nbpo-constant": _searched("nbpo", "NBPO with one flip rate", flip_rate=Real(0.05, 0.7)),
    "nbpo-em": _searched("nbpo-em", "BPO with one flip rate by Bayes' theorem", False, flip_rate=Real(0.05, 0.7)),
    "bce": _searched("bpo", "cross-entropy, as those below are trained", False),
    "t-ce": _searched(
        "t-ce", "cross-entropy without the worst positives", False, drop_rate=Real(0.02, 0.4), ramp=Whole(100, 10_000)
    ),
    "r-ce": _searched("r-ce", "cross-entropy that trusts what fits", False, alpha=Real(0.05, 1.0)),
    "deca": _searched(
        "deca",
        "two models that are to agree",
        False,
        c1=Real(1.0, 1000.0, log=True),
        c2=Real(1.0, 100.0, log=True),
        direction=One("both", "positives", "negatives"),
    ),
    "bpr-adam": _searched("bpr", "pairwise ranking with any sampler", False, sampler=One("uniform", "popularity")),
    "lightgcn": Method(
        _lightgcn,
        {
            "factors": Whole(16, 128),
            "num_layers": One(1, 2, 3),
            "learning_rate": Real(2e-3, 5e-2, log=True),
            "regularization": Real(1e-5, 1e-1, log=True),
        },
        True,
        "pairwise ranking with vectors smoothed over the graph",
        _TRAINING,
    ),
    "nbpo-official": _official("nbpo"),
    "bpo-official": _official("bpo"),
    "bpr-official": _official("bpr"),
}
_WORDS = {"true": True, "false": False, "none": None}


def create(text: str) -> tuple[str, dict[str, Any]]:
    """Read `NAME` or `NAME:PARAMETER=VALUE,…`; return the name and what is set, which is not searched.

    Raises:
        InputError: an unknown method or hyper-parameter, or a value that the model refuses.

    Example:
        >>> create("linear:low_pass=0")
        ('linear', {'low_pass': 0})
    """
    name, _, rest = text.partition(":")
    method = METHODS[checks.choice("method", name, METHODS)]
    known = [*method.space, *method.defaults]
    fixed: dict[str, Any] = {}
    for part in rest.split(",") if rest else []:
        key, equals, word = part.partition("=")
        if not equals or not word:
            checks.fail(f"method {name}", "PARAMETER=VALUE", repr(part))
        if not known:
            checks.fail(f"method {name}", "no hyper-parameters, as it has none to set", repr(part))
        if checks.choice(f"method {name}", key, known) in fixed:
            checks.fail(f"method {name}", f"one value of {key}", repr(rest))
        fixed[key] = _value(word)
    try:
        method.build(middle(name, fixed), 0)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    return name, fixed


def _value(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def space(name: str, fixed: Mapping[str, Any]) -> dict[str, Range]:
    """Return the ranges that are left to search."""
    return {key: value for key, value in METHODS[name].space.items() if key not in fixed}


def build(name: str, parameters: Mapping[str, Any], seed: int) -> Recommender:
    """Return the model of a method with these hyper-parameters, and defaults for what is neither set nor searched."""
    method = METHODS[name]
    return method.build({**method.defaults, **parameters}, seed)


def middle(name: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is set, and the middle of each range."""
    return {**METHODS[name].defaults, **{k: one.at(0.5) for k, one in space(name, fixed).items()}, **fixed}

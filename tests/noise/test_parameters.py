"""Parameters of the noise functions: defaults, what they change, and names in errors."""

import inspect

import numpy as np
import pytest
import scipy.sparse as sp

from graphnoise import InputError, noise

RNG = np.random.default_rng(0)
Y = np.arange(60) % 3
ARCS = RNG.integers(0, 60, (2, 200))
CLICKS = sp.random_array((20, 30), density=0.2, rng=1, format="csr")
REQUIRED = {
    "cascade": {"edge_index": ARCS, "y": Y, "rate": 0.31, "probability": 0.5},
    "tree_propagated": {"edge_index": ARCS, "y": Y, "rate": 0.31},
    "feature_dependent": {"x": RNG.normal(size=(60, 4)), "y": Y, "rate": 0.31},
    "structure_dependent": {"edge_index": ARCS, "y": Y, "rate": 0.31},
    "confidence_dependent": {"probabilities": RNG.dirichlet(np.ones(3), 60), "y": Y, "rate": 0.31},
    "erase_stream": {"kind": "asymmetric", "y": Y, "rate": 0.31},
    "flip_membership": {"members": np.arange(20), "num_nodes": 60, "a1": 0.7, "a0": 0.8},
    "flip_interactions": {"matrix": CLICKS, "false_positive_rate": 0.2},
    "asymmetric": {"num_classes": 9, "rate": 0.31},
    "random": {"num_classes": 9, "rate": 0.31},
    "symmetric": {"num_classes": 3, "rate": 0.31},
    "pair": {"num_classes": 3, "rate": 0.31},
    "from_counts": {"counts": [[1, 2], [0, 3]]},
    "from_mapping": {"mapping": {0: 1}, "num_classes": 3, "rate": 0.31},
}
# The default, and a value with another result; of a function alone where functions differ.
OPTIONAL = {
    "mask": (None, [0, 1]),
    "seed": (0, 1),
    "erase_stream.seed": (123, 0),
    "num_classes": (None, 2),
    "exact": (False, True),
    "model_seed": (None, 0),
    "base": (0.05, 9.0),
    "seed_share": (0.1, 0.9),
    "offset": ("random", "next"),
    "pair.offset": (1, 2),
    "false_negative_rate": (0.0, 0.2),
    "popularity": (0.0, 3.0),
    "hidden_popularity": (0.0, 3.0),
    "exclude": (None, sp.csr_array(np.arange(600.0).reshape(20, 30) % 2)),
    "smoothing": (0.0, 1.0),
}
functions = pytest.mark.parametrize("name", REQUIRED)


def result(name, more):
    value = getattr(noise, name)(**REQUIRED[name] | more)
    value = value[1] if isinstance(value, tuple) else value
    part = value.y if hasattr(value, "y") else value.matrix
    return (part.toarray() if sp.issparse(part) else np.asarray(part)).tolist()


@functions
def test_defaults_are_those_of_the_documentation(name):
    usual = result(name, {})
    for parameter in inspect.signature(getattr(noise, name)).parameters.keys() - REQUIRED[name].keys():
        default, other = OPTIONAL.get(f"{name}.{parameter}") or OPTIONAL[parameter]
        assert result(name, {parameter: default}) == usual, parameter
        # The popularity of hidden pairs matters only if there are any.
        more = {"false_negative_rate": 0.2} if parameter == "hidden_popularity" else {}
        if parameter == "num_classes":
            with pytest.raises(InputError, match=r"^y: expected labels from 0 to 1, got 2"):
                result(name, {parameter: other})
            continue
        seeds = [{"seed": seed} for seed in range(4)] if parameter == "exact" else [more]
        assert any(result(name, {parameter: other, **more}) != result(name, more) for more in seeds), parameter


@functions
def test_a_wrong_value_is_named(name):
    for parameter in inspect.signature(getattr(noise, name)).parameters:
        with pytest.raises(InputError, match=f"^{parameter}: expected "):
            getattr(noise, name)(**REQUIRED[name] | {parameter: object()})

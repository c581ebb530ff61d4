"""ERASE as a method of the benchmark."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise.bench.methods.problem import Trial
from graphnoise.erase import ERASE, CollapseWarning
from graphnoise.erase.settings import Settings
from graphnoise.erase.train import Training


class Erase:
    """ERASE; every hyper-parameter that is not given is that of the preset, see `graphnoise.erase.Settings`.

    Where noise has left the training nodes a single class, that class is predicted.
    """

    version = "1"
    stochastic = True

    def __init__(self, preset: str = "robust", **overrides: Any) -> None:
        self._arguments: dict[str, Any] = {"preset": preset, **given(overrides)}
        ERASE(**self._arguments)  # a wrong value is refused here, not in every cell

    def fit_predict(self, trial: Trial) -> Tensor:
        """Train on the trial's labels and return the class probabilities of all nodes."""
        problem = trial.problem
        labels = trial.y[problem.train]
        if bool((labels == labels[0]).all()):
            out = torch.zeros(problem.num_nodes, problem.num_classes)
            out[:, int(labels[0])] = 1.0
            return out
        data = Data(
            x=problem.x,
            edge_index=problem.graph.edge_index,
            y=trial.y,
            train_mask=problem.train_mask,
            val_mask=problem.val_mask,
        )
        model = ERASE(seed=trial.seed, num_classes=problem.num_classes, progress=False, **self._arguments)

        def report(training: Training) -> None:
            trial.report(training.history["loss"][-1] or 0.0, training.semantic[problem.train])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # accuracies show it
            return model.fit(data, on_epoch=report).predict_proba(data)


def given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyper-parameters as `ERASE` takes them, from values as command lines and suites write them.

    What may be None is so by the word "none"; several fanouts are numbers separated by commas.

    Example:
        >>> given({"components": "none", "denoise": "none", "fanouts": "10,5"})
        {'components': None, 'denoise': 'none', 'fanouts': (10, 5)}
    """
    kinds = get_type_hints(Settings)
    found: dict[str, Any] = {}
    for name, value in overrides.items():
        if value == "none" and type(None) in get_args(kinds.get(name)):
            value = None
        elif name == "fanouts" and not isinstance(value, tuple):
            parts = str(value).split(",")
            value = tuple(int(part) for part in parts) if all(_whole(part) for part in parts) else value
        found[name] = value
    return found


def _whole(text: str) -> bool:
    return text.strip().removeprefix("-").isdigit()


def _signature() -> inspect.Signature:
    """Return the hyper-parameters that may be set: the preset's name, and all of `Settings`."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    names = [field.name for field in dataclasses.fields(Settings)]
    own = [inspect.Parameter("preset", keyword, default="robust")]
    return inspect.Signature([*own, *(inspect.Parameter(name, keyword, default=None) for name in names)])


Erase.__signature__ = _signature()  # type: ignore[attr-defined]

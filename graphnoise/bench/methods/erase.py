"""ERASE as a method of the benchmark."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import warnings
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from graphnoise.bench.methods.problem import Problem, Trial
from graphnoise.erase import ERASE, CollapseWarning, HeterophilyWarning
from graphnoise.erase.ensemble import Ensemble
from graphnoise.erase.inputs import Inputs, Labels, check_scale
from graphnoise.erase.settings import Settings
from graphnoise.erase.train import Training
from graphnoise.nn.features import compact


class Erase:
    """ERASE; hyper-parameters that are not set are those of the preset, see `graphnoise.erase.Settings`.

    Where noise has left the training nodes a single class, that class is predicted.
    """

    version = "2"
    stochastic = True

    def __init__(self, preset: str = "robust", **overrides: Any) -> None:
        # Presets have versions of their own.
        self.version = "2" if preset == "robust" else "1"
        self._model = ERASE(preset, progress=False, **settings(overrides))

    def fit_predict(self, trial: Trial) -> Tensor:
        """Train on the trial's labels and return the class probabilities of all nodes."""
        if (scores := trial.single_class()) is not None:
            return scores
        problem, labels = trial.problem, trial.y[trial.problem.train]
        model = copy.copy(self._model)
        model.seed, s = trial.seed, model.settings
        inputs = inputs_of(problem, s.normalise_features)
        val = problem.val if s.select == "validation" else problem.val[:0]

        def report(training: Training | Ensemble) -> None:
            trial.report(training.history["loss"][-1] or 0.0, training.semantic[problem.train])

        with warnings.catch_warnings():
            # Accuracies show both.
            warnings.simplefilter("ignore", CollapseWarning)
            warnings.simplefilter("ignore", HeterophilyWarning)
            given = Labels(problem.train, labels, val, trial.y[val], np.arange(problem.num_classes))
            model._fit(s, inputs, given, report)
        with torch.no_grad():
            return model._predict_proba(inputs)


@functools.lru_cache(maxsize=1)
def inputs_of(problem: Problem, normalise_features: bool) -> Inputs:
    """Return what ERASE reads from a problem, without checking it or building its graph again."""
    check_scale(problem.x)
    if not normalise_features:
        return Inputs(problem.x, compact(problem.x), problem.graph)
    inputs = Inputs(problem.normalised, problem.features, problem.graph)
    # Computed once per problem.
    vars(inputs).update(looped=problem.looped, smoothed=problem.smoothed(2))
    return inputs


def settings(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyper-parameters as `ERASE` takes them, from values as command lines and suites write them.

    What may be None is so by the word "none"; several fanouts are numbers separated by commas.

    Example:
        >>> settings({"components": "none", "denoise": "none", "fanouts": "10,5"})
        {'components': None, 'denoise': 'none', 'fanouts': (10, 5)}
    """
    kinds = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for name, value in texts.items():
        if value == "none" and type(None) in get_args(kinds.get(name)):
            value = None
        elif name == "fanouts" and not isinstance(value, tuple):
            # Anything else is left for ERASE to refuse.
            with contextlib.suppress(ValueError):
                value = tuple(int(part) for part in str(value).split(","))
        values[name] = value
    return values


# The hyper-parameters that may be set: the preset's name, and all of `Settings`.
Erase.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="robust" if name == "preset" else None)
        for name in ("preset", *(field.name for field in dataclasses.fields(Settings)))
    ]
)

"""Methods of `graphnoise.robust.methods` in the benchmark: each of their names is an attribute of this module."""

from __future__ import annotations

import functools
import inspect
from inspect import Parameter, Signature
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from graphnoise import checks
from graphnoise.bench.methods.problem import Problem, Trial
from graphnoise.bench.methods.robust import with_corrected_labels
from graphnoise.erase.inputs import Labels
from graphnoise.robust import RobustGNN, methods
from graphnoise.robust.training import Training, View

# Settings of `RobustGNN` that cells may set, with their defaults here.
SHARED = {
    "hidden": 64,
    "dropout": 0.5,
    "epochs": 200,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "patience": None,
    "val_labels": "select",
}


class Trained:
    """A graph neural network trained by a method of `graphnoise.robust.methods`.

    Args:
        search: Number of trials of a search (Optuna's TPE, by the accuracy on the given validation labels) over
            learning rate, weight decay, width, dropout and the method's own `search` settings; 0: none.
        labels: "graph-gp": the given labels are first replaced by the likeliest class of their node by `GraphGP`.
        **settings: Settings of `RobustGNN` and of the method.
    """

    name: ClassVar[str]
    stochastic = True

    def __init__(self, search: int = 0, labels: str | None = None, **settings: Any) -> None:
        self.search = checks.integer("search", search, 0, 10_000)
        self.labels = labels if labels is None else checks.choice("labels", labels, ("graph-gp",))
        self.shared = {key: settings.pop(key, default) for key, default in SHARED.items()}
        if self.search and self.shared["val_labels"] != "select":
            checks.fail("search", "0 without val_labels=select, whose labels it selects by", self.search)
        self.settings = settings
        # Checks all settings.
        RobustGNN(methods.create_method(self.name, **settings), **self.shared)

    def fit_predict(self, trial: Trial) -> Tensor:
        """Train, where asked after a search, and return the class probabilities."""
        if self.labels is not None:
            trial = with_corrected_labels(trial)
        if (scores := trial.single_class()) is not None:
            return scores
        if not self.search:
            return self._probabilities(trial, self._fitted(trial, self.shared, self.settings))
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        best: list[tuple[float, Tensor]] = []

        def objective(suggested: optuna.Trial) -> float:
            shared = {
                **self.shared,
                "lr": suggested.suggest_float("lr", 1e-3, 5e-2, log=True),
                "weight_decay": suggested.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
                "hidden": suggested.suggest_categorical("hidden", [16, 64, 128]),
                "dropout": suggested.suggest_float("dropout", 0.2, 0.8),
            }
            ranges = methods.load(self.name).search
            own = {key: suggested.suggest_float(key, low, high) for key, (low, high) in ranges.items()}
            model = self._fitted(trial, shared, {**self.settings, **own})
            loss = model.history_["val_loss"][model.best_epoch_ - 1] or 0.0
            # Ties of accuracy are decided by the loss.
            score = (model.history_["val_accuracy"][model.best_epoch_ - 1] or 0.0) - 1e-6 * loss
            if not best or score > best[0][0]:
                best[:] = [(score, self._probabilities(trial, model))]
            return score

        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=trial.seed))
        study.optimize(objective, n_trials=self.search)
        trial.searched.update(study.best_params)
        return best[0][1]

    def _fitted(self, trial: Trial, shared: dict[str, Any], settings: dict[str, Any]) -> RobustGNN:
        problem, val = trial.problem, trial.problem.val
        nodes, given = trial.given(shared["val_labels"] == "train")
        present, codes = np.unique(given.numpy(), return_inverse=True)
        position = torch.full((problem.num_classes,), -1)
        position[present] = torch.arange(len(present))
        if shared["val_labels"] != "select":
            val = val[:0]
        labels = Labels(nodes, torch.from_numpy(codes), val, position[trial.y[val]], present)
        train = len(problem.train)

        def report(run: Training) -> None:
            logits = run.context.evaluate().logits[nodes[:train]]
            trial.report(run.history["loss"][-1] or 0.0, torch.from_numpy(present)[logits.argmax(1)])

        model = RobustGNN(methods.create_method(self.name, **settings), seed=trial.seed, progress=False, **shared)
        # A seed of the trial has 32 bits.
        with torch.enable_grad():
            model._fit(model._check(), _view(problem), labels, [] if self.search else [report])
        return model

    def _probabilities(self, trial: Trial, model: RobustGNN) -> Tensor:
        with torch.no_grad():
            p = model.method_.predict(model._context, _view(trial.problem))
        out = torch.zeros(trial.problem.num_nodes, trial.problem.num_classes, dtype=p.dtype)
        out[:, torch.from_numpy(model.classes_)] = p
        return out


@functools.lru_cache(maxsize=2)
def _view(problem: Problem) -> View:
    """Return features and arcs, computed once per problem."""
    view = View(F.normalize(problem.x), problem.graph.edge_index)
    vars(view)["graph"] = problem.looped
    return view


@functools.cache
def __getattr__(name: str) -> type[Trained]:
    """Return the class of the method of a name, with underscores for hyphens."""
    method = name.replace("_", "-")
    if method not in methods.names():
        raise AttributeError(name)
    kind = methods.load(method)
    defaults = {**SHARED, **kind.defaults(), "search": 0, "labels": None}
    parameters = [Parameter(key, Parameter.KEYWORD_ONLY, default=value) for key, value in defaults.items()]
    members = {"name": method, "version": kind.version, "__doc__": kind.__doc__, "__signature__": Signature(parameters)}
    made = type(name, (Trained,), members)
    assert inspect.signature(made).parameters
    return made

"""Adaptation of a fitted network to a graph that differs from the one it was trained on, without labels."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.erase.inputs import read
from graphnoise.resources import default_modes
from graphnoise.robust.classifier import RobustGNN, view_of
from graphnoise.robust.detection import confidence_falls


class EntropyAdaptation:
    r"""One step of smaller entropy for each graph, on the nodes whose confidence has not fallen since training.

    With p⁰ the frozen network's predictions, p those of the adapted one and c_i = argmax p⁰_i, node i is kept if
    p_i[c_i] ≥ p⁰_i[c_i]: nodes of classes that were not trained on lose confidence while others gain it. The step
    changes the weights and biases of layers of normalisation alone. At the first graph all nodes are kept.

    It is meant for networks that are tested on another graph, or on later states of it. It does nothing for wrong
    labels of training.

    Args:
        model: A fitted `RobustGNN` whose method trains one network, with layers of normalisation. It is not changed.
        lr: Learning rate of Adam, at most 1.

    Attributes:
        kept_: Which nodes of the last graph were kept, Boolean, shape [num_nodes].

    Raises:
        InputError: No such model, or lr that is not above 0 and at most 1.
        NotFittedError: The model is not fitted.

    Example:
        >>> from torch_geometric.nn import GCN
        >>> from graphnoise import datasets
        >>> data = datasets.planted_partition([40, 40], 0.2, 0.02, num_features=8, split=(15, 20, 20), seed=0)
        >>> later = datasets.planted_partition([40, 40], 0.2, 0.08, num_features=8, seed=1)
        >>> model = RobustGNN("ce", model=GCN(8, 16, 2, 2, norm="BatchNorm"), epochs=20).fit(data)
        >>> EntropyAdaptation(model).predict_proba(later).shape
        torch.Size([80, 2])

    Source:
        In the spirit of Lee et al., "Towards Open-Set Test-Time Adaptation Utilizing the Wisdom of Crowds in Entropy
        Minimization", ICCV 2023.
    """

    def __init__(self, model: RobustGNN, lr: float = 1e-3) -> None:
        if not isinstance(model, RobustGNN):
            checks.fail("model", "a fitted RobustGNN", type(model).__name__)
        if not hasattr(model, "networks_"):
            checks.unfitted("RobustGNN")
        if len(model.networks_) > 1:
            checks.fail("model", "a method of one network", f"{len(model.networks_)} networks")
        self.model, self.lr = model, checks.real("lr", lr, 1e-12, 1.0)
        self.network = copy.deepcopy(model.networks_[0]).requires_grad_(False)
        parameters = [
            p
            for part in self.network.modules()
            if "Norm" in type(part).__name__
            for p in part.parameters(recurse=False)
        ]
        if not parameters:
            checks.fail("model", "layers of normalisation, which are adapted", "none")
        for p in parameters:
            p.requires_grad_(True)
        self.optimiser = torch.optim.Adam(parameters, self.lr)

    def predict_proba(self, data: Data) -> Tensor:
        """Adapt to the graph by one step, and return the class probabilities of its nodes, [num_nodes, num_classes].

        Raises:
            InputError: The data have other features.
        """
        model = self.model
        with default_modes(model.num_threads):
            inputs = read(data, False, next(self.network.parameters()).device)
            if inputs.x.shape[1] != model.n_features_in_:
                checks.fail("data.x", f"{model.n_features_in_} features, as in fit", inputs.x.shape[1])
            view = view_of(inputs, model._normalised)
            with torch.no_grad():
                before = model.networks_[0](view).logits.softmax(1)
            with torch.enable_grad():
                logits = self.network(view).logits
                after = logits.detach().softmax(1)
                numbers = before.double().cpu().numpy(), after.double().cpu().numpy()
                kept = confidence_falls(*numbers, numbers[0].argmax(1))[1]
                self.kept_ = torch.from_numpy(kept).to(logits.device)
                if kept.any():
                    logs = logits[self.kept_].log_softmax(1)
                    self.optimiser.zero_grad()
                    (-(logs.exp() * logs).sum(1).mean()).backward()
                    self.optimiser.step()
            with torch.no_grad():
                p: Tensor = self.network(view).logits.softmax(1)
        return p

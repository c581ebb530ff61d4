"""One call for training with wrong labels: `fit` chooses the estimator by the name of a method."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from graphnoise import checks
from graphnoise.node_classifier import NodeClassifier
from graphnoise.robust import methods
from graphnoise.robust.classifier import RobustGNN
from graphnoise.robust.graph_gp import GraphGP


def fit(
    data: Data,
    model: torch.nn.Module | None = None,
    method: str = "auto",
    *,
    seed: int = 0,
    split: int | None = None,
) -> NodeClassifier:
    """Fit a classifier of nodes to labels of which a part is wrong.

    Args:
        data: A torch_geometric `Data` with x, edge_index or adj_t, y, train_mask and, if there is one, val_mask: labels
            of both are used, and may both be wrong. Other methods than "auto", "ggp", "erase" and "ggp-targets" select
            the epoch by those of val_mask.
        model: A torch_geometric module to train, see `RobustGNN`; methods that train no network refuse one.
        method: "auto" or "ggp": `GraphGP`, whose prediction mixes a Gaussian process, a matched filter and class means
            by the likelihood of the given labels; with a model, "auto" trains it on what `GraphGP` infers
            ("ggp-targets"). "erase": `graphnoise.ERASE`. Or a method of `RobustGNN` (`gn.robust.methods.names()`).
        seed: Seed of what is random.
        split: Column of masks of several splits.

    Returns:
        A fitted estimator with `predict`, `predict_proba` and `score`.

    Raises:
        InputError: An unknown method, a model next to a method that trains none, or data that it cannot read.

    Example:
        >>> from graphnoise import datasets, noise
        >>> data = datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, split=(15, 40, 40), seed=0)
        >>> noisy = noise.LabelNoise("symmetric", 0.3, splits=("train", "val"), seed=0)(data)
        >>> fit(noisy).score(noisy) > 0.9
        True
        >>> fit(noisy, method="ce").score(noisy) > 0.8
        True
    """
    from graphnoise.erase import ERASE

    checks.choice("method", method, ("auto", "ggp", "erase", *methods.names()))
    if isinstance(model, str):
        checks.fail("model", "a torch.nn.Module or None (a name of a method is method=NAME)", repr(model))
    if method in ("ggp", "erase") and model is not None:
        checks.fail("model", f"None with method={method!r}, which trains no module", type(model).__name__)
    if method == "erase":
        return ERASE(seed=seed).fit(data, split=split)
    if method == "ggp" or (method == "auto" and model is None):
        return GraphGP(seed=seed).fit(data, split=split)
    # Posteriors of all labelled nodes are targets that need no selection of an epoch.
    name, val_labels = ("ggp-targets", "train") if method in ("auto", "ggp-targets") else (method, "select")
    return RobustGNN(name, model=model, val_labels=val_labels, seed=seed).fit(data, split=split)

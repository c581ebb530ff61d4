"""Methods of training with wrong labels, by name."""

from __future__ import annotations

import importlib
from typing import Any

from graphnoise import checks
from graphnoise.robust.methods.adapters import Drop, Reweight, Soften
from graphnoise.robust.methods.sources import NAT, source_confidence
from graphnoise.robust.training import Method

__all__ = ["NAT", "Drop", "Reweight", "Soften", "create_method", "load", "names", "source_confidence"]

# By module of this package, the class of each method.
_CLASSES = {
    "alternation": {"lsa": "LSA"},
    "cgnn": {"cgnn": "CGNN"},
    "community": {"cp": "CommunityPreservation"},
    "confidence": {
        "adaptive-smoothing": "AdaptiveSmoothing",
        "blend": "Blend",
        "confidence-weights": "ConfidenceWeights",
        "oscillation": "Oscillation",
    },
    "conditioning": {"quality-conditioning": "QualityConditioning"},
    "consistency": {"consistency": "Consistency", "shrunk-classes": "ShrunkClasses"},
    "correction": {
        "confident-learning": "ConfidentLearning",
        "gnn-cleaner": "GNNCleaner",
        "r2lp": "R2LP",
        "self-training": "SelfTraining",
    },
    "crgnn": {"crgnn": "CRGNN"},
    "curriculum": {"clnode": "CLNode", "tss": "TSS"},
    "d_gnn": {"d-gnn": "DGNN"},
    "dnd_net": {"dnd-net": "DnDNet"},
    "frozen_embeddings": {"nmtune": "NMTune"},
    "ggp_targets": {"ggp-targets": "GGPTargets"},
    "icgnn": {"icgnn": "ICGNN"},
    "kernel_labels": {"kernel-labels": "KernelLabels"},
    "label_input": {"label-assisted": "LabelAssisted"},
    "losses": {
        "bootstrap-hard": "HardBootstrapping",
        "bootstrap-soft": "SoftBootstrapping",
        "ce": "CrossEntropy",
        "elr": "ELR",
        "focal": "Focal",
        "gce": "GCE",
        "label-smoothing": "LabelSmoothing",
        "mae": "MAE",
        "nce": "NCE",
        "nce-mae": "NCEandMAE",
        "nce-rce": "NCEandRCE",
        "nfl-rce": "NFLandRCE",
        "phuber": "PHuber",
        "rce": "RCE",
        "sce": "SCE",
        "taylor": "Taylor",
        "truncated-gce": "TruncatedGCE",
    },
    "nested_dropout": {"nested-co-teaching": "NestedCoTeaching", "nested-dropout": "NestedDropout"},
    "nrgnn": {"nrgnn": "NRGNN"},
    "onset": {"adele": "ADELE"},
    "pi_gnn": {"pi-gnn": "PIGNN"},
    "pretraining": {"class-gaussians": "ClassGaussians", "pretrain-distil": "PretrainDistil"},
    "prototypes": {"capro": "CAPro"},
    "prune_distil": {"prune-distil": "PruneDistil"},
    "relabelling": {"relabel": "Relabelling"},
    "rtgnn": {"rtgnn": "RTGNN"},
    "set_losses": {"ldam": "Margin", "missing-positives": "MissingPositives", "pu": "PositiveUnlabelled"},
    "several_teachers": {"multi-teacher": "SeveralTeachers"},
    "sources": {"nat": "NAT"},
    "transitions": {"backward": "Backward", "forward": "Forward", "s-model": "SModel", "t-revision": "TRevision"},
    "two_networks": {
        "co-teaching": "CoTeaching",
        "co-teaching-plus": "CoTeachingPlus",
        "jocor": "JoCoR",
        "small-loss": "SmallLoss",
    },
    "unionnet": {"unionnet": "UnionNET"},
}
_METHODS = {name: (module, kind) for module, kinds in _CLASSES.items() for name, kind in kinds.items()}


def names() -> list[str]:
    """Return the names of all methods.

    Example:
        >>> "ce" in names()
        True
    """
    return sorted(_METHODS)


def load(name: str) -> type[Method]:
    """Return the class of a method.

    Raises:
        InputError: There is no method of this name.

    Example:
        >>> load("gce").needs_graph
        False
    """
    module, attribute = _METHODS[checks.choice("method", name, _METHODS)]
    kind: type[Method] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return kind


def create_method(name: str, **settings: Any) -> Method:
    """Return a method with these settings.

    Raises:
        InputError: There is no method of this name, or a setting is unknown or out of its range.

    Example:
        >>> create_method("gce", q=0.5).settings()
        {'q': 0.5}
    """
    kind = load(name)
    for key in settings:
        if not kind.defaults():
            checks.fail(f"method {name}", "no setting", repr(key))
        checks.choice(f"method: setting of {name}", key, kind.defaults())
    return kind(**settings)

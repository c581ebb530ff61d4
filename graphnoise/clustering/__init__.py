"""Local graph clustering, also with noisy labels: diffusions, rounding, improvement, and an estimator on top."""

from .batch import DiffusionBatch, diffuse_many, sweep_many
from .diffusions import approximate_pagerank, flow_diffusion, heat_kernel, l1_pagerank
from .improvement import improve, mqi, simple_local
from .measures import Scores, precision_recall_f1
from .membership import Membership, predict_membership
from .reading import Neighbours, neighbours
from .releasing import capacity_releasing
from .result import Cluster, Diffusion
from .rounding import conductance, support_cluster, sweep_cut

__all__ = [
    "Cluster",
    "Diffusion",
    "DiffusionBatch",
    "Membership",
    "Neighbours",
    "Scores",
    "approximate_pagerank",
    "capacity_releasing",
    "conductance",
    "diffuse_many",
    "flow_diffusion",
    "heat_kernel",
    "improve",
    "l1_pagerank",
    "mqi",
    "neighbours",
    "precision_recall_f1",
    "predict_membership",
    "simple_local",
    "support_cluster",
    "sweep_cut",
    "sweep_many",
]

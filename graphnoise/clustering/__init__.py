"""Local graph clustering, also with noisy labels: diffusions, rounding, improvement, and an estimator on top."""

from .batch import DiffusionBatch, diffuse_many, sweep_many
from .diffusions import approximate_pagerank, flow_diffusion, heat_kernel, l1_pagerank
from .improvement import improve, mqi, simple_local
from .measures import Scores, precision_recall_f1
from .membership import Membership, predict_membership
from .model import Candidate, LocalCluster
from .posterior import Posterior, membership_posterior
from .profile import CommunityProfile, community_profile, draw_profile
from .reading import Neighbours, neighbours
from .releasing import capacity_releasing
from .result import Cluster, Diffusion
from .rounding import conductance, support_cluster, sweep_cut
from .weights import EdgeWeights, Neighbourhood, choose_eps, label_neighbourhood

__all__ = [
    "Candidate",
    "Cluster",
    "CommunityProfile",
    "Diffusion",
    "DiffusionBatch",
    "EdgeWeights",
    "LocalCluster",
    "Membership",
    "Neighbourhood",
    "Neighbours",
    "Posterior",
    "Scores",
    "approximate_pagerank",
    "capacity_releasing",
    "choose_eps",
    "community_profile",
    "conductance",
    "diffuse_many",
    "draw_profile",
    "flow_diffusion",
    "heat_kernel",
    "improve",
    "l1_pagerank",
    "label_neighbourhood",
    "membership_posterior",
    "mqi",
    "neighbours",
    "precision_recall_f1",
    "predict_membership",
    "simple_local",
    "support_cluster",
    "sweep_cut",
    "sweep_many",
]

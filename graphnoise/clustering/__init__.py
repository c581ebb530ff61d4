"""Local graph clustering with noisy labels: diffusions, rounding, improvement, estimators."""

from graphnoise.clustering.batch import DiffusionBatch, diffuse_many, sweep_many
from graphnoise.clustering.capacity_releasing import capacity_releasing
from graphnoise.clustering.diffusions import approximate_pagerank, flow_diffusion, heat_kernel, l1_pagerank
from graphnoise.clustering.graded import graded_weights
from graphnoise.clustering.growth import Growth, grow_cluster
from graphnoise.clustering.improvement import improve, mqi, simple_local
from graphnoise.clustering.laca import attribute_factors, laca
from graphnoise.clustering.membership import Membership, predict_membership
from graphnoise.clustering.metrics import Scores, precision_recall_f1
from graphnoise.clustering.model import Candidate, LocalCluster
from graphnoise.clustering.posterior import Posterior, membership_posterior
from graphnoise.clustering.profile import CommunityProfile, community_profile, draw_profile
from graphnoise.clustering.result import Cluster, Diffusion
from graphnoise.clustering.rounding import conductance, support_cluster, sweep_cut
from graphnoise.clustering.weights import EdgeWeights, LabelStatistics, choose_label_eps, label_statistics
from graphnoise.kernels.csr.undirected import UndirectedGraph
from graphnoise.undirected import as_undirected

__all__ = [
    "Candidate",
    "Cluster",
    "CommunityProfile",
    "Diffusion",
    "DiffusionBatch",
    "EdgeWeights",
    "Growth",
    "LabelStatistics",
    "LocalCluster",
    "Membership",
    "Posterior",
    "Scores",
    "UndirectedGraph",
    "approximate_pagerank",
    "as_undirected",
    "attribute_factors",
    "capacity_releasing",
    "choose_label_eps",
    "community_profile",
    "conductance",
    "diffuse_many",
    "draw_profile",
    "flow_diffusion",
    "graded_weights",
    "grow_cluster",
    "heat_kernel",
    "improve",
    "l1_pagerank",
    "label_statistics",
    "laca",
    "membership_posterior",
    "mqi",
    "precision_recall_f1",
    "predict_membership",
    "simple_local",
    "support_cluster",
    "sweep_cut",
    "sweep_many",
]

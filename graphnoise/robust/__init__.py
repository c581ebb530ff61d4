"""Classification of the nodes of a graph whose labels are partly wrong."""

from graphnoise.robust import losses, methods
from graphnoise.robust.adaptation import EntropyAdaptation
from graphnoise.robust.classifier import RobustGNN
from graphnoise.robust.graph_gp import AmbiguousTransitionWarning, GraphGP
from graphnoise.robust.shortcut import fit

__all__ = ["AmbiguousTransitionWarning", "EntropyAdaptation", "GraphGP", "RobustGNN", "fit", "losses", "methods"]

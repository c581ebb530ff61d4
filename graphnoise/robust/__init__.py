"""Classification of the nodes of a graph whose labels are partly wrong."""

from graphnoise.robust.graph_gp import AmbiguousTransitionWarning, GraphGP, fit

__all__ = ["AmbiguousTransitionWarning", "GraphGP", "fit"]

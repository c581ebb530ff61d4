"""Small audits of planted partitions, shared by tests."""

import functools

import numpy as np

import graphnoise as gn
from graphnoise import datasets, noise

NAMES = np.array(["ant", "bee", "cat"], dtype=object)


@functools.cache
def data():
    return datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, separation=0.8, seed=0)


@functools.cache
def noisy(kind="symmetric", rate=0.2):
    """Given labels, of which a part is wrong."""
    return getattr(noise, kind)(3, rate).corrupt(data().y, seed=1).y


@functools.cache
def audit(kind="symmetric", rate=0.2):
    return gn.Audit(data(), noisy(kind, rate))


def named():
    """An audit of nodes and classes with names, of which some have no label."""
    graph = gn.Graph.from_edge_index(data().edge_index, 120, names=[f"n{i}" for i in range(120)])
    given = NAMES[noisy().numpy()].copy()
    given[::11] = None
    return gn.Audit(graph, given, data().x)

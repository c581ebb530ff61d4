"""Errors that spread over a graph: copied along arcs, or made once for a whole labelling tree."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.noise.instance import neighbours
from graphnoise.noise.noisy_labels import Array, Ints, NoisyLabels, Seed, nearest, rate_for, read


def cascade(
    edge_index: Array,
    y: Array,
    rate: float,
    probability: float,
    mask: Array | None = None,
    seed: Seed = 0,
    num_classes: int | None = None,
) -> NoisyLabels:
    """Let errors spread: each erring node copies its wrong label along each of its arcs with `probability`.

    A cascade starts at a random masked node, whose label becomes another class uniformly, and goes breadth
    first to masked nodes that are still right (a copied label that is a node's true one is no error, and is
    skipped). When a cascade dies the next one starts; the number of wrong labels at the end is the nearest
    integer to rate × n, halves up.
    `probability=0` is uniform noise without spreading.

    Args:
        edge_index: Arcs [2, m] from source to target; an undirected edge is two arcs. Repeats count once.
        y: Labels [n].
        rate: The share of the n masked nodes that end up wrong.
        probability: Of a copy along an arc; each arc is tried at most once.
        mask: Boolean [n] or positions; only these entries are touched.
        seed: Of the draws.
        num_classes: C, the greatest label plus one if None.

    Raises:
        InputError: An arc's end is no node, a bad label, mask, rate or probability, or one class only.

    Example:
        >>> import torch
        >>> star = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]])
        >>> cascade(star, torch.zeros(5, dtype=torch.long), 1.0, 1.0, num_classes=9).rate
        1.0
    """
    task = read(y, mask, num_classes)
    rate = rate_for(rate, task.num_classes)
    probability = checks.rate("probability", probability)
    adjacency = neighbours(edge_index, task.clean.size, directed=True)
    rng = checks.generator(seed)
    starts, goal = rng.permutation(task.nodes), nearest(rate * task.nodes.size)
    open_to_error = np.zeros(task.clean.size, dtype=bool)
    open_to_error[task.nodes] = True
    noisy, wrong = task.clean.copy(), np.empty(goal, dtype=np.int64)
    count = expanded = next_start = 0
    while count < goal:
        if expanded == count:  # the queue wrong[expanded:count] is empty: a new cascade
            node = starts[next_start]
            next_start += 1
            if not open_to_error[node]:
                continue
            noisy[node] = (noisy[node] + rng.integers(1, task.num_classes)) % task.num_classes
            reached = np.array([node])
        else:
            source = wrong[expanded]
            expanded += 1
            reached = adjacency.indices[adjacency.indptr[source] : adjacency.indptr[source + 1]]
            reached = reached[rng.random(reached.size) < probability]
            reached = reached[open_to_error[reached] & (task.clean[reached] != noisy[source])]
            if reached.size > goal - count:
                reached = rng.permutation(reached)[: goal - count]
            noisy[reached] = noisy[source]
        open_to_error[reached] = False
        wrong[count : count + reached.size] = reached
        count += reached.size
    return task.finish(wrong, noisy[wrong])


def tree_propagated(
    edge_index: Array,
    y: Array,
    rate: float,
    mask: Array | None = None,
    seed: Seed = 0,
    num_classes: int | None = None,
    seed_share: float = 0.1,
    offset: str = "random",
) -> NoisyLabels:
    """Flip whole labelling trees, as when labels are handed on from a few labelled nodes: y -> (y + d) mod C.

    Roots are a random `seed_share` of the nodes. A breadth-first search in random order lets a node join the
    tree of a neighbour of its own class; an unreached node becomes a root in its turn. Trees flip in random
    order, each with one offset d, as long as the number of flips stays at or below rate × n (a tree that
    would overshoot is skipped). `seed_share=1` is noise without spreading.

    Args:
        edge_index: Arcs [2, m]; read as undirected.
        y: Labels [n].
        rate: The share of masked nodes that flip at most; it is missed by less than the largest tree.
        mask: Boolean [n] or positions; only these entries are touched or counted.
        seed: Of the draws.
        num_classes: C, the greatest label plus one if None.
        seed_share: The share of roots, from 0 (every component of one class is a tree) to 1.
        offset: "random", d uniform from 1 to C - 1 for each tree, or "next", d = 1.

    Raises:
        InputError: An arc's end is no node, an unknown offset, a bad label, mask, rate or share, or one class
            only.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
        >>> tree_propagated(path, torch.tensor([0, 0, 0, 1, 1, 1]), 0.5, seed_share=0.0, offset="next").rate
        0.5

    Source:
        rules of this package; errors that follow other errors are called dynamic noise in the field.
    """
    task = read(y, mask, num_classes)
    rate = rate_for(rate, task.num_classes)
    checks.choice("offset", offset, ("next", "random"))
    share = checks.rate("seed_share", seed_share)
    size = task.clean.size
    adjacency = neighbours(edge_index, size, directed=False)
    rng = checks.generator(seed)
    order = rng.permutation(size)
    tree, trees = _forest(adjacency, task.clean, order, nearest(share * size), rng)
    sizes = np.bincount(tree[task.nodes], minlength=trees)
    budget = int(round(rate * task.nodes.size, 9))
    steps = np.zeros(trees, dtype=np.int64)
    for root in rng.permutation(trees):
        if sizes[root] <= budget:
            budget -= sizes[root]
            steps[root] = 1 if offset == "next" else rng.integers(1, max(task.num_classes, 2))
    step = steps[tree[task.nodes]]
    flips = task.nodes[step > 0]
    return task.finish(flips, (task.clean[flips] + step[step > 0]) % max(task.num_classes, 1))


def _forest(adjacency: Any, clean: Ints, order: Ints, num_roots: int, rng: np.random.Generator) -> tuple[Ints, int]:
    """Return the tree [n] of each node and the number of trees; unreached nodes become roots in turn."""
    tree = np.full(clean.size, -1, dtype=np.int64)
    tree[order[:num_roots]] = np.arange(num_roots)
    trees, queue = num_roots, deque(order[:num_roots].tolist())
    for root in [None, *order[num_roots:].tolist()]:
        if root is not None and tree[root] < 0:
            tree[root] = trees
            trees += 1
            queue.append(root)
        while queue:
            parent = queue.popleft()
            near = adjacency.indices[adjacency.indptr[parent] : adjacency.indptr[parent + 1]]
            near = rng.permutation(near[(tree[near] < 0) & (clean[near] == clean[parent])])
            tree[near] = tree[parent]
            queue.extend(near.tolist())
    return tree, trees

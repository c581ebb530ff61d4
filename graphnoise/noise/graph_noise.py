"""Label noise that is correlated over a graph: errors copied along arcs, or shared by whole labelling trees."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from graphnoise import checks
from graphnoise.noise.instance import adjacency_matrix
from graphnoise.noise.noisy_labels import Array, Ints, NoisyLabels, Seed, checked_labels, rate_for, round_half_up
from graphnoise.typing import LabelsLike


def cascade(
    edge_index: Array,
    y: LabelsLike,
    rate: float,
    probability: float,
    mask: LabelsLike | None = None,
    seed: Seed = 0,
    num_classes: int | None = None,
) -> NoisyLabels:
    """Copy errors along arcs: each node with a wrong label copies it along each of its arcs with `probability`.

    A cascade starts at a random masked node, whose label becomes another class uniformly, and continues breadth
    first to masked nodes that are still correct (a copied label that equals a node's true one is no error, and is
    skipped). When a cascade ends the next one starts; the number of wrong labels at the end is the nearest
    integer to rate × n, halves up. `probability=0` is uniform noise.

    Args:
        edge_index: Arcs [2, m] from source to target; an undirected edge is two arcs. Repeats count once.
        y: Labels [n].
        rate: Share of the n masked nodes with a wrong label at the end.
        probability: Probability of a copy along an arc; each arc is tried at most once.
        mask: Boolean [n] or positions; only these entries are changed.
        seed: Seed of the draws.
        num_classes: Number of classes C; the distinct labels are the classes if None.

    Raises:
        InputError: An end of an arc is not a node, a bad label, mask, rate or probability, or one class only.

    Example:
        >>> import torch
        >>> star = torch.tensor([[0, 0, 0, 0], [1, 2, 3, 4]])
        >>> cascade(star, torch.zeros(5, dtype=torch.long), 1.0, 1.0, num_classes=9).rate
        1.0
    """
    checked = checked_labels(y, mask, num_classes)
    rate = rate_for(rate, checked.num_classes)
    probability = checks.rate("probability", probability)
    adjacency = adjacency_matrix(edge_index, checked.clean.size, directed=True)
    rng = checks.generator(seed)
    starts, goal = rng.permutation(checked.nodes), round_half_up(rate * checked.nodes.size)
    correct = np.zeros(checked.clean.size, dtype=bool)
    correct[checked.nodes] = True
    noisy, wrong = checked.clean.copy(), np.empty(goal, dtype=np.int64)
    count = expanded = next_start = 0
    while count < goal:
        # The queue wrong[expanded:count] is empty: a new cascade.
        if expanded == count:
            node = starts[next_start]
            next_start += 1
            if not correct[node]:
                continue
            noisy[node] = (noisy[node] + rng.integers(1, checked.num_classes)) % checked.num_classes
            reached = np.array([node])
        else:
            source = wrong[expanded]
            expanded += 1
            reached = adjacency.indices[adjacency.indptr[source] : adjacency.indptr[source + 1]]
            reached = reached[rng.random(reached.size) < probability]
            reached = reached[correct[reached] & (checked.clean[reached] != noisy[source])]
            if reached.size > goal - count:
                reached = rng.permutation(reached)[: goal - count]
            noisy[reached] = noisy[source]
        correct[reached] = False
        wrong[count : count + reached.size] = reached
        count += reached.size
    return checked.finish(wrong, noisy[wrong])


def tree_propagated(
    edge_index: Array,
    y: LabelsLike,
    rate: float,
    mask: LabelsLike | None = None,
    seed: Seed = 0,
    num_classes: int | None = None,
    seed_share: float = 0.1,
    offset: str = "random",
) -> NoisyLabels:
    """Flip whole labelling trees, as when labels are propagated from a few labelled nodes: y -> (y + d) mod C.

    Roots are a random `seed_share` of the nodes. A breadth-first search in random order adds each node to the
    tree of a neighbour of its own class; an unreached node becomes a root. Trees flip in random order, each with
    one offset d, as long as the number of flips is at most rate × n (a tree that would exceed it is skipped).
    With `seed_share=1` every node is a tree, and the noise is static. It is the kind "propagated" of `LabelNoise`.

    A detector that compares a node with its neighbours (`neighbour_agreement`, `neighbour_credibility`, label
    propagation) takes errors to be static: inside a tree, where neighbours share the error, it is confidently wrong.

    Args:
        edge_index: Arcs [2, m]; read as undirected.
        y: Labels [n].
        rate: Upper bound of the share of masked nodes that flip; the realised share is lower by less than the largest
            tree.
        mask: Boolean [n] or positions; only these entries are changed and counted.
        seed: Seed of the draws.
        num_classes: Number of classes C; the distinct labels are the classes if None.
        seed_share: Share of roots, from 0 (every component of one class is a tree) to 1.
        offset: "random", d uniform from 1 to C - 1 for each tree, or "next", d = 1.

    Raises:
        InputError: An end of an arc is not a node, an unknown offset, a bad label, mask, rate or share, or one class
            only.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
        >>> tree_propagated(path, torch.tensor([0, 0, 0, 1, 1, 1]), 0.5, seed_share=0.0, offset="next").rate
        0.5

    Source:
        In the spirit of work on noise in chains of thought that tells static noise, which changes finished labels, from
        dynamic noise, which enters while they are produced and spreads; the trees are this package's.
    """
    checked = checked_labels(y, mask, num_classes)
    rate = rate_for(rate, checked.num_classes)
    checks.choice("offset", offset, ("next", "random"))
    share = checks.rate("seed_share", seed_share)
    size = checked.clean.size
    adjacency = adjacency_matrix(edge_index, size, directed=False)
    rng = checks.generator(seed)
    order = rng.permutation(size)
    tree, trees = _forest(adjacency, checked.clean, order, round_half_up(share * size), rng)
    sizes = np.bincount(tree[checked.nodes], minlength=trees)
    budget = int(round(rate * checked.nodes.size, 9))
    steps = np.zeros(trees, dtype=np.int64)
    for root in rng.permutation(trees):
        if sizes[root] <= budget:
            budget -= sizes[root]
            steps[root] = 1 if offset == "next" else rng.integers(1, max(checked.num_classes, 2))
    step = steps[tree[checked.nodes]]
    flips = checked.nodes[step > 0]
    return checked.finish(flips, (checked.clean[flips] + step[step > 0]) % max(checked.num_classes, 1))


def _forest(adjacency: Any, clean: Ints, order: Ints, num_roots: int, rng: np.random.Generator) -> tuple[Ints, int]:
    """Return the tree of each node, shape [n], and the number of trees; unreached nodes become roots."""
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
            neighbors = adjacency.indices[adjacency.indptr[parent] : adjacency.indptr[parent + 1]]
            neighbors = neighbors[(tree[neighbors] < 0) & (clean[neighbors] == clean[parent])]
            neighbors = rng.permutation(neighbors)
            tree[neighbors] = tree[parent]
            queue.extend(neighbors.tolist())
    return tree, trees

"""Label noise drawn from the random stream of published code, bit for bit."""

from __future__ import annotations

import numpy as np

from graphnoise import checks
from graphnoise.noise.noisy_labels import NoisyLabels, checked_labels, rate_for
from graphnoise.noise.transition import Transition, check_classes, from_mapping, pair, symmetric
from graphnoise.typing import LabelsLike


def erase_stream(
    kind: str,
    y: LabelsLike,
    rate: float,
    mask: LabelsLike | None = None,
    seed: int = 123,
    num_classes: int | None = None,
) -> tuple[Transition, NoisyLabels]:
    """Return the transition and the labels drawn by the code of ERASE and PI-GNN from NumPy's legacy generator.

    The generator is `RandomState(seed)`, which NumPy keeps stable: for "asymmetric", a target among the other
    classes for each class in order; then for each masked node in order of position one draw from its row. The
    kinds are "symmetric", "asymmetric" and "pair" (cyclic upwards, no draw for the matrix).

    Args:
        kind: Family of noise.
        y: Labels [n].
        rate: Flip probability.
        mask: Boolean [n] or positions; ERASE corrupts the training nodes only.
        seed: Seed of the generator; the published code has 123 (234 on CoraFull).
        num_classes: Number of classes; the distinct labels are the classes if None.

    Raises:
        InputError: An unknown kind, a bad label, mask, rate or seed.

    Example:
        >>> transition, noisy = erase_stream("asymmetric", np.arange(7), rate=0.5)   # Cora has seven classes
        >>> [row.nonzero().flatten().tolist() for row in transition.matrix.fill_diagonal_(0)]
        [[6], [3], [5], [2], [1], [3], [2]]

    Source:
        ERASE (arXiv 2312.08852), official code; PI-GNN, `corrupte.py`.
    """
    checks.choice("kind", kind, ("asymmetric", "pair", "symmetric"))
    checked = checked_labels(y, mask, num_classes)
    classes, rate = check_classes(checked.num_classes), rate_for(rate, checked.num_classes)
    stream = np.random.RandomState(checks.integer("seed", seed, 0, 2**32 - 1))
    if kind == "asymmetric" and classes > 1:
        # `choice` of the other classes takes the same draw.
        draws = [int(stream.randint(0, classes - 1)) for _ in range(classes)]
        transition = from_mapping({i: j + (j >= i) for i, j in enumerate(draws)}, classes, rate)
    else:
        transition = (pair if kind == "pair" else symmetric)(classes, rate)
    # `choice(C, p=row)` takes one uniform number per call and looks it up in the row's cumulative sums.
    keys = stream.random_sample(checked.nodes.size)
    cumulative = transition.matrix.numpy().cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    labels = checked.clean[checked.nodes].copy()
    for true in range(classes):
        members = checked.clean[checked.nodes] == true
        labels[members] = np.searchsorted(cumulative[true], keys[members], side="right")
    return transition, checked.finish(checked.nodes, labels)

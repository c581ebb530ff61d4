"""Pictures by matplotlib: accuracy over noise rates, matrices, calibration, detection, growth, neighbourhoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphnoise import checks
from graphnoise.audit.audit import Audit
from graphnoise.audit.drawings import shown_neighbours
from graphnoise.audit.estimates import NoiseEstimate
from graphnoise.audit.explain import node_names, two_digits
from graphnoise.clustering import Cluster, Diffusion, LocalCluster
from graphnoise.clustering.growth import Growth
from graphnoise.noise import Transition
from graphnoise.statistics import estimate
from graphnoise.typing import Floats, Ints, LabelsLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["accuracy", "confusion", "detection", "growth", "neighbourhood", "reliability", "transition"]

# Okabe and Ito's palette, which readers with any colour vision can tell apart; lines differ by marker as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
# Classes up to which the cells of a matrix carry numbers, and intervals, its axes names; and that it can have.
MAX_NUMBERS, MAX_INTERVALS, MAX_NAMES, MAX_CLASSES = 15, 8, 40, 1000

Clusters: TypeAlias = "Growth | LocalCluster | Mapping[float, Diffusion | Cluster | ArrayLike]"


def series_style(place: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the line at a place: the first 28 differ."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": DASHES[place // len(COLOURS) % len(DASHES)],
        "markersize": 4,
    }


def interval_line(ax: Any, x: ArrayLike, mean: ArrayLike, half: ArrayLike, style: Mapping[str, Any]) -> None:
    """Draw a line with its interval as a band; of a single x, a point with its interval."""
    middle, width = np.asarray(mean), np.asarray(half)
    if np.size(x) == 1:
        ax.errorbar(x, middle, width, capsize=3, **style)
        return
    ax.plot(x, middle, **style)
    ax.fill_between(x, middle - width, middle + width, color=style["color"], alpha=0.15, linewidth=0)


def accuracy(rates: ArrayLike, accuracies: Mapping[str, ArrayLike], ax: Axes | None = None) -> Axes:
    """Draw accuracy against the rate of wrong labels: of each method a line, with 95 % t-intervals over draws.

    Args:
        rates: Rates of wrong labels, shape [r].
        accuracies: By method, its accuracies from 0 to 1, shape [r] or [r, draws].
        ax: Where to draw; by default in a new figure of `matplotlib.pyplot`.

    Returns:
        The axes.

    Raises:
        InputError: No method, shapes that do not fit, values outside of [0, 1], or matplotlib is not installed.

    Example:
        >>> ax = accuracy([0.0, 0.2, 0.4], {"sgc": [[0.80, 0.82], [0.75, 0.74], [0.60, 0.64]]})
        >>> ax.lines[0].get_ydata().round(1).tolist()
        [81.0, 74.5, 62.0]
    """
    x = _unit("rates", rates, 1)
    if not isinstance(accuracies, Mapping) or not accuracies:
        got = "none" if isinstance(accuracies, Mapping) else type(accuracies).__name__
        checks.fail("accuracies", "a mapping of accuracies by the names of methods", got)
    lines = {}
    for name, given in accuracies.items():
        values = _unit(f"accuracies[{name!r}]", given)
        if values.ndim not in (1, 2) or len(values) != len(x) or 0 in values.shape:
            checks.fail(f"accuracies[{name!r}]", f"shape [{len(x)}] or [{len(x)}, draws]", list(values.shape))
        lines[name] = [estimate(dict(enumerate(row[:, None]))) for row in values.reshape(len(x), -1)]
    ax, order = _axes(ax), np.argsort(x)
    for place, (name, row) in enumerate(lines.items()):
        points = 100 * np.array([[e.mean, e.half_width or 0.0] for e in row])[order]
        interval_line(ax, x[order], points[:, 0], points[:, 1], {**series_style(place), "label": str(name)})
    return _finish(ax, xlabel="share of wrong labels", ylabel="accuracy, %")


def confusion(
    y_true: LabelsLike, y_given: LabelsLike, classes: Sequence[Any] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how often nodes of each true class (rows) have each given label (columns); colours are shares of a row.

    Args:
        y_true: True classes, integers from 0, shape [n]; nodes with -1 in either are left out.
        y_given: Given labels, or predictions, shape [n].
        classes: Names of the classes.
        ax: As in `accuracy`.

    Returns:
        The axes.

    Raises:
        InputError: Labels that do not fit, too few names, or matplotlib is not installed.

    Example:
        >>> ax = confusion([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], ["cat", "dog"])
        >>> [text.get_text() for text in ax.texts]
        ['2', '1', '0', '2']
    """
    pairs = [_codes(name, value) for name, value in (("y_true", y_true), ("y_given", y_given))]
    if len(pairs[0]) != len(pairs[1]):
        checks.fail("y_given", f"{len(pairs[0])} labels", len(pairs[1]))
    known = (pairs[0] >= 0) & (pairs[1] >= 0)
    true, given = (codes[known] for codes in pairs)
    if not len(true):
        checks.fail("y_true", "a node with both labels", "none")
    size = max(int(true.max()), int(given.max())) + 1
    if size > MAX_CLASSES:
        checks.fail("y_true, y_given", f"at most {MAX_CLASSES:,} classes", f"{size:,}")
    names = _names(classes, size)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (true, given), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return _matrix(shares, [[f"{count:,}" for count in row] for row in counts.tolist()], names, ax)


def transition(
    matrix: Audit | NoiseEstimate | Transition | ArrayLike, classes: Sequence[Any] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a transition matrix: probability of each given label (columns) for each true class (rows).

    Args:
        matrix: A `Transition`, an array [C, C] of rows that sum to 1, or, with 95 % intervals, an `Audit` or its
            `estimate`.
        classes: Names of the classes; those of an audit by default.
        ax: As in `accuracy`.

    Returns:
        The axes.

    Raises:
        InputError: No matrix of probabilities, too few names, or matplotlib is not installed.

    Example:
        >>> ax = transition([[0.9, 0.1], [0.2, 0.8]])
        >>> [text.get_text() for text in ax.texts]
        ['.90', '.10', '.20', '.80']
    """
    estimated = matrix.estimate if isinstance(matrix, Audit) else matrix
    names: Any = matrix.posterior.classes if isinstance(matrix, Audit) and classes is None else classes
    given: Any = estimated.transition if isinstance(estimated, NoiseEstimate) else estimated
    values = (given if isinstance(given, Transition) else Transition(given)).matrix.numpy()
    if len(values) > MAX_CLASSES:
        checks.fail("matrix", f"at most {MAX_CLASSES:,} classes", f"{len(values):,}")
    texts = [[two_digits(value) for value in row] for row in values.tolist()]
    if isinstance(estimated, NoiseEstimate) and len(values) <= MAX_INTERVALS:
        for i, j in np.ndindex(values.shape):
            texts[i][j] += f"\n{two_digits(float(estimated.low[i, j]))}–{two_digits(float(estimated.high[i, j]))}"
    return _matrix(values, texts, _names(names, len(values)), ax)


def reliability(probability: ArrayLike, right: ArrayLike, bins: int = 10, ax: Axes | None = None) -> Axes:
    """Draw the share that is right against the probability that was stated, in bins of equal width.

    The area of a point is the share of all values that are in its bin; bars are 95 % intervals (Wilson).

    Args:
        probability: Stated probabilities of being right, such as credibilities of labels, shape [n].
        right: Whether each is right, Booleans, shape [n].
        bins: Number of bins.
        ax: As in `accuracy`.

    Returns:
        The axes.

    Raises:
        InputError: Values outside of [0, 1], shapes that do not fit, or matplotlib is not installed.

    Example:
        >>> ax = reliability([0.1, 0.1, 0.9, 0.9], [False, False, True, False], bins=2)
        >>> ax.collections[0].get_offsets().round(2).tolist()
        [[0.1, 0.0], [0.9, 0.5]]

    Source:
        DeGroot and Fienberg, "The comparison and evaluation of forecasters", 1983. Intervals: Wilson, 1927.
    """
    stated = _unit("probability", probability, 1)
    hits = _flags("right", right, len(stated))
    count = checks.integer("bins", bins, 1, 10_000)
    if not len(stated):
        checks.fail("probability", "at least one value", "none")
    place = np.minimum((stated * count).astype(int), count - 1)
    sizes = np.bincount(place, minlength=count)
    used = np.flatnonzero(sizes)
    n = sizes[used]
    mean = np.bincount(place, stated, count)[used] / n
    share = np.bincount(place, hits, count)[used] / n
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    ax = _axes(ax)
    ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, zorder=0)
    ax.scatter(mean, share, s=20 + 300 * n / n.sum(), color=COLOURS[0], alpha=0.8, zorder=3)
    ax.vlines(mean, np.maximum(middle - half, 0), np.minimum(middle + half, 1), color=COLOURS[0], linewidth=1)
    limits: dict[str, Any] = {"xlim": (-0.03, 1.03), "ylim": (-0.03, 1.03), "aspect": "equal"}
    return _finish(ax, legend=False, xlabel="stated probability", ylabel="share that is right", **limits)


def detection(
    credibility: Audit | ArrayLike | Mapping[str, Audit | ArrayLike], wrong: ArrayLike, ax: Axes | None = None
) -> Axes:
    """Draw precision against recall of a search for wrong labels that looks at the least credible first.

    The dashed line is the share of wrong labels: the precision of looking at random.

    Args:
        credibility: An `Audit`, or credibilities of all nodes (NaN: no label), shape [n]; or several of them by name.
        wrong: Whether the given label of each node is wrong, Booleans, shape [n].
        ax: As in `accuracy`.

    Returns:
        The axes.

    Raises:
        InputError: Shapes that do not fit, no label that is wrong, or matplotlib is not installed.

    Example:
        >>> ax = detection([0.1, 0.3, 0.8, 0.9], [True, False, True, False])
        >>> ax.lines[0].get_xdata().tolist(), ax.lines[0].get_ydata().round(2).tolist()
        ([50.0, 50.0, 100.0], [100.0, 50.0, 66.67])
    """
    several = credibility if isinstance(credibility, Mapping) and credibility else {"": credibility}
    curves: dict[str, tuple[Floats, Floats]] = {}
    chance = 0.0
    for name, given in several.items():
        raw = given.credibility if isinstance(given, Audit) else given
        scores = checks.tensor("credibility", raw).detach().cpu()
        if scores.ndim != 1 or scores.dtype.is_complex:
            checks.fail("credibility", "credibilities of shape [n]", f"shape {list(scores.shape)} of {scores.dtype}")
        values = scores.double().numpy()
        errors = _flags("wrong", wrong, len(values))
        known = ~np.isnan(values)
        if not errors[known].any():
            checks.fail("wrong", "at least one wrong label among those with a credibility", "none")
        # Equal credibilities are one step: their order says nothing.
        looked, places = np.unique(values[known], return_inverse=True)
        found = np.cumsum(np.bincount(places, errors[known], len(looked)))
        looks = np.cumsum(np.bincount(places, minlength=len(looked)))
        # Once all are found, further looks find nothing.
        end = int(np.searchsorted(found, found[-1])) + 1
        curves[str(name)] = 100 * found[:end] / found[-1], 100 * found[:end] / looks[:end]
        chance = 100 * found[-1] / looks[-1]
    ax = _axes(ax)
    for place, (name, (recall, precision)) in enumerate(curves.items()):
        ax.plot(recall, precision, **{**series_style(place), "marker": "" if len(recall) > 50 else "o", "label": name})
    ax.axhline(chance, color="0.6", linestyle="--", linewidth=1, zorder=0)
    x, y = "wrong labels found, % (recall)", "wrong among those looked at, % (precision)"
    return _finish(ax, isinstance(credibility, Mapping), xlabel=x, ylabel=y, xlim=(0, 101), ylim=(0, 102))


def growth(clusters: Clusters, truth: ArrayLike | None = None, ax: Axes | None = None) -> Axes:
    """Draw the size of a cluster as it grows: over the rounds of growth, or over the masses of a diffusion.

    With the true cluster, the part of it that is inside and its size (dashed) are drawn as well.

    Args:
        clusters: A `Growth` or a fitted `LocalCluster`, of which the rounds, or the candidates (sizes only) are
            drawn; or a `Diffusion`, a `Cluster` or positions of nodes, by mass.
        truth: Which nodes are in the true cluster, Booleans, shape [n].
        ax: As in `accuracy`.

    Returns:
        The axes.

    Raises:
        InputError: Nothing to draw, nodes beyond `truth`, or matplotlib is not installed.

    Example:
        >>> import graphnoise as gn
        >>> data = gn.datasets.planted_partition([200] * 5, 0.1, 0.01, seed=0)
        >>> labels = gn.noise.flip_membership(data.y == 0, a1=0.8, a0=0.9, seed=0).y
        >>> grown = gn.clustering.grow_cluster(gn.Graph.from_data(data), 0, labels, a1=0.8, a0=0.9)
        >>> ax = growth(grown, truth=data.y == 0)
        >>> ax.lines[0].get_ydata().tolist()
        [40, 574, 586]
    """
    inside = None if truth is None else _flags("truth", truth)
    if isinstance(clusters, LocalCluster):
        found = clusters.path_
        if clusters.growth_ is None:
            return _candidates(clusters, found, inside, _axes(ax))
        clusters = clusters.growth_
    if isinstance(clusters, Growth):
        steps: dict[float, Ints] = dict(enumerate(clusters.path, 1))
        label = "round of growth"
    elif isinstance(clusters, Mapping):
        steps = {checks.real("mass", mass): _nodes(value) for mass, value in clusters.items()}
        steps, label = dict(sorted(steps.items())), "mass of the source"
    else:
        checks.fail("clusters", "a Growth, a fitted LocalCluster or clusters by mass", type(clusters).__name__)
    if not steps:
        checks.fail("clusters", "at least one cluster", "none")
    if inside is not None and any(len(nodes) and nodes.max() >= len(inside) for nodes in steps.values()):
        checks.fail("truth", "a mask of all nodes", f"one of {len(inside)}")
    ax, x = _axes(ax), list(steps)
    ax.plot(x, [len(nodes) for nodes in steps.values()], **{**series_style(0), "label": "nodes inside"})
    if inside is not None:
        hits = [int(inside[nodes].sum()) for nodes in steps.values()]
        ax.plot(x, hits, **{**series_style(2), "label": "of them members"})
        ax.fill_between(x, hits, color=COLOURS[2], alpha=0.12, linewidth=0)
        ax.axhline(int(inside.sum()), color="0.5", linestyle="--", linewidth=1, label="true cluster")
    if isinstance(clusters, Growth):
        ax.plot(x[-1], len(clusters.nodes), "D", color="0.2", fillstyle="none", label="cluster: of best expected F1")
        ax.set_xticks(x)
    ax.set_ylim(bottom=0)
    return _finish(ax, xlabel=label, ylabel="nodes")


def neighbourhood(audit: Audit, node: int, ax: Axes | None = None) -> Axes:
    """Draw a node and its neighbours: colours are given classes, red rings and numbers P(the given label is wrong).

    Args:
        audit: The audit.
        node: Position of the node, as in the index of `Audit.suspects`. Of many neighbours the first are drawn, those
            with a label before the others.
        ax: As in `accuracy`.

    Returns:
        The axes.

    Raises:
        InputError: No node of the graph, or matplotlib is not installed.

    Example:
        >>> import graphnoise as gn
        >>> data = gn.datasets.planted_partition([60, 60], 0.2, 0.02, num_features=8, seed=0)
        >>> noisy = gn.noise.symmetric(2, 0.2).corrupt(data.y, seed=0).y
        >>> audit = gn.Audit(data, noisy)
        >>> ax = neighbourhood(audit, audit.suspects().index[0])
        >>> ax.get_title()
        '10: P(label is wrong), 2 more neighbours'
    """
    if not isinstance(audit, Audit):
        checks.fail("audit", "an Audit", type(audit).__name__)
    node = checks.integer("node", node, 0, audit.graph.num_nodes - 1)
    ends, more = shown_neighbours(audit, node)
    nodes = np.r_[ends, node]
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(ends)) / max(len(ends), 1)
    places = np.c_[np.r_[np.cos(angle), 0.0], np.r_[np.sin(angle), 0.0]]
    given, classes, wrong = audit.posterior.given, audit.posterior.classes, 1 - audit.credibility
    ax = _axes(ax)
    from matplotlib.patches import Circle

    for x, y in places[:-1]:
        ax.plot([0, x], [0, y], color="0.75", linewidth=1, zorder=0)
    for (x, y), one, name in zip(places, nodes.tolist(), node_names(audit.posterior.names, nodes), strict=True):
        code, doubt = int(given[one]), 0.0 if np.isnan(wrong[one]) else float(wrong[one])
        radius = 0.17 if one == node else 0.12
        face = "white" if code < 0 else _class_colour(code, len(classes))
        ax.add_patch(Circle((x, y), radius, facecolor=face, edgecolor="0.4", linewidth=0.8, zorder=1))
        if doubt >= 0.05:
            ring = {"facecolor": "none", "edgecolor": "#C1121F", "alpha": doubt, "linewidth": 3, "zorder": 2}
            ax.add_patch(Circle((x, y), radius + 0.03, **ring))
        shift = radius + 0.2
        text = f"{name}" if code < 0 else f"{name}\n{two_digits(doubt)}"
        across, up = (0.0, -shift) if one == node else (x * (1 + shift), y * (1 + shift))
        ax.text(across, up, text, ha="center", va="center", fontsize=7, zorder=3)
    shown = sorted({int(given[one]) for one in nodes if given[one] >= 0})
    for code in shown:
        ax.plot([], [], "o", color=_class_colour(code, len(classes)), label=str(classes[code]))
    if shown:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, title="given class")
    rest = f", {more:,} more neighbours" if more else ""
    ax.set_title(f"{node_names(audit.posterior.names, nodes[-1:])[0]}: P(label is wrong){rest}", fontsize=9)
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    ax.axis("off")
    return ax


def _axes(ax: Axes | None) -> Axes:
    """Return axes to draw on, new ones where there are none."""
    checks.package("plot", "matplotlib", "plots")
    from matplotlib import pyplot
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        checks.fail("ax", "axes of matplotlib", type(ax).__name__)
    return pyplot.subplots(layout="constrained")[1] if ax is None else ax


def _unit(name: str, value: object, dims: int | None = None) -> Floats:
    """Return an array of numbers from 0 to 1."""
    tensor = checks.finite(name, value, dims).detach().cpu()
    if tensor.dtype.is_complex or bool(((tensor < 0) | (tensor > 1)).any()):
        checks.fail(name, "values in [0, 1]", "others")
    array: Floats = tensor.double().numpy()
    return array


def _flags(name: str, value: object, size: int | None = None) -> NDArray[np.bool_]:
    """Return Booleans, or 0 and 1, as Booleans; positions are not taken, since [1, 0] could be either."""
    given = checks.tensor(name, value).detach().cpu()
    if bool(((given != 0) & (given != 1)).any()):
        checks.fail(name, "Booleans", "other values")
    flags: NDArray[np.bool_] = checks.mask(name, given != 0, given.numel() if size is None else size).numpy()
    return flags


def _codes(name: str, labels: object) -> Ints:
    """Return labels as integers, -1 for none."""
    values = checks.finite(name, labels, 1).detach().cpu()
    if values.dtype.is_complex or bool((values != values.long()).any()) or bool((values < -1).any()):
        checks.fail(name, "integers from 0, -1 for no label", "others")
    codes: Ints = values.long().numpy()
    return codes


def _names(classes: Any, size: int) -> list[str]:
    """Return the names of at least so many classes."""
    if classes is None:
        return [str(code) for code in range(size)]
    # Arrays, series and indexes as well.
    names = classes.tolist() if getattr(classes, "ndim", 0) == 1 else classes
    if not isinstance(names, list | tuple) or not size <= len(names) <= MAX_CLASSES:
        got = len(names) if isinstance(names, list | tuple) else type(classes).__name__
        checks.fail("classes", f"a list of {size} names or more, at most {MAX_CLASSES:,}", got)
    return [str(name) for name in names]


def _matrix(shares: Floats, texts: Sequence[Sequence[str]], names: Sequence[str], ax: Axes | None) -> Axes:
    """Draw a matrix whose rows are true classes and columns given ones, with numbers where cells are large enough."""
    ax = _axes(ax)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(shares) <= MAX_NUMBERS:
        small = 9 if len(shares) <= MAX_INTERVALS else 7
        for (i, j), share in np.ndenumerate(shares):
            size = small if "\n" not in texts[i][j] else 7
            ax.text(
                j, i, texts[i][j], ha="center", va="center", fontsize=size, color="white" if share > 0.55 else "0.1"
            )
    if len(names) <= MAX_NAMES:
        ax.set_xticks(range(len(shares)), names[: len(shares)], rotation=45, ha="right", fontsize=8)
        ax.set_yticks(range(len(shares)), names[: len(shares)], fontsize=8)
    ax.set(xlabel="given class", ylabel="true class")
    ax.spines[:].set_visible(False)
    return ax


def _nodes(value: Any) -> Ints:
    """Return the positions of the nodes of a cluster."""
    if isinstance(value, Diffusion):
        return value.support
    if isinstance(value, Cluster):
        return value.nodes
    nodes = _codes("clusters", value)
    if np.asarray(value).dtype == bool or (nodes < 0).any():
        checks.fail("clusters", "distinct positions of nodes", "Booleans" if (nodes >= 0).all() else "-1")
    if len(np.unique(nodes)) < len(nodes):
        checks.fail("clusters", "distinct positions of nodes", "positions that repeat")
    return nodes


def _candidates(model: Any, found: Sequence[Any], inside: Any, ax: Axes) -> Axes:
    """Draw sizes of candidates over mass, a line for each factor of edges between different labels."""
    for place, factor in enumerate(sorted({candidate.label_eps for candidate in found})):
        line = sorted((c for c in found if c.label_eps == factor), key=lambda c: c.mass)
        x = [c.mass if np.isfinite(c.mass) else number for number, c in enumerate(line, 1)]
        label = f"edges between labels × {factor:.2g}"
        ax.plot(x, [c.size for c in line], **{**series_style(place), "label": label})
    chosen = [c for c in found if (c.mass, c.label_eps) == (model.mass_, model.label_eps_)]
    ax.plot([c.mass for c in chosen], [c.size for c in chosen], "o", color="0.2", fillstyle="none", markersize=11)
    if inside is not None:
        ax.axhline(int(inside.sum()), color="0.5", linestyle="--", linewidth=1, label="true cluster")
    ax.set_ylim(bottom=0)
    return _finish(ax, xlabel="mass of the source (the selected one is marked)", ylabel="nodes")


def _finish(ax: Axes, legend: bool = True, **settings: Any) -> Axes:
    ax.set(**settings)
    ax.grid(alpha=0.25)
    if legend:
        ax.legend(frameon=False)
    return ax


def _class_colour(code: int, count: int) -> Any:
    """Return the colour of a class: of the palette, or of the hue circle where there are more classes."""
    if count <= len(COLOURS):
        return COLOURS[code]
    from matplotlib import colormaps

    return colormaps["hsv"](code / count)

"""A picture of measured cases: how many times faster than each peer, by width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from graphnoise.bench.plots import COLOURS, MARKERS, check
from graphnoise.bench.speed.cases import from_dict
from graphnoise.bench.speed.peers import PEERS
from graphnoise.bench.speed.report import title
from graphnoise.checks import fail
from graphnoise.io import atomic_write


def draw(records: Sequence[dict[str, Any]], path: Path) -> Path:
    """Draw the ratio to each peer against width, a panel a graph and number of threads.

    Where some panel has several widths, those of a single one are left out.

    Args:
        records: Of measured cases; those of single calls are left out.
        path: Where to; the suffix is the format.

    Raises:
        InputError: matplotlib is not installed, the suffix is none of its formats, or there is nothing to draw.
        DataError: The file cannot be written.
    """
    check(path)
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        case = from_dict(record["case"])
        if case.kind == "step" and any(name in record["times"] for name in PEERS):
            text = title(case, record["tier"]) + (f", {case.threads} threads" if case.threads > 1 else ", 1 thread")
            groups.setdefault(text, []).append(record)
    curves = {text: group for text, group in groups.items() if len({r["case"]["width"] for r in group}) > 1}
    groups = curves or groups
    if not groups:
        fail("plot", "a measured case with a peer to draw", "none")
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(0.6 + 4.2 * columns, 0.7 + 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for panel, (text, group) in zip(panels, groups.items(), strict=False):
        for place, name in enumerate(PEERS):
            points = sorted((r["case"]["width"], r["times"][name]["ratio"]) for r in group if name in r["times"])
            if not points:
                continue
            x = [width for width, _ in points]
            y = [spread["median"] for _, spread in points]
            low = [spread["median"] - spread["low"] for _, spread in points]
            high = [spread["high"] - spread["median"] for _, spread in points]
            style = {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 4, "capsize": 2, "linewidth": 1}
            panel.errorbar(x, y, yerr=(low, high), label=name, **style)
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        widths = sorted({record["case"]["width"] for record in group})
        panel.set_xlim(widths[0] / 1.4, widths[-1] * 1.4)
        panel.set_xticks(widths, [str(width) for width in widths])
        panel.set_xlabel("columns")
        panel.set_title("\n".join(wrap(text, 56)), fontsize=8)
        panel.grid(alpha=0.25, which="both")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    for panel in panels[len(groups) :]:
        panel.axis("off")
    for panel in panels[::columns]:
        panel.set_ylabel("peer's time / ours, per step")
    handles: dict[str, Any] = {}
    for panel in panels[: len(groups)]:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles), frameon=False)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)
    return path

"""Tables of `bench cluster`, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from graphnoise.bench.clusters.results import Mean, Section
from graphnoise.bench.report import columns, headline


def render(section: Section) -> Iterator[RenderableType]:
    """Yield the tables of a section: means over the classes, then F1 class by class."""
    yield Text(f"\n{section.title}", style="bold reverse")
    yield from _means(section)
    yield from _by_class(section)


def _text(mean: Mean | None, sign: str = "") -> str:
    if mean is None:
        return ""
    text = f"{100 * mean.value:{sign}.1f}"
    return text if mean.half_width is None else f"{text}±{100 * mean.half_width:.1f}"


def _plain(mean: Mean | None, digits: int, factor: float = 1.0) -> str:
    return "" if mean is None else f"{factor * mean.value:,.{digits}f}"


def _means(section: Section) -> Iterator[RenderableType]:
    counts = sorted({len(trials) for trials in section.trials.values()})
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    a1, a0 = (section.mean(section.methods[0], name) for name in ("a1", "a0"))
    note = (
        f"means in % over {len(section.classes)} classes of {span} seed(s) each, ± half a 95 % interval over seeds;\n"
        f"labels were right for {_text(a1)} of the members and {_text(a0)} of the others;\n"
        "of several masses the one of least conductance (phi) counts; best F1 is that of the best one by the truth;\n"
        "masses are multiples of what the true cluster holds, but for labels and auto; arcs and ms are those of all"
    )
    yield headline("Clusters found", note)
    rows = columns("method", ["F1", "− labels", "precision", "recall", "best F1", "phi", "arcs", "ms", "converged"])
    scores = {method: mean for method in section.methods if (mean := section.mean(method)) is not None}
    best = max(score.value for score in scores.values())
    for method, score in scores.items():
        rows.add_row(
            method,
            Text(_text(score), style="bold" if score.value == best else ""),
            "" if method == "labels" else _text(section.gain(method), "+"),
            *(_plain(section.mean(method, name), 1, 100) for name in ("precision", "recall", "oracle_f1")),
            _plain(section.mean(method, "conductance"), 3),
            _plain(section.mean(method, "arcs"), 0),
            _plain(section.mean(method, "seconds"), 1, 1000),
            _plain(section.mean(method, "converged"), 0, 100),
        )
    yield rows


def _by_class(section: Section) -> Iterator[RenderableType]:
    note = "bold: best of the class; last row: classes in which a method beats labels alone"
    yield headline("F1 in % by class", note)
    rows = columns("class (size)", section.methods)
    wins = dict.fromkeys(section.methods, 0)
    for target in section.classes:
        scores = {method: section.score(method, target) for method in section.methods}
        best = max(score for score in scores.values() if score is not None)
        base = scores.get("labels")
        cells = []
        for method, score in scores.items():
            wins[method] += score is not None and base is not None and score > base
            cells.append(Text() if score is None else Text(f"{100 * score:.1f}", "bold" if score == best else ""))
        rows.add_row(f"{target} ({section.sizes[target]:,})", *cells)
    rows.add_row("beats labels", *("" if m == "labels" else str(wins[m]) for m in section.methods), style="dim")
    yield rows

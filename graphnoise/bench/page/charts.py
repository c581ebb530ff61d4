"""Charts of the page by Vega-Altair: a specification for each panel of a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import numpy as np
import pandas

from graphnoise.bench.page.figure import Figure
from graphnoise.plot import COLOURS
from graphnoise.typing import Floats

# Colours are names of the style sheet, so that they follow light, dark and print.
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
# Points of a line above which they are not drawn, and ticks of a logarithmic axis.
MANY, MAX_TICKS = 60, 6
# Signal of the series that is emphasised, set by the legend.
SHOWN = "shown"
CONFIG: dict[str, Any] = {
    # The element around a chart says what it is.
    "aria": False,
    "mark": {"aria": False},
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelLimit": 220,
        "labelSeparation": 8,
        "aria": False,
    },
}


@dataclass(frozen=True)
class Entry:
    """An entry of a legend: name, colour, shape of the mark and dashes of the line."""

    name: str
    colour: str
    shape: str
    dashes: Sequence[int]


@dataclass(frozen=True)
class Panel:
    """A chart: its heading and its specification."""

    title: str
    spec: dict[str, Any]


def legends(figures: Sequence[Figure]) -> Iterator[list[Entry]]:
    """Yield the series of each figure; of several figures, those of one column and name have one look."""
    count, places = len(COLOURS), dict[str, dict[str, int]]()
    for figure in figures:
        if not figure.series or figure.kind == "heat":
            yield []
            continue
        known = places.setdefault(figure.series, {})
        names = [str(name) for name in dict.fromkeys(figure.frame[figure.series])]
        looks = [known.setdefault(name, len(known)) for name in names]
        yield [
            Entry(name, f"var(--c{place % count})", SHAPES[place % count], DASHES[place // count % len(DASHES)])
            for name, place in zip(names, looks, strict=True)
        ]


def chart_panels(figure: Figure, entries: Sequence[Entry]) -> Iterator[Panel]:
    """Yield the charts of a figure, a panel for each combination of its columns `panel`."""
    if not figure.panel:
        yield Panel("", _spec(figure, figure.frame, figure.frame, entries))
        return
    groups = dict(iter(figure.frame.groupby(figure.panel[0], sort=False)))
    for values, rows in figure.frame.groupby(list(figure.panel), sort=False):
        yield Panel(panel_title(figure.panel, values), _spec(figure, rows, groups[values[0]], entries))


def panel_title(names: Sequence[str], values: Sequence[Any]) -> str:
    """Return the heading of a panel.

    Example:
        >>> panel_title(["data set", "noise", "rate"], ["cora", "pair", 0.4])
        'cora, pair noise, rate 0.4'
    """
    words = {"noise": "{1} noise", "data set": "{1}", "case": "{1}"}
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    pairs = zip(names, texts, strict=True)
    return ", ".join(words.get(name, "{0} {1}").format(name, text) for name, text in pairs if text)


def _spec(figure: Figure, rows: pandas.DataFrame, group: pandas.DataFrame, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the specification of a panel; `group` are the rows of all panels that share the axis of the measure."""
    # Names of columns are data: as fields, dots and brackets would be paths.
    columns = {name: f"c{place}" for place, name in enumerate(rows)}
    data = alt.InlineData(values=rows.rename(columns=columns).to_dict("records"))
    chart = {"lines": _lines, "points": _points, "scatter": _lines, "bars": _bars, "heat": _heat}[figure.kind]
    layers = chart(figure, alt.Chart(data), columns, group, entries)
    names = [entry.name for entry in entries]
    spec = alt.layer(*layers).properties(width="container", height=_height(figure, rows))
    if names:
        spec = spec.add_params(alt.param(name=SHOWN, value=""))
    made: dict[str, Any] = spec.to_dict(validate=False)
    for key in ("config", "$schema"):
        made.pop(key, None)
    return made


def _height(figure: Figure, rows: pandas.DataFrame) -> int:
    if figure.kind in ("lines", "scatter"):
        return 230
    step = {"points": max(19, 9 * _beside(figure, rows)), "bars": 22, "heat": 32}[figure.kind]
    return max(60, step * int(rows[figure.y].nunique()))


def _beside(figure: Figure, rows: pandas.DataFrame) -> int:
    """Return how many series one category has at most."""
    return int(rows.groupby(figure.y)[figure.series].nunique().max()) if figure.series else 1


def _looks(figure: Figure, columns: dict[str, str], entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the channels that say which series a mark is of."""
    if not entries:
        return {"color": alt.value("var(--c0)")}
    field, names = f"{columns[figure.series]}:N", [entry.name for entry in entries]
    looks: dict[str, Any] = {
        "color": [entry.colour for entry in entries],
        "shape": [entry.shape for entry in entries],
        "strokeDash": [list(entry.dashes) for entry in entries],
    }
    channels = {"color": alt.Color, "shape": alt.Shape, "strokeDash": alt.StrokeDash}
    return {
        key: channels[key](field, scale=alt.Scale(domain=names, range=values), legend=None)
        for key, values in looks.items()
    }


def _faded(figure: Figure, columns: dict[str, str], full: float) -> Any:
    """Return the opacity of marks: less for those of other series than the one that is emphasised."""
    if not figure.series:
        return alt.value(full)
    field = columns[figure.series]
    return alt.condition(f"{SHOWN} == '' || datum.{field} == {SHOWN}", alt.value(full), alt.value(0.2 * full))


def _tooltip(figure: Figure, columns: dict[str, str]) -> list[Any]:
    kinds: dict[str, Any] = {name: "Q" if figure.frame[name].dtype.kind in "iuf" else "N" for name in columns}
    form: dict[str, Any] = {"Q": {"format": ".4~g"}, "N": {}}
    return [alt.Tooltip(f"{field}:{kinds[name]}", title=name, **form[kinds[name]]) for name, field in columns.items()]


def _limits(figure: Figure, group: pandas.DataFrame, measure: str) -> list[float]:
    """Return the range of a measure over panels, with a margin.

    It begins at 0 at the least, and of shares in per cent ends at 100 at the most, unless values are beyond: intervals
    of few draws are cut there.
    """
    values = group[measure].to_numpy(dtype=float)
    ends = group[[measure, *(figure.interval or ())]].to_numpy(dtype=float)
    low, high = float(ends.min()), float(ends.max())
    margin = 0.04 * (high - low) or 0.02 * abs(high) or 1.0
    least = 0.0 if values.min() >= 0 else low - margin
    most = 100.0 if "%" in measure and values.max() <= 100 else high + margin
    return [max(low - margin, least), min(high + margin, most)]


def _along(figure: Figure, group: pandas.DataFrame) -> Floats:
    """Return all that is drawn along x, intervals and reference included."""
    ends = figure.interval or () if figure.kind == "points" else ()
    values: Floats = np.append(
        group[[figure.x, *ends]].to_numpy(dtype=float), [] if figure.reference is None else figure.reference
    )
    return values


def _log_ticks(values: Floats) -> list[float]:
    """Return 1, 2 and 5 times powers of ten in the range of positive values, or powers alone where these are many.

    Example:
        >>> _log_ticks(np.array([0.4, 3.0])), _log_ticks(np.array([1.0, 5e6]))
        ([0.5, 1.0, 2.0], [1.0, 100.0, 10000.0, 1000000.0])
    """
    low, high = float(values.min()), float(values.max())
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for ticks in (np.outer(powers, [1, 2, 5]).ravel(), powers, powers[::2], powers[::3]):
        inside = [float(f"{tick:.6g}") for tick in ticks if low * 0.99 <= tick <= high * 1.01]
        if len(inside) <= MAX_TICKS:
            break
    return inside


def _x(figure: Figure, columns: dict[str, str], group: pandas.DataFrame, **scale: Any) -> Any:
    kind: dict[str, Any] = {"type": "log"} if figure.log else {"zero": False}
    axis: dict[str, Any] = {"tickCount": 5, "grid": figure.kind != "lines" and not figure.log}
    if figure.log:
        short = "datum.value >= 1000 ? format(datum.value, '~s') : format(datum.value, '~r')"
        axis |= {"labelExpr": short, "values": _log_ticks(_along(figure, group))}
    return alt.X(
        f"{columns[figure.x]}:Q", title=figure.x, axis=alt.Axis(**axis), scale=alt.Scale(nice=False, **kind, **scale)
    )


def _lines(figure: Figure, chart: Any, columns: dict[str, str], group: pandas.DataFrame, entries: Any) -> list[Any]:
    """Return lines with bands, or points with bars."""
    looks = _looks(figure, columns, entries)
    limits = alt.Scale(domain=_limits(figure, group, figure.y), zero=False, nice=False)
    y = alt.Y(f"{columns[figure.y]}:Q", title=figure.y, scale=limits, axis=alt.Axis(tickCount=5))
    ends: dict[str, Any] = {}
    if figure.kind == "scatter":
        ends = {"padding": 12} if figure.log else {"domain": _limits(replace(figure, interval=None), group, figure.x)}
    x, layers = _x(figure, columns, group, **ends), []
    drawn = chart.encode(x=x, color=looks["color"])
    if figure.interval:
        low, high = (columns[end] for end in figure.interval)
        band = drawn.mark_area(clip=True) if figure.kind == "lines" else drawn.mark_rule(strokeWidth=1.5, clip=True)
        # Bands of many lines would hide each other.
        share = min(0.14, 1.1 / max(len(entries), 1)) if figure.kind == "lines" else 0.9
        begin = alt.Y(f"{low}:Q", title=figure.y, scale=limits)
        layers.append(band.encode(y=begin, y2=f"{high}:Q", opacity=_faded(figure, columns, share)))
    marks = {"y": y, "opacity": _faded(figure, columns, 1.0)}
    if figure.kind == "lines":
        dashes = {"strokeDash": looks["strokeDash"]} if "strokeDash" in looks else {}
        layers.append(drawn.mark_line(strokeWidth=1.8).encode(**marks, **dashes))
    shape = {"shape": looks["shape"]} if "shape" in looks else {}
    size = 36 if figure.kind == "lines" else 80
    if figure.kind == "lines" and len(group) > MANY * max(len(entries), 1):
        # They only carry the tooltips.
        marks["opacity"] = alt.value(0)
    points = drawn.mark_point(filled=True, size=size).encode(**marks, **shape, tooltip=_tooltip(figure, columns))
    return [*layers, points]


def _points(figure: Figure, chart: Any, columns: dict[str, str], group: pandas.DataFrame, entries: Any) -> list[Any]:
    """Return points with bars at categories, one beside the other where there are several series."""
    looks = _looks(figure, columns, entries)
    y = alt.Y(f"{columns[figure.y]}:N", title=None, sort=None, axis=alt.Axis(grid=False, ticks=False, domain=False))
    limits: dict[str, Any] = {"domain": _limits(figure, group, figure.x)} if not figure.log else {"padding": 12}
    several = _beside(figure, group) > 1
    beside = {"yOffset": alt.YOffset(f"{columns[figure.series]}:N", sort=None)} if several else {}
    opacity = {"opacity": _faded(figure, columns, 1.0)} if entries else {}
    drawn = chart.encode(y=y, color=looks["color"], **beside, **opacity)
    layers = []
    if figure.reference is not None:
        layers.append(
            alt.Chart(alt.InlineData(values=[{}]))
            .mark_rule(strokeDash=[4, 4], color="var(--soft)")
            .encode(x=alt.XDatum(figure.reference))
        )
    if figure.interval:
        low, high = (columns[end] for end in figure.interval)
        ends = alt.X(f"{low}:Q", title=figure.x, scale=alt.Scale(nice=False, **limits, **_log(figure)))
        layers.append(drawn.mark_rule(strokeWidth=1.5, clip=True).encode(x=ends, x2=f"{high}:Q"))
    shape = {"shape": looks["shape"]} if "shape" in looks else {}
    points = drawn.mark_point(filled=True, size=50).encode(
        x=_x(figure, columns, group, **limits), **shape, tooltip=_tooltip(figure, columns)
    )
    return [*layers, points]


def _log(figure: Figure) -> dict[str, Any]:
    return {"type": "log"} if figure.log else {"zero": False}


def _bars(figure: Figure, chart: Any, columns: dict[str, str], group: pandas.DataFrame, entries: Any) -> list[Any]:
    """Return stacked bars."""
    colour = _looks(figure, columns, entries)["color"]
    y = alt.Y(f"{columns[figure.y]}:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False))
    x = alt.X(f"{columns[figure.x]}:Q", title=figure.x, stack="zero", axis=alt.Axis(tickCount=5))
    shown = {"opacity": _faded(figure, columns, 1.0), "tooltip": _tooltip(figure, columns)}
    return [chart.mark_bar().encode(x=x, y=y, color=colour, **shown)]


def _heat(figure: Figure, chart: Any, columns: dict[str, str], group: pandas.DataFrame, entries: Any) -> list[Any]:
    """Return a table of cells, the darker the larger, with numbers."""
    axis: dict[str, Any] = {"grid": False, "ticks": False, "domain": False}
    across = alt.X(f"{columns[figure.series]}:N", title=figure.series, sort=None, axis=alt.Axis(labelAngle=-35, **axis))
    y = alt.Y(f"{columns[figure.y]}:N", title=figure.y, sort=None, axis=alt.Axis(**axis))
    value = columns[figure.x]
    # The square root shows small rates as well.
    depth = alt.Opacity(f"{value}:Q", legend=None, scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0.04, 0.85]))
    cells = chart.mark_rect(color="var(--c0)").encode(x=across, y=y, opacity=depth, tooltip=_tooltip(figure, columns))
    layers = [cells]
    if figure.frame[figure.y].nunique() <= 12:
        text = alt.condition(f"datum.{value} > 0.3", alt.value("var(--back)"), alt.value("var(--text)"))
        numbers = chart.mark_text(fontSize=11).encode(
            x=across, y=y, text=alt.Text(f"{value}:Q", format=".2f"), color=text
        )
        layers.append(numbers)
    return layers

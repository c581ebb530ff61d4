"""The file of the page: charts, template, and its size."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from graphnoise import checks
from graphnoise.bench.page.chapters import Chapter, code_parts
from graphnoise.errors import DataError
from graphnoise.io import atomic_write

MAX_BYTES = 5_000_000
# Shapes of marks, for legends, in a square from -1 to 1.
PATHS = {
    "circle": "M-.8 0a.8.8 0 1 0 1.6 0a.8.8 0 1 0-1.6 0",
    "square": "M-.7-.7H.7V.7H-.7z",
    "triangle-up": "M0-.9L.9.7H-.9z",
    "diamond": "M0-1L1 0 0 1-1 0z",
    "triangle-down": "M0 .9L.9-.7H-.9z",
    "cross": "M-.3-.9H.3V-.3H.9V.3H.3V.9H-.3V.3H-.9V-.3H-.3z",
    "triangle-right": "M.9 0L-.7.9V-.9z",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and what sorting and CSV files take."""

    text: str
    raw: str
    number: bool


def check_packages() -> None:
    """Raise `InputError`, which names the extra, where a package of the page is not installed."""
    for module in ("altair", "jinja2", "vl_convert"):
        checks.package("html", module, "page")


def write_page(path: Path, title: str, chapters: Sequence[Chapter]) -> None:
    """Write the page, one file that needs nothing else.

    Raises:
        DataError: It would be larger than 5 MB, or cannot be written.
        InputError: A package is not installed.
    """
    html = render_page(title, chapters).encode()
    if len(html) > MAX_BYTES:
        got = f"{len(html) / 1e6:.1f} MB (fewer folders, or --task, make it smaller)"
        raise DataError(f"{path}: expected a page of at most {MAX_BYTES // 10**6} MB, got {got}")
    with atomic_write(path) as stream:
        stream.write(html)


def render_page(title: str, chapters: Sequence[Chapter]) -> str:
    """Return the page as HTML."""
    check_packages()
    import jinja2

    from graphnoise.bench.page import charts

    # All names come from data: what is no template is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["code_parts"] = code_parts
    shown = [
        [
            (figure, entries, list(charts.chart_panels(figure, entries)), _table(figure.frame))
            for figure, entries in zip(chapter.figures, charts.legends(chapter.figures), strict=True)
        ]
        for chapter in chapters
    ]
    return environment.get_template("page.html.j2").render(
        title=title,
        chapters=list(zip(chapters, shown, strict=True)),
        config=charts.CONFIG,
        paths=PATHS,
        version=version("graphnoise"),
        style=_resource("page.css"),
        script=_resource("page.js"),
        bundle=_bundle(),
    )


def _resource(name: str) -> str:
    return files("graphnoise.bench.page").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as a script that stands within a page."""
    import vl_convert

    snippet = "window.vegaEmbed = vegaEmbed;"
    return re.sub(r"</(?=script)", r"<\\/", vl_convert.javascript_bundle(snippet), flags=re.IGNORECASE)


def _table(frame: Any) -> list[list[Cell]]:
    """Return the cells of a table."""
    return [[_cell(value) for value in row] for row in frame.itertuples(index=False)]


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        if math.isnan(value):
            return Cell("", "", True)
        return Cell(f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}", f"{value:.8g}", True)
    if isinstance(value, int):
        return Cell(f"{value:,}", str(value), True)
    return Cell(str(value), str(value), False)
